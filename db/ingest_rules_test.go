package db_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/bus"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/ingest"
)

// importRow makes an import that runs.
func (b *ingestBundle) importRow(t testing.TB) uuid.UUID {
	t.Helper()
	id := uuid.New()
	_, err := b.conn.Exec(t.Context(), "INSERT INTO imports (id, format, name, actor, state) VALUES ($1, 'cowrie', 'x', 'alice', 'running')", id)
	require.NoError(t, err)
	return id
}

// foreignSession is a session as a foreign sensor tells it: the artifact is known by its checksum, no decky is ours.
func (b *ingestBundle) foreignSession(t testing.TB, src ingest.Source) []ingest.Extraction {
	t.Helper()
	b.n = 0
	return []ingest.Extraction{
		b.line(t, src, "session_opened", 1, session()...),
		b.line(t, src, "auth_attempt", 2, session("principal", "root", "secret_printable", "hunter2", "secret_b64", hunter2, "outcome", "success")...),
		b.line(t, src, "command", 3, session("command", "uname -a")...),
		b.line(t, src, "file_captured", 4, session("sha256", sum)...),
		b.line(t, src, "session_closed", 5, session("duration_s", "4.000")...),
	}
}

func TestIngest_AnImportTwiceIsAnImportOnce(t *testing.T) {
	t.Parallel()
	b := setupIngest(t)
	src := ingest.ImportSource("tokyo", "ssh")
	id := b.importRow(t)
	p := &db.ImportProgress{ID: id, To: json.RawMessage(`{"chunk": 1}`), BytesRead: 99, Report: json.RawMessage(`{"read": 10}`)}
	lines := b.foreignSession(t, src)
	doubled := append(slices.Clone(lines), lines...) // a log joined with a copy of itself
	got, err := b.store.Ingest(t.Context(), db.IngestBatch{Extractions: doubled, Import: p})
	require.NoError(t, err)
	require.Equal(t, db.IngestResult{Stored: 5, Duplicates: 5, NewAttackers: 1, EndedSessions: 1}, got)
	require.Equal(t, 1, one[int](t, b.conn, "SELECT count(*) FROM credentials WHERE attempt_count = 1 AND outcome = 'success' AND decky_key = 'tokyo'"))
	require.Equal(t, 1, one[int](t, b.conn, "SELECT count(*) FROM sessions WHERE commands = 1 AND decky_id IS NULL AND sensor = 'tokyo'"))
	require.Equal(t, 1, one[int](t, b.conn, "SELECT count(*) FROM artifacts WHERE stored_as IS NULL AND sha256 = $1 AND size IS NULL AND session = $2", sum, sid))
	require.Equal(t, 1, one[int](t, b.conn, "SELECT count(*) FROM attackers WHERE event_count = 5 AND session_count = 1 AND command_count = 1 AND deckies = '{tokyo}'"))
	ended := b.payloads(t, "attacker.session.ended")
	require.Len(t, ended, 1)
	require.Equal(t, "import:tokyo#"+sid, ended[0]["evidence_ref"])
	require.Equal(t, "tokyo", ended[0]["decky_name"])

	before := dump(t, b.conn)
	_, err = b.store.Ingest(t.Context(), db.IngestBatch{Extractions: lines, Import: p})
	f, ok := fault.As(err)
	require.True(t, ok, "%v", err)
	require.Equal(t, "import_moved", f.Code)
	require.Equal(t, fault.Conflict, f.Kind)
	require.Equal(t, before, dump(t, b.conn))

	second := *p
	second.From, second.To = json.RawMessage(`{"chunk":1}`), json.RawMessage(`{"chunk":2}`)
	got, err = b.store.Ingest(t.Context(), db.IngestBatch{Extractions: lines, Import: &second})
	require.NoError(t, err)
	require.Equal(t, db.IngestResult{Duplicates: 5}, got)
	after := dump(t, b.conn)
	delete(before, "imports")
	require.Equal(t, []string{"running", `{"chunk": 2}`, "99", `{"read": 10}`, "5", "10"}, one[[]string](t, b.conn,
		"SELECT ARRAY[state, position::text, bytes_read::text, report::text, stored::text, duplicates::text] FROM imports"))
	delete(after, "imports")
	require.Equal(t, before, after, "nothing but the import changed")

	_, err = b.conn.Exec(t.Context(), "UPDATE imports SET state = 'cancelled', ended_at = now()")
	require.NoError(t, err)
	third := second
	third.From = second.To
	_, err = b.store.Ingest(t.Context(), db.IngestBatch{Extractions: lines, Import: &third})
	f, _ = fault.As(err)
	require.Equal(t, "import_moved", f.Code, "an import that was ended stores no more")

	require.Equal(t, 5, b.ingest(t, b.foreignSession(t, ingest.ImportSource("oslo", "ssh"))...).Stored, "another sensor's lines are others")
}

