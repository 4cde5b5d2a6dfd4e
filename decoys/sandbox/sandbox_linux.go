package sandbox

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"github.com/landlock-lsm/go-landlock/landlock"
	llsys "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// Apply confines the whole process for good. On an error the process may be partly confined and must exit. A missing
// Landlock is not an error; a missing seccomp is, unless o.Unsafe.
func Apply(o Options) (Report, error) {
	var r Report
	if err := setLimits(o); err != nil {
		return r, err
	}
	r.Layers = append(r.Layers, LayerRlimits)
	landlocked, err := restrictPaths(o)
	if err != nil {
		return r, err
	}
	if err := dropPrivileges(o, &r); err != nil {
		return r, err
	}
	if landlocked {
		r.Layers = append(r.Layers, LayerLandlock)
	}
	switch err := loadFilter(o); {
	case err == nil:
		r.Layers = append(r.Layers, LayerSeccomp)
	case !o.Unsafe:
		return r, fmt.Errorf("install seccomp filter: %w", err)
	}
	return r, nil
}

func setLimits(o Options) error {
	limits := []struct {
		what int
		max  uint64
	}{{unix.RLIMIT_CORE, 0}, {unix.RLIMIT_NOFILE, 1024}, {unix.RLIMIT_FSIZE, 1 << 30}}
	if o.UID > 0 {
		// Counted per user, threads included: only meaningful for an account of our own.
		limits = append(limits, struct {
			what int
			max  uint64
		}{unix.RLIMIT_NPROC, 4096})
	}
	for _, l := range limits {
		var now syscall.Rlimit
		if err := syscall.Getrlimit(l.what, &now); err != nil {
			return fmt.Errorf("read resource limit %d: %w", l.what, err)
		}
		n := min(l.max, now.Max)
		if err := syscall.Setrlimit(l.what, &syscall.Rlimit{Cur: n, Max: n}); err != nil {
			return fmt.Errorf("set resource limit %d: %w", l.what, err)
		}
	}
	return nil
}

// restrictPaths reports whether Landlock is in force. Where the kernel knows them, TCP bind and connect, abstract Unix
// sockets and signals to other processes are forbidden too.
func restrictPaths(o Options) (bool, error) {
	if v, err := llsys.LandlockGetABIVersion(); err != nil || v < 1 {
		return false, nil
	}
	if err := landlock.V7.BestEffort().Restrict(landlock.RWDirs(o.Writable...)); err != nil {
		if o.Unsafe {
			return false, nil
		}
		return false, fmt.Errorf("restrict paths: %w", err)
	}
	return true, nil
}

func dropPrivileges(o Options, r *Report) error {
	if os.Geteuid() == 0 {
		dropBoundingSet()
		if o.UID > 0 {
			if err := becomeUser(o.UID, o.GID); err != nil {
				return err
			}
			r.Layers = append(r.Layers, LayerUser)
		}
	}
	if err := dropCapabilities(); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	r.Layers = append(r.Layers, LayerCaps)
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("clear dumpable: %w", err)
	}
	return nil
}

// becomeUser relies on the runtime applying these calls to every thread.
func becomeUser(uid, gid int) error {
	if err := syscall.Setgroups(nil); err != nil {
		return fmt.Errorf("drop groups: %w", err)
	}
	if err := syscall.Setresgid(gid, gid, gid); err != nil {
		return fmt.Errorf("set gid: %w", err)
	}
	if err := syscall.Setresuid(uid, uid, uid); err != nil {
		return fmt.Errorf("set uid: %w", err)
	}
	if os.Getuid() != uid || os.Geteuid() != uid || os.Getgid() != gid || syscall.Setuid(0) == nil {
		return errors.New("still privileged after changing user")
	}
	return nil
}

// dropBoundingSet is best effort: without no new programs the bounding set has no effect anyway.
func dropBoundingSet() {
	for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
		_, _, _ = syscall.AllThreadsSyscall(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, c, 0)
	}
}

// dropCapabilities empties the capability sets of every thread. With cgo, which release builds do not use, only the
// change of user does that.
func dropCapabilities() error {
	_, _, _ = syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0, 0)
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	_, _, e := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&hdr)), uintptr(unsafe.Pointer(&none[0])), 0)
	runtime.KeepAlive(&none)
	if e == unix.ENOTSUP {
		return unix.Capset(&hdr, &none[0])
	}
	if e != 0 {
		return e
	}
	return nil
}

// loadFilter installs the allow list on all threads; the kernel carries no_new_privs along.
func loadFilter(o Options) error {
	if !seccomp.Supported() {
		return errors.New("seccomp is not supported by this kernel")
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return seccomp.LoadFilter(seccomp.Filter{NoNewPrivs: true, Flag: seccomp.FilterFlagTSync, Policy: Policy(o)})
}
