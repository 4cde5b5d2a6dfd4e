package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/auth"
	"github.com/decnet/decnet/internal/clock"
	"github.com/decnet/decnet/internal/role/relay"
)

// relays publishes the outbox with relays that die without a clean end, one after the other.
type relays struct {
	*liveBundle
	js jetstream.JetStream
}

// forget lets the broker recognise repetitions for a moment only, as it does after a quarter of an hour.
func (r relays) forget(ctx context.Context) error {
	s, err := r.js.Stream(ctx, "FLEET")
	if err != nil {
		return err
	}
	cfg := s.CachedInfo().Config
	cfg.Duplicates = 100 * time.Millisecond
	_, err = r.js.UpdateStream(ctx, cfg)
	return err
}

func (r relays) run(ctx context.Context, life func() time.Duration) error {
	for ctx.Err() == nil {
		if err := r.forget(ctx); err != nil {
			return err
		}
		id := uuid.Must(uuid.NewV7())
		if err := r.store.StartRole(ctx, db.RoleInstance{ID: id, Role: "bridge", HostID: "h"}); err != nil {
			return err
		}
		limited, cancel := context.WithTimeout(ctx, life())
		err := (&relay.Relay{Store: r.store, Bus: r.events, Log: slog.New(slog.DiscardHandler), Instance: id, Role: "bridge"}).Run(limited)
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

// commit writes one event of the fleet and returns its number, which is also in its payload.
func (l *liveBundle) commit(ctx context.Context, n int) error {
	return l.store.InTx(ctx, func(tx *db.Tx) error {
		return tx.Publish(ctx, db.Event{
			EventID: uuid.New(), Key: fmt.Sprint(n % 3), Topic: fmt.Sprintf("decky.d%d.service_added", n%3), Type: "service_added",
			Payload: json.RawMessage(fmt.Sprintf(`{"n":%d,"topology_id":null}`, n)),
		})
	})
}

func TestStream_AHundredCutsEveryEventOnce(t *testing.T) {
	t.Parallel()
	l := setupLive(t)
	nc, err := nats.Connect(l.nats.URL(), nats.MaxReconnects(-1))
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	require.NoError(t, err)

	seen := map[int]int{}
	var id string
	read := func(s *subscriber) {
		e := s.next()
		id = e.LastEventID
		if e.Type == "snapshot" {
			require.Empty(t, seen, "only the first stream begins with one")
			return
		}
		var data struct{ Payload struct{ N int } }
		require.NoError(t, json.Unmarshal([]byte(e.Data), &data))
		seen[data.Payload.N]++
	}
	first := l.open(t, ask{as: auth.Viewer})
	read(first) // before anything happens: what is in a snapshot is not told
	first.close()

	const cuts = 100
	var produced, cut atomic.Int32
	ctx, stop := context.WithCancel(t.Context())
	var work sync.WaitGroup
	defer work.Wait()
	defer stop()
	errs := make(chan error, 2)
	work.Go(func() {
		errs <- relays{l, js}.run(ctx, func() time.Duration { return time.Second + rand.N(time.Second) })
	})
	finished := make(chan struct{})
	work.Go(func() {
		defer close(finished)
		for cut.Load() < cuts && ctx.Err() == nil {
			if err := l.commit(ctx, int(produced.Load())); err != nil {
				errs <- err
				return
			}
			produced.Add(1)
			clock.Sleep(ctx, rand.N(20*time.Millisecond))
		}
	})

	for range cuts {
		s := l.open(t, ask{as: auth.Viewer, lastID: id})
		for range rand.N(8) {
			read(s)
		}
		s.close() // what was on its way is told again
		cut.Add(1)
	}
	<-finished
	last := l.open(t, ask{as: auth.Viewer, lastID: id})
	for len(seen) < int(produced.Load()) {
		read(last)
	}
	require.NoError(t, l.commit(t.Context(), int(produced.Load())))
	read(last) // and no repetition before it
	for n, times := range seen {
		require.Equal(t, 1, times, "event %d", n)
	}
	require.Empty(t, errs)

	stream, err := js.Stream(t.Context(), "FLEET")
	require.NoError(t, err)
	stored := stream.CachedInfo().State.Msgs
	require.Greater(t, stored, uint64(produced.Load())+100, "relays repeated themselves and the broker stored it")
	t.Logf("%d events, stored %d times, %d cuts", produced.Load(), stored, cuts)
}