func TestIngest_ASessionEndsOnce(t *testing.T) {
	t.Parallel()
	b := setupIngest(t)
	src := fleet("web-01", "ssh")
	lines := b.wholeSession(t, src)
	for _, cut := range []int{2, 4, 6} { // in pieces, each read twice
		b.ingest(t, lines[:cut]...)
	}
	require.Empty(t, b.payloads(t, "attacker.session.ended"))
	require.Equal(t, 1, one[int](t, b.conn, "SELECT count(*) FROM sessions WHERE ended_at IS NULL AND commands = 1 AND line = 6"))
	for range 3 {
		b.ingest(t, lines...)
	}
	require.Len(t, b.payloads(t, "attacker.session.ended"), 1)
	require.Len(t, b.payloads(t, "attacker.observed"), 1)
	require.Equal(t, 1, one[int](t, b.conn, "SELECT count(*) FROM sessions WHERE ended_at = $1 AND commands = 1", second(6)))
	require.Equal(t, []int64{1, 1, 1, 1}, one[[]int64](t, b.conn, "SELECT ARRAY[session_count, command_count, bounty_count, credential_count] FROM attackers"),
		"what is a row once counts once")
	require.Equal(t, 1, one[int](t, b.conn, "SELECT count(*) FROM commands")+one[int](t, b.conn, "SELECT count(*) FROM bounties")-one[int](t, b.conn, "SELECT count(*) FROM artifacts"))

	elsewhere := b.wholeSession(t, fleet("db-01", "ssh"))
	b.ingest(t, elsewhere...)
	require.Len(t, b.payloads(t, "attacker.session.ended"), 2, "the same id on another decky is another session")
}

func TestIngest_ParallelSessionsOfOneAddressDoNotMix(t *testing.T) {
	t.Parallel()
	b := setupIngest(t)
	src := fleet("web-01", "ssh")
	second := "1b8f9c7e-6a5d-4c3b-8a19-001122334455"
	b.ingest(t,
		b.line(t, src, "session_opened", 1, "src_ip", root, "sid", sid), b.line(t, src, "session_opened", 2, "src_ip", root, "sid", second),
		b.line(t, src, "command", 3, "src_ip", root, "sid", second, "command", "id"), b.line(t, src, "command", 4, "src_ip", root, "sid", second, "command", "id"),
		b.line(t, src, "command", 5, "src_ip", root, "sid", sid, "command", "id"), b.line(t, src, "session_closed", 6, "src_ip", root, "sid", second))
	require.Equal(t, []string{sid + " 1 true", second + " 2 false"},
		list[string](t, b.conn, "SELECT session || ' ' || commands || ' ' || (ended_at IS NULL) FROM sessions ORDER BY 1"))
}

func TestIngest_AttackersOfBothVersions(t *testing.T) {
	t.Parallel()
	b := setupIngest(t)
	web, mail := fleet("web-01", "ssh"), fleet("mail-01", "smtp")
	b.ingest(t, b.line(t, mail, "connect", 5, "src_ip", "::ffff:192.0.2.7"), b.line(t, web, "command", 3, "src_ip", root, "command", "id"),
		b.line(t, web, "connect", 4, "src_ip", "2001:db8::7", "src_port", "5"))
	b.ingest(t, b.line(t, web, "connect", 2, "src_ip", "[::ffff:192.0.2.7]:99"), b.line(t, web, "connect", 9, "src_ip", "2001:DB8:0::7"))
	require.Equal(t, []string{"192.0.2.7 3 02 05 {mail-01,web-01} {ssh} {smtp} 2", "2001:db8::7 2 04 09 {web-01} {} {ssh} 1"}, list[string](t, b.conn,
		`SELECT concat_ws(' ', ip, event_count, to_char(first_seen, 'SS'), to_char(last_seen, 'SS'), deckies, interacted, scanned, decky_count) FROM attackers ORDER BY ip`))
	require.Len(t, b.payloads(t, "attacker.observed"), 2)
	require.Equal(t, 5, one[int](t, b.conn, "SELECT count(*) FROM events e JOIN attackers a ON a.id = e.attacker_id AND a.ip = e.attacker_ip"))
}

