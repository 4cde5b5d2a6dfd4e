package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// shimWord is the first argument of a re-executed self; see RunShim.
const shimWord = "__decnet_private_view"

// shimExitCode tells a refusal of the kernel from a failure of the program that was to be run.
const shimExitCode = 125

// shimPlan is what the re-executed self has to do before it becomes another program.
type shimPlan struct {
	// Hide are directories the account cannot pass; each is covered by an empty one that it can.
	Hide []string
	// Binds are the directories to be seen at their own paths all the same.
	Binds    []string
	UID, GID int
	Death    syscall.Signal
	Parent   int
	Argv     []string
}

// RunShim must be the first thing main does (and TestMain, in tests that start Postgres as root), with os.Args. In an
// ordinary run it returns at once. When decnet re-executed itself to start Postgres beneath a directory that the
// unprivileged user cannot pass, it builds a private view of the file system, drops privileges, becomes Postgres and
// does not return.
//
// In the private mount namespace every blocking directory is covered by an empty, passable one, and only the needed
// directories are mounted back at the very same paths: paths mean the same inside and outside, nothing is opened up
// for anybody else, and Postgres sees less than it would otherwise.
func RunShim(args []string) {
	if len(args) != 3 || args[1] != shimWord {
		shimHooked.Store(true)
		return
	}
	err := runShim(args[2])
	fmt.Fprintln(os.Stderr, "decnet: private view:", err) // only reached on failure
	os.Exit(shimExitCode)                                 //nolint:forbidigo // this is main of the re-executed self
}

func runShim(text string) error {
	var plan shimPlan
	if err := json.Unmarshal([]byte(text), &plan); err != nil {
		return err
	}
	if len(plan.Argv) == 0 || len(plan.Hide) == 0 {
		return errors.New("nothing to do")
	}
	runtime.LockOSThread() // PR_SET_PDEATHSIG belongs to the thread that will call execve
	unix.Umask(0o022)
	if err := plan.mount(); err != nil {
		return err
	}
	if err := plan.drop(); err != nil {
		return err
	}
	return unix.Exec(plan.Argv[0], plan.Argv, os.Environ()) //nolint:forbidigo // hands on what the launcher chose
}

// isolate keeps what is mounted here from showing up elsewhere. Below a changed root that is no mount point itself, the
// mounts that hold the directories to be covered are isolated one by one.
func (p shimPlan) isolate() error {
	err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	if !errors.Is(err, unix.EINVAL) {
		return err
	}
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for _, dir := range p.Hide {
		point := mountPoint(string(table), dir)
		if point == "" {
			return fmt.Errorf("%s lies on no mount that can be made private", dir)
		}
		if err := unix.Mount("", point, "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("make %s private: %w", point, err)
		}
	}
	return nil
}

// mountPoint returns the mount point in a table (proc_pid_mountinfo(5), fifth field) that holds an absolute path, "" for
// none. Points with unusual characters are spelled in octal there and are not matched.
func mountPoint(table, path string) string {
	best := ""
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		point := fields[4]
		if within := path == point || strings.HasPrefix(path, strings.TrimSuffix(point, "/")+"/"); within && len(point) >= len(best) {
			best = point
		}
	}
	return best
}

func (p shimPlan) mount() error {
	if err := p.isolate(); err != nil {
		return fmt.Errorf("private view: %w", err)
	}
	handles := make([]int, len(p.Binds))
	for i, dir := range p.Binds {
		fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open %s: %w", dir, err)
		}
		handles[i] = fd
	}
	for _, dir := range p.Hide {
		if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0711,size=64k"); err != nil {
			return fmt.Errorf("cover %s: %w", dir, err)
		}
	}
	for i, dir := range p.Binds {
		if err := makePassable(p.Hide, dir); err != nil {
			return err
		}
		if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", handles[i]), dir, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s: %w", dir, err)
		}
	}
	return nil
}

// makePassable creates dir and its parents in the empty directory that covers one of hide.
func makePassable(hide []string, dir string) error {
	for _, top := range hide {
		rest, ok := strings.CutPrefix(dir, top+"/")
		if !ok {
			continue
		}
		at := top
		for _, elem := range strings.Split(rest, "/") {
			at = filepath.Join(at, elem)
			if err := os.Mkdir(at, 0o711); err != nil && !errors.Is(err, os.ErrExist) { //nolint:gosec // to be passed by the account
				return err
			}
		}
	}
	return nil
}

// drop gives up root and asks to die with the parent, which a change of credentials would have cancelled.
func (p shimPlan) drop() error {
	if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(p.GID), syscall.Setuid(p.UID)); err != nil {
		return fmt.Errorf("drop privileges: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(p.Death), 0, 0, 0); err != nil {
		return fmt.Errorf("tie to parent: %w", err)
	}
	if os.Getppid() != p.Parent {
		return errors.New("the parent is gone")
	}
	return nil
}
