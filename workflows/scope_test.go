package workflows_test

import (
	"context"
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/decnet/decnet/activities"
	"github.com/decnet/decnet/internal/operation"
	"github.com/decnet/decnet/workflows"
)

var sequence *activities.Scope

// scopeBundle is one scope whose mutations take a minute of skipped time each.
type scopeBundle struct {
	t      *testing.T
	env    *testsuite.TestWorkflowEnvironment
	events []string // "start a", "end a" in the order they happened
	names  map[uuid.UUID]string
	ended  map[uuid.UUID]bool
	lost   map[uuid.UUID]bool // open, but no mutation works on it
}

func setupScope(t *testing.T) *scopeBundle {
	t.Helper()
	b := &scopeBundle{t: t, env: quietSuite().NewTestWorkflowEnvironment(), names: map[uuid.UUID]string{}, ended: map[uuid.UUID]bool{}, lost: map[uuid.UUID]bool{}}
	b.env.RegisterActivity(sequence)
	b.env.RegisterWorkflow(workflows.Scope)
	b.env.RegisterWorkflow(workflows.Mutation)
	b.env.OnWorkflow(workflows.Mutation, mock.Anything, mock.Anything).Return(
		func(ctx workflow.Context, in workflows.MutationInput) (workflows.MutationResult, error) {
			name := b.names[in.OperationID]
			b.events = append(b.events, "start "+name)
			if err := workflow.Sleep(ctx, time.Minute); err != nil {
				return workflows.MutationResult{}, err
			}
			b.events = append(b.events, "end "+name)
			b.ended[in.OperationID] = true
			return workflows.MutationResult{State: operation.Succeeded}, nil
		}).Maybe()
	b.env.OnActivity(sequence.Confirm, mock.Anything, mock.Anything).Return(
		func(_ context.Context, in activities.ConfirmInput) (activities.ConfirmResult, error) {
			var out activities.ConfirmResult
			for _, id := range in.OperationIDs {
				switch {
				case b.ended[id]:
					out.Ended = append(out.Ended, id)
				case b.lost[id]:
					delete(b.lost, id)
					out.Abandoned = append(out.Abandoned, id)
				}
			}
			return out, nil
		}).Maybe()
	return b
}

func (b *scopeBundle) op(name string) uuid.UUID {
	id := uuid.New()
	b.names[id] = name
	return id
}

// submit sends an update after a delay and checks that it is accepted and answered at once.
func (b *scopeBundle) submit(after time.Duration, in workflows.Submit) {
	b.update(after, workflows.UpdateSubmit, in, nil)
}

func (b *scopeBundle) update(after time.Duration, name string, in any, reject func(error)) {
	b.env.RegisterDelayedCallback(func() {
		done := false
		b.env.UpdateWorkflow(name, uuid.NewString(), &testsuite.TestUpdateCallback{
			OnAccept: func() {},
			OnReject: func(err error) {
				if reject == nil {
					b.t.Errorf("%s was refused: %v", name, err)
					return
				}
				reject(err)
				done = true
			},
			OnComplete: func(_ any, err error) { done = true; require.NoError(b.t, err) },
		}, in)
		b.env.RegisterDelayedCallback(func() { require.True(b.t, done, "%s was not answered at once", name) }, 500*time.Millisecond)
	}, after)
}

// run lets the scope work for some time of the test's clock.
func (b *scopeBundle) run(limit time.Duration, in workflows.ScopeInput) {
	b.env.SetTestTimeout(time.Minute)
	b.env.RegisterDelayedCallback(b.env.CancelWorkflow, limit)
	b.env.ExecuteWorkflow(workflows.Scope, in)
	var stopped *temporal.CanceledError
	require.ErrorAs(b.t, b.env.GetWorkflowError(), &stopped, "a scope ends only when it is cancelled")
}

func TestScope_LanesRunSideBySideAndEachInOrder(t *testing.T) {
	t.Parallel()
	b := setupScope(t)
	web, mail := uuid.NewString(), uuid.NewString()
	for i, in := range []workflows.Submit{
		{OperationID: b.op("web1"), Lane: web},
		{OperationID: b.op("web2"), Lane: web},
		{OperationID: b.op("mail1"), Lane: mail},
	} {
		b.submit(time.Duration(i)*time.Second, in)
	}
	b.run(10*time.Minute, workflows.ScopeInput{Scope: "fleet", Epoch: 1})
	require.Equal(t, []string{"start web1", "start mail1", "end web1", "start web2", "end mail1", "end web2"}, b.events)
}

func TestScope_WholeScopeWaitsForAllAndHoldsUpAll(t *testing.T) {
	t.Parallel()
	b := setupScope(t)
	web, mail := uuid.NewString(), uuid.NewString()
	for i, in := range []workflows.Submit{
		{OperationID: b.op("web1"), Lane: web},
		{OperationID: b.op("all"), Lane: operation.WholeScope},
		{OperationID: b.op("mail1"), Lane: mail},
	} {
		b.submit(time.Duration(i)*time.Second, in)
	}
	b.run(10*time.Minute, workflows.ScopeInput{Scope: "fleet", Epoch: 1})
	require.Equal(t, []string{"start web1", "end web1", "start all", "end all", "start mail1", "end mail1"}, b.events)
}

