package process_test

import (
	"context"
	"encoding/json"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/runtime"
	"github.com/decnet/decnet/internal/runtime/process"
)

func killPID(t *testing.T, pid int) {
	t.Helper()
	require.NoError(t, unix.Kill(pid, unix.SIGKILL))
	waitGone(t, pid)
}

// converged returns a decky whose service ssh runs.
func (b *bundle) converged(t *testing.T) runtime.Decky {
	t.Helper()
	d := newDecky("web")
	d.Services = []runtime.Service{service("ssh", 2222, "ok")}
	_, err := b.Converge(t.Context(), d, hooks())
	require.NoError(t, err)
	return d
}

func (b *bundle) dir(d runtime.Decky, svc string) string {
	return filepath.Join(b.opts.DataDir, d.ID.String(), runtime.ServiceFileName(svc))
}

func TestConverge_DecoyThatCannotComeUpLeavesNothing(t *testing.T) {
	t.Parallel()
	for behave, want := range map[string][]string{
		"crash":             {"decoy_start_failed"},
		"config_error":      {"decoy_start_failed"},
		"hang_before_ready": {"decoy_start_failed"},
		"no_port":           {"decoy_unreachable"},
		"exit_after_ready":  {"decoy_start_failed", "decoy_unreachable"},
	} {
		t.Run(behave, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.opts.ReadyTimeout = time.Second
			b.reopen(t)
			d := newDecky("web")
			d.Services = []runtime.Service{service("ssh", 2222, behave)}
			_, err := b.Converge(t.Context(), d, hooks())
			f, ok := fault.As(err)
			require.True(t, ok, "%v", err)
			require.Equal(t, fault.OperationFailed, f.Kind)
			require.Contains(t, want, f.Code)
			require.Empty(t, decoyPIDs(t, b.opts.DataDir))
			seen, err := b.Observe(t.Context())
			require.NoError(t, err)
			require.Len(t, seen.Decoys, 1)
			require.False(t, seen.Decoys[0].Running || seen.Decoys[0].Ready)
			require.Equal(t, f.Message, seen.Decoys[0].Detail)
		})
	}
}

func TestConverge_ErrorOfADecoyIsMadeSafe(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := newDecky("web")
	d.Services = []runtime.Service{service("ssh", 2222, "config_error")}
	_, err := b.Converge(t.Context(), d, hooks())
	f, _ := fault.As(err)
	require.Contains(t, f.Message, `config_error: bad "value"][31m here`)
	require.NotContains(t, f.Message, "\x1b")
	require.Less(t, len(f.Message), 300)
}

func TestConverge_FallsBackToTheShiftedPort(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := newDecky("web")
	d.Services = []runtime.Service{service("ssh", 2222, "ok")}
	taken, err := net.Listen("tcp", netip.AddrPortFrom(d.IP, 2222).String())
	require.NoError(t, err)
	defer taken.Close()
	eps, err := b.Converge(t.Context(), d, hooks())
	require.NoError(t, err)
	require.Equal(t, []runtime.Endpoint{
		{Service: "ssh", Protocol: "tcp", Port: 2222, Listen: netip.AddrPortFrom(d.IP, 22222)},
	}, eps)
}

func TestConverge_WithoutAnyPortFailsAndSucceedsOnceOneIsFree(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := newDecky("web")
	d.Services = []runtime.Service{service("ssh", 2222, "ok")}
	first, err := net.Listen("tcp", netip.AddrPortFrom(d.IP, 2222).String())
	require.NoError(t, err)
	defer first.Close()
	second, err := net.Listen("tcp", netip.AddrPortFrom(d.IP, 22222).String())
	require.NoError(t, err)
	defer second.Close()
	for range 2 {
		_, err = b.Converge(t.Context(), d, hooks())
		require.Equal(t, fault.OperationFailed, fault.KindOf(err))
		require.ErrorContains(t, err, "bind_error")
		require.Empty(t, decoyPIDs(t, b.opts.DataDir))
	}
	require.NoError(t, second.Close())
	// A child that another test forks at this moment has a copy of the socket until it reaches exec.
	require.Eventually(t, func() bool {
		_, err = b.Converge(t.Context(), d, hooks())
		return err == nil
	}, 5*time.Second, time.Millisecond)
}

func TestConverge_KillsADecoyThatIgnoresTermination(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := newDecky("web")
	d.Services = []runtime.Service{service("ssh", 2222, "ignore_term")}
	_, err := b.Converge(t.Context(), d, hooks())
	require.NoError(t, err)
	d.Removed = true
	_, err = b.Converge(t.Context(), d, hooks())
	require.NoError(t, err)
	require.Empty(t, decoyPIDs(t, b.opts.DataDir))
	require.NoDirExists(t, filepath.Join(b.opts.DataDir, d.ID.String()))
}

