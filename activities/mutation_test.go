package activities_test

import (
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/activities"
	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/db/dbtest"
	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/operation"
	"github.com/decnet/decnet/internal/secretbox"
	"github.com/decnet/decnet/internal/service"
	"github.com/decnet/decnet/internal/temporalfault"
)

type bundle struct {
	t     *testing.T
	store *db.Store
	box   *secretbox.Box
	acts  *activities.Mutation
}

func setup(t *testing.T) *bundle {
	t.Helper()
	return setupOn(t, dbtest.Open(t))
}

func setupOn(t *testing.T, store *db.Store) *bundle {
	t.Helper()
	box, err := secretbox.New(make([]byte, secretbox.KeyBytes))
	require.NoError(t, err)
	return &bundle{t: t, store: store, box: box, acts: &activities.Mutation{
		Store: store, Box: box, Pool: decky.Pool{Prefix: decky.LoopbackPool}, HostID: "h1", Now: time.Now,
	}}
}

// accept stores an operation as the API does.
func (b *bundle) accept(kind operation.Kind, deckyID uuid.UUID, name, svc string, request operation.Request) operation.Operation {
	b.t.Helper()
	id := uuid.Must(uuid.NewV7())
	op, added, err := b.store.AddOperation(b.t.Context(), operation.Operation{
		ID: id, Scope: decky.FleetScope, Lane: deckyID.String(), Kind: kind, Actor: "alice", State: operation.Received,
		DeckyID: deckyID, Decky: name, Service: svc, RequestHash: []byte{1},
	}, b.seal(id, request))
	require.NoError(b.t, err)
	require.True(b.t, added)
	return op
}

func (b *bundle) seal(id uuid.UUID, request operation.Request) []byte {
	b.t.Helper()
	plain, err := json.Marshal(request)
	require.NoError(b.t, err)
	sealed, err := b.box.Seal(plain, id.String())
	require.NoError(b.t, err)
	return sealed
}

func (b *bundle) begin(op operation.Operation, run string) activities.BeginResult {
	b.t.Helper()
	out, err := b.acts.Begin(b.t.Context(), activities.BeginInput{OperationID: op.ID, RunID: run})
	require.NoError(b.t, err)
	return out
}

func (b *bundle) activate(op operation.Operation) error {
	return b.acts.Activate(b.t.Context(), activities.OperationInput{OperationID: op.ID})
}

// succeed runs the two transactions of a successful operation, each twice.
func (b *bundle) succeed(op operation.Operation) {
	b.t.Helper()
	first := b.begin(op, "run")
	require.Equal(b.t, activities.Begun, first.Outcome, "%+v", first.Fault)
	require.Equal(b.t, first, b.begin(op, "run"))
	require.NoError(b.t, b.activate(op))
	require.NoError(b.t, b.activate(op))
}

func (b *bundle) undo(op operation.Operation, state operation.State) {
	b.t.Helper()
	settle := activities.SettleInput{OperationID: op.ID, State: state, Fault: fault.New(fault.OperationFailed, "decoy_start_failed", "no").Safe()}
	for range 2 {
		require.NoError(b.t, b.acts.Discard(b.t.Context(), activities.OperationInput{OperationID: op.ID}))
	}
	for range 2 {
		require.NoError(b.t, b.acts.Settle(b.t.Context(), settle))
	}
}

func (b *bundle) create(name string) uuid.UUID {
	b.t.Helper()
	id := uuid.New()
	b.succeed(b.accept(operation.CreateDecky, id, name, "", createRequest(name)))
	return id
}

func createRequest(name string) operation.Request {
	return operation.Request{Create: &decky.Spec{Name: name, Distro: "debian", Hostname: "SRV-WEB-10", NmapOS: "linux", Services: []string{}}}
}

func addSSH(password string) operation.Request {
	return operation.Request{Add: &operation.AddRequest{Service: "ssh", Config: service.Config{"password": password}}}
}

func (b *bundle) events(op operation.Operation) []db.Event {
	b.t.Helper()
	all, err := b.store.Unpublished(b.t.Context(), 1000)
	require.NoError(b.t, err)
	var of []db.Event
	for _, e := range all {
		if e.OperationID == op.ID {
			of = append(of, e)
		}
	}
	return of
}

func (b *bundle) state(op operation.Operation) operation.Operation {
	b.t.Helper()
	got, err := b.store.Operation(b.t.Context(), op.ID)
	require.NoError(b.t, err)
	return got
}

