// Package activities holds the side effects of workflows. Every activity may run twice, at once, and after its timeout;
// each says what makes that harmless.
package activities

import (
	"cmp"
	"context"
	"encoding/json"
	"net/netip"
	"time"

	"github.com/google/uuid"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/operation"
	"github.com/decnet/decnet/internal/secretbox"
	"github.com/decnet/decnet/internal/temporalfault"
)

// Mutation holds the transactions of an operation's life. All fields are required.
type Mutation struct {
	Store *db.Store
	Box   *secretbox.Box
	Pool  decky.Pool
	// HostID names the host whose decoys are changed.
	HostID string
	// Now is the clock of step records.
	Now func() time.Time
}

// Outcome is what Begin found.
type Outcome string

// The outcomes of Begin.
const (
	// Begun: the pending revision is written, go on with Converge.
	Begun Outcome = "begun"
	// AlreadyEnded: the operation is final, State and Fault say how; a refusal ends this way.
	AlreadyEnded Outcome = "already_ended"
	// Interrupted: an earlier run of the mutation was lost halfway; undo what it left.
	Interrupted Outcome = "interrupted"
)

// BeginInput names the operation and the workflow run that carries it out.
type BeginInput struct {
	OperationID uuid.UUID `json:"operation_id"`
	RunID       string    `json:"run_id"`
}

// BeginResult holds names only: it becomes part of workflow history.
type BeginResult struct {
	Outcome Outcome         `json:"outcome"`
	State   operation.State `json:"state,omitempty"`
	Fault   *fault.Error    `json:"fault,omitempty"`
	Kind    operation.Kind  `json:"kind"`
	DeckyID uuid.UUID       `json:"decky_id"`
	HostID  string          `json:"host_id"`
	Decky   string          `json:"decky"`
	Service string          `json:"service,omitempty"`
	Actor   string          `json:"actor"`
	Title   string          `json:"title"` // "add ssh to web-01"
}

// OperationInput names an operation.
type OperationInput struct {
	OperationID uuid.UUID `json:"operation_id"`
}

// Begin takes an operation at the head of its lane: it checks the request against the present, under row locks, and
// writes the pending revision, all in one transaction. A request that cannot be is ended as refused.
//
// Idempotency: the operation's state and run id, read under its row lock, tell a repetition of this run's own attempt
// from the remains of another.
func (m *Mutation) Begin(ctx context.Context, in BeginInput) (BeginResult, error) {
	var out BeginResult
	err := m.Store.InTx(ctx, func(tx *db.Tx) (err error) {
		out, err = m.begin(ctx, tx, in)
		return err
	})
	if f, ok := fault.As(err); ok && refuses(f.Kind) {
		out, err = m.refuse(ctx, in.OperationID, f)
	}
	return out, temporalfault.Wrap(err)
}

func (m *Mutation) begin(ctx context.Context, tx *db.Tx, in BeginInput) (BeginResult, error) {
	started := m.Now()
	op, sealed, err := tx.LockOperation(ctx, in.OperationID)
	if err != nil {
		return BeginResult{}, err
	}
	out := m.describe(op)
	switch {
	case !op.State.Open():
		return ended(out, op.State, op.Fault), nil
	case op.State == operation.Running && op.RunID == in.RunID:
		return out, nil
	case op.State == operation.Running && op.Kind != operation.Reconcile:
		out.Outcome = Interrupted // the run id stays: a repetition must find the same
		return out, nil
	case op.Cancel:
		f := operation.CancelledFault()
		return ended(out, operation.Cancelled, f), tx.EndOperation(ctx, op.ID, operation.Cancelled, f, nil)
	}
	if err := tx.StartOperation(ctx, op.ID, in.RunID); err != nil {
		return BeginResult{}, err
	}
	request, err := m.open(op.ID, sealed)
	if err != nil {
		return BeginResult{}, err
	}
	if err := m.write(ctx, tx, op, request); err != nil {
		return BeginResult{}, err
	}
	now := m.Now()
	for _, step := range []operation.Step{operation.Validate, operation.Persist} {
		record := operation.StepRecord{Name: step, State: operation.StepSucceeded, StartedAt: started, EndedAt: &now}
		if step == operation.Validate {
			record.Detail = request.Reason
		}
		if err := tx.RecordStep(ctx, op.ID, record); err != nil {
			return BeginResult{}, err
		}
	}
	return out, nil
}

func refuses(kind fault.Kind) bool {
	switch kind {
	case fault.NotFound, fault.Conflict, fault.Invalid, fault.Unprocessable, fault.OperationFailed:
		return true
	case fault.Unauthorized, fault.Forbidden, fault.TooLarge, fault.UnsupportedMedia, fault.RateLimited,
		fault.Unavailable, fault.Internal:
	}
	return false
}

// refuse ends the operation after the transaction that found out was rolled back.
func (m *Mutation) refuse(ctx context.Context, id uuid.UUID, f *fault.Error) (BeginResult, error) {
	var out BeginResult
	err := m.Store.InTx(ctx, func(tx *db.Tx) error {
		op, _, err := tx.LockOperation(ctx, id)
		if err != nil {
			return err
		}
		out = ended(m.describe(op), operation.Refused, f)
		if !op.State.Open() {
			out = ended(out, op.State, op.Fault)
			return nil
		}
		now := m.Now()
		record := operation.StepRecord{Name: operation.Validate, State: operation.StepFailed, StartedAt: now, EndedAt: &now, Detail: f.Message}
		if err := tx.RecordStep(ctx, id, record); err != nil {
			return err
		}
		return tx.EndOperation(ctx, id, operation.Refused, f, nil)
	})
	return out, err
}

