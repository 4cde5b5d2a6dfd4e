package embeddedtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/gofrs/flock"

	"github.com/decnet/decnet/internal/embedded"
)

// IdleTimeout is how long a shared server outlives the last test process that used it.
const IdleTimeout = 30 * time.Second

// keeperWord is the first argument of a test binary that was started as a keeper.
const keeperWord = "__decnet_test_keeper"

const (
	kindPostgres = "postgres"
	kindTemporal = "temporal"
)

// init turns a re-executed test binary into what it was re-executed as, before any test or TestMain runs. It is an
// init function because the harness must work in packages that know nothing of it.
func init() {
	embedded.RunShim(os.Args)
	if len(os.Args) == 5 && os.Args[1] == keeperWord {
		if err := keep(os.Args[2], os.Args[3], os.Args[4]); err != nil {
			fmt.Fprintln(os.Stderr, "keeper:", err)
			os.Exit(1) //nolint:forbidigo // this is main of the keeper
		}
		os.Exit(0) //nolint:forbidigo // this is main of the keeper
	}
}

// state is what a keeper tells test processes, in the file state.json of its directory.
type state struct {
	PID int `json:"pid"`
	// Binary is the server command; another one asks for another keeper.
	Binary string `json:"binary,omitempty"`
	// Addr is the superuser's URL of Postgres, or the frontend address of Temporal.
	Addr string `json:"addr"`
}

// shared is the directory of one kind of server and the locks in it.
type shared struct{ dir string }

func (s shared) statePath() string { return filepath.Join(s.dir, "state.json") }

// users is held shared by every test process while it lives, and exclusively by a keeper that is about to end.
func (s shared) users() *flock.Flock { return flock.New(filepath.Join(s.dir, "users.lock")) }

// starting is held by the test process that starts a keeper.
func (s shared) starting() *flock.Flock { return flock.New(filepath.Join(s.dir, "starting.lock")) }

// keeping is held by the keeper for as long as it lives, so that its state is known to be true.
func (s shared) keeping() *flock.Flock { return flock.New(filepath.Join(s.dir, "keeper.lock")) }

// read returns the state of the keeper that is alive, ok false when there is none.
func (s shared) read() (st state, ok bool, err error) {
	lock := s.keeping()
	free, err := lock.TryLock()
	if err != nil {
		return state{}, false, err
	}
	if free {
		return state{}, false, lock.Unlock()
	}
	content, err := os.ReadFile(s.statePath())
	if errors.Is(err, fs.ErrNotExist) {
		return state{}, false, nil
	}
	if err != nil {
		return state{}, false, err
	}
	err = json.Unmarshal(content, &st)
	return st, err == nil, err
}

// spawn starts a keeper that outlives this process and keeps none of its files open.
func (s shared) spawn(kind, binary string) error {
	log, err := os.OpenFile(filepath.Join(s.dir, "keeper.log"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command("/proc/self/exe", keeperWord, kind, s.dir, binary) //nolint:noctx // it outlives us
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, "/"
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")} //nolint:forbidigo // tests have no config
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { _ = cmd.Wait() }() // or a keeper that fails stays a zombie
	return nil
}

// keep runs one server until nobody has used it for IdleTimeout.
func keep(kind, dir, binary string) error {
	ctx := context.Background() //nolint:forbidigo // this is main of the keeper
	s := shared{dir: dir}
	lock := s.keeping()
	// Test processes take it for a moment to see whether there is a keeper.
	lockCtx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if _, err := lock.TryLockContext(lockCtx, 5*time.Millisecond); err != nil {
		return fmt.Errorf("another keeper is at work: %w", err)
	}
	defer func() { _ = lock.Unlock() }()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	st, stop, err := serve(ctx, kind, dir, binary, log)
	if err != nil {
		return err
	}
	defer stop()
	st.PID, st.Binary = os.Getpid(), binary
	content, err := json.Marshal(st)
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.statePath()+".new", content, 0o600); err != nil {
		return err
	}
	if err := os.Rename(s.statePath()+".new", s.statePath()); err != nil {
		return err
	}
	users, err := s.awaitIdle()
	if err != nil {
		return err
	}
	// Test processes that come now wait for the lock until everything has ended, and then start a new keeper.
	defer func() { _ = users.Unlock() }()
	return os.Remove(s.statePath())
}

// awaitIdle returns, with the lock of users held exclusively, when there were none for IdleTimeout.
func (s shared) awaitIdle() (*flock.Flock, error) {
	lock := s.users()
	for last := time.Now(); ; time.Sleep(500 * time.Millisecond) {
		free, err := lock.TryLock()
		switch {
		case err != nil:
			return nil, err
		case !free:
			last = time.Now()
		case time.Since(last) > IdleTimeout:
			return lock, nil
		default:
			if err := lock.Unlock(); err != nil {
				return nil, err
			}
		}
	}
}

// serve starts the server in a fresh data directory; a survivor of a killed keeper is stopped first.
func serve(ctx context.Context, kind, dir, binary string, log *slog.Logger) (state, func(), error) {
	d, err := embedded.Lock(filepath.Join(dir, "data"))
	if err != nil {
		return state{}, nil, err
	}
	if err := d.StopSurvivors(ctx, log); err != nil {
		return state{}, nil, err
	}
	if err := wipe(d, kind); err != nil {
		return state{}, nil, err
	}
	if kind == kindPostgres {
		return servePostgres(ctx, d, log)
	}
	return serveTemporal(ctx, d, binary, log)
}

func wipe(d *embedded.DataDir, kind string) error {
	entries, err := os.ReadDir(d.Join(kind))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.RemoveAll(d.Join(kind, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func servePostgres(ctx context.Context, d *embedded.DataDir, log *slog.Logger) (state, func(), error) {
	p, err := embedded.StartPostgres(ctx, embedded.PostgresOptions{Dir: d, Volatile: true, Logger: log}, nil)
	if err != nil {
		return state{}, nil, err
	}
	return state{Addr: p.AdminURL()}, func() { p.Stop(ctx) }, allowCreate(ctx, p.AdminURL())
}

func serveTemporal(ctx context.Context, d *embedded.DataDir, binary string, log *slog.Logger) (state, func(), error) {
	ports, err := d.Ports(ctx, log)
	if err != nil {
		return state{}, nil, err
	}
	t, err := embedded.StartTemporal(ctx, embedded.TemporalOptions{
		Dir: d, Binary: binary, Namespace: "decnet", Ports: ports, Volatile: true, Logger: log,
	}, nil)
	if err != nil {
		return state{}, nil, err
	}
	return state{Addr: t.Address()}, func() { t.Stop(ctx) }, nil
}

// sharedDir returns the directory of one kind of server, apart per user, per checkout and per server command.
func sharedDir(root, kind, binary string) string {
	if binary != "" {
		kind += "-" + shortHash(binary)
	}
	return filepath.Join(os.TempDir(), "decnet-test-"+strconv.Itoa(os.Getuid())+"-"+shortHash(root), kind)
}
