package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// identity proves that a process is the one that was recorded: the kernel reuses pids, but not together with the start
// time (in clock ticks since boot) within one boot.
type identity struct {
	PID        int    `json:"pid"`
	StartTicks uint64 `json:"start_ticks"`
	BootID     string `json:"boot_id"`
	// Dir is the data of the process; a record copied with its directory proves nothing about the original.
	Dir string `json:"dir"`
}

// identify describes a live process; an error means there is none with that pid.
func identify(pid int, dir string) (identity, error) {
	ticks, err := startTicks(pid)
	if err != nil {
		return identity{}, err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return identity{}, fmt.Errorf("read boot id: %w", err)
	}
	return identity{PID: pid, StartTicks: ticks, BootID: strings.TrimSpace(string(boot)), Dir: dir}, nil
}

// startTicks reads field 22 of /proc/<pid>/stat (proc_pid_stat(5)). The command in field 2 may hold blanks and
// brackets, so counting starts after the last closing one. A zombie counts as gone once no other thread of it holds
// files and sockets open.
func startTicks(pid int) (uint64, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 20 || fields[0] == "X" || fields[0] == "Z" && lastThread(pid) {
		return 0, fs.ErrNotExist
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

func lastThread(pid int) bool {
	threads, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/task")
	return err != nil || len(threads) <= 1
}

// alive reports whether exactly this process still runs.
func (id identity) alive() bool {
	now, err := identify(id.PID, id.Dir)
	return err == nil && now == id
}

func (id identity) write(path string) error {
	content, err := json.Marshal(id)
	if err != nil {
		return err
	}
	return writeAtomic(path, content, 0o600)
}

// readIdentity returns the record at path; ok is false when there is none or it is damaged.
func readIdentity(path string) (id identity, ok bool) {
	content, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(content, &id) != nil || id.PID <= 1 {
		return identity{}, false
	}
	return id, true
}

// stopSurvivor ends the process recorded at path if it is provably the recorded one and works on dir: with sig first,
// then by force. It returns its pid, 0 when there was none. A process that cannot be proven is left alone.
func stopSurvivor(path, dir string, sig syscall.Signal, patience time.Duration) (pid int, err error) {
	id, ok := readIdentity(path)
	if !ok || id.Dir != dir || !id.alive() {
		return 0, removeIfExists(path)
	}
	for _, step := range []stopStep{{sig, patience}, {syscall.SIGKILL, 5 * time.Second}} {
		if err := syscall.Kill(id.PID, step.signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return id.PID, fmt.Errorf("stop surviving process %d: %w", id.PID, err)
		}
		for deadline := time.Now().Add(step.patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			if !id.alive() {
				return id.PID, removeIfExists(path)
			}
		}
	}
	return id.PID, fmt.Errorf("surviving process %d does not end", id.PID)
}

// worksIn reports whether the process has dir as its working directory, whatever mount namespace it lives in.
func worksIn(pid int, dir string) bool {
	cwd, err := os.Stat(filepath.Join("/proc", strconv.Itoa(pid), "cwd"))
	if err != nil {
		return false
	}
	info, err := os.Stat(dir)
	return err == nil && os.SameFile(cwd, info)
}

// anyWorksIn reports whether any process has dir as its working directory.
func anyWorksIn(dir string) bool {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && worksIn(pid, dir) {
			return true
		}
	}
	return false
}

func removeIfExists(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
