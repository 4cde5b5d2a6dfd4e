package api_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"github.com/decnet/decnet/activities"
	"github.com/decnet/decnet/api"
	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/auth"
	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/dispatch"
	"github.com/decnet/decnet/internal/embedded/embeddedtest"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/imports"
	"github.com/decnet/decnet/internal/operation"
	"github.com/decnet/decnet/internal/secretbox"
)

// password is that of every user of the tests.
const password = "correct horse battery"

var installationKey = bytes.Repeat([]byte{7}, secretbox.KeyBytes)

// bundle is an API on a database of its own, with one user of each role and a lane that works without Temporal.
type bundle struct {
	store  *db.Store
	engine *gin.Engine
	lane   *lane
	url    string // of the database
	users  map[auth.Role]auth.User
	log    *syncBuffer
}

func setup(t *testing.T, change ...func(*api.Deps, *api.Options)) *bundle {
	t.Helper()
	return setupAt(t, databaseURL(t), change...)
}

func setupAt(t *testing.T, url string, change ...func(*api.Deps, *api.Options)) *bundle {
	t.Helper()
	store, err := db.Open(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(store.Close)
	box, err := secretbox.New(installationKey)
	require.NoError(t, err)
	b := &bundle{url: url, store: store, users: map[auth.Role]auth.User{}, log: &syncBuffer{}}
	log := slog.New(slog.NewJSONHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	b.lane = newLane(store, box, log)
	deps := api.Deps{Store: store, Dispatcher: b.lane, Key: installationKey, Log: log, Pool: decky.Pool{Prefix: decky.LoopbackPool}}
	opts := api.Options{TemporalUIURL: "http://127.0.0.1:8233", TemporalNamespace: "decnet", Version: "test"}
	for _, f := range change {
		f(&deps, &opts)
	}
	b.engine = api.New(deps, opts)
	for _, role := range auth.Roles() {
		b.users[role] = b.addUser(t, string(role), role, false)
	}
	listen, hangUp := context.WithCancel(context.WithoutCancel(t.Context()))
	var listener sync.WaitGroup
	listener.Go(func() { _ = b.lane.Run(listen) })
	t.Cleanup(func() {
		b.lane.stop()
		hangUp()
		listener.Wait()
	})
	return b
}

func databaseURL(t *testing.T) string {
	t.Helper()
	return embeddedtest.TemplateDatabase(t, "control plane", migrationsHash(t), func(url string) error {
		store, err := db.Open(context.Background(), url)
		if err != nil {
			return err
		}
		defer store.Close()
		return store.Migrate(context.Background())
	})
}

func migrationsHash(t *testing.T) string {
	t.Helper()
	h := sha256.New()
	files, err := fs.Glob(db.Migrations(), "*.sql")
	require.NoError(t, err)
	for _, name := range files {
		content, err := fs.ReadFile(db.Migrations(), name)
		require.NoError(t, err)
		h.Write(content)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// exec runs a statement on the API's database.
func (b *bundle) exec(t *testing.T, statement string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), b.url)
	require.NoError(t, err)
	defer func() { _ = conn.Close(t.Context()) }()
	_, err = conn.Exec(t.Context(), statement)
	require.NoError(t, err)
}

func (b *bundle) addUser(t *testing.T, name string, role auth.Role, mustChange bool) auth.User {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	require.NoError(t, err)
	u, err := b.store.CreateUser(t.Context(), auth.User{
		ID: uuid.New(), Username: name, PasswordHash: string(hash), Role: role, MustChangePassword: mustChange,
	})
	require.NoError(t, err)
	return u
}

// tokenOf returns an access token as a login would give it.
func (b *bundle) tokenOf(t *testing.T, u auth.User) string {
	t.Helper()
	now, err := b.store.Now(t.Context())
	require.NoError(t, err)
	token, err := auth.NewSigner(installationKey, 0).Issue(u, now)
	require.NoError(t, err)
	return token
}

// call is a request; the zero value of a field leaves it out.
type call struct {
	as      auth.Role
	token   string
	method  string
	path    string // below /api/v1
	body    any    // string and []byte are sent as they are
	headers map[string]string
}

type reply struct {
	status int
	header http.Header
	body   []byte
}

func (r reply) into(t *testing.T, v any) {
	t.Helper()
	require.NoError(t, json.Unmarshal(r.body, v), "%s", r.body)
}

func (r reply) json(t *testing.T) map[string]any {
	t.Helper()
	var v map[string]any
	r.into(t, &v)
	return v
}

// code returns the fault code of a problem after checking that it is a complete one.
func (r reply) code(t *testing.T) string {
	t.Helper()
	require.Equal(t, "application/problem+json", r.header.Get("Content-Type"), "%s", r.body)
	p := r.json(t)
	require.EqualValues(t, r.status, p["status"])
	require.NotEmpty(t, p["title"])
	require.NotEmpty(t, p["detail"])
	require.NotEmpty(t, p["instance"])
	require.Equal(t, r.header.Get("X-Request-Id"), p["request_id"])
	require.IsType(t, []any{}, p["errors"])
	code, ok := strings.CutPrefix(p["type"].(string), "urn:decnet:fault:")
	require.True(t, ok)
	return code
}

func (r reply) locations(t *testing.T) []string {
	t.Helper()
	var p api.Problem
	r.into(t, &p)
	var all []string
	for _, e := range p.Errors {
		all = append(all, e.Location)
	}
	return all
}

func (b *bundle) do(t *testing.T, c call) reply {
	t.Helper()
	return b.request(t, "/api/v1"+c.path, c)
}

func (b *bundle) request(t *testing.T, path string, c call) reply {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), c.method, path, encode(t, c.body))
	if c.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	token := c.token
	if token == "" && c.as != "" {
		token = b.tokenOf(t, b.users[c.as])
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for name, value := range c.headers {
		req.Header.Set(name, value)
	}
	rec := httptest.NewRecorder()
	b.engine.ServeHTTP(rec, req)
	return reply{status: rec.Code, header: rec.Header(), body: rec.Body.Bytes()}
}

func encode(t *testing.T, body any) io.Reader {
	t.Helper()
	switch v := body.(type) {
	case nil:
		return nil
	case string:
		return strings.NewReader(v)
	case []byte:
		return bytes.NewReader(v)
	}
	raw, err := json.Marshal(body)
	require.NoError(t, err)
	return bytes.NewReader(raw)
}

// operations returns everything that was recorded, newest first.
func (b *bundle) operations(t *testing.T) []operation.Operation {
	t.Helper()
	ops, err := b.store.Operations(t.Context(), db.OperationFilter{Limit: 500})
	require.NoError(t, err)
	return ops
}

// lane carries operations out at once with the real transactions, in place of Temporal and a runtime.
type lane struct {
	*dispatch.Dispatcher
	store    *db.Store
	box      *secretbox.Box
	mutation *activities.Mutation
	work     sync.WaitGroup

	mu sync.Mutex
	// fail, when set, is how Converge ends.
	fail *fault.Error
	// hold, when set, keeps operations running until it is closed.
	hold chan struct{}
	// started are the imports whose reading was asked for.
	started []uuid.UUID
	// away leaves operations received, as when Temporal does not answer.
	away bool
}

func newLane(store *db.Store, box *secretbox.Box, log *slog.Logger) *lane {
	m := &activities.Mutation{Store: store, Box: box, Pool: decky.Pool{Prefix: decky.LoopbackPool}, HostID: "test", Now: time.Now}
	return &lane{Dispatcher: dispatch.New(store, nil, box, log), store: store, box: box, mutation: m}
}

func (l *lane) stop() { l.work.Wait() }

func (l *lane) set(f func(*lane)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(l)
}

func (l *lane) Accept(ctx context.Context, op operation.Operation, request operation.Request) (operation.Operation, error) {
	plain, err := json.Marshal(request)
	if err != nil {
		return operation.Operation{}, err
	}
	sealed, err := l.box.Seal(plain, op.ID.String())
	if err != nil {
		return operation.Operation{}, err
	}
	stored, added, err := l.store.AddOperation(ctx, op, sealed)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil || !added || !stored.State.Open() || l.away {
		return stored, err
	}
	if err := l.store.MarkQueued(ctx, stored.ID); err != nil {
		return stored, err
	}
	hold, fail := l.hold, l.fail
	l.work.Go(func() { l.run(context.WithoutCancel(ctx), stored, hold, fail) })
	return stored, nil
}

func (l *lane) run(ctx context.Context, op operation.Operation, hold chan struct{}, fail *fault.Error) {
	began, err := l.mutation.Begin(ctx, activities.BeginInput{OperationID: op.ID, RunID: "run"})
	if err != nil || began.Outcome != activities.Begun {
		return
	}
	if hold != nil {
		<-hold
	}
	in := activities.OperationInput{OperationID: op.ID}
	if fail == nil {
		endpoint := decky.Endpoint{Service: "ssh", Protocol: "tcp", Port: 22, Listen: netip.MustParseAddrPort("127.66.0.2:22")}
		_ = l.store.ReplaceEndpoints(ctx, op.DeckyID, []decky.Endpoint{endpoint})
		_ = l.mutation.Activate(ctx, in)
		return
	}
	_ = l.mutation.Discard(ctx, in)
	_ = l.mutation.Settle(ctx, activities.SettleInput{OperationID: op.ID, State: operation.Failed, Fault: fail.Safe()})
}

func (l *lane) ChangeExpiry(ctx context.Context, op operation.Operation, at *time.Time, response any) error {
	sealed, err := l.box.Seal([]byte("{}"), op.ID.String())
	if err != nil {
		return err
	}
	_, err = l.store.ChangeExpiry(ctx, op, sealed, at, response)
	return err
}

func (l *lane) Cancel(ctx context.Context, id uuid.UUID) (operation.Operation, error) {
	return l.store.RequestCancel(ctx, id)
}

// StartImport leaves the log to whoever reads it.
func (l *lane) StartImport(_ context.Context, im imports.Import) {
	l.set(func(l *lane) { l.started = append(l.started, im.ID) })
}

type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
