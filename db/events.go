package db

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/decnet/decnet/db/dbsqlc"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/ingest"
)

const (
	// searchDepth is how many of the newest rows a search looks at one by one: what is common is found there at once.
	searchDepth = 4000
	// maxSearchDepth is how many it looks at when the hits among those first promise a page. What is rarer is found through
	// the index of words, and is rare enough to be sorted.
	maxSearchDepth = 40_000
	// A word is common when commonHits of the newest sampleDepth events hold it.
	sampleDepth = 1000
	commonHits  = 10
)

// maxOutcomes bounds the list of what became of lines, a row per decoy and outcome.
const maxOutcomes = 20000

// LogEvent is a row of the log. What is absent is "" or zero, but for pointers.
type LogEvent struct {
	ID           int64
	ReceivedAt   time.Time
	Time         time.Time
	DeckyKey     string
	DeckyName    string
	TopologyID   *uuid.UUID
	Sensor       string
	Service      string
	Type         string
	Class        string
	AttackerID   *uuid.UUID
	AttackerIP   *netip.Addr
	AttackerPort *int32
	Session      string
	Boot         string
	Line         int64
	Fields       map[string]string
	Msg          string
	Raw          string
}

// EventFilter selects events. From is inclusive, To is not; zero times do not bound.
type EventFilter struct {
	Query    ingest.Query
	From, To time.Time
	// HideSecrets leaves out events that carry a secret, if Query asks for a field beside which one may be repeated.
	HideSecrets bool
	// BeforeTime and BeforeID are the event behind which the page begins; BeforeID is 0 for the first.
	BeforeTime time.Time
	BeforeID   int64
	Limit      int
}

func eventNotFound() *fault.Error {
	return fault.New(fault.NotFound, "event_not_found", "there is no such event")
}

