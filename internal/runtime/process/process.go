// Package process runs decoys as child processes of this host, one per service, each in its own session, so that they
// outlive the control plane and are adopted by the next one.
//
// It has no network of its own: decoys answer with the host's TCP/IP stack, whatever system their decky pretends to be.
//
// It is not a supervisor: it restarts nothing by itself. The invariants it protects:
//
//   - /proc is the authority on what runs. A decoy is a process whose arguments are exactly
//     `run --config <decoys dir>/<decky uuid>/<service>/config.json`; state.json next to that file only adds what the
//     kernel cannot tell (revision, boot id, whether it was verified). No pid read from disk is ever signalled.
//   - A signal goes through a pidfd whose process was identified after the pidfd was opened, so a reused pid is safe.
//   - The decoy's standard output is its log, locked with flock by the starter. The lock lives as long as any process
//     holds that open file, so even a child that was forked but has not yet reached exec when the control plane was
//     killed cannot be overlooked: nothing is written or started for a service while its log is locked. No other
//     program may flock these logs.
//   - Folder names below the decoys dir are made of uuids and validated slugs only.
package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/runtime"
	"github.com/decnet/decnet/internal/runtime/boot"
)

// Defaults of Options.
const (
	DefaultPortOffset   = 20000
	DefaultReadyTimeout = 15 * time.Second
)

// Options configures a Runtime. DataDir, ArtifactsRoot and DecoyBinary are required.
type Options struct {
	// DataDir is the folder "decoys" of the data directory; this package owns everything below it. One Runtime at a
	// time may work on it (the data directory's own lock sees to that).
	DataDir string
	// ArtifactsRoot is the root of the spools: `<root>/<decky key>/<spool name>`.
	ArtifactsRoot string
	// DecoyBinary is the path of the decoy program.
	DecoyBinary string
	// PortOffset is added to a port that is not to be had. Zero means DefaultPortOffset.
	PortOffset uint16
	// Unsafe lets decoys run without a sandbox.
	Unsafe bool
	// Users is the range decoys' user ids come from when the control plane runs as root. The zero value chooses one
	// (see boot.UserRange).
	Users boot.UserRange
	// ReadyTimeout is how long a decoy may take to report ready. Zero means DefaultReadyTimeout.
	ReadyTimeout time.Duration
	// Logger receives state changes. Nil discards them.
	Logger *slog.Logger
}

// Runtime runs decoys as processes. It is safe for concurrent use; calls for one decky are serialised.
type Runtime struct {
	opts   Options
	dirs   layout
	users  boot.UserRange
	log    *slog.Logger
	kernel string // boot id of the kernel
	locks  boot.Locks

	exits  chan struct{}
	closed chan struct{}
	once   sync.Once
	watch  sync.WaitGroup

	mu    sync.Mutex
	procs map[int]*proc
}

var _ runtime.Runtime = (*Runtime)(nil)

// New makes the runtime and starts to watch the decoys that already run. It starts and ends none.
func New(o Options) (*Runtime, error) {
	if o.PortOffset == 0 {
		o.PortOffset = DefaultPortOffset
	}
	if o.ReadyTimeout == 0 {
		o.ReadyTimeout = DefaultReadyTimeout
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	users, err := o.Users.OrDefault()
	if err != nil {
		return nil, err
	}
	dirs, err := boot.NewLayout(o.DataDir, o.ArtifactsRoot)
	if err != nil {
		return nil, err
	}
	if o.DecoyBinary, err = filepath.Abs(o.DecoyBinary); err != nil {
		return nil, fmt.Errorf("locate decoy binary: %w", err)
	}
	kernel, err := kernelBootID()
	if err != nil {
		return nil, err
	}
	r := &Runtime{
		opts: o, dirs: layout{dirs}, users: users, log: o.Logger, kernel: kernel,
		exits: make(chan struct{}, 1), closed: make(chan struct{}), procs: map[int]*proc{},
	}
	if _, err := r.scan(); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// Name returns "process".
func (r *Runtime) Name() string { return "process" }

// Networks does nothing: deckies are on the loopback interface, and networks only names.
func (*Runtime) Networks(context.Context, string, []runtime.Network) error { return nil }

// Prepare checks that decoys can run here: the binary is there and the kernel can confine it. Its failures are
// Unavailable faults.
func (r *Runtime) Prepare(context.Context) error {
	info, err := os.Stat(r.opts.DecoyBinary)
	if err != nil {
		return fault.New(fault.Unavailable, "decoy_binary_missing", "the decoy program is missing").Wrap(err)
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 {
		return fault.New(fault.Unavailable, "decoy_binary_missing", "the decoy program is not an executable file")
	}
	if r.opts.Unsafe {
		return nil
	}
	if err := seccompSupported(); err != nil {
		return fault.New(fault.Unavailable, "sandbox_unsupported",
			"this kernel cannot confine decoys (no seccomp filters); --unsafe-process-runtime runs them unconfined").Wrap(err)
	}
	return nil
}

// Exits delivers a value after a decoy ended without being told to by this Runtime. Values are merged.
func (r *Runtime) Exits() <-chan struct{} { return r.exits }

// Close stops watching and waits for the watchers; running Converge calls end with an error. Decoys go on.
func (r *Runtime) Close() error {
	r.once.Do(func() {
		r.mu.Lock()
		close(r.closed)
		for _, p := range r.procs {
			_ = p.pidfd.Close()
		}
		r.mu.Unlock()
		r.watch.Wait()
	})
	return nil
}