func TestIngest_WhatAnAttackerCanGrowIsBounded(t *testing.T) {
	t.Parallel()
	b := setupIngest(t)
	src := fleet("mail-01", "smtp")
	for range 3 {
		var lines []ingest.Extraction
		for range 200 {
			lines = append(lines, b.line(t, src, "rcpt_to", 5, "src", root, "value", fmt.Sprintf("<a@d%d.org>", b.n)))
		}
		b.ingest(t, lines...)
	}
	require.Equal(t, 256, one[int](t, b.conn, "SELECT cardinality(victim_domains) FROM attackers WHERE event_count = 600"))
}

func TestIngest_LinesOfNobodyAndOfTheMutator(t *testing.T) {
	t.Parallel()
	b := setupIngest(t)
	mutated := b.line(t, fleet("web-01", "mutator"), "session_closed", 1, session()...)
	require.Equal(t, "mutator", mutated.Event.App)
	require.Equal(t, 2, b.ingest(t, mutated, b.line(t, fleet("web-01", "ssh"), "connect", 1, "src_ip", "Unknown")).Stored)
	require.Zero(t, one[int](t, b.conn, "SELECT count(*) FROM attackers"))
	require.Zero(t, one[int](t, b.conn, "SELECT count(*) FROM sessions"))
	require.Equal(t, 1, one[int](t, b.conn, "SELECT count(*) FROM events WHERE attacker_ip = $1 AND attacker_id IS NULL", root))
}

func (b *ingestBundle) login(t testing.TB, src ingest.Source, ip, user, secret string, outcome ...string) ingest.Extraction {
	t.Helper()
	fields := []string{"src_ip", ip, "principal", user, "secret_printable", secret, "secret_b64", base64.StdEncoding.EncodeToString([]byte(secret))}
	if len(outcome) > 0 {
		fields = append(fields, "outcome", outcome[0])
	}
	return b.line(t, src, "auth_attempt", int(b.n%60), fields...)
}

func TestIngest_Reuse(t *testing.T) {
	t.Parallel()
	b := setupIngest(t)
	web, file, data := fleet("web-01", "ssh"), fleet("file-01", "ftp"), fleet("db-01", "ssh")
	found := func() []map[string]any { return b.payloads(t, "credential.reuse.detected") }
	row := func() string {
		return one[string](t, b.conn, `SELECT concat_ws(' ', attempt_count, target_count, cardinality(attacker_ids), attacker_ips, deckies, services, targets)
			FROM credential_reuse WHERE principal = 'root'`)
	}
	b.ingest(t, b.login(t, web, "192.0.2.1", "root", "pw", "failure"), b.login(t, web, "192.0.2.1", "admin", "pw"), b.login(t, data, "192.0.2.1", "root", ""))
	b.ingest(t, b.login(t, web, "192.0.2.2", "root", "pw"))
	require.Empty(t, found(), "one target is no reuse, whoever tries; another principal or an empty secret is another credential")
	_, err := b.conn.Exec(t.Context(), "DELETE FROM credential_reuse WHERE secret_b64 = ''")
	require.NoError(t, err)
	require.Equal(t, "2 1 2 {192.0.2.1,192.0.2.2} {web-01} {ssh} {web-01/ssh}", row())

	b.ingest(t, b.login(t, file, "192.0.2.2", "root", "pw"), b.login(t, file, "192.0.2.2", "root", "pw"), b.login(t, data, "192.0.2.3", "root", "pw"))
	require.Len(t, found(), 1, "once per batch")
	require.EqualValues(t, 3, found()[0]["target_count"])
	require.Equal(t, []any{"web-01", "file-01", "db-01"}, found()[0]["deckies"])
	require.Equal(t, []any{"ssh", "ftp"}, found()[0]["services"])
	require.Equal(t, []any{"192.0.2.1", "192.0.2.2", "192.0.2.3"}, found()[0]["attacker_ips"])
	require.Equal(t, "plaintext", found()[0]["secret_kind"])
	require.Equal(t, one[uuid.UUID](t, b.conn, "SELECT id FROM credential_reuse WHERE target_count = 3").String(), found()[0]["id"])
	require.Equal(t, "5 3 3 {192.0.2.1,192.0.2.2,192.0.2.3} {web-01,file-01,db-01} {ssh,ftp} {web-01/ssh,file-01/ftp,db-01/ssh}", row())

	b.ingest(t, b.login(t, file, "192.0.2.2", "root", "pw", "success"), b.login(t, web, "192.0.2.1", "root", "pw"))
	require.Len(t, found(), 1, "what was tried before is no news")
	require.Equal(t, "7 3 3 {192.0.2.1,192.0.2.2,192.0.2.3} {web-01,file-01,db-01} {ssh,ftp} {web-01/ssh,file-01/ftp,db-01/ssh}", row())
	b.ingest(t, b.login(t, file, "192.0.2.1", "root", "pw"))
	require.Len(t, found(), 1, "nor is a known attacker at a known target")
	b.ingest(t, b.login(t, web, "192.0.2.4", "root", "pw"))
	require.Len(t, found(), 2, "another attacker is")
	require.Equal(t, []string{"192.0.2.1 web-01 failure 2", "192.0.2.2 file-01 success 3"}, list[string](t, b.conn,
		"SELECT concat_ws(' ', attacker_ip, decky_key, outcome, attempt_count) FROM credentials WHERE attempt_count > 1 ORDER BY 1"))

	b.ingest(t, b.login(t, web, "192.0.2.9", "both", "at once"), b.login(t, file, "192.0.2.9", "both", "at once"))
	require.Len(t, found(), 3, "a finding may be one from its first batch on")
}