func TestConverge_DecoyThatWasToldToEndIsNotKept(t *testing.T) {
	t.Parallel()
	for name, between := range map[string]func(*bundle, *testing.T){
		"same control plane": func(*bundle, *testing.T) {},
		"next control plane": (*bundle).reopen,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			d := newDecky("web")
			d.Services = []runtime.Service{service("ssh", 2222, "ignore_term")}
			_, err := b.Converge(t.Context(), d, hooks())
			require.NoError(t, err)
			pid := b.pid(t, d, "ssh")
			without := d
			without.Services = nil
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			_, err = b.Converge(ctx, without, hooks())
			require.ErrorIs(t, err, context.DeadlineExceeded)
			between(b, t)
			seen, err := b.Observe(t.Context())
			require.NoError(t, err)
			require.Equal(t, "stopping", seen.Decoys[0].Detail)
			_, err = b.Converge(t.Context(), d, hooks())
			require.NoError(t, err)
			require.NotEqual(t, pid, b.pid(t, d, "ssh"))
		})
	}
}

func TestConverge_NeverSignalsAnotherProcessWithARecordedPID(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := b.converged(t)
	killPID(t, b.pid(t, d, "ssh"))
	bystander := exec.Command("sleep", "60")
	require.NoError(t, bystander.Start())
	defer func() {
		_ = bystander.Process.Kill()
		_ = bystander.Wait()
	}()
	rewriteRecord(t, b.dir(d, "ssh"), map[string]any{"pid": bystander.Process.Pid})
	b.reopen(t)

	seen, err := b.Observe(t.Context())
	require.NoError(t, err)
	require.False(t, seen.Decoys[0].Running)
	_, err = b.Converge(t.Context(), d, hooks())
	require.NoError(t, err)
	d.Removed = true
	_, err = b.Converge(t.Context(), d, hooks())
	require.NoError(t, err)
	require.NoError(t, bystander.Process.Signal(syscall.Signal(0)))
	cmdline, err := os.ReadFile("/proc/" + strconv.Itoa(bystander.Process.Pid) + "/cmdline")
	require.NoError(t, err)
	require.Equal(t, "sleep\x0060\x00", string(cmdline))
}

func rewriteRecord(t *testing.T, dir string, change map[string]any) {
	t.Helper()
	path := filepath.Join(dir, "state.json")
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	rec := map[string]any{}
	require.NoError(t, json.Unmarshal(b, &rec))
	for k, v := range change {
		rec[k] = v
	}
	b, err = json.Marshal(rec)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, b, 0o600))
}

func TestConverge_EndsDuplicatesAndKeepsTheRecordedDecoy(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := b.converged(t)
	pid := b.pid(t, d, "ssh")
	dup := exec.Command(fakeDecoy, "run", "--config", filepath.Join(b.dir(d, "ssh"), "config.json"))
	dup.Env = []string{}
	require.NoError(t, dup.Start())
	defer func() { _ = dup.Wait() }()
	require.Eventually(t, func() bool { return len(b.pids(t, d, "ssh")) == 2 }, 5*time.Second, 5*time.Millisecond)

	seen, err := b.Observe(t.Context())
	require.NoError(t, err)
	require.Len(t, seen.Decoys, 2)
	require.True(t, seen.Decoys[0].Ready)
	require.Equal(t, "duplicate decoy", seen.Decoys[1].Detail)
	_, err = b.Converge(t.Context(), d, hooks())
	require.NoError(t, err)
	require.Equal(t, pid, b.pid(t, d, "ssh"))
}

func TestObserve_ListsDecoysWhoseFolderIsGone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := b.converged(t)
	require.NoError(t, os.RemoveAll(filepath.Join(b.opts.DataDir, d.ID.String())))
	seen, err := b.Observe(t.Context())
	require.NoError(t, err)
	require.Equal(t, []runtime.Status{{DeckyID: d.ID, Service: "ssh", Running: true, Detail: "unknown decoy"}}, seen.Decoys)
	_, err = b.Converge(t.Context(), runtime.Decky{ID: d.ID, Removed: true}, hooks())
	require.NoError(t, err)
	require.Empty(t, decoyPIDs(t, b.opts.DataDir))
}

