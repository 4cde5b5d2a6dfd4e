package bench_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/e2e/harness"
)

// tick is the unit of times in /proc: sysconf(_SC_CLK_TCK), 100 a second on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// resident returns the resident memory of a process in MiB, peak the most it ever had.
func resident(b *testing.B, pid int) float64 { return memory(b, pid, "VmRSS:") }
func peak(b *testing.B, pid int) float64     { return memory(b, pid, "VmHWM:") }

func memory(b *testing.B, pid int, what string) float64 {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(b, err)
	for line := range strings.Lines(string(status)) {
		if text, ok := strings.CutPrefix(line, what); ok {
			kib, err := strconv.Atoi(strings.Fields(text)[0])
			require.NoError(b, err)
			return float64(kib) / 1024
		}
	}
	b.Fatalf("process %d has no %s", pid, what)
	return 0
}

// usage is processor time by program.
type usage map[string]time.Duration

// cpu returns what decnet and everything below it has used so far. What ended is counted with its parent.
func (s *system) cpu() usage {
	used := usage{}
	names := map[int]string{}
	harness.Processes(func(pid int, args []string) bool {
		names[pid] = strings.TrimSuffix(filepath.Base(strings.Fields(args[0])[0]), ":")
		return false
	})
	for pid, name := range names {
		if s.below(pid) {
			used[name] += ticks(pid)
		}
	}
	return used
}

func (s *system) below(pid int) bool {
	for ; pid > 1; pid = harness.ParentOf(pid) {
		if pid == s.PID() {
			return true
		}
	}
	return false
}

// ticks returns the processor time of a process and of its children that were waited for: fields 14 to 17 of proc(5).
func ticks(pid int) time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 15 {
		return 0
	}
	var sum time.Duration
	for _, field := range fields[11:15] {
		n, _ := strconv.Atoi(field)
		sum += time.Duration(n) * tick
	}
	return sum
}

func (u usage) since(earlier usage) usage {
	out := usage{}
	for name, d := range u {
		if d > earlier[name] {
			out[name] = d - earlier[name]
		}
	}
	return out
}

func (u usage) sum() (d time.Duration) {
	for _, part := range u {
		d += part
	}
	return d
}

// String lists the programs by name.
func (u usage) String() string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(u)) {
		parts = append(parts, fmt.Sprintf("%s %.2f s", name, u[name].Seconds()))
	}
	return strings.Join(parts, ", ")
}
