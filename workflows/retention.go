package workflows

import (
	"go.temporal.io/sdk/workflow"

	"github.com/decnet/decnet/activities"
)

// maxTrims bounds how often one pass goes on because there is more; what is left then is for the next pass.
const maxTrims = 6

var (
	rowTrimmer  *activities.Retention
	fileTrimmer *activities.Files
)

// RetentionResult says what a pass removed.
type RetentionResult struct {
	Rows  int64 `json:"rows"`
	Files int64 `json:"files"`
}

// Retention removes what is older or more than the settings allow: rows, and files on every host with decoys. A schedule
// starts it. It carries nothing but names of hosts: what goes is decided by the activities, from what the database says then,
// so a pass that was started before a restore does no harm after it.
func Retention(ctx workflow.Context) (RetentionResult, error) {
	var out RetentionResult
	files := map[string]bool{} // hosts whose files are done
	for more, n := true, 0; more && n < maxTrims; n++ {
		var rows activities.TrimRowsResult
		if err := workflow.ExecuteActivity(trim(ctx, ControlQueue, "remove old rows"), rowTrimmer.TrimRows).Get(ctx, &rows); err != nil {
			return out, err
		}
		out.Rows += rows.Removed
		more = rows.More
		hosts, err := trimFiles(ctx, rows.Hosts, files)
		if err != nil {
			return out, err
		}
		out.Files += hosts.Removed
		more = more || hosts.More
	}
	return out, nil
}

// trimFiles lets all hosts that have more remove files at the same time. One that does not answer does not stop the others.
func trimFiles(ctx workflow.Context, hosts []string, done map[string]bool) (sum activities.TrimFilesResult, err error) {
	running := make([]workflow.Future, len(hosts))
	for i, host := range hosts {
		if !done[host] {
			running[i] = workflow.ExecuteActivity(trim(ctx, RuntimeQueue(host), "remove old files on "+host), fileTrimmer.TrimFiles)
		}
	}
	for i, host := range hosts {
		if running[i] == nil {
			continue
		}
		var out activities.TrimFilesResult
		failed := running[i].Get(ctx, &out)
		if ctx.Err() != nil {
			return sum, ctx.Err()
		}
		if failed != nil {
			workflow.GetLogger(ctx).Warn("files of a host were not looked at", "host_id", host, "err", failed)
		}
		done[host] = !out.More
		sum.Removed += out.Removed
		sum.More = sum.More || out.More
	}
	return sum, nil
}
