package bus_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/bus"
	"github.com/decnet/decnet/internal/clock"
	"github.com/decnet/decnet/internal/fault"
)

var fleet = []string{"decky.>"}

// reader collects the steps of one Follow.
type reader struct {
	t    *testing.T
	stop func()

	mu    sync.Mutex
	steps []bus.Step
}

func follow(t *testing.T, b *bus.Bus, patterns []string, behind bus.Position) *reader {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := &reader{t: t}
	done := make(chan error, 1)
	go func() {
		done <- b.Follow(ctx, patterns, behind, func(s bus.Step) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.steps = append(r.steps, s)
			return nil
		})
	}()
	r.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-done)
	})
	t.Cleanup(r.stop)
	return r
}

func (r *reader) all() []bus.Step {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]bus.Step(nil), r.steps...)
}

// await waits for n steps and returns their event ids, "lost" for a lost place.
func (r *reader) await(n int) []string {
	r.t.Helper()
	require.Eventually(r.t, func() bool { return len(r.all()) >= n }, patience, 5*time.Millisecond)
	var ids []string
	for _, s := range r.all() {
		if s.Lost {
			ids = append(ids, "lost")
			continue
		}
		ids = append(ids, s.Event.ID)
	}
	return ids
}

func (r *reader) last() bus.Position {
	steps := r.all()
	return steps[len(steps)-1].At
}

func newest(t *testing.T, b *bus.Bus) bus.Position {
	t.Helper()
	at, held, err := b.Locate(t.Context(), fleet, bus.Position{})
	require.NoError(t, err)
	require.False(t, held)
	return at
}

// publishN publishes n events and returns their ids.
func publishN(t *testing.T, b *bus.Bus, n int) []string {
	t.Helper()
	ids := make([]string, n)
	for i := range n {
		e := event(t, "decky.web.service_added", map[string]any{"n": i})
		publish(t, b, e)
		ids[i] = e.ID
	}
	return ids
}

// again stores an event a second time, as a relay does whose repetition the broker does not recognise any more.
func again(t *testing.T, b bundle, e bus.Envelope) {
	t.Helper()
	data, err := e.Encode()
	require.NoError(t, err)
	_, err = b.js.Publish(t.Context(), string(e.Topic), data)
	require.NoError(t, err)
}

func TestFollow_BeginsBehindThePlaceAndGoesOnThere(t *testing.T) {
	t.Parallel()
	b := setup(t)
	publishN(t, b.bus, 3)
	r := follow(t, b.bus, fleet, newest(t, b.bus))
	publish(t, b.bus, event(t, "smtp.probe.pending", nil)) // of the same stream, not asked for
	ids := publishN(t, b.bus, 3)
	require.Equal(t, ids, r.await(3))
	r.stop()

	more := publishN(t, b.bus, 2)
	second := r.all()[1].At
	at, held, err := b.bus.Locate(t.Context(), fleet, second)
	require.NoError(t, err)
	require.True(t, held)
	require.Equal(t, second, at)
	require.Equal(t, append(ids[2:], more...), follow(t, b.bus, fleet, second).await(3))
}

func TestFollow_AnEmptyStreamHasAPlaceToo(t *testing.T) {
	t.Parallel()
	b := setup(t)
	at := newest(t, b.bus)
	require.False(t, at.IsZero())
	ids := publishN(t, b.bus, 2)
	_, held, err := b.bus.Locate(t.Context(), fleet, at)
	require.NoError(t, err)
	require.True(t, held)
	require.Equal(t, ids, follow(t, b.bus, fleet, at).await(2))
}

func TestFollow_AnEventStoredTwiceIsToldOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var events []bus.Envelope
	for i := range 600 { // more than the first stretch that is looked back
		e := event(t, "decky.web.service_added", map[string]any{"n": i})
		publish(t, b.bus, e)
		events = append(events, e)
	}
	at := newest(t, b.bus)
	r := follow(t, b.bus, fleet, at)
	for _, e := range events {
		again(t, b, e) // there before the place
	}
	live := event(t, "decky.web.service_added", nil)
	publish(t, b.bus, live)
	again(t, b, live)
	end := event(t, "decky.web.service_removed", nil)
	publish(t, b.bus, end)
	require.Equal(t, []string{live.ID, end.ID}, r.await(2))
	r.stop()

	// A resumption knows what was told before it.
	again(t, b, live)
	again(t, b, events[599])
	last := publishN(t, b.bus, 1)
	require.Equal(t, last, follow(t, b.bus, fleet, r.last()).await(1))
}

