package bus_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/decnet/decnet/internal/bus"
	"github.com/decnet/decnet/internal/bus/bustest"
	"github.com/decnet/decnet/internal/fault"
)

const patience = 20 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type bundle struct {
	server *bustest.Server
	bus    *bus.Bus
	js     jetstream.JetStream // a second connection, to look at the broker from outside
}

func setup(t *testing.T) bundle {
	t.Helper()
	s := bustest.Start(t)
	b, err := bus.Connect(t.Context(), s.URL(), "test", bus.WithLogger(slog.New(slog.DiscardHandler)))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	nc, err := nats.Connect(s.URL(), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	return bundle{server: s, bus: b, js: js}
}

func event(t *testing.T, subject string, payload any) bus.Envelope {
	t.Helper()
	e, err := bus.New(bus.Subject(subject), "test", noon, payload)
	require.NoError(t, err)
	return e
}

// publish retries while the broker is away, as the outbox relay does.
func publish(t *testing.T, b *bus.Bus, e bus.Envelope) {
	t.Helper()
	require.Eventually(t, func() bool {
		err := b.Publish(t.Context(), e)
		require.Contains(t, []fault.Kind{"", fault.Unavailable}, fault.KindOf(err))
		return err == nil
	}, patience, 20*time.Millisecond)
}

func TestApply_IsIdempotentAndKeepsTheOperatorsSettings(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var errs sync.Map
	var wg sync.WaitGroup
	for i := range 5 {
		wg.Go(func() { errs.Store(i, bus.Apply(t.Context(), b.js)) })
	}
	wg.Wait()
	errs.Range(func(_, err any) bool { require.Nil(t, err); return true })

	subjects := map[string]bool{}
	for _, name := range []string{"FLEET", "ATTACKER", "TTP"} {
		s, err := b.js.Stream(t.Context(), name)
		require.NoError(t, err)
		cfg := s.CachedInfo().Config
		require.Equal(t, jetstream.FileStorage, cfg.Storage)
		require.Equal(t, jetstream.DiscardNew, cfg.Discard)
		require.Equal(t, 15*time.Minute, cfg.Duplicates)
		require.Positive(t, cfg.MaxBytes)
		require.Positive(t, cfg.MaxAge)
		for _, s := range cfg.Subjects {
			subjects[s] = true
		}
		cfg.Metadata = map[string]string{"owner": "ops"}
		_, err = b.js.UpdateStream(t.Context(), cfg)
		require.NoError(t, err)
	}
	for _, root := range bus.Roots() {
		require.Equal(t, root != bus.RootSystem, subjects[root+".>"], root)
	}
	require.NoError(t, bus.Apply(t.Context(), b.js))
	s, err := b.js.Stream(t.Context(), "TTP")
	require.NoError(t, err)
	require.Equal(t, "ops", s.CachedInfo().Config.Metadata["owner"])
}

func TestPublish_StoresOnceWithIDAndTimeKept(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := event(t, "decky.web.service_added", map[string]any{"decky_name": "web"})
	for range 3 {
		require.NoError(t, b.bus.Publish(t.Context(), e))
	}
	s, err := b.js.Stream(t.Context(), "FLEET")
	require.NoError(t, err)
	require.EqualValues(t, 1, s.CachedInfo().State.Msgs)
	msg, err := s.GetMsg(t.Context(), 1)
	require.NoError(t, err)
	require.Equal(t, e.ID, msg.Header.Get(jetstream.MsgIDHeader))
	got, err := bus.Decode(msg.Subject, msg.Data, bus.Defaults{})
	require.NoError(t, err)
	require.Equal(t, e, got)
}

func TestPublish_ClassifiesFailures(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := event(t, "ttp.tagged", nil)
	e.Topic = "ttp.*"
	require.Equal(t, fault.Invalid, fault.KindOf(b.bus.Publish(t.Context(), e)))

	full := event(t, "ttp.tagged", map[string]string{"s": strings.Repeat("x", bus.MaxBytes-200)})
	require.NoError(t, b.bus.Publish(t.Context(), full), "an envelope of full size fits the stream")

	b.server.Down()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second) // the loss may not be noticed yet
	defer cancel()
	require.Equal(t, fault.Unavailable, fault.KindOf(b.bus.Publish(ctx, event(t, "ttp.tagged", nil))))
	begin := time.Now()
	for range 10 {
		require.Equal(t, fault.Unavailable, fault.KindOf(b.bus.Publish(t.Context(), event(t, "ttp.tagged", nil))))
	}
	require.Less(t, time.Since(begin), 2*time.Second, "a known loss costs no waiting")
	require.Equal(t, fault.Unavailable, fault.KindOf(b.bus.Publish(t.Context(), event(t, "system.log", nil))))
	require.Equal(t, fault.Unavailable, fault.KindOf(b.bus.Ping(t.Context())))
	b.server.Up()
	publish(t, b.bus, event(t, "ttp.tagged", nil))
	require.NoError(t, b.bus.Ping(t.Context()))
}

