// Package deploy_test checks the files that operators start production with.
package deploy_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/require"
)

const composeFile = "../docker-compose.yml"

func secrets() types.Mapping {
	return types.Mapping{"DECNET_DB_PASSWORD": "one", "TEMPORAL_DB_PASSWORD": "two", "DECNET_NATS_TOKEN": "three"}
}

func load(t *testing.T, env types.Mapping) (*types.Project, error) {
	t.Helper()
	root, err := filepath.Abs("..")
	require.NoError(t, err)
	return loader.LoadWithContext(t.Context(), types.ConfigDetails{
		WorkingDir:  root,
		ConfigFiles: []types.ConfigFile{{Filename: composeFile}},
		Environment: env,
	})
}

func project(t *testing.T) *types.Project {
	t.Helper()
	p, err := load(t, secrets())
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"postgres", "nats", "temporal", "temporal-ui"}, p.ServiceNames())
	return p
}

func TestCompose_NothingListensBeyondLoopback(t *testing.T) {
	t.Parallel()
	for name, s := range project(t).Services {
		require.NotEqual(t, "host", s.NetworkMode, name)
		require.False(t, s.Privileged, name)
		for _, p := range s.Ports {
			ip, err := netip.ParseAddr(p.HostIP)
			require.NoError(t, err, "%s publishes %s on every address", name, p.Published)
			require.True(t, ip.IsLoopback(), "%s publishes %s on %s", name, p.Published, ip)
		}
	}
}

func TestCompose_ImagesAreTagged(t *testing.T) {
	t.Parallel()
	tagged := regexp.MustCompile(`^[a-z/-]+:[0-9][0-9A-Za-z.-]*$`)
	for name, s := range project(t).Services {
		require.Regexp(t, tagged, s.Image, name)
	}
	require.True(t, strings.HasPrefix(project(t).Services["postgres"].Image, "postgres:15"), "the embedded cluster is version 15 too")
}

func TestCompose_ServicesAreWatchedAndRestarted(t *testing.T) {
	t.Parallel()
	for name, s := range project(t).Services {
		require.NotNil(t, s.HealthCheck, name)
		require.NotEmpty(t, s.HealthCheck.Test, name)
		require.False(t, s.HealthCheck.Disable, name)
		require.Equal(t, "unless-stopped", s.Restart, name)
		for on, d := range s.DependsOn {
			require.Equal(t, types.ServiceConditionHealthy, d.Condition, "%s on %s", name, on)
		}
	}
}

func TestCompose_StateIsInNamedVolumes(t *testing.T) {
	t.Parallel()
	p := project(t)
	for service, dir := range map[string]string{"postgres": "/var/lib/postgresql/data", "nats": "/data"} {
		found := false
		for _, v := range p.Services[service].Volumes {
			if v.Target == dir {
				found = true
				require.Equal(t, types.VolumeTypeVolume, v.Type)
				require.Contains(t, p.Volumes, v.Source)
			}
		}
		require.True(t, found, "%s keeps its state in the container", service)
	}
}

func TestCompose_MountedFilesExistAndAreReadOnly(t *testing.T) {
	t.Parallel()
	for name, s := range project(t).Services {
		for _, v := range s.Volumes {
			if v.Type != types.VolumeTypeBind {
				continue
			}
			info, err := os.Stat(v.Source)
			require.NoError(t, err, name)
			require.True(t, info.Mode().IsRegular(), name)
			require.True(t, v.ReadOnly, "%s: %s", name, v.Source)
		}
	}
}

func TestCompose_SecretsMustBeGiven(t *testing.T) {
	t.Parallel()
	for missing := range secrets() {
		for _, value := range []string{"unset", "empty"} {
			env := secrets()
			delete(env, missing)
			if value == "empty" {
				env[missing] = ""
			}
			_, err := load(t, env)
			require.ErrorContains(t, err, missing, value)
		}
	}
	raw, err := os.ReadFile(composeFile)
	require.NoError(t, err)
	for line := range strings.Lines(string(raw)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), ": "); ok && regexp.MustCompile(`(?i)^[a-z_]*(password|pwd|token)$`).MatchString(key) {
			require.True(t, strings.HasPrefix(value, "${"), "%s is written into the file", key)
		}
	}
}
