package activities_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/activities"
	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/dispatch"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/operation"
	"github.com/decnet/decnet/internal/service"
)

// timer is the activity of a temporary service with a clock of its own. What it asks for is recorded and stays received.
type timer struct {
	*bundle
	*activities.Expiry
	now time.Time
	e   decky.Expiry
}

// newTimer adds ssh to a new decky, for an hour.
func newTimer(t *testing.T) *timer {
	t.Helper()
	b := setup(t)
	x := &timer{bundle: b, now: time.Now().UTC().Truncate(time.Microsecond)}
	x.Expiry = &activities.Expiry{
		Store: b.store, Hash: dispatch.New(b.store, nil, b.box, nil).RequestHash, Now: func() time.Time { return x.now },
		Accept: func(ctx context.Context, op operation.Operation, request operation.Request) (operation.Operation, error) {
			stored, _, err := b.store.AddOperation(ctx, op, b.seal(op.ID, request))
			return stored, err
		},
	}
	at := x.now.Add(time.Hour)
	id := b.create("web-01")
	add := b.accept(operation.AddService, id, "web-01", "ssh", operation.Request{Add: &operation.AddRequest{Service: "ssh", ExpiresAt: &at}})
	begun := b.begin(add, "run")
	require.Equal(t, []decky.Expiry{{ID: add.ID, Scope: "fleet", DeckyID: id, Decky: "web-01", Service: "ssh", At: at}}, begun.Expiries)
	b.succeed(add) // which begins again and compares
	x.e = begun.Expiries[0]
	return x
}

// expire runs the activity twice and returns what both said.
func (x *timer) expire(in activities.ExpireInput) activities.ExpireResult {
	x.t.Helper()
	in.Expiry = x.e
	first, err := x.Expire(x.t.Context(), in)
	require.NoError(x.t, err)
	second, err := x.Expire(x.t.Context(), in)
	require.NoError(x.t, err)
	if require.Equal(x.t, first, second); !first.Next.IsZero() {
		first.Next = first.Next.UTC()
	}
	return first
}

func (x *timer) setExpiry(at *time.Time) error {
	op := operation.Operation{
		ID: uuid.Must(uuid.NewV7()), Scope: decky.FleetScope, Lane: x.e.DeckyID.String(), Kind: operation.SetExpiry, Actor: "alice",
		DeckyID: x.e.DeckyID, Decky: "web-01", Service: "ssh", RequestHash: []byte{1},
	}
	_, err := x.bundle.store.ChangeExpiry(x.t.Context(), op, x.seal(op.ID, operation.Request{}), at, map[string]string{})
	return err
}

func (x *timer) services() []string {
	x.t.Helper()
	d, err := x.bundle.store.DeckyByName(x.t.Context(), decky.FleetScope, "web-01")
	require.NoError(x.t, err)
	return decky.Names(d.Services)
}

func TestExpire_AsksForOneRemoval(t *testing.T) {
	t.Parallel()
	x := newTimer(t)
	require.Equal(t, activities.ExpireResult{Next: x.e.At}, x.expire(activities.ExpireInput{}), "not yet")
	x.now = x.e.At
	asked := x.expire(activities.ExpireInput{})
	require.Equal(t, 1, asked.Attempt)
	op := x.state(operation.Operation{ID: asked.Last})
	require.Equal(t, []any{operation.RemoveService, "expiry", "ssh", "web-01"}, []any{op.Kind, op.Actor, op.Service, op.Decky})

	open := x.expire(activities.ExpireInput{Attempt: asked.Attempt, Last: asked.Last})
	require.Equal(t, asked.Last, open.Last, "while it is open no other is asked for")
	require.Equal(t, 1, open.Attempt)
	x.succeed(op)
	require.Empty(t, x.services())
	require.Equal(t, activities.ExpireResult{Done: true}, x.expire(activities.ExpireInput{Attempt: asked.Attempt, Last: asked.Last}))
}

