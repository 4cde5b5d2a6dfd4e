package workflows_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"github.com/decnet/decnet/activities"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/imports"
	"github.com/decnet/decnet/internal/temporalfault"
	"github.com/decnet/decnet/workflows"
)

var importActivity *activities.Import

// newImport returns an environment in which an import reads as read says. What ends the import otherwise is kept in ends.
func newImport(t *testing.T, read func(ctx context.Context, in activities.ImportInput) (activities.ImportResult, error)) (
	env *testsuite.TestWorkflowEnvironment, in activities.ImportInput, ends *[]activities.EndImportInput,
) {
	t.Helper()
	env = quietSuite().NewTestWorkflowEnvironment()
	env.RegisterActivity(importActivity)
	env.RegisterWorkflow(workflows.Import)
	in, ends = activities.ImportInput{ImportID: uuid.New()}, new([]activities.EndImportInput)
	env.OnActivity(importActivity.ReadImport, mock.Anything, in).Return(read)
	env.OnActivity(importActivity.EndImport, mock.Anything, mock.Anything).Return(
		func(_ context.Context, in activities.EndImportInput) (activities.ImportResult, error) {
			*ends = append(*ends, in)
			return activities.ImportResult{State: in.State, Fault: in.Fault}, nil
		})
	return env, in, ends
}

func TestImport_TriesTransientFaultsAgain(t *testing.T) {
	t.Parallel()
	tries := 0
	env, in, ends := newImport(t, func(context.Context, activities.ImportInput) (activities.ImportResult, error) {
		if tries++; tries < 8 {
			return activities.ImportResult{}, temporalfault.Wrap(fault.New(fault.Unavailable, "database_unavailable", "away"))
		}
		return activities.ImportResult{State: imports.Succeeded, Read: 3, Kept: 2, Stored: 2}, nil
	})
	env.ExecuteWorkflow(workflows.Import, in)
	require.NoError(t, env.GetWorkflowError())
	var out activities.ImportResult
	require.NoError(t, env.GetWorkflowResult(&out))
	require.Equal(t, activities.ImportResult{State: imports.Succeeded, Read: 3, Kept: 2, Stored: 2}, out)
	require.Equal(t, 8, tries)
	require.Empty(t, *ends, "the activity has ended it")
}

func TestImport_FailedLogFailsTheWorkflow(t *testing.T) {
	t.Parallel()
	f := fault.New(fault.Unprocessable, "import_nothing_kept", "nothing")
	env, in, ends := newImport(t, func(context.Context, activities.ImportInput) (activities.ImportResult, error) {
		return activities.ImportResult{State: imports.Failed, Fault: f, Read: 3}, nil
	})
	env.ExecuteWorkflow(workflows.Import, in)
	var app *temporal.ApplicationError
	require.ErrorAs(t, env.GetWorkflowError(), &app)
	require.Equal(t, "import_nothing_kept", app.Type())
	require.True(t, app.NonRetryable())
	require.Empty(t, *ends)
}

func TestImport_PermanentFaultEndsTheImport(t *testing.T) {
	t.Parallel()
	env, in, ends := newImport(t, func(context.Context, activities.ImportInput) (activities.ImportResult, error) {
		return activities.ImportResult{}, temporal.NewNonRetryableApplicationError("again and again", "import_failed", nil,
			fault.New(fault.Internal, "import_failed", "again and again"))
	})
	env.ExecuteWorkflow(workflows.Import, in)
	var app *temporal.ApplicationError
	require.ErrorAs(t, env.GetWorkflowError(), &app)
	require.Equal(t, "import_failed", app.Type())
	require.Equal(t, []activities.EndImportInput{{
		ImportID: in.ImportID, State: imports.Failed, Fault: fault.New(fault.Internal, "import_failed", "again and again"),
	}}, *ends)
}

func TestImport_CancelledByAnOperatorOfTemporal(t *testing.T) {
	t.Parallel()
	env, in, ends := newImport(t, func(context.Context, activities.ImportInput) (activities.ImportResult, error) {
		return activities.ImportResult{}, temporalfault.Wrap(fault.New(fault.Unavailable, "database_unavailable", "away"))
	})
	env.RegisterDelayedCallback(env.CancelWorkflow, time.Minute)
	env.ExecuteWorkflow(workflows.Import, in)
	var cancelled *temporal.CanceledError
	require.ErrorAs(t, env.GetWorkflowError(), &cancelled)
	require.Equal(t, []activities.EndImportInput{{ImportID: in.ImportID, State: imports.Cancelled}}, *ends)
}

func TestImport_CancelledThroughTheAPI(t *testing.T) {
	t.Parallel()
	env, in, ends := newImport(t, func(context.Context, activities.ImportInput) (activities.ImportResult, error) {
		return activities.ImportResult{State: imports.Cancelled, Read: 3}, nil
	})
	env.ExecuteWorkflow(workflows.Import, in)
	var cancelled *temporal.CanceledError
	require.ErrorAs(t, env.GetWorkflowError(), &cancelled)
	require.Empty(t, *ends)
}
