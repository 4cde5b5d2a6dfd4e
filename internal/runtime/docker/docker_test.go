package docker_test

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/compose"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/runtime"
	"github.com/decnet/decnet/internal/runtime/boot"
	"github.com/decnet/decnet/internal/runtime/docker"
	"github.com/decnet/decnet/internal/runtime/runtimetest"
)

func (b *bundle) converge(t *testing.T, d runtime.Decky) []runtime.Endpoint {
	t.Helper()
	eps, err := b.Converge(t.Context(), d, runtimetest.Hooks())
	require.NoError(t, err)
	return eps
}

func (b *bundle) converged(t *testing.T, name string, services ...runtime.Service) runtime.Decky {
	t.Helper()
	d := b.newDecky(name)
	d.Services = services
	b.converge(t, d)
	return d
}

// observed returns the one status of a service.
func (b *bundle) observed(t *testing.T, d runtime.Decky, svc string) runtime.Status {
	t.Helper()
	seen, err := b.Observe(t.Context())
	require.NoError(t, err)
	for _, s := range seen.Decoys {
		if s.DeckyID == d.ID && s.Service == svc {
			return s
		}
	}
	require.Fail(t, "not observed", svc)
	return runtime.Status{}
}

func requireAnswers(t *testing.T, at netip.AddrPort) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", at.String(), 5*time.Second)
	require.NoError(t, err)
	_ = conn.Close()
}

func TestConverge_DeadBaseTakesItsServicesAlongAndAllComeBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := b.converged(t, "web", service("ssh", 22, "ok"), service("http", 80, "ok"))
	eps := b.converge(t, d)
	b.kill(t, d, "")
	select {
	case <-b.Exits():
	case <-time.After(10 * time.Second):
		require.Fail(t, "the end of the base is not reported")
	}
	s := b.observed(t, d, "ssh")
	require.True(t, s.Running)
	require.False(t, s.Ready)
	require.Equal(t, "its base container does not run", s.Detail)
	require.Equal(t, eps, b.converge(t, d))
	for _, e := range eps {
		require.Equal(t, d.IP, e.Listen.Addr())
		requireAnswers(t, e.Listen)
	}
	require.True(t, b.observed(t, d, "ssh").Ready)
}

func TestConverge_ServicesOfAFormerBaseAreReplaced(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := b.converged(t, "web", service("ssh", 22, "ok"))
	before := b.inspect(t, d, "ssh").ID
	b.kill(t, d, "")
	d.Hostname = "SRV-WEB-32" // the base is made of it
	b.converge(t, d)
	require.NotEqual(t, before, b.inspect(t, d, "ssh").ID)
	require.Equal(t, "SRV-WEB-32", b.inspect(t, d, "").Config.Hostname)
}

func TestConverge_NoServicesLeavesTheAddress(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := b.converged(t, "web")
	require.True(t, b.inspect(t, d, "").State.Running)
	d.Removed = true
	b.converge(t, d)
	require.NoDirExists(t, filepath.Join(b.opts.DataDir, d.ID.String()))
}

func TestConverge_LogOfAReplacedDecoyIsKept(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := b.converged(t, "web", service("docker_api", 2375, "ok"))
	config, err := os.ReadFile(filepath.Join(b.opts.DataDir, d.ID.String(), "docker-api", "config.json"))
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(config), `"boot_id":"`)
	id, _, _ := strings.Cut(rest, `"`)
	d.Services[0].Revision++
	b.converge(t, d)
	dirs, err := boot.FindLayout(b.opts.DataDir, b.opts.ArtifactsRoot)
	require.NoError(t, err)
	kept, err := os.ReadFile(dirs.KeptLog(boot.Ref{Decky: d.ID, Service: "docker_api"}, d.Key, uuid.MustParse(id)))
	require.NoError(t, err)
	require.Contains(t, string(kept), " ready ")
	require.Contains(t, string(kept), " connect ")
	require.NotContains(t, string(kept), "noise before the first line")
}

