package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/embedded"
)

// readyLimit bounds a start on a busy machine; how long one takes is measured by the benchmarks.
const readyLimit = 2 * time.Minute

// Up is one `decnet up` on a data directory of its own.
type Up struct {
	Client
	Dir   string // the data directory
	Ready embedded.ReadyFile
	Log   string // the file that collects its standard error

	// PortOffset is what is added to a decoy's port that is taken. It differs between systems: they share the addresses.
	PortOffset int
	// AdminPassword is what the process is told; "" lets it generate one.
	AdminPassword string

	t     testing.TB
	bin   Binaries
	flags []string
	cmd   *exec.Cmd
	done  chan error
	mu    sync.Mutex
}

// Smallest port offset and how many follow: what comes out stays below the ports that the kernel hands out.
const (
	firstOffset = 10_000
	offsets     = 20_000
)

// StartUp starts everything on a fresh data directory and logs in as admin. The system and its decoys end with the test.
func StartUp(t testing.TB, flags ...string) *Up {
	t.Helper()
	return StartUpWith(t, Build(t), flags...)
}

// StartUpWith is StartUp with other programs.
func StartUpWith(t testing.TB, bin Binaries, flags ...string) *Up {
	t.Helper()
	u := NewUp(t, bin, flags...)
	u.Start()
	require.NoError(t, u.Login(t.Context()))
	return u
}

// NewUp is StartUpWith without starting anything.
func NewUp(t testing.TB, bin Binaries, flags ...string) *Up {
	t.Helper()
	dir := ShortDir(t)
	u := &Up{
		t: t, bin: bin, Dir: filepath.Join(dir, "data"), Log: filepath.Join(dir, "up.log"),
		PortOffset: firstOffset + rand.IntN(offsets), AdminPassword: AdminPassword,
	}
	u.flags = append([]string{"--listen", "127.0.0.1:" + FreePort(t), "--port-offset", strconv.Itoa(u.PortOffset)}, flags...)
	t.Cleanup(func() {
		u.Kill()
		EndDecoys(u.Dir)
		if t.Failed() {
			t.Logf("log of decnet up:\n%s", Tail(u.Log))
		}
	})
	return u
}

// ShortDir returns a temporary directory with a path short enough for a Unix socket and open for unprivileged children.
func ShortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "dn")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// FreePort returns a port that is free now.
func FreePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	return port
}

// Start starts the process again after Kill or Stop and waits until it is ready.
func (u *Up) Start() {
	u.t.Helper()
	require.NoError(u.t, u.TryStart())
}

// TryStart is Start with an error instead of a failed test.
func (u *Up) TryStart() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	ready := filepath.Join(u.Dir, "run", "ready.json")
	_ = os.Remove(ready)
	log, err := os.OpenFile(u.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := u.command()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait(); close(done) }()
	u.cmd, u.done = cmd, done
	return u.awaitReady(ready, done)
}

// command returns `decnet up` with more flags, which override those of the system.
func (u *Up) command(more ...string) *exec.Cmd {
	args := append([]string{"up", "--data-dir", u.Dir, "--runtime", "process"}, u.flags...)
	cmd := exec.Command(u.bin.Decnet, append(args, more...)...)
	cmd.Env = append(os.Environ(), "DECNET_ADMIN_PASSWORD="+u.AdminPassword, "DECNET_DECOY_BINARY="+u.bin.Decoy,
		"DECNET_TEMPORAL_BINARY="+u.bin.Temporal, "DECNET_LIMITER_ENABLED=false")
	return cmd
}

// TryUp runs a second `decnet up` on the same directory until it ends by itself, and returns what it said and its exit
// code.
func (u *Up) TryUp(ctx context.Context, more ...string) (output string, code int) {
	u.t.Helper()
	template := u.command(more...)
	return Run(ctx, u.t, template.Env, "", template.Path, template.Args[1:]...)
}

// CLI runs an operator command as a user of the machine would and returns its standard output, its standard error and
// its exit code. home is where it keeps what it remembers.
func (u *Up) CLI(ctx context.Context, home, stdin string, args ...string) (stdout, stderr string, code int) {
	u.t.Helper()
	cmd := exec.CommandContext(ctx, u.bin.Decnet, args...)
	cmd.Env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "DECNET_DATA_DIR=" + u.Dir}
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	code = exitCode(u.t, cmd.Run())
	return out.String(), errs.String(), code
}

// Run runs a program to its end and returns its output and exit code.
func Run(ctx context.Context, t testing.TB, environ []string, stdin, program string, args ...string) (output string, code int) {
	t.Helper()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env, cmd.Stdin = environ, strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), exitCode(t, err)
}

func exitCode(t testing.TB, err error) int {
	t.Helper()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	require.NoError(t, err)
	return 0
}

