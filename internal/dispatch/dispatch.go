// Package dispatch brings change requests to the sequencer of their scope and waits for their end.
//
// A request is a row first: whatever happens after Accept, recovery submits it again. Nothing is lost when Temporal is
// away.
package dispatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"github.com/decnet/decnet/activities"
	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/bus"
	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/operation"
	"github.com/decnet/decnet/internal/secretbox"
	"github.com/decnet/decnet/internal/temporalfault"
	"github.com/decnet/decnet/internal/topology"
	"github.com/decnet/decnet/workflows"
)

const (
	// submitLimit bounds one try to reach a scope; recovery tries again.
	submitLimit = 5 * time.Second
	// pollEvery is the fallback for a lost notification.
	pollEvery = time.Second
)

// Dispatcher submits operations and waits for them. Make it with New; it is safe for concurrent use.
type Dispatcher struct {
	store    *db.Store
	temporal client.Client
	box      *secretbox.Box
	log      *slog.Logger

	mu      sync.Mutex
	waiting map[string]map[chan struct{}]bool // by operation id
}

// New returns a dispatcher. Run must be running for Wait to be prompt.
func New(store *db.Store, temporal client.Client, box *secretbox.Box, log *slog.Logger) *Dispatcher {
	return &Dispatcher{store: store, temporal: temporal, box: box, log: log, waiting: map[string]map[chan struct{}]bool{}}
}

// Run hears of ended operations until ctx ends.
func (d *Dispatcher) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		err := d.store.Listen(ctx, d.wakeAll, d.wake, "operation_ended")
		if ctx.Err() == nil {
			d.log.WarnContext(ctx, "waiting for ended operations by polling", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(pollEvery):
			}
		}
	}
	return nil
}

func (d *Dispatcher) wake(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for ch := range d.waiting[id] {
		notify(ch)
	}
}

// wakeAll lets everybody look again: notifications may have been missed before.
func (d *Dispatcher) wakeAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, channels := range d.waiting {
		for ch := range channels {
			notify(ch)
		}
	}
}

func notify(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default: // one waits already
	}
}

// RequestHash returns the digest by which two uses of an idempotency key are compared. what names the operation and its
// target.
func (d *Dispatcher) RequestHash(what string, body any) ([]byte, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("hash request: %w", err)
	}
	return d.box.Hash(append([]byte(what+"\n"), b...)), nil
}

// Accept records a change request and submits it. The stored operation comes back: an earlier one when the idempotency
// key was used before. An operation whose state is final already (refused at the door) is recorded only. That Temporal
// does not answer is no error: the operation stays received.
func (d *Dispatcher) Accept(ctx context.Context, op operation.Operation, request operation.Request) (operation.Operation, error) {
	plain, err := json.Marshal(request)
	if err != nil {
		return operation.Operation{}, fmt.Errorf("encode request: %w", err)
	}
	sealed, err := d.box.Seal(plain, op.ID.String())
	if err != nil {
		return operation.Operation{}, err
	}
	events, err := enqueued(op)
	if err != nil {
		return operation.Operation{}, err
	}
	stored, added, err := d.store.AddOperation(ctx, op, sealed, events...)
	if err != nil || !added || !stored.State.Open() {
		return stored, err
	}
	if err := d.Submit(ctx, stored); err != nil {
		d.log.WarnContext(ctx, "operation is kept until its scope can be reached", "operation_id", stored.ID, "err", err)
	}
	return stored, nil
}

// enqueued is the event of an edit of a topology that was asked for.
func enqueued(op operation.Operation) ([]db.Event, error) {
	id, ok := topology.IDFromScope(op.Scope)
	if !ok || len(op.Payload) == 0 || !op.State.Open() {
		return nil, nil
	}
	subject, err := bus.TopologyMutation(id.String(), bus.MutationEnqueued)
	if err != nil {
		return nil, err
	}
	payload, err := json.Marshal(map[string]any{"mutation_id": op.ID, "op": op.Kind, "payload": op.Payload})
	return []db.Event{{
		EventID: uuid.New(), Key: id.String(), Topic: string(subject), Type: bus.MutationEnqueued, Payload: payload, OperationID: op.ID,
	}}, err
}

