package activities

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/google/uuid"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/bus"
	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/operation"
	"github.com/decnet/decnet/internal/temporalfault"
)

// Activate makes the operation's revision the active one, ends the operation and puts its events into the outbox, in one
// transaction. When cancelling was requested before, nothing changes and the fault is operation_cancelled.
//
// Idempotency: an operation that succeeded already is left alone, under its row lock.
func (m *Mutation) Activate(ctx context.Context, in OperationInput) error {
	return temporalfault.Wrap(m.Store.InTx(ctx, func(tx *db.Tx) error {
		op, _, err := tx.LockOperation(ctx, in.OperationID)
		if err != nil {
			return err
		}
		switch {
		case op.State == operation.Succeeded:
			return nil
		case !op.State.Open():
			return fault.New(fault.Conflict, "operation_final", "the operation has ended")
		case op.Cancel:
			return operation.CancelledFault()
		}
		now := m.Now()
		step := operation.StepRecord{Name: operation.Activate, State: operation.StepSucceeded, StartedAt: now, EndedAt: &now}
		if err := tx.RecordStep(ctx, op.ID, step); err != nil {
			return err
		}
		response, err := m.activate(ctx, tx, op)
		if err != nil {
			return err
		}
		return tx.EndOperation(ctx, op.ID, operation.Succeeded, nil, response)
	}))
}

// ServicesBody is what the API answers to a change of a decky's services, and the payload of its event.
type ServicesBody struct {
	DeckyName  string   `json:"decky_name"`
	TopologyID *string  `json:"topology_id"`
	Services   []string `json:"services"`
}

func (m *Mutation) activate(ctx context.Context, tx *db.Tx, op operation.Operation) (response any, err error) {
	d, err := tx.LockDecky(ctx, op.DeckyID)
	if op.Kind == operation.Reconcile && fault.KindOf(err) == fault.NotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	rev, found, err := tx.RevisionOf(ctx, op.ID)
	if err != nil {
		return nil, err
	}
	if !found { // only Reconcile writes none
		return ServicesBody{DeckyName: d.Name, Services: decky.Names(d.Services)}, m.activateReconciled(ctx, tx, op, d)
	}
	if rev.State != string(db.RevisionPending) {
		return nil, fault.New(fault.OperationFailed, "interrupted", "the change was given up before it could become active")
	}
	if err := tx.ActivateRevision(ctx, d.ID, rev.ID); err != nil {
		return nil, err
	}
	state, transition := decky.Running, "state_changed"
	switch {
	case rev.Removed:
		state, transition = decky.TornDown, "deleted"
	case op.Kind == operation.CreateDecky:
		transition = "inserted"
	}
	if err := m.transition(ctx, tx, d, state, "", transition, uuid.Nil); err != nil {
		return nil, err
	}
	body := ServicesBody{DeckyName: d.Name, Services: decky.Names(rev.Services)}
	if err := m.announce(ctx, tx, op, d, body); err != nil {
		return nil, err
	}
	return body, nil
}

func (m *Mutation) activateReconciled(ctx context.Context, tx *db.Tx, op operation.Operation, d decky.Decky) error {
	if d.Removed {
		return m.transition(ctx, tx, d, decky.TornDown, "", "deleted", op.ID)
	}
	return m.transition(ctx, tx, d, decky.Running, "", "state_changed", op.ID)
}

// Discard gives up the operation's pending revision, so that Converge aims at the active one again.
//
// Idempotency: only a pending revision of this operation changes; repeating finds none.
func (m *Mutation) Discard(ctx context.Context, in OperationInput) error {
	return temporalfault.Wrap(m.Store.InTx(ctx, func(tx *db.Tx) error {
		op, _, err := tx.LockOperation(ctx, in.OperationID)
		if err != nil || !op.State.Open() {
			return err
		}
		d, err := tx.LockDecky(ctx, op.DeckyID)
		if err == nil && d.Removed {
			err = m.setState(ctx, tx, d, decky.TearingDown, "")
		}
		if err != nil && fault.KindOf(err) != fault.NotFound {
			return err
		}
		now := m.Now()
		step := operation.StepRecord{Name: operation.Discard, State: operation.StepSucceeded, StartedAt: now, EndedAt: &now}
		if err := tx.RecordStep(ctx, op.ID, step); err != nil {
			return err
		}
		return tx.DiscardRevision(ctx, op.ID)
	}))
}

// SettleInput says how an operation that did not succeed ends: failed, cancelled or unconverged.
type SettleInput struct {
	OperationID uuid.UUID       `json:"operation_id"`
	State       operation.State `json:"state"`
	Fault       fault.Error     `json:"fault"`
}

// Settle ends an operation that was undone, or whose undo Reconcile owes.
//
// Idempotency: an operation that ended already is left alone, under its row lock.
func (m *Mutation) Settle(ctx context.Context, in SettleInput) error {
	return temporalfault.Wrap(m.Store.InTx(ctx, func(tx *db.Tx) error {
		op, _, err := tx.LockOperation(ctx, in.OperationID)
		if err != nil || !op.State.Open() {
			return err
		}
		d, err := tx.LockDecky(ctx, op.DeckyID)
		switch {
		case fault.KindOf(err) == fault.NotFound:
		case err != nil:
			return err
		case op.Kind == operation.Reconcile:
			err = m.repairFailed(ctx, tx, d, in.Fault)
		case in.State == operation.Unconverged:
			err = m.setState(ctx, tx, d, decky.Degraded, in.Fault.Message)
		case d.Removed:
			err = m.transition(ctx, tx, d, decky.TornDown, "", "deleted", uuid.Nil)
		default:
			err = m.setState(ctx, tx, d, decky.Running, "")
		}
		if err != nil && fault.KindOf(err) != fault.NotFound {
			return err
		}
		return tx.EndOperation(ctx, op.ID, in.State, &in.Fault, nil)
	}))
}

