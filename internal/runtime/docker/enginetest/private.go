package enginetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/decnet/decnet/internal/runtime/docker"
)

const (
	answerLimit = time.Minute
	answerPoll  = 50 * time.Millisecond
	endLimit    = 20 * time.Second

	startAttempts = 3
)

// Engine is a Docker engine of one test's own, which may kill it: nothing else runs on it.
type Engine struct {
	// Host is its address, as clients take it.
	Host string
	// LiveRestore lets containers live on while the engine is away. It counts from the next Start.
	LiveRestore bool

	dir    string
	bridge string
	cmd    *exec.Cmd
	done   chan struct{}
}

// Private starts an engine, or skips the test as Require does. It leaves the host's packet filter alone: that belongs to the
// host's engine and to the containment under test. With the test everything of it ends.
func Private(tb testing.TB) *Engine {
	tb.Helper()
	Require(tb)
	dir, err := os.MkdirTemp("", "engine")
	require.NoError(tb, err)
	e := &Engine{Host: "unix://" + filepath.Join(dir, "docker.sock"), dir: dir}
	// Told to have no bridge, an engine would delete the one of the host's engine.
	e.bridge = "dne" + strconv.Itoa(os.Getpid())
	out, err := exec.Command("ip", "link", "add", e.bridge, "type", "bridge").CombinedOutput()
	require.NoError(tb, err, "%s", out)
	require.NoError(tb, os.WriteFile(e.path("daemon.json"), []byte("{}"), 0o600)) // not the host's
	tb.Cleanup(func() { e.end(tb) })
	require.NoError(tb, e.Start(), "%s", e.Log())
	return e
}

func (e *Engine) path(name string) string { return filepath.Join(e.dir, name) }

// Start starts the engine after Kill and waits until it answers. It is tried again, as an init system does: an engine that takes
// the containerd of its predecessor for alive gives up.
func (e *Engine) Start() (err error) {
	for range startAttempts {
		if err = e.start(); !errors.Is(err, errEnded) {
			return err
		}
	}
	return err
}

var errEnded = errors.New("dockerd ended")

func (e *Engine) start() error {
	log, err := os.OpenFile(e.path("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command("dockerd",
		"--config-file", e.path("daemon.json"), "--data-root", e.path("data"), "--exec-root", e.path("exec"),
		"--pidfile", e.path("pid"), "--host", e.Host, "--bridge", e.bridge, "--iptables=false", "--ip-masq=false", "--userland-proxy=false",
		"--containerd-namespace", filepath.Base(e.dir), "--containerd-plugins-namespace", filepath.Base(e.dir)+"-plugins",
		fmt.Sprintf("--live-restore=%t", e.LiveRestore))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	e.cmd, e.done = cmd, make(chan struct{})
	go func() { defer close(e.done); _ = cmd.Wait() }()
	for deadline := time.Now().Add(answerLimit); time.Now().Before(deadline); time.Sleep(answerPoll) {
		if docker.Answers(context.Background(), e.Host) { //nolint:forbidigo // bounded by its own limit
			return nil
		}
		select {
		case <-e.done:
			return errEnded
		default:
		}
	}
	return errors.New("dockerd does not answer")
}

// Kill ends the engine without warning. Its containers live on, at least until the next Start.
func (e *Engine) Kill() error {
	if err := e.cmd.Process.Kill(); err != nil {
		return err
	}
	<-e.done
	return nil
}

// Log returns the last part of what the engine has printed.
func (e *Engine) Log() string {
	b, err := os.ReadFile(e.path("log"))
	if err != nil {
		return err.Error()
	}
	const limit = 8000
	return string(b[max(0, len(b)-limit):])
}

// end stops the engine in good order, so that it unmounts what it mounted, and ends and unmounts what a killed one left.
func (e *Engine) end(tb testing.TB) {
	if tb.Failed() {
		tb.Logf("log of dockerd:\n%s", e.Log())
	}
	if e.cmd != nil {
		e.clear()
		_ = e.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-e.done:
		case <-time.After(endLimit):
			_ = e.Kill()
		}
	}
	_ = exec.Command("ip", "link", "del", e.bridge).Run()
	for _, pid := range e.left() {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	mounts, _ := os.ReadFile("/proc/self/mounts")
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 1 && strings.HasPrefix(fields[1], e.dir+"/") {
			_ = unix.Unmount(fields[1], unix.MNT_DETACH)
		}
	}
	if err := os.RemoveAll(e.dir); err != nil {
		tb.Logf("remains of a Docker engine: %v", err)
	}
}

// clear removes containers and networks, whose bridges would stay on the host and keep their subnets.
func (e *Engine) clear() {
	const script = `engine="timeout 60 docker --host $0"
$engine ps -aq | xargs -r $engine rm -f
$engine network ls -q --filter type=custom | xargs -r $engine network rm`
	_ = exec.Command("sh", "-c", script, e.Host).Run() // one that does not answer has to be left alone
}

// left lists the processes of the engine that outlived it: they are named after its folders.
func (e *Engine) left() []int {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	var pids []int
	for _, path := range lines {
		b, err := os.ReadFile(path)
		var pid int
		if _, scanErr := fmt.Sscanf(path, "/proc/%d/", &pid); err == nil && scanErr == nil && strings.Contains(string(b), e.dir+"/") {
			pids = append(pids, pid)
		}
	}
	return pids
}
