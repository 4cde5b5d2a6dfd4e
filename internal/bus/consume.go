package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/decnet/decnet/internal/fault"
)

const (
	pullHeartbeat   = 2 * time.Second
	reopenWait      = 500 * time.Millisecond
	defaultBackoff  = time.Second
	deadLetterLimit = 5 * time.Second
)

// Handler does the work of one event and returns after its effect is durable. It may see an event more than once, in
// several processes at a time, and must be idempotent by Envelope.ID. The kind of its error decides: see Poison.
type Handler func(ctx context.Context, e Envelope) error

// DeadLetterFunc stores a message that will never be handled. It must be durable before it returns nil; on an error the
// message is delivered again later. It may be called twice for one message.
type DeadLetterFunc func(ctx context.Context, m DeadLetter) error

// DeadLetter is a message that was given up.
type DeadLetter struct {
	Stream, Consumer string
	Subject          string
	Sequence         uint64 // in Stream; with Stream and Published it identifies the message
	Published        time.Time
	Attempts         uint64
	Reason           string // a fault code, "undecodable" or "attempts_exhausted"; bounded vocabulary, fit for a label
	Err              error  // nil when attempts were exhausted by crashes
	Data             []byte // as received, hostile
}

// Poison reports whether err means that delivering the event again cannot help. Context errors and everything that is
// not a fault are transient.
func Poison(err error) bool {
	switch fault.KindOf(err) {
	case fault.NotFound, fault.Conflict, fault.Invalid, fault.Unprocessable, fault.Forbidden, fault.TooLarge,
		fault.UnsupportedMedia, fault.OperationFailed:
		return true
	case fault.Unauthorized, fault.RateLimited, fault.Unavailable, fault.Internal:
		return false
	default:
		return false
	}
}

// Run creates the durable consumer if needed and feeds h until ctx ends; it returns nil then, after running handlers
// returned. It outlives a lost connection and deleted streams. The only error is a bad declaration (fault Invalid).
//
// A nil result acknowledges; poison is dead-lettered and terminated; any other error delivers the event again after
// Backoff.
func (b *Bus) Run(ctx context.Context, d Durable, h Handler, dead DeadLetterFunc) error {
	if err := d.validate(); err != nil {
		return err
	}
	c := consumer{bus: b, Durable: d, handle: h, dead: dead}
	for ctx.Err() == nil {
		if err := c.session(ctx); err != nil && ctx.Err() == nil {
			b.log.WarnContext(ctx, "bus consumer interrupted", "consumer", d.Name, "err", err)
			b.poke()
		}
		sleep(ctx, reopenWait)
	}
	return nil
}

type consumer struct {
	Durable
	bus    *Bus
	handle Handler
	dead   DeadLetterFunc
}

// session consumes until ctx ends, the streams are replaced, or the broker loses the consumer.
func (c consumer) session(ctx context.Context) error {
	receive, cancel := c.bus.withEpoch(ctx)
	defer cancel()
	cons, err := c.bus.js.CreateOrUpdateConsumer(receive, c.Stream, c.config())
	if err != nil {
		return err
	}
	// A small read-ahead: the ack timer of a message runs from when it is sent, not from when a handler is free.
	iter, err := cons.Messages(jetstream.PullMaxMessages(c.Parallel+1), jetstream.PullHeartbeat(pullHeartbeat))
	if err != nil {
		return err
	}
	defer giveBack(iter)
	var workers errgroup.Group
	for range c.Parallel {
		workers.Go(func() error {
			for {
				msg, err := iter.Next(jetstream.NextContext(receive))
				if err != nil {
					cancelled := receive.Err() != nil
					cancel() // the other workers end with this one
					if cancelled {
						return nil
					}
					return err
				}
				c.one(ctx, msg)
			}
		})
	}
	return workers.Wait()
}

// giveBack ends the subscription and returns what was read ahead, so that nobody has to wait for AckWait.
func giveBack(iter jetstream.MessagesContext) {
	iter.Drain()
	for {
		msg, err := iter.Next(jetstream.NextMaxWait(time.Second))
		if err != nil {
			break
		}
		_ = msg.Nak()
	}
	iter.Stop()
}

