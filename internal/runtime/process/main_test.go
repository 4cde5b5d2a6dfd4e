package process_test

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/decnet/decnet/internal/runtime"
	"github.com/decnet/decnet/internal/runtime/process"
	"github.com/decnet/decnet/internal/runtime/runtimetest"
	"github.com/decnet/decnet/internal/topology"
)

var fakeDecoy string

func TestMain(m *testing.M) {
	if args := os.Getenv("PROCESS_TEST_CONTROL_PLANE"); args != "" {
		controlPlane(args)
		return
	}
	dir, err := os.MkdirTemp("", "fakedecoy")
	if err != nil {
		panic(err)
	}
	fakeDecoy = filepath.Join(dir, "decoy")
	if out, err := exec.Command("go", "build", "-o", fakeDecoy, "./testdata/fakedecoy").CombinedOutput(); err != nil {
		panic(fmt.Sprintf("build fake decoy: %v\n%s", err, out))
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code)
	}))
}

// bundle is an empty installation and its runtime.
type bundle struct {
	*process.Runtime
	opts process.Options
}

func setup(t *testing.T) *bundle {
	t.Helper()
	dir := t.TempDir()
	b := &bundle{opts: process.Options{
		DataDir: filepath.Join(dir, "decoys"), ArtifactsRoot: filepath.Join(dir, "artifacts"), DecoyBinary: fakeDecoy,
	}}
	b.open(t)
	t.Cleanup(func() {
		for _, pid := range decoyPIDs(t, b.opts.DataDir) {
			_ = unix.Kill(pid, unix.SIGKILL)
			waitGone(t, pid)
		}
		_ = b.Close()
	})
	return b
}

func (b *bundle) open(t *testing.T) {
	t.Helper()
	rt, err := process.New(b.opts)
	require.NoError(t, err)
	require.NoError(t, rt.Prepare(t.Context()))
	b.Runtime = rt
}

func (b *bundle) reopen(t *testing.T) {
	t.Helper()
	require.NoError(t, b.Close())
	b.open(t)
}

var lastAddress atomic.Uint32

// newDecky returns a decky at an address that no test of this process uses and others hardly do.
func newDecky(name string) runtime.Decky {
	n := lastAddress.Add(1)
	return runtime.Decky{
		ID: uuid.New(), Key: fmt.Sprintf("%s-%d", name, n), Name: name, Hostname: "SRV-WEB-31", Distro: "debian", NmapOS: "linux",
		IP: netip.AddrFrom4([4]byte{127, 66, byte(100 + os.Getpid()%100), byte(n)}),
	}
}

// newTopology returns a decky of a topology, whose networks are only names here.
func newTopology(name string) (runtime.Decky, []runtime.Network) {
	d, id := newDecky(name), uuid.New()
	d.Scope, d.Key = topology.ScopeName(id), topology.DeckyKey(id, d.Key)
	var networks []runtime.Network
	for n, lan := range []string{"dmz", "factory"} {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(n), 0}), 24)
		networks = append(networks, runtime.Network{
			Name: topology.NetworkName(id, lan), Bridge: topology.BridgeName(id, uuid.New()), Subnet: p, Gateway: p.Addr().Next(), Internal: n > 0,
		})
		d.Networks = append(d.Networks, runtime.Attachment{
			Name: networks[n].Name, Bridge: networks[n].Bridge, Subnet: p, Gateway: networks[n].Gateway, Internal: n > 0, IP: p.Addr().Next().Next(),
		})
	}
	return d, networks
}

func service(name string, port uint16, behave string) runtime.Service {
	return runtime.Service{
		Name: name, Revision: 1, Ports: []runtime.Port{{Protocol: "tcp", Number: port}},
		Config: map[string]any{"behave": behave},
	}
}

func hooks() runtime.Hooks { return runtimetest.Hooks() }

// decoyPIDs finds decoys independently of the code under test: every process whose command line names the folder.
func decoyPIDs(t *testing.T, under string) []int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	require.NoError(t, err)
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		b, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if strings.Contains(string(b), "--config\x00"+under+"/") {
			pids = append(pids, pid)
		}
	}
	return pids
}

func (b *bundle) pids(t *testing.T, d runtime.Decky, svc string) []int {
	t.Helper()
	return decoyPIDs(t, filepath.Join(b.opts.DataDir, d.ID.String(), runtime.ServiceFileName(svc)))
}

func (b *bundle) pid(t *testing.T, d runtime.Decky, svc string) int {
	t.Helper()
	pids := b.pids(t, d, svc)
	require.Len(t, pids, 1)
	return pids[0]
}

func waitGone(t *testing.T, pid int) {
	t.Helper()
	require.Eventually(t, func() bool {
		b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
		return err != nil || len(b) == 0
	}, 10*time.Second, 5*time.Millisecond)
}

func TestConformance(t *testing.T) {
	t.Parallel()
	runtimetest.Run(t, func(t *testing.T) *runtimetest.Bundle {
		b := setup(t)
		return &runtimetest.Bundle{
			Runtime: b.Runtime,
			Reopen: func(t *testing.T) runtime.Runtime {
				b.reopen(t)
				return b.Runtime
			},
			Decky:    func(_ *testing.T, name string) runtime.Decky { return newDecky(name) },
			Topology: func(_ *testing.T, name string) (runtime.Decky, []runtime.Network) { return newTopology(name) },
			Healthy: func(n int) runtime.Service {
				s := service([]string{"ssh", "docker_api", "dns"}[n], []uint16{22, 2375, 53}[n], "ok")
				if n == 2 {
					s.Ports = append(s.Ports, runtime.Port{Protocol: "udp", Number: 53})
				}
				return s
			},
			Broken: func() runtime.Service { return service("http", 80, "crash") },
			Identity: func(t *testing.T, d runtime.Decky, svc string) string {
				return strconv.Itoa(b.pid(t, d, svc))
			},
			Kill: func(t *testing.T, d runtime.Decky, svc string) {
				pid := b.pid(t, d, svc)
				require.NoError(t, unix.Kill(pid, unix.SIGKILL))
				waitGone(t, pid)
			},
		}
	})
}
