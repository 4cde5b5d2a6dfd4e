package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// probe answers one question per connection about what the process that holds it may do. Nothing confines this program
// but what it was started in.
func probe(cfg config, c net.Conn) {
	question, _ := bufio.NewReader(c).ReadString('\n')
	var answer string
	switch strings.TrimSpace(question) {
	case "root":
		answer = written("/x")
	case "config":
		answer = written("/config.json.new")
	case "spool":
		answer = written(cfg.Spool + "/x")
	case "capabilities":
		answer = capabilities()
	case "privileges":
		answer = run(cfg.Spool+"/setuid", "euid")
	case "namespace":
		answer = fmt.Sprint(unix.Unshare(unix.CLONE_NEWUSER))
	case "processes":
		answer = many(func() (func(), error) {
			cmd := exec.Command("/proc/self/exe", "pause")
			err := cmd.Start()
			return func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }, err
		})
	case "files":
		answer = many(func() (func(), error) {
			f, err := os.Open("/")
			return func() { _ = f.Close() }, err
		})
	case "file size":
		signal.Ignore(syscall.SIGXFSZ)
		answer = grown(cfg.Spool + "/big")
	}
	_, _ = fmt.Fprintln(c, answer)
}

// many does something 3000 times, undoes it and tells how often it went well and why it did not.
func many(do func() (undo func(), err error)) string {
	for n := range 3000 {
		undo, err := do()
		if errno, ok := errors.AsType[syscall.Errno](err); ok {
			return fmt.Sprintf("%d %v", n, errno)
		}
		if err != nil {
			return fmt.Sprintf("%d %v", n, err)
		}
		defer undo() //nolint:revive // all at the end
	}
	return "3000 <nil>"
}

func written(path string) string {
	f, err := os.Create(path)
	if err == nil {
		_ = f.Close()
	}
	return plain(err)
}

// grown tells up to how many MiB a file without content can be made.
func grown(path string) string {
	f, err := os.Create(path)
	if err != nil {
		return plain(err)
	}
	defer func() { _ = f.Close(); _ = os.Remove(path) }()
	for mib := int64(64); mib <= 1<<16; mib *= 2 {
		if err := f.Truncate(mib << 20); err != nil {
			return fmt.Sprintf("%d %s", mib/2, plain(err))
		}
	}
	return "65536 <nil>"
}

// capabilities lists what is in any of the process's sets.
func capabilities() string {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err.Error()
	}
	var held []string
	for line := range strings.Lines(string(status)) {
		if name, set, ok := strings.Cut(line, ":"); ok && strings.HasPrefix(name, "Cap") && strings.Trim(set, "0\t\n") != "" {
			held = append(held, name)
		}
	}
	for number := range 41 {
		if in, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(number), 0, 0, 0); err == nil && in != 0 {
			held = append(held, fmt.Sprint(number))
		}
	}
	return fmt.Sprint(held)
}

func run(program string, args ...string) string {
	out, err := exec.Command(program, args...).CombinedOutput()
	return strings.TrimSpace(string(out)) + " " + plain(err)
}

func plain(err error) string {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno.Error()
	}
	return fmt.Sprint(err)
}
