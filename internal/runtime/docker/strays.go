package docker

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"github.com/google/uuid"
	"github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"

	"github.com/decnet/decnet/internal/compose"
	"github.com/decnet/decnet/internal/runtime/boot"
)

// containerID is how an engine names a container in the control group of its processes.
var containerID = regexp.MustCompile(`[0-9a-f]{64}`)

// stray is a process of ours in a container.
type stray struct {
	pid       int
	container string
}

// initializer are the arguments of a container's process before it becomes what the container is to run. One whose engine
// was killed at that moment waits for ever, and keeps the container's network.
var initializer = []byte("runc\x00init\x00")

// endStrays kills what is left of our containers that the engine does not know to run: an engine that was killed while it
// started one may forget it, and what it forgot would go on answering for the address of its successor. Processes are
// looked at first and the engine is asked then: whatever it has started meanwhile is in its answer.
func (r *Runtime) endStrays(ctx context.Context) error {
	found := r.processes()
	if len(found) == 0 {
		return nil
	}
	containers, err := r.containers(ctx, uuid.Nil)
	if err != nil {
		return err
	}
	known := make(map[string]bool, len(containers))
	for _, s := range containers {
		// One that ended has no process, whatever the engine remembers of it.
		known[s.ID] = s.State != container.StateExited && s.State != container.StateDead
	}
	for _, p := range found {
		if !known[p.container] {
			r.endStray(ctx, p)
		}
	}
	return nil
}

// endRemains kills what is left of a container that was removed: an engine that does not know it to run removes it without
// looking for its processes.
func (r *Runtime) endRemains(ctx context.Context, id string) {
	for _, pid := range pids() {
		if containerOf(pid) == id {
			r.endStray(ctx, stray{pid: pid, container: id})
		}
	}
}

// endStray kills a process if it still is in the container it was seen in.
func (r *Runtime) endStray(ctx context.Context, p stray) {
	fd, err := unix.PidfdOpen(p.pid, 0)
	if err != nil {
		return // it ended
	}
	defer func() { _ = unix.Close(fd) }()
	if containerOf(p.pid) != p.container {
		return
	}
	err = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	r.log.WarnContext(ctx, "the engine forgot a container, what was left of it is ended", "container", p.container, "pid", p.pid, "err", err)
}

// processes lists the processes of this installation's containers on this host.
func (r *Runtime) processes() []stray {
	var found []stray
	for _, pid := range pids() {
		if p, ok := r.identify(pid); ok {
			found = append(found, p)
		}
	}
	return found
}

// pids lists the processes of this host. Nothing to be seen is nothing to be ended.
func pids() []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var list []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			list = append(list, pid)
		}
	}
	return list
}

// containerOf returns the container a process is in, "" when it is in none or has ended.
func containerOf(pid int) string {
	group, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return ""
	}
	return string(containerID.Find(group))
}

// identify reports whether a process is a base or a decoy of this installation in a container.
func (r *Runtime) identify(pid int) (stray, bool) {
	proc := fmt.Sprintf("/proc/%d/", pid)
	line, err := os.ReadFile(proc + "cmdline")
	if err != nil {
		return stray{}, false
	}
	if !r.startedByUs(proc, line) {
		return stray{}, false
	}
	id := containerOf(pid)
	return stray{pid: pid, container: id}, id != ""
}

// startedByUs tells by its arguments, and where these do not tell by its state folder, whose a process is.
func (r *Runtime) startedByUs(proc string, line []byte) bool {
	if bytes.Equal(line, initializer) {
		return r.servesOurs(proc)
	}
	args := bytes.Split(bytes.TrimSuffix(line, []byte{0}), []byte{0})
	if len(args) < 3 || filepath.Base(string(args[0])) != "decoy" {
		return false
	}
	switch string(args[1]) {
	case "pause":
		return string(args[2]) == r.opts.Installation.String()
	case "run":
		return r.servesOurs(proc)
	}
	return false
}

// servesOurs reports whether the state folder of a decoy in a container is one of ours. A base has none: what is left of
// one is found when it is removed.
func (r *Runtime) servesOurs(proc string) bool {
	mounts, err := os.ReadFile(proc + "mountinfo")
	if err != nil {
		return false
	}
	for line := range bytes.Lines(mounts) {
		fields := bytes.Fields(line) // proc_pid_mountinfo(5): the fourth is the source inside its file system
		if len(fields) < 5 || string(fields[4]) != compose.StatePath {
			continue
		}
		service := filepath.Dir(string(fields[3]))
		decky, err := uuid.Parse(filepath.Base(filepath.Dir(service)))
		if err != nil {
			return false
		}
		ours, errOurs := os.Stat(r.dirs.State(boot.Ref{Decky: decky, Service: filepath.Base(service)}))
		theirs, errTheirs := os.Stat(proc + "root" + compose.StatePath)
		return errOurs == nil && errTheirs == nil && os.SameFile(ours, theirs)
	}
	return false
}
