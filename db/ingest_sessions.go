package db

import (
	"cmp"
	"context"
	"strings"

	"github.com/google/uuid"

	"github.com/decnet/decnet/db/dbsqlc"
	"github.com/decnet/decnet/internal/ingest"
)

type sessionKey struct{ decky, session string }

type sessionRow struct {
	id       uuid.UUID
	attacker uuid.UUID
	now      ingest.Session
	changed  bool
}

// foldSessions takes the sessions further. The slots of their deckies are held, so none can appear meanwhile.
func (in *ingestion) foldSessions(ctx context.Context) error {
	rows := map[sessionKey]*sessionRow{}
	for _, x := range in.kept {
		if e := &x.Event; e.Session != "" && e.Attacker.IsValid() {
			rows[sessionKey{e.Source.DeckyKey, e.Session}] = &sessionRow{id: newID()}
		}
	}
	if len(rows) == 0 {
		return nil
	}
	keys := sortedKeys(rows, func(a, b sessionKey) int {
		return cmp.Or(strings.Compare(a.decky, b.decky), strings.Compare(a.session, b.session))
	})
	if err := in.lockSessions(ctx, keys, rows); err != nil {
		return err
	}
	for _, x := range in.kept {
		if r := rows[sessionKey{x.Event.Source.DeckyKey, x.Event.Session}]; r != nil {
			if err := in.foldSession(r, &x.Event); err != nil {
				return err
			}
		}
	}
	return in.upsertSessions(ctx, keys, rows)
}

func (in *ingestion) lockSessions(ctx context.Context, keys []sessionKey, rows map[sessionKey]*sessionRow) error {
	var p dbsqlc.LockSessionsParams
	for _, k := range keys {
		p.DeckyKeys, p.Sessions = append(p.DeckyKeys, k.decky), append(p.Sessions, k.session)
	}
	stored, err := in.tx.q.LockSessions(ctx, p)
	for _, s := range stored {
		*rows[sessionKey{s.DeckyKey, s.Session}] = sessionRow{
			id: s.ID, attacker: s.AttackerID,
			now: ingest.Session{
				ID: s.Session, DeckyKey: s.DeckyKey, DeckyName: s.DeckyName, DeckyID: deref(s.DeckyID), TopologyID: deref(s.TopologyID),
				Sensor: s.Sensor, Service: s.Service, Attacker: s.AttackerIP, StartedAt: s.StartedAt, LastSeen: s.LastSeen,
				EndedAt: deref(s.EndedAt), Commands: int(s.Commands), Recorded: s.Recorded, Boot: s.Boot, Line: uint64(s.Line), Opened: s.Opened,
			},
		}
	}
	return err
}

func (in *ingestion) foldSession(r *sessionRow, e *ingest.Event) error {
	attacker, known := in.attackers.id(e.Attacker)
	if !known {
		return nil
	}
	next, end := r.now.Apply(e)
	if next == r.now {
		return nil
	}
	if r.now.ID == "" {
		r.attacker = attacker
		in.attackers[e.Attacker].sessions++
	}
	r.now, r.changed = next, true
	if end == nil {
		return nil
	}
	in.result.EndedSessions++
	return in.announce("attacker.session.ended", "session.ended", r.attacker, newSessionEnded(r.attacker, e.Source, end))
}

func (in *ingestion) upsertSessions(ctx context.Context, keys []sessionKey, rows map[sessionKey]*sessionRow) error {
	var p dbsqlc.UpsertSessionsParams
	for _, k := range keys {
		r := rows[k]
		if !r.changed {
			continue
		}
		s := &r.now
		p.Ids, p.DeckyKeys, p.Sessions = append(p.Ids, r.id), append(p.DeckyKeys, s.DeckyKey), append(p.Sessions, s.ID)
		p.DeckyNames, p.DeckyIds = append(p.DeckyNames, s.DeckyName), append(p.DeckyIds, s.DeckyID)
		p.TopologyIds, p.Sensors = append(p.TopologyIds, s.TopologyID), append(p.Sensors, s.Sensor)
		p.Services, p.AttackerIDs = append(p.Services, s.Service), append(p.AttackerIDs, r.attacker)
		p.AttackerIPs, p.StartedAt = append(p.AttackerIPs, s.Attacker), append(p.StartedAt, s.StartedAt)
		p.LastSeen, p.EndedAt = append(p.LastSeen, s.LastSeen), append(p.EndedAt, s.EndedAt)
		p.Commands, p.Recorded = append(p.Commands, int32(s.Commands)), append(p.Recorded, s.Recorded)
		p.Boots, p.Lines = append(p.Boots, storable(s.Boot)), append(p.Lines, lineNumber(s.Line))
		p.Opened = append(p.Opened, s.Opened)
	}
	if len(p.Ids) == 0 {
		return nil
	}
	return in.tx.q.UpsertSessions(ctx, p)
}

// sessionEnded is `attacker.session.ended` (contracts section 4).
type sessionEnded struct {
	SessionID    string     `json:"session_id"`
	AttackerUUID uuid.UUID  `json:"attacker_uuid"`
	AttackerIP   string     `json:"attacker_ip"`
	DeckyKey     string     `json:"decky_key"`
	DeckyName    string     `json:"decky_name"`
	TopologyID   *uuid.UUID `json:"topology_id"`
	Service      string     `json:"service"`
	StartedAt    string     `json:"started_at"`
	EndedAt      string     `json:"ended_at"`
	Duration     float64    `json:"duration_s"`
	CommandCount int        `json:"command_count"`
	HasRecording bool       `json:"has_recording"`
	EvidenceRef  string     `json:"evidence_ref,omitempty"`
}

func newSessionEnded(attacker uuid.UUID, src ingest.Source, end *ingest.SessionEnd) sessionEnded {
	return sessionEnded{
		SessionID: end.SessionID, AttackerUUID: attacker, AttackerIP: end.Attacker.String(), DeckyKey: end.DeckyKey,
		DeckyName: end.DeckyName, TopologyID: optional(end.TopologyID), Service: end.Service, StartedAt: stamp(end.StartedAt),
		EndedAt: stamp(end.EndedAt), Duration: end.Duration.Seconds(), CommandCount: end.CommandCount,
		HasRecording: end.HasRecording, EvidenceRef: src.EvidenceRef(end.SessionID),
	}
}
