package workflows

import (
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/decnet/decnet/activities"
	"github.com/decnet/decnet/internal/decky"
)

// SignalExpiryChanged tells a timer that the end of its service was changed; it carries nothing, Postgres has the truth.
const SignalExpiryChanged = "expiry-changed"

// leastPause keeps clocks that disagree about whether the time has come from spinning.
const leastPause = 100 * time.Millisecond

var expiry *activities.Expiry

// TemporaryService waits until the time of a service is up and asks for its removal by an ordinary operation. What is in
// Postgres decides each time it wakes: it may be signalled, started twice, or started late, and never removes a service
// whose end was moved. It ends when the service is gone or stays.
func TemporaryService(ctx workflow.Context, in activities.ExpireInput) error {
	changed := workflow.GetSignalChannel(ctx, SignalExpiryChanged)
	next := in.Expiry.At
	for {
		waitUntil(ctx, next, changed)
		for changed.ReceiveAsync(nil) {
		}
		var out activities.ExpireResult
		if err := workflow.ExecuteActivity(mustWrite(ctx, "remove "+in.Expiry.Service+" from "+in.Expiry.Decky), expiry.Expire, in).Get(ctx, &out); err != nil {
			return err
		}
		if out.Done && changed.Len() == 0 {
			return nil
		}
		next, in.Attempt, in.Last = later(out.Next, workflow.Now(ctx).Add(leastPause)), out.Attempt, out.Last
		if workflow.GetInfo(ctx).GetContinueAsNewSuggested() && changed.Len() == 0 {
			in.Expiry.At = next
			return workflow.NewContinueAsNewError(ctx, TemporaryService, in)
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// waitUntil returns at a time, or earlier when a signal came.
func waitUntil(ctx workflow.Context, at time.Time, changed workflow.ReceiveChannel) {
	timed, stop := workflow.WithCancel(ctx)
	defer stop()
	timer := workflow.NewTimerWithOptions(timed, max(at.Sub(workflow.Now(ctx)), 0), workflow.TimerOptions{Summary: "until " + at.UTC().Format(time.RFC3339)})
	workflow.NewSelector(ctx).
		AddFuture(timer, func(workflow.Future) {}).
		AddReceive(changed, func(workflow.ReceiveChannel, bool) {}).
		Select(ctx)
}

// startExpiries starts the timers of services that became temporary. One that runs already, for a service that was gone and
// came back, is told; one that cannot be started is left to recovery.
func startExpiries(ctx workflow.Context, list []decky.Expiry) {
	for _, e := range list {
		child := workflow.ExecuteChildWorkflow(workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
			WorkflowID:            ExpiryID(e.ID),
			TaskQueue:             ControlQueue,
			WorkflowTaskTimeout:   TaskTimeout,
			ParentClosePolicy:     enums.PARENT_CLOSE_POLICY_ABANDON,
			WorkflowIDReusePolicy: enums.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
			TypedSearchAttributes: ExpiryAttributes(e),
			Memo:                  map[string]any{MemoEpoch: epoch(ctx)},
			StaticSummary:         ExpirySummary(e),
		}), TemporaryService, activities.ExpireInput{Expiry: e})
		if child.GetChildWorkflowExecution().Get(ctx, nil) != nil {
			_ = workflow.SignalExternalWorkflow(ctx, ExpiryID(e.ID), "", SignalExpiryChanged, nil).Get(ctx, nil)
		}
	}
}

// ExpiryAttributes returns what the timer of a temporary service is found by.
func ExpiryAttributes(e decky.Expiry) temporal.SearchAttributes {
	return temporal.NewSearchAttributes(AttrScope.ValueSet(e.Scope), AttrDecky.ValueSet(e.Decky), AttrService.ValueSet(e.Service))
}

// ExpirySummary says in a line what the timer of a temporary service is for.
func ExpirySummary(e decky.Expiry) string { return "temporary " + e.Service + " on " + e.Decky }

// epoch returns the installation epoch this execution belongs to, 0 when its memo does not tell.
func epoch(ctx workflow.Context) int {
	var n int
	if payload, ok := workflow.GetInfo(ctx).Memo.GetFields()[MemoEpoch]; ok {
		_ = converter.GetDefaultDataConverter().FromPayload(payload, &n)
	}
	return n
}
