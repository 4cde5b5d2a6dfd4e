package relay_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/db/dbtest"
	"github.com/decnet/decnet/internal/bus"
	"github.com/decnet/decnet/internal/embedded"
	"github.com/decnet/decnet/internal/role/relay"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/decnet/decnet/internal/embedded/embeddedtest.shared.spawn.func2"))
}

type bundle struct {
	t     *testing.T
	store *db.Store
	nats  *embedded.NATS
	opts  embedded.NATSOptions
	bus   *bus.Bus
}

var quiet = slog.New(slog.DiscardHandler)

func setup(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{t: t, store: dbtest.Open(t), opts: embedded.NATSOptions{StoreDir: t.TempDir(), Token: "token", Logger: quiet}}
	b.start()
	var err error
	b.bus, err = bus.Connect(t.Context(), b.nats.URL(), "test", bus.WithLogger(quiet))
	require.NoError(t, err)
	t.Cleanup(func() { _ = b.bus.Close(); b.nats.Stop() })
	return b
}

func (b *bundle) start() {
	b.t.Helper()
	var err error
	b.nats, err = embedded.StartNATS(b.t.Context(), b.opts)
	require.NoError(b.t, err)
	u, err := url.Parse(b.nats.URL())
	require.NoError(b.t, err)
	b.opts.Port, err = strconv.Atoi(u.Port()) // a restart comes back at the same place
	require.NoError(b.t, err)
}

// run starts a relay that counts as an instance of a role; the result ends it, cleanly or not.
func (b *bundle) run() (stop func(clean bool)) {
	b.t.Helper()
	id := uuid.Must(uuid.NewV7())
	require.NoError(b.t, b.store.StartRole(b.t.Context(), db.RoleInstance{ID: id, Role: "bridge", HostID: "h"}))
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = (&relay.Relay{Store: b.store, Bus: b.bus, Log: quiet, Instance: id, Role: "bridge"}).Run(ctx)
	}()
	ended := false
	stop = func(clean bool) {
		if ended {
			return
		}
		ended = true
		cancel()
		<-done
		if clean {
			require.NoError(b.t, b.store.StopRole(context.WithoutCancel(b.t.Context()), id))
		}
	}
	b.t.Cleanup(func() { stop(false) })
	return stop
}

// commit writes events of several keys and returns their ids in order.
func (b *bundle) commit(n int) []string {
	b.t.Helper()
	ids := make([]string, n)
	for i := range n {
		id := uuid.New()
		ids[i] = id.String()
		require.NoError(b.t, b.store.InTx(b.t.Context(), func(tx *db.Tx) error {
			return tx.Publish(b.t.Context(), db.Event{
				EventID: id, Key: fmt.Sprint(i % 3), Topic: fmt.Sprintf("decky.d%d.service_added", i%3), Type: "service_added",
				Payload: json.RawMessage(fmt.Sprintf(`{"n":%d}`, i)),
			})
		}))
	}
	return ids
}

// published collects what the stream holds until it holds as many different events as wanted.
func (b *bundle) published(want int) map[string]int {
	b.t.Helper()
	seen := map[string]int{}
	ctx, cancel := context.WithTimeout(b.t.Context(), 30*time.Second)
	defer cancel()
	require.NoError(b.t, b.bus.Tail(ctx, []string{"decky.>"}, time.Unix(1, 0), func(e bus.Envelope) error {
		seen[e.ID]++
		if len(seen) == want {
			cancel()
		}
		return nil
	}))
	require.Len(b.t, seen, want)
	return seen
}

func TestRelay_PublishesEveryEventOnce(t *testing.T) {
	b := setup(t)
	before := b.commit(10)
	b.run()
	ids := append(before, b.commit(290)...)
	seen := b.published(len(ids))
	for _, id := range ids {
		require.Equal(t, 1, seen[id])
	}
	require.Eventually(t, func() bool {
		n, err := b.store.CountUnpublished(t.Context())
		return err == nil && n == 0
	}, 10*time.Second, 10*time.Millisecond)
}

func TestRelay_BusThatLostItsStoreGetsRecentEventsAgain(t *testing.T) {
	b := setup(t)
	b.run()
	ids := b.commit(20)
	b.published(20)
	b.nats.Stop()
	b.opts.StoreDir = t.TempDir()
	b.start()
	seen := b.published(20)
	for _, id := range ids {
		require.Equal(t, 1, seen[id])
	}
}

func TestRelay_UncleanEndIsFollowedByAReplayThatTheBusFoldsTogether(t *testing.T) {
	b := setup(t)
	stop := b.run()
	b.commit(20)
	b.published(20)
	stop(false)
	b.run()
	more := b.commit(1)
	seen := b.published(21)
	require.Equal(t, 1, seen[more[0]])
}

func TestRelay_OnlyOneWorks(t *testing.T) {
	b := setup(t)
	first := b.run()
	b.run()
	b.commit(50)
	b.published(50)
	first(true)
	b.commit(50)
	seen := b.published(100)
	for id, n := range seen {
		require.Equal(t, 1, n, id)
	}
}

func TestRelay_AnEventThatCannotBePublishedHoldsUpItsKeyOnly(t *testing.T) {
	b := setup(t)
	require.NoError(t, b.store.InTx(t.Context(), func(tx *db.Tx) error {
		return tx.Publish(t.Context(), db.Event{EventID: uuid.New(), Key: "0", Topic: "not a subject", Type: "x", Payload: json.RawMessage(`{}`)})
	}))
	b.run()
	b.commit(9)
	b.published(6)
	require.Eventually(t, func() bool { // the bus has events a moment before the outbox notes it
		n, err := b.store.CountUnpublished(t.Context())
		return err == nil && n == 4
	}, 30*time.Second, 10*time.Millisecond)
}
