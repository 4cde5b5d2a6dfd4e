package ingester_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/db/dbtest"
	"github.com/decnet/decnet/internal/embedded"
	"github.com/decnet/decnet/internal/ingest"
	"github.com/decnet/decnet/internal/role/ingester"
	"github.com/decnet/decnet/internal/runtime"
)

func TestMain(m *testing.M) {
	embedded.RunShim(os.Args)
	if url := os.Getenv("INGESTER_TEST_DATABASE"); url != "" {
		ingestForEver(url, os.Getenv("INGESTER_TEST_FOLDER"))
		return
	}
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/decnet/decnet/internal/embedded/embeddedtest.shared.spawn.func2"))
}

// outputs is a runtime that only has files.
type outputs struct {
	mu   sync.Mutex
	list []runtime.Output
	err  error
}

func (o *outputs) Outputs(context.Context) ([]runtime.Output, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]runtime.Output(nil), o.list...), o.err
}

func (o *outputs) set(list ...runtime.Output) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.list = list
}

// bundle is an ingester on a database of its own.
type bundle struct {
	*testing.T
	url     string
	store   *db.Store
	in      *ingester.Ingester
	outputs *outputs
	dir     string
	log     *logged
}

// logged keeps what was logged, for tests that must find something there.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func setup(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{T: t, url: dbtest.URL(t), outputs: &outputs{}, dir: t.TempDir(), log: &logged{}}
	store, err := db.Open(t.Context(), b.url)
	require.NoError(t, err)
	b.store = store
	t.Cleanup(store.Close)
	b.in = &ingester.Ingester{
		Store: store, Outputs: b.outputs, HostID: "h1", Gate: ingest.DefaultGate(),
		Log: slog.New(slog.NewTextHandler(b.log, nil)),
	}
	return b
}

// run starts the ingester until the returned function, or the end of the test, ends it.
func (b *bundle) run() (stop func()) {
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- b.in.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(b, <-done)
	})
	b.Cleanup(stop)
	return stop
}

// scan reads one value from the database.
func scan[V any](b *bundle, query string, args ...any) V {
	b.Helper()
	conn, err := pgx.Connect(context.WithoutCancel(b.Context()), b.url)
	require.NoError(b, err)
	defer func() { _ = conn.Close(context.WithoutCancel(b.Context())) }()
	var v V
	require.NoError(b, conn.QueryRow(b.Context(), query, args...).Scan(&v))
	return v
}

func (b *bundle) events() int64 { return scan[int64](b, "SELECT count(*) FROM events") }

// outcomes returns the lines by outcome.
func (b *bundle) outcomes() map[string]int64 {
	b.Helper()
	raw := scan[[]byte](b, "SELECT coalesce(json_object_agg(outcome, n), '{}') FROM (SELECT outcome, sum(lines) AS n FROM ingest_outcomes GROUP BY 1) o")
	m := map[string]int64{}
	require.NoError(b, json.Unmarshal(raw, &m))
	return m
}

func (b *bundle) eventually(condition func() bool, what string) {
	b.Helper()
	require.Eventually(b, condition, 30*time.Second, 50*time.Millisecond, what)
}

// settles waits for outcomes and makes sure that they stay.
func (b *bundle) settles(want map[string]int64) {
	b.Helper()
	end := time.Now().Add(30 * time.Second)
	for {
		got := b.outcomes()
		if fmt.Sprint(got) == fmt.Sprint(want) {
			break
		}
		require.True(b, time.Now().Before(end), "outcomes are %v, wanted %v\n%s", got, want, b.log)
		time.Sleep(50 * time.Millisecond)
	}
	time.Sleep(300 * time.Millisecond)
	require.Equal(b, want, b.outcomes())
}

// decoy writes numbered lines as one boot of a decoy does.
type decoy struct {
	id   uuid.UUID
	key  string
	boot string
	n    int
	at   time.Time
}

func newDecoy(key string) *decoy {
	return &decoy{id: uuid.New(), key: key, boot: uuid.NewString(), at: time.Now().Add(-time.Hour)}
}

// reboot begins to number lines anew.
func (d *decoy) reboot() { d.boot, d.n = uuid.NewString(), 0 }

// line returns the next line.
func (d *decoy) line(typ, rest string) string {
	d.n++
	d.at = d.at.Add(time.Millisecond)
	return fmt.Sprintf(`<134>1 %s %s ssh - %s [relay@55555 boot="%s" n="%d"%s]`+"\n",
		d.at.UTC().Format("2006-01-02T15:04:05.000000+00:00"), d.key, typ, d.boot, d.n, rest)
}

// commands returns the next n lines, each of which is an event.
func (d *decoy) commands(n int) string {
	var all strings.Builder
	for range n {
		all.WriteString(d.line("command", fmt.Sprintf(` src_ip="192.0.2.17" src_port="51514" command="echo %d"`, d.n)))
	}
	return all.String()
}

func (d *decoy) output(files ...string) runtime.Output {
	return runtime.Output{DeckyID: d.id, DeckyKey: d.key, Service: "ssh", Format: runtime.OutputLines, Files: files}
}

func (b *bundle) path(name string) string { return filepath.Join(b.dir, name) }

func (b *bundle) write(path, text string) {
	b.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	require.NoError(b, err)
	_, err = io.WriteString(f, text)
	require.NoError(b, err)
	require.NoError(b, f.Close())
}

// once requires that every line that was stored was stored once.
func (b *bundle) once(lines int) {
	b.Helper()
	require.Equal(b, int64(lines), b.events())
	require.Equal(b, int64(lines), scan[int64](b, "SELECT count(DISTINCT (decky_key, service, boot, line)) FROM events"))
}

// engineForm is how the container engine writes lines: in objects of pieces of at most size bytes.
func engineForm(text string, size int) []string {
	var objects []string
	for len(text) > 0 {
		end := strings.IndexByte(text, '\n') + 1
		if end == 0 {
			end = len(text)
		}
		end = min(end, size)
		object, _ := json.Marshal(map[string]string{"log": text[:end], "stream": "stdout", "time": time.Now().Format(time.RFC3339Nano)})
		objects = append(objects, string(object)+"\n")
		text = text[end:]
	}
	return objects
}
