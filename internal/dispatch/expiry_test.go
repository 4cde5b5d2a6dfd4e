package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/operation"
)

// temporary is a decky whose only service comes and goes.
type temporary struct {
	*bundle
	id   uuid.UUID
	name string
}

func (x *temporary) operation(kind operation.Kind) operation.Operation {
	return operation.Operation{
		ID: uuid.Must(uuid.NewV7()), Scope: decky.FleetScope, Lane: x.id.String(), Kind: kind, Actor: "alice", State: operation.Received,
		DeckyID: x.id, Decky: x.name, Service: "ssh", RequestHash: []byte{1},
	}
}

// do carries out an operation to its success.
func (x *temporary) do(ctx context.Context, kind operation.Kind, request operation.Request) error {
	op, err := x.d.Accept(ctx, x.operation(kind), request)
	if err == nil {
		op, err = x.d.Wait(ctx, op.ID, time.Minute)
	}
	if err == nil && op.State != operation.Succeeded {
		err = fmt.Errorf("%s of %s ended %s", kind, x.name, op.State)
	}
	return err
}

func (x *temporary) add(ctx context.Context, at *time.Time) error {
	return x.do(ctx, operation.AddService, operation.Request{Add: &operation.AddRequest{Service: "ssh", ExpiresAt: at}})
}

func (x *temporary) expireAt(ctx context.Context, at time.Time) error {
	at = at.UTC().Truncate(time.Microsecond)
	return x.d.ChangeExpiry(ctx, x.operation(operation.SetExpiry), &at, map[string]any{})
}

// idle waits until nothing is open for the decky and returns its services.
func (x *temporary) idle(ctx context.Context) ([]decky.Service, error) {
	for ; ; time.Sleep(50 * time.Millisecond) {
		if busy, err := x.store.LaneBusy(ctx, decky.FleetScope, x.id.String()); err != nil || busy {
			if err != nil {
				return nil, err
			}
			continue
		}
		d, err := x.store.DeckyByName(ctx, decky.FleetScope, x.name)
		return d.Services, err
	}
}

func newTemporary(t *testing.T, b *bundle, name string) *temporary {
	t.Helper()
	op := accept(t, b.d, name, "")
	got, err := b.d.Wait(t.Context(), op.ID, time.Minute)
	require.NoError(t, err)
	require.Equal(t, operation.Succeeded, got.State, "%+v", got.Fault)
	return &temporary{bundle: b, id: op.DeckyID, name: name}
}

// TestChangeExpiry_RacesWithTheEnd extends services at the moment they end, a thousand times or, on a busy machine, as often
// as there is time for: who was told that the end was moved still has the service when everything has come to rest.
func TestChangeExpiry_RacesWithTheEnd(t *testing.T) {
	t.Parallel()
	const races, atLeast, deckies, limit = 1000, 50, 8, 45 * time.Second
	b := setup(t)
	close(b.rt.hold)
	resubmit(t, b)
	began := time.Now()
	var started, kept, lost, gone atomic.Int64
	var wg sync.WaitGroup
	for i := range deckies {
		x := newTemporary(t, b, fmt.Sprintf("web-%02d", i))
		wg.Go(func() {
			r := racer{temporary: x, lead: time.Duration(i) * 100 * time.Millisecond}
			for time.Since(began) < limit && started.Add(1) <= races {
				won, err := r.race(t.Context())
				var f *fault.Error
				switch {
				case won && err == nil:
					kept.Add(1)
				case errors.As(err, &f) && f.Code == "service_being_removed":
					lost.Add(1)
				case errors.As(err, &f) && f.Code == "service_not_present":
					gone.Add(1)
				default:
					t.Errorf("%s: %v", x.name, err)
					return
				}
			}
		})
	}
	wg.Wait()
	total := kept.Load() + lost.Load() + gone.Load()
	t.Logf("%d races in %s: kept %d, refused while being removed %d, refused afterwards %d",
		total, time.Since(began).Round(time.Second), kept.Load(), lost.Load(), gone.Load())
	require.GreaterOrEqual(t, total, int64(atLeast))
	require.NotZero(t, kept.Load())
	require.NotZero(t, lost.Load()+gone.Load())
	dropped, err := b.store.Operations(t.Context(), db.OperationFilter{State: string(operation.Refused), Limit: 500})
	require.NoError(t, err)
	for _, op := range dropped {
		require.Equal(t, "superseded", op.Fault.Code)
	}
}

// resubmit does what recovery does for operations that a busy Temporal did not take.
func resubmit(t *testing.T, b *bundle) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	t.Cleanup(func() { cancel(); wg.Wait() })
	wg.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(2 * time.Second):
			}
			ops, _ := b.store.OpenOperations(ctx, 100)
			for _, op := range ops {
				if op.State == operation.Received && time.Since(op.CreatedAt) > 6*time.Second {
					_ = b.d.Submit(ctx, op)
				}
			}
		}
	})
}