func TestScope_SubmittingTwiceRunsOnce(t *testing.T) {
	t.Parallel()
	b := setupScope(t)
	lane := uuid.NewString()
	first, second := b.op("first"), b.op("second")
	for i, id := range []uuid.UUID{first, first, second, second, first} {
		b.submit(time.Duration(i)*time.Second, workflows.Submit{OperationID: id, Lane: lane, Seq: int64(i)})
	}
	b.run(10*time.Minute, workflows.ScopeInput{Scope: "fleet", Epoch: 1})
	require.Equal(t, []string{"start first", "end first", "start second", "end second"}, b.events)
}

func TestScope_CancelledInTheQueueNeverStarts(t *testing.T) {
	t.Parallel()
	b := setupScope(t)
	lane := uuid.NewString()
	first, second := b.op("first"), b.op("second")
	b.env.OnActivity(sequence.EndCancelled, mock.Anything, activities.OperationInput{OperationID: second}).Return(nil).Once()
	b.submit(0, workflows.Submit{OperationID: first, Lane: lane})
	b.submit(time.Second, workflows.Submit{OperationID: second, Lane: lane})
	b.update(2*time.Second, workflows.UpdateCancel, workflows.Cancel{OperationID: second}, nil)
	b.run(10*time.Minute, workflows.ScopeInput{Scope: "fleet", Epoch: 1})
	require.Equal(t, []string{"start first", "end first"}, b.events)
	b.env.AssertExpectations(t)
}

func TestScope_RefusesWhatIsNotAnOperation(t *testing.T) {
	t.Parallel()
	b := setupScope(t)
	refused := 0
	count := func(error) { refused++ }
	b.update(0, workflows.UpdateSubmit, workflows.Submit{Lane: uuid.NewString()}, count)
	b.update(time.Second, workflows.UpdateSubmit, workflows.Submit{OperationID: b.op("x"), Lane: "web-01"}, count)
	b.update(2*time.Second, workflows.UpdateCancel, workflows.Cancel{}, count)
	b.run(time.Minute, workflows.ScopeInput{Scope: "fleet", Epoch: 1})
	require.Equal(t, 3, refused)
	require.Empty(t, b.events)
}

func TestScope_LostMutationIsStartedAgain(t *testing.T) {
	t.Parallel()
	b := setupScope(t)
	lost := b.op("lost")
	b.lost[lost] = true
	in := workflows.ScopeInput{Scope: "fleet", Epoch: 1, InFlight: []workflows.Entry{{OperationID: lost, Lane: uuid.NewString()}}}
	b.run(10*time.Minute, in)
	require.Equal(t, []string{"start lost", "end lost"}, b.events)
}

func TestScope_FinishedMutationOfAnEarlierRunFreesItsLane(t *testing.T) {
	t.Parallel()
	b := setupScope(t)
	old, next, lane := b.op("old"), b.op("next"), uuid.NewString()
	b.env.RegisterDelayedCallback(func() {
		b.ended[old] = true
		b.env.SignalWorkflow(workflows.SignalMutationDone, workflows.MutationDone{OperationID: old})
	}, 10*time.Second)
	b.run(5*time.Minute, workflows.ScopeInput{
		Scope: "fleet", Epoch: 1,
		InFlight: []workflows.Entry{{OperationID: old, Lane: lane}}, Queue: []workflows.Entry{{OperationID: next, Lane: lane}},
	})
	require.Equal(t, []string{"start next", "end next"}, b.events)
}

func TestScope_UnreportedEndIsFoundByTheTimer(t *testing.T) {
	t.Parallel()
	b := setupScope(t)
	old, next, lane := b.op("old"), b.op("next"), uuid.NewString()
	b.env.RegisterDelayedCallback(func() { b.ended[old] = true }, 10*time.Second)
	b.run(5*time.Minute, workflows.ScopeInput{
		Scope: "fleet", Epoch: 1,
		InFlight: []workflows.Entry{{OperationID: old, Lane: lane}}, Queue: []workflows.Entry{{OperationID: next, Lane: lane}},
	})
	require.Equal(t, []string{"start next", "end next"}, b.events)
}

// TestScope_EveryFieldSurvivesContinueAsNew fills every field of the state by reflection, so that a field added later
// and not carried over fails here.
func TestScope_EveryFieldSurvivesContinueAsNew(t *testing.T) {
	t.Parallel()
	b := setupScope(t)
	in := workflows.ScopeInput{
		Scope: "fleet", Epoch: 7, Highest: 41,
		InFlight: []workflows.Entry{{OperationID: b.op("flying"), Lane: uuid.NewString()}},
	}
	in.Queue = []workflows.Entry{{OperationID: b.op("queued"), Lane: in.InFlight[0].Lane}}
	in.Cancelled = []workflows.Entry{{OperationID: b.op("cancelled"), Lane: in.InFlight[0].Lane}}
	v := reflect.ValueOf(in)
	for i := range v.NumField() {
		require.False(t, v.Field(i).IsZero(), "the test does not fill field %s", v.Type().Field(i).Name)
	}
	b.env.OnActivity(sequence.EndCancelled, mock.Anything, activities.OperationInput{OperationID: in.Cancelled[0].OperationID}).Return(nil).Once()
	b.env.SetContinueAsNewSuggested(true)
	b.env.ExecuteWorkflow(workflows.Scope, in)

	var next *workflow.ContinueAsNewError
	require.ErrorAs(t, b.env.GetWorkflowError(), &next)
	var carried workflows.ScopeInput
	require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(next.Input, &carried))
	want := in
	want.Cancelled = nil // their end was written before leaving
	require.Equal(t, asJSON(t, want), asJSON(t, carried))
	b.env.AssertExpectations(t)
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return string(b)
}