func TestConnect_WaitsForTheBrokerButNotForEver(t *testing.T) {
	t.Parallel()
	s := bustest.Start(t)
	s.Down()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	_, err := bus.Connect(ctx, s.URL(), "test")
	require.Equal(t, fault.Unavailable, fault.KindOf(err))

	type result struct {
		bus *bus.Bus
		err error
	}
	done := make(chan result)
	url := s.URL()
	go func() {
		b, err := bus.Connect(t.Context(), url, "test")
		done <- result{b, err}
	}()
	s.Up()
	r := <-done
	require.NoError(t, r.err)
	require.NoError(t, r.bus.Publish(t.Context(), event(t, "ttp.tagged", nil)))
	require.NoError(t, r.bus.Close())
	require.NoError(t, r.bus.Close(), "closing twice is harmless")
}

func TestStreams_ComeBackAfterTheyWereDeleted(t *testing.T) {
	t.Parallel()
	for name, destroy := range map[string]func(*testing.T, bundle){
		"deleted while running": func(t *testing.T, b bundle) {
			for _, s := range []string{"FLEET", "ATTACKER", "TTP"} {
				require.NoError(t, b.js.DeleteStream(t.Context(), s))
			}
		},
		"store lost at restart": func(_ *testing.T, b bundle) {
			b.server.Down()
			b.server.Wipe()
			b.server.Up()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			handled, tailed := make(chan string, 100), make(chan string, 100)
			since := time.Now()
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			wg.Go(func() {
				_ = b.bus.Run(ctx, durable(), func(_ context.Context, e bus.Envelope) error { handled <- e.ID; return nil }, noDeadLetter)
			})
			wg.Go(func() {
				_ = b.bus.Tail(ctx, []string{">"}, since, func(e bus.Envelope) error { tailed <- e.ID; return nil })
			})
			t.Cleanup(func() { cancel(); wg.Wait() })

			for range 2 { // sequence numbers above 1 before, 1 after
				e := event(t, "ttp.tagged", nil)
				publish(t, b.bus, e)
				require.Equal(t, e.ID, receive(t, handled))
				require.Equal(t, e.ID, receive(t, tailed))
			}
			destroy(t, b)
			e := event(t, "ttp.tagged", nil)
			publish(t, b.bus, e)
			require.Equal(t, e.ID, receive(t, handled))
			require.Equal(t, e.ID, receive(t, tailed))
		})
	}
}

