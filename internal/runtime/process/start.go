package process

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/runtime"
	"github.com/decnet/decnet/internal/runtime/boot"
)

const (
	lockTimeout = 5 * time.Second
	lockPoll    = 20 * time.Millisecond
)

// start forks the decoy of a service of which nothing runs. When it fails, nothing of the new decoy is left running.
func (r *Runtime) start(ctx context.Context, d runtime.Decky, s runtime.Service) (*unit, error) {
	id := boot.Ref{Decky: d.ID, Service: s.Name}
	uid, gid := r.users.Owner(d.ID)
	if err := r.dirs.Prepare(id, d.Key, uid, gid); err != nil {
		return nil, err
	}
	logFile, err := r.lockLog(ctx, id)
	if err != nil {
		return nil, err
	}
	defer logFile.Close() // the decoy's copies keep the lock
	offset, err := logFile.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, fmt.Errorf("find end of log: %w", err)
	}
	u := &unit{ref: id, rec: record{
		DeckyKey: d.Key, Service: s.Name, Revision: s.Revision, BootID: uuid.New(), LogOffset: offset, KernelBoot: r.kernel,
	}}
	if err := r.writeConfig(d, s, u.rec.BootID, boot.User{UID: uid, GID: gid}); err != nil {
		return nil, err
	}
	if err := r.dirs.WriteRecord(id, u.rec); err != nil {
		return nil, err
	}
	if u.proc, err = r.fork(id, logFile); err != nil {
		return nil, err
	}
	u.rec.PID, u.rec.Start = u.proc.pid, u.proc.start
	if err := r.dirs.WriteRecord(id, u.rec); err != nil {
		r.abandon(u.proc)
		return nil, err
	}
	r.log.InfoContext(ctx, "decoy started", "decky_id", d.ID, "service", s.Name, "revision", s.Revision, "pid", u.proc.pid)
	return u, nil
}

func (r *Runtime) writeConfig(d runtime.Decky, s runtime.Service, bootID uuid.UUID, who boot.User) error {
	id := boot.Ref{Decky: d.ID, Service: s.Name}
	cfg := boot.NewConfig(d, s, bootID, who, func(ip netip.Addr, port uint16) []string {
		return alternatives(ip, port, r.opts.PortOffset)
	})
	cfg.Spool, cfg.State, cfg.Unsafe = r.dirs.Spool(d.Key, s.Name), r.dirs.State(id), r.opts.Unsafe
	return r.dirs.WriteConfig(id, cfg)
}

// alternatives are the addresses a port may be served at: its own, then shifted. A shifted port past the end wraps
// around above the privileged ones.
func alternatives(ip netip.Addr, port, offset uint16) []string {
	shifted := int(port) + int(offset)
	if shifted > 65535 {
		shifted = 1024 + shifted%(65536-1024)
	}
	return []string{
		netip.AddrPortFrom(ip, port).String(),
		netip.AddrPortFrom(ip, uint16(shifted)).String(),
	}
}

// lockLog opens the log of a decoy and takes its lock, ending whatever still holds it: a duplicate, or a child of a
// killed control plane that had not yet become visible as a decoy.
func (r *Runtime) lockLog(ctx context.Context, id boot.Ref) (*os.File, error) {
	f, err := os.OpenFile(r.dirs.log(id), os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW, 0o640) //nolint:gosec // a collector of the group may read it
	if err != nil {
		return nil, fmt.Errorf("open log of service %s: %w", id.Service, err)
	}
	if err := r.flock(ctx, f, id); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

func (r *Runtime) flock(ctx context.Context, f *os.File, id boot.Ref) error {
	ctx, cancel := context.WithTimeoutCause(ctx, lockTimeout, fault.New(fault.OperationFailed, "decoy_stuck",
		"a former decoy of service %s does not end", id.Service))
	defer cancel()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return nil
		}
		live, scanErr := r.scan()
		if scanErr != nil {
			return scanErr
		}
		if err := r.stop(ctx, live[id]); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("lock log of service %s: %w", id.Service, context.Cause(ctx))
		case <-time.After(lockPoll):
		}
	}
}

// fork starts the decoy in a session of its own with an empty environment. Its arguments hold nothing but the
// configuration's path.
func (r *Runtime) fork(id boot.Ref, logFile *os.File) (*proc, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, fmt.Errorf("start decoy: %w", err)
	}
	defer null.Close()
	fd := -1
	pid, err := syscall.ForkExec(r.opts.DecoyBinary, //nolint:gosec // program from the options, path made of a uuid and a slug
		[]string{r.opts.DecoyBinary, "run", "--config", r.dirs.Config(id)},
		&syscall.ProcAttr{
			Dir: "/", Env: []string{},
			Files: []uintptr{null.Fd(), logFile.Fd(), logFile.Fd()},
			Sys:   &syscall.SysProcAttr{Setsid: true, PidFD: &fd},
		})
	if err != nil {
		return nil, boot.StartFailed(id.Service, "the decoy program cannot be executed").Wrap(err)
	}
	if fd == -1 { // kernel without CLONE_PIDFD; the child is not reaped yet, so its pid is still its own
		if fd, err = unix.PidfdOpen(pid, 0); err != nil {
			return nil, fmt.Errorf("watch decoy %s: %w", strconv.Itoa(pid), err)
		}
	}
	start, _ := startTicks(pid) // readable until the child is reaped
	return r.attach(&proc{ref: id, pid: pid, start: start, child: true}, fd), nil
}