func TestExpire_RemovalThatFailedIsTriedAgainLaterAndLater(t *testing.T) {
	t.Parallel()
	x := newTimer(t)
	over := time.Now().Add(-time.Second)
	require.NoError(t, x.setExpiry(&over))
	in := activities.ExpireInput{}
	seen := map[uuid.UUID]bool{}
	var before time.Duration
	for range 9 {
		asked := x.expire(in)
		require.False(t, seen[asked.Last])
		seen[asked.Last] = true
		op := x.state(operation.Operation{ID: asked.Last})
		require.Equal(t, activities.Begun, x.begin(op, "run").Outcome)
		x.undo(op, operation.Failed)
		require.Equal(t, []string{"ssh"}, x.services())

		in.Attempt, in.Last = asked.Attempt, asked.Last
		ended := *x.state(op).EndedAt
		x.now = ended
		wait := x.expire(in)
		require.Equal(t, asked.Last, wait.Last)
		pause := wait.Next.Sub(ended)
		require.GreaterOrEqual(t, pause, max(before, 5*time.Second))
		require.LessOrEqual(t, pause, 5*time.Minute)
		before, x.now = pause, wait.Next
	}
	require.Equal(t, 5*time.Minute, before)
}

func TestExpire_FollowsTheWish(t *testing.T) {
	t.Parallel()
	x := newTimer(t)
	later := x.e.At.Add(time.Hour)
	require.NoError(t, x.setExpiry(&later))
	x.now = x.e.At
	require.Equal(t, activities.ExpireResult{Next: later}, x.expire(activities.ExpireInput{}), "extended")
	sooner := x.e.At.Add(-30 * time.Minute)
	require.NoError(t, x.setExpiry(&sooner))
	asked := x.expire(activities.ExpireInput{})
	require.NotEqual(t, uuid.Nil, asked.Last, "shortened")

	// The extension comes while the removal waits for its turn: the removal is dropped there.
	require.NoError(t, x.setExpiry(&later))
	begun := x.begin(x.state(operation.Operation{ID: asked.Last}), "run")
	require.Equal(t, activities.AlreadyEnded, begun.Outcome)
	require.Equal(t, []any{operation.Refused, "superseded"}, []any{begun.State, begun.Fault.Code})
	require.Equal(t, []string{"ssh"}, x.services())
	require.Equal(t, activities.ExpireResult{Next: later}, x.expire(activities.ExpireInput{Attempt: asked.Attempt, Last: asked.Last}))

	require.NoError(t, x.setExpiry(nil))
	x.now = later
	require.Equal(t, activities.ExpireResult{Done: true}, x.expire(activities.ExpireInput{}), "it stays")
	require.NoError(t, x.setExpiry(&later))
	require.Equal(t, activities.ExpireResult{Done: true}, x.expire(activities.ExpireInput{}), "another wish has another timer")
}

// While the removal is under way an end can be neither set nor taken away; a change that is under way keeps a new end.
func TestChangeExpiry_NextToOtherChanges(t *testing.T) {
	t.Parallel()
	x := newTimer(t)
	later := x.e.At.Add(time.Hour)
	apply := x.accept(operation.ApplyConfig, x.e.DeckyID, "web-01", "ssh", operation.Request{
		Configure: &operation.ConfigureRequest{Service: "ssh", Config: map[string]any{"user": "eve"}},
	})
	x.begin(apply, "run")
	require.NoError(t, x.setExpiry(&later))
	require.NoError(t, x.activate(apply))
	e, ok, err := x.bundle.store.Expiry(t.Context(), x.e.DeckyID, "ssh")
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, []any{x.e.ID, later}, []any{e.ID, e.At.UTC()}, "the new end is in the revision that followed")

	x.e.At, x.now = later, later
	remove := x.state(operation.Operation{ID: x.expire(activities.ExpireInput{}).Last})
	x.begin(remove, "run")
	for _, at := range []*time.Time{&later, nil} {
		f, ok := fault.As(x.setExpiry(at))
		require.True(t, ok)
		require.Equal(t, "service_being_removed", f.Code)
	}
	x.undo(remove, operation.Failed)
	require.NoError(t, x.setExpiry(nil))
	require.Equal(t, activities.ExpireResult{Done: true}, x.expire(activities.ExpireInput{}))
}

func TestMutation_SaveConcernsNoDecoy(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.create("web-01")
	b.succeed(b.accept(operation.AddService, id, "web-01", "ssh", addSSH("marker-secret")))
	save := b.accept(operation.SaveConfig, id, "web-01", "ssh", operation.Request{
		Configure: &operation.ConfigureRequest{Service: "ssh", Config: map[string]any{"password": service.Mask, "user": "eve"}},
	})
	require.True(t, b.begin(save, "run").Unaffected)
	require.True(t, b.begin(save, "another run").Unaffected, "nor does undoing it")
	require.NoError(t, b.activate(save))
	require.Len(t, b.events(save), 1)
	require.NotContains(t, string(b.events(save)[0].Payload), "marker")
}
