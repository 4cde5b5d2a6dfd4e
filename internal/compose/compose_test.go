package compose_test

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/compose"
	"github.com/decnet/decnet/internal/decky"
)

var update = flag.Bool("update", false, "rewrite golden files")

func scope() compose.Scope {
	svc := func(name string, revision int64) compose.Service {
		dir := "/srv/decnet/decoys/" + strings.ReplaceAll(name, "_", "-")
		return compose.Service{
			Name: name, Revision: revision, UID: 1900000007, GID: 1900000007,
			ConfigFile: dir + "/config.json", SpoolDir: "/srv/decnet/artifacts/" + name, StateDir: dir + "/state",
		}
	}
	return compose.Scope{
		Installation: uuid.MustParse("0190a1b2-0000-7000-8000-000000000001"), Name: "fleet", Image: "decnet-decoy:0123456789abcdef",
		Network: compose.Network{Driver: compose.Bridge, Subnet: netip.MustParsePrefix("198.19.0.0/16")},
		Deckies: []compose.Decky{
			{
				ID: uuid.MustParse("0190a1b2-0000-7000-8000-000000000002"), Key: "web-01", Name: "web-01", Hostname: "SRV-WEB-31", NmapOS: "windows",
				IP: netip.MustParseAddr("198.19.0.2"), Services: []compose.Service{svc("ssh", 1), svc("docker_api", 3)},
			},
			{ID: uuid.MustParse("0190a1b2-0000-7000-8000-000000000003"), Key: "web-01-ssh", Name: "web-01-ssh", Hostname: "x", IP: netip.MustParseAddr("198.19.0.3")},
		},
	}
}

func TestYAML_Golden(t *testing.T) {
	t.Parallel()
	for file, s := range map[string]compose.Scope{"fleet.yml": scope(), "topology.yml": maze()} {
		got, err := compose.YAML(s)
		require.NoError(t, err)
		golden := filepath.Join("testdata", file)
		if *update {
			require.NoError(t, os.WriteFile(golden, got, 0o644))
		}
		want, err := os.ReadFile(golden)
		require.NoError(t, err)
		require.Equal(t, string(want), string(got))
	}
}

func TestYAML_IsAComposeFile(t *testing.T) {
	t.Parallel()
	for services, s := range map[int]compose.Scope{4: scope(), 6: maze()} {
		doc, err := compose.YAML(s)
		require.NoError(t, err)
		p, err := loader.LoadWithContext(t.Context(), types.ConfigDetails{
			ConfigFiles: []types.ConfigFile{{Filename: "scope.yml", Content: doc}},
		}, func(o *loader.Options) { o.SetProjectName("decnet-test", false); o.SkipInterpolation = true })
		require.NoError(t, err)
		require.Len(t, p.Services, services)
		require.NoError(t, p.CheckContainerNameUnicity())
	}
}

func TestRender_EveryContainerIsHardened(t *testing.T) {
	t.Parallel()
	all := compose.Render(scope()).Services
	for name, s := range compose.Render(maze()).Services {
		if name != compose.BaseName("0190a1b2-gw") {
			require.Empty(t, s.Ports, name)
		}
		s.Ports = nil
		all[name] = s
	}
	require.Len(t, all, 10)
	for name, s := range all {
		require.Equal(t, []string{"ALL"}, s.CapDrop, name)
		require.Empty(t, s.CapAdd, name)
		require.Contains(t, s.SecurityOpt, "no-new-privileges:true", name)
		require.True(t, s.ReadOnly, name)
		require.Equal(t, "no", s.Restart, name)
		require.Positive(t, s.PidsLimit, name)
		require.Positive(t, s.MemLimit, name)
		require.Equal(t, s.MemLimit, s.MemSwapLimit, name)
		require.NotEmpty(t, s.User, name)
		require.False(t, strings.HasPrefix(s.User, "0:"), name)
		require.Empty(t, s.Environment, name)
		require.Empty(t, s.Ports, name)
		require.Equal(t, "json-file", s.Logging.Driver, name)
	}
}

func TestRender_ServicesShareTheirBase(t *testing.T) {
	t.Parallel()
	p := compose.Render(scope())
	svc, base := p.Services[compose.ContainerName("web-01", "docker_api")], p.Services[compose.BaseName("web-01")]
	require.Equal(t, "web-01-docker-api", svc.ContainerName)
	require.Equal(t, "service:"+base.Name, svc.NetworkMode)
	require.Empty(t, svc.Networks)
	require.Empty(t, svc.Hostname)
	require.Equal(t, "198.19.0.2", base.Networks["lan"].Ipv4Address)
	require.Equal(t, "true", svc.Labels[compose.LabelFleetService])
	require.Equal(t, "docker_api", svc.Labels[compose.LabelFleetServiceName])
	require.Equal(t, "web-01", svc.Labels[compose.LabelFleetDecky])
	require.NotContains(t, base.Labels, compose.LabelFleetService, "logs of a base must not be collected")
	readOnly := 0
	for _, v := range svc.Volumes {
		require.False(t, bool(v.Bind.CreateHostPath))
		if v.ReadOnly {
			readOnly++
		}
	}
	require.Equal(t, 1, readOnly)
	require.Len(t, svc.Volumes, 3)
}

func TestNames_NeverMeet(t *testing.T) {
	t.Parallel()
	require.NotEqual(t, compose.ContainerName("web", "ssh"), compose.BaseName("web-ssh"))
	a, b := uuid.New(), uuid.New()
	require.NotEqual(t, compose.BridgeName(a, "fleet"), compose.BridgeName(b, "fleet"))
	require.NotEqual(t, compose.BridgeName(a, "fleet"), compose.BridgeName(a, "topology/x"))
	require.LessOrEqual(t, len(compose.BridgeName(a, "fleet")), 15)
	require.True(t, strings.HasPrefix(compose.BridgeName(a, "fleet"), compose.BridgePrefix))
}

func TestBaseHash_ChangesWithWhatABaseIsMadeOf(t *testing.T) {
	t.Parallel()
	s := scope()
	d := s.Deckies[0]
	before := s.BaseHash(d)
	d.Services = nil
	require.Equal(t, before, s.BaseHash(d), "services are no part of it")
	d.Hostname = "other"
	require.NotEqual(t, before, s.BaseHash(d))
	d.Hostname, d.NmapOS = s.Deckies[0].Hostname, "cisco"
	require.NotEqual(t, before, s.BaseHash(d))
}

func TestProfile_EverySystemHasOne(t *testing.T) {
	t.Parallel()
	linux := compose.Profile("linux")
	require.Len(t, linux, 10)
	require.Equal(t, linux, compose.Profile("plan9"))
	for _, name := range decky.NmapOSes {
		p := compose.Profile(name)
		require.Len(t, p, 10, name)
		if name != "linux" {
			require.NotEqual(t, linux, p, name)
		}
	}
	require.Equal(t, "255", compose.Profile("cisco")["net.ipv4.ip_default_ttl"])
}
