// Package activities holds the side effects of workflows. Every activity may run twice, at once, and after its timeout;
// each says what makes that harmless.
package activities

import (
	"cmp"
	"context"
	"encoding/json"
	"net/netip"
	"strings"
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
	// Unaffected: no decoy has to change, go on with Activate.
	Unaffected bool `json:"unaffected,omitempty"`
	// Topology: the operation is on a whole topology.
	Topology bool `json:"topology,omitempty"`
	// Expiries are the ends of services that this operation makes temporary.
	Expiries []decky.Expiry `json:"expiries,omitempty"`
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
		out.Expiries, err = m.writtenExpiries(ctx, tx, op)
		return out, err
	case op.State == operation.Running && op.Kind != operation.Reconcile:
		out.Outcome = Interrupted // the run id stays: a repetition must find the same
		return out, nil
	case op.Cancel:
		return ended(out, operation.Cancelled, operation.CancelledFault()), cancelled(ctx, tx, op)
	}
	if err := tx.StartOperation(ctx, op.ID, in.RunID); err != nil {
		return BeginResult{}, err
	}
	request, err := m.open(op.ID, sealed)
	if err != nil {
		return BeginResult{}, err
	}
	if op.Kind.OfTopology() {
		out.Unaffected, err = m.writeTopology(ctx, tx, op, request)
	} else {
		out.Unaffected, out.Expiries, err = m.write(ctx, tx, op, request)
	}
	if err != nil {
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
		if err := announceRefusal(ctx, tx, op, f); err != nil {
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
		Topology: op.Kind.OfTopology(), Unaffected: unaffected(op),
	}
	if out.Topology {
		out.Title = strings.ReplaceAll(string(op.Kind), "_", " ") + " in " + op.Scope
		return out
	}
	switch op.Kind { //nolint:exhaustive // those of topologies have their title
	case operation.CreateDecky:
		out.Title = "create decky " + op.Decky
	case operation.DeleteDecky:
		out.Title = "delete decky " + op.Decky
	case operation.AddService:
		out.Title = "add " + op.Service + " to " + op.Decky
	case operation.RemoveService:
		out.Title = "remove " + op.Service + " from " + op.Decky
	case operation.SaveConfig:
		out.Title = "save the configuration of " + op.Service + " on " + op.Decky
	case operation.ApplyConfig:
		out.Title = "apply a configuration to " + op.Service + " on " + op.Decky
	case operation.SetExpiry: // never run
	case operation.Rollback:
		out.Title = "roll " + op.Decky + " back"
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

// write puts the wish of an operation on one decky into the database. It reports whether no decoy is concerned, and returns
// the ends of services it makes temporary.
func (m *Mutation) write(
	ctx context.Context, tx *db.Tx, op operation.Operation, request operation.Request,
) (unaffected bool, ends []decky.Expiry, err error) {
	switch {
	case op.Kind == operation.CreateDecky && request.Create != nil:
		return false, nil, m.writeCreate(ctx, tx, op, *request.Create)
	case op.Kind == operation.Reconcile:
		return false, nil, m.writeReconcile(ctx, tx, op)
	}
	if err := m.admit(ctx, tx, op.Scope); err != nil {
		return false, nil, err
	}
	d, err := tx.LockDecky(ctx, op.DeckyID)
	if err != nil {
		return false, nil, err
	}
	if d.Removed { // its creation was never finished
		return false, nil, decky.NotFound()
	}
	number, err := tx.NextRevision(ctx, d.ID)
	if err != nil {
		return false, nil, err
	}
	next, err := m.change(ctx, tx, op, request, d, number)
	if err != nil {
		return false, nil, err
	}
	if err := tx.AddPendingRevision(ctx, op.ID, d.ID, number, op.Kind == operation.DeleteDecky, next); err != nil {
		return false, nil, err
	}
	return d.Planned || op.Kind == operation.SaveConfig, newExpiries(d, next), tx.SetRevisions(ctx, op.ID, d.ID, &d.Revision, &number)
}

// admit refuses changes of deckies of a topology that neither is a plan nor runs. The topology's version rises.
func (m *Mutation) admit(ctx context.Context, tx *db.Tx, scope string) error {
	if scope == decky.FleetScope {
		return nil
	}
	t, err := lockTopology(ctx, tx, scope)
	if err != nil {
		return err
	}
	if !t.Status.Editable() && !t.Status.Live() {
		return t.Status.Refused("changed")
	}
	return tx.BumpTopology(ctx, &t)
}

// change returns the services of an existing decky as the operation wants them in the revision with the given number.
func (m *Mutation) change(
	ctx context.Context, tx *db.Tx, op operation.Operation, request operation.Request, d decky.Decky, number int,
) ([]decky.Service, error) {
	switch {
	case op.Kind == operation.DeleteDecky:
		return nil, m.setState(ctx, tx, d, decky.TearingDown, "")
	case op.Kind == operation.AddService && request.Add != nil:
		return m.add(op, *request.Add, d, number)
	case op.Kind == operation.RemoveService && request.Expired != nil:
		return decky.Expired(d.Services, request.Remove, request.Expired.ID, request.Expired.At)
	case op.Kind == operation.RemoveService:
		return decky.RemoveService(d.Services, request.Remove)
	case op.Kind == operation.SaveConfig && request.Configure != nil:
		config, err := decky.Configure(d.Services, request.Configure.Service, request.Configure.Config)
		if err != nil {
			return nil, err
		}
		return decky.SaveConfig(d.Services, request.Configure.Service, config)
	case op.Kind == operation.ApplyConfig && request.Configure != nil:
		return apply(d.Services, *request.Configure, number)
	case op.Kind == operation.Rollback:
		rev, err := tx.RevisionNumber(ctx, d.ID, request.Revision)
		if err != nil {
			return nil, err
		}
		return decky.Rollback(d.Services, rev.Services, number, m.Now())
	}
	return nil, fault.New(fault.OperationFailed, "request_unreadable", "the stored request does not fit the operation")
}

func (m *Mutation) add(op operation.Operation, request operation.AddRequest, d decky.Decky, number int) ([]decky.Service, error) {
	s := decky.Service{Name: request.Service, Config: request.Config, Revision: number}
	if request.ExpiresAt != nil {
		if !request.ExpiresAt.After(m.Now()) {
			return nil, fault.New(fault.Conflict, "superseded", "the service's time was over before its turn came")
		}
		s.ExpiresAt, s.ExpiryID = request.ExpiresAt, op.ID
	}
	return decky.AddService(d.Services, s)
}

// apply puts a configuration in force: the submitted one, else the saved one, else the present one again.
func apply(services []decky.Service, request operation.ConfigureRequest, number int) ([]decky.Service, error) {
	if request.Config == nil {
		if i := decky.Find(services, request.Service); i >= 0 {
			return decky.ApplyConfig(services, request.Service, services[i].Latest(), number)
		}
	}
	config, err := decky.Configure(services, request.Service, request.Config)
	if err != nil {
		return nil, err
	}
	return decky.ApplyConfig(services, request.Service, config, number)
}

// unaffected reports whether an operation changes what is recorded of a decky and none of its decoys.
func unaffected(op operation.Operation) bool { return op.Kind == operation.SaveConfig }

// writtenExpiries returns what an earlier attempt of Begin returned: the new ends in the revision it wrote.
func (m *Mutation) writtenExpiries(ctx context.Context, tx *db.Tx, op operation.Operation) ([]decky.Expiry, error) {
	revisions, err := tx.RevisionsOf(ctx, op.ID)
	if err != nil || len(revisions) == 0 || op.Kind == operation.CreateDecky || op.Kind.OfTopology() {
		return nil, err
	}
	rev := revisions[0]
	d, err := tx.LockDecky(ctx, op.DeckyID)
	if err != nil {
		return nil, err
	}
	return newExpiries(d, rev.Services), nil
}

// newExpiries returns the ends in next that the decky did not have.
func newExpiries(d decky.Decky, next []decky.Service) []decky.Expiry {
	var list []decky.Expiry
	for _, s := range next {
		if i := decky.Find(d.Services, s.Name); s.ExpiresAt != nil && (i < 0 || d.Services[i].ExpiryID != s.ExpiryID) {
			list = append(list, decky.Expiry{ID: s.ExpiryID, Scope: d.Scope, DeckyID: d.ID, Decky: d.Name, Service: s.Name, At: *s.ExpiresAt})
		}
	}
	return list
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
	d, err := lockDecky(ctx, tx, op)
	if fault.KindOf(err) == fault.NotFound {
		return nil
	}
	if err != nil {
		return err
	}
	if d.Planned { // what is left of it goes, its state stays
		return nil
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
