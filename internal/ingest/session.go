package ingest

import (
	"math"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
)

// maxSession bounds a duration a line claims; decoys end sessions after 12 h.
const maxSession = 30 * 24 * time.Hour

// Session is what is known of one session so far: a fold over its events in the order of the log. It is keyed by
// (DeckyKey, ID), never by address, so that parallel sessions of one address do not mix. A session that never closes stays
// open. The zero Session is one nothing is known of.
type Session struct {
	ID         string
	DeckyKey   string
	DeckyName  string
	DeckyID    uuid.UUID
	TopologyID uuid.UUID
	Sensor     string
	Service    string
	// Attacker is that of the first event.
	Attacker netip.Addr
	// StartedAt is the time of the first event until session_closed corrects it by its duration, if session_opened was lost.
	StartedAt time.Time
	LastSeen  time.Time
	// EndedAt is zero while the session is open.
	EndedAt time.Time
	// Commands counts those read; after the end it is what the decoy counted, if it says so.
	Commands int
	Recorded bool
	// Boot and Line are the last event folded in; what is not later is not counted again.
	Boot string
	Line uint64
	// Opened says that StartedAt is that of session_opened.
	Opened bool
}

// Closed reports whether the session has ended.
func (s Session) Closed() bool { return !s.EndedAt.IsZero() }

// Apply returns the session after e, and the end of the session if e is what ends it, which happens once. Events of other
// sessions, without a session or without an attacker, read before, or after the end change nothing.
func (s Session) Apply(e *Event) (Session, *SessionEnd) {
	if e.Session == "" || !e.Attacker.IsValid() || s.Closed() || s.counted(e) {
		return s, nil
	}
	if s.ID == "" {
		s = Session{
			ID: e.Session, DeckyKey: e.Source.DeckyKey, DeckyName: e.Source.DeckyName, DeckyID: e.Source.DeckyID,
			TopologyID: e.Source.TopologyID, Sensor: e.Source.Sensor,
			Service: e.Service, Attacker: e.Attacker, StartedAt: e.Time,
		}
	} else if s.ID != e.Session || s.DeckyKey != e.Source.DeckyKey {
		return s, nil
	}
	s.LastSeen, s.Boot, s.Line = e.Time, e.Boot, e.Line
	switch {
	case e.Type == TypeSessionOpened:
		s.Opened, s.StartedAt = true, e.Time
	case e.Type == TypeSessionRecorded:
		s.Recorded = true
	case e.Type == TypeSessionClosed:
		return s.close(e)
	case slices.Contains(commandTypes, e.Type):
		s.Commands++
	}
	return s, nil
}

func (s Session) counted(e *Event) bool {
	return e.Line > 0 && e.Boot == s.Boot && e.Line <= s.Line
}

func (s Session) close(e *Event) (Session, *SessionEnd) {
	s.EndedAt = e.Time
	duration, told := seconds(e.Fields.Get("duration_s"))
	if told && !s.Opened {
		s.StartedAt = e.Time.Add(-duration)
	}
	if !told {
		duration = max(e.Time.Sub(s.StartedAt), 0)
	}
	if n, err := strconv.ParseUint(e.Fields.Get("command_count"), 10, 31); err == nil {
		s.Commands = int(n)
	}
	s.Recorded = s.Recorded || e.Fields.Get("has_recording") == "true"
	return s, &SessionEnd{
		SessionID: s.ID, Attacker: s.Attacker, DeckyKey: s.DeckyKey, DeckyName: s.DeckyName, TopologyID: s.TopologyID,
		Service: s.Service, StartedAt: s.StartedAt, EndedAt: s.EndedAt, Duration: duration, CommandCount: s.Commands,
		HasRecording: s.Recorded,
	}
}

// seconds reads a number of seconds; what is none, negative or absurd is not told.
func seconds(v string) (time.Duration, bool) {
	f, err := strconv.ParseFloat(v, 64)
	if err != nil || math.IsNaN(f) || f < 0 || f > maxSession.Seconds() {
		return 0, false
	}
	return time.Duration(f * float64(time.Second)).Round(time.Microsecond), true
}
