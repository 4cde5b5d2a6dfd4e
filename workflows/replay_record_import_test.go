package workflows_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	sdkworker "go.temporal.io/sdk/worker"

	"github.com/decnet/decnet/activities"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/imports"
	"github.com/decnet/decnet/internal/temporalfault"
	"github.com/decnet/decnet/worker"
	"github.com/decnet/decnet/workflows"
)

// reader is workers whose imports end as planned.
type reader struct {
	mu    sync.Mutex
	plans map[uuid.UUID]func(context.Context) (activities.ImportResult, error)
}

func (r *reader) ReadImport(ctx context.Context, in activities.ImportInput) (activities.ImportResult, error) {
	r.mu.Lock()
	plan := r.plans[in.ImportID]
	r.mu.Unlock()
	return plan(ctx)
}

func (*reader) EndImport(_ context.Context, in activities.EndImportInput) (activities.ImportResult, error) {
	return activities.ImportResult{State: in.State, Fault: in.Fault}, nil
}

// recordImports has imports that succeed, also after a fault that passes, that find nothing, that are given up, and that
// are cancelled, by the API and in Temporal.
func recordImports(t *testing.T) {
	s := &stage{t: t, c: sharedServer(t)}
	r := &reader{plans: map[uuid.UUID]func(context.Context) (activities.ImportResult, error){}}
	control := sdkworker.New(s.c, workflows.ControlQueue, sdkworker.Options{})
	worker.RegisterWorkflows(control)
	control.RegisterActivityWithOptions(r.EndImport, activity.RegisterOptions{Name: "EndImport"})
	intel := sdkworker.New(s.c, workflows.IntelQueue, sdkworker.Options{DisableWorkflowWorker: true, MaxHeartbeatThrottleInterval: 100 * time.Millisecond})
	intel.RegisterActivityWithOptions(r.ReadImport, activity.RegisterOptions{Name: "ReadImport"})
	for _, w := range []sdkworker.Worker{control, intel} {
		require.NoError(t, w.Start())
		t.Cleanup(w.Stop)
	}
	ended := activities.ImportResult{State: imports.Succeeded, BytesRead: 9, BytesTotal: 9, Read: 3, Kept: 2, Stored: 1, Duplicates: 1}
	nothing := fault.New(fault.Unprocessable, "import_nothing_kept", "none of its lines tells what an attacker did; the report says why")
	tries := 0
	for n, c := range []struct {
		name string
		plan func(context.Context) (activities.ImportResult, error)
	}{
		{"succeeded", func(context.Context) (activities.ImportResult, error) { return ended, nil }},
		{"succeeded-later", func(context.Context) (activities.ImportResult, error) {
			if tries++; tries == 1 {
				return activities.ImportResult{}, temporalfault.Wrap(fault.New(fault.Unavailable, "database_unavailable", "the database does not answer"))
			}
			return ended, nil
		}},
		{"nothing-kept", func(context.Context) (activities.ImportResult, error) {
			return activities.ImportResult{State: imports.Failed, Fault: nothing, Read: 3}, nil
		}},
		{"cancelled", func(context.Context) (activities.ImportResult, error) {
			return activities.ImportResult{State: imports.Cancelled, Read: 3}, nil
		}},
		{"given-up", func(context.Context) (activities.ImportResult, error) {
			return activities.ImportResult{}, temporalfault.Wrap(fault.New(fault.NotFound, "import_not_found", "there is no such import"))
		}},
		{"cancelled-in-temporal", func(ctx context.Context) (activities.ImportResult, error) {
			for ctx.Err() == nil {
				activity.RecordHeartbeat(ctx, ended)
				time.Sleep(50 * time.Millisecond)
			}
			return activities.ImportResult{}, ctx.Err()
		}},
	} {
		id := number("f", n)
		r.mu.Lock()
		r.plans[id] = c.plan
		r.mu.Unlock()
		run, err := s.c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{
			ID: workflows.ImportID(id), TaskQueue: workflows.ControlQueue,
			TypedSearchAttributes: workflows.ImportAttributes(imports.Import{Actor: "alice"}),
			StaticSummary:         workflows.ImportSummary(imports.Import{Format: imports.Cowrie, Actor: "alice"}),
		}, workflows.ImportType, activities.ImportInput{ImportID: id})
		require.NoError(t, err)
		if c.name == "cancelled-in-temporal" {
			s.await("the log is being read", func() bool {
				d, err := s.c.DescribeWorkflowExecution(t.Context(), run.GetID(), "")
				return err == nil && len(d.GetPendingActivities()) == 1 && d.GetPendingActivities()[0].GetHeartbeatDetails() != nil
			})
			require.NoError(t, s.c.CancelWorkflow(t.Context(), run.GetID(), ""))
		}
		_ = run.Get(t.Context(), nil)
		s.write("import", c.name, run.GetID(), "")
	}
}
