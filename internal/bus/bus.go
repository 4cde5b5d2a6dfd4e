// Package bus carries events between processes over NATS JetStream.
//
// It owns subjects, the envelope, and the declaration of streams and consumers. It is not a store: Postgres and Temporal
// hold the truth, the outbox is the backlog, and everything here may be deleted and made again. The invariant it
// protects: an event keeps its id and time from producer to consumer, and is acknowledged only after its effect is durable.
package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/decnet/decnet/internal/fault"
)

const (
	dialTimeout   = 2 * time.Second
	connectRetry  = 200 * time.Millisecond
	reconnectWait = 250 * time.Millisecond
	pingInterval  = 10 * time.Second
	drainTimeout  = 10 * time.Second
	ackTimeout    = 5 * time.Second
	// upkeepEvery is how often streams are checked and trimmed without any other reason to.
	upkeepEvery = 15 * time.Second
)

// Bus is one connection to the broker. It is safe for concurrent use. It reconnects for ever, and re-applies streams
// that were deleted in the meantime.
type Bus struct {
	nc     *nats.Conn
	js     jetstream.JetStream
	log    *slog.Logger
	now    func() time.Time
	cancel context.CancelFunc
	reader bool // leaves streams alone
	closed chan struct{}
	wake   chan struct{}
	doubts chan struct{}
	wg     sync.WaitGroup

	mu    sync.Mutex
	seen  map[string]Position // where each stream ended when it was last looked at
	epoch chan struct{}       // closed and replaced when a stream turns out to be a new one
}

// Option changes how a Bus works.
type Option func(*Bus)

// WithLogger sets the logger; the default is slog.Default().
func WithLogger(l *slog.Logger) Option { return func(b *Bus) { b.log = l } }

// ReadOnly makes a Bus that only reads: it declares nothing, so a client of another version cannot change streams.
func ReadOnly() Option { return func(b *Bus) { b.reader = true } }

// WithClock sets the clock that dates events without a ts.
func WithClock(now func() time.Time) Option { return func(b *Bus) { b.now = now } }

// Connect dials url (which may carry a token) as name, applies streams and consumers, and retries both until ctx ends;
// then the error is fault Unavailable. Refused credentials are fault Unauthorized at once. Close must be called.
func Connect(ctx context.Context, url, name string, opts ...Option) (*Bus, error) {
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	b := &Bus{
		log: slog.Default(), now: time.Now, cancel: cancel,
		closed: make(chan struct{}), wake: make(chan struct{}, 1), doubts: make(chan struct{}, 1), epoch: make(chan struct{}),
	}
	for _, o := range opts {
		o(b)
	}
	if err := b.dial(ctx, life, url, name); err != nil {
		cancel()
		return nil, err
	}
	for {
		err := b.apply(ctx)
		if err == nil {
			break
		}
		b.log.WarnContext(ctx, "bus streams not applied yet", "err", err)
		if !sleep(ctx, connectRetry) {
			_ = b.Close()
			return nil, unavailable("apply streams", err)
		}
	}
	b.wg.Go(func() { b.upkeep(life) })
	return b, nil
}

func (b *Bus) dial(ctx, life context.Context, url, name string) error {
	for {
		nc, err := nats.Connect(url, b.options(life, name)...)
		if err == nil {
			b.nc = nc
			if b.js, err = jetstream.New(nc, jetstream.WithDefaultTimeout(ackTimeout)); err != nil {
				nc.Close()
			}
			return err
		}
		if errors.Is(err, nats.ErrAuthorization) {
			return fault.New(fault.Unauthorized, "bus_unauthorized", "the event bus refused the credentials").Wrap(err)
		}
		if !sleep(ctx, connectRetry) {
			return unavailable("connect", err)
		}
	}
}

func (b *Bus) options(life context.Context, name string) []nats.Option {
	return []nats.Option{
		nats.Name(name),
		nats.Timeout(dialTimeout),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.PingInterval(pingInterval),
		nats.DrainTimeout(drainTimeout),
		nats.IgnoreAuthErrorAbort(), // a broker that restarts with its token file not ready yet
		// No buffer while disconnected: a publish must fail at once, the outbox keeps the event.
		nats.ReconnectBufSize(-1),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if life.Err() == nil {
				b.log.WarnContext(life, "bus disconnected", "err", err)
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			b.log.InfoContext(life, "bus reconnected", "url", nc.ConnectedUrlRedacted())
			b.doubt()
			b.poke()
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			b.log.WarnContext(life, "bus reported an error", "err", err)
		}),
		nats.ClosedHandler(func(*nats.Conn) { close(b.closed) }),
	}
}

