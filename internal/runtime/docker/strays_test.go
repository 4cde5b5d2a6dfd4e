package docker_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/compose"
	"github.com/decnet/decnet/internal/runtime/runtimetest"
)

// forgotten starts a container whose labels say nothing of decnet, as one that the engine has forgotten says nothing.
func (b *bundle) forgotten(t *testing.T, host container.HostConfig, cmd ...string) (id string) {
	t.Helper()
	made, err := b.engine.ContainerCreate(t.Context(), client.ContainerCreateOptions{
		Config: &container.Config{Image: b.imageName(t), Cmd: cmd}, HostConfig: &host,
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = exec.Command("docker", "rm", "-f", made.ID).Run()
	})
	_, err = b.engine.ContainerStart(t.Context(), made.ID, client.ContainerStartOptions{})
	require.NoError(t, err)
	return made.ID
}

func (b *bundle) state(t *testing.T, id string) container.ContainerState {
	t.Helper()
	c, err := b.engine.ContainerInspect(t.Context(), id, client.ContainerInspectOptions{})
	require.NoError(t, err)
	return c.Container.State.Status
}

// TestObserve_EndsWhatTheEngineForgot: bases tell by their arguments whose they are, decoys by their state folder.
func TestObserve_EndsWhatTheEngineForgot(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := b.newDecky("forgot")
	d.Services = append(d.Services, service("ssh", 2222, ""))
	_, err := b.Converge(t.Context(), d, runtimetest.Hooks())
	require.NoError(t, err)
	base := b.inspect(t, d, "")

	ours := filepath.Join(b.opts.DataDir, d.ID.String(), "ssh")
	file, err := os.ReadFile(filepath.Join(ours, "config.json"))
	require.NoError(t, err)
	config := filepath.Join(t.TempDir(), "config.json")
	require.NoError(t, os.WriteFile(config, []byte(strings.ReplaceAll(string(file), "2222", "2223")), 0o444))
	decoy := func(state string) string {
		return b.forgotten(t, container.HostConfig{
			NetworkMode: container.NetworkMode("container:" + base.ID),
			Binds:       []string{config + ":" + compose.ConfigPath + ":ro", state + ":" + compose.StatePath, t.TempDir() + ":" + compose.SpoolPath},
		}, "run", "--config", compose.ConfigPath)
	}
	strays := []string{b.forgotten(t, container.HostConfig{NetworkMode: "none"}, "pause", b.opts.Installation.String()), decoy(filepath.Join(ours, "state"))}
	others := []string{b.forgotten(t, container.HostConfig{NetworkMode: "none"}, "pause", uuid.NewString()), b.forgotten(t, container.HostConfig{NetworkMode: "none"}, "pause")}
	require.Equal(t, container.StateRunning, b.state(t, strays[1]), "it runs until somebody looks")

	seen, err := b.Observe(t.Context())
	require.NoError(t, err)
	require.True(t, seen.Decoys[0].Ready, "what the engine knows stays")
	for _, id := range strays {
		require.Eventually(t, func() bool { return b.state(t, id) == container.StateExited }, 10*time.Second, 20*time.Millisecond)
	}
	for _, id := range others {
		require.Equal(t, container.StateRunning, b.state(t, id))
	}
	require.Equal(t, container.StateRunning, b.state(t, base.ID))
}

// waiting leaves a process behind as an engine does that was killed while it started a container: it waits to become what
// the container is to run.
func waiting(t *testing.T, id, bind string) (pid int) {
	t.Helper()
	bundle, rootfs := t.TempDir(), t.TempDir()
	from, to, _ := strings.Cut(bind, ":")
	require.NoError(t, os.WriteFile(filepath.Join(rootfs, "never"), nil, 0o700))
	spec, err := json.Marshal(map[string]any{
		"ociVersion": "1.0.2",
		"root":       map[string]any{"path": rootfs},
		"mounts": []map[string]any{
			{"destination": "/proc", "type": "proc", "source": "proc"},
			{"destination": to, "type": "bind", "source": from, "options": []string{"rbind"}},
		},
		"process": map[string]any{"args": []string{"/never"}, "cwd": "/", "user": map[string]any{"uid": 0, "gid": 0}},
		"linux": map[string]any{
			"cgroupsPath": "/docker/" + id, "namespaces": []map[string]any{{"type": "mount"}, {"type": "pid"}, {"type": "network"}},
		},
	})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(bundle, "config.json"), spec, 0o600))
	state := t.TempDir()
	runc := func(args ...string) *exec.Cmd {
		return exec.Command("runc", append([]string{"--root", state}, args...)...)
	}
	pidFile := filepath.Join(bundle, "pid")
	require.NoError(t, runc("create", "--bundle", bundle, "--pid-file", pidFile, id).Run())
	t.Cleanup(func() { _ = runc("delete", "--force", id).Run() })
	text, err := os.ReadFile(pidFile)
	require.NoError(t, err)
	pid, err = strconv.Atoi(string(text))
	require.NoError(t, err)
	return pid
}

// TestObserve_EndsWhatNeverStarted: a process that waits to become a decoy of ours holds the address of its successor.
func TestObserve_EndsWhatNeverStarted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := b.newDecky("waits")
	d.Services = append(d.Services, service("ssh", 2222, ""))
	_, err := b.Converge(t.Context(), d, runtimetest.Hooks())
	require.NoError(t, err)
	ours := waiting(t, unknown(), filepath.Join(b.opts.DataDir, d.ID.String(), "ssh", "state")+":"+compose.StatePath)
	other := waiting(t, unknown(), t.TempDir()+":"+compose.StatePath)

	seen, err := b.Observe(t.Context())
	require.NoError(t, err)
	require.True(t, seen.Decoys[0].Ready, "what the engine knows stays")
	require.Eventually(t, func() bool { return ended(ours) }, 10*time.Second, 20*time.Millisecond)
	require.False(t, ended(other))
}

// TestConverge_EndsTheRemains: what the engine does not know to run it does not end when it removes the container.
func TestConverge_EndsTheRemains(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := b.newDecky("remains")
	_, err := b.Converge(t.Context(), d, runtimetest.Hooks())
	require.NoError(t, err)
	pid := waiting(t, b.inspect(t, d, "").ID, t.TempDir()+":"+compose.StatePath)
	d.Removed = true
	_, err = b.Converge(t.Context(), d, runtimetest.Hooks())
	require.NoError(t, err)
	require.Eventually(t, func() bool { return ended(pid) }, 10*time.Second, 20*time.Millisecond)
}

// unknown returns the id of a container that no engine has.
func unknown() string { return strings.ReplaceAll(uuid.NewString()+uuid.NewString(), "-", "") }

// ended reports whether a process is gone, or waits for its parent only.
func ended(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil || strings.Contains(string(stat), ") Z ")
}
