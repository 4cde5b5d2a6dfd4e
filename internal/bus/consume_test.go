package bus_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/bus"
	"github.com/decnet/decnet/internal/fault"
)

func durable() bus.Durable {
	return bus.Durable{
		Stream: "TTP", Name: "test", Filters: []string{"ttp.>"}, AckWait: 5 * time.Second,
		Backoff: []time.Duration{10 * time.Millisecond}, MaxAckPending: 10, Parallel: 2,
	}
}

func noDeadLetter(context.Context, bus.DeadLetter) error { return errors.New("unexpected dead letter") }

// run consumes in the background and returns a function that ends it and waits.
func run(t *testing.T, b *bus.Bus, d bus.Durable, h bus.Handler, dead bus.DeadLetterFunc) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx, d, h, dead) }()
	stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-done)
	})
	t.Cleanup(stop)
	return stop
}

// settled waits until the consumer has nothing left to do, seen several times in a row: for an instant a message on its
// way counts neither as pending nor as unacknowledged.
func settled(t *testing.T, b bundle, d bus.Durable) {
	t.Helper()
	idle := 0
	require.Eventually(t, func() bool {
		idle++
		c, err := b.js.Consumer(t.Context(), d.Stream, d.Name)
		if err != nil || c.CachedInfo().NumPending > 0 || c.CachedInfo().NumAckPending > 0 {
			idle = 0
		}
		return idle >= 5
	}, patience, 20*time.Millisecond)
}

func TestRun_RetriesTransientFailuresUntilTheyPass(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := event(t, "ttp.tagged", nil)
	publish(t, b.bus, e)
	var calls atomic.Int32
	run(t, b.bus, durable(), func(_ context.Context, got bus.Envelope) error {
		require.Equal(t, e, got)
		switch calls.Add(1) {
		case 1:
			return fault.New(fault.Unavailable, "database_away", "away")
		case 2:
			return errors.New("anything that is not a fault")
		default:
			return nil
		}
	}, noDeadLetter)
	settled(t, b, durable())
	require.EqualValues(t, 3, calls.Load())
}

func TestRun_DeadLettersPoisonAndGoesOn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.js.Publish(t.Context(), "ttp.tagged", []byte("[]"))
	require.NoError(t, err)
	publish(t, b.bus, event(t, "ttp.rule.suppressed", nil))
	publish(t, b.bus, event(t, "ttp.tagged", nil))
	dead := make(chan bus.DeadLetter, 10)
	var failedOnce atomic.Bool
	d := durable()
	d.Parallel, d.MaxAckPending = 1, 1
	handled := make(chan string, 10)
	run(t, b.bus, d, func(_ context.Context, e bus.Envelope) error {
		if e.Topic == "ttp.rule.suppressed" {
			return fault.New(fault.Unprocessable, "unsupported_event", "no")
		}
		handled <- e.ID
		return nil
	}, func(_ context.Context, m bus.DeadLetter) error {
		if failedOnce.CompareAndSwap(false, true) {
			return errors.New("store away")
		}
		dead <- m
		return nil
	})
	first := <-dead
	require.Equal(t, "undecodable", first.Reason)
	require.Equal(t, []byte("[]"), first.Data)
	require.EqualValues(t, 1, first.Sequence)
	require.EqualValues(t, 2, first.Attempts, "kept while the dead-letter store was away")
	second := <-dead
	require.Equal(t, "unsupported_event", second.Reason)
	require.Equal(t, fault.Unprocessable, fault.KindOf(second.Err))
	receive(t, handled)
	settled(t, b, d)
	require.Empty(t, dead)
}

func TestRun_GivesUpAfterMaxAttempts(t *testing.T) {
	t.Parallel()
	b := setup(t)
	publish(t, b.bus, event(t, "ttp.tagged", nil))
	d := durable()
	d.MaxAttempts = 3
	var calls atomic.Int32
	dead := make(chan bus.DeadLetter, 10)
	run(t, b.bus, d, func(context.Context, bus.Envelope) error {
		calls.Add(1)
		return errors.New("never")
	}, func(_ context.Context, m bus.DeadLetter) error { dead <- m; return nil })
	m := <-dead
	require.Equal(t, "attempts_exhausted", m.Reason)
	require.EqualValues(t, 3, calls.Load())
	settled(t, b, d)
}

