package docker_test

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/compose"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/runtime"
	"github.com/decnet/decnet/internal/runtime/runtimetest"
	"github.com/decnet/decnet/internal/topology"
)

// maze is a topology of a test: LANs of sixteen addresses each, the first one its DMZ.
type maze struct {
	*bundle
	id   uuid.UUID
	lans []runtime.Network
}

var lastLAN atomic.Uint32

// newSubnet returns sixteen addresses of 198.18.0.0/16 that this host uses for nothing, apart from those of setup.
func newSubnet(t *testing.T) netip.Prefix {
	t.Helper()
	used, err := net.InterfaceAddrs()
	require.NoError(t, err)
	for {
		n := lastLAN.Add(1)
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, byte(uint32(os.Getpid()) + 3 + n/16*7), byte(n%16) * 16}), 28)
		if !slices.ContainsFunc(used, func(a net.Addr) bool { return netip.MustParsePrefix(a.String()).Masked().Overlaps(p) }) {
			return p
		}
	}
}

func newLAN(t *testing.T, topologyID uuid.UUID, name string, internal bool) runtime.Network {
	t.Helper()
	p := newSubnet(t)
	return runtime.Network{
		Name: topology.NetworkName(topologyID, name), Bridge: topology.BridgeName(topologyID, uuid.New()),
		Subnet: p, Gateway: p.Addr().Next(), Internal: internal,
	}
}

// foreign makes a network that is not ours.
func (b *bundle) foreign(t *testing.T, subnet netip.Prefix) (name string) {
	t.Helper()
	name = "somebody-" + uuid.NewString()
	_, err := b.engine.NetworkCreate(t.Context(), name, client.NetworkCreateOptions{
		IPAM: &network.IPAM{Config: []network.IPAMConfig{{Subnet: subnet}}},
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = exec.Command("docker", "network", "rm", name).Run() })
	return name
}

func newMaze(t *testing.T, names ...string) *maze {
	t.Helper()
	return newMazeOn(t, setup(t), names...)
}

func newMazeOn(t *testing.T, b *bundle, names ...string) *maze {
	t.Helper()
	m := &maze{bundle: b, id: uuid.New()}
	for i, name := range names {
		m.lans = append(m.lans, newLAN(t, m.id, name, i > 0))
	}
	require.NoError(t, m.Networks(t.Context(), m.scope(), m.lans))
	return m
}

func (m *maze) scope() string { return topology.ScopeName(m.id) }

// host returns the n-th address of a LAN, from 0, after the host's own.
func (m *maze) host(lan, n int) netip.Addr {
	ip := m.lans[lan].Gateway.Next()
	for range n {
		ip = ip.Next()
	}
	return ip
}

func (m *maze) on(lan, n int) runtime.Attachment {
	l := m.lans[lan]
	return runtime.Attachment{Name: l.Name, Bridge: l.Bridge, Subnet: l.Subnet, Gateway: l.Gateway, Internal: l.Internal, IP: m.host(lan, n)}
}

func (m *maze) decky(name string, on ...runtime.Attachment) runtime.Decky {
	return runtime.Decky{
		ID: uuid.New(), Scope: m.scope(), Key: topology.DeckyKey(m.id, name), Name: name, Hostname: name, NmapOS: "linux",
		IP: on[0].IP, Networks: on, Services: []runtime.Service{service("ssh", 22, "ok")},
	}
}

// ours lists the networks of the topology as the engine has them, by bridge.
func (m *maze) ours(t *testing.T) map[string]network.Network {
	t.Helper()
	list, err := m.engine.NetworkList(t.Context(), client.NetworkListOptions{
		Filters: client.Filters{}.Add("label", compose.LabelScope+"="+m.scope()),
	})
	require.NoError(t, err)
	all := map[string]network.Network{}
	for _, n := range list.Items {
		all[n.Options["com.docker.network.bridge.name"]] = n.Network
	}
	return all
}

func (m *maze) networks(t *testing.T) {
	t.Helper()
	require.NoError(t, m.Networks(t.Context(), m.scope(), m.lans))
}

func requireFault(t *testing.T, err error, code string, texts ...string) {
	t.Helper()
	f, ok := fault.As(err)
	require.True(t, ok, "%v", err)
	require.Equal(t, code, f.Code, "%v", err)
	require.Equal(t, fault.OperationFailed, f.Kind)
	for _, text := range texts {
		require.Contains(t, f.Message, text)
	}
}