// repairFailed makes the next repair wait longer, or gives the decky up until somebody looks at it. A repair that could
// not be tried, because what runs decoys did not answer, says nothing about the decky and does not count.
func (m *Mutation) repairFailed(ctx context.Context, tx *db.Tx, d decky.Decky, why fault.Error) error {
	reason := why.Message
	if why.Kind == fault.Unavailable {
		return m.setState(ctx, tx, d, decky.Degraded, reason)
	}
	failures := d.RepairFailures + 1
	state, pause := decky.AfterFailedRepair(failures)
	if state == decky.Quarantined {
		reason = fmt.Sprintf("%d repairs in a row failed, the last one: %s", failures, reason)
	}
	if err := tx.SetRepairs(ctx, d.ID, failures, pause); err != nil {
		return err
	}
	return m.setState(ctx, tx, d, state, reason)
}

// setState changes a decky's state and announces it; the same state again changes nothing.
func (m *Mutation) setState(ctx context.Context, tx *db.Tx, d decky.Decky, state decky.State, reason string) error {
	return m.transition(ctx, tx, d, state, reason, "state_changed", uuid.Nil)
}

type statePayload struct {
	HostID        string      `json:"host_uuid"`
	Name          string      `json:"name"`
	State         decky.State `json:"state"`
	Transition    string      `json:"transition"`
	Source        string      `json:"source"`
	PreviousState decky.State `json:"previous_state,omitempty"`
	OperationID   *uuid.UUID  `json:"operation_id,omitempty"`
}

func (m *Mutation) transition(
	ctx context.Context, tx *db.Tx, d decky.Decky, state decky.State, reason, transition string, operationID uuid.UUID,
) error {
	if err := tx.SetDeckyState(ctx, d.ID, state, reason); err != nil {
		return err
	}
	if state == decky.Running {
		if err := tx.SetRepairs(ctx, d.ID, 0, 0); err != nil {
			return err
		}
	}
	if d.State == state && operationID == uuid.Nil {
		return nil
	}
	payload := statePayload{HostID: m.HostID, Name: d.Name, State: state, Transition: transition, Source: d.Scope}
	if transition == "state_changed" {
		payload.PreviousState = d.State
	}
	if operationID != uuid.Nil {
		payload.OperationID = &operationID
	}
	subject, err := bus.Decky(m.HostID+":"+d.Name, bus.EventDeckyState)
	if err != nil {
		return err
	}
	return publish(ctx, tx, d.ID, subject, bus.EventDeckyState, payload, operationID)
}

type servicePayload struct {
	DeckyName   string    `json:"decky_name"`
	ServiceName string    `json:"service_name"`
	TopologyID  *string   `json:"topology_id"`
	Services    []string  `json:"services"`
	OperationID uuid.UUID `json:"operation_id"`
}

type mutationPayload struct {
	Decky       string    `json:"decky"`
	OldServices []string  `json:"old_services"`
	NewServices []string  `json:"new_services"`
	Trigger     string    `json:"trigger"`
	Actor       string    `json:"actor"`
	OperationID uuid.UUID `json:"operation_id"`
}

// announce writes the one event of a successful operation.
func (m *Mutation) announce(ctx context.Context, tx *db.Tx, op operation.Operation, d decky.Decky, body ServicesBody) error {
	event := bus.EventDeckyMutation
	var payload any = mutationPayload{
		Decky: d.Name, OldServices: decky.Names(d.Services), NewServices: body.Services,
		Trigger: "creation", Actor: op.Actor, OperationID: op.ID,
	}
	switch op.Kind {
	case operation.AddService, operation.RemoveService:
		event = bus.EventDeckyServiceAdded
		if op.Kind == operation.RemoveService {
			event = bus.EventDeckyServiceRemoved
		}
		payload = servicePayload{DeckyName: d.Name, ServiceName: op.Service, Services: body.Services, OperationID: op.ID}
	case operation.DeleteDecky:
		p := payload.(mutationPayload)
		p.Trigger = "retirement"
		payload = p
	case operation.CreateDecky, operation.Reconcile:
	}
	subject, err := bus.Decky(d.Name, event)
	if err != nil {
		return err
	}
	return publish(ctx, tx, d.ID, subject, event, payload, op.ID)
}

func publish(ctx context.Context, tx *db.Tx, key uuid.UUID, subject bus.Subject, typ string, payload any, operationID uuid.UUID) error {
	body, err := json.Marshal(payload)
	if err != nil {
		return err
	}
	return tx.Publish(ctx, db.Event{
		EventID: uuid.New(), Key: key.String(), Topic: string(subject), Type: typ, Payload: body, OperationID: operationID,
	})
}