func TestFollow_EveryEventOnceOverCutsRestartsAndRepetitions(t *testing.T) {
	t.Parallel()
	b := setup(t)
	at := newest(t, b.bus)
	const total = 400
	events, want := make([]bus.Envelope, total), make([]string, total)
	for i := range total {
		events[i] = event(t, fmt.Sprintf("decky.d%d.service_added", i%3), map[string]any{"n": i})
		want[i] = events[i].ID
	}
	published := make(chan struct{})
	go func() {
		defer close(published)
		for i, e := range events {
			for b.bus.Publish(t.Context(), e) != nil && t.Context().Err() == nil {
				clock.Sleep(t.Context(), 20*time.Millisecond)
			}
			if i%7 == 0 {
				if data, err := events[rand.N(i+1)].Encode(); err == nil {
					_, _ = b.js.Publish(t.Context(), "decky.d0.service_added", data)
				}
			}
		}
	}()
	var got []string
	for cut := 0; len(got) < total; cut++ {
		r := follow(t, b.bus, fleet, at)
		if cut == 10 {
			b.server.Down()
			b.server.Up()
		}
		ids := r.await(min(1+rand.N(12), total-len(got)))
		r.stop()
		if n := len(r.all()); n > 0 { // await may have seen fewer
			ids = r.await(n)
			at = r.last()
		}
		got = append(got, ids...)
	}
	<-published
	require.Equal(t, want, got)
}

func TestFollow_ABrokerThatLostTheLastSecondIsNotBelieved(t *testing.T) {
	t.Parallel()
	b := setup(t)
	publishN(t, b.bus, 5)
	b.server.Down()
	restore := b.server.Save()
	b.server.Up()
	live := follow(t, b.bus, fleet, newestSoon(t, b.bus))
	told := publishN(t, b.bus, 3)
	require.Equal(t, told, live.await(3))
	old := live.last()
	b.server.Down()
	restore()
	b.server.Up()
	// The numbers of the lost events go to others, which were never told.
	other := publishN(t, b.bus, 5)
	ids := live.await(4)
	require.Equal(t, "lost", ids[3], "a follower is told")
	require.NotContains(t, told, other[0])

	at, held, err := b.bus.Locate(t.Context(), fleet, old)
	require.NoError(t, err)
	require.False(t, held, "and who comes back too")
	require.NotEqual(t, old, at)
}

func newestSoon(t *testing.T, b *bus.Bus) (at bus.Position) {
	t.Helper()
	require.Eventually(t, func() bool {
		var err error
		at, _, err = b.Locate(t.Context(), fleet, bus.Position{})
		return err == nil
	}, patience, 10*time.Millisecond)
	return at
}

func TestFollow_ANewStoreIsTold(t *testing.T) {
	t.Parallel()
	b := setup(t)
	publishN(t, b.bus, 3)
	at := newest(t, b.bus)
	r := follow(t, b.bus, fleet, at)
	b.server.Down()
	b.server.Wipe()
	b.server.Up()
	require.Equal(t, []string{"lost"}, r.await(1))
	ids := publishN(t, b.bus, 2)
	require.Equal(t, append([]string{"lost"}, ids...), r.await(3))
	_, held, err := b.bus.Locate(t.Context(), fleet, at)
	require.NoError(t, err)
	require.False(t, held)
}

func TestLocate_RemovedEventsCannotBeResumedBehind(t *testing.T) {
	t.Parallel()
	b := setup(t)
	publishN(t, b.bus, 3)
	at := newest(t, b.bus)
	publishN(t, b.bus, 5)
	s, err := b.js.Stream(t.Context(), "FLEET")
	require.NoError(t, err)
	require.NoError(t, s.Purge(t.Context(), jetstream.WithPurgeSequence(6)))
	_, held, err := b.bus.Locate(t.Context(), fleet, at)
	require.NoError(t, err)
	require.False(t, held)
}

