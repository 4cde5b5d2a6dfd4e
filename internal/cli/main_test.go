package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/decnet/decnet/internal/cli"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	opID  = "0190b6c1-0000-7000-8000-000000000001"
	token = "token-1"
)

// request is what the API saw of a call.
type request struct {
	method, uri, key, prefer, auth, body, accept string
}

// fakeAPI answers from a table of handlers and records the calls.
type fakeAPI struct {
	t        *testing.T
	server   *httptest.Server
	mu       sync.Mutex
	handlers map[string]http.HandlerFunc
	calls    []request
}

func newAPI(t *testing.T) *fakeAPI {
	t.Helper()
	f := &fakeAPI{t: t, handlers: map[string]http.HandlerFunc{}}
	f.server = httptest.NewServer(f)
	t.Cleanup(f.server.Close)
	return f
}

func (f *fakeAPI) url() string { return f.server.URL + "/api/v1" }

// on registers a handler for "METHOD /path" below /api/v1.
func (f *fakeAPI) on(route string, h http.HandlerFunc) { f.handlers[route] = h }

// answer registers a fixed answer.
func (f *fakeAPI) answer(route string, status int, body string) {
	f.on(route, func(w http.ResponseWriter, _ *http.Request) { write(w, status, body) })
}

func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	uri := strings.TrimPrefix(r.URL.RequestURI(), "/api/v1")
	f.mu.Lock()
	f.calls = append(f.calls, request{r.Method, uri, r.Header.Get("Idempotency-Key"), r.Header.Get("Prefer"), r.Header.Get("Authorization"), string(body), r.Header.Get("Accept")})
	h := f.handlers[r.Method+" "+strings.TrimPrefix(r.URL.EscapedPath(), "/api/v1")]
	f.mu.Unlock()
	if h == nil {
		write(w, http.StatusNotFound, problem("not_found", 404, "there is no "+r.Method+" "+uri))
		return
	}
	h(w, r)
}

func (f *fakeAPI) seen(method string) []request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(f.calls), func(r request) bool { return r.method != method })
}

// mutation makes route an operation that goes through frames, one for each look, and then has the final answer.
func (f *fakeAPI) mutation(route string, frames []string, status int, body string) {
	looks := 0
	f.on("GET /operations/"+opID, func(w http.ResponseWriter, _ *http.Request) {
		frame := frames[min(looks, len(frames)-1)]
		looks++
		write(w, http.StatusOK, frame)
	})
	f.on(route, func(w http.ResponseWriter, _ *http.Request) {
		if looks < len(frames) {
			w.Header().Set("Location", "/api/v1/operations/"+opID)
			write(w, http.StatusAccepted, `{"operation_id":"`+opID+`","state":"queued"}`)
			return
		}
		w.Header().Set("Decnet-Operation", opID)
		write(w, status, body)
	})
}

func write(w http.ResponseWriter, status int, body string) {
	kind := "application/json"
	if status >= 400 {
		kind = "application/problem+json"
	}
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

func problem(code string, status int, detail string, fields ...map[string]string) string {
	b, _ := json.Marshal(map[string]any{
		"type": "urn:decnet:fault:" + code, "title": http.StatusText(status), "status": status,
		"detail": detail, "request_id": "req-1", "errors": fields,
	})
	return string(b)
}

// op is one look at the operation; steps are "name state".
func op(state string, steps ...string) string {
	list := make([]map[string]any, len(steps))
	for i, s := range steps {
		name, stepState, _ := strings.Cut(s, " ")
		list[i] = map[string]any{
			"name": name, "state": stepState, "attempt": 1, "started_at": "2026-01-02T03:04:05Z",
			"detail": "about " + name,
		}
		if stepState != "running" {
			list[i]["ended_at"] = "2026-01-02T03:04:06.5Z"
		}
	}
	o := map[string]any{
		"id": opID, "kind": "add_service", "scope": "fleet", "decky": "web-01", "service": "ssh", "actor": "admin",
		"state": state, "steps": list, "created_at": "2026-01-02T03:04:05Z", "revision_before": 1, "revision_after": 2,
	}
	if state == "failed" {
		o["fault"] = map[string]any{
			"kind": "OperationFailed", "code": "port_in_use", "message": "port 22 is taken",
			"errors": []map[string]any{{"location": "body.name", "message": "ssh holds it"}},
		}
	}
	b, _ := json.Marshal(o)
	return string(b)
}

// bundle is one person at a machine.
type bundle struct {
	t         *testing.T
	ctx       context.Context
	stdin     string
	passwords []string
	env       []string
	terminals string // of "in", "out", "err"
	dir       string
	written   func(string) // is told of every piece of Stdout
}

// told tells of what is written.
type told struct {
	bytes.Buffer
	written func(string)
}

func (w *told) Write(p []byte) (int, error) {
	if w.written != nil {
		w.written(string(p))
	}
	return w.Buffer.Write(p)
}

func (w *told) WriteString(s string) (int, error) { return w.Write([]byte(s)) }

func setup(t *testing.T, api *fakeAPI) *bundle {
	t.Helper()
	b := &bundle{t: t, ctx: t.Context(), dir: t.TempDir()}
	b.env = []string{"XDG_CONFIG_HOME=" + b.dir, "DECNET_DATA_DIR=" + filepath.Join(b.dir, "data")}
	if api != nil {
		b.env = append(b.env, "DECNET_API_URL="+api.url(), "DECNET_TOKEN="+token)
	}
	return b
}

// run executes one command line and returns what it printed.
func (b *bundle) run(args ...string) (stdout, stderr string, err error) {
	b.t.Helper()
	out := told{written: b.written}
	var errOut bytes.Buffer
	stdin := strings.NewReader(b.stdin)
	passwords := b.passwords
	env := cli.Env{
		Stdin: stdin, Stdout: &out, Stderr: &errOut, Environ: b.env,
		IsTerminal: func(stream any) bool {
			return stream == io.Reader(stdin) && strings.Contains(b.terminals, "in") ||
				stream == io.Writer(&out) && strings.Contains(b.terminals, "out") ||
				stream == io.Writer(&errOut) && strings.Contains(b.terminals, "err")
		},
		ReadPassword: func() (string, error) {
			if len(passwords) == 0 {
				return "", io.EOF
			}
			p := passwords[0]
			passwords = passwords[1:]
			return p, nil
		},
		Width: func(any) int { return 100 },
	}
	root := &cobra.Command{Use: "decnet", SilenceErrors: true, SilenceUsage: true}
	root.SetOut(&out)
	root.SetErr(&errOut)
	root.AddCommand(cli.Commands(env)...)
	cli.UsageErrors(root)
	root.SetArgs(args)
	err = root.ExecuteContext(b.ctx)
	return out.String(), errOut.String(), err
}

func (b *bundle) credentialsFile() string {
	return filepath.Join(b.dir, "decnet", "credentials.json")
}

func (b *bundle) writeFile(name, content string) string {
	b.t.Helper()
	path := filepath.Join(b.dir, name)
	require.NoError(b.t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(b.t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// requireVerbatim compares bytes: JSON that means the same is not enough.
func requireVerbatim(t *testing.T, want, got string) {
	t.Helper()
	require.Equal(t, want, got, "want %q, got %q", want, got)
}
