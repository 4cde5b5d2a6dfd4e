package api_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/api"
	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/auth"
	"github.com/decnet/decnet/internal/ingest"
)

func (b *bundle) download(t *testing.T, as auth.Role, path string, accept ...string) reply {
	t.Helper()
	c := call{as: as, method: http.MethodGet, path: path}
	if len(accept) > 0 {
		c.headers = map[string]string{"Accept": accept[0]}
	}
	return b.must(t, http.StatusOK, c)
}

func ndjson(t *testing.T, body []byte) []map[string]any {
	t.Helper()
	items := []map[string]any{}
	d := json.NewDecoder(bytes.NewReader(body))
	for d.More() {
		var v map[string]any
		require.NoError(t, d.Decode(&v))
		items = append(items, v)
	}
	return items
}

func TestDownload_IsTheListInEveryForm(t *testing.T) {
	t.Parallel()
	b := evidence(t)
	session := b.list(t, auth.Operator, "/sessions")[0]["id"].(string)
	for _, path := range []string{
		"/events", "/events?service=ssh&search=wget", "/events?search=nothing", "/attackers", "/attackers?sort=active", "/sessions", "/commands",
		"/sessions/" + session + "/commands", "/bounties", "/credentials", "/credential-reuse", "/artifacts",
	} {
		join := "?"
		if strings.Contains(path, "?") {
			join = "&"
		}
		for _, role := range []auth.Role{auth.Viewer, auth.Operator} {
			items := b.list(t, role, path)
			lines := b.download(t, role, path+join+"format=ndjson")
			require.Equal(t, "application/x-ndjson", lines.header.Get("Content-Type"))
			require.Equal(t, items, ndjson(t, lines.body), path)

			sheet := b.download(t, role, path, "text/csv")
			require.Contains(t, sheet.header.Get("Content-Type"), "text/csv")
			require.Regexp(t, `^attachment; filename="decnet-[a-z-]+-\d{8}T\d{6}Z\.csv"$`, sheet.header.Get("Content-Disposition"))
			require.Equal(t, "nosniff", sheet.header.Get("X-Content-Type-Options"))
			rows, err := csv.NewReader(bytes.NewReader(sheet.body)).ReadAll()
			require.NoError(t, err)
			require.Len(t, rows, len(items)+1, path)
			for i, item := range items {
				require.Len(t, rows[0], len(item))
				for j, name := range rows[0] {
					if want := cellOf(t, item[name]); strings.HasPrefix(want, "{") {
						require.JSONEq(t, want, rows[i+1][j], "%s %s", path, name)
					} else {
						require.Equal(t, want, rows[i+1][j], "%s %s", path, name)
					}
				}
			}
		}
	}
	commands := string(b.download(t, auth.Viewer, "/commands?format=csv").body)
	require.Contains(t, commands, `"'=<script>`)
}

// cellOf is what a JSON value is in a sheet.
func cellOf(t *testing.T, v any) string {
	t.Helper()
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		v = strings.ReplaceAll(v, "\r\n", "\n") // the reader of sheets makes one of the two
		if v != "" && strings.Contains("=+-@\t\r", v[:1]) {
			return "'" + v
		}
		return v
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	require.NoError(t, enc.Encode(v))
	return strings.TrimSuffix(out.String(), "\n")
}

func TestDownload_WhichForm(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for accept, want := range map[string]string{
		"": "application/json", "*/*": "application/json", "application/json": "application/json", "text/html": "application/json",
		"text/csv": "text/csv; charset=utf-8; header=present", "application/x-ndjson": "application/x-ndjson",
		"text/html, application/x-ndjson;q=0.9, text/csv;q=0.1": "application/x-ndjson", "text/csv;q=0, */*": "application/json",
		"application/json, text/csv": "application/json", ";;;,\x01": "application/json",
	} {
		require.Equal(t, want, b.download(t, auth.Viewer, "/sessions", accept).header.Get("Content-Type"), accept)
	}
	require.Equal(t, "application/json", b.download(t, auth.Viewer, "/sessions?format=json", "text/csv").header.Get("Content-Type"))
	require.Equal(t, "application/json", b.download(t, auth.Viewer, "/deckies", "text/csv").header.Get("Content-Type"))
}

// connects fills the log with events that nobody is told apart by.
func (b *bundle) connects(t *testing.T, n int) {
	t.Helper()
	batch := db.IngestBatch{}
	for i := range n {
		batch.Extractions = append(batch.Extractions, line{
			src: source("web-01", "ssh"), at: time.Duration(i/3) * time.Second, kind: "connect", from: intruder, fields: []string{"text", fmt.Sprint("n", i)},
		}.extract(i+1))
	}
	_, err := b.store.Ingest(t.Context(), batch)
	require.NoError(t, err)
}

