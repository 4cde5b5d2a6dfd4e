package db

import (
	"context"
	"encoding/json"
	"math"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/decnet/decnet/db/dbsqlc"
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

func (in *ingestion) storeEvents(ctx context.Context) error {
	if len(in.kept) == 0 {
		return nil
	}
	rows := make([]dbsqlc.InsertEventsParams, len(in.kept))
	for i, x := range in.kept {
		var err error
		if rows[i], err = in.eventRow(&x.Event); err != nil {
			return err
		}
	}
	_, err := in.tx.q.InsertEvents(ctx, rows)
	return err
}

func (in *ingestion) eventRow(e *ingest.Event) (dbsqlc.InsertEventsParams, error) {
	fields, err := fieldsJSON(e.Fields)
	row := dbsqlc.InsertEventsParams{
		Time: e.Time, DeckyKey: e.Source.DeckyKey, DeckyName: e.Source.DeckyName, DeckyID: optional(e.Source.DeckyID),
		TopologyID: optional(e.Source.TopologyID), Sensor: e.Source.Sensor, Service: e.Service, Type: storable(e.Type),
		Class: string(e.Class), Session: e.Session, Boot: storable(e.Boot), Line: lineNumber(e.Line), Fields: fields,
		Msg: storable(e.Msg), Raw: storable(e.Raw), Document: vector(ingest.Document(e)),
	}
	if e.Attacker.IsValid() {
		row.AttackerIP = &e.Attacker
		if id, ok := in.attackers.id(e.Attacker); ok {
			row.AttackerID = &id
		}
		if e.Port != 0 {
			row.AttackerPort = ptr(int32(e.Port))
		}
	}
	if e.Source.Imported() {
		row.ImportKey = e.Key[:]
	}
	return row, err
}

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
		v.Lexemes[i] = pgtype.TSVectorLexeme{Word: l.Text, Positions: positions[from:]}
	}
	return v
}

