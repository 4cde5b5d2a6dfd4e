package db

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/decnet/decnet/db/dbsqlc"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/operation"
)

// IdempotencyKept is how long a key answers with the outcome of its first use.
const IdempotencyKept = 7 * 24 * time.Hour

// AddOperation records a change request. When the actor used the idempotency key before, the recorded operation comes
// back instead and added is false; if that was another request the fault is Unprocessable (idempotency_key_reused).
func (s *Store) AddOperation(
	ctx context.Context, op operation.Operation, sealed []byte, events ...Event,
) (stored operation.Operation, added bool, err error) {
	key := optional(op.IdempotencyKey)
	err = s.InTx(ctx, func(tx *Tx) error {
		row, err := tx.insertOperation(ctx, op, sealed)
		if err == nil {
			stored, added = op, true
			stored.Seq, stored.CreatedAt = row.Seq, row.CreatedAt
			return tx.publishAll(ctx, events)
		}
		if key == nil || fault.KindOf(interpret(err)) != fault.NotFound {
			return err
		}
		first, err := tx.q.GetOperationByKey(ctx, dbsqlc.GetOperationByKeyParams{Actor: op.Actor, IdempotencyKey: key})
		if err != nil {
			return err
		}
		if !bytes.Equal(first.RequestHash, op.RequestHash) {
			return fault.New(fault.Unprocessable, "idempotency_key_reused", "the idempotency key belongs to another request")
		}
		stored, added = toOperation(first), false
		return nil
	})
	return stored, added, err
}

// insertOperation returns no rows when the idempotency key of op is taken.
func (tx *Tx) insertOperation(ctx context.Context, op operation.Operation, sealed []byte) (dbsqlc.InsertOperationRow, error) {
	key := optional(op.IdempotencyKey)
	if key != nil {
		if err := tx.q.ReleaseIdempotencyKey(ctx, dbsqlc.ReleaseIdempotencyKeyParams{
			Actor: op.Actor, IdempotencyKey: key, Before: time.Now().Add(-IdempotencyKept),
		}); err != nil {
			return dbsqlc.InsertOperationRow{}, err
		}
	}
	return tx.q.InsertOperation(ctx, insertParams(op, key, sealed))
}

func insertParams(op operation.Operation, key *string, sealed []byte) dbsqlc.InsertOperationParams {
	p := dbsqlc.InsertOperationParams{
		ID: op.ID, Scope: op.Scope, Lane: op.Lane, Kind: string(op.Kind), Actor: op.Actor, IdempotencyKey: key,
		RequestHash: op.RequestHash, Request: sealed, State: string(op.State), DeckyID: optional(op.DeckyID),
		DeckyName: op.Decky, Service: op.Service, Payload: op.Payload,
	}
	if !op.State.Open() {
		p.EndedAt = ptr(time.Now())
	}
	if op.Fault != nil {
		p.Fault = marshal(op.Fault)
	}
	return p
}

// OperationByKey returns the operation an actor's idempotency key belongs to, or a NotFound fault.
func (s *Store) OperationByKey(ctx context.Context, actor, key string) (operation.Operation, error) {
	row, err := s.queries().GetOperationByKey(ctx, dbsqlc.GetOperationByKeyParams{Actor: actor, IdempotencyKey: &key})
	if err != nil {
		return operation.Operation{}, interpret(err)
	}
	if time.Since(row.CreatedAt) > IdempotencyKept && row.EndedAt != nil {
		return operation.Operation{}, operation.NotFound()
	}
	return toOperation(row), nil
}

// Operation returns one operation with its steps, or a NotFound fault (operation_not_found).
func (s *Store) Operation(ctx context.Context, id uuid.UUID) (operation.Operation, error) {
	row, err := s.queries().GetOperation(ctx, id)
	if err != nil {
		return operation.Operation{}, notFound(err, operation.NotFound())
	}
	ops := []operation.Operation{toOperation(row)}
	if err := s.attachSteps(ctx, ops); err != nil {
		return operation.Operation{}, err
	}
	return ops[0], nil
}

// OperationFilter selects operations; empty fields select everything. BeforeSeq is the keyset cursor: only operations
// with a smaller sequence number, 0 for the newest.
type OperationFilter struct {
	Decky, Service, Kind, State, Actor string
	BeforeSeq                          int64
	Limit                              int
}