func TestDownload_PagesInsideAndEndsAtMaxRows(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.connects(t, 1203)
	all := ndjson(t, b.download(t, auth.Operator, "/events?format=ndjson").body)
	require.Len(t, all, 1203)
	require.Equal(t, b.walk(t, "/events", 500), all)
	require.Equal(t, all[:700], ndjson(t, b.download(t, auth.Operator, "/events?format=ndjson&max_rows=700").body))
	require.Equal(t, all[:500], ndjson(t, b.download(t, auth.Operator, "/events?format=ndjson&max_rows=500").body))
	page := b.must(t, http.StatusOK, call{as: auth.Operator, method: http.MethodGet, path: "/events?limit=3"}).json(t)
	rest := ndjson(t, b.download(t, auth.Operator, "/events?format=ndjson&cursor="+page["next_cursor"].(string)).body)
	require.Equal(t, all[3:], rest)
}

// breakRow makes reading an event fail that is not on the first page.
func (b *bundle) breakRow(t *testing.T) {
	t.Helper()
	b.exec(t, `UPDATE events SET fields = '[1]' WHERE id = (SELECT id FROM events ORDER BY time, id LIMIT 1)`)
}

func TestDownload_TellsThatItBroke(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.connects(t, 700)
	b.breakRow(t)
	items := ndjson(t, b.download(t, auth.Operator, "/events?format=ndjson").body)
	require.Len(t, items, 501)
	problem := items[500]["error"].(map[string]any)
	require.Equal(t, "urn:decnet:fault:internal", problem["type"])
	require.Contains(t, b.log.String(), "request failed")

	server := httptest.NewServer(b.engine)
	defer server.Close()
	r := b.over(t, server, "/events?format=csv")
	defer r.Body.Close()
	require.Equal(t, http.StatusOK, r.StatusCode)
	_, err := io.ReadAll(r.Body)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)

	// What fails before anything was sent is a problem like others.
	answer := b.do(t, call{as: auth.Operator, method: http.MethodGet, path: "/events?format=csv&to=2026-05-08T12:00:01Z"})
	require.Equal(t, http.StatusInternalServerError, answer.status)
	require.Equal(t, "internal", answer.code(t))
}

func (b *bundle) over(t *testing.T, server *httptest.Server, path string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/api/v1"+path, nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+b.tokenOf(t, b.users[auth.Operator]))
	r, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	return r
}

func TestDownload_EndsWithItsClientAndTheProcess(t *testing.T) {
	t.Parallel()
	stopping := make(chan struct{})
	b := setup(t, func(d *api.Deps, _ *api.Options) { d.Stopping = stopping })
	b.connects(t, 1500)
	b.exec(t, `UPDATE events SET raw = repeat('x', 16000), msg = repeat('y', 16000)`) // more than sockets hold
	server := httptest.NewServer(b.engine)
	defer server.Close()

	var open []*http.Response
	for range 4 {
		open = append(open, b.over(t, server, "/events?format=ndjson"))
	}
	r := b.do(t, call{as: auth.Operator, method: http.MethodGet, path: "/events?format=csv"})
	require.Equal(t, http.StatusTooManyRequests, r.status)
	require.Equal(t, "downloads_busy", r.code(t))
	require.NotEmpty(t, r.header.Get("Retry-After"))
	require.Equal(t, http.StatusOK, b.do(t, call{as: auth.Operator, method: http.MethodGet, path: "/events"}).status)

	for _, r := range open[:3] {
		_ = r.Body.Close()
	}
	require.Eventually(t, func() bool { return b.readers(t) == 1 }, 20*time.Second, 20*time.Millisecond)
	close(stopping)
	scanner := bufio.NewScanner(open[3].Body)
	scanner.Buffer(nil, 1<<20)
	last := ""
	for scanner.Scan() {
		last = scanner.Text()
	}
	require.Contains(t, last, `{"error":`)
	require.Contains(t, last, "request_timeout")
	_ = open[3].Body.Close()
	require.Eventually(t, func() bool { return b.readers(t) == 0 }, 20*time.Second, 20*time.Millisecond)
	http.DefaultClient.CloseIdleConnections()
}

