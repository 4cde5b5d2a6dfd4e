package workflows

import (
	"slices"
	"time"

	"github.com/google/uuid"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/decnet/decnet/activities"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/operation"
	"github.com/decnet/decnet/internal/temporalfault"
)

// Names of Scope's messages.
const (
	UpdateSubmit       = "Submit"
	UpdateCancel       = "Cancel"
	SignalMutationDone = "mutation-done"
	QueryLanes         = "lanes"
	// MemoHighest holds the highest operation sequence number the scope was given: a database that knows less was restored.
	MemoHighest = "highest_operation"
	// MemoEpoch holds the installation epoch the scope was started in.
	MemoEpoch = "epoch"
)

const (
	// confirmEvery bounds how long a lane stays blocked by a mutation whose end was not reported.
	confirmEvery = 30 * time.Second
	// maxInFlight bounds how many mutations of a scope run at once.
	maxInFlight = 64
)

// Submit asks a scope to carry out an operation when its lane is free. Submitting one again is harmless.
type Submit struct {
	OperationID uuid.UUID `json:"operation_id"`
	Lane        string    `json:"lane"`
	Seq         int64     `json:"seq"`
}

// Cancel asks a scope to end an operation whose row says that cancelling was requested.
type Cancel struct {
	OperationID uuid.UUID `json:"operation_id"`
}

// MutationDone reports that a mutation ended; the row of the operation says how.
type MutationDone struct {
	OperationID uuid.UUID `json:"operation_id"`
}

// Entry is one operation a scope holds.
type Entry struct {
	OperationID uuid.UUID `json:"operation_id"`
	Lane        string    `json:"lane"`
}

// ScopeInput is all that a scope remembers: it is carried over continue-as-new whole.
type ScopeInput struct {
	Scope    string  `json:"scope"`
	Epoch    int     `json:"epoch"`
	Queue    []Entry `json:"queue,omitempty"`
	InFlight []Entry `json:"in_flight,omitempty"`
	// Cancelled operations left the queue and wait for their end to be written.
	Cancelled []Entry `json:"cancelled,omitempty"`
	Highest   int64   `json:"highest,omitempty"`
}

// Scope is the sequencer of one scope: operations of one lane run one after the other in the order they arrived, lanes
// run side by side, and an operation on the whole scope waits for all before it and holds up all after it. It never ends
// by itself.
func Scope(ctx workflow.Context, in ScopeInput) error {
	s := &sequencer{ScopeInput: in, confirmSoon: len(in.InFlight) > 0, memoHighest: in.Highest}
	if err := s.register(ctx); err != nil {
		return err
	}
	return s.run(ctx)
}

type sequencer struct {
	ScopeInput
	memoHighest int64
	starting    int  // children whose start is not confirmed yet
	changed     bool // something happened that run has not looked at
	confirmSoon bool // some in-flight operation may have ended without a report
	leaving     bool // continue-as-new is decided
}

func (s *sequencer) register(ctx workflow.Context) error {
	if err := workflow.SetQueryHandler(ctx, QueryLanes, func() (ScopeInput, error) { return s.ScopeInput, nil }); err != nil {
		return err
	}
	err := workflow.SetUpdateHandlerWithOptions(ctx, UpdateSubmit, s.submit, workflow.UpdateHandlerOptions{Validator: validateSubmit})
	if err != nil {
		return err
	}
	return workflow.SetUpdateHandlerWithOptions(ctx, UpdateCancel, s.cancel, workflow.UpdateHandlerOptions{Validator: validateCancel})
}

func validateSubmit(in Submit) error {
	lane, err := uuid.Parse(in.Lane)
	if in.OperationID == uuid.Nil || (in.Lane != operation.WholeScope && (err != nil || lane == uuid.Nil)) {
		return temporalfault.Wrap(fault.New(fault.Invalid, "submit_invalid", "an operation id and a lane are needed"))
	}
	return nil
}

func validateCancel(in Cancel) error {
	if in.OperationID == uuid.Nil {
		return temporalfault.Wrap(fault.New(fault.Invalid, "cancel_invalid", "an operation id is needed"))
	}
	return nil
}