func TestIngest_ReuseIsBoundedAndFitsIntoAMessage(t *testing.T) {
	t.Parallel()
	b := setupIngest(t)
	var lines []ingest.Extraction
	for i := range 1200 {
		name := fmt.Sprintf("%s-%04d", strings.Repeat("d", 60), i)
		lines = append(lines, b.login(t, fleet(name, "ssh"), netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 14: byte(i >> 8), 15: byte(i)}).String(), "root", "hunter2"))
	}
	b.ingest(t, lines...)
	require.Equal(t, []int32{1000, 1000, 1000, 1000, 1200}, one[[]int32](t, b.conn,
		"SELECT ARRAY[cardinality(attacker_ids), cardinality(attacker_ips), cardinality(deckies), target_count, attempt_count] FROM credential_reuse"))
	found := b.payloads(t, "credential.reuse.detected")
	require.Len(t, found, 1)
	require.Equal(t, true, found[0]["truncated"])
	require.EqualValues(t, 1000, found[0]["target_count"])
	shown := len(found[0]["deckies"].([]any))
	require.Greater(t, shown, 300)
	require.Less(t, shown, 1000)
	require.Len(t, found[0]["attacker_ips"], shown)
	require.Len(t, found[0]["attacker_uuids"], shown)
	size, err := json.Marshal(found[0])
	require.NoError(t, err)
	require.Greater(t, len(size), bus.MaxBytes*9/10, "no more is cut than must be")

	b.ingest(t, b.login(t, fleet("last", "ssh"), "192.0.2.1", "root", "hunter2"))
	require.Len(t, b.payloads(t, "credential.reuse.detected"), 1, "what is full grows no more")
	require.Equal(t, 1201, one[int](t, b.conn, "SELECT attempt_count FROM credential_reuse"))
}

