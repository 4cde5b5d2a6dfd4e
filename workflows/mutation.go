package workflows

import (
	"fmt"
	"time"

	"github.com/google/uuid"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/decnet/decnet/activities"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/operation"
	"github.com/decnet/decnet/internal/temporalfault"
)

// convergeLimit bounds how long the forward change of a decky's decoys may take, retries and a restart of the runtime
// worker included.
const convergeLimit = 2 * time.Minute

// MutationInput names the operation to carry out.
type MutationInput struct {
	OperationID uuid.UUID `json:"operation_id"`
	Scope       string    `json:"scope"`
}

// MutationResult says how the operation ended, for people who read the history.
type MutationResult struct {
	State operation.State `json:"state"`
}

// Mutation carries out one operation: begin, converge, activate; or, when something fails or it is cancelled before
// activate, discard and converge back. The row of the operation is the authority at every step, so a Mutation may be
// started again for the same operation. Workflow failure means the operation did not succeed; the error type is the code.
func Mutation(ctx workflow.Context, in MutationInput) (MutationResult, error) {
	m := &mutation{in: in, title: "operation " + in.OperationID.String()}
	state, f := m.run(ctx)
	m.tellScope(ctx)
	m.describe(ctx, state, f)
	if state == operation.Succeeded {
		safe, _ := workflow.NewDisconnectedContext(ctx)
		startExpiries(safe, m.begun.Expiries)
	}
	switch {
	case state == operation.Cancelled:
		return MutationResult{}, temporal.NewCanceledError()
	case f != nil:
		// Not retryable whatever its kind: the operation is final.
		return MutationResult{}, temporal.NewNonRetryableApplicationError(f.Message, f.Code, nil, f.Safe())
	}
	return MutationResult{State: state}, nil
}

type mutation struct {
	in    MutationInput
	title string // "add ssh to web-01"
	queue string
	begun activities.BeginResult
}

var (
	lane    *activities.Mutation
	runtime *activities.Runtime
)

// run returns the final state, and the fault unless the operation succeeded.
func (m *mutation) run(ctx workflow.Context) (operation.State, *fault.Error) {
	safe, _ := workflow.NewDisconnectedContext(ctx)
	in := activities.BeginInput{OperationID: m.in.OperationID, RunID: workflow.GetInfo(ctx).WorkflowExecution.RunID}
	err := workflow.ExecuteActivity(mustWrite(safe, "validate and persist"), lane.Begin, in).Get(safe, &m.begun)
	if err != nil {
		// Not even the refusal could be written; Scope finds out from the row and starts the mutation again.
		return operation.Running, temporalfault.Unwrap(err)
	}
	m.identify(ctx)
	switch m.begun.Outcome {
	case activities.AlreadyEnded:
		return m.begun.State, m.begun.Fault
	case activities.Interrupted:
		return m.undo(safe, fault.New(fault.OperationFailed, "interrupted", "the operation was interrupted and undone"))
	case activities.Begun:
	}
	if f := m.forward(ctx, safe); f != nil {
		return m.undo(safe, f)
	}
	return operation.Succeeded, nil
}

// forward converges and activates. Cancelling is honoured until activate decides.
func (m *mutation) forward(ctx, safe workflow.Context) *fault.Error {
	if f := m.converge(ctx); f != nil {
		return f
	}
	activate := activities.OperationInput{OperationID: m.in.OperationID}
	if err := workflow.ExecuteActivity(mustWrite(safe, "activate: "+m.title), lane.Activate, activate).Get(safe, nil); err != nil {
		return temporalfault.Unwrap(err)
	}
	return nil
}

func (m *mutation) converge(ctx workflow.Context) *fault.Error {
	if m.begun.Unaffected {
		return nil
	}
	err := m.touch(ctx, m.title, convergeLimit, false)
	switch {
	case err == nil:
		return nil
	case temporal.IsCanceledError(err):
		return operation.CancelledFault()
	}
	return temporalfault.Unwrap(err)
}

// undo discards the pending revision and brings the decoys back to the active one, in a context nobody can cancel.
func (m *mutation) undo(safe workflow.Context, cause *fault.Error) (operation.State, *fault.Error) {
	discard := activities.OperationInput{OperationID: m.in.OperationID}
	if err := workflow.ExecuteActivity(mustWrite(safe, "discard: "+m.title), lane.Discard, discard).Get(safe, nil); err != nil {
		return operation.Running, temporalfault.Unwrap(err)
	}
	end := activities.SettleInput{OperationID: m.in.OperationID, State: operation.Failed, Fault: cause.Safe()}
	if cause.Code == operation.CancelledFault().Code {
		end.State = operation.Cancelled
	}
	if !m.convergeBack(safe) {
		end.State = operation.Unconverged
	}
	if err := workflow.ExecuteActivity(mustWrite(safe, "settle: "+m.title), lane.Settle, end).Get(safe, nil); err != nil {
		return operation.Running, temporalfault.Unwrap(err)
	}
	return end.State, cause
}

// convergeBack reports whether the decoys are as they were. A repair has no way back: what failed is what it aims at. What
// does not concern decoys left them as they were.
func (m *mutation) convergeBack(safe workflow.Context) bool {
	if m.begun.Kind == operation.Reconcile || m.begun.Unaffected {
		return true
	}
	return m.touch(safe, "undo: "+m.title, ConvergeBackLimit, true) == nil
}

// touch makes decoys match: those of one decky, or of all that an operation on a topology concerns.
func (m *mutation) touch(ctx workflow.Context, summary string, within time.Duration, undo bool) error {
	if m.begun.Topology {
		in := activities.ConvergeTopologyInput{Scope: m.in.Scope, OperationID: m.in.OperationID, Undo: undo}
		return workflow.ExecuteActivity(touchTopology(ctx, m.queue, summary), runtime.ConvergeTopology, in).Get(ctx, nil)
	}
	in := activities.ConvergeInput{DeckyID: m.begun.DeckyID, OperationID: m.in.OperationID, Undo: undo}
	return workflow.ExecuteActivity(touchDecoys(ctx, m.queue, summary, within), runtime.Converge, in).Get(ctx, nil)
}

// identify makes the execution findable and readable once the operation's row was read.
func (m *mutation) identify(ctx workflow.Context) {
	b := m.begun
	m.title, m.queue = b.Title, RuntimeQueue(b.HostID)
	// An error here only means that the execution is harder to find.
	_ = workflow.UpsertTypedSearchAttributes(ctx,
		AttrScope.ValueSet(m.in.Scope), AttrOperation.ValueSet(m.in.OperationID.String()),
		AttrDecky.ValueSet(b.Decky), AttrService.ValueSet(b.Service), AttrActor.ValueSet(b.Actor))
	workflow.SetCurrentDetails(ctx, fmt.Sprintf("**%s**, requested by %s", b.Title, b.Actor))
}

func (m *mutation) describe(ctx workflow.Context, state operation.State, f *fault.Error) {
	text := fmt.Sprintf("**%s**, requested by %s: %s", m.title, m.begun.Actor, state)
	if f != nil {
		text += fmt.Sprintf("\n\n`%s`: %s", f.Code, f.Message)
	}
	workflow.SetCurrentDetails(ctx, text)
}

// tellScope frees the lane at once. Without it Scope finds out from the row.
func (m *mutation) tellScope(ctx workflow.Context) {
	safe, _ := workflow.NewDisconnectedContext(ctx)
	done := MutationDone{OperationID: m.in.OperationID}
	_ = workflow.SignalExternalWorkflow(safe, ScopeID(m.in.Scope), "", SignalMutationDone, done).Get(safe, nil)
}
