//go:build probe

package shell

import (
	"errors"
	"net"
	"os"
	"syscall"
	"time"
)

// The probe exists in test builds only. It tries from inside the confined process what an intruder who broke out of the
// shell would try, and prints the outcome of each attempt.
func init() {
	extra = func() { programs["decnet-probe"] = cmdProbe }
}

func cmdProbe(c *call) int {
	if len(c.args) < 2 {
		return c.fail(2, "usage: host:port [path]")
	}
	report := func(what string, err error) {
		if err == nil {
			c.printf("%s: OPENED\n", what)
			return
		}
		msg := err.Error()
		if e, ok := errors.AsType[syscall.Errno](err); ok {
			msg = e.Error()
		}
		c.printf("%s: denied: %s\n", what, msg)
	}
	for _, network := range []string{"tcp", "udp"} {
		conn, err := net.DialTimeout(network, c.args[1], 2*time.Second)
		if err == nil {
			_, err = conn.Write([]byte("escaped\n"))
			_ = conn.Close()
		}
		report(network, err)
	}
	_, err := net.Dial("unix", "/run/dbus/system_bus_socket")
	report("unix", err)
	_, err = net.Listen("tcp", "127.0.0.1:0")
	report("listen", err)
	_, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_RAW, syscall.IPPROTO_ICMP)
	report("raw", err)
	report("execve", syscall.Exec("/bin/true", []string{"true"}, nil))
	_, err = os.StartProcess("/bin/true", []string{"true"}, &os.ProcAttr{})
	report("fork", err)
	for _, p := range append([]string{"/etc/shadow", "/etc/hostname", "/proc/self/environ"}, c.args[2:]...) {
		_, err := os.ReadFile(p)
		report("read "+p, err)
		fd, err := syscall.Openat(3, p, syscall.O_RDONLY, 0)
		if err == nil {
			_ = syscall.Close(fd)
		}
		report("openat "+p, err)
	}
	report("setuid", syscall.Setuid(0))
	report("unshare", syscall.Unshare(syscall.CLONE_NEWUSER))
	report("ptrace", syscall.PtraceAttach(1))
	report("mount", syscall.Mount("none", "/tmp", "tmpfs", 0, ""))
	report("kill", syscall.Kill(os.Getppid(), 0))
	return 0
}