// Operations lists operations with their steps, newest first.
func (s *Store) Operations(ctx context.Context, f OperationFilter) ([]operation.Operation, error) {
	if f.BeforeSeq <= 0 {
		f.BeforeSeq = 1<<63 - 1
	}
	rows, err := s.queries().ListOperations(ctx, dbsqlc.ListOperationsParams{
		BeforeSeq: f.BeforeSeq, Decky: optional(f.Decky), Service: optional(f.Service), Kind: optional(f.Kind),
		State: optional(f.State), Actor: optional(f.Actor), MaxRows: int32(f.Limit),
	})
	if err != nil {
		return nil, interpret(err)
	}
	ops := toOperations(rows)
	return ops, s.attachSteps(ctx, ops)
}

// OpenOperations lists operations that have not ended, oldest first, without steps.
func (s *Store) OpenOperations(ctx context.Context, limit int) ([]operation.Operation, error) {
	rows, err := s.queries().ListOpenOperations(ctx, int32(limit))
	return toOperations(rows), interpret(err)
}

// HighestOperation returns the sequence number of the newest operation, 0 when there is none.
func (s *Store) HighestOperation(ctx context.Context) (int64, error) {
	seq, err := s.queries().HighestOperation(ctx)
	return seq, interpret(err)
}

// LaneBusy reports whether an operation of the lane is open.
func (s *Store) LaneBusy(ctx context.Context, scope, lane string) (bool, error) {
	busy, err := s.queries().LaneBusy(ctx, dbsqlc.LaneBusyParams{Scope: scope, Lane: lane})
	return busy, interpret(err)
}

// BusyLanes returns the lanes with open operations, keyed by scope and lane.
func (s *Store) BusyLanes(ctx context.Context) (map[[2]string]bool, error) {
	rows, err := s.queries().ListOpenLanes(ctx)
	busy := make(map[[2]string]bool, len(rows))
	for _, r := range rows {
		busy[[2]string{r.Scope, r.Lane}] = true
	}
	return busy, interpret(err)
}

// MarkQueued notes that a Scope took the operation; it does nothing once the operation runs or ended.
func (s *Store) MarkQueued(ctx context.Context, id uuid.UUID) error {
	return interpret(s.queries().MarkOperationQueued(ctx, id))
}

// RequestCancel asks for an operation to be cancelled. Faults: NotFound; Conflict (operation_final) when it ended.
func (s *Store) RequestCancel(ctx context.Context, id uuid.UUID) (operation.Operation, error) {
	row, err := s.queries().RequestCancel(ctx, id)
	if err == nil {
		return toOperation(row), nil
	}
	if _, getErr := s.Operation(ctx, id); getErr != nil {
		return operation.Operation{}, getErr
	}
	return operation.Operation{}, notFound(err, fault.New(fault.Conflict, "operation_final", "the operation has ended"))
}

// RecordStep inserts or updates one step of an operation. A later attempt overwrites an earlier one, its start is kept.
func (s *Store) RecordStep(ctx context.Context, id uuid.UUID, step operation.StepRecord) error {
	return interpret(recordStep(ctx, s.queries(), id, step))
}

// RecordStep is Store.RecordStep inside a transaction.
func (tx *Tx) RecordStep(ctx context.Context, id uuid.UUID, step operation.StepRecord) error {
	return recordStep(ctx, tx.q, id, step)
}

func recordStep(ctx context.Context, q *dbsqlc.Queries, id uuid.UUID, step operation.StepRecord) error {
	return q.UpsertStep(ctx, dbsqlc.UpsertStepParams{
		OperationID: id, Name: string(step.Name), State: string(step.State), Attempt: int32(max(step.Attempt, 1)),
		Detail: step.Detail, StartedAt: step.StartedAt, EndedAt: step.EndedAt,
	})
}

// RecordDone writes an operation that was done in this transaction. An idempotency key that was used a moment ago is a
// Conflict (idempotency_key_in_use).
func (tx *Tx) RecordDone(ctx context.Context, op operation.Operation, sealed []byte, response any) error {
	op.State = operation.Received
	_, err := tx.insertOperation(ctx, op, sealed)
	if err != nil {
		return notFound(err, fault.New(fault.Conflict, "idempotency_key_in_use", "a request with this idempotency key has just been made"))
	}
	return tx.EndOperation(ctx, op.ID, operation.Succeeded, nil, response)
}