// Submit hands an open operation to its scope, starting the scope when it is not there. Submitting again is harmless.
func (d *Dispatcher) Submit(ctx context.Context, op operation.Operation) error {
	ctx, cancel := context.WithTimeout(ctx, submitLimit)
	defer cancel()
	in := workflows.Submit{OperationID: op.ID, Lane: op.Lane, Seq: op.Seq}
	if err := d.update(ctx, op.Scope, workflows.UpdateSubmit, op.ID.String(), in); err != nil {
		return err
	}
	return d.store.MarkQueued(ctx, op.ID)
}

// EnsureScope starts a scope's sequencer unless it runs.
func (d *Dispatcher) EnsureScope(ctx context.Context, scope string, epoch int, highest int64) error {
	options := d.scopeOptions(scope, epoch)
	options.Memo[workflows.MemoHighest] = highest
	in := workflows.ScopeInput{Scope: scope, Epoch: epoch, Highest: highest}
	_, err := d.temporal.ExecuteWorkflow(ctx, options, workflows.Scope, in)
	return unavailable(err)
}

func (d *Dispatcher) scopeOptions(scope string, epoch int) client.StartWorkflowOptions {
	return client.StartWorkflowOptions{
		ID:                       workflows.ScopeID(scope),
		TaskQueue:                workflows.ControlQueue,
		WorkflowTaskTimeout:      workflows.TaskTimeout,
		WorkflowIDConflictPolicy: enums.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
		WorkflowIDReusePolicy:    enums.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		Memo:                     map[string]any{workflows.MemoEpoch: epoch},
		StaticSummary:            "sequencer of " + scope,
	}
}

func (d *Dispatcher) update(ctx context.Context, scope, name, id string, arg any) error {
	installation, err := d.store.Installation(ctx)
	if err != nil {
		return err
	}
	handle, err := d.temporal.UpdateWithStartWorkflow(ctx, client.UpdateWithStartWorkflowOptions{
		StartWorkflowOperation: d.temporal.NewWithStartWorkflowOperation(d.scopeOptions(scope, installation.Epoch),
			workflows.Scope, workflows.ScopeInput{Scope: scope, Epoch: installation.Epoch}),
		UpdateOptions: client.UpdateWorkflowOptions{
			UpdateID: id, UpdateName: name, Args: []any{arg}, WaitForStage: client.WorkflowUpdateStageCompleted,
		},
	})
	if err != nil {
		return unavailable(err)
	}
	if err := handle.Get(ctx, nil); err != nil {
		return temporalfault.Unwrap(err)
	}
	return nil
}

func unavailable(err error) error {
	if err == nil {
		return nil
	}
	return fault.New(fault.Unavailable, "temporal_unavailable", "Temporal does not answer").Wrap(err)
}

// Cancel asks for an open operation to end. From then on it cannot succeed, unless it is over already: then the fault is
// a Conflict (operation_final). The operation ends when what was done is undone.
func (d *Dispatcher) Cancel(ctx context.Context, id uuid.UUID) (operation.Operation, error) {
	op, err := d.store.RequestCancel(ctx, id)
	if err != nil {
		return operation.Operation{}, err
	}
	short, cancel := context.WithTimeout(ctx, submitLimit)
	defer cancel()
	// A fresh update id: an earlier request may have met the operation in another place.
	if err := d.update(short, op.Scope, workflows.UpdateCancel, "cancel/"+uuid.NewString(), workflows.Cancel{OperationID: id}); err != nil {
		d.log.WarnContext(ctx, "cancelling waits until the operation's next step", "operation_id", id, "err", err)
	}
	return op, nil
}

// Record does a change that needs no lane in one transaction, together with the operation that tells of it, and returns
// what the change answers as JSON. Nothing is recorded of a change that fails.
func (d *Dispatcher) Record(ctx context.Context, op operation.Operation, change func(*db.Tx) (any, error)) (json.RawMessage, error) {
	sealed, err := d.box.Seal([]byte("{}"), op.ID.String())
	if err != nil {
		return nil, err
	}
	var response any
	if err := d.store.InTx(ctx, func(tx *db.Tx) (err error) {
		if response, err = change(tx); err != nil {
			return err
		}
		return tx.RecordDone(ctx, op, sealed, response)
	}); err != nil || response == nil {
		return nil, err
	}
	return json.Marshal(response)
}

