package api

import (
	"context"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/auth"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/ingest"
)

// LogEventBody is a line of the log.
type LogEventBody struct {
	ID           string            `json:"id"`
	Time         time.Time         `json:"time" doc:"The line's own"`
	ReceivedAt   time.Time         `json:"received_at"`
	Decky        string            `json:"decky" doc:"Its name"`
	DeckyKey     string            `json:"decky_key"`
	TopologyID   *string           `json:"topology_id"`
	Sensor       *string           `json:"sensor" doc:"Of imports; null for our own deckies"`
	Service      string            `json:"service"`
	Type         string            `json:"type"`
	Class        string            `json:"class" enum:"interaction,scan,noise"`
	AttackerID   *string           `json:"attacker_id"`
	AttackerIP   *string           `json:"attacker_ip"`
	AttackerPort *int32            `json:"attacker_port"`
	Session      *string           `json:"session" doc:"As the decoy calls it"`
	Boot         *string           `json:"boot"`
	Line         *int64            `json:"line"`
	Fields       map[string]string `json:"fields" doc:"What the decoy claims; control characters are spelled"`
	Msg          *string           `json:"msg"`
	Raw          *string           `json:"raw"`
	Masked       bool              `json:"masked" doc:"The event carries a secret, which the asker may not see"`
}

type eventsInput struct {
	ListInput
	TimeRange
	Search   string `query:"search" maxLength:"512" doc:"Words, \"phrases\", key:value; all must match"`
	Decky    string `query:"decky" maxLength:"128" doc:"The key of a decky; of imports: import: and the sensor's name"`
	Service  string `query:"service" maxLength:"64"`
	Type     string `query:"type" maxLength:"64"`
	Class    string `query:"class" enum:"interaction,scan,noise"`
	Attacker string `query:"attacker" maxLength:"64" doc:"An address"`
	Session  string `query:"session" maxLength:"64" doc:"As the decoy calls it"`
}

type eventPath struct {
	ID string `path:"id" pattern:"^[1-9][0-9]{0,17}$" doc:"A number"`
}

func (s *server) registerEvents() {
	registerList(s, viewer, get("list-events", "/events", "Search the log, newest first", "events"), s.listEvents)
	register(s, viewer, get("get-event", "/events/{id}", "One line of the log", "events"), s.getEvent)
}

func (s *server) listEvents(ctx context.Context, in *eventsInput) (pager[LogEventBody], error) {
	query, err := in.query()
	if err != nil {
		return nil, err
	}
	who := principalOf(ctx)
	f := db.EventFilter{Query: query, From: in.From, To: in.To, HideSecrets: !mayReadSecrets(who) && query.RepeatsSecret()}
	return func(ctx context.Context, v *db.View, after string, limit int) ([]entry[LogEventBody], error) {
		f := f
		var err error
		if f.BeforeTime, f.BeforeID, err = parseEventKey(after); err != nil {
			return nil, err
		}
		f.Limit = limit
		rows, err := v.Events(ctx, f)
		return entries(rows, err, eventKey, func(e db.LogEvent) LogEventBody { return toLogEvent(e, who) })
	}, nil
}

func eventKey(e db.LogEvent) string {
	return strconv.FormatInt(e.Time.UnixMicro(), 10) + "." + strconv.FormatInt(e.ID, 10)
}

func parseEventKey(key string) (at time.Time, id int64, err error) {
	if key == "" {
		return time.Time{}, 0, nil
	}
	micro, number, _ := strings.Cut(key, ".")
	n, errTime := strconv.ParseInt(micro, 10, 64)
	id, errID := strconv.ParseInt(number, 10, 64)
	if errTime != nil || errID != nil || id <= 0 || n > maxMicros || n < -maxMicros {
		return time.Time{}, 0, errCursor()
	}
	return micros(n), id, nil
}

// query puts the search and the filters into one condition.
func (in *eventsInput) query() (ingest.Query, error) {
	q, err := ingest.ParseQuery(in.Search)
	if err != nil {
		return q, errFilter("search", err.Error())
	}
	attacker := in.Attacker
	if attacker != "" {
		ip, err := netip.ParseAddr(attacker)
		if err != nil {
			return q, errFilter("attacker", "must be an address")
		}
		attacker = ip.WithZone("").Unmap().String()
	}
	for _, c := range []struct{ column, value string }{
		{ingest.ColumnDecky, in.Decky}, {ingest.ColumnService, in.Service}, {ingest.ColumnType, in.Type}, {ingest.ColumnClass, in.Class},
		{ingest.ColumnAttacker, attacker}, {ingest.ColumnSession, in.Session},
	} {
		if c.value != "" {
			q = q.With(c.column, c.value)
		}
	}
	return q, nil
}

