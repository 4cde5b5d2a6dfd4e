package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/decnet/decnet/internal/runtime/boot"
)

// proc is one decoy process that was identified by its arguments while its pidfd was open.
type proc struct {
	ref   boot.Ref
	pid   int
	start uint64 // clock ticks after the kernel's boot
	child bool   // ours to reap
	pidfd *os.File

	ending atomic.Bool   // this Runtime ends it
	done   chan struct{} // closed once it is gone, its sockets with it
	exit   string        // why it ended, valid after done
}

// signal reaches exactly this process, never another one with its pid. A process that is gone is no error. Neither is a
// closed pidfd: it means that the process is gone too, or that the Runtime is closed, which ends every wait.
func (p *proc) signal(sig unix.Signal) error {
	p.ending.Store(true)
	conn, err := p.pidfd.SyscallConn()
	if err != nil {
		return nil
	}
	var sent error
	_ = conn.Control(func(fd uintptr) { sent = unix.PidfdSendSignal(int(fd), sig, nil, 0) })
	if sent != nil && !errors.Is(sent, unix.ESRCH) {
		return fmt.Errorf("signal decoy: %w", sent)
	}
	return nil
}

func (p *proc) gone() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// wait waits until the process is gone.
func (p *proc) wait(ctx context.Context, limit time.Duration) error {
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return os.ErrDeadlineExceeded
	}
}

// scan identifies every decoy of this installation that runs now and watches those it did not know.
func (r *Runtime) scan() (map[boot.Ref][]*proc, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("scan processes: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("scan processes: %w", err)
	}
	found := map[boot.Ref][]*proc{}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if p := r.identify(pid); p != nil {
			found[p.ref] = append(found[p.ref], p)
		}
	}
	return found, nil
}

// identify returns the decoy with this pid, or nil when the pid is something else or ends meanwhile.
func (r *Runtime) identify(pid int) *proc {
	id, ok := r.decoyArgs(pid)
	if !ok {
		return nil
	}
	start, err := startTicks(pid)
	if err != nil {
		return nil
	}
	r.mu.Lock()
	known := r.procs[pid]
	r.mu.Unlock()
	if known != nil && known.start == start {
		return known
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil
	}
	// The pid may have changed hands before the pidfd was opened; what is read now is the pidfd's process, because a
	// process that still exists keeps its pid.
	again, ok := r.decoyArgs(pid)
	start2, err := startTicks(pid)
	if !ok || err != nil || again != id || start2 != start || pidfdExited(fd) {
		_ = unix.Close(fd)
		return nil
	}
	return r.attach(&proc{ref: id, pid: pid, start: start}, fd)
}

// attach starts to watch a process; it returns the watched one, which is another when two callers found it at once.
func (r *Runtime) attach(p *proc, fd int) *proc {
	r.mu.Lock()
	defer r.mu.Unlock()
	if known := r.procs[p.pid]; known != nil && known.start == p.start {
		_ = unix.Close(fd)
		known.child = known.child || p.child
		return known
	}
	// Non-blocking, the file is served by the network poller: watching costs a goroutine, not a thread.
	_ = unix.SetNonblock(fd, true)
	p.pidfd = os.NewFile(uintptr(fd), "pidfd")
	p.done = make(chan struct{})
	select {
	case <-r.closed:
		_ = p.pidfd.Close()
		return p
	default:
	}
	r.procs[p.pid] = p
	r.watch.Go(func() { r.follow(p) })
	return p
}

// follow waits for the end of a process, reaps it when it is a child and tells who waits for it.
func (r *Runtime) follow(p *proc) {
	ctx := context.Background() //nolint:forbidigo // root of a background loop
	defer p.pidfd.Close()
	conn, err := p.pidfd.SyscallConn()
	if err == nil {
		err = conn.Read(func(fd uintptr) bool { return pidfdExited(int(fd)) })
	}
	if err != nil {
		return // Close
	}
	r.mu.Lock()
	p.exit = p.reap()
	if r.procs[p.pid] == p {
		delete(r.procs, p.pid)
	}
	r.mu.Unlock()
	close(p.done)
	if p.ending.Load() {
		return
	}
	r.log.WarnContext(ctx, "decoy ended by itself",
		"decky_id", p.ref.Decky, "service", p.ref.Service, "pid", p.pid, "exit", p.exit)
	select {
	case r.exits <- struct{}{}:
	default:
	}
}

// reap returns how the process ended, as far as that can be known: only parents learn a status.
func (p *proc) reap() string {
	if !p.child {
		return "ended"
	}
	var ws unix.WaitStatus
	for {
		_, err := unix.Wait4(p.pid, &ws, unix.WNOHANG, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if ws.Signaled() {
		return "ended by " + ws.Signal().String()
	}
	return "exit status " + strconv.Itoa(ws.ExitStatus())
}

func pidfdExited(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n == 1
}

// decoyArgs reads the arguments of a process. A zombie or a process before exec of a decoy has none that match.
func (r *Runtime) decoyArgs(pid int) (boot.Ref, bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil {
		return boot.Ref{}, false
	}
	args := bytes.Split(bytes.TrimSuffix(b, []byte{0}), []byte{0})
	if len(args) != 4 || string(args[1]) != "run" || string(args[2]) != "--config" {
		return boot.Ref{}, false
	}
	return r.dirs.parseConfig(string(args[3]))
}

// startTicks returns field 22 of /proc/<pid>/stat. The command name in field 2 may hold anything, so fields are counted
// after its closing parenthesis.
func startTicks(pid int) (uint64, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, fmt.Errorf("read process start: %w", err)
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) < 20 {
		return 0, errors.New("read process start: short stat")
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

func kernelBootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read kernel boot id: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// seccompSupported offers the kernel a filter at address zero: one that knows filters finds nothing there (EFAULT), any
// other does not know the request (EINVAL). Neither changes anything.
var seccompSupported = sync.OnceValue(func() error {
	err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, 0, 0, 0)
	if errors.Is(err, unix.EFAULT) {
		return nil
	}
	return fmt.Errorf("seccomp: %w", err)
})