func TestTrim_MakesRoomButKeepsWhatADurableConsumerNeeds(t *testing.T) {
	t.Parallel()
	b := setup(t)
	big := map[string]string{"s": strings.Repeat("x", bus.MaxBytes-300)}
	fill := func() (published int) {
		for {
			err := b.bus.Publish(t.Context(), event(t, "decky.web.traffic", big))
			if err != nil {
				require.Equal(t, fault.Unavailable, fault.KindOf(err))
				return published
			}
			published++
		}
	}
	blocker := durable()
	blocker.Stream, blocker.Filters = "FLEET", []string{"decky.>"}
	cons, err := b.js.CreateOrUpdateConsumer(t.Context(), "FLEET", jetstream.ConsumerConfig{
		Durable: blocker.Name, AckPolicy: jetstream.AckExplicitPolicy, FilterSubjects: blocker.Filters,
	})
	require.NoError(t, err)
	stored := fill()
	require.Equal(t, fault.Unavailable, fault.KindOf(b.bus.Publish(t.Context(), event(t, "decky.web.traffic", big))), "full: nothing may go")
	info, err := cons.Info(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, stored, info.NumPending, "nothing that was accepted is lost")

	require.NoError(t, b.js.DeleteConsumer(t.Context(), "FLEET", blocker.Name))
	publish(t, b.bus, event(t, "decky.web.traffic", big))
	s, err := b.js.Stream(t.Context(), "FLEET")
	require.NoError(t, err)
	require.Less(t, s.CachedInfo().State.Msgs, uint64(stored))
}

func TestTail_ReplaysThenFollowsWhatMatches(t *testing.T) {
	t.Parallel()
	b := setup(t)
	start := time.Now()
	old := event(t, "ttp.rule.state.R1", nil)
	publish(t, b.bus, old)
	publish(t, b.bus, event(t, "ttp.tagged", nil))
	_, err := b.js.Publish(t.Context(), "ttp.rule.state.R9", []byte("not an envelope"))
	require.NoError(t, err)

	got := make(chan string, 10)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- b.bus.Tail(ctx, []string{"ttp.rule.>", "*.*.service_added", "system.>"}, start, func(e bus.Envelope) error {
			got <- e.ID
			return nil
		})
	}()
	require.Equal(t, old.ID, receive(t, got))
	live := event(t, "decky.web.service_added", nil)
	publish(t, b.bus, event(t, "decky.web.state", nil))
	publish(t, b.bus, live)
	require.Equal(t, live.ID, receive(t, got))
	beat := event(t, "system.ingest.health", nil)
	require.Eventually(t, func() bool { // core NATS: only heard once the subscription stands
		require.NoError(t, b.bus.Publish(t.Context(), beat))
		select {
		case id := <-got:
			return id == beat.ID
		default:
			return false
		}
	}, patience, 20*time.Millisecond)
	cancel()
	require.NoError(t, <-done)
}

func TestTail_EndsWithTheCallbacksError(t *testing.T) {
	t.Parallel()
	b := setup(t)
	publish(t, b.bus, event(t, "ttp.tagged", nil))
	stop := errors.New("enough")
	require.ErrorIs(t, b.bus.Tail(t.Context(), []string{"ttp.>"}, time.Unix(1, 0), func(bus.Envelope) error { return stop }), stop)
	require.Equal(t, fault.Invalid, fault.KindOf(b.bus.Tail(t.Context(), []string{"a..b"}, time.Time{}, nil)))
}

func TestTail_WithoutStartSkipsTheOld(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for range 3 {
		publish(t, b.bus, event(t, "ttp.tagged", map[string]any{"old": true}))
	}
	got := make(chan bus.Envelope, 100)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = b.bus.Tail(ctx, []string{"ttp.>"}, time.Time{}, func(e bus.Envelope) error { got <- e; return nil })
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	for i := 0; ; i++ {
		publish(t, b.bus, event(t, "ttp.tagged", map[string]any{"n": fmt.Sprint(i)}))
		select {
		case e := <-got:
			require.NotContains(t, string(e.Payload), "old")
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func receive(t *testing.T, c <-chan string) string {
	t.Helper()
	select {
	case s := <-c:
		return s
	case <-time.After(patience):
		require.Fail(t, "nothing received")
		return ""
	}
}
