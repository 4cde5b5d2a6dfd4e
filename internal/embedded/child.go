package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"
)

const (
	// firstAttempts is how often a child may fail before it ever served: enough to outlast what a killed predecessor
	// leaves behind for a moment (shared memory, sockets), few enough to report a real fault at once.
	firstAttempts = 6
	// maxAttempts is how often in a row a child that served before may fail; with the pauses below about 80 s.
	maxAttempts = 20
	minPause    = 100 * time.Millisecond
	maxPause    = 5 * time.Second
)

// stopStep is one signal and how long to wait for its effect.
type stopStep struct {
	signal   syscall.Signal
	patience time.Duration
}

// childSpec describes a supervised process.
type childSpec struct {
	name string
	// dir is the data of the process, recorded with its identity in the file record.
	dir, record string
	// command prepares one attempt; a backoff.Permanent error ends supervision.
	command func(ctx context.Context) (*exec.Cmd, error)
	// ready returns nil once the process serves. Its context ends with the process or after readyTimeout.
	ready        func(ctx context.Context) error
	readyTimeout time.Duration
	// failed, when set, is told about an attempt that ended before it served and may repair what caused it; a
	// backoff.Permanent error ends supervision.
	failed func(ctx context.Context, output string) error
	steps  []stopStep
	out    *output
	log    *slog.Logger
}

// Child is a supervised process: it is started again, with back-off, whenever it ends by itself.
type Child struct {
	spec childSpec

	quit     chan struct{} // closed by Stop
	quitOnce sync.Once
	done     chan struct{} // closed when supervision has ended and no process is left
	serving  chan struct{} // closed when the process served for the first time
	fail     func(error)

	mu       sync.Mutex
	cmd      *exec.Cmd
	starts   int
	failures int
	err      error
}

// startChild starts supervision and returns once the process serves. fail is called at most once, from another
// goroutine, when a child that served cannot be kept running.
func startChild(ctx context.Context, spec childSpec, fail func(error)) (*Child, error) {
	c := &Child{spec: spec, fail: fail, quit: make(chan struct{}), done: make(chan struct{}), serving: make(chan struct{})}
	go c.supervise(context.WithoutCancel(ctx))
	select {
	case <-c.serving:
		return c, nil
	case <-c.done:
		return nil, fmt.Errorf("start %s: %w", spec.name, c.lastError())
	case <-ctx.Done():
		c.Stop(context.WithoutCancel(ctx))
		return nil, fmt.Errorf("start %s: %w", spec.name, errors.Join(ctx.Err(), c.lastError()))
	}
}

// Name returns what the child was started as: "postgres" or "temporal".
func (c *Child) Name() string { return c.spec.name }

// PID returns the pid of the running process, 0 while there is none.
func (c *Child) PID() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cmd == nil {
		return 0
	}
	return c.cmd.Process.Pid
}

// Starts returns how many times the process was started; more than one means it was restarted.
func (c *Child) Starts() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.starts
}

// Stop ends supervision and the process: politely first, by force when it takes too long or ctx ends. It returns when
// the process is gone. Later calls wait for the first.
func (c *Child) Stop(ctx context.Context) {
	c.quitOnce.Do(func() { close(c.quit) })
	steps := append([]stopStep(nil), c.spec.steps...)
	for _, s := range append(steps, stopStep{syscall.SIGKILL, time.Minute}) {
		c.signal(s.signal)
		select {
		case <-c.done:
			return
		case <-ctx.Done():
			c.signal(syscall.SIGKILL)
			<-c.done
			return
		case <-time.After(s.patience):
		}
	}
	<-c.done
}

func (c *Child) signal(sig syscall.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cmd != nil {
		_ = c.cmd.Process.Signal(sig) // os.ErrProcessDone when it ended meanwhile
	}
}

func (c *Child) stopping() bool {
	select {
	case <-c.quit:
		return true
	default:
		return false
	}
}

func (c *Child) lastError() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// supervise runs the process until Stop or until it cannot be kept running. The kernel delivers Pdeathsig when the
// *thread* that started the process ends, so the goroutine keeps its thread for as long as there is a process.
func (c *Child) supervise(ctx context.Context) {
	runtime.LockOSThread()
	defer close(c.done)
	defer c.spec.out.Close()
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = minPause, maxPause
	for !c.stopping() {
		served, err := c.attempt(ctx)
		if c.stopping() {
			return
		}
		if served {
			pause.Reset()
		}
		if c.giveUp(served, err) {
			return
		}
		wait := pause.NextBackOff()
		c.spec.log.WarnContext(ctx, "child process ended and will be started again", "child", c.spec.name, "err", err, "pause", wait)
		select {
		case <-c.quit:
		case <-time.After(wait):
		}
	}
}

