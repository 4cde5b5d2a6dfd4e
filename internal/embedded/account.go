package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/cenkalti/backoff/v5"

	"github.com/decnet/decnet/internal/fault"
)

// childPath is the PATH of child processes; nothing of our own environment is handed down.
const childPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// account is the system user a child runs as.
type account struct {
	name     string
	uid, gid uint32
	// change is true when this process is root and has to drop its privileges.
	change bool
}

// postgresAccount returns who runs Postgres, which refuses to run as root: this user; for root the owner of the
// existing cluster, else the system user postgres, else nobody.
func postgresAccount(cluster string) (account, error) {
	if os.Geteuid() != 0 {
		u, err := user.Current()
		return toAccount(u, err, false)
	}
	if info, err := os.Stat(cluster); err == nil {
		owner := info.Sys().(*syscall.Stat_t).Uid
		if owner == 0 {
			return account{}, fault.New(fault.Conflict, "postgres_owned_by_root", "%s belongs to root, as whom Postgres does not run", cluster)
		}
		u, err := user.LookupId(strconv.Itoa(int(owner)))
		return toAccount(u, err, true)
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		u, err = user.Lookup("nobody")
	}
	return toAccount(u, err, true)
}

func toAccount(u *user.User, err error, change bool) (account, error) {
	if err != nil {
		return account{}, fault.New(fault.Unavailable, "postgres_no_account", "no system user to run Postgres as").Wrap(err)
	}
	uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
	gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(uidErr, gidErr); err != nil {
		return account{}, fmt.Errorf("system user %s: %w", u.Username, err)
	}
	return account{name: u.Username, uid: uint32(uid), gid: uint32(gid), change: change}, nil
}

// give makes the account the owner of path where it is another one than ours.
func (a account) give(path string) error {
	if !a.change {
		return nil
	}
	return os.Lchown(path, int(a.uid), int(a.gid))
}

// blocker returns the topmost directory on the way to path that the account may not traverse, "" when there is none.
// Access lists are not consulted: where they say otherwise, the private view costs nothing but a mount.
func (a account) blocker(path string) string {
	if !a.change {
		return ""
	}
	at := "/"
	for _, elem := range strings.Split(strings.Trim(filepath.Dir(path), "/"), "/") {
		at = filepath.Join(at, elem)
		if info, err := os.Stat(at); err != nil || !a.traverses(info) {
			return at
		}
	}
	return ""
}

func (a account) traverses(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	bit := fs.FileMode(0o001)
	switch {
	case !ok:
		return false
	case st.Uid == a.uid:
		bit = 0o100
	case st.Gid == a.gid:
		bit = 0o010
	}
	return info.Mode().Perm()&bit != 0
}

// launcher builds commands that run as an account, see its directories whatever lies above them, and die with us. They
// have a process group of their own: a Ctrl-C at the terminal is for us alone, who end things in order.
type launcher struct {
	as account
	// dirs are the directories the command needs, readable for the account themselves.
	dirs []string
	// death is sent to the command when this process dies.
	death syscall.Signal
}

// shimHooked is set once the program is known to call RunShim; re-executing any other would just run it again.
var shimHooked atomic.Bool

// command returns a command for path that has not been started. It must be started from a locked thread.
func (l launcher) command(path string, args ...string) (*exec.Cmd, error) {
	var plan shimPlan
	for _, dir := range l.dirs {
		if at := l.as.blocker(dir); at != "" {
			plan.Binds = append(plan.Binds, dir)
			if !slices.Contains(plan.Hide, at) {
				plan.Hide = append(plan.Hide, at)
			}
		}
	}
	attr := &syscall.SysProcAttr{Pdeathsig: l.death, Setpgid: true}
	if plan.Hide == nil {
		if l.as.change {
			attr.Credential = &syscall.Credential{Uid: l.as.uid, Gid: l.as.gid}
		}
		return l.build(attr, path, args), nil
	}
	if !shimHooked.Load() {
		return nil, backoff.Permanent(l.refusal(plan.Hide[0], "this program cannot start itself with a private view"))
	}
	plan.UID, plan.GID, plan.Death, plan.Parent = int(l.as.uid), int(l.as.gid), l.death, os.Getpid()
	plan.Argv = append([]string{path}, args...)
	text, err := json.Marshal(plan)
	if err != nil {
		return nil, err
	}
	attr.Cloneflags = syscall.CLONE_NEWNS // what is mounted there is made private by the shim
	return l.build(attr, "/proc/self/exe", []string{shimWord, string(text)}), nil
}

func (l launcher) build(attr *syscall.SysProcAttr, path string, args []string) *exec.Cmd {
	cmd := exec.Command(path, args...) //nolint:gosec,noctx // Stop ends it; the path is configured or searched for
	cmd.Dir, cmd.Env, cmd.SysProcAttr = "/", []string{childPath, "LC_ALL=C", "TZ=UTC"}, attr
	return cmd
}

func (l launcher) refusal(at, why string) *fault.Error {
	return fault.New(fault.Unprocessable, "data_dir_blocked",
		"the system user %s, who runs Postgres, cannot pass the directory %s, and %s: choose another --data-dir, "+
			"or let others pass that directory (chmod o+x), or set DECNET_DATABASE_URL", l.as.name, at, why)
}

// refusedNamespace turns the failure of a command that needed a private view into a refusal that says what to do.
func refusedNamespace(cmd *exec.Cmd, err error) error {
	if err == nil || len(cmd.Args) < 3 || cmd.Args[1] != shimWord {
		return err
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() != shimExitCode {
		return err
	}
	var plan shimPlan
	if json.Unmarshal([]byte(cmd.Args[2]), &plan) != nil || len(plan.Hide) == 0 {
		return err
	}
	name := strconv.Itoa(plan.UID)
	if u, lookupErr := user.LookupId(name); lookupErr == nil {
		name = u.Username
	}
	l := launcher{as: account{name: name}}
	return backoff.Permanent(l.refusal(plan.Hide[0], "this machine does not permit a private view of it").Wrap(err))
}
