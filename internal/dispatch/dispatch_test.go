package dispatch_test

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	temporallog "go.temporal.io/sdk/log"

	"github.com/decnet/decnet/activities"
	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/db/dbtest"
	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/dispatch"
	"github.com/decnet/decnet/internal/embedded/embeddedtest"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/ingest"
	"github.com/decnet/decnet/internal/operation"
	"github.com/decnet/decnet/internal/runtime"
	"github.com/decnet/decnet/internal/secretbox"
	"github.com/decnet/decnet/worker"
	"github.com/decnet/decnet/workflows"
)

var quiet = slog.New(slog.DiscardHandler)

// nothing is a runtime of deckies without services: there is nothing to start, only to wait for.
type nothing struct {
	hold    chan struct{} // Converge waits for it
	started atomic.Int32
}

func (*nothing) Name() string                  { return "process" }
func (*nothing) Prepare(context.Context) error { return nil }

func (*nothing) Networks(context.Context, string, []runtime.Network) error { return nil }

func (n *nothing) Converge(ctx context.Context, _ runtime.Decky, _ runtime.Hooks) ([]runtime.Endpoint, error) {
	n.started.Add(1)
	select {
	case <-n.hold:
	case <-ctx.Done():
	}
	return nil, ctx.Err()
}

func (*nothing) Observe(context.Context) (runtime.Observation, error) {
	return runtime.Observation{Baseless: true}, nil
}
func (*nothing) Exits() <-chan struct{} { return nil }
func (*nothing) Close() error           { return nil }

type bundle struct {
	store *db.Store
	d     *dispatch.Dispatcher
	rt    *nothing
}

// setup runs the real workflows and transactions on a real Temporal and Postgres.
func setup(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{store: dbtest.Open(t), rt: &nothing{hold: make(chan struct{})}}
	address, namespace := embeddedtest.Temporal(t)
	c, err := client.Dial(client.Options{HostPort: address, Namespace: namespace, Logger: temporallog.NewStructuredLogger(quiet)})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	box, err := secretbox.New(make([]byte, secretbox.KeyBytes))
	require.NoError(t, err)
	b.d = dispatch.New(b.store, c, box, quiet)
	control := worker.Control(c, worker.ControlActivities{
		Mutation: &activities.Mutation{
			Store: b.store, Box: box, Pool: decky.Pool{Prefix: decky.LoopbackPool}, HostID: "h1", Now: time.Now,
		},
		Scope:     &activities.Scope{Store: b.store, Temporal: c, MutationID: workflows.MutationID},
		Expiry:    &activities.Expiry{Store: b.store, Accept: b.d.Accept, Hash: b.d.RequestHash, Now: time.Now},
		Import:    &activities.Import{Store: b.store, Extractor: ingest.NewExtractor(nil), Log: quiet},
		Retention: &activities.Retention{Store: b.store, Log: quiet},
	})
	host := worker.Runtime(c, "h1", &activities.Runtime{Store: b.store, Runtime: b.rt, Now: time.Now, Log: quiet},
		&activities.Files{Store: b.store, Now: time.Now, Log: quiet})
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{}, 3)
	go func() { _ = b.d.Run(ctx); done <- struct{}{} }()
	go func() { _ = control.Run(ctx, func() {}); done <- struct{}{} }()
	go func() { _ = host.Run(ctx, func() {}); done <- struct{}{} }()
	t.Cleanup(func() {
		cancel()
		for range cap(done) {
			<-done
		}
	})
	return b
}

// accept sends a request to create a decky, in a lane of its own or another's.
func accept(t *testing.T, d *dispatch.Dispatcher, name, lane string) operation.Operation {
	t.Helper()
	op, request := create(name)
	if lane != "" {
		op.Lane = lane
	}
	stored, err := d.Accept(t.Context(), op, request)
	require.NoError(t, err)
	return stored
}

func create(name string) (operation.Operation, operation.Request) {
	id := uuid.New()
	op := operation.Operation{
		ID: uuid.Must(uuid.NewV7()), Scope: decky.FleetScope, Lane: id.String(), Kind: operation.CreateDecky, Actor: "alice",
		State: operation.Received, DeckyID: id, Decky: name, RequestHash: []byte{1},
	}
	spec := decky.Spec{Name: name, Distro: "debian", Hostname: "SRV-WEB-10", NmapOS: "linux", Services: []string{}}
	return op, operation.Request{Create: &spec}
}

func TestAccept_RunsToItsEnd(t *testing.T) {
	t.Parallel()
	b := setup(t)
	close(b.rt.hold)
	op := accept(t, b.d, "web-01", "")
	got, err := b.d.Wait(t.Context(), op.ID, time.Minute)
	require.NoError(t, err)
	require.Equal(t, operation.Succeeded, got.State, "%+v", got.Fault)
	require.NoError(t, b.d.Submit(t.Context(), op), "submitting one that ended is harmless")
	_, err = b.d.Cancel(t.Context(), op.ID)
	require.Equal(t, fault.Conflict, fault.KindOf(err))
	require.EqualValues(t, 1, b.rt.started.Load())
}

func TestCancel_RunningAndQueued(t *testing.T) {
	t.Parallel()
	b := setup(t)
	running := accept(t, b.d, "web-01", "")
	require.Eventually(t, func() bool { return b.rt.started.Load() > 0 }, time.Minute, 10*time.Millisecond)
	queued := accept(t, b.d, "web-02", running.Lane)

	_, err := b.d.Cancel(t.Context(), queued.ID)
	require.NoError(t, err)
	got, err := b.d.Wait(t.Context(), queued.ID, time.Minute)
	require.NoError(t, err)
	require.Equal(t, operation.Cancelled, got.State)

	_, err = b.d.Cancel(t.Context(), running.ID)
	require.NoError(t, err)
	close(b.rt.hold)
	got, err = b.d.Wait(t.Context(), running.ID, time.Minute)
	require.NoError(t, err)
	require.Equal(t, operation.Cancelled, got.State)
	d, err := b.store.Desired(t.Context(), running.DeckyID)
	require.NoError(t, err)
	require.True(t, d.Removed, "nothing of it is wanted")
}

func TestAccept_IsKeptWhileTemporalIsAway(t *testing.T) {
	t.Parallel()
	d := awayFrom(t, dbtest.Open(t))
	op := accept(t, d, "web-01", "")
	got, err := d.Wait(t.Context(), op.ID, 0)
	require.NoError(t, err)
	require.Equal(t, operation.Received, got.State)
	require.Equal(t, fault.Unavailable, fault.KindOf(d.Submit(t.Context(), op)))
}

// awayFrom returns a dispatcher that cannot reach Temporal.
func awayFrom(t *testing.T, store *db.Store) *dispatch.Dispatcher {
	t.Helper()
	away, err := client.NewLazyClient(client.Options{HostPort: "127.0.0.1:1", Logger: temporallog.NewStructuredLogger(quiet)})
	require.NoError(t, err)
	t.Cleanup(away.Close)
	box, err := secretbox.New(make([]byte, secretbox.KeyBytes))
	require.NoError(t, err)
	return dispatch.New(store, away, box, quiet)
}