func TestRun_KeepsALongHandlersMessage(t *testing.T) {
	t.Parallel()
	b := setup(t)
	publish(t, b.bus, event(t, "ttp.tagged", nil))
	d := durable()
	d.AckWait = 300 * time.Millisecond
	var calls atomic.Int32
	run(t, b.bus, d, func(ctx context.Context, _ bus.Envelope) error {
		calls.Add(1)
		select {
		case <-time.After(4 * d.AckWait):
		case <-ctx.Done():
		}
		return nil
	}, noDeadLetter)
	settled(t, b, d)
	require.EqualValues(t, 1, calls.Load())
}

func TestRun_ForeignEventKeepsOneIDOverRedeliveries(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.js.Publish(t.Context(), "ttp.tagged", []byte("{}"))
	require.NoError(t, err)
	seen := make(chan bus.Envelope, 10)
	run(t, b.bus, durable(), func(_ context.Context, e bus.Envelope) error {
		seen <- e
		if len(seen) < 2 {
			return errors.New("again")
		}
		return nil
	}, noDeadLetter)
	settled(t, b, durable())
	first, second := <-seen, <-seen
	require.Equal(t, first, second)
}

func TestRun_ShutdownGivesTheMessageBackAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := durable()
	d.AckWait = time.Hour
	for range 5 {
		publish(t, b.bus, event(t, "ttp.tagged", nil))
	}
	started := make(chan struct{}, 10)
	stop := run(t, b.bus, d, func(ctx context.Context, _ bus.Envelope) error {
		started <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}, noDeadLetter)
	<-started
	stop()
	var handled atomic.Int32
	run(t, b.bus, d, func(context.Context, bus.Envelope) error { handled.Add(1); return nil }, noDeadLetter)
	settled(t, b, d)
	require.EqualValues(t, 5, handled.Load())
}

func TestRun_SurvivesABrokerRestart(t *testing.T) {
	t.Parallel()
	b := setup(t)
	handled := make(chan string, 10)
	run(t, b.bus, durable(), func(_ context.Context, e bus.Envelope) error { handled <- e.ID; return nil }, noDeadLetter)
	for range 2 {
		e := event(t, "ttp.tagged", nil)
		publish(t, b.bus, e)
		require.Equal(t, e.ID, receive(t, handled))
		b.server.Down()
		b.server.Up()
	}
}

func TestRun_RefusesAnIncompleteDeclaration(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for name, spoil := range map[string]func(*bus.Durable){
		"stream":   func(d *bus.Durable) { d.Stream = "OTHER" },
		"name":     func(d *bus.Durable) { d.Name = "" },
		"filters":  func(d *bus.Durable) { d.Filters = nil },
		"filter":   func(d *bus.Durable) { d.Filters = []string{"a..b"} },
		"ack wait": func(d *bus.Durable) { d.AckWait = 0 },
		"pending":  func(d *bus.Durable) { d.MaxAckPending = 0 },
		"parallel": func(d *bus.Durable) { d.Parallel = 0 },
	} {
		d := durable()
		spoil(&d)
		require.Equal(t, fault.Invalid, fault.KindOf(b.bus.Run(t.Context(), d, nil, nil)), name)
	}
}

// Every kind is decided on purpose: a new one must be added here.
func TestPoison_DecidesEveryKind(t *testing.T) {
	t.Parallel()
	transient := map[fault.Kind]bool{fault.Unauthorized: true, fault.RateLimited: true, fault.Unavailable: true, fault.Internal: true}
	require.Len(t, fault.Kinds(), 12)
	for _, k := range fault.Kinds() {
		require.Equal(t, !transient[k], bus.Poison(fault.New(k, "c", "m")), k)
	}
	require.False(t, bus.Poison(context.Canceled))
}