// LockOperation reads an operation and its sealed request and locks the row to the end of the transaction.
func (tx *Tx) LockOperation(ctx context.Context, id uuid.UUID) (op operation.Operation, sealed []byte, err error) {
	row, err := tx.q.LockOperation(ctx, id)
	if err != nil {
		return operation.Operation{}, nil, notFound(err, operation.NotFound())
	}
	return toOperation(row), row.Request, nil
}

// StartOperation makes a locked operation running, owned by a Mutation run.
func (tx *Tx) StartOperation(ctx context.Context, id uuid.UUID, runID string) error {
	return tx.q.StartOperation(ctx, dbsqlc.StartOperationParams{ID: id, RunID: &runID})
}

// SetRevisions notes which decky an operation concerns and the revisions before and after it.
func (tx *Tx) SetRevisions(ctx context.Context, id, deckyID uuid.UUID, before, after *int) error {
	return tx.q.SetOperationRevisions(ctx, dbsqlc.SetOperationRevisionsParams{
		ID: id, DeckyID: &deckyID, RevisionBefore: toInt32(before), RevisionAfter: toInt32(after),
	})
}

// EndOperation makes a locked operation final; waiting requests are notified at commit. An ended one stays as it is.
func (tx *Tx) EndOperation(ctx context.Context, id uuid.UUID, state operation.State, f *fault.Error, response any) error {
	p := dbsqlc.EndOperationParams{ID: id, State: string(state)}
	if f != nil {
		p.Fault = marshal(f.Safe())
		if err := tx.q.FailRunningSteps(ctx, dbsqlc.FailRunningStepsParams{OperationID: id, Detail: f.Message}); err != nil {
			return err
		}
	}
	if response != nil {
		p.Response = marshal(response)
	}
	return tx.q.EndOperation(ctx, p)
}

func (s *Store) attachSteps(ctx context.Context, ops []operation.Operation) error {
	index := make(map[uuid.UUID]int, len(ops))
	ids := make([]uuid.UUID, len(ops))
	for i, op := range ops {
		index[op.ID], ids[i] = i, op.ID
	}
	rows, err := s.queries().ListSteps(ctx, ids)
	for _, r := range rows {
		op := &ops[index[r.OperationID]]
		op.Steps = append(op.Steps, operation.StepRecord{
			Name: operation.Step(r.Name), State: operation.StepState(r.State), StartedAt: r.StartedAt, EndedAt: r.EndedAt,
			Attempt: int(r.Attempt), Detail: r.Detail,
		})
	}
	return interpret(err)
}

func toOperations(rows []dbsqlc.Operation) []operation.Operation {
	ops := make([]operation.Operation, len(rows))
	for i, r := range rows {
		ops[i] = toOperation(r)
	}
	return ops
}

func toOperation(r dbsqlc.Operation) operation.Operation {
	op := operation.Operation{
		ID: r.ID, Seq: r.Seq, Scope: r.Scope, Lane: r.Lane, Kind: operation.Kind(r.Kind), Actor: r.Actor,
		IdempotencyKey: deref(r.IdempotencyKey), RequestHash: r.RequestHash, State: operation.State(r.State),
		DeckyID: deref(r.DeckyID), Decky: r.DeckyName, Service: r.Service,
		RevisionBefore: toInt(r.RevisionBefore), RevisionAfter: toInt(r.RevisionAfter), Response: r.Response, Payload: r.Payload, Undo: r.Undo,
		RunID: deref(r.RunID), Cancel: r.CancelRequestedAt != nil, CreatedAt: r.CreatedAt, EndedAt: r.EndedAt,
	}
	if len(r.Fault) > 0 {
		op.Fault = new(fault.Error)
		if err := json.Unmarshal(r.Fault, op.Fault); err != nil {
			op.Fault = fault.New(fault.Internal, "internal", "the stored fault cannot be read")
		}
	}
	return op
}

// notFound gives a query that found nothing its own fault.
func notFound(err error, f *fault.Error) error {
	err = interpret(err)
	if fault.KindOf(err) == fault.NotFound {
		return f.Wrap(err)
	}
	return err
}

// marshal encodes a value that is known to have a JSON form.
func marshal(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("encode %T: %v", v, err))
	}
	return b
}

func toInt32(p *int) *int32 {
	if p == nil {
		return nil
	}
	return ptr(int32(*p))
}

func toInt(p *int32) *int {
	if p == nil {
		return nil
	}
	return ptr(int(*p))
}