// Events lists events, the newest first.
func (v *View) Events(ctx context.Context, f EventFilter) ([]LogEvent, error) {
	if f.Query.Attacker.IsValid() {
		// Most attackers come once, and what they did is close together: it is looked for where it ends.
		a, err := v.AttackerByIP(ctx, f.Query.Attacker)
		if fault.KindOf(err) == fault.NotFound {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if end := a.LastSeen.Add(time.Microsecond); f.To.IsZero() || end.Before(f.To) {
			f.To = end
		}
	}
	ids, err := v.findEvents(ctx, f)
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	rows, err := v.q.GetEvents(ctx, ids)
	if err != nil {
		return nil, err
	}
	return toLogEvents(rows)
}

// Event returns one event, or a NotFound fault (event_not_found).
func (v *View) Event(ctx context.Context, id int64) (LogEvent, error) {
	rows, err := v.q.GetEvents(ctx, []int64{id})
	if err != nil {
		return LogEvent{}, err
	}
	events, err := toLogEvents(rows)
	if err != nil || len(events) == 0 {
		return LogEvent{}, orElse(err, eventNotFound())
	}
	return events[0], nil
}

func (v *View) findEvents(ctx context.Context, f EventFilter) ([]int64, error) {
	p := dbsqlc.FindEventsInOrderParams{
		Since: optionalTime(f.From), SecretFields: ingest.SecretFields(), MaxRows: int32(f.Limit),
		HideSecrets: f.HideSecrets,
	}
	p.BeforeTime, p.BeforeID = optionalTime(f.To), 0 // ids begin at 1
	if f.BeforeID > 0 && (f.To.IsZero() || f.BeforeTime.Before(f.To)) {
		p.BeforeTime, p.BeforeID = &f.BeforeTime, f.BeforeID
	}
	if len(f.Query.Fields) > 0 {
		p.Fields = marshal(f.Query.Fields)
	}
	if f.Query.Document == "" {
		return v.q.FindEventsInOrder(ctx, p)
	}
	newest := dbsqlc.FindEventsAmongNewestParams{
		BeforeTime: p.BeforeTime, BeforeID: p.BeforeID, Since: p.Since, Query: f.Query.Document, Fields: p.Fields,
		HideSecrets: p.HideSecrets, SecretFields: p.SecretFields, MaxRows: p.MaxRows,
	}
	ids, full, err := amongNewest(f.Limit, func(depth int32) ([]int64, error) {
		newest.Depth = depth
		return v.q.FindEventsAmongNewest(ctx, newest)
	})
	if err != nil || full {
		return ids, err
	}
	indexed, err := v.indexed(ctx, f.Query, p.BeforeTime, p.BeforeID)
	if err != nil {
		return nil, err
	}
	var whole *string // of the query, unless all of it is looked up
	if indexed != f.Query.Document {
		whole = &f.Query.Document
	}
	return v.q.FindEventsByDocument(ctx, dbsqlc.FindEventsByDocumentParams{
		Indexed:    indexed,
		BeforeTime: p.BeforeTime, BeforeID: p.BeforeID, Since: p.Since, Query: whole, Fields: p.Fields,
		HideSecrets: p.HideSecrets, SecretFields: p.SecretFields, MaxRows: p.MaxRows,
	})
}

// indexed returns what of a query is worth looking up. A common word that may go on is not, beside something rare: the index
// would collect all there is of every word that begins so.
func (v *View) indexed(ctx context.Context, q ingest.Query, before *time.Time, beforeID int64) (string, error) {
	open := slices.ContainsFunc(q.Parts, func(p ingest.Part) bool { return p.Open })
	if len(q.Parts) < 2 || !open {
		return q.Document, nil
	}
	p := dbsqlc.CountEventsAmongNewestParams{BeforeTime: before, BeforeID: beforeID, Depth: sampleDepth}
	for _, part := range q.Parts {
		p.Parts = append(p.Parts, part.Document)
	}
	hits, err := v.q.CountEventsAmongNewest(ctx, p)
	if err != nil || len(hits) != len(q.Parts) {
		return q.Document, err
	}
	var kept []ingest.Part
	rare := false
	for i, part := range q.Parts {
		if !part.Open || hits[i] < commonHits {
			kept = append(kept, part)
			rare = rare || hits[i] < commonHits
		}
	}
	if !rare {
		return q.Document, nil
	}
	return ingest.Join(kept), nil
}

// amongNewest looks for a page among the newest rows, deeper once if that is likely to fill it.
func amongNewest[R any](limit int, find func(depth int32) ([]R, error)) (rows []R, full bool, err error) {
	first := max(searchDepth, limit*20)
	rows, err = find(int32(first))
	if err != nil || len(rows) >= limit || len(rows) == 0 {
		return rows, len(rows) >= limit, err
	}
	// Half as deep again as the share of hits makes likely.
	deeper := first * limit / len(rows) * 3 / 2
	if deeper > max(maxSearchDepth, limit*40) {
		return nil, false, nil
	}
	rows, err = find(int32(deeper))
	return rows, len(rows) >= limit, err
}

func toLogEvents(rows []dbsqlc.GetEventsRow) ([]LogEvent, error) {
	events := make([]LogEvent, len(rows))
	for i, r := range rows {
		events[i] = LogEvent{
			ID: r.ID, ReceivedAt: r.ReceivedAt, Time: r.Time, DeckyKey: r.DeckyKey, DeckyName: r.DeckyName, TopologyID: r.TopologyID,
			Sensor: r.Sensor, Service: r.Service, Type: r.Type, Class: r.Class, AttackerID: r.AttackerID, AttackerIP: r.AttackerIP,
			AttackerPort: r.AttackerPort, Session: r.Session, Boot: r.Boot, Line: r.Line, Msg: r.Msg, Raw: r.Raw,
		}
		if err := json.Unmarshal(r.Fields, &events[i].Fields); err != nil {
			return nil, fmt.Errorf("read the fields of event %d: %w", r.ID, err)
		}
	}
	return events, nil
}

// IngestCount says how many lines of a decoy had an outcome.
type IngestCount struct {
	DeckyKey string
	Service  string
	Outcome  string
	Lines    int64
}

// IngestCounts lists what became of the lines read, sorted by decky, service and outcome, and when the last event was stored,
// the zero time for never.
func (v *View) IngestCounts(ctx context.Context) (counts []IngestCount, last time.Time, err error) {
	rows, err := v.q.ListIngestOutcomes(ctx, maxOutcomes)
	counts, err = convert(rows, err, func(r dbsqlc.ListIngestOutcomesRow) IngestCount { return IngestCount(r) })
	if err != nil {
		return nil, time.Time{}, err
	}
	last, err = v.q.LastEventReceived(ctx)
	if fault.KindOf(interpret(err)) == fault.NotFound {
		return counts, time.Time{}, nil
	}
	return counts, last, err
}

func optionalTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// orElse returns err unless it is nil.
func orElse(err error, otherwise *fault.Error) error {
	if err != nil {
		return err
	}
	return otherwise
}
