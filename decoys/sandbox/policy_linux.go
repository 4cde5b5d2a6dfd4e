package sandbox

import (
	"os"
	"slices"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/sys/unix"
)

// runtimeCalls is what the Go runtime itself needs.
var runtimeCalls = []string{
	// memory and threads
	"brk", "munmap", "madvise", "mincore", "mremap", "futex", "sched_yield", "sched_getaffinity", "set_robust_list",
	"rseq", "membarrier", "getcpu", "exit", "exit_group", "gettid", "getpid", "getppid", "getuid", "geteuid", "getgid",
	"getegid", "prlimit64", "getrlimit", "getrusage", "sysinfo", "uname", "restart_syscall",
	// signals and time
	"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigtimedwait", "sigaltstack", "nanosleep", "clock_nanosleep",
	"clock_gettime", "clock_getres", "gettimeofday", "time", "setitimer", "timer_create", "timer_settime",
	"timer_delete", "getrandom",
	// the poller
	"epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2", "eventfd2", "read", "write",
}

// decoyCalls is what a decoy's own code needs once ports are bound. It was established by running the whole test-suite
// under it. Not on it, on purpose: socket, socketpair, connect, bind, listen, sendto, sendmsg, execve, execveat, fork,
// vfork, ptrace, process_vm_*, mount and its kin, chroot, unshare, setns, kexec_*, bpf, perf_event_open, *_module, key
// management, io_uring_*, open_by_handle_at, userfaultfd, mknod*, symlink*, link*.
var decoyCalls = []string{
	// descriptors
	"readv", "writev", "pread64", "pwrite64", "close", "lseek", "fstat", "fcntl", "dup", "dup3",
	"pipe2", "poll", "ppoll", "splice", "copy_file_range", "sendfile",
	// files below an open directory; openat and stat are conditional
	"getdents64", "mkdirat", "unlinkat", "renameat", "renameat2", "readlinkat", "ftruncate", "fsync", "fdatasync",
	"fchmod", "fchmodat", "fstatfs", "fallocate", "flock",
	// sockets that exist already
	"accept", "accept4", "getsockname", "getpeername", "getsockopt", "setsockopt", "shutdown", "recvfrom", "recvmsg",
}

// gateCalls move datagrams between two descriptors; getsockopt comes with recvfrom in golang.org/x/sys.
var gateCalls = []string{"recvfrom", "sendto", "getsockopt"}

// maxDirFD bounds the first argument of openat: AT_FDCWD, and with it every plain absolute or relative path, is out.
const maxDirFD = 1 << 20

// Policy returns the filter: an allow list with EPERM for the rest. Opening needs a directory descriptor (and is not for the
// gate at all), new threads must share everything with this process and stay in its namespaces, memory never becomes
// executable and signals stay inside the process. clone3 answers ENOSYS so that callers fall back to clone, whose flags can be examined.
func Policy(o Options) seccomp.Policy {
	names := slices.Concat(runtimeCalls, decoyCalls)
	if o.Gate {
		names = slices.Concat(runtimeCalls, gateCalls)
	}
	if o.Listen {
		names = append(slices.Clone(names), "listen")
	}
	info, err := arch.GetInfo("")
	if err != nil {
		return seccomp.Policy{}
	}
	known := func(n string) bool { _, ok := info.SyscallNames[n]; return ok }
	conditional := slices.DeleteFunc(conditions(o), func(c seccomp.NameWithConditions) bool { return !known(c.Name) })
	return seccomp.Policy{
		DefaultAction: seccomp.ActionErrno,
		Syscalls: []seccomp.SyscallGroup{
			{Names: []string{"clone3"}, Action: seccomp.ActionErrno | seccomp.Action(unix.ENOSYS)},
			{
				Names:  slices.DeleteFunc(names, func(n string) bool { return !known(n) }),
				Action: seccomp.ActionAllow,
			},
			{NamesWithCondtions: conditional, Action: seccomp.ActionAllow},
		},
	}
}

const namespaceFlags = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
	unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_PTRACE

func conditions(o Options) []seccomp.NameWithConditions {
	dir := func(name string) seccomp.NameWithConditions {
		return cond(name, seccomp.Condition{Argument: 0, Operation: seccomp.LessThan, Value: maxDirFD})
	}
	files := []seccomp.NameWithConditions{dir("openat"), dir("newfstatat"), dir("statx"), dir("faccessat"), dir("faccessat2")}
	if o.Gate {
		files = nil
	}
	noExec := seccomp.Condition{Argument: 2, Operation: seccomp.BitsNotSet, Value: unix.PROT_EXEC}
	self := seccomp.Condition{Argument: 0, Operation: seccomp.Equal, Value: uint64(os.Getpid())}
	return append(files,
		cond("mmap", noExec), cond("mprotect", noExec), cond("tgkill", self),
		cond("clone", seccomp.Condition{Argument: 0, Operation: seccomp.BitsSet, Value: unix.CLONE_THREAD},
			seccomp.Condition{Argument: 0, Operation: seccomp.BitsNotSet, Value: namespaceFlags}),
	)
}

func cond(name string, c ...seccomp.Condition) seccomp.NameWithConditions {
	return seccomp.NameWithConditions{Name: name, Conditions: c}
}