// ChangeExpiry sets when a service is to be removed, nil for never, and wakes its timer. The operation op is recorded as
// succeeded with the response. That Temporal does not answer is no error: the time is kept, and recovery starts the timer.
func (d *Dispatcher) ChangeExpiry(ctx context.Context, op operation.Operation, at *time.Time, response any) error {
	sealed, err := d.box.Seal([]byte("{}"), op.ID.String())
	if err != nil {
		return err
	}
	e, err := d.store.ChangeExpiry(ctx, op, sealed, at, response)
	if err != nil {
		return err
	}
	if err := d.wakeExpiry(ctx, e); err != nil {
		d.log.WarnContext(ctx, "the end of a temporary service waits for recovery", "workflow_id", workflows.ExpiryID(e.ID), "err", err)
	}
	return nil
}

// wakeExpiry signals the timer of a service, starting it when the service is temporary now.
func (d *Dispatcher) wakeExpiry(ctx context.Context, e decky.Expiry) error {
	ctx, cancel := context.WithTimeout(ctx, submitLimit)
	defer cancel()
	if e.At.IsZero() {
		err := d.temporal.SignalWorkflow(ctx, workflows.ExpiryID(e.ID), "", workflows.SignalExpiryChanged, nil)
		var missing *serviceerror.NotFound
		if errors.As(err, &missing) {
			return nil
		}
		return unavailable(err)
	}
	installation, err := d.store.Installation(ctx)
	if err != nil {
		return err
	}
	return d.signalExpiry(ctx, e, installation.Epoch)
}

// EnsureExpiry starts the timer of a temporary service unless it runs, and wakes it then if asked to: it may wait for a time
// that was changed while Temporal did not answer.
func (d *Dispatcher) EnsureExpiry(ctx context.Context, e decky.Expiry, epoch int, wake bool) error {
	if wake {
		return d.signalExpiry(ctx, e, epoch)
	}
	_, err := d.temporal.ExecuteWorkflow(ctx, expiryOptions(e, epoch), workflows.TemporaryService, activities.ExpireInput{Expiry: e})
	return unavailable(err)
}

func (d *Dispatcher) signalExpiry(ctx context.Context, e decky.Expiry, epoch int) error {
	options := expiryOptions(e, epoch)
	_, err := d.temporal.SignalWithStartWorkflow(ctx, options.ID, workflows.SignalExpiryChanged, nil, options,
		workflows.TemporaryService, activities.ExpireInput{Expiry: e})
	return unavailable(err)
}

func expiryOptions(e decky.Expiry, epoch int) client.StartWorkflowOptions {
	return client.StartWorkflowOptions{
		ID:                       workflows.ExpiryID(e.ID),
		TaskQueue:                workflows.ControlQueue,
		WorkflowTaskTimeout:      workflows.TaskTimeout,
		WorkflowIDConflictPolicy: enums.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
		WorkflowIDReusePolicy:    enums.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		TypedSearchAttributes:    workflows.ExpiryAttributes(e),
		Memo:                     map[string]any{workflows.MemoEpoch: epoch},
		StaticSummary:            workflows.ExpirySummary(e),
	}
}

// Wait returns an operation once it ended, or as it is after the given time.
func (d *Dispatcher) Wait(ctx context.Context, id uuid.UUID, limit time.Duration) (operation.Operation, error) {
	ch := make(chan struct{}, 1)
	d.subscribe(id.String(), ch)
	defer d.unsubscribe(id.String(), ch)
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	for {
		op, err := d.store.Operation(ctx, id)
		if err != nil || !op.State.Open() {
			return op, err
		}
		select {
		case <-ctx.Done():
			return op, ctx.Err()
		case <-deadline.C:
			return op, nil
		case <-ch:
		case <-poll.C:
		}
	}
}

func (d *Dispatcher) subscribe(id string, ch chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waiting[id] == nil {
		d.waiting[id] = map[chan struct{}]bool{}
	}
	d.waiting[id][ch] = true
}

func (d *Dispatcher) unsubscribe(id string, ch chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.waiting[id], ch)
	if len(d.waiting[id]) == 0 {
		delete(d.waiting, id)
	}
}