func TestConverge_ReadyButUnverifiedDecoyIsAdoptedThenVerified(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := b.converged(t)
	pid := b.pid(t, d, "ssh")
	// As a control plane leaves it that is killed between fork and record.
	rewriteRecord(t, b.dir(d, "ssh"), map[string]any{"pid": 0, "start": 0, "ready": false, "verified": false, "endpoints": nil})
	var checks atomic.Int32
	h := hooks()
	h.SelfCheck = func(context.Context, runtime.Probe) error {
		checks.Add(1)
		return nil
	}
	for range 2 {
		eps, err := b.Converge(t.Context(), d, h)
		require.NoError(t, err)
		require.Len(t, eps, 1)
	}
	require.Equal(t, pid, b.pid(t, d, "ssh"))
	require.Equal(t, int32(1), checks.Load())
}

func TestConverge_WaitsForTheLockOfAChildThatIsNotADecoyYet(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := b.converged(t)
	killPID(t, b.pid(t, d, "ssh"))
	held, err := os.OpenFile(filepath.Join(b.dir(d, "ssh"), "log"), os.O_WRONLY|os.O_APPEND, 0)
	require.NoError(t, err)
	require.NoError(t, unix.Flock(int(held.Fd()), unix.LOCK_EX))
	release := time.AfterFunc(200*time.Millisecond, func() { _ = held.Close() })
	defer release.Stop()
	_, err = b.Converge(t.Context(), d, hooks())
	require.NoError(t, err)
	require.ErrorIs(t, held.Close(), os.ErrClosed, "the decoy was started before the lock was free")
}

func TestConverge_NewRevisionKeepsStateAndAppendsToTheLog(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := b.converged(t)
	mark := filepath.Join(b.dir(d, "ssh"), "state", "mark")
	require.NoError(t, os.WriteFile(mark, nil, 0o600))
	before, err := os.ReadFile(filepath.Join(b.dir(d, "ssh"), "log"))
	require.NoError(t, err)
	d.Services[0].Revision = 2
	_, err = b.Converge(t.Context(), d, hooks())
	require.NoError(t, err)
	require.FileExists(t, mark)
	after, err := os.ReadFile(filepath.Join(b.dir(d, "ssh"), "log"))
	require.NoError(t, err)
	require.Greater(t, len(after), len(before))
	require.Equal(t, before, after[:len(before)])
}

func TestOutputs_FollowALogFromItsDecoyToTheKeptOnes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	outputs, err := process.NewOutputs(b.opts.DataDir, b.opts.ArtifactsRoot)
	require.NoError(t, err)
	none, err := outputs.Outputs(t.Context())
	require.NoError(t, err)
	require.Empty(t, none)
	d := b.converged(t)
	bootID := readConfig(t, b.dir(d, "ssh"))["boot_id"].(string)
	path := filepath.Join(b.dir(d, "ssh"), "log")
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, string(before), bootID)
	live, err := outputs.Outputs(t.Context())
	require.NoError(t, err)
	want := runtime.Output{
		DeckyID: d.ID, DeckyKey: d.Key, Service: "ssh", Format: runtime.OutputLines, Files: []string{path}, Spare: int64(len(before)),
	}
	require.Equal(t, []runtime.Output{want}, live)

	d.Services = nil
	_, err = b.Converge(t.Context(), d, hooks())
	require.NoError(t, err)
	require.NoDirExists(t, b.dir(d, "ssh"))
	kept, err := outputs.Outputs(t.Context())
	require.NoError(t, err)
	require.Len(t, kept, 1)
	want.Files, want.Ended, want.Spare = kept[0].Files, true, 0
	require.Equal(t, want, kept[0])
	require.Equal(t, bootID+".log", filepath.Base(kept[0].Files[0]))
	after, err := os.ReadFile(kept[0].Files[0])
	require.NoError(t, err)
	require.Equal(t, before, after[:len(before)])

	d.Services = []runtime.Service{service("ssh", 22, "ok")}
	_, err = b.Converge(t.Context(), d, hooks())
	require.NoError(t, err)
	both, err := outputs.Outputs(t.Context())
	require.NoError(t, err)
	require.Len(t, both, 2)
	require.Equal(t, kept[0], both[0], "what ended comes first")
	require.Equal(t, path, both[1].Files[0])
	d.Removed = true
	_, err = b.Converge(t.Context(), d, hooks())
	require.NoError(t, err)
	gone, err := outputs.Outputs(t.Context())
	require.NoError(t, err)
	require.Len(t, gone, 2, "what a decky said outlives it")
}

