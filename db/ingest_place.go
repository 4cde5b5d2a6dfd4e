package db

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/decnet/decnet/db/dbsqlc"
	"github.com/decnet/decnet/internal/fault"
)

// ingestSlots bounds the locks of one transaction; two deckies that share a slot wait for each other, no more.
const ingestSlots = 512

func cursorMoved() error {
	return fault.New(fault.Conflict, "cursor_moved", "the output was dealt with by another ingester")
}

// takePlace makes sure that nobody else has dealt with the lines, and keeps others from it until the end of the transaction.
func (in *ingestion) takePlace(ctx context.Context) error {
	if p := in.batch.Import; p != nil {
		_, err := in.tx.q.LockRunningImport(ctx, dbsqlc.LockRunningImportParams{ID: p.ID, Position: object(p.From)})
		if errors.Is(err, pgx.ErrNoRows) {
			return fault.New(fault.Conflict, "import_moved", "the import was gone on with elsewhere, or has ended")
		}
		if err != nil {
			return err
		}
	}
	if len(in.batch.Cursors) == 0 {
		return nil
	}
	return in.moveCursors(ctx)
}

// cursorColumns are cursors as their statements want them.
type cursorColumns struct {
	hosts, services, files []string
	deckies                []uuid.UUID
	positions              []int64
}

func (c *cursorColumns) add(i IngestCursor) {
	c.hosts, c.services, c.files = append(c.hosts, i.HostID), append(c.services, i.Service), append(c.files, i.File)
	c.deckies, c.positions = append(c.deckies, i.DeckyID), append(c.positions, i.To)
}

func (in *ingestion) moveCursors(ctx context.Context) error {
	type key struct {
		host string
		IngestFile
	}
	cursors := slices.SortedFunc(slices.Values(in.batch.Cursors), func(a, b IngestCursor) int {
		return cmp.Or(strings.Compare(a.HostID, b.HostID), bytes.Compare(a.DeckyID[:], b.DeckyID[:]),
			strings.Compare(a.Service, b.Service), strings.Compare(a.File, b.File))
	})
	var all, fresh, known cursorColumns
	for _, c := range cursors {
		all.add(c)
	}
	rows, err := in.tx.q.LockIngestCursors(ctx, dbsqlc.LockIngestCursorsParams{
		HostIds: all.hosts, DeckyIds: all.deckies, Services: all.services, Files: all.files,
	})
	if err != nil {
		return err
	}
	positions := make(map[key]int64, len(rows))
	for _, r := range rows {
		positions[key{r.HostID, IngestFile{r.DeckyID, r.Service, r.File}}] = r.Position
	}
	for _, c := range cursors {
		at, met := positions[key{c.HostID, IngestFile{c.DeckyID, c.Service, c.File}}]
		switch {
		case at != c.From:
			return cursorMoved()
		case met:
			known.add(c)
		default:
			fresh.add(c)
		}
	}
	return in.setCursors(ctx, known, fresh)
}

func (in *ingestion) setCursors(ctx context.Context, known, fresh cursorColumns) error {
	if len(known.files) > 0 {
		if err := in.tx.q.MoveIngestCursors(ctx, dbsqlc.MoveIngestCursorsParams{
			HostIds: known.hosts, DeckyIds: known.deckies, Services: known.services, Files: known.files, Positions: known.positions,
		}); err != nil {
			return err
		}
	}
	if len(fresh.files) == 0 {
		return nil
	}
	n, err := in.tx.q.InsertIngestCursors(ctx, dbsqlc.InsertIngestCursorsParams{
		HostIds: fresh.hosts, DeckyIds: fresh.deckies, Services: fresh.services, Files: fresh.files, Positions: fresh.positions,
	})
	if err == nil && n != int64(len(fresh.files)) {
		return cursorMoved()
	}
	return err
}

// lockSlots makes this transaction the only one that stores lines of the batch's deckies and sensors.
func (in *ingestion) lockSlots(ctx context.Context) error {
	var slots []int32
	last := ""
	for i := range in.batch.Extractions {
		if key := in.batch.Extractions[i].Event.Source.DeckyKey; key != last || i == 0 {
			h := fnv.New32a()
			_, _ = h.Write([]byte(key))
			slots, last = append(slots, int32(h.Sum32()%ingestSlots)), key
		}
	}
	if len(slots) == 0 {
		return nil
	}
	slices.Sort(slots)
	return in.tx.q.LockIngestSlots(ctx, slices.Compact(slots))
}