// readers counts transactions that are open for downloads.
func (b *bundle) readers(t *testing.T) (n int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), b.url)
	require.NoError(t, err)
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	require.NoError(t, conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity
		WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL`).Scan(&n))
	return n
}

func TestCast(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	b := setup(t, func(d *api.Deps, _ *api.Options) { d.ArtifactsRoot = root })
	dir := filepath.Join(root, "web-01", "ssh", "transcripts")
	require.NoError(t, os.MkdirAll(dir, 0o750))
	shard := `{"sid":"` + sidA + `","hdr":{"version":2,"width":90,"height":30,"timestamp":1778241600,"env":{"SHELL":"/bin/bash","TERM":"xterm"}}}
{"sid":"` + sidA + `","t":0.5,"ch":"o","d":"$ caf\u00c3"}
{"sid":"` + sidA + `","t":0.6,"ch":"o","d":"\u00a9<b>"}
{"sid":"` + sidA + `","trunc":true}
`
	require.NoError(t, os.WriteFile(filepath.Join(dir, "sessions-2026-05-08.jsonl"), []byte(shard), 0o600))
	opened := func(src ingest.Source, sid string) line {
		return line{src: src, kind: "session_opened", from: intruder, fields: []string{"sid", sid}}
	}
	lost := strings.Replace(sidA, "5", "6", 1)
	b.ingest(t, opened(source("web-01", "ssh"), sidA), opened(source("web-01", "ssh"), lost), opened(ingest.ImportSource("old-pot", "ssh"), sidA))
	ids := map[string]string{}
	for _, s := range b.list(t, auth.Viewer, "/sessions") {
		ids[s["decky_key"].(string)+s["session"].(string)] = s["id"].(string)
	}
	path := "/sessions/" + ids["web-01"+sidA] + "/cast"
	r := b.must(t, http.StatusOK, call{as: auth.Operator, method: http.MethodGet, path: path})
	require.Equal(t, "application/x-asciicast", r.header.Get("Content-Type"))
	require.Equal(t, `attachment; filename="`+ids["web-01"+sidA]+`.cast"`, r.header.Get("Content-Disposition"))
	require.Equal(t, `{"version":2,"width":90,"height":30,"timestamp":1778241600,"env":{"SHELL":"/bin/bash","TERM":"xterm"}}
[0.500000, "o", "$ café"]
[0.600000, "o", "<b>"]
[0.600000, "m", "recording was cut here"]
`, string(r.body))
	for _, id := range []string{ids["web-01"+lost], ids["old-pot"+sidA]} {
		r := b.do(t, call{as: auth.Operator, method: http.MethodGet, path: "/sessions/" + id + "/cast"})
		require.Equal(t, "recording_not_found", r.code(t))
	}
	b.exec(t, `UPDATE sessions SET recording_removed_at = now()`)
	require.Equal(t, "recording_not_found", b.do(t, call{as: auth.Operator, method: http.MethodGet, path: path}).code(t))
}

func TestContent(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	b := setup(t, func(d *api.Deps, _ *api.Options) { d.ArtifactsRoot = root })
	dir := filepath.Join(root, "web-01", "ssh")
	require.NoError(t, os.MkdirAll(dir, 0o750))
	const name, link = "2026-05-08T12:00:05Z_0123456789ab_x.html", "2026-05-08T12:00:05Z_0123456789ab_link"
	body := "<html><script>alert(1)</script>\x00\xff"
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(body), 0o600))
	require.NoError(t, os.Symlink(name, filepath.Join(dir, link)))
	captured := func(stored string) line {
		return line{src: source("web-01", "ssh"), kind: "file_captured", from: intruder, fields: []string{"stored_as", stored, "size", "3"}}
	}
	b.ingest(t, captured(name), captured(link), captured("2026-05-08T12:00:05Z_0123456789ab_gone"))
	ids := map[string]string{}
	for _, a := range b.list(t, auth.Viewer, "/artifacts") {
		ids[a["stored_as"].(string)] = a["id"].(string)
	}
	content := call{as: auth.Operator, method: http.MethodGet, path: "/artifacts/" + ids[name] + "/content"}
	r := b.must(t, http.StatusOK, content)
	require.Equal(t, body, string(r.body))
	require.Equal(t, "application/octet-stream", r.header.Get("Content-Type"))
	require.Equal(t, `attachment; filename="`+name+`"`, r.header.Get("Content-Disposition"))
	require.Equal(t, "nosniff", r.header.Get("X-Content-Type-Options"))
	require.Contains(t, r.header.Get("Content-Security-Policy"), "sandbox")
	for stored, id := range ids {
		if stored != name {
			r := b.do(t, call{as: auth.Operator, method: http.MethodGet, path: "/artifacts/" + id + "/content"})
			require.Equal(t, "content_not_found", r.code(t), stored)
		}
	}
	b.exec(t, `UPDATE artifacts SET removed_at = now()`)
	require.Equal(t, "content_not_found", b.do(t, content).code(t))
	require.Equal(t, false, b.list(t, auth.Viewer, "/artifacts")[0]["available"])
}
