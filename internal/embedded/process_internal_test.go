package embedded

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/stretchr/testify/require"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func sleeping(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "600")
	require.NoError(t, cmd.Start())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
	})
	return cmd
}

func TestStopSurvivor_ProvenProcessEnds(t *testing.T) {
	t.Parallel()
	cmd, record := sleeping(t), filepath.Join(t.TempDir(), "p")
	id, err := identify(cmd.Process.Pid, "/data")
	require.NoError(t, err)
	require.NoError(t, id.write(record))
	pid, err := stopSurvivor(record, "/data", syscall.SIGTERM, 5*time.Second)
	require.NoError(t, err)
	require.Equal(t, cmd.Process.Pid, pid)
	require.False(t, id.alive())
	require.NoFileExists(t, record)
}

func TestStopSurvivor_UnprovenProcessIsLeftAlone(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*identity){
		"other start time": func(id *identity) { id.StartTicks++ },
		"other boot":       func(id *identity) { id.BootID = "x" },
		"other directory":  func(id *identity) { id.Dir = "/elsewhere" },
		"init":             func(id *identity) { id.PID = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd, record := sleeping(t), filepath.Join(t.TempDir(), "p")
			id, err := identify(cmd.Process.Pid, "/data")
			require.NoError(t, err)
			truth := id
			change(&id)
			require.NoError(t, id.write(record))
			pid, err := stopSurvivor(record, "/data", syscall.SIGTERM, time.Second)
			require.NoError(t, err)
			require.Zero(t, pid)
			require.True(t, truth.alive())
			require.NoFileExists(t, record)
		})
	}
}

func TestStopSurvivor_DamagedRecordIsNone(t *testing.T) {
	t.Parallel()
	record := filepath.Join(t.TempDir(), "p")
	require.NoError(t, os.WriteFile(record, []byte("{"), 0o600))
	pid, err := stopSurvivor(record, "/data", syscall.SIGTERM, time.Second)
	require.NoError(t, err)
	require.Zero(t, pid)
}

// shell returns a spec that runs a shell script which serves at once.
func shell(t *testing.T, script string) childSpec {
	t.Helper()
	dir := t.TempDir()
	return childSpec{
		name: "shell", dir: dir, record: filepath.Join(dir, "record"), out: newOutput(filepath.Join(dir, "log")), log: quiet(),
		command: func(context.Context) (*exec.Cmd, error) {
			return exec.Command("sh", "-c", script), nil
		},
		ready: func(context.Context) error { return nil }, readyTimeout: time.Minute,
		steps: []stopStep{{syscall.SIGTERM, 200 * time.Millisecond}},
	}
}

func TestChild_StartFailureShowsOutput(t *testing.T) {
	t.Parallel()
	spec := shell(t, "echo no such luck >&2; exit 3")
	spec.ready = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	_, err := startChild(t.Context(), spec, nil)
	require.ErrorContains(t, err, "no such luck")
	require.NoFileExists(t, spec.record)
}

func TestChild_DeafProcessIsKilled(t *testing.T) {
	t.Parallel()
	spec := shell(t, "trap '' TERM; while :; do sleep 0.1; done")
	c, err := startChild(t.Context(), spec, nil)
	require.NoError(t, err)
	require.FileExists(t, spec.record)
	c.Stop(t.Context())
	c.Stop(t.Context())
	require.Zero(t, c.PID())
	require.NoFileExists(t, spec.record)
}

func TestChild_HungStartIsCutShort(t *testing.T) {
	t.Parallel()
	spec := shell(t, "exec sleep 600")
	spec.readyTimeout = 50 * time.Millisecond
	spec.ready = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	_, err := startChild(t.Context(), spec, nil)
	require.Error(t, err)
}

func TestChild_CancelledStartLeavesNothing(t *testing.T) {
	t.Parallel()
	spec := shell(t, "exec sleep 600")
	ctx, cancel := context.WithCancel(t.Context())
	spec.ready = func(rctx context.Context) error { cancel(); <-rctx.Done(); return rctx.Err() }
	_, err := startChild(ctx, spec, nil)
	require.ErrorIs(t, err, context.Canceled)
	require.NoFileExists(t, spec.record)
}

func TestChild_PermanentFailureIsReportedOnce(t *testing.T) {
	t.Parallel()
	spec := shell(t, "sleep 0.1")
	script := spec.command
	var attempts atomic.Int32
	broken := errors.New("binary removed")
	spec.command = func(ctx context.Context) (*exec.Cmd, error) {
		if attempts.Add(1) > 2 {
			return nil, backoff.Permanent(broken)
		}
		return script(ctx)
	}
	failed := make(chan error, 2)
	c, err := startChild(t.Context(), spec, func(err error) { failed <- err })
	require.NoError(t, err)
	require.ErrorIs(t, <-failed, broken)
	c.Stop(t.Context())
	require.Empty(t, failed)
	require.Equal(t, 2, c.Starts())
}

func TestOutput_TurnsOverAndKeepsTheEnd(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	o := newOutput(path)
	chunk := make([]byte, 1<<20)
	for range 10 {
		_, err := o.Write(chunk)
		require.NoError(t, err)
	}
	_, err := o.Write([]byte("the end\n"))
	require.NoError(t, err)
	o.Close()
	require.FileExists(t, path+".1")
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Less(t, info.Size(), int64(maxOutputBytes))
	require.Contains(t, o.last(), "the end")
	require.LessOrEqual(t, len(o.last()), tailBytes)
}
