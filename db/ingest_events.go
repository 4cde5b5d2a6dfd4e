package db

import (
	"context"
	"encoding/json"
	"math"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/decnet/decnet/internal/ingest"
)

// leaveOutDuplicates keeps what was not imported before. Nothing of the batch is derived from the rest.
func (in *ingestion) leaveOutDuplicates(ctx context.Context) error {
	all := in.batch.Extractions
	in.kept = make([]*ingest.Extraction, 0, len(all))
	var keys [][]byte
	for i := range all {
		if all[i].Event.Source.Imported() {
			keys = append(keys, all[i].Event.Key[:])
		}
	}
	stored := map[ingest.Hash]bool{}
	if len(keys) > 0 {
		rows, err := in.tx.q.ListStoredImportKeys(ctx, keys)
		if err != nil {
			return err
		}
		for _, key := range rows {
			stored[ingest.Hash(key)] = true
		}
	}
	for i := range all {
		if e := &all[i].Event; e.Source.Imported() {
			if stored[e.Key] {
				in.result.Duplicates++
				continue
			}
			stored[e.Key] = true
		}
		in.kept = append(in.kept, &all[i])
	}
	in.result.Stored = len(in.kept)
	return nil
}

// eventColumns are those of eventRow.
var eventColumns = []string{
	"time", "decky_key", "decky_name", "decky_id", "topology_id", "sensor", "service", "type", "class", "attacker_id", "attacker_ip",
	"attacker_port", "session", "boot", "line", "fields", "msg", "raw", "import_key", "document",
}

// storeEvents copies. Rows are made while the server works on those before.
func (in *ingestion) storeEvents(ctx context.Context) error {
	if len(in.kept) == 0 {
		return nil
	}
	_, err := in.tx.raw.CopyFrom(ctx, pgx.Identifier{"events"}, eventColumns, pgx.CopyFromSlice(len(in.kept), func(i int) ([]any, error) {
		return in.eventRow(&in.kept[i].Event)
	}))
	return err
}

func (in *ingestion) eventRow(e *ingest.Event) ([]any, error) {
	fields, err := fieldsJSON(e.Fields)
	var attacker pgtype.UUID
	var ip, port, importKey any
	if e.Attacker.IsValid() {
		ip = e.Attacker
		if id, known := in.attackers.id(e.Attacker); known {
			attacker = nullable(id)
		}
		if e.Port != 0 {
			port = int32(e.Port)
		}
	}
	if e.Source.Imported() {
		importKey = e.Key[:]
	}
	return []any{
		e.Time, e.Source.DeckyKey, e.Source.DeckyName, nullable(e.Source.DeckyID), nullable(e.Source.TopologyID), e.Source.Sensor,
		e.Service, storable(e.Type), string(e.Class), attacker, ip,
		port, e.Session, storable(e.Boot), lineNumber(e.Line), fields, storable(e.Msg), storable(e.Raw), importKey, vector(ingest.Document(e)),
	}, err
}

// nullable returns an id as a column takes it, NULL for uuid.Nil.
func nullable(id uuid.UUID) pgtype.UUID { return pgtype.UUID{Bytes: id, Valid: id != uuid.Nil} }

// lineNumber brings a number of a line into what a bigint holds.
func lineNumber(n uint64) int64 { return int64(min(n, math.MaxInt64)) }

func fieldsJSON(fields ingest.Fields) (json.RawMessage, error) {
	m := fields.Map()
	for k, v := range m {
		m[k] = storable(v)
	}
	return json.Marshal(m)
}

// vector returns a document as Postgres takes it; it sorts the lexemes itself.
func vector(document []ingest.Lexeme) pgtype.TSVector {
	v := pgtype.TSVector{Lexemes: make([]pgtype.TSVectorLexeme, len(document)), Valid: true}
	total := 0
	for _, l := range document {
		total += len(l.Positions)
	}
	positions := make([]pgtype.TSVectorPosition, 0, total)
	for i, l := range document {
		from := len(positions)
		for _, at := range l.Positions {
			positions = append(positions, pgtype.TSVectorPosition{Position: at})
		}
		v.Lexemes[i] = pgtype.TSVectorLexeme{Word: storable(l.Text), Positions: positions[from:]}
	}
	return v
}
