package workflows

import (
	"fmt"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/decnet/decnet/activities"
	"github.com/decnet/decnet/internal/imports"
	"github.com/decnet/decnet/internal/temporalfault"
)

var importing *activities.Import

// Import reads one uploaded log in. The row of the import says how far it is and how it ended, so an Import may be started
// again for the same one, also when it ended. Workflow failure means the import failed; the error type is the code.
func Import(ctx workflow.Context, in activities.ImportInput) (activities.ImportResult, error) {
	var out activities.ImportResult
	err := workflow.ExecuteActivity(readLog(ctx, "read the log and store what it tells"), importing.ReadImport, in).Get(ctx, &out)
	if err != nil {
		out = endImport(ctx, in, err)
	}
	workflow.SetCurrentDetails(ctx, importDetails(out))
	switch {
	case out.State == imports.Cancelled:
		return out, temporal.NewCanceledError()
	case out.Fault != nil:
		// Not retryable whatever its kind: the import is final.
		return out, temporal.NewNonRetryableApplicationError(out.Fault.Message, out.Fault.Code, nil, out.Fault.Safe())
	}
	return out, nil
}

// endImport ends an import whose log could not be read to its end: somebody cancelled this workflow, or there is no use in
// trying again.
func endImport(ctx workflow.Context, in activities.ImportInput, cause error) activities.ImportResult {
	safe, _ := workflow.NewDisconnectedContext(ctx)
	end := activities.EndImportInput{ImportID: in.ImportID, State: imports.Cancelled}
	if !temporal.IsCanceledError(cause) {
		end.State, end.Fault = imports.Failed, temporalfault.Unwrap(cause)
	}
	var out activities.ImportResult
	if err := workflow.ExecuteActivity(mustWrite(safe, "end the import"), importing.EndImport, end).Get(safe, &out); err != nil {
		// Recovery starts another Import while the row is open.
		return activities.ImportResult{State: imports.Running, Fault: temporalfault.Unwrap(err)}
	}
	return out
}

// importDetails says in the Web UI what became of an import.
func importDetails(out activities.ImportResult) string {
	text := fmt.Sprintf("**%s**: %d lines read, %d kept, %d skipped; %d events stored, %d known before",
		out.State, out.Read, out.Kept, out.Read-out.Kept, out.Stored, out.Duplicates)
	if out.Fault != nil {
		text += "\n\n" + out.Fault.Code + ": " + out.Fault.Message
	}
	return text
}

// ImportAttributes returns what an import's workflow is found by.
func ImportAttributes(im imports.Import) temporal.SearchAttributes {
	return temporal.NewSearchAttributes(AttrActor.ValueSet(im.Actor))
}

// ImportSummary says in a line what an import's workflow is for. The name of the log stays out: nothing but ids enters.
func ImportSummary(im imports.Import) string {
	return fmt.Sprintf("import of a %s log by %s", im.Format, im.Actor)
}