func TestConverge_DecoyThatCannotComeUpSaysWhy(t *testing.T) {
	t.Parallel()
	for behave, want := range map[string]string{
		"crash":             "exit status 2",
		"config_error":      "config_error: bad",
		"hang_before_ready": "in time",
		"no_port":           "does not answer",
		"eat_memory":        "out of memory",
		"eat_threads":       "exit status 2",
	} {
		t.Run(behave, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.opts.ReadyTimeout = 5 * time.Second
			b.reopen(t)
			d := b.newDecky("web")
			d.Services = []runtime.Service{service("ssh", 22, behave)}
			_, err := b.Converge(t.Context(), d, runtimetest.Hooks())
			require.Equal(t, fault.OperationFailed, fault.KindOf(err), "%v", err)
			require.ErrorContains(t, err, want)
			s := b.observed(t, d, "ssh")
			require.False(t, s.Running)
			require.Equal(t, fault.From(err).Message, s.Detail)
		})
	}
}

// The engine may notice the end only after Converge looked; then it is reported as one.
func TestConverge_DecoyThatEndsAtOnceIsNoticed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := b.newDecky("web")
	d.Services = []runtime.Service{service("ssh", 22, "exit_after_ready")}
	_, err := b.Converge(t.Context(), d, runtimetest.Hooks())
	if err != nil {
		require.Equal(t, fault.OperationFailed, fault.KindOf(err), "%v", err)
		require.False(t, b.observed(t, d, "ssh").Running)
		return
	}
	select {
	case <-b.Exits():
	case <-time.After(10 * time.Second):
		require.Fail(t, "its end is not reported")
	}
	require.False(t, b.observed(t, d, "ssh").Running)
}

func TestConverge_ContainersAreHardened(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := b.converged(t, "web", service("ssh", 22, "write_everywhere"))
	for _, svc := range []string{"", "ssh"} {
		c := b.inspect(t, d, svc)
		status, err := os.ReadFile("/proc/" + strconv.Itoa(c.State.Pid) + "/status")
		require.NoError(t, err)
		for _, line := range []string{"CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"} {
			require.Contains(t, string(status), line)
		}
		require.NotContains(t, string(status), "Uid:\t0\t")
		mounts, err := os.ReadFile("/proc/" + strconv.Itoa(c.State.Pid) + "/mountinfo")
		require.NoError(t, err)
		root, _, _ := strings.Cut(string(mounts), "\n")
		require.Contains(t, root, " / / ro,")
		require.Equal(t, "no", string(c.HostConfig.RestartPolicy.Name))
		require.Equal(t, "json-file", c.HostConfig.LogConfig.Type)
		for _, e := range c.Config.Env {
			require.True(t, strings.HasPrefix(e, "PATH="), "environment holds %s", e)
		}
	}
	info, err := os.Stat(filepath.Join(b.opts.DataDir, d.ID.String(), "ssh", "config.json"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o400), info.Mode().Perm())
}

func TestComposeFile_HoldsTheWholeScope(t *testing.T) {
	t.Parallel()
	b := setup(t)
	other := b.newDecky("other")
	other.Services = []runtime.Service{service("ssh", 22, "ok")}
	b.opts.Deckies = func(context.Context, string) ([]runtime.Decky, error) { return []runtime.Decky{other}, nil }
	b.reopen(t)
	d := b.converged(t, "web", service("ssh", 22, "ok"))
	file := filepath.Join(b.opts.DataDir, "compose", "fleet.yml")
	doc, err := os.ReadFile(file)
	require.NoError(t, err)
	for _, name := range []string{compose.ContainerName(d.Key, "ssh"), compose.ContainerName(other.Key, "ssh"), compose.BaseName(other.Key)} {
		require.Contains(t, string(doc), "container_name: "+name+"\n")
	}
	d.Removed = true
	b.converge(t, d)
	doc, err = os.ReadFile(file)
	require.NoError(t, err)
	require.NotContains(t, string(doc), d.Key)
	require.Contains(t, string(doc), other.Key)
}

func TestEngineAway_IsUnavailableAndChangesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	host := "unix://" + filepath.Join(dir, "no.sock")
	require.False(t, docker.Answers(t.Context(), host))
	rt, err := docker.New(docker.Options{
		Installation: uuid.New(), Host: host, DataDir: filepath.Join(dir, "decoys"), ArtifactsRoot: filepath.Join(dir, "artifacts"),
		DecoyBinary: fakeDecoy,
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, rt.Close()) }()
	require.Equal(t, fault.Unavailable, fault.KindOf(rt.Prepare(t.Context())))
	_, err = rt.Observe(t.Context())
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
	_, err = rt.Converge(t.Context(), runtime.Decky{
		ID: uuid.New(), Key: "web", IP: netip.MustParseAddr("198.19.0.9"), Services: []runtime.Service{service("ssh", 22, "ok")},
	}, runtimetest.Hooks())
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
}