func TestFollow_ABrokerThatIsAwayIsWaitedForWithoutAGap(t *testing.T) {
	t.Parallel()
	b := setup(t)
	reader, err := bus.Connect(t.Context(), b.server.URL(), "reader", bus.ReadOnly(), bus.WithLogger(slog.New(slog.DiscardHandler)))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, reader.Close()) })
	publishN(t, b.bus, 3)
	mine := follow(t, reader, fleet, newestBefore(t, b, 3))
	mine.await(3)
	mine.stop()

	b.server.Down()
	fresh, held, err := reader.Locate(t.Context(), fleet, bus.Position{})
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
	require.False(t, held)
	require.False(t, fresh.IsZero())
	same, held, err := reader.Locate(t.Context(), fleet, mine.last())
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
	require.False(t, held)
	require.Equal(t, mine.last(), same)
	fresher, resumed := follow(t, reader, fleet, fresh), follow(t, reader, fleet, same)
	b.server.Up()
	more := publishN(t, b.bus, 2)
	require.Equal(t, more, resumed.await(2))
	// Where the log ended when it was last seen may be a few events ago.
	require.Eventually(t, func() bool { return strings.HasSuffix(strings.Join(fresher.await(2), " "), strings.Join(more, " ")) },
		patience, 10*time.Millisecond)
	require.NotContains(t, fresher.await(2), "lost")
}

// newestBefore returns the place in front of the n newest events.
func newestBefore(t *testing.T, b bundle, n int) bus.Position {
	t.Helper()
	s, err := b.js.Stream(t.Context(), "FLEET")
	require.NoError(t, err)
	require.EqualValues(t, n, s.CachedInfo().State.LastSeq)
	at, ok := bus.ParsePosition(fmt.Sprintf("%s-0-0", strings.Split(newest(t, b.bus).String(), "-")[0]))
	require.True(t, ok)
	return at
}

func TestFollow_EndsWithTheErrorOfItsReader(t *testing.T) {
	t.Parallel()
	b := setup(t)
	publishN(t, b.bus, 1)
	enough := errors.New("enough")
	require.ErrorIs(t, b.bus.Follow(t.Context(), fleet, newestBefore(t, b, 1), func(bus.Step) error { return enough }), enough)
	list, err := b.js.Stream(t.Context(), "FLEET")
	require.NoError(t, err)
	info, err := list.Info(t.Context())
	require.NoError(t, err)
	require.Zero(t, info.State.Consumers, "nothing is left behind")
}

func TestFollow_RefusesPatternsOfSeveralStreams(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, patterns := range [][]string{nil, {">"}, {"system.>"}, {"decky.>", "ttp.>"}, {"decky..x"}} {
		err := b.bus.Follow(t.Context(), patterns, bus.Position{}, nil)
		require.Equal(t, fault.Invalid, fault.KindOf(err), patterns)
		_, _, err = b.bus.Locate(t.Context(), patterns, bus.Position{})
		require.Equal(t, fault.Invalid, fault.KindOf(err), patterns)
	}
	_, held, err := b.bus.Locate(t.Context(), []string{"topology.a.>", "decky.>"}, newest(t, b.bus))
	require.NoError(t, err)
	require.True(t, held)
}

func TestFollow_SkipsWhatCannotBeDecoded(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := follow(t, b.bus, fleet, newest(t, b.bus))
	for _, data := range []string{"[]", "{", `{"id":7}`} {
		_, err := b.js.Publish(t.Context(), "decky.web.state", []byte(data))
		require.NoError(t, err)
	}
	ids := publishN(t, b.bus, 1)
	require.Equal(t, ids, r.await(1))
}

func FuzzParsePosition(f *testing.F) {
	for _, s := range []string{"", "a-b-c", "1-2-3", "0-0-0", "--", "-1-2-3", "1z141z3-1-1z141z3", "01-2-3", strings.Repeat("1", 90)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, ok := bus.ParsePosition(s)
		if !ok {
			require.True(t, p.IsZero())
			return
		}
		require.Equal(t, s, p.String())
		require.LessOrEqual(t, len(s), 41)
	})
}
