package api

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/google/uuid"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/ingest"
	"github.com/decnet/decnet/internal/recording"
)

// AttackSessionBody is what an attacker did on one decky in one session.
type AttackSessionBody struct {
	ID               string     `json:"id"`
	Session          string     `json:"session" doc:"As the decoy calls it"`
	Decky            string     `json:"decky" doc:"Its name"`
	DeckyKey         string     `json:"decky_key"`
	TopologyID       *string    `json:"topology_id"`
	Sensor           *string    `json:"sensor" doc:"Of imports; null for our own deckies"`
	Service          string     `json:"service"`
	AttackerID       string     `json:"attacker_id"`
	AttackerIP       string     `json:"attacker_ip"`
	StartedAt        time.Time  `json:"started_at"`
	LastSeen         time.Time  `json:"last_seen"`
	EndedAt          *time.Time `json:"ended_at" doc:"Null while it is open, or its end was lost"`
	DurationS        *float64   `json:"duration_s"`
	CommandCount     int        `json:"command_count"`
	HasRecording     bool       `json:"has_recording"`
	RecordingRemoved bool       `json:"recording_removed"`
}

// CommandBody is one thing an attacker told a service to do.
type CommandBody struct {
	ID         string    `json:"id"`
	Ref        string    `json:"ref" doc:"The session and the number of the line"`
	Time       time.Time `json:"time"`
	Decky      string    `json:"decky" doc:"Its name"`
	DeckyKey   string    `json:"decky_key"`
	Service    string    `json:"service"`
	Session    *string   `json:"session" doc:"As the decoy calls it"`
	AttackerID string    `json:"attacker_id"`
	AttackerIP string    `json:"attacker_ip"`
	Text       string    `json:"text" doc:"Control characters are spelled"`
	UID        *string   `json:"uid"`
	Username   *string   `json:"username"`
	Directory  *string   `json:"directory"`
}

type sessionsInput struct {
	ListInput
	PlaceFilter
	Open     string `query:"open" enum:"true,false"`
	Recorded string `query:"recorded" enum:"true,false"`
}

type commandsInput struct {
	ListInput
	PlaceFilter
	Search  string `query:"search" maxLength:"512" doc:"Words and \"phrases\"; all must match"`
	Session string `query:"session" pattern:"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$" doc:"The uuid of a session"`
}

type sessionCommandsInput struct {
	ListInput
	UUIDPath
}

func (s *server) registerSessions() {
	registerList(s, viewer, get("list-sessions", "/sessions", "List sessions, those that began last first", "sessions"), s.listSessions)
	register(s, viewer, get("get-session", "/sessions/{id}", "One session", "sessions"), s.getSession)
	registerList(s, viewer, get("list-session-commands", "/sessions/{id}/commands", "The commands of a session, oldest first", "sessions"),
		s.listSessionCommands)
	registerList(s, viewer, get("list-commands", "/commands", "Search commands, newest first", "sessions"), s.listCommands)
	cast := get("get-session-cast", "/sessions/{id}/cast", "The recording of a session as asciicast v2", "sessions")
	cast.Responses = map[string]*huma.Response{"200": {
		Description: "A header line and a line for each event; one of the kind m says where the recording was cut",
		Content:     map[string]*huma.MediaType{castType: {Schema: &huma.Schema{Type: huma.TypeString}}},
	}}
	s.endless[routeOf(cast.Path)] = true
	register(s, operator, cast, s.getCast)
}

func (s *server) listSessions(_ context.Context, in *sessionsInput) (pager[AttackSessionBody], error) {
	return scoped(in.PlaceFilter, func(ctx context.Context, v *db.View, scope db.Scope, before db.Place, limit int) ([]db.AttackSession, error) {
		return v.Sessions(ctx, db.SessionFilter{
			Scope: scope, Open: truth(in.Open), Recorded: truth(in.Recorded), Before: before, Limit: limit,
		})
	}, func(a db.AttackSession) db.Place { return db.Place{Time: a.StartedAt, ID: a.ID} }, toAttackSessionBody)
}

// truth returns nil for "".
func truth(text string) *bool {
	if text == "" {
		return nil
	}
	yes := text == "true"
	return &yes
}

func (s *server) getSession(ctx context.Context, in *UUIDPath) (*output[AttackSessionBody], error) {
	return one(ctx, s, func(v *db.View) (AttackSessionBody, error) {
		a, err := v.Session(ctx, in.uuid())
		return toAttackSessionBody(a), err
	})
}