func TestMutation_LifeOfADecky(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.create("web-01")
	add := b.accept(operation.AddService, id, "web-01", "ssh", addSSH("marker-secret"))
	b.succeed(add)
	d, err := b.store.DeckyByName(t.Context(), decky.FleetScope, "web-01")
	require.NoError(t, err)
	require.Equal(t, decky.Running, d.State)
	require.Equal(t, 2, d.Revision)
	require.Equal(t, "127.66.0.2", d.IP.String())
	require.Equal(t, []string{"ssh"}, decky.Names(d.Services))
	require.Equal(t, 2, d.Services[0].Revision)

	events := b.events(add)
	require.Len(t, events, 1, "one event per success")
	require.Equal(t, "decky.web-01.service_added", events[0].Topic)
	require.Equal(t, "service_added", events[0].Type)
	require.NotContains(t, string(events[0].Payload), "marker-secret")

	remove := b.accept(operation.RemoveService, id, "web-01", "ssh", operation.Request{Remove: "ssh"})
	b.succeed(remove)
	require.Len(t, b.events(remove), 1)
	gone := b.accept(operation.DeleteDecky, id, "web-01", "", operation.Request{})
	b.succeed(gone)
	require.Len(t, b.events(gone), 1)
	_, err = b.store.DeckyByName(t.Context(), decky.FleetScope, "web-01")
	require.Equal(t, fault.NotFound, fault.KindOf(err))
	b.create("web-01") // the name is free again
}

func TestMutation_DesiredIsThePendingRevisionUntilItIsDiscarded(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.create("web-01")
	add := b.accept(operation.AddService, id, "web-01", "ssh", addSSH("x"))
	b.begin(add, "run")
	want, err := b.store.Desired(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, []string{"ssh"}, decky.Names(want.Services))
	b.undo(add, operation.Failed)
	want, err = b.store.Desired(t.Context(), id)
	require.NoError(t, err)
	require.Empty(t, want.Services)
	require.Equal(t, operation.Failed, b.state(add).State)
	require.Empty(t, b.events(add))
	b.succeed(b.accept(operation.AddService, id, "web-01", "ssh", addSSH("x"))) // and can be repeated
}

func TestMutation_FailedCreateLeavesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := uuid.New()
	op := b.accept(operation.CreateDecky, id, "web-01", "", createRequest("web-01"))
	b.begin(op, "run")
	b.undo(op, operation.Failed)
	want, err := b.store.Desired(t.Context(), id)
	require.NoError(t, err)
	require.True(t, want.Removed)
	b.create("web-01")
}

func TestMutation_UnconvergedCreateKeepsItsAddressUntilReconciled(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := uuid.New()
	op := b.accept(operation.CreateDecky, id, "web-01", "", createRequest("web-01"))
	b.begin(op, "run")
	b.undo(op, operation.Unconverged)
	other := b.create("web-02")
	d, err := b.store.Desired(t.Context(), other)
	require.NoError(t, err)
	require.Equal(t, "127.66.0.3", d.IP.String())
	repair := b.accept(operation.Reconcile, id, "web-01", "", operation.Request{})
	b.succeed(repair)
	require.Len(t, b.events(repair), 1)
	b.create("web-01")
}

// repair runs a reconcile operation that fails or succeeds.
func (b *bundle) repair(id uuid.UUID, succeeds bool) {
	b.t.Helper()
	op := b.accept(operation.Reconcile, id, "web-01", "", operation.Request{})
	if succeeds {
		b.succeed(op)
		return
	}
	b.begin(op, "run")
	b.undo(op, operation.Failed)
}

func TestMutation_RepairsThatKeepFailingEndInQuarantine(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.create("web-01")
	get := func() decky.Decky {
		d, err := b.store.DeckyByName(t.Context(), decky.FleetScope, "web-01")
		require.NoError(t, err)
		return d
	}
	last := time.Time{}
	for range decky.QuarantineAfter - 1 {
		b.repair(id, false)
		d := get()
		require.Equal(t, decky.Degraded, d.State)
		require.True(t, d.RepairAfter.After(last), "every pause ends later")
		last = d.RepairAfter
	}
	b.repair(id, true)
	require.Equal(t, decky.Running, get().State)
	require.Zero(t, get().RepairFailures, "a success counts from none again")

	for range decky.QuarantineAfter {
		b.repair(id, false)
	}
	require.Equal(t, decky.Quarantined, get().State)
	require.Contains(t, get().StateReason, "5 repairs in a row failed")

	b.repair(id, false) // somebody asked for it
	require.Equal(t, decky.Degraded, get().State, "it has its chances again")
	require.Equal(t, 1, get().RepairFailures)
}

func TestMutation_RepairThatCouldNotBeTriedDoesNotCount(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.create("web-01")
	for range decky.QuarantineAfter {
		op := b.accept(operation.Reconcile, id, "web-01", "", operation.Request{})
		b.begin(op, "run")
		away := *fault.New(fault.Unavailable, "engine_unreachable", "the engine does not answer")
		require.NoError(t, b.acts.Settle(t.Context(), activities.SettleInput{OperationID: op.ID, State: operation.Failed, Fault: away}))
		d, err := b.store.DeckyByName(t.Context(), decky.FleetScope, "web-01")
		require.NoError(t, err)
		require.Equal(t, decky.Degraded, d.State)
		require.Zero(t, d.RepairFailures)
	}
}

