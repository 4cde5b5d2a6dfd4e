package api_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/api"
	"github.com/decnet/decnet/internal/auth"
	"github.com/decnet/decnet/internal/fault"
)

func TestProblem_EveryKindHasAStatus(t *testing.T) {
	t.Parallel()
	want := map[fault.Kind]int{
		fault.NotFound: 404, fault.Conflict: 409, fault.Invalid: 400, fault.Unprocessable: 422, fault.Unauthorized: 401,
		fault.Forbidden: 403, fault.TooLarge: 413, fault.UnsupportedMedia: 415, fault.RateLimited: 429,
		fault.OperationFailed: 502, fault.Unavailable: 503, fault.Internal: 500,
	}
	for _, kind := range fault.Kinds() {
		status, ok := api.StatusOf(kind)
		require.True(t, ok, "kind %s has no status", kind)
		require.Equal(t, want[kind], status, "kind %s", kind)
	}
}

func TestProblem_CauseStaysInside(t *testing.T) {
	t.Parallel()
	p := api.ProblemFor(t.Context(), fmt.Errorf("query: %w", errors.New("password=hunter2")))
	require.Equal(t, 500, p.Status)
	require.Equal(t, "internal error", p.Detail)
	wrapped := api.ProblemFor(t.Context(), fault.New(fault.Conflict, "c", "safe").Wrap(errors.New("hunter2")))
	require.Equal(t, "safe", wrapped.Detail)
	require.Equal(t, 503, api.ProblemFor(t.Context(), context.DeadlineExceeded).Status)
}

func TestProblem_OutsideOfOperations(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.engine.GET("/boom", func(*gin.Context) { panic("secret cause") })
	for _, c := range []struct {
		method, path string
		status       int
		code         string
	}{
		{http.MethodGet, "/nowhere", 404, "route_not_found"},
		{http.MethodGet, "/api/v1/nowhere", 404, "route_not_found"},
		{http.MethodGet, "/api/v1/deckies/", 404, "route_not_found"},
		{http.MethodGet, "/api/v2/deckies", 404, "route_not_found"},
		{http.MethodGet, "/api/v1/deckies/..%2f..%2fetc%2fpasswd", 404, "route_not_found"},
		{http.MethodPatch, "/api/v1/deckies", 405, "method_not_allowed"},
		{"BREW", "/api/v1/deckies", 405, "method_not_allowed"},
		{http.MethodGet, "/boom", 500, "internal"},
	} {
		r := b.request(t, c.path, call{as: auth.Admin, method: c.method})
		require.Equal(t, c.status, r.status, c.path)
		require.Equal(t, c.code, r.code(t), c.path)
		require.NotContains(t, string(r.body), "secret cause")
		require.Equal(t, "nosniff", r.header.Get("X-Content-Type-Options"))
	}
	require.Contains(t, b.log.String(), "secret cause", "the log knows")
	require.NotContains(t, b.log.String(), "etc/passwd", "paths are the client's text")
}

// Over a real connection: the declared and the undeclared body that is too large, and the wrong media type.
func TestProblem_BodyLimits(t *testing.T) {
	t.Parallel()
	b := setup(t)
	server := httptest.NewServer(b.engine)
	t.Cleanup(server.Close)
	send := func(body string, chunked bool, contentType string) *http.Response {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/api/v1/deckies", strings.NewReader(body))
		require.NoError(t, err)
		if chunked {
			req.ContentLength = -1
			req.Body = struct {
				*bufio.Reader
				closer
			}{Reader: bufio.NewReader(strings.NewReader(body))}
		}
		if contentType != "" {
			req.Header.Set("Content-Type", contentType)
		}
		req.Header.Set("Authorization", "Bearer "+b.tokenOf(t, b.users[auth.Admin]))
		res, err := server.Client().Do(req)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Equal(t, "application/problem+json", res.Header.Get("Content-Type"))
		return res
	}
	large := `{"name":"` + strings.Repeat("a", 2<<20) + `"}`
	require.Equal(t, 413, send(large, false, "application/json").StatusCode)
	require.Equal(t, 413, send(large, true, "application/json").StatusCode)
	for _, contentType := range []string{"", "text/plain", "application/json; charset=latin1", "application/x-www-form-urlencoded", "application/jsonx"} {
		require.Equal(t, 415, send(`{}`, false, contentType).StatusCode, contentType)
	}
	require.Equal(t, 422, send(`{}`, false, "application/json; charset=UTF-8").StatusCode)
	require.Equal(t, 422, send(`{}`, true, "Application/JSON").StatusCode)
	require.Equal(t, 400, send(``, false, "application/json").StatusCode)
	require.Empty(t, b.operations(t))
}