func TestOutputs_LogWhoseBootIsNotReadyYetIsNotToBeShortened(t *testing.T) {
	t.Parallel()
	b := setup(t)
	outputs, err := process.NewOutputs(b.opts.DataDir, b.opts.ArtifactsRoot)
	require.NoError(t, err)
	d := newDecky("web")
	d.Services = []runtime.Service{service("ssh", 22, "hang_before_ready")}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { _, err := b.Converge(ctx, d, hooks()); done <- err }()
	require.Eventually(t, func() bool {
		list, err := outputs.Outputs(t.Context())
		return err == nil && len(list) == 1 && list[0].DeckyKey == d.Key && list[0].Spare == 0
	}, 10*time.Second, 5*time.Millisecond)
	cancel()
	require.Error(t, <-done)
}

func readConfig(t *testing.T, dir string) map[string]any {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "config.json"))
	require.NoError(t, err)
	cfg := map[string]any{}
	require.NoError(t, json.Unmarshal(b, &cfg))
	return cfg
}

func TestConverge_FilesOfADecoyHaveNarrowPermissions(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := b.converged(t)
	dir := b.dir(d, "ssh")
	for name, perm := range map[string]os.FileMode{"config.json": 0o400, "log": 0o640, "state.json": 0o600, "state": 0o750} {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, perm, info.Mode().Perm(), name)
	}
	cfg := readConfig(t, dir)
	require.Equal(t, d.ID.String(), cfg["instance_id"])
	require.Equal(t, filepath.Join(b.opts.ArtifactsRoot, d.Key, "ssh"), cfg["spool"])
	uid := uint32(cfg["user"].(map[string]any)["uid"].(float64))
	for _, own := range []string{filepath.Join(dir, "state"), cfg["spool"].(string)} {
		info, err := os.Stat(own)
		require.NoError(t, err)
		require.Equal(t, uid, info.Sys().(*syscall.Stat_t).Uid)
	}
	require.Equal(t, os.Geteuid() == 0, uid != 0 && uid != uint32(os.Geteuid()))
}

func TestConverge_DecoyHasItsOwnSession(t *testing.T) {
	t.Parallel()
	b := setup(t)
	pid := b.pid(t, b.converged(t), "ssh")
	sid, err := unix.Getsid(pid)
	require.NoError(t, err)
	require.Equal(t, pid, sid)
	env, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	require.NoError(t, err)
	require.Empty(t, env)
	cwd, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/cwd")
	require.NoError(t, err)
	require.Equal(t, "/", cwd)
}

func TestConverge_ReportsProgressWhileItWaits(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.opts.ReadyTimeout = 2500 * time.Millisecond
	b.reopen(t)
	d := newDecky("web")
	d.Services = []runtime.Service{service("ssh", 2222, "hang_before_ready")}
	var calls atomic.Int32
	h := hooks()
	h.Progress = func(string) { calls.Add(1) }
	_, err := b.Converge(t.Context(), d, h)
	require.Error(t, err)
	require.GreaterOrEqual(t, calls.Load(), int32(3))
}

func TestConverge_CloseEndsItAndLeavesDecoysRunning(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := b.converged(t)
	slow := newDecky("slow")
	slow.Services = []runtime.Service{service("ssh", 2222, "hang_before_ready")}
	done := make(chan error, 1)
	go func() {
		_, err := b.Converge(context.Background(), slow, hooks())
		done <- err
	}()
	require.Eventually(t, func() bool { return len(b.pids(t, slow, "ssh")) == 1 }, 5*time.Second, 5*time.Millisecond)
	require.NoError(t, b.Close())
	require.Error(t, <-done)
	b.pid(t, d, "ssh")
}

func TestConverge_RefusesWhatCannotRunHere(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for code, change := range map[string]func(*runtime.Decky){
		"decky_key_invalid":         func(d *runtime.Decky) { d.Key = "../x" },
		"service_invalid":           func(d *runtime.Decky) { d.Services[0].Name = "../ssh" },
		"decky_address_unsupported": func(d *runtime.Decky) { d.IP = netip.MustParseAddr("127.0.0.1") },
	} {
		d := newDecky("web")
		d.Services = []runtime.Service{service("ssh", 2222, "ok")}
		change(&d)
		_, err := b.Converge(t.Context(), d, hooks())
		f, _ := fault.As(err)
		require.Equal(t, code, f.Code)
	}
	require.Empty(t, decoyPIDs(t, b.opts.DataDir))
}

func TestPrepare_RefusesAMissingDecoyProgram(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.opts.DecoyBinary = filepath.Join(t.TempDir(), "none")
	require.NoError(t, b.Close())
	rt, err := process.New(b.opts)
	require.NoError(t, err)
	defer rt.Close()
	require.Equal(t, fault.Unavailable, fault.KindOf(rt.Prepare(t.Context())))
}
