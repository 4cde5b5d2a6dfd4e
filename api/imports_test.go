package api_test

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/api"
	"github.com/decnet/decnet/internal/auth"
	"github.com/decnet/decnet/internal/imports"
)

const octets = "application/octet-stream"

// uploadOf is a request to import content as a Cowrie log.
func uploadOf(content string) call {
	return call{
		as: auth.Operator, method: http.MethodPost, path: "/imports?format=cowrie&name=cowrie.json", body: content,
		headers: map[string]string{"Content-Type": octets},
	}
}

func (b *bundle) importOf(t *testing.T, id string) imports.Import {
	t.Helper()
	im, err := b.store.Import(t.Context(), uuid.MustParse(id))
	require.NoError(t, err)
	return im
}

func TestImports_UploadIsKeptAndStarted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	content := strings.Repeat("a line that is no event\n", 40_000)
	r := b.do(t, uploadOf(content))
	require.Equal(t, http.StatusAccepted, r.status, "%s", r.body)
	var body api.ImportBody
	r.into(t, &body)
	require.Equal(t, "/api/v1/imports/"+body.ID, r.header.Get("Location"))
	require.Equal(t, []string{"cowrie", "cowrie.json", "operator", "running"}, []string{body.Format, body.Name, body.Actor, body.State})
	require.EqualValues(t, len(content), body.BytesTotal)
	require.NotNil(t, body.StartedAt)
	require.Equal(t, map[string]int64{}, body.Lines.Reasons)
	require.Contains(t, *body.WorkflowURL, "import")
	b.lane.set(func(l *lane) { require.Equal(t, []uuid.UUID{uuid.MustParse(body.ID)}, l.started) })
	got, err := io.ReadAll(b.store.ImportInput(t.Context(), b.importOf(t, body.ID)))
	require.NoError(t, err)
	require.Equal(t, content, string(got))

	var again api.ImportBody
	b.do(t, call{as: auth.Viewer, method: http.MethodGet, path: "/imports/" + body.ID}).into(t, &again)
	require.Equal(t, body, again)
	r = b.do(t, call{as: auth.Viewer, method: http.MethodGet, path: "/imports/" + uuid.NewString()})
	require.Equal(t, "import_not_found", r.code(t))
}

func TestImports_RefusedBeforeAnythingIsStored(t *testing.T) {
	t.Parallel()
	b := setup(t, func(_ *api.Deps, o *api.Options) { o.ImportMaxBytes = 1000 })
	for _, c := range []struct {
		name   string
		change func(*call)
		status int
		code   string
	}{
		{"another media type", func(c *call) { c.headers["Content-Type"] = "application/json" }, http.StatusUnsupportedMediaType, "unsupported_media_type"},
		{"no media type", func(c *call) { c.headers["Content-Type"] = "" }, http.StatusUnsupportedMediaType, "unsupported_media_type"},
		{"no format", func(c *call) { c.path = "/imports" }, http.StatusUnprocessableEntity, "validation_failed"},
		{"another format", func(c *call) { c.path = "/imports?format=dionaea" }, http.StatusUnprocessableEntity, "validation_failed"},
		{"too long", func(c *call) { c.body = strings.Repeat("x", 1001) }, http.StatusRequestEntityTooLarge, "body_too_large"},
		{"a viewer", func(c *call) { c.as = auth.Viewer }, http.StatusForbidden, "insufficient_permissions"},
	} {
		request := uploadOf("x")
		c.change(&request)
		r := b.do(t, request)
		require.Equal(t, c.status, r.status, "%s: %s", c.name, r.body)
		require.Equal(t, c.code, r.code(t), c.name)
	}
	list, err := b.store.OpenImports(t.Context(), 10)
	require.NoError(t, err)
	require.Empty(t, list)
	require.Equal(t, http.StatusAccepted, b.do(t, uploadOf(strings.Repeat("x", 1000))).status)
}