// errLeaving is retryable: the next run takes the operation.
func errLeaving() error {
	return temporalfault.Wrap(fault.New(fault.Unavailable, "scope_continuing", "the scope is continuing as new"))
}

func (s *sequencer) submit(_ workflow.Context, in Submit) error {
	if s.leaving {
		return errLeaving()
	}
	s.changed, s.Highest = true, max(s.Highest, in.Seq)
	switch {
	case find(s.InFlight, in.OperationID) >= 0:
		s.confirmSoon = true // somebody doubts that it still runs
	case find(s.Queue, in.OperationID) < 0 && find(s.Cancelled, in.OperationID) < 0:
		s.Queue = append(s.Queue, Entry{OperationID: in.OperationID, Lane: in.Lane})
	}
	return nil
}

func (s *sequencer) cancel(ctx workflow.Context, in Cancel) error {
	if s.leaving {
		return errLeaving()
	}
	s.changed = true
	if i := find(s.Queue, in.OperationID); i >= 0 {
		s.Cancelled = append(s.Cancelled, s.Queue[i])
		s.Queue = slices.Delete(s.Queue, i, i+1)
		return nil
	}
	if find(s.InFlight, in.OperationID) >= 0 {
		// The answer does not matter: a mutation that ended meanwhile cannot be cancelled.
		_ = workflow.RequestCancelExternalWorkflow(ctx, MutationID(in.OperationID), "")
	}
	return nil
}

func find(entries []Entry, id uuid.UUID) int {
	return slices.IndexFunc(entries, func(e Entry) bool { return e.OperationID == id })
}

func (s *sequencer) run(ctx workflow.Context) error {
	done := workflow.GetSignalChannel(ctx, SignalMutationDone)
	workflow.Go(ctx, func(ctx workflow.Context) {
		for {
			var d MutationDone
			done.Receive(ctx, &d)
			s.release(d.OperationID)
		}
	})
	for {
		s.changed = false
		s.describe(ctx)
		s.startReady(ctx)
		s.endCancelled(ctx)
		if s.confirmSoon {
			s.confirm(ctx)
			continue
		}
		if workflow.GetInfo(ctx).GetContinueAsNewSuggested() || s.leaving {
			if s.readyToLeave(ctx, done) {
				return workflow.NewContinueAsNewError(ctx, Scope, s.ScopeInput)
			}
		}
		if err := s.wait(ctx); err != nil {
			return err
		}
	}
}

// wait returns when something happened, or after confirmEvery with mutations in flight.
func (s *sequencer) wait(ctx workflow.Context) error {
	changed := func() bool { return s.changed || s.confirmSoon }
	if len(s.InFlight) == 0 {
		return workflow.Await(ctx, changed)
	}
	// Cancelled, so that the timer does not stay behind and wake the scope for nothing.
	timed, stop := workflow.WithCancel(ctx)
	defer stop()
	awake, err := workflow.AwaitWithTimeout(timed, confirmEvery, changed)
	if err == nil && !awake {
		s.confirmSoon = true
	}
	return err
}

// readyToLeave refuses new updates from its first call on, and reports whether nothing is left that the next run would
// not know of.
func (s *sequencer) readyToLeave(ctx workflow.Context, done workflow.ReceiveChannel) bool {
	s.leaving = true
	return s.starting == 0 && len(s.Cancelled) == 0 && workflow.AllHandlersFinished(ctx) && done.Len() == 0
}

// startReady starts every queued operation whose turn it is.
func (s *sequencer) startReady(ctx workflow.Context) {
	if s.leaving {
		return
	}
	var waiting []Entry
	blocked := map[string]bool{}
	for _, e := range s.InFlight {
		blocked[e.Lane] = true
	}
	for i, e := range s.Queue {
		whole := e.Lane == operation.WholeScope
		switch {
		case blocked[operation.WholeScope] || len(s.InFlight) >= maxInFlight:
			waiting = append(waiting, s.Queue[i:]...)
			s.Queue = waiting
			return
		case blocked[e.Lane], whole && (len(s.InFlight) > 0 || len(waiting) > 0):
			waiting = append(waiting, e)
		default:
			s.InFlight = append(s.InFlight, e)
			s.start(ctx, e, enums.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE)
		}
		blocked[e.Lane] = true
	}
	s.Queue = waiting
}