func (s *server) getEvent(ctx context.Context, in *eventPath) (*output[LogEventBody], error) {
	id, err := strconv.ParseInt(in.ID, 10, 64)
	if err != nil {
		return nil, fault.New(fault.NotFound, "event_not_found", "there is no such event")
	}
	return one(ctx, s, func(v *db.View) (LogEventBody, error) {
		e, err := v.Event(ctx, id)
		return toLogEvent(e, principalOf(ctx)), err
	})
}

// one answers with a single thing.
func one[T any](ctx context.Context, s *server, read func(*db.View) (T, error)) (*output[T], error) {
	out := &output[T]{}
	err := s.deps.Store.View(ctx, func(v *db.View) (err error) {
		out.Body, err = read(v)
		return err
	})
	return out, err
}

// mayReadSecrets reports whether somebody may see what intruders have tried.
func mayReadSecrets(p principal) bool { return p.role.Allows(auth.Operator) }

func toLogEvent(e db.LogEvent, who principal) LogEventBody {
	body := LogEventBody{
		ID: strconv.FormatInt(e.ID, 10), Time: e.Time.UTC(), ReceivedAt: e.ReceivedAt.UTC(), Decky: e.DeckyName, DeckyKey: e.DeckyKey,
		TopologyID: text(e.TopologyID), Sensor: optional(e.Sensor), Service: e.Service, Type: e.Type, Class: e.Class,
		AttackerID: text(e.AttackerID), AttackerIP: text(e.AttackerIP), AttackerPort: e.AttackerPort, Session: optional(e.Session),
		Boot: optional(e.Boot), Fields: e.Fields, Msg: &e.Msg, Raw: &e.Raw,
	}
	if e.Line > 0 {
		body.Line = &e.Line
	}
	carries := ingest.CarriesSecret(func(k string) bool { _, ok := e.Fields[k]; return ok })
	if mayReadSecrets(who) || !carries {
		return body
	}
	body.Masked, body.Msg, body.Raw, body.Fields = true, nil, nil, make(map[string]string, len(e.Fields))
	for k, v := range e.Fields {
		if !ingest.Shown(k, carries) {
			v = ingest.Mask
		}
		body.Fields[k] = v
	}
	return body
}

// text returns nil for what is not there.
func text[T interface{ String() string }](v *T) *string {
	if v == nil {
		return nil
	}
	s := (*v).String()
	return &s
}

// IngestBody says what became of the lines that were read.
type IngestBody struct {
	Items          []IngestItem `json:"items" nullable:"false"`
	LastReceivedAt *time.Time   `json:"last_received_at" doc:"When the last event was stored"`
}

// IngestItem counts the lines of one service of a decky.
type IngestItem struct {
	DeckyKey string           `json:"decky_key"`
	Service  string           `json:"service"`
	Outcomes map[string]int64 `json:"outcomes" doc:"Lines by outcome: stored, dropped_app, dropped_rate, self_check, repeated, malformed, too_long, missing"`
}

func (s *server) registerIngest() {
	register(s, viewer, get("get-ingest", "/ingest", "What became of the lines that were read", "events"), s.getIngest)
}

func (s *server) getIngest(ctx context.Context, _ *empty) (*output[IngestBody], error) {
	return one(ctx, s, func(v *db.View) (IngestBody, error) {
		body := IngestBody{Items: []IngestItem{}}
		counts, last, err := v.IngestCounts(ctx)
		for _, c := range counts {
			n := len(body.Items)
			if n == 0 || body.Items[n-1].DeckyKey != c.DeckyKey || body.Items[n-1].Service != c.Service {
				body.Items = append(body.Items, IngestItem{DeckyKey: c.DeckyKey, Service: c.Service, Outcomes: map[string]int64{}})
				n++
			}
			body.Items[n-1].Outcomes[c.Outcome] = c.Lines
		}
		if !last.IsZero() {
			body.LastReceivedAt = utc(&last)
		}
		return body, err
	})
}