// The server's read timeout is for requests that arrive slowly, not for answers that take long.
func TestMutation_WaitsLongerThanTheReadTimeout(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.createDecky(t, "web-01", "ssh")
	server := httptest.NewUnstartedServer(b.engine)
	server.Config.ReadTimeout = 200 * time.Millisecond
	server.Start()
	t.Cleanup(server.Close)
	hold := make(chan struct{})
	b.lane.set(func(l *lane) { l.hold = hold })
	for _, c := range []struct{ method, path, body string }{
		{http.MethodDelete, "/deckies/web-01/services/ssh", ""},
		{http.MethodPost, "/deckies", `{"name":"web-02"}`},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, server.URL+"/api/v1"+c.path, strings.NewReader(c.body))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Prefer", "wait=1")
		req.Header.Set("Authorization", "Bearer "+b.tokenOf(t, b.users[auth.Admin]))
		res, err := server.Client().Do(req)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Equal(t, http.StatusAccepted, res.StatusCode, c.method)
	}
	close(hold)
}

type closer struct{}

func (closer) Close() error { return nil }

func TestProblem_PostgresAway(t *testing.T) {
	t.Parallel()
	p := newProxy(t, databaseURL(t))
	b := setupAt(t, p.url)
	token := b.tokenOf(t, b.users[auth.Admin])
	p.cut()
	for _, c := range []call{
		{method: http.MethodGet, path: "/deckies", token: token},
		{method: http.MethodPost, path: "/deckies", token: token, body: object{"name": "web-01"}},
		{method: http.MethodPost, path: "/auth/login", body: object{"username": "admin", "password": password}},
	} {
		r := b.do(t, c)
		require.Equal(t, http.StatusServiceUnavailable, r.status, "%s %s", c.path, r.body)
		require.Equal(t, "database_unavailable", r.code(t))
	}
}

// proxy stands between the API and Postgres and can be cut.
type proxy struct {
	url      string
	cancel   context.CancelFunc
	listener net.Listener
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	config, err := pgx.ParseConfig(target)
	require.NoError(t, err)
	network, address := pgNetwork(config)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	p := &proxy{cancel: cancel, listener: listener}
	t.Cleanup(p.cut)
	u := url.URL{Scheme: "postgres", Host: listener.Addr().String(), Path: "/" + config.Database, RawQuery: "sslmode=disable"}
	u.User = url.UserPassword(config.User, config.Password)
	p.url = u.String()
	go func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			out, err := (&net.Dialer{}).DialContext(ctx, network, address)
			if err != nil {
				_ = in.Close()
				continue
			}
			context.AfterFunc(ctx, func() { _ = in.Close(); _ = out.Close() })
			go func() { _, _ = bufio.NewReader(in).WriteTo(out); _ = out.Close() }()
			go func() { _, _ = bufio.NewReader(out).WriteTo(in); _ = in.Close() }()
		}
	}()
	return p
}

func pgNetwork(config *pgx.ConnConfig) (network, address string) {
	if strings.HasPrefix(config.Host, "/") {
		return "unix", fmt.Sprintf("%s/.s.PGSQL.%d", config.Host, config.Port)
	}
	return "tcp", net.JoinHostPort(config.Host, fmt.Sprint(config.Port))
}

func (p *proxy) cut() {
	_ = p.listener.Close()
	p.cancel()
}