// start runs the operation's mutation as a child that outlives this run. A mutation that is there already, open or
// closed, is looked at by confirm.
func (s *sequencer) start(ctx workflow.Context, e Entry, reuse enums.WorkflowIdReusePolicy) {
	s.starting++
	child := workflow.ExecuteChildWorkflow(workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
		WorkflowID:            MutationID(e.OperationID),
		TaskQueue:             ControlQueue,
		WorkflowTaskTimeout:   TaskTimeout,
		ParentClosePolicy:     enums.PARENT_CLOSE_POLICY_ABANDON,
		WorkflowIDReusePolicy: reuse,
		TypedSearchAttributes: temporal.NewSearchAttributes(AttrScope.ValueSet(s.Scope), AttrOperation.ValueSet(e.OperationID.String())),
		Memo:                  map[string]any{MemoEpoch: s.Epoch},
	}), Mutation, MutationInput{OperationID: e.OperationID, Scope: s.Scope})
	workflow.Go(ctx, func(ctx workflow.Context) {
		err := child.GetChildWorkflowExecution().Get(ctx, nil)
		s.starting--
		s.changed = true
		if err == nil {
			// Ended without a report, for example terminated by hand: do not wait for the timer.
			_ = child.Get(ctx, nil)
		}
		if find(s.InFlight, e.OperationID) >= 0 {
			s.confirmSoon = true
		}
	})
}

func (s *sequencer) release(id uuid.UUID) {
	if i := find(s.InFlight, id); i >= 0 {
		s.InFlight = slices.Delete(s.InFlight, i, i+1)
		s.changed = true
	}
}

var sequence *activities.Scope

// confirm compares the in-flight operations with their rows: ended ones free their lane, those without an open mutation
// get a new one.
func (s *sequencer) confirm(ctx workflow.Context) {
	s.confirmSoon = false
	in := activities.ConfirmInput{}
	for _, e := range s.InFlight {
		in.OperationIDs = append(in.OperationIDs, e.OperationID)
	}
	if len(in.OperationIDs) == 0 {
		return
	}
	var out activities.ConfirmResult
	if err := workflow.ExecuteActivity(mustWrite(ctx, "confirm operations in flight"), sequence.Confirm, in).Get(ctx, &out); err != nil {
		return // the timer asks again
	}
	for _, id := range out.Ended {
		s.release(id)
	}
	for _, id := range out.Abandoned {
		if i := find(s.InFlight, id); i >= 0 {
			// Confirm saw that the earlier mutation is closed, so its id may be used again.
			s.start(ctx, s.InFlight[i], enums.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE)
		}
	}
}

// endCancelled writes the end of operations that were cancelled while they waited for their turn.
func (s *sequencer) endCancelled(ctx workflow.Context) {
	for len(s.Cancelled) > 0 {
		in := activities.OperationInput{OperationID: s.Cancelled[0].OperationID}
		if err := workflow.ExecuteActivity(mustWrite(ctx, "end a cancelled operation"), sequence.EndCancelled, in).Get(ctx, nil); err != nil {
			workflow.GetLogger(ctx).Warn("the end of a cancelled operation could not be written", "err", err)
		}
		s.Cancelled = slices.Delete(s.Cancelled, 0, 1)
	}
}

// describe keeps what people and recovery read about the scope up to date.
func (s *sequencer) describe(ctx workflow.Context) {
	if s.Highest == s.memoHighest {
		return
	}
	s.memoHighest = s.Highest
	if err := workflow.UpsertMemo(ctx, map[string]any{MemoHighest: s.Highest, MemoEpoch: s.Epoch}); err != nil {
		workflow.GetLogger(ctx).Warn("memo not updated", "err", err)
	}
}