// racer extends a little later after it won, and a little earlier after it lost, so that it stays close to the end.
type racer struct {
	*temporary
	lead  time.Duration
	there bool
}

// race reports whether the end was moved, or the refusal.
func (r *racer) race(ctx context.Context) (won bool, err error) {
	if !r.there {
		far := time.Now().Add(time.Hour)
		err = r.add(ctx, &far)
	}
	end := time.Now().Add(50 * time.Millisecond)
	if err == nil {
		err = r.expireAt(ctx, end)
	}
	if err != nil {
		return false, fmt.Errorf("begin the race: %w", err)
	}
	time.Sleep(time.Until(end) + r.lead)
	later := time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond)
	refused := r.expireAt(ctx, later)
	services, err := r.idle(ctx)
	if err != nil {
		return false, err
	}
	r.there = refused == nil
	if r.there {
		r.lead = min(r.lead+100*time.Millisecond, 3*time.Second)
		if len(services) != 1 || services[0].ExpiresAt == nil || !services[0].ExpiresAt.Equal(later) {
			return false, fmt.Errorf("the end was moved and the service is %+v", services)
		}
		return true, nil
	}
	r.lead -= 100 * time.Millisecond
	if len(services) != 0 {
		return false, fmt.Errorf("the end was not moved (%w) and the service is there", refused)
	}
	return false, refused
}

func (x *temporary) awaitGone(t *testing.T) time.Time {
	t.Helper()
	require.Eventually(t, func() bool {
		d, err := x.store.DeckyByName(t.Context(), decky.FleetScope, x.name)
		return err == nil && len(d.Services) == 0
	}, time.Minute, 20*time.Millisecond)
	return time.Now()
}

// A rollback brings a service back with the end it had then, while its timer waits for the end it got later.
func TestRollback_TellsTheTimerOfAServiceThatComesBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	close(b.rt.hold)
	x := newTemporary(t, b, "web-01")
	end := time.Now().Add(10 * time.Second).UTC().Truncate(time.Microsecond)
	require.NoError(t, x.add(t.Context(), &end)) // revision 2
	require.NoError(t, x.do(t.Context(), operation.SaveConfig, operation.Request{
		Configure: &operation.ConfigureRequest{Service: "ssh", Config: map[string]any{"user": "eve"}},
	}))
	require.NoError(t, x.expireAt(t.Context(), end.Add(time.Hour)))
	require.NoError(t, x.do(t.Context(), operation.RemoveService, operation.Request{Remove: "ssh"}))
	require.NoError(t, x.do(t.Context(), operation.Rollback, operation.Request{Revision: 2}))
	services, err := x.idle(t.Context())
	require.NoError(t, err)
	require.Len(t, services, 1, "the test was too slow")
	require.True(t, end.Equal(*services[0].ExpiresAt))
	require.False(t, x.awaitGone(t).Before(end))
}

// Recovery wakes the timers of services that end soon: one may not have been told that the end was moved nearer.
func TestEnsureExpiry_WakesATimerThatWasNotTold(t *testing.T) {
	t.Parallel()
	b := setup(t)
	close(b.rt.hold)
	x := newTemporary(t, b, "web-01")
	end := time.Now().Add(time.Hour)
	require.NoError(t, x.add(t.Context(), &end))
	soon := time.Now().Add(100 * time.Millisecond)
	e, err := x.store.ChangeExpiry(t.Context(), x.operation(operation.SetExpiry), []byte("{}"), &soon, map[string]any{})
	require.NoError(t, err)
	require.NoError(t, b.d.EnsureExpiry(t.Context(), e, 1, false))
	require.NoError(t, b.d.EnsureExpiry(t.Context(), e, 1, true))
	x.awaitGone(t)
	list, err := x.store.Operations(t.Context(), db.OperationFilter{Actor: "expiry", Limit: 10})
	require.NoError(t, err)
	require.Len(t, list, 1)
}

func TestChangeExpiry_IsKeptWhileTemporalIsAway(t *testing.T) {
	t.Parallel()
	b := setup(t)
	close(b.rt.hold)
	x := newTemporary(t, b, "web-01")
	require.NoError(t, x.add(t.Context(), nil))
	away := *x
	away.bundle = &bundle{store: b.store, d: awayFrom(t, b.store)}
	end := time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond)
	require.NoError(t, away.expireAt(t.Context(), end))
	due, err := b.store.Expiries(t.Context(), end, 10)
	require.NoError(t, err)
	require.Len(t, due, 1)
	require.Equal(t, []any{x.id, "web-01", "ssh", decky.FleetScope}, []any{due[0].DeckyID, due[0].Decky, due[0].Service, due[0].Scope})
	require.True(t, due[0].At.Equal(end))
}
