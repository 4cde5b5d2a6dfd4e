package ingest_test

import (
	"net/netip"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/decnet/decnet/internal/ingest"
)

const sid = "5a0e6b1c-1f7e-4a6c-9b3e-1b2f1c2d3e4f"

var (
	web   = ingest.Source{DeckyKey: "ab12cd34-web", DeckyName: "web", TopologyID: uuid.MustParse("ab12cd34-0000-4000-8000-000000000000"), Service: "ssh"}
	relay = ingest.Source{DeckyKey: "mail", DeckyName: "mail", Service: "smtp_relay"}
)

// record makes a record of a session as the parser would. fields are keys and values.
func record(kind string, line uint64, second int, fields ...string) *ingest.Record {
	r := &ingest.Record{Time: at(second), PRI: 134, Host: "web", App: "sessrec", Type: kind, Boot: "b", Line: line}
	for kv := range slices.Chunk(append([]string{"src_ip", "192.0.2.7"}, fields...), 2) {
		r.Fields = append(r.Fields, ingest.Field{Key: kv[0], Value: kv[1]})
	}
	r.Resolve()
	r.Raw = string(emit(r))
	return r
}

func event(src ingest.Source, r *ingest.Record) *ingest.Event {
	e := ingest.NewEvent(src, r)
	return &e
}

// fold applies records in order and returns the ends.
func fold(records ...*ingest.Record) (s ingest.Session, ends []ingest.SessionEnd) {
	for _, r := range records {
		var end *ingest.SessionEnd
		if s, end = s.Apply(event(web, r)); end != nil {
			ends = append(ends, *end)
		}
	}
	return s, ends
}

func TestSession_EndsOnceWithWhatTheDecoyCounted(t *testing.T) {
	t.Parallel()
	records := []*ingest.Record{
		record("session_opened", 1, 10, "sid", sid, "kind", "shell"),
		record("command", 2, 11, "sid", sid, "command", "id"),
		record("command", 3, 12, "sid", sid, "command", "ls"),
		record("session_recorded", 4, 20, "sid", sid, "duration_s", "10.5"),
		record("session_closed", 5, 20, "sid", sid, "duration_s", "10.500", "command_count", "7", "has_recording", "true"),
	}
	s, ends := fold(append(records, records...)...)
	require.True(t, s.Closed())
	require.Equal(t, []ingest.SessionEnd{{
		SessionID: sid, Attacker: netip.MustParseAddr("192.0.2.7"), DeckyKey: web.DeckyKey, DeckyName: "web", TopologyID: web.TopologyID,
		Service: "ssh", StartedAt: at(10), EndedAt: at(20), Duration: 10500 * time.Millisecond, CommandCount: 7, HasRecording: true,
	}}, ends)
}

func TestSession_EndsRecordedOrNot(t *testing.T) {
	t.Parallel()
	closed := func(fields ...string) *ingest.Record {
		return record("session_closed", 9, 100, append([]string{"sid", sid}, fields...)...)
	}
	for name, c := range map[string]struct {
		records  []*ingest.Record
		start    time.Time
		duration time.Duration
		commands int
		recorded bool
	}{
		"closed alone":         {[]*ingest.Record{closed("duration_s", "3.000", "command_count", "0", "has_recording", "false")}, at(97), 3 * time.Second, 0, false},
		"nothing told":         {[]*ingest.Record{closed()}, at(100), 0, 0, false},
		"counted, not told":    {[]*ingest.Record{record("command", 1, 90, "sid", sid), record("exec", 2, 91, "sid", sid), closed()}, at(90), 10 * time.Second, 2, false},
		"recorded, not told":   {[]*ingest.Record{record("session_recorded", 1, 99, "sid", sid), closed("duration_s", "5")}, at(95), 5 * time.Second, 0, true},
		"duration is no time":  {[]*ingest.Record{closed("duration_s", "NaN")}, at(100), 0, 0, false},
		"duration is negative": {[]*ingest.Record{closed("duration_s", "-5")}, at(100), 0, 0, false},
		"duration is absurd":   {[]*ingest.Record{closed("duration_s", "1e300")}, at(100), 0, 0, false},
		"count is no number":   {[]*ingest.Record{closed("command_count", "-1")}, at(100), 0, 0, false},
	} {
		_, ends := fold(c.records...)
		require.Len(t, ends, 1, name)
		e := ends[0]
		require.Equal(t, []any{c.start, c.duration, c.commands, c.recorded}, []any{e.StartedAt, e.Duration, e.CommandCount, e.HasRecording}, name)
	}
}

func TestSession_StaysOpenWithoutItsEnd(t *testing.T) {
	t.Parallel()
	s, ends := fold(record("session_opened", 1, 1, "sid", sid), record("session_recorded", 2, 9, "sid", sid), record("disconnect", 3, 9))
	require.Empty(t, ends)
	require.False(t, s.Closed())
}

func TestSession_IgnoresWhatIsNotItsOwn(t *testing.T) {
	t.Parallel()
	other := "00000000-1f7e-4a6c-9b3e-1b2f1c2d3e4f"
	s, _ := fold(record("session_opened", 1, 1, "sid", sid))
	same, end := s.Apply(event(web, record("session_closed", 2, 2, "sid", other)))
	require.Nil(t, end)
	require.Equal(t, s, same)
	elsewhere := web
	elsewhere.DeckyKey = "other"
	same, end = s.Apply(event(elsewhere, record("session_closed", 2, 2, "sid", sid)))
	require.Nil(t, end)
	require.Equal(t, s, same)
	nobody := record("session_closed", 2, 2, "sid", sid)
	nobody.Attacker = netip.Addr{}
	_, end = s.Apply(event(web, nobody))
	require.Nil(t, end)
	for _, bad := range []string{"", "a b", "../../etc", string(make([]byte, 65))} {
		_, end = ingest.Session{}.Apply(event(web, record("session_closed", 2, 2, "sid", bad)))
		require.Nil(t, end, bad)
	}
}

// Two sessions of one address, their lines interleaved and read again from anywhere, end once each with their own commands.
func TestSession_ParallelSessionsDoNotMix(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var log []*ingest.Record
		want := map[string]int{"a": 0, "b": 0}
		for n := uint64(1); n <= 30; n++ {
			id := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "sid")
			want[id]++
			log = append(log, record("command", n, int(n), "sid", id, "command", "x"))
		}
		log = append(log, record("session_closed", 31, 31, "sid", "a"), record("session_closed", 32, 32, "sid", "b"))
		back := rapid.IntRange(0, len(log)).Draw(t, "crash")
		from := rapid.IntRange(0, back).Draw(t, "resume")
		sessions, ends := map[string]ingest.Session{}, map[string][]int{}
		for _, r := range append(slices.Clone(log[:back]), log[from:]...) {
			e := event(web, r)
			s, end := sessions[e.Session].Apply(e)
			sessions[e.Session] = s
			if end != nil {
				ends[e.Session] = append(ends[e.Session], end.CommandCount)
			}
		}
		require.Equal(t, map[string][]int{"a": {want["a"]}, "b": {want["b"]}}, ends, strconv.Itoa(back))
	})
}
