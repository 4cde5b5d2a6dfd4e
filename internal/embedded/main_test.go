package embedded_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/decnet/decnet/internal/embedded"
	"github.com/decnet/decnet/internal/embedded/embeddedtest"
)

// parentWord makes the test binary a parent of embedded parts that a test can kill.
const parentWord = "__parent"

func TestMain(m *testing.M) {
	embedded.RunShim(os.Args)
	if len(os.Args) == 4 && os.Args[1] == parentWord {
		runParent(os.Args[2], os.Args[3])
	}
	goleak.VerifyTestMain(m)
}

// children is what a parent reports on its standard output once everything serves.
type children struct{ Postgres, Temporal int }

func runParent(dir, temporal string) {
	d, err := embedded.Lock(dir)
	if err == nil {
		var p *embedded.Parts
		p, err = embedded.Start(context.Background(), embedded.Options{
			Dir: d, TemporalNamespace: "decnet", TemporalBinary: temporal, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		})
		if err == nil {
			_ = json.NewEncoder(os.Stdout).Encode(children{p.Child("postgres").PID(), p.Child("temporal").PID()})
			select {}
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// logBook collects what is logged.
type logBook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logBook) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func lock(t *testing.T, dir string) *embedded.DataDir {
	t.Helper()
	d, err := embedded.Lock(dir)
	require.NoError(t, err)
	t.Cleanup(func() { _ = d.Unlock() })
	return d
}

// start starts everything in dir and stops it with the test, or when stop is called.
func start(t *testing.T, dir string, log *logBook) (p *embedded.Parts, stop func()) {
	t.Helper()
	d, err := embedded.Lock(dir)
	require.NoError(t, err)
	began := time.Now()
	p, err = embedded.Start(t.Context(), embedded.Options{
		Dir: d, TemporalNamespace: "decnet", TemporalBinary: embeddedtest.TemporalBinary(t), Logger: log.logger(),
	})
	require.NoError(t, err, log)
	t.Logf("started in %s", time.Since(began))
	stop = sync.OnceFunc(func() {
		p.Stop(context.Background())
		_ = d.Unlock()
	})
	t.Cleanup(stop)
	return p, stop
}

func startPostgres(t *testing.T, d *embedded.DataDir, log *logBook) *embedded.Postgres {
	t.Helper()
	p, err := embedded.StartPostgres(t.Context(), embedded.PostgresOptions{Dir: d, Logger: log.logger()}, nil)
	require.NoError(t, err, log)
	t.Cleanup(func() { p.Stop(context.Background()) })
	return p
}

func query(t *testing.T, url, sql string) string {
	t.Helper()
	out, err := tryQuery(t.Context(), url, sql)
	require.NoError(t, err)
	return out
}

func tryQuery(ctx context.Context, url, sql string) (out string, err error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(ctx) }()
	err = conn.QueryRow(ctx, sql).Scan(&out)
	return out, err
}

func gone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || bytes.Contains(stat, []byte(") Z "))
}

func kill(t *testing.T, pid int) {
	t.Helper()
	require.Positive(t, pid)
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	require.Eventually(t, condition, 30*time.Second, 20*time.Millisecond, what)
}

func touch(t *testing.T, path string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, []byte("x"), 0o600))
}