func TestImports_NamesAreMadeHarmless(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for name, want := range map[string]string{
		"":                             "upload",
		"cowrie.json.2026-01-01":       "cowrie.json.2026-01-01",
		"événement.json":               "événement.json",
		"a\x1b[31m\nb\x00\u202e\xff":   "a?[31m?b???",
		strings.Repeat("é", 300):       strings.Repeat("é", 127) + "?",
		"../../etc/passwd <script>&x=": "../../etc/passwd <script>&x=",
	} {
		request := uploadOf("x")
		request.path = "/imports?format=opencanary&name=" + url.QueryEscape(name)
		r := b.do(t, request)
		require.Equal(t, http.StatusAccepted, r.status, "%q: %s", name, r.body)
		require.Equal(t, want, r.json(t)["name"])
	}
}

func TestImports_ListIsPagedNewestFirst(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var want []string
	for range 5 {
		want = append([]string{b.do(t, uploadOf("x")).json(t)["id"].(string)}, want...)
	}
	var got []string
	for cursor := ""; ; {
		var page api.Page[api.ImportBody]
		b.do(t, call{as: auth.Viewer, method: http.MethodGet, path: "/imports?limit=2&cursor=" + cursor}).into(t, &page)
		for _, im := range page.Items {
			got = append(got, im.ID)
		}
		if page.NextCursor == nil {
			break
		}
		cursor = *page.NextCursor
	}
	require.Equal(t, want, got)
	for _, key := range []string{"x", "1/x", "/" + uuid.NewString(), "999999999999999999/" + uuid.NewString(), "-99999999999999999/" + uuid.NewString()} {
		r := b.do(t, call{as: auth.Viewer, method: http.MethodGet, path: "/imports?cursor=" + base64.RawURLEncoding.EncodeToString([]byte(key))})
		require.Equal(t, "cursor_invalid", r.code(t), key)
	}
}

func TestImports_Cancel(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.do(t, uploadOf("x")).json(t)["id"].(string)
	cancel := call{as: auth.Operator, method: http.MethodPost, path: "/imports/" + id + "/cancel"}
	for range 2 { // asking again is harmless
		r := b.do(t, cancel)
		require.Equal(t, http.StatusAccepted, r.status)
		require.Equal(t, "cancelled", r.json(t)["state"])
		require.Equal(t, "/api/v1/imports/"+id, r.header.Get("Location"))
	}
	failed := b.do(t, uploadOf("x")).json(t)["id"].(string)
	_, err := b.store.EndImport(t.Context(), uuid.MustParse(failed), imports.Failed, imports.Interrupted())
	require.NoError(t, err)
	cancel.path = "/imports/" + failed + "/cancel"
	r := b.do(t, cancel)
	require.Equal(t, http.StatusConflict, r.status)
	require.Equal(t, "import_final", r.code(t))
	cancel.path = "/imports/" + uuid.NewString() + "/cancel"
	require.Equal(t, "import_not_found", b.do(t, cancel).code(t))
	body := b.do(t, call{as: auth.Viewer, method: http.MethodGet, path: "/imports/" + failed}).json(t)
	require.Equal(t, "upload_interrupted", body["fault"].(map[string]any)["code"])
}

// serve offers the API of b over TCP.
func (b *bundle) serve(t *testing.T) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(b.engine)
	t.Cleanup(server.Close)
	return server
}

// sending returns a request that asks server to import body.
func (b *bundle) sending(t *testing.T, server *httptest.Server, body io.Reader) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/api/v1/imports?format=cowrie", body)
	require.NoError(t, err)
	req.Header.Set("Content-Type", octets)
	req.Header.Set("Authorization", "Bearer "+b.tokenOf(t, b.users[auth.Operator]))
	return req
}

// ended waits until the one import has ended.
func (b *bundle) ended(t *testing.T) imports.Import {
	t.Helper()
	var last imports.Import
	require.Eventually(t, func() bool {
		id := b.do(t, call{as: auth.Viewer, method: http.MethodGet, path: "/imports"}).json(t)["items"].([]any)
		if len(id) != 1 {
			return false
		}
		last = b.importOf(t, id[0].(map[string]any)["id"].(string))
		return !last.State.Open()
	}, time.Minute, 20*time.Millisecond)
	return last
}

