package workflows_test

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"github.com/decnet/decnet/activities"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/operation"
	"github.com/decnet/decnet/internal/temporalfault"
	"github.com/decnet/decnet/workflows"
)

// bundle is one mutation under test with its activities mocked.
type bundle struct {
	env   *testsuite.TestWorkflowEnvironment
	in    workflows.MutationInput
	begun activities.BeginResult
	done  []uuid.UUID // what was reported to the scope
}

var (
	lane    *activities.Mutation
	runtime *activities.Runtime
)

func setup(t *testing.T) *bundle {
	t.Helper()
	return setupIn(t, "fleet")
}

func setupIn(t *testing.T, scope string) *bundle {
	t.Helper()
	suite := quietSuite()
	b := &bundle{env: suite.NewTestWorkflowEnvironment(), in: workflows.MutationInput{OperationID: uuid.New(), Scope: scope}}
	b.begun = activities.BeginResult{
		Outcome: activities.Begun, Kind: operation.AddService, DeckyID: uuid.New(), HostID: "h1", Decky: "web-01",
		Service: "ssh", Actor: "alice", Title: "add ssh to web-01",
	}
	b.env.RegisterActivity(lane)
	b.env.RegisterActivity(runtime)
	b.env.RegisterWorkflow(workflows.Mutation)
	b.env.OnSignalExternalWorkflow(mock.Anything, workflows.ScopeID(scope), "", workflows.SignalMutationDone, mock.Anything).
		Return(func(_, _, _, _ string, arg any) error {
			b.done = append(b.done, arg.(workflows.MutationDone).OperationID)
			return nil
		})
	t.Cleanup(func() {
		require.Equal(t, []uuid.UUID{b.in.OperationID}, b.done, "the scope hears of every end once")
		b.env.AssertExpectations(t)
	})
	return b
}

// quietSuite keeps expected failures out of the test's output.
func quietSuite() *testsuite.WorkflowTestSuite {
	suite := new(testsuite.WorkflowTestSuite)
	suite.SetLogger(log.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	return suite
}

func (b *bundle) begin() {
	b.env.OnActivity(lane.Begin, mock.Anything, mock.MatchedBy(func(in activities.BeginInput) bool {
		return in.OperationID == b.in.OperationID && in.RunID != ""
	})).Return(b.begun, nil).Once()
}

func (b *bundle) converge(undo bool, err error) {
	in := activities.ConvergeInput{DeckyID: b.begun.DeckyID, OperationID: b.in.OperationID, Undo: undo}
	b.env.OnActivity(runtime.Converge, mock.Anything, in).Return(temporalfault.Wrap(err)).Once()
}

func (b *bundle) undone(state operation.State, code string) {
	b.env.OnActivity(lane.Discard, mock.Anything, activities.OperationInput{OperationID: b.in.OperationID}).Return(nil).Once()
	b.env.OnActivity(lane.Settle, mock.Anything, mock.MatchedBy(func(in activities.SettleInput) bool {
		return in.OperationID == b.in.OperationID && in.State == state && in.Fault.Code == code
	})).Return(nil).Once()
}

func (b *bundle) run(t *testing.T) (workflows.MutationResult, error) {
	t.Helper()
	b.env.ExecuteWorkflow(workflows.Mutation, b.in)
	require.True(t, b.env.IsWorkflowCompleted())
	var out workflows.MutationResult
	err := b.env.GetWorkflowError()
	if err == nil {
		require.NoError(t, b.env.GetWorkflowResult(&out))
	}
	return out, err
}

var errDecoy = fault.New(fault.OperationFailed, "decoy_start_failed", "ssh did not start")

func TestMutation_Succeeds(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.begin()
	b.converge(false, nil)
	b.env.OnActivity(lane.Activate, mock.Anything, activities.OperationInput{OperationID: b.in.OperationID}).Return(nil).Once()
	out, err := b.run(t)
	require.NoError(t, err)
	require.Equal(t, operation.Succeeded, out.State)
}

func TestMutation_RefusalTouchesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	refused := fault.New(fault.Conflict, "service_already_present", "ssh is already on the decky")
	b.begun.Outcome, b.begun.State, b.begun.Fault = activities.AlreadyEnded, operation.Refused, refused
	b.begin()
	_, err := b.run(t)
	var app *temporal.ApplicationError
	require.ErrorAs(t, err, &app)
	require.Equal(t, "service_already_present", app.Type())
}