// keepPlace stores what is known of the source of the lines besides the lines.
func (in *ingestion) keepPlace(ctx context.Context) error {
	if p := in.batch.Import; p != nil {
		if err := in.tx.q.AdvanceImport(ctx, dbsqlc.AdvanceImportParams{
			ID: p.ID, Position: object(p.To), BytesRead: p.BytesRead, Report: object(p.Report),
			Stored: int64(in.result.Stored), Duplicates: int64(in.result.Duplicates),
		}); err != nil {
			return err
		}
	}
	if err := in.storeSequences(ctx); err != nil {
		return err
	}
	return in.addOutcomes(ctx)
}

func object(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 {
		return json.RawMessage("{}")
	}
	return raw
}

func (in *ingestion) storeSequences(ctx context.Context) error {
	if len(in.batch.Sequences) == 0 {
		return nil
	}
	latest := map[DeckyOutput]json.RawMessage{}
	for _, s := range in.batch.Sequences {
		raw, err := json.Marshal(s.Sequence)
		if err != nil {
			return err
		}
		latest[DeckyOutput{s.DeckyID, s.Service}] = raw
	}
	var p dbsqlc.UpsertIngestSequencesParams
	for _, k := range sortedKeys(latest, func(a, b DeckyOutput) int {
		return cmp.Or(bytes.Compare(a.DeckyID[:], b.DeckyID[:]), strings.Compare(a.Service, b.Service))
	}) {
		p.DeckyIds, p.Services, p.Sequences = append(p.DeckyIds, k.DeckyID), append(p.Services, k.Service), append(p.Sequences, latest[k])
	}
	return in.tx.q.UpsertIngestSequences(ctx, p)
}

func (in *ingestion) addOutcomes(ctx context.Context) error {
	type key struct {
		decky, service string
		outcome        Outcome
	}
	lines := map[key]int64{}
	for _, o := range in.batch.Outcomes {
		if o.Lines > 0 {
			lines[key{o.DeckyKey, o.Service, o.Outcome}] += o.Lines
		}
	}
	if len(lines) == 0 {
		return nil
	}
	var p dbsqlc.AddIngestOutcomesParams
	for _, k := range sortedKeys(lines, func(a, b key) int {
		return cmp.Or(strings.Compare(a.decky, b.decky), strings.Compare(a.service, b.service), cmp.Compare(a.outcome, b.outcome))
	}) {
		p.DeckyKeys, p.Services = append(p.DeckyKeys, k.decky), append(p.Services, k.service)
		p.Outcomes, p.Lines = append(p.Outcomes, string(k.outcome)), append(p.Lines, lines[k])
	}
	return in.tx.q.AddIngestOutcomes(ctx, p)
}

// noteActivity moves the last activity of our own deckies, which is what somebody did there; their own start is none.
func (in *ingestion) noteActivity(ctx context.Context) error {
	latest := map[uuid.UUID]time.Time{}
	for _, x := range in.kept {
		if id := x.Event.Source.DeckyID; id != uuid.Nil && x.Event.Attacker.IsValid() && x.Event.Time.After(latest[id]) {
			latest[id] = x.Event.Time
		}
	}
	if len(latest) == 0 {
		return nil
	}
	p := dbsqlc.LockDeckiesSeenParams{}
	for id, at := range latest {
		p.Ids, p.Times = append(p.Ids, id), append(p.Times, at)
	}
	locked, err := in.tx.q.LockDeckiesSeen(ctx, p)
	if err != nil || len(locked) == 0 {
		return err
	}
	return in.tx.q.SetDeckiesActive(ctx, dbsqlc.SetDeckiesActiveParams{Ids: p.Ids, Times: p.Times, Locked: locked})
}

func sortedKeys[K comparable, V any](m map[K]V, compare func(a, b K) int) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, compare)
	return keys
}
