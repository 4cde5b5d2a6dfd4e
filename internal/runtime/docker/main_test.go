package docker_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/decnet/decnet/internal/compose"
	"github.com/decnet/decnet/internal/runtime"
	"github.com/decnet/decnet/internal/runtime/docker"
	"github.com/decnet/decnet/internal/runtime/docker/enginetest"
	"github.com/decnet/decnet/internal/runtime/runtimetest"
)

var fakeDecoy, probeDecoy string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "dockertest")
	if err != nil {
		panic(err)
	}
	fakeDecoy, probeDecoy = filepath.Join(dir, "fake"), filepath.Join(dir, "probe")
	build(fakeDecoy, "../process/testdata/fakedecoy")
	build(probeDecoy, "-tags", "probe", "../../../cmd/decoy")
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code)
	}))
}

func build(to string, args ...string) {
	cmd := exec.Command("go", append([]string{"build", "-o", to}, args...)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		panic(fmt.Sprintf("build %s: %v\n%s", to, err, out))
	}
}

// bundle is an empty installation and its runtime.
type bundle struct {
	*docker.Runtime
	opts   docker.Options
	engine *client.Client
}

var lastSubnet atomic.Uint32

// setup gives every test an installation and a subnet of its own, out of 198.18.0.0/16.
func setup(t testing.TB) *bundle {
	t.Helper()
	enginetest.Require(t)
	dir := t.TempDir()
	n := lastSubnet.Add(1)
	b := &bundle{opts: docker.Options{
		Installation: uuid.New(), DataDir: filepath.Join(dir, "decoys"), ArtifactsRoot: filepath.Join(dir, "artifacts"),
		DecoyBinary: fakeDecoy, Network: compose.Network{
			Subnet: netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, byte(os.Getpid()), byte(n * 64)}), 26),
		},
	}}
	if n*64 > 255 {
		b.opts.Network.Subnet = netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, byte(os.Getpid() + int(n/4)*7), byte(n * 64)}), 26)
	}
	var err error
	b.engine, err = client.New(client.WithHost(docker.DefaultHost))
	require.NoError(t, err)
	t.Cleanup(func() { b.clean(t) })
	b.open(t)
	return b
}

func (b *bundle) open(t testing.TB) {
	t.Helper()
	rt, err := docker.New(b.opts)
	require.NoError(t, err)
	b.Runtime = rt
	require.NoError(t, rt.Prepare(t.Context()))
}

func (b *bundle) reopen(t testing.TB) {
	t.Helper()
	require.NoError(t, b.Close())
	b.open(t)
}

// clean removes what the installation has on the engine.
func (b *bundle) clean(t testing.TB) {
	t.Helper()
	if b.Runtime != nil {
		_ = b.Close()
	}
	b.removeAll(t)
	_ = b.engine.Close()
}

func (b *bundle) removeAll(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	filters := client.Filters{}.Add("label", compose.LabelInstallation+"="+b.opts.Installation.String())
	list, err := b.engine.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: filters})
	require.NoError(t, err)
	for _, c := range list.Items {
		_, _ = b.engine.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{Force: true})
	}
	networks, err := b.engine.NetworkList(ctx, client.NetworkListOptions{Filters: filters})
	require.NoError(t, err)
	for _, n := range networks.Items {
		_, _ = b.engine.NetworkRemove(ctx, n.ID, client.NetworkRemoveOptions{})
	}
}

var lastAddress atomic.Uint32

func (b *bundle) newDecky(name string) runtime.Decky {
	n := lastAddress.Add(1)
	ip := b.opts.Network.Subnet.Addr().Next()
	for range 1 + n%60 {
		ip = ip.Next()
	}
	return runtime.Decky{
		ID: uuid.New(), Key: fmt.Sprintf("%s-%d-%d", name, os.Getpid(), n), Name: name, Hostname: "SRV-WEB-31",
		Distro: "debian", NmapOS: "linux", IP: ip,
	}
}

func service(name string, port uint16, behave string) runtime.Service {
	return runtime.Service{
		Name: name, Revision: 1, Ports: []runtime.Port{{Protocol: "tcp", Number: port}},
		Config: map[string]any{"behave": behave},
	}
}

// inspect looks at one container of a decky; service "" is its base.
func (b *bundle) inspect(t *testing.T, d runtime.Decky, svc string) container.InspectResponse {
	t.Helper()
	name := compose.BaseName(d.Key)
	if svc != "" {
		name = compose.ContainerName(d.Key, svc)
	}
	c, err := b.engine.ContainerInspect(t.Context(), name, client.ContainerInspectOptions{})
	require.NoError(t, err)
	return c.Container
}

func (b *bundle) kill(t *testing.T, d runtime.Decky, svc string) {
	t.Helper()
	id := b.inspect(t, d, svc).ID
	_, err := b.engine.ContainerKill(t.Context(), id, client.ContainerKillOptions{Signal: "KILL"})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return !b.inspect(t, d, svc).State.Running }, 10*time.Second, 5*time.Millisecond)
}

func TestConformance(t *testing.T) {
	t.Parallel()
	enginetest.Require(t)
	runtimetest.Run(t, func(t *testing.T) *runtimetest.Bundle {
		b := setup(t)
		return &runtimetest.Bundle{
			Runtime: b.Runtime,
			Reopen: func(t *testing.T) runtime.Runtime {
				b.reopen(t)
				return b.Runtime
			},
			Decky: func(_ *testing.T, name string) runtime.Decky { return b.newDecky(name) },
			Topology: func(t *testing.T, name string) (runtime.Decky, []runtime.Network) {
				m := newMazeOn(t, b)
				m.lans = []runtime.Network{newLAN(t, m.id, "dmz", false), newLAN(t, m.id, "factory", true)}
				d := m.decky(name, m.on(0, 0), m.on(1, 0))
				d.Services = nil
				return d, m.lans
			},
			Healthy: func(n int) runtime.Service {
				s := service([]string{"ssh", "docker_api", "dns"}[n], []uint16{22, 2375, 53}[n], "ok")
				if n == 2 {
					s.Ports = append(s.Ports, runtime.Port{Protocol: "udp", Number: 53})
				}
				return s
			},
			Broken: func() runtime.Service { return service("http", 80, "crash") },
			Identity: func(t *testing.T, d runtime.Decky, svc string) string {
				return b.inspect(t, d, svc).ID
			},
			Kill:     func(t *testing.T, d runtime.Decky, svc string) { b.kill(t, d, svc) },
			KillBase: func(t *testing.T, d runtime.Decky) { b.kill(t, d, "") },
		}
	})
}