// giveUp counts a failure and reports whether it was the last one that is tolerated.
func (c *Child) giveUp(served bool, err error) bool {
	limit, everServed := firstAttempts, false
	select {
	case <-c.serving:
		limit, everServed = maxAttempts, true
	default:
	}
	c.mu.Lock()
	if served {
		c.failures = 0
	}
	c.failures++
	var permanent *backoff.PermanentError
	last := errors.As(err, &permanent) || c.failures >= limit
	if permanent != nil {
		err = permanent.Err
	}
	c.err = err
	c.mu.Unlock()
	if last && everServed && c.fail != nil {
		c.fail(fmt.Errorf("keep %s running: %w", c.spec.name, err))
	}
	return last
}

// attempt runs the process once, from start to end, and reports whether it served. The error is never nil.
func (c *Child) attempt(ctx context.Context) (served bool, err error) {
	c.spec.out.forget()
	cmd, err := c.launch(ctx)
	if err != nil {
		return false, err
	}
	readyCtx, cancel := context.WithTimeout(ctx, c.spec.readyTimeout)
	ready := make(chan bool, 1)
	go func() { ready <- c.awaitReady(readyCtx, cmd) }()
	err = refusedNamespace(cmd, cmd.Wait())
	cancel()
	served = <-ready
	c.mu.Lock()
	c.cmd = nil
	c.mu.Unlock()
	_ = removeIfExists(c.spec.record)
	err = fmt.Errorf("ended (%w): %s", orExited(err), c.spec.out.last())
	if !served && c.spec.failed != nil && !c.stopping() {
		if repairErr := c.spec.failed(ctx, c.spec.out.last()); repairErr != nil {
			err = errors.Join(repairErr, err)
		}
	}
	return served, err
}

var errExited = errors.New("exit status 0")

func orExited(err error) error {
	if err == nil {
		return errExited
	}
	return err
}

// launch starts the process unless Stop came first, and records it for the next start.
func (c *Child) launch(ctx context.Context) (*exec.Cmd, error) {
	cmd, err := c.spec.command(ctx)
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = c.spec.out, c.spec.out
	cmd.WaitDelay = 2 * time.Second // grandchildren may hold the pipe
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopping() {
		return nil, context.Canceled
	}
	if err := cmd.Start(); err != nil {
		return nil, refusedNamespace(cmd, err)
	}
	c.cmd = cmd
	c.starts++
	// Without a record a survivor is only found by Pdeathsig, which is no reason to run without the part.
	id, err := identify(cmd.Process.Pid, c.spec.dir)
	if err == nil {
		err = id.write(c.spec.record)
	}
	if err != nil {
		c.spec.log.WarnContext(ctx, "child process could not be recorded", "child", c.spec.name, "err", err)
	}
	return cmd, nil
}

// awaitReady reports whether the process came to serve; one that does not in time is killed, to be started again.
func (c *Child) awaitReady(ctx context.Context, cmd *exec.Cmd) bool {
	began := time.Now()
	err := c.spec.ready(ctx)
	if err == nil {
		c.spec.log.InfoContext(ctx, "child process serves", "child", c.spec.name, "pid", cmd.Process.Pid, "after", time.Since(began))
		select {
		case <-c.serving:
		default:
			close(c.serving)
		}
		return true
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		c.spec.log.WarnContext(ctx, "child process does not serve in time", "child", c.spec.name, "err", err)
	}
	_ = cmd.Process.Kill()
	return false
}

// runTied runs a short-lived command that dies with this process. See supervise about the thread.
func runTied(cmd *exec.Cmd) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Run(); err != nil {
		return refusedNamespace(cmd, err)
	}
	return nil
}

// poll calls check until it returns nil or a permanent error, or ctx ends; then it returns the last error.
func poll(ctx context.Context, every time.Duration, check func(context.Context) error) error {
	_, err := backoff.Retry(ctx, func() (struct{}, error) { return struct{}{}, check(ctx) },
		backoff.WithBackOff(backoff.NewConstantBackOff(every)), backoff.WithMaxElapsedTime(0))
	return err
}

// unwrapPermanent returns what a backoff.Permanent error holds.
func unwrapPermanent(err error) error {
	var permanent *backoff.PermanentError
	if errors.As(err, &permanent) {
		return permanent.Err
	}
	return err
}