func TestBegin_RefusalsAreFinalAndWriteNothingElse(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.create("web-01")
	b.succeed(b.accept(operation.AddService, id, "web-01", "ssh", addSSH("x")))
	taken := createRequest("web-09")
	taken.Create.IP = "127.66.0.2"
	for name, c := range map[string]struct {
		op   operation.Operation
		code string
	}{
		"already there": {b.accept(operation.AddService, id, "web-01", "ssh", addSSH("x")), "service_already_present"},
		"not there":     {b.accept(operation.RemoveService, id, "web-01", "http", operation.Request{Remove: "http"}), "service_not_present"},
		"no decky":      {b.accept(operation.AddService, uuid.New(), "gone", "ssh", addSSH("x")), "decky_not_found"},
		"name taken":    {b.accept(operation.CreateDecky, uuid.New(), "web-01", "", createRequest("web-01")), "decky_exists"},
		"address taken": {b.accept(operation.CreateDecky, uuid.New(), "web-09", "", taken), "address_in_use"},
		"wrong request": {b.accept(operation.AddService, id, "web-01", "ssh", operation.Request{}), "request_unreadable"},
	} {
		out := b.begin(c.op, "run")
		require.Equal(t, activities.AlreadyEnded, out.Outcome, name)
		require.Equal(t, operation.Refused, out.State, name)
		require.Equal(t, c.code, out.Fault.Code, name)
		require.Equal(t, out, b.begin(c.op, "run"), name)
		stored := b.state(c.op)
		require.Equal(t, operation.Refused, stored.State, name)
		require.Equal(t, c.code, stored.Fault.Code, name)
		require.Empty(t, b.events(c.op), name)
	}
	d, err := b.store.DeckyByName(t.Context(), decky.FleetScope, "web-01")
	require.NoError(t, err)
	require.Equal(t, 2, d.Revision)
}

func TestBegin_RemainsOfAnotherRunAreInterrupted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.create("web-01")
	add := b.accept(operation.AddService, id, "web-01", "ssh", addSSH("x"))
	require.Equal(t, activities.Begun, b.begin(add, "lost run").Outcome)
	require.Equal(t, activities.Interrupted, b.begin(add, "new run").Outcome)
	require.Equal(t, activities.Interrupted, b.begin(add, "new run").Outcome, "a repetition finds the same")
	b.undo(add, operation.Failed)
	require.Equal(t, activities.AlreadyEnded, b.begin(add, "third run").Outcome)
}

func TestActivate_NeverRevivesADiscardedRevision(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.create("web-01")
	add := b.accept(operation.AddService, id, "web-01", "ssh", addSSH("x"))
	b.begin(add, "run")
	require.NoError(t, b.acts.Discard(t.Context(), activities.OperationInput{OperationID: add.ID}))
	require.Equal(t, "interrupted", temporalfault.Unwrap(b.activate(add)).Code)
	d, err := b.store.DeckyByName(t.Context(), decky.FleetScope, "web-01")
	require.NoError(t, err)
	require.Equal(t, 1, d.Revision)
}

func TestActivate_CancelWinsOrLosesButNeverBoth(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.create("web-01")
	for range 20 {
		add := b.accept(operation.AddService, id, "web-01", "ssh", addSSH("x"))
		b.begin(add, "run")
		var activated, cancelled error
		var wg sync.WaitGroup
		wg.Go(func() { activated = b.activate(add) })
		wg.Go(func() { _, cancelled = b.store.RequestCancel(t.Context(), add.ID) })
		wg.Wait()
		if activated == nil {
			require.Equal(t, operation.Succeeded, b.state(add).State)
			require.Equal(t, fault.Conflict, fault.KindOf(cancelled))
			b.succeed(b.accept(operation.RemoveService, id, "web-01", "ssh", operation.Request{Remove: "ssh"}))
			continue
		}
		require.NoError(t, cancelled)
		require.Equal(t, "operation_cancelled", temporalfault.Unwrap(activated).Code)
		b.undo(add, operation.Cancelled)
	}
}

func TestBegin_ManyCreatesAtOnceGetDifferentAddresses(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() { b.create("web-" + string(rune('a'+i))) })
	}
	wg.Wait()
	all, err := b.store.Deckies(t.Context(), decky.FleetScope, "", 100)
	require.NoError(t, err)
	seen := map[string]bool{}
	for _, d := range all {
		seen[d.IP.String()] = true
	}
	require.Len(t, seen, 20)
}

func TestBegin_WrongInstallationKeyIsRefusedNotRetried(t *testing.T) {
	t.Parallel()
	b := setup(t)
	op := b.accept(operation.CreateDecky, uuid.New(), "web-01", "", createRequest("web-01"))
	other, err := secretbox.New([]byte("another key of exactly 32 bytes!"))
	require.NoError(t, err)
	b.acts.Box = other
	out := b.begin(op, "run")
	require.Equal(t, operation.Refused, out.State)
	require.Equal(t, "request_unreadable", out.Fault.Code)
}