// Close drains the connection: acknowledgements already given are sent, subscriptions end. End Run and Tail first.
func (b *Bus) Close() error {
	b.cancel()
	b.wg.Wait()
	if err := b.nc.Drain(); err != nil {
		b.nc.Close() // not connected: nothing to drain
	}
	<-b.closed
	return nil
}

// Ping checks that the broker answers. The error is fault Unavailable.
func (b *Bus) Ping(ctx context.Context) error {
	if !b.nc.IsConnected() {
		return unavailable("ping", nats.ErrDisconnected)
	}
	ctx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	if err := b.nc.FlushWithContext(ctx); err != nil {
		return unavailable("ping", err)
	}
	return nil
}

// Publish sends e and waits until the broker stored it. The message id is the event id, so a repeat within the
// duplicate window is stored once; publishing twice is always safe. Subjects under system are core NATS: not stored, no wait.
// Errors are fault Invalid or TooLarge (never worth a retry) and Unavailable (retry later).
func (b *Bus) Publish(ctx context.Context, e Envelope) error {
	data, err := e.Encode()
	if err != nil {
		return fmt.Errorf("publish event %s: %w", e.ID, err)
	}
	s, stored := streamOf(e.Topic.Root())
	if !stored {
		if err := b.nc.Publish(string(e.Topic), data); err != nil {
			return unavailable("publish event "+e.ID, err)
		}
		return nil
	}
	_, err = b.js.PublishMsg(ctx, &nats.Msg{Subject: string(e.Topic), Data: data},
		jetstream.WithMsgID(e.ID), jetstream.WithExpectStream(s.name))
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jetstream.ErrStreamMessageExceedsMaximum), errors.Is(err, nats.ErrMaxPayload):
		return errTooLarge.Wrap(err)
	default:
		b.poke() // the stream may be gone or full
		return unavailable("publish event "+e.ID, err)
	}
}

// Doubts delivers a value when messages the broker acknowledged may be lost: the connection came back, so the broker may
// have been killed before they were on its disk, or a stream was replaced by a new one. Several at once are one.
func (b *Bus) Doubts() <-chan struct{} { return b.doubts }

func (b *Bus) doubt() {
	select {
	case b.doubts <- struct{}{}:
	default: // one waits already
	}
}

// poke asks for upkeep soon; one pending request is enough.
func (b *Bus) poke() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// upkeep keeps streams existing and below their limits until life ends.
func (b *Bus) upkeep(life context.Context) {
	tick := time.NewTicker(upkeepEvery)
	defer tick.Stop()
	for {
		select {
		case <-life.Done():
			return
		case <-b.wake:
		case <-tick.C:
		}
		ctx, cancel := context.WithTimeout(life, ackTimeout)
		err := b.apply(ctx)
		if err == nil && !b.reader {
			err = trim(ctx, b.js)
		}
		cancel()
		if err != nil && life.Err() == nil {
			b.log.WarnContext(life, "bus upkeep failed", "err", err)
		}
	}
}

// apply applies the declarations and ends the current epoch when a known stream was replaced by a new one.
func (b *Bus) apply(ctx context.Context) error {
	see := apply
	if b.reader {
		see = look
	}
	seen, err := see(ctx, b.js)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for name, before := range b.seen {
		if seen[name].created != before.created {
			b.log.WarnContext(ctx, "bus stream was replaced", "stream", name)
			close(b.epoch)
			b.epoch = make(chan struct{})
			b.doubt()
			break
		}
	}
	b.seen = seen
	return nil
}

// withEpoch returns a context that also ends when streams were replaced: sequence numbers start again then, and
// whoever reads must start again too.
func (b *Bus) withEpoch(ctx context.Context) (context.Context, context.CancelFunc) {
	b.mu.Lock()
	epoch := b.epoch
	b.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-epoch:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(); <-done }
}

func unavailable(op string, err error) error {
	return fmt.Errorf("%s: %w", op, fault.New(fault.Unavailable, "bus_unavailable", "the event bus does not answer").Wrap(err))
}

// sleep reports whether d passed before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
