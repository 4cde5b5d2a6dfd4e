package activities

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"github.com/google/uuid"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/bus"
	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/operation"
	"github.com/decnet/decnet/internal/service"
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
	if op.Kind.OfTopology() {
		return m.activateTopology(ctx, tx, op)
	}
	d, err := lockDecky(ctx, tx, op)
	if op.Kind == operation.Reconcile && fault.KindOf(err) == fault.NotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	revisions, err := tx.RevisionsOf(ctx, op.ID)
	if err != nil {
		return nil, err
	}
	if len(revisions) == 0 { // only Reconcile writes none
		return ServicesBody{DeckyName: d.Name, TopologyID: decky.TopologyOf(d.Scope), Services: decky.Names(d.Services)}, m.activateReconciled(ctx, tx, op, d)
	}
	rev := revisions[0]
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
	if !d.Planned && !unaffected(op) { // else nothing was learned about its decoys
		if err := m.transition(ctx, tx, d, state, "", transition, uuid.Nil); err != nil {
			return nil, err
		}
	}
	body := ServicesBody{DeckyName: d.Name, TopologyID: decky.TopologyOf(d.Scope), Services: decky.Names(rev.Services)}
	if err := m.announce(ctx, tx, op, d, rev); err != nil {
		return nil, err
	}
	if op.Kind == operation.SaveConfig || op.Kind == operation.ApplyConfig {
		return configured(op, d, rev), nil
	}
	return body, nil
}

// ConfigBody is what the API answers to a change of a service's configuration. Secrets are masked.
type ConfigBody struct {
	DeckyName     string         `json:"decky_name"`
	ServiceName   string         `json:"service_name"`
	TopologyID    *string        `json:"topology_id"`
	Config        service.Config `json:"config"`
	Recreated     bool           `json:"recreated"`
	RestartNeeded bool           `json:"restart_needed"`
}

// configured describes the configuration an operation saved or applied.
func configured(op operation.Operation, d decky.Decky, rev db.Revision) ConfigBody {
	body := ConfigBody{
		DeckyName: d.Name, ServiceName: op.Service, TopologyID: decky.TopologyOf(d.Scope), Config: service.Config{}, Recreated: op.Kind == operation.ApplyConfig,
	}
	if i := decky.Find(rev.Services, op.Service); i >= 0 {
		s := rev.Services[i]
		body.Config, body.RestartNeeded = service.Masked(s.Name, s.Latest()), s.RestartNeeded()
	}
	return body
}

func (m *Mutation) activateReconciled(ctx context.Context, tx *db.Tx, op operation.Operation, d decky.Decky) error {
	switch {
	case d.Planned:
		return nil
	case d.Removed:
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
		if op.Kind.OfTopology() {
			err = m.discardTopology(ctx, tx, op)
		} else {
			err = m.discardDecky(ctx, tx, op)
		}
		if err != nil {
			return err
		}
		now := m.Now()
		step := operation.StepRecord{Name: operation.Discard, State: operation.StepSucceeded, StartedAt: now, EndedAt: &now}
		return tx.RecordStep(ctx, op.ID, step)
	}))
}

// lockDecky locks the decky an operation changes, and before it the topology it belongs to: its status follows.
func lockDecky(ctx context.Context, tx *db.Tx, op operation.Operation) (decky.Decky, error) {
	if op.Scope != decky.FleetScope {
		if _, err := lockTopology(ctx, tx, op.Scope); err != nil {
			return decky.Decky{}, err
		}
	}
	return tx.LockDecky(ctx, op.DeckyID)
}

func (m *Mutation) discardDecky(ctx context.Context, tx *db.Tx, op operation.Operation) error {
	d, err := lockDecky(ctx, tx, op)
	if err == nil && d.Removed {
		err = m.setState(ctx, tx, d, decky.TearingDown, "")
	}
	if err != nil && fault.KindOf(err) != fault.NotFound {
		return err
	}
	return tx.DiscardRevision(ctx, op.ID)
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
		if op.Kind.OfTopology() {
			err = m.settleTopology(ctx, tx, op, in)
		} else {
			err = m.settleDecky(ctx, tx, op, in)
		}
		if err != nil {
			return err
		}
		return tx.EndOperation(ctx, op.ID, in.State, &in.Fault, nil)
	}))
}

