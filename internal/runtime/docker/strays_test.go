package docker_test

import (
	"os"
	"os/exec"
	"path/filepath"
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
