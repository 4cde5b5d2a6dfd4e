// Package relay publishes the outbox: every committed event exactly as it was written, in order per aggregate, at least
// once. Of several relays one works; the others wait for its lock.
package relay

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/bus"
	"github.com/decnet/decnet/internal/clock"
	"github.com/decnet/decnet/internal/fault"
)

const (
	// Kept is how long published events stay in the outbox: acknowledgements of the bus are on its disk within seconds,
	// and its duplicate window (15 min) must outlast what is published again.
	Kept = 10 * time.Minute

	batch     = 256
	pollEvery = time.Second
	trimEvery = time.Minute
)

// Bus is where events go.
type Bus interface {
	Publish(ctx context.Context, e bus.Envelope) error
	// Doubts delivers a value when messages the bus acknowledged may be lost: it came back, or its store is a new one.
	Doubts() <-chan struct{}
}

// Relay publishes the outbox. All fields are required.
type Relay struct {
	Store *db.Store
	Bus   Bus
	Log   *slog.Logger
	// Instance is this process's row among the role instances, by which an unclean end of the one before is told.
	Instance uuid.UUID
	Role     string
}

// Run works whenever it gets the lock, until ctx ends.
func (r *Relay) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := r.turn(ctx); err != nil && ctx.Err() == nil {
			r.Log.WarnContext(ctx, "outbox relay starts again", "err", err)
		}
		clock.Sleep(ctx, pollEvery)
	}
	return nil
}

// turn publishes while it holds the lock; it returns at once when another relay has it.
func (r *Relay) turn(ctx context.Context) error {
	lock, err := r.Store.TryLock(ctx, "outbox relay")
	if err != nil || lock == nil {
		return err
	}
	defer lock.Release()
	clean, err := r.Store.LastStopClean(ctx, r.Role, r.Instance)
	if err != nil {
		return err
	}
	if !clean {
		if err := r.replay(ctx); err != nil {
			return err
		}
	}
	wake, stop := r.Store.Wakes(ctx, "outbox")
	defer stop()
	return r.serve(ctx, lock, wake)
}

func (r *Relay) serve(ctx context.Context, lock *db.Lock, wake <-chan struct{}) error {
	poll, trim := time.NewTicker(pollEvery), time.NewTicker(trimEvery)
	defer poll.Stop()
	defer trim.Stop()
	for {
		if err := lock.Held(ctx); err != nil {
			return err
		}
		if err := r.drain(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-wake:
		case <-poll.C:
		case <-r.Bus.Doubts():
			if err := r.replay(ctx); err != nil {
				return err
			}
		case <-trim.C:
			if _, err := r.Store.DeletePublished(ctx, Kept); err != nil {
				return err
			}
		}
	}
}

func (r *Relay) replay(ctx context.Context) error {
	n, err := r.Store.ReplayPublished(ctx, Kept)
	if n > 0 {
		r.Log.InfoContext(ctx, "publishing recent events again, the bus may have lost them", "events", n)
	}
	return err
}

// drain publishes until nothing publishable is left. A key whose event failed is held up; others go on.
func (r *Relay) drain(ctx context.Context) error {
	for {
		events, err := r.Store.Unpublished(ctx, batch)
		if err != nil || len(events) == 0 {
			return err
		}
		published, err := r.publish(ctx, events)
		if markErr := r.Store.MarkPublished(ctx, published); markErr != nil {
			return markErr
		}
		if err != nil {
			return err
		}
		if len(events) < batch || len(published) == 0 {
			return nil
		}
	}
}

// publish returns the ids of events that are done. It gives up when the bus does not answer.
func (r *Relay) publish(ctx context.Context, events []db.Event) (done []int64, err error) {
	held := map[string]bool{}
	for _, e := range events {
		if held[e.Key] {
			continue
		}
		err := r.one(ctx, e)
		switch {
		case err == nil:
			done = append(done, e.ID)
		case fault.KindOf(err) == fault.Unavailable, errors.Is(err, context.Canceled):
			return done, err
		default:
			held[e.Key] = true
			r.Log.ErrorContext(ctx, "an event cannot be published and holds up its key", "event_id", e.EventID, "err", err)
			if err := r.Store.MarkPublishFailed(ctx, e.ID, fault.From(err).Message); err != nil {
				return done, err
			}
		}
	}
	return done, nil
}

func (r *Relay) one(ctx context.Context, e db.Event) error {
	envelope, err := bus.New(bus.Subject(e.Topic), e.Type, e.At, e.Payload)
	if err != nil {
		return err
	}
	envelope.ID = e.EventID.String()
	return r.Bus.Publish(ctx, envelope)
}
