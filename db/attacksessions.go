package db

import (
	"context"
	"net/netip"
	"time"

	"github.com/google/uuid"

	"github.com/decnet/decnet/db/dbsqlc"
	"github.com/decnet/decnet/internal/fault"
)

// AttackSession is what an attacker did on one decky in one session. Session is the decoy's own name of it.
type AttackSession struct {
	ID                  uuid.UUID
	Session             string
	DeckyKey, DeckyName string
	TopologyID          *uuid.UUID
	Sensor, Service     string
	AttackerID          uuid.UUID
	AttackerIP          netip.Addr
	StartedAt, LastSeen time.Time
	// EndedAt is nil while the session is open.
	EndedAt          *time.Time
	Commands         int
	Recorded         bool
	RecordingRemoved bool
}

// SessionFilter selects sessions; From and To bound their beginnings.
type SessionFilter struct {
	Scope
	Open, Recorded *bool
	Before         Place
	Limit          int
}

func sessionNotFound() *fault.Error {
	return fault.New(fault.NotFound, "session_not_found", "there is no such session")
}

// Sessions lists sessions, those that began last first.
func (v *View) Sessions(ctx context.Context, f SessionFilter) ([]AttackSession, error) {
	rows, err := v.q.ListSessions(ctx, dbsqlc.ListSessionsParams{
		Attacker: optional(f.Attacker), Decky: optional(f.Decky), Service: optional(f.Service), Open: f.Open, Recorded: f.Recorded,
		Since: optionalTime(f.From), Until: optionalTime(f.To), Before: f.Before.time(), BeforeID: f.Before.ID, MaxRows: int32(f.Limit),
	})
	return convert(rows, err, toAttackSession)
}

// Session returns one session, or a NotFound fault (session_not_found).
func (v *View) Session(ctx context.Context, id uuid.UUID) (AttackSession, error) {
	row, err := v.q.GetSessionRow(ctx, id)
	if err != nil {
		return AttackSession{}, notFound(err, sessionNotFound())
	}
	return toAttackSession(row), nil
}

func toAttackSession(r dbsqlc.Session) AttackSession {
	return AttackSession{
		ID: r.ID, Session: r.Session, DeckyKey: r.DeckyKey, DeckyName: r.DeckyName, TopologyID: r.TopologyID, Sensor: r.Sensor,
		Service: r.Service, AttackerID: r.AttackerID, AttackerIP: r.AttackerIP, StartedAt: r.StartedAt, LastSeen: r.LastSeen,
		EndedAt: r.EndedAt, Commands: int(r.Commands), Recorded: r.Recorded, RecordingRemoved: r.RecordingRemovedAt != nil,
	}
}

// Command is one thing an attacker told a service to do. Texts are hostile; "" is unknown.
type Command struct {
	ID         uuid.UUID
	DeckyKey   string
	Ref        string
	DeckyName  string
	Service    string
	Session    string
	AttackerID uuid.UUID
	AttackerIP netip.Addr
	Time       time.Time
	Line       int64
	Text       string
	UID        string
	Username   string
	Directory  string
}

// CommandFilter selects commands.
type CommandFilter struct {
	Scope
	// Document is a condition in the syntax of tsquery, "" for none.
	Document string
	// Session is the decoy's name of a session; it means something together with Decky.
	Session string
	Before  Place
	Limit   int
}

// Commands lists commands, the newest first.
func (v *View) Commands(ctx context.Context, f CommandFilter) ([]Command, error) {
	p := dbsqlc.ListCommandsParams{
		Attacker: optional(f.Attacker), Decky: optional(f.Decky), Service: optional(f.Service), Session: optional(f.Session),
		Since: optionalTime(f.From), Until: optionalTime(f.To), Before: f.Before.time(), BeforeID: f.Before.ID, MaxRows: int32(f.Limit),
	}
	if f.Document == "" {
		rows, err := v.q.ListCommands(ctx, p)
		return convert(rows, err, func(r dbsqlc.ListCommandsRow) Command { return Command(r) })
	}
	newest := dbsqlc.FindCommandsAmongNewestParams{
		Attacker: p.Attacker, Decky: p.Decky, Service: p.Service, Session: p.Session, Since: p.Since, Until: p.Until,
		Before: p.Before, BeforeID: p.BeforeID, MaxRows: p.MaxRows, Query: f.Document,
	}
	found, full, err := amongNewest(f.Limit, func(depth int32) ([]dbsqlc.FindCommandsAmongNewestRow, error) {
		newest.Depth = depth
		return v.q.FindCommandsAmongNewest(ctx, newest)
	})
	if err != nil || full {
		return convert(found, err, func(r dbsqlc.FindCommandsAmongNewestRow) Command { return Command(r) })
	}
	rows, err := v.q.FindCommandsByDocument(ctx, dbsqlc.FindCommandsByDocumentParams{
		Attacker: p.Attacker, Decky: p.Decky, Service: p.Service, Session: p.Session, Since: p.Since, Until: p.Until,
		Before: p.Before, BeforeID: p.BeforeID, MaxRows: p.MaxRows, Query: f.Document,
	})
	return convert(rows, err, func(r dbsqlc.FindCommandsByDocumentRow) Command { return Command(r) })
}

// CommandPlace is where the list of a session's commands goes on; the zero CommandPlace is its beginning.
type CommandPlace struct {
	Time time.Time
	Line int64
	ID   uuid.UUID
}

// SessionCommands lists the commands of a session, the oldest first.
func (v *View) SessionCommands(ctx context.Context, decky, session string, after CommandPlace, limit int) ([]Command, error) {
	rows, err := v.q.ListSessionCommands(ctx, dbsqlc.ListSessionCommandsParams{
		Decky: decky, Session: session, AfterTime: optionalTime(after.Time), AfterLine: after.Line, AfterID: after.ID, MaxRows: int32(limit),
	})
	return convert(rows, err, func(r dbsqlc.ListSessionCommandsRow) Command { return Command(r) })
}

// time is nil at the beginning of a list.
func (p Place) time() *time.Time {
	if p.ID == uuid.Nil {
		return nil
	}
	return &p.Time
}