func TestNetworks_AreAsWantedAndStay(t *testing.T) {
	t.Parallel()
	m := newMaze(t, "dmz", "factory")
	before := m.ours(t)
	require.Len(t, before, 2)
	for _, l := range m.lans {
		n := before[l.Bridge]
		require.Equal(t, l.Name, n.Name)
		require.Equal(t, l.Internal, n.Internal)
		require.Equal(t, l.Subnet, n.IPAM.Config[0].Subnet)
		require.FileExists(t, "/sys/class/net/"+l.Bridge)
	}
	m.networks(t)
	require.Equal(t, before, m.ours(t))

	m.lans[1].Name = topology.NetworkName(m.id, "plant")
	m.networks(t)
	require.Equal(t, before, m.ours(t), "a LAN that is renamed keeps its network")
	m.lans = append(m.lans, newLAN(t, m.id, "factory", true))
	m.networks(t)
	require.Len(t, m.ours(t), 3, "a new LAN may have the old name")

	m.lans[1].Internal = false
	m.networks(t)
	require.NotEqual(t, before[m.lans[1].Bridge].ID, m.ours(t)[m.lans[1].Bridge].ID)
	require.False(t, m.ours(t)[m.lans[1].Bridge].Internal)
}

func TestNetworks_OneInUseStaysUntilItIsNot(t *testing.T) {
	t.Parallel()
	m := newMaze(t, "dmz", "factory")
	d := m.decky("web", m.on(1, 0))
	m.converge(t, d)
	require.NoError(t, m.Networks(t.Context(), m.scope(), nil))
	require.Len(t, m.ours(t), 1)
	requireAnswers(t, netip.AddrPortFrom(d.IP, 22))
	d.Removed = true
	m.converge(t, d)
	require.NoError(t, m.Networks(t.Context(), m.scope(), nil))
	require.Empty(t, m.ours(t))
	for _, l := range m.lans {
		require.NoFileExists(t, "/sys/class/net/"+l.Bridge)
	}
	require.NoDirExists(t, filepath.Join(m.opts.DataDir, d.ID.String()))
	list, err := m.engine.ContainerList(t.Context(), client.ContainerListOptions{
		All: true, Filters: client.Filters{}.Add("label", compose.LabelScope+"="+m.scope()),
	})
	require.NoError(t, err)
	require.Empty(t, list.Items)
}

func TestNetworks_SubnetOfSomebodyElseIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	m := newMazeOn(t, b)
	lan := newLAN(t, m.id, "dmz", false)
	foreign := b.foreign(t, lan.Subnet)
	requireFault(t, m.Networks(t.Context(), m.scope(), []runtime.Network{lan}), "network_conflict", foreign, lan.Subnet.String())
	require.Empty(t, m.ours(t))

	host := lan
	host.Subnet, host.Gateway = netip.MustParsePrefix("127.0.0.0/28"), netip.MustParseAddr("127.0.0.1")
	requireFault(t, m.Networks(t.Context(), m.scope(), []runtime.Network{host}), "network_conflict", "lo")

	fleet := lan
	fleet.Subnet, fleet.Gateway = b.opts.Network.Subnet, b.opts.Network.Subnet.Addr().Next()
	requireFault(t, m.Networks(t.Context(), m.scope(), []runtime.Network{fleet}), "network_conflict", compose.ProjectName(b.opts.Installation, "fleet"))
}

func TestNetworks_LeftoverOfAnotherTopologyMakesRoom(t *testing.T) {
	t.Parallel()
	left := newMaze(t, "dmz", "factory")
	d := left.decky("web", left.on(0, 0))
	left.converge(t, d)
	m := newMazeOn(t, left.bundle)
	for _, l := range left.lans {
		l.Bridge, l.Name = topology.BridgeName(m.id, uuid.New()), topology.NetworkName(m.id, l.Bridge)
		m.lans = append(m.lans, l)
	}
	requireFault(t, m.Networks(t.Context(), m.scope(), m.lans[:1]), "network_conflict", left.lans[0].Name)
	require.NoError(t, m.Networks(t.Context(), m.scope(), m.lans[1:]))
	require.Len(t, left.ours(t), 1)
}