func (m *Mutation) settleDecky(ctx context.Context, tx *db.Tx, op operation.Operation, in SettleInput) error {
	d, err := lockDecky(ctx, tx, op)
	switch {
	case fault.KindOf(err) == fault.NotFound:
		return nil
	case err != nil:
		return err
	case d.Planned, unaffected(op):
		return nil
	case op.Kind == operation.Reconcile:
		return m.repairFailed(ctx, tx, d, in.Fault)
	case in.State == operation.Unconverged:
		return m.setState(ctx, tx, d, decky.Degraded, in.Fault.Message)
	case d.Removed:
		return m.transition(ctx, tx, d, decky.TornDown, "", "deleted", uuid.Nil)
	}
	return m.setState(ctx, tx, d, decky.Running, "")
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
	TopologyID    *string     `json:"topology_id"`
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
	if err := m.announceState(ctx, tx, d, state, transition, operationID); err != nil {
		return err
	}
	return m.refreshTopology(ctx, tx, d.Scope)
}

// announceState tells of a decky, given as it was before, that it is in another state now.
func (m *Mutation) announceState(ctx context.Context, tx *db.Tx, d decky.Decky, state decky.State, transition string, operationID uuid.UUID) error {
	payload := statePayload{
		HostID: m.HostID, Name: d.Name, TopologyID: decky.TopologyOf(d.Scope), State: state, Transition: transition, Source: decky.FleetScope,
	}
	if payload.TopologyID != nil {
		payload.Source = "topology"
	}
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
	TopologyID  *string   `json:"topology_id"`
	OldServices []string  `json:"old_services"`
	NewServices []string  `json:"new_services"`
	Trigger     string    `json:"trigger"`
	Actor       string    `json:"actor"`
	OperationID uuid.UUID `json:"operation_id"`
}

type configPayload struct {
	DeckyName     string         `json:"decky_name"`
	ServiceName   string         `json:"service_name"`
	TopologyID    *string        `json:"topology_id"`
	ServiceConfig service.Config `json:"service_config"`
	Recreated     bool           `json:"recreated"`
	OperationID   uuid.UUID      `json:"operation_id"`
}

// announce writes the one event of a successful operation.
func (m *Mutation) announce(ctx context.Context, tx *db.Tx, op operation.Operation, d decky.Decky, rev db.Revision) error {
	event, payload := announcement(op, d, rev)
	subject, err := bus.Decky(d.Name, event)
	if err != nil {
		return err
	}
	return publish(ctx, tx, d.ID, subject, event, payload, op.ID)
}

func announcement(op operation.Operation, d decky.Decky, rev db.Revision) (event string, payload any) {
	names := decky.Names(rev.Services)
	topology := decky.TopologyOf(d.Scope)
	changed := servicePayload{DeckyName: d.Name, ServiceName: op.Service, TopologyID: topology, Services: names, OperationID: op.ID}
	mutation := mutationPayload{
		Decky: d.Name, TopologyID: topology, OldServices: decky.Names(d.Services), NewServices: names, Trigger: "creation", Actor: op.Actor, OperationID: op.ID,
	}
	switch op.Kind { //nolint:exhaustive // the others make a decky, or tell nothing of one
	case operation.AddService:
		return bus.EventDeckyServiceAdded, changed
	case operation.RemoveService:
		return bus.EventDeckyServiceRemoved, changed
	case operation.SaveConfig, operation.ApplyConfig:
		c := configured(op, d, rev)
		return bus.EventDeckyServiceConfigChanged, configPayload{
			DeckyName: d.Name, ServiceName: op.Service, TopologyID: topology, ServiceConfig: announced(c.Config), Recreated: c.Recreated, OperationID: op.ID,
		}
	case operation.DeleteDecky:
		mutation.Trigger = "retirement"
	case operation.Rollback:
		mutation.Trigger = "operator"
	}
	return bus.EventDeckyMutation, mutation
}

// announced leaves out where mail is really delivered: that is nobody's business on the bus.
func announced(config service.Config) service.Config {
	shown := maps.Clone(config)
	maps.DeleteFunc(shown, func(key string, _ any) bool { return strings.HasPrefix(key, "upstream_") })
	return shown
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
