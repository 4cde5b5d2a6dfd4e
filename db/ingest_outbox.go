package db

import (
	"context"
	"encoding/json"

	"github.com/google/uuid"

	"github.com/decnet/decnet/db/dbsqlc"
)

// maxPayloadBytes leaves room for the envelope in a message of 64 KiB (contracts section 4).
const maxPayloadBytes = 63 << 10

// announce puts a fact of the aggregate key aside until the rows it tells of are written.
func (in *ingestion) announce(topic, typ string, key uuid.UUID, payload any) error {
	body, err := json.Marshal(payload)
	in.outbox = append(in.outbox, Event{EventID: newID(), Key: key.String(), Topic: topic, Type: typ, Payload: body})
	return err
}

func (in *ingestion) publish(ctx context.Context) error {
	if len(in.outbox) == 0 {
		return nil
	}
	var p dbsqlc.InsertOutboxManyParams
	for _, e := range in.outbox {
		p.EventIds, p.Keys, p.Topics = append(p.EventIds, e.EventID), append(p.Keys, e.Key), append(p.Topics, e.Topic)
		p.Types, p.Payloads = append(p.Types, e.Type), append(p.Payloads, e.Payload)
	}
	return in.tx.q.InsertOutboxMany(ctx, p)
}