func TestTopology_JoinsAndLeavesWithoutRecreation(t *testing.T) {
	t.Parallel()
	m := newMaze(t, "dmz", "factory", "vault")
	d := m.decky("web", m.on(0, 0), m.on(1, 0))
	eps := m.converge(t, d)
	require.Equal(t, netip.AddrPortFrom(d.IP, 22), eps[0].Listen)
	base, ssh := m.inspect(t, d, "").ID, m.inspect(t, d, "ssh").ID
	for _, lan := range []int{0, 1} {
		requireAnswers(t, netip.AddrPortFrom(m.host(lan, 0), 22))
	}
	for _, step := range [][]runtime.Attachment{
		{m.on(0, 0), m.on(2, 3)}, {m.on(0, 0)}, {m.on(0, 0), m.on(1, 5)}, {m.on(0, 0), m.on(1, 6), m.on(2, 0)},
	} {
		d.Networks = step
		require.Equal(t, eps, m.converge(t, d))
		require.Equal(t, []string{base, ssh}, []string{m.inspect(t, d, "").ID, m.inspect(t, d, "ssh").ID})
		require.Len(t, m.inspect(t, d, "").NetworkSettings.Networks, len(step))
		for _, a := range step {
			requireAnswers(t, netip.AddrPortFrom(a.IP, 22))
		}
		require.True(t, m.observed(t, d, "ssh").Ready)
		require.Equal(t, eps, m.observed(t, d, "ssh").Endpoints)
	}
	d.Networks = []runtime.Attachment{m.on(1, 6), m.on(0, 0)}
	d.IP = m.host(1, 6)
	m.converge(t, d)
	require.NotEqual(t, base, m.inspect(t, d, "").ID, "another home")
	requireAnswers(t, netip.AddrPortFrom(d.IP, 22))
}

func TestTopology_RenamedLANChangesNoContainer(t *testing.T) {
	t.Parallel()
	m := newMaze(t, "dmz", "factory")
	d := m.decky("web", m.on(0, 0), m.on(1, 0))
	m.converge(t, d)
	before := []string{m.inspect(t, d, "").ID, m.inspect(t, d, "ssh").ID}
	for i, name := range []string{"front", "plant"} {
		m.lans[i].Name = topology.NetworkName(m.id, name)
	}
	m.networks(t)
	d.Networks = []runtime.Attachment{m.on(0, 0), m.on(1, 0)}
	m.converge(t, d)
	after := []string{m.inspect(t, d, "").ID, m.inspect(t, d, "ssh").ID}
	require.Equal(t, before, after)
	require.True(t, m.observed(t, d, "ssh").Ready)
	doc, err := os.ReadFile(filepath.Join(m.opts.DataDir, "compose", strings.ReplaceAll(m.scope(), "/", "-")+".yml"))
	require.NoError(t, err)
	for _, n := range m.ours(t) {
		require.Contains(t, string(doc), "name: "+n.Name+"\n", "the file names networks as the engine does")
	}
}

func TestTopology_NetworkTakenAwayByHandIsDrift(t *testing.T) {
	t.Parallel()
	m := newMaze(t, "dmz", "factory")
	d := m.decky("web", m.on(0, 0), m.on(1, 0))
	m.converge(t, d)
	ssh := m.inspect(t, d, "ssh").ID
	n := m.ours(t)[m.lans[1].Bridge]
	_, err := m.engine.NetworkDisconnect(t.Context(), n.ID, client.NetworkDisconnectOptions{Container: compose.BaseName(d.Key)})
	require.NoError(t, err)
	_, err = m.engine.NetworkRemove(t.Context(), n.ID, client.NetworkRemoveOptions{})
	require.NoError(t, err)
	s := m.observed(t, d, "ssh")
	require.False(t, s.Ready)
	require.Equal(t, "its decky is not on the network "+n.Name, s.Detail)
	m.converge(t, d)
	require.True(t, m.observed(t, d, "ssh").Ready)
	require.Equal(t, ssh, m.inspect(t, d, "ssh").ID)
	requireAnswers(t, netip.AddrPortFrom(m.host(1, 0), 22))
}

func TestTopology_AddressesAreChecked(t *testing.T) {
	t.Parallel()
	m := newMaze(t, "dmz", "factory")
	for name, change := range map[string]func(*runtime.Decky){
		"no network":           func(d *runtime.Decky) { d.Networks = nil },
		"not a topology":       func(d *runtime.Decky) { d.Scope = "fleet" },
		"address of no home":   func(d *runtime.Decky) { d.IP = d.IP.Next() },
		"outside of the LAN":   func(d *runtime.Decky) { d.Networks[1].IP = d.IP },
		"address of the host":  func(d *runtime.Decky) { d.Networks[1].IP = d.Networks[1].Gateway },
		"twice":                func(d *runtime.Decky) { d.Networks[1] = d.Networks[0] },
		"bridge of the host's": func(d *runtime.Decky) { d.Networks[1].Bridge = "docker0" },
	} {
		d := m.decky("web", m.on(0, 0), m.on(1, 0))
		d.Networks = slices.Clone(d.Networks)
		change(&d)
		_, err := m.Converge(t.Context(), d, runtimetest.Hooks())
		require.Equal(t, fault.Invalid, fault.KindOf(err), name)
	}
	d := m.decky("web", m.on(0, 0))
	m.converge(t, d)
	other := m.decky("other", m.on(1, 0), m.on(0, 0))
	_, err := m.Converge(t.Context(), other, runtimetest.Hooks())
	require.Equal(t, fault.OperationFailed, fault.KindOf(err), "an address is had once: %v", err)
}
