package embeddedtest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/gofrs/flock"
)

// startTimeout is how long a keeper may take, on a machine that compiles and tests at the same time.
const startTimeout = 90 * time.Second

// server is this process' use of one shared server. It is never given back: the lock ends with the process.
type server struct {
	once  sync.Once
	state state
	err   error
	users *flock.Flock
}

var postgresServer, temporalServer server

// use returns the state of the shared server, starting it when nobody has.
func (s *server) use(t testing.TB, kind string, binary func() (string, error)) state {
	t.Helper()
	s.once.Do(func() { s.err = s.join(kind, binary) })
	if s.err != nil {
		t.Fatalf("shared %s for tests: %v", kind, s.err)
	}
	return s.state
}

func (s *server) join(kind string, binary func() (string, error)) error {
	command, err := binary()
	if err != nil {
		return err
	}
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	sh := shared{dir: sharedDir(root, kind, command)}
	if err := privateDir(sh.dir); err != nil {
		return err
	}
	s.users = sh.users()
	if err := s.users.RLock(); err != nil {
		return err
	}
	starting := sh.starting()
	if err := starting.Lock(); err != nil {
		return err
	}
	defer func() { _ = starting.Unlock() }()
	s.state, err = sh.find(kind, command)
	return err
}

// find returns the state of a keeper, starting one when there is none. The caller holds the starting lock.
func (s shared) find(kind, command string) (state, error) {
	spawned := false
	for deadline := time.Now().Add(startTimeout); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		st, ok, err := s.read()
		if err != nil || ok {
			return st, err
		}
		free, err := s.noKeeper()
		if err != nil {
			return state{}, err
		}
		switch {
		case free && spawned && time.Until(deadline) < startTimeout-2*time.Second:
			return state{}, fmt.Errorf("the keeper ended: %s", s.log())
		case free && !spawned:
			_ = os.Remove(s.statePath())
			if err := s.spawn(kind, command); err != nil {
				return state{}, err
			}
			spawned = true
		}
	}
	return state{}, fmt.Errorf("the keeper does not serve within %s: %s", startTimeout, s.log())
}

func (s shared) noKeeper() (bool, error) {
	lock := s.keeping()
	free, err := lock.TryLock()
	if free {
		err = errors.Join(err, lock.Unlock())
	}
	return free, err
}

func (s shared) log() string {
	text, _ := os.ReadFile(filepath.Join(s.dir, "keeper.log"))
	return string(text)
}

// privateDir creates dir and its parent, which others may pass but not write to: Postgres runs as another user when
// tests run as root. A directory that somebody else put there is refused.
func privateDir(dir string) error {
	for _, path := range []string{filepath.Dir(dir), dir} {
		if err := os.Mkdir(path, 0o711); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		if !info.IsDir() {
			return fmt.Errorf("%s is no directory", path)
		}
		if err := os.Chmod(path, 0o711); err != nil { // also proves that we own it
			return err
		}
	}
	return nil
}

// moduleRoot returns the directory of go.mod above the working directory, which for a test is its package.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "go.mod")); err == nil {
			return at, nil
		}
		if at == filepath.Dir(at) {
			return dir, nil
		}
	}
}

// temporalBinary finds the temporal command: DECNET_TEMPORAL_BINARY, bin/temporal of the checkout, or the PATH.
func temporalBinary() (string, error) {
	if path := os.Getenv("DECNET_TEMPORAL_BINARY"); path != "" { //nolint:forbidigo // tests have no config
		return filepath.Abs(path)
	}
	if root, err := moduleRoot(); err == nil {
		if path := filepath.Join(root, "bin", "temporal"); exec.Command(path, "--version").Run() == nil { //nolint:noctx // our own tool
			return path, nil
		}
	}
	path, err := exec.LookPath("temporal")
	if err != nil {
		return "", fmt.Errorf("no temporal command: run make build, or set DECNET_TEMPORAL_BINARY: %w", err)
	}
	return path, nil
}

// TemporalBinary returns the path of the temporal command for tests that run their own server.
func TemporalBinary(t testing.TB) string {
	t.Helper()
	path, err := temporalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func shortHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:4])
}
