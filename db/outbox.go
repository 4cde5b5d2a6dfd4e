package db

import (
	"context"
	"encoding/json"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/decnet/decnet/db/dbsqlc"
)

// Event is a fact that waits to be published. Key is the aggregate: events of one key keep their order.
type Event struct {
	ID          int64 // position in the outbox, set when read
	EventID     uuid.UUID
	Key         string
	Topic       string
	Type        string
	At          time.Time // set by the database
	Payload     json.RawMessage
	OperationID uuid.UUID // uuid.Nil when no operation caused it
}

// Publish puts a fact into the outbox, published once the transaction committed. The row of the aggregate must be locked.
func (tx *Tx) Publish(ctx context.Context, e Event) error {
	return tx.q.InsertOutbox(ctx, dbsqlc.InsertOutboxParams{
		EventID: e.EventID, Key: e.Key, Topic: e.Topic, Type: e.Type, Payload: e.Payload, OperationID: optional(e.OperationID),
	})
}

func (tx *Tx) publishAll(ctx context.Context, events []Event) error {
	for _, e := range events {
		if err := tx.Publish(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// Unpublished lists what waits in the outbox in order of commit per key.
func (s *Store) Unpublished(ctx context.Context, limit int) ([]Event, error) {
	rows, err := s.queries().ListUnpublished(ctx, int32(limit))
	events := make([]Event, len(rows))
	for i, r := range rows {
		events[i] = Event{
			ID: r.ID, EventID: r.EventID, Key: r.Key, Topic: r.Topic, Type: r.Type, At: r.Ts, Payload: r.Payload,
			OperationID: deref(r.OperationID),
		}
	}
	return events, interpret(err)
}

// MarkPublished notes that the bus accepted events.
func (s *Store) MarkPublished(ctx context.Context, ids []int64) error {
	return interpret(s.queries().MarkPublished(ctx, ids))
}

// MarkPublishFailed notes why an event could not be published.
func (s *Store) MarkPublishFailed(ctx context.Context, id int64, reason string) error {
	return interpret(s.queries().MarkPublishFailed(ctx, dbsqlc.MarkPublishFailedParams{ID: id, Reason: reason}))
}

// ReplayPublished puts back the events published in the last stretch of the given length before the last publication,
// and returns how many. Consumers see those that were not lost a second time, under the same event id.
func (s *Store) ReplayPublished(ctx context.Context, stretch time.Duration) (int64, error) {
	n, err := s.queries().ReplayPublished(ctx, interval(stretch))
	return n, interpret(err)
}

// DeletePublished removes events published longer than kept before the last publication.
func (s *Store) DeletePublished(ctx context.Context, kept time.Duration) (int64, error) {
	n, err := s.queries().DeletePublished(ctx, interval(kept))
	return n, interpret(err)
}

// CountUnpublished returns how many events wait.
func (s *Store) CountUnpublished(ctx context.Context) (int64, error) {
	n, err := s.queries().CountUnpublished(ctx)
	return n, interpret(err)
}

// AddDeadLetter keeps a message that can never be delivered, with the reason.
func (s *Store) AddDeadLetter(ctx context.Context, topic, eventID, reason string, body []byte) error {
	return interpret(s.queries().InsertDeadLetter(ctx, dbsqlc.InsertDeadLetterParams{
		ID: newID(), Topic: topic, EventID: eventID, Reason: reason, Body: body,
	}))
}

func interval(d time.Duration) pgtype.Interval {
	return pgtype.Interval{Microseconds: d.Microseconds(), Valid: true}
}