func (s *server) listSessionCommands(_ context.Context, in *sessionCommandsInput) (pager[CommandBody], error) {
	return func(ctx context.Context, v *db.View, after string, limit int) ([]entry[CommandBody], error) {
		numbers, id, err := parseCursor(after, 2)
		if err != nil {
			return nil, err
		}
		a, err := v.Session(ctx, in.uuid())
		if err != nil {
			return nil, err
		}
		var place db.CommandPlace
		if id != uuid.Nil {
			place = db.CommandPlace{Time: micros(numbers[0]), Line: numbers[1], ID: id}
		}
		rows, err := v.SessionCommands(ctx, a.DeckyKey, a.Session, place, limit)
		return entries(rows, err, func(c db.Command) string { return cursorOf(c.ID, c.Time.UnixMicro(), c.Line) }, toCommandBody)
	}, nil
}

func (s *server) listCommands(_ context.Context, in *commandsInput) (pager[CommandBody], error) {
	query, err := ingest.ParseWords(in.Search)
	if err != nil {
		return nil, errFilter("search", err.Error())
	}
	return scoped(in.PlaceFilter, func(ctx context.Context, v *db.View, scope db.Scope, before db.Place, limit int) ([]db.Command, error) {
		f := db.CommandFilter{Scope: scope, Document: query.Document, Before: before, Limit: limit}
		if in.Session != "" {
			a, err := v.Session(ctx, uuid.MustParse(in.Session))
			if fault.KindOf(err) == fault.NotFound || err == nil && f.Decky != "" && f.Decky != a.DeckyKey {
				return nil, nil
			}
			if err != nil {
				return nil, err
			}
			f.Decky, f.Session = a.DeckyKey, a.Session
		}
		return v.Commands(ctx, f)
	}, func(c db.Command) db.Place { return db.Place{Time: c.Time, ID: c.ID} }, toCommandBody)
}

const castType = "application/x-asciicast"

func recordingNotFound() *fault.Error {
	return fault.New(fault.NotFound, "recording_not_found", "there is no recording of the session")
}

func (s *server) getCast(ctx context.Context, in *UUIDPath) (*huma.StreamResponse, error) {
	found, err := one(ctx, s, func(v *db.View) (db.AttackSession, error) { return v.Session(ctx, in.uuid()) })
	if err != nil {
		return nil, err
	}
	a := found.Body
	if a.Sensor != "" || a.RecordingRemoved {
		return nil, recordingNotFound()
	}
	// A session that is still going on has what was recorded so far.
	r, err := recording.Open(ctx, s.deps.ArtifactsRoot, recording.Place{
		DeckyKey: a.DeckyKey, Service: a.Service, SID: a.Session, Started: a.StartedAt, Ended: a.LastSeen,
	})
	if errors.Is(err, recording.ErrNotFound) {
		return nil, recordingNotFound()
	}
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer r.Close()
		c := humagin.Unwrap(hc)
		c.Header("Content-Type", castType)
		c.Header("Content-Disposition", `attachment; filename="`+a.ID.String()+`.cast"`)
		s.stream(c, func(w io.Writer) error { return recording.WriteCast(w, r) })
	}}, nil
}

func toAttackSessionBody(a db.AttackSession) AttackSessionBody {
	body := AttackSessionBody{
		ID: a.ID.String(), Session: a.Session, Decky: a.DeckyName, DeckyKey: a.DeckyKey, TopologyID: text(a.TopologyID),
		Sensor: optional(a.Sensor), Service: a.Service, AttackerID: a.AttackerID.String(), AttackerIP: a.AttackerIP.String(),
		StartedAt: a.StartedAt.UTC(), LastSeen: a.LastSeen.UTC(), EndedAt: utc(a.EndedAt), CommandCount: a.Commands,
		HasRecording: a.Recorded, RecordingRemoved: a.RecordingRemoved,
	}
	if a.EndedAt != nil {
		seconds := max(a.EndedAt.Sub(a.StartedAt), 0).Seconds()
		body.DurationS = &seconds
	}
	return body
}

func toCommandBody(c db.Command) CommandBody {
	return CommandBody{
		ID: c.ID.String(), Ref: c.Ref, Time: c.Time.UTC(), Decky: c.DeckyName, DeckyKey: c.DeckyKey, Service: c.Service,
		Session: optional(c.Session), AttackerID: c.AttackerID.String(), AttackerIP: c.AttackerIP.String(), Text: c.Text,
		UID: optional(c.UID), Username: optional(c.Username), Directory: optional(c.Directory),
	}
}