func (c consumer) one(ctx context.Context, msg jetstream.Msg) {
	meta, err := msg.Metadata()
	if err != nil {
		c.bus.log.ErrorContext(ctx, "bus message without metadata", "consumer", c.Name, "err", err)
		return
	}
	exhausted := c.MaxAttempts > 0 && meta.NumDelivered >= c.MaxAttempts
	if c.MaxAttempts > 0 && meta.NumDelivered > c.MaxAttempts {
		// Earlier attempts ended without a verdict, most likely with the process.
		c.bury(ctx, msg, meta, "attempts_exhausted", nil)
		return
	}
	e, err := Decode(msg.Subject(), msg.Data(), storedDefaults(msg, meta))
	if err != nil {
		c.bury(ctx, msg, meta, "undecodable", err)
		return
	}
	stop := c.keepAlive(ctx, msg)
	err = c.handle(ctx, e)
	stop()
	switch {
	case err == nil:
		c.settle(ctx, msg.Ack())
	case ctx.Err() != nil:
		c.settle(ctx, msg.Nak()) // shutting down: another process may have it now
	case Poison(err):
		c.bury(ctx, msg, meta, fault.From(err).Code, err)
	case exhausted:
		c.bury(ctx, msg, meta, "attempts_exhausted", err)
	default:
		delay := c.delay(meta.NumDelivered)
		c.bus.log.WarnContext(ctx, "bus event will be retried", "consumer", c.Name, "event_id", e.ID, "attempt", meta.NumDelivered, "delay", delay, "err", err)
		c.settle(ctx, msg.NakWithDelay(delay))
	}
}

// storedDefaults makes an id that stays the same over redeliveries for a message whose producer gave none.
func storedDefaults(msg jetstream.Msg, meta *jetstream.MsgMetadata) Defaults {
	return Defaults{
		Now: func() time.Time { return meta.Timestamp },
		ID: func() string {
			if id := msg.Headers().Get(jetstream.MsgIDHeader); validID(id) {
				return id
			}
			name := meta.Stream + "/" + strconv.FormatUint(meta.Sequence.Stream, 10) + "/" + meta.Timestamp.UTC().Format(time.RFC3339Nano)
			return uuid.NewSHA1(uuid.NameSpaceOID, []byte(name)).String()
		},
	}
}

// bury hands the message to the dead-letter store and ends it; when the store does not take it, the message stays.
func (c consumer) bury(ctx context.Context, msg jetstream.Msg, meta *jetstream.MsgMetadata, reason string, cause error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), deadLetterLimit)
	defer cancel()
	err := c.dead(ctx, DeadLetter{
		Stream: meta.Stream, Consumer: c.Name, Subject: msg.Subject(), Sequence: meta.Sequence.Stream,
		Published: meta.Timestamp.UTC(), Attempts: meta.NumDelivered, Reason: reason, Err: cause, Data: msg.Data(),
	})
	if err != nil {
		c.bus.log.ErrorContext(ctx, "bus event could not be dead-lettered", "consumer", c.Name, "reason", reason, "err", err)
		c.settle(ctx, msg.NakWithDelay(c.delay(meta.NumDelivered)))
		return
	}
	c.settle(ctx, msg.TermWithReason(reason))
}

// settle reports a verdict that could not be sent; the broker will deliver the message again.
func (c consumer) settle(ctx context.Context, err error) {
	if err != nil && !errors.Is(err, jetstream.ErrMsgAlreadyAckd) {
		c.bus.log.WarnContext(ctx, "bus verdict not sent", "consumer", c.Name, "err", fmt.Errorf("acknowledge: %w", err))
	}
}

// keepAlive tells the broker that work goes on until the returned function is called.
func (c consumer) keepAlive(ctx context.Context, msg jetstream.Msg) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for sleep(ctx, c.AckWait/3) {
			_ = msg.InProgress() // a lost one is made good by the next
		}
	}()
	return func() { cancel(); <-done }
}

func (d Durable) delay(attempt uint64) time.Duration {
	if len(d.Backoff) == 0 {
		return defaultBackoff
	}
	return d.Backoff[min(attempt, uint64(len(d.Backoff)))-1]
}