func TestMutation_FailureIsUndone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.begin()
	b.converge(false, errDecoy)
	b.converge(true, nil)
	b.undone(operation.Failed, "decoy_start_failed")
	_, err := b.run(t)
	require.ErrorContains(t, err, "ssh did not start")
}

func TestMutation_UndoThatFailsIsUnconverged(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.begin()
	b.converge(false, errDecoy)
	b.converge(true, errDecoy)
	b.undone(operation.Unconverged, "decoy_start_failed")
	_, err := b.run(t)
	require.Error(t, err)
}

func TestMutation_UndoGivesUpAfterItsLimit(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.begin()
	b.converge(false, errDecoy)
	in := activities.ConvergeInput{DeckyID: b.begun.DeckyID, OperationID: b.in.OperationID, Undo: true}
	b.env.OnActivity(runtime.Converge, mock.Anything, in).
		Return(temporalfault.Wrap(fault.New(fault.Unavailable, "database_unavailable", "the database does not answer")))
	b.undone(operation.Unconverged, "decoy_start_failed")
	start := b.env.Now()
	_, err := b.run(t)
	require.Error(t, err)
	require.Less(t, b.env.Now().Sub(start), workflows.ConvergeBackLimit+time.Minute)
}

func TestMutation_RepairHasNoWayBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.begun.Kind = operation.Reconcile
	b.begin()
	b.converge(false, errDecoy)
	b.undone(operation.Failed, "decoy_start_failed")
	_, err := b.run(t)
	require.Error(t, err)
}

func TestMutation_InterruptedIsUndone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.begun.Outcome = activities.Interrupted
	b.begin()
	b.converge(true, nil)
	b.undone(operation.Failed, "interrupted")
	_, err := b.run(t)
	require.ErrorContains(t, err, "interrupted")
}

func TestMutation_CancelDuringConvergeIsUndone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.begin()
	b.env.OnActivity(runtime.Converge, mock.Anything, activities.ConvergeInput{DeckyID: b.begun.DeckyID, OperationID: b.in.OperationID}).
		After(time.Minute).Return(nil).Maybe()
	b.converge(true, nil)
	b.undone(operation.Cancelled, "operation_cancelled")
	b.env.RegisterDelayedCallback(b.env.CancelWorkflow, time.Second)
	_, err := b.run(t)
	var cancelled *temporal.CanceledError
	require.ErrorAs(t, err, &cancelled)
}

func TestMutation_ActivateThatMeetsACancelIsUndone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.begin()
	b.converge(false, nil)
	b.env.OnActivity(lane.Activate, mock.Anything, mock.Anything).Return(temporalfault.Wrap(operation.CancelledFault())).Once()
	b.converge(true, nil)
	b.undone(operation.Cancelled, "operation_cancelled")
	_, err := b.run(t)
	var cancelled *temporal.CanceledError
	require.ErrorAs(t, err, &cancelled)
}

func TestMutation_BookkeepingWaitsForTheDatabase(t *testing.T) {
	t.Parallel()
	b := setup(t)
	down := temporalfault.Wrap(fault.New(fault.Unavailable, "database_unavailable", "the database does not answer").Wrap(errors.New("refused")))
	b.env.OnActivity(lane.Begin, mock.Anything, mock.Anything).Return(activities.BeginResult{}, down).Times(5)
	b.env.OnActivity(lane.Begin, mock.Anything, mock.Anything).Return(b.begun, nil).Once()
	b.converge(false, nil)
	b.env.OnActivity(lane.Activate, mock.Anything, mock.Anything).Return(down).Times(5)
	b.env.OnActivity(lane.Activate, mock.Anything, mock.Anything).Return(nil).Once()
	out, err := b.run(t)
	require.NoError(t, err)
	require.Equal(t, operation.Succeeded, out.State)
}