func (u *Up) awaitReady(path string, done <-chan error) error {
	deadline := time.After(readyLimit)
	for {
		if r, err := embedded.ReadReadyFile(path); err == nil {
			u.Ready, u.URL = r, r.APIURL
			return nil
		}
		select {
		case err := <-done:
			return fmt.Errorf("decnet up ended: %w\n%s", err, Tail(u.Log))
		case <-deadline:
			return fmt.Errorf("decnet up is not ready after %s\n%s", readyLimit, Tail(u.Log))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// PID returns the process id of the running process.
func (u *Up) PID() int { return u.cmd.Process.Pid }

// Kill ends the process with SIGKILL. Its decoys live on.
func (u *Up) Kill() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.cmd != nil {
		_ = u.cmd.Process.Kill()
		<-u.done
	}
}

// Stop ends the process with SIGTERM and returns how it ended.
func (u *Up) Stop() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := u.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case err := <-u.done:
		return err
	case <-time.After(time.Minute):
		return errors.New("decnet up did not end within a minute of SIGTERM")
	}
}

// KillChild ends a child of the process, "postgres" or "temporal", with SIGKILL.
// It returns once another was started: until then Postgres' orphaned backends may still answer.
func (u *Up) KillChild(name string) error {
	old := u.child(name)
	if err := u.SignalChild(name, syscall.SIGKILL); err != nil {
		return err
	}
	return awaitAnother(name, old, func() int { return u.child(name) })
}

// awaitAnother waits until a part has a process that is not the old one.
func awaitAnother(name string, old int, pid func() int) error {
	for deadline := time.Now().Add(readyLimit); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if now := pid(); now != 0 && now != old {
			return nil
		}
	}
	return fmt.Errorf("%s was not started again within %s", name, readyLimit)
}

// child returns the process id of a child, 0 when there is none.
func (u *Up) child(name string) int {
	for _, pid := range Processes(func(_ int, args []string) bool { return filepath.Base(args[0]) == name }) {
		if ParentOf(pid) == u.PID() {
			return pid
		}
	}
	return 0
}

// SignalChild sends a signal to a child of the process, "postgres" or "temporal".
func (u *Up) SignalChild(name string, signal syscall.Signal) error {
	pid := u.child(name)
	if pid == 0 {
		return fmt.Errorf("%s is not a child of %d", name, u.PID())
	}
	return syscall.Kill(pid, signal)
}

// Parts returns the processes that run a part of the system (Postgres, Temporal), not its decoys.
func (u *Up) Parts() []int {
	return Processes(func(_ int, args []string) bool {
		inside := func(arg string) bool {
			return strings.HasPrefix(arg, filepath.Join(u.Dir, "postgres")) || strings.HasPrefix(arg, filepath.Join(u.Dir, "temporal"))
		}
		return slices.ContainsFunc(args, inside)
	})
}

// Processes returns the ids of processes whose arguments match.
func Processes(match func(pid int, args []string) bool) []int {
	entries, _ := os.ReadDir("/proc")
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil || len(line) == 0 {
			continue
		}
		if args := strings.Split(strings.TrimRight(string(line), "\x00"), "\x00"); match(pid, args) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// ParentOf returns the parent of a process, 0 when there is none.
func ParentOf(pid int) int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if text, ok := strings.CutPrefix(line, "PPid:"); ok {
			parent, _ := strconv.Atoi(strings.TrimSpace(text))
			return parent
		}
	}
	return 0
}

// Decoys returns the "<decky uuid>/<service>" of every decoy that runs from a data directory, with repetitions.
func Decoys(dataDir string) []string {
	var found []string
	for _, of := range DecoyPIDs(dataDir) {
		found = append(found, of)
	}
	return found
}

// DecoyPIDs returns the "<decky uuid>/<service>" of every decoy that runs from a data directory, by process id.
func DecoyPIDs(dataDir string) map[int]string {
	prefix := filepath.Join(dataDir, "decoys") + "/"
	found := map[int]string{}
	Processes(func(pid int, args []string) bool {
		if len(args) == 4 && args[1] == "run" && strings.HasPrefix(args[3], prefix) {
			found[pid] = filepath.Dir(strings.TrimPrefix(args[3], prefix))
		}
		return false
	})
	return found
}

// EndDecoys kills every decoy that runs from a data directory.
func EndDecoys(dataDir string) {
	for pid := range DecoyPIDs(dataDir) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// Tail returns the last part of a log, without the requests that went well.
func Tail(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	const limit = 12_000
	var kept strings.Builder
	for line := range bytes.Lines(b) {
		if !bytes.Contains(line, []byte(`"level":"INFO","msg":"request served"`)) {
			_, _ = kept.Write(line)
		}
	}
	text := kept.String()
	return text[max(0, len(text)-limit):]
}

// Within returns a context that ends after d or with the test.
func Within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