func TestIngest_SecretsStayWhereTheyBelong(t *testing.T) {
	t.Parallel()
	b := setupIngest(t)
	const secret = "zzsecretzz"
	var lines []ingest.Extraction
	for _, name := range []string{"web-01", "web-02"} {
		x := b.login(t, fleet(name, "http"), root, "root", secret)
		lines = append(lines, x, b.line(t, fleet(name, "http"), "auth", 5, "src_ip", root, "secret_b64", base64.StdEncoding.EncodeToString([]byte(secret)),
			"body", "user=root&password="+secret, "headers", `{"Authorization":"`+secret+`","User-Agent":"curl/8"}`, "path", "/login"))
	}
	b.ingest(t, lines...)
	require.Len(t, b.payloads(t, "credential.reuse.detected"), 2)
	forms := []string{secret, "secret_b64", base64.StdEncoding.EncodeToString([]byte(secret)), strings.ToLower(base64.StdEncoding.EncodeToString([]byte(secret)))}
	forms = append(forms, one[string](t, b.conn, "SELECT secret_sha256 FROM credentials LIMIT 1"))
	require.NotEmpty(t, list[string](t, b.conn, "SELECT raw FROM events WHERE raw LIKE '%"+secret+"%' AND document @@ '''login'''::tsquery"))
	for _, form := range forms {
		require.Zero(t, one[int](t, b.conn, "SELECT count(*) FROM outbox WHERE strpos(payload::text, $1) > 0", form))
		require.Zero(t, one[int](t, b.conn, "SELECT count(*) FROM events WHERE strpos(document::text, $1) > 0", strings.TrimRight(form, "=")))
	}
}

// No parser lets such text through; if one did, a line must not hold up all behind it.
func TestIngest_TextThatPostgresDoesNotKnow(t *testing.T) {
	t.Parallel()
	b := setupIngest(t)
	const bad = "a\x00b\xffc\\x00"
	src := fleet("web-01", "ssh")
	r := &ingest.Record{Time: second(1), App: "ssh", Type: bad, Boot: bad, Line: math.MaxUint64, Raw: bad, Msg: bad, Fields: ingest.Fields{
		{Key: "src_ip", Value: root},
		{Key: "sid", Value: sid},
		{Key: "x", Value: bad},
		{Key: "principal", Value: bad},
		{Key: "secret_b64", Value: hunter2},
		{Key: "secret_kind", Value: bad},
		{Key: "outcome", Value: bad},
		{Key: "secret_printable", Value: bad},
	}}
	r.Resolve()
	typed := *r
	typed.Type, typed.Fields = "command", ingest.Fields{
		{Key: "src_ip", Value: root}, {Key: "command", Value: bad}, {Key: "uid", Value: bad}, {Key: "user", Value: bad}, {Key: "pwd", Value: bad}, {Key: "src", Value: bad},
	}
	typed.Resolve()
	captured := typed
	captured.Type, captured.Fields = "file_captured", ingest.Fields{{Key: "src_ip", Value: root}, {Key: "stored_as", Value: stored}, {Key: "orig_path", Value: bad}}
	captured.Resolve()
	artifact := b.x.Extract(src, &captured)
	artifact.Bounties = nil // the payloads of bounties are JSON that the extractor made, and proven there
	b.ingest(t, b.x.Extract(src, r), b.x.Extract(src, &typed), artifact)
	const good = `a\x00b` + "\uFFFD" + `c\x00`
	require.Equal(t, 3, one[int](t, b.conn, "SELECT count(*) FROM events WHERE raw = $1 AND msg = $1 AND line = $2", good, int64(math.MaxInt64)))
	require.Equal(t, 1, one[int](t, b.conn, "SELECT count(*) FROM events WHERE fields->>'x' = $1 AND type = $1", good))
	require.Equal(t, 1, one[int](t, b.conn, "SELECT count(*) FROM commands WHERE text = $1 AND uid = $1 AND username = $1 AND directory = $1 AND src = $1", good))
	require.Equal(t, 1, one[int](t, b.conn, "SELECT count(*) FROM credentials WHERE principal = $1 AND secret_kind = $1 AND outcome = $1 AND secret_printable = $1", good))
	require.Equal(t, 1, one[int](t, b.conn, "SELECT count(*) FROM credential_reuse WHERE principal = $1 AND secret_kind = $1", good))
	require.Equal(t, 1, one[int](t, b.conn, "SELECT count(*) FROM artifacts WHERE orig_path = $1", good))
}

func TestIngest_AHugeBatch(t *testing.T) {
	t.Parallel()
	b := setupIngest(t)
	const lines = 30_000
	got, err := b.store.Ingest(t.Context(), newTraffic(3).batch(t, b.x, lines))
	require.NoError(t, err)
	require.Equal(t, lines, got.Stored)
	require.Equal(t, lines, one[int](t, b.conn, "SELECT count(*) FROM events"))
	require.Equal(t, lines, one[int](t, b.conn, "SELECT sum(event_count)::int FROM attackers"))
}