func TestImports_ClientThatVanishes(t *testing.T) {
	t.Parallel()
	for _, head := range []string{"Content-Length: 1000000", "Transfer-Encoding: chunked"} {
		b := setup(t)
		server := b.serve(t)
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
		require.NoError(t, err)
		_, err = fmt.Fprintf(conn, "POST /api/v1/imports?format=cowrie HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nAuthorization: Bearer %s\r\n%s\r\n\r\n3\r\nabc\r\n",
			octets, b.tokenOf(t, b.users[auth.Operator]), head)
		require.NoError(t, err)
		require.Eventually(t, func() bool {
			list, err := b.store.OpenImports(t.Context(), 10)
			return err == nil && len(list) == 1
		}, time.Minute, 10*time.Millisecond)
		require.NoError(t, conn.Close())
		im := b.ended(t)
		require.Equal(t, imports.Failed, im.State)
		require.Equal(t, "upload_interrupted", im.Fault.Code)
		b.lane.set(func(l *lane) { require.Empty(t, l.started) })
	}
}

func TestImports_BodyOfUnknownLengthIsBounded(t *testing.T) {
	t.Parallel()
	b := setup(t, func(_ *api.Deps, o *api.Options) { o.ImportMaxBytes = 1 << 20 })
	server := b.serve(t)
	res, err := server.Client().Do(b.sending(t, server, io.LimitReader(endless{}, 1<<30)))
	if err == nil { // else the server hung up while the client was still sending
		defer func() { _ = res.Body.Close() }()
		require.Equal(t, http.StatusRequestEntityTooLarge, res.StatusCode)
	}
	im := b.ended(t)
	require.Equal(t, imports.Failed, im.State)
	require.Equal(t, "body_too_large", im.Fault.Code)
	require.LessOrEqual(t, im.BytesTotal, int64(1<<20))
}

func TestImports_CancelledWhileUploading(t *testing.T) {
	t.Parallel()
	b := setup(t)
	server := b.serve(t)
	r, w := io.Pipe()
	answers, req := make(chan int, 1), b.sending(t, server, r)
	go func() {
		defer close(answers)
		res, err := server.Client().Do(req)
		if err == nil {
			answers <- res.StatusCode
			_ = res.Body.Close()
		}
		_ = r.Close()
	}()
	go func() { _, _ = io.Copy(w, endless{}) }()
	var id uuid.UUID
	require.Eventually(t, func() bool {
		list, err := b.store.OpenImports(t.Context(), 10)
		if err != nil || len(list) != 1 || list[0].BytesTotal == 0 {
			return false
		}
		id = list[0].ID
		return true
	}, time.Minute, 10*time.Millisecond)
	cancel := call{as: auth.Operator, method: http.MethodPost, path: "/imports/" + id.String() + "/cancel"}
	require.Equal(t, http.StatusAccepted, b.do(t, cancel).status)
	if status, ok := <-answers; ok {
		require.Equal(t, http.StatusConflict, status)
	}
	require.Equal(t, imports.Cancelled, b.ended(t).State)
}

// endless is a log without an end.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = "{}\n"[i%3]
	}
	return len(p), nil
}

// TestImports_UploadInBoundedMemory is not parallel: it measures the process.
func TestImports_UploadInBoundedMemory(t *testing.T) {
	b := setup(t)
	server := b.serve(t)
	const size, limit = 200 << 20, 32 << 20
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	res, err := server.Client().Do(b.sending(t, server, io.LimitReader(endless{}, size)))
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	require.Equal(t, http.StatusAccepted, res.StatusCode)
	runtime.ReadMemStats(&after)
	require.Less(t, int64(after.HeapSys)-int64(before.HeapSys), int64(limit))
}

func TestImports_EarlyRefusalReachesAClientThatWaits(t *testing.T) {
	t.Parallel()
	b := setup(t)
	server := b.serve(t)
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	_, err = fmt.Fprintf(conn, "POST /api/v1/imports?format=cowrie HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", octets)
	require.NoError(t, err)
	line, err := bufio.NewReader(conn).ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, "401", "not 100: nothing of the log is sent without a right to")
}