func ended(out BeginResult, state operation.State, f *fault.Error) BeginResult {
	out.Outcome, out.State = AlreadyEnded, state
	if f != nil {
		safe := f.Safe()
		out.Fault = &safe
	}
	return out
}

func (m *Mutation) describe(op operation.Operation) BeginResult {
	out := BeginResult{
		Outcome: Begun, Kind: op.Kind, DeckyID: op.DeckyID, HostID: m.HostID, Decky: op.Decky, Service: op.Service, Actor: op.Actor,
	}
	switch op.Kind {
	case operation.CreateDecky:
		out.Title = "create decky " + op.Decky
	case operation.DeleteDecky:
		out.Title = "delete decky " + op.Decky
	case operation.AddService:
		out.Title = "add " + op.Service + " to " + op.Decky
	case operation.RemoveService:
		out.Title = "remove " + op.Service + " from " + op.Decky
	case operation.Reconcile:
		out.Title = "reconcile " + cmp.Or(op.Decky, op.DeckyID.String())
	}
	return out
}

func (m *Mutation) open(id uuid.UUID, sealed []byte) (operation.Request, error) {
	var request operation.Request
	plain, err := m.Box.Open(sealed, id.String())
	if err == nil {
		err = json.Unmarshal(plain, &request)
	}
	if err != nil {
		return operation.Request{}, fault.New(fault.OperationFailed, "request_unreadable",
			"the stored request cannot be read with this installation's key").Wrap(err)
	}
	return request, nil
}

// write puts the operation's wish into the database.
func (m *Mutation) write(ctx context.Context, tx *db.Tx, op operation.Operation, request operation.Request) error {
	switch {
	case op.Kind == operation.CreateDecky && request.Create != nil:
		return m.writeCreate(ctx, tx, op, *request.Create)
	case op.Kind == operation.Reconcile:
		return m.writeReconcile(ctx, tx, op)
	}
	d, err := tx.LockDecky(ctx, op.DeckyID)
	if err != nil {
		return err
	}
	if d.Removed { // its creation was never finished
		return decky.NotFound()
	}
	number, err := tx.NextRevision(ctx, d.ID)
	if err != nil {
		return err
	}
	next, removed := d.Services, false
	switch {
	case op.Kind == operation.DeleteDecky:
		next, removed = nil, true
		err = m.setState(ctx, tx, d, decky.TearingDown, "")
	case op.Kind == operation.AddService && request.Add != nil:
		next, err = decky.AddService(d.Services, decky.Service{Name: request.Add.Service, Config: request.Add.Config, Revision: number})
	case op.Kind == operation.RemoveService:
		next, err = decky.RemoveService(d.Services, request.Remove)
	default:
		err = fault.New(fault.OperationFailed, "request_unreadable", "the stored request does not fit the operation")
	}
	if err != nil {
		return err
	}
	if err := tx.AddPendingRevision(ctx, op.ID, d.ID, number, removed, next); err != nil {
		return err
	}
	return tx.SetRevisions(ctx, op.ID, d.ID, &d.Revision, &number)
}

func (m *Mutation) writeCreate(ctx context.Context, tx *db.Tx, op operation.Operation, spec decky.Spec) error {
	address, err := m.address(ctx, tx, spec.IP)
	if err != nil {
		return err
	}
	d := decky.Decky{
		ID: op.DeckyID, Scope: op.Scope, Name: spec.Name, Key: spec.Name, IP: address, Archetype: spec.Archetype,
		Distro: spec.Distro, Hostname: spec.Hostname, NmapOS: spec.NmapOS,
	}
	if err := tx.CreateDecky(ctx, d); err != nil {
		return err
	}
	first := 1
	for _, name := range spec.Services {
		if d.Services, err = decky.AddService(d.Services, decky.Service{Name: name, Config: spec.Configs[name], Revision: first}); err != nil {
			return err
		}
	}
	if err := tx.AddPendingRevision(ctx, op.ID, d.ID, first, false, d.Services); err != nil {
		return err
	}
	return tx.SetRevisions(ctx, op.ID, d.ID, nil, &first)
}

// address takes the wished address, or the lowest free one. The database's constraint decides about a taken one.
func (m *Mutation) address(ctx context.Context, tx *db.Tx, wish string) (netip.Addr, error) {
	if wish != "" {
		return m.Pool.Check(wish)
	}
	used, err := tx.UsedAddresses(ctx)
	if err != nil {
		return netip.Addr{}, err
	}
	return m.Pool.Next(used)
}

// writeReconcile marks a decky as being repaired. One that is gone is repaired too: nothing of it may run.
func (m *Mutation) writeReconcile(ctx context.Context, tx *db.Tx, op operation.Operation) error {
	d, err := tx.LockDecky(ctx, op.DeckyID)
	if fault.KindOf(err) == fault.NotFound {
		return nil
	}
	if err != nil {
		return err
	}
	if d.State == decky.Quarantined { // somebody looked at it: its failures count from none again
		if err := tx.SetRepairs(ctx, d.ID, 0, 0); err != nil {
			return err
		}
	}
	if err := m.setState(ctx, tx, d, decky.Reconciling, d.StateReason); err != nil {
		return err
	}
	return tx.SetRevisions(ctx, op.ID, d.ID, &d.Revision, &d.Revision)
}
