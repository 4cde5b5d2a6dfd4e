package compose_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/compose"
	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/runtime"
	"github.com/decnet/decnet/internal/topology"
)

var mazeID = uuid.MustParse("0190a1b2-1111-4000-8000-000000000009")

// maze is a topology of three deckies: a gateway in the DMZ, a router behind it, and one behind that.
func maze() compose.Scope {
	id := func(n byte) uuid.UUID { return uuid.UUID{15: n} }
	offers := func(slugs ...string) []decky.Service {
		var list []decky.Service
		for i, s := range slugs {
			list = append(list, decky.Service{Name: s, Revision: i + 1})
		}
		return list
	}
	g := topology.Hydrate(topology.Graph{
		LANs: []topology.LAN{
			{ID: id(1), Name: "dmz", Subnet: "10.0.0.0/24", DMZ: true},
			{ID: id(2), Name: "Factory", Subnet: "10.0.1.0/24"},
			{ID: id(3), Name: "vault", Subnet: "10.0.2.0/24"},
		},
		Deckies: []topology.Decky{
			{ID: id(11), Name: "gw", Services: offers("ssh"), ForwardsL3: true},
			{ID: id(12), Name: "router", Services: offers("http"), ForwardsL3: true},
			{ID: id(13), Name: "safe", Services: offers("redis")},
		},
		Edges: []topology.Edge{
			{ID: id(21), DeckyID: id(11), LANID: id(1)},
			{ID: id(22), DeckyID: id(12), LANID: id(2)},
			{ID: id(23), DeckyID: id(12), LANID: id(1), Bridge: true, ForwardsL3: true},
			{ID: id(24), DeckyID: id(13), LANID: id(3)},
			{ID: id(25), DeckyID: id(13), LANID: id(2), Bridge: true},
		},
	})
	s := ofGraph(g)
	s.Deckies[0].Publish = append(s.Deckies[0].Publish, runtime.Port{Protocol: "udp", Number: 161}) // no service here has one yet
	return s
}

// ofGraph puts a graph into a scope as the runtime does.
func ofGraph(g topology.Graph) compose.Scope {
	s := compose.Scope{
		Installation: uuid.MustParse("0190a1b2-0000-7000-8000-000000000001"), Name: topology.ScopeName(mazeID), Image: "decnet-decoy:0123456789abcdef",
		Network: compose.Network{Driver: compose.Bridge, Subnet: netip.MustParsePrefix("198.19.0.0/16")},
	}
	for _, d := range g.Deckies {
		networks, err := topology.Attachments(mazeID, g, d)
		if err != nil {
			panic(err)
		}
		c := compose.Decky{
			ID: d.ID, Key: topology.DeckyKey(mazeID, d.Name), Name: d.Name, Hostname: d.Name, IP: networks[0].IP,
			Networks: networks, ForwardsL3: d.ForwardsL3,
		}
		for _, p := range topology.Published(g, d) {
			c.Publish = append(c.Publish, runtime.Port(p))
		}
		for _, svc := range d.Services {
			dir := "/srv/decnet/decoys/" + c.Key + "/" + svc.Name
			c.Services = append(c.Services, compose.Service{
				Name: svc.Name, Revision: int64(svc.Revision), UID: 1900000007, GID: 1900000007,
				ConfigFile: dir + "/config.json", SpoolDir: dir + "/spool", StateDir: dir + "/state",
			})
		}
		s.Deckies = append(s.Deckies, c)
	}
	return s
}

func TestRender_TopologyDeckyIsOnItsLANs(t *testing.T) {
	t.Parallel()
	p := compose.Render(maze())
	require.Len(t, p.Networks, 3)
	require.NotContains(t, p.Networks, "lan", "that is the fleet's")
	for name, n := range p.Networks {
		require.Equal(t, name, n.Name)
		require.True(t, bool(n.External))
	}
	router := p.Services[compose.BaseName("0190a1b2-router")]
	require.Len(t, router.Networks, 2)
	require.Equal(t, "10.0.1.2", router.Networks["decnet_t_0190a1b2_factory"].Ipv4Address)
	require.Equal(t, "10.0.0.3", router.Networks["decnet_t_0190a1b2_dmz"].Ipv4Address)
	require.Equal(t, []string{"decnet_t_0190a1b2_factory", "decnet_t_0190a1b2_dmz"}, router.NetworksByPriority(), "home first")
	require.Equal(t, "1", router.Sysctls["net.ipv4.ip_forward"])
	require.Empty(t, router.Ports, "an inner router publishes nothing")
	require.Equal(t, "0", p.Services[compose.BaseName("0190a1b2-safe")].Sysctls["net.ipv4.ip_forward"])

	svc := p.Services[compose.ContainerName("0190a1b2-safe", "redis")]
	require.Equal(t, mazeID.String(), svc.Labels[compose.LabelTopologyID])
	require.Equal(t, "safe", svc.Labels[compose.LabelTopologyDecky])
	require.Equal(t, "true", svc.Labels[compose.LabelTopologyService])
	require.Equal(t, "redis", svc.Labels[compose.LabelTopologyServiceName])
	require.NotContains(t, svc.Labels, compose.LabelTopologyRole)
	require.NotContains(t, svc.Labels, compose.LabelFleetService)
	require.Equal(t, compose.RoleBase, router.Labels[compose.LabelTopologyRole])
	require.NotContains(t, router.Labels, compose.LabelTopologyService, "logs of a base must not be collected")
}

func TestRender_GatewayPublishesItsPorts(t *testing.T) {
	t.Parallel()
	gw := compose.Render(maze()).Services[compose.BaseName("0190a1b2-gw")]
	require.Equal(t, "1", gw.Sysctls["net.ipv4.ip_forward"])
	require.Len(t, gw.Ports, 2)
	require.Equal(t, "tcp/22:22", gw.Ports[0].Protocol+"/"+gw.Ports[0].Published+":22")
	require.EqualValues(t, 22, gw.Ports[0].Target)
	require.Equal(t, "udp", gw.Ports[1].Protocol)
	require.EqualValues(t, 161, gw.Ports[1].Target)
}

func TestRender_FleetKnowsNothingOfTopologies(t *testing.T) {
	t.Parallel()
	for _, s := range compose.Render(scope()).Services {
		require.NotContains(t, s.Sysctls, "net.ipv4.ip_forward")
		require.NotContains(t, s.Labels, compose.LabelTopologyID)
		require.NotContains(t, s.Labels, compose.LabelTopologyRole)
	}
}

func TestBaseHash_OfATopology(t *testing.T) {
	t.Parallel()
	s := maze()
	before := s.BaseHash(s.Deckies[1])
	d := s.Deckies[1]
	d.Networks = d.Networks[:1]
	require.Equal(t, before, s.BaseHash(d), "a running base leaves a LAN that is not its home")
	d.Networks = append([]runtime.Attachment(nil), d.Networks...)
	d.Networks[0].IP = d.Networks[0].IP.Next()
	require.NotEqual(t, before, s.BaseHash(d))
	d = s.Deckies[1]
	d.ForwardsL3 = false
	require.NotEqual(t, before, s.BaseHash(d))
	d = s.Deckies[1]
	d.Publish = []runtime.Port{{Protocol: "tcp", Number: 80}}
	require.NotEqual(t, before, s.BaseHash(d))
}

// large is a topology of 200 deckies in 21 LANs with 600 services.
func large() topology.Graph {
	g := topology.Graph{LANs: []topology.LAN{{ID: uuid.New(), Name: "dmz", Subnet: "10.0.0.0/24", DMZ: true}}}
	for i := range 200 {
		if i%10 == 0 {
			g.LANs = append(g.LANs, topology.LAN{ID: uuid.New(), Name: fmt.Sprintf("lan-%d", i/10), Subnet: fmt.Sprintf("10.0.%d.0/24", 1+i/10)})
		}
		d := topology.Decky{ID: uuid.New(), Name: fmt.Sprintf("decky-%03d", i), Services: []decky.Service{{Name: "ssh"}, {Name: "http"}, {Name: "redis"}}}
		g.Deckies = append(g.Deckies, d)
		g.Edges = append(g.Edges, topology.Edge{ID: uuid.New(), DeckyID: d.ID, LANID: g.LANs[len(g.LANs)-1].ID})
		if i%10 == 0 {
			g.Edges = append(g.Edges, topology.Edge{ID: uuid.New(), DeckyID: d.ID, LANID: g.LANs[0].ID, Bridge: true})
		}
	}
	return g
}

func TestTopology_TwoHundredDeckiesInFarLessThanASecond(t *testing.T) {
	t.Parallel()
	g := large()
	start := time.Now()
	require.Empty(t, topology.Validate(topology.Hydrate(g)))
	require.Less(t, time.Since(start), 250*time.Millisecond)
}

func BenchmarkTopology200(b *testing.B) {
	g := large()
	h := topology.Hydrate(g)
	b.Run("validate", func(b *testing.B) {
		for b.Loop() {
			if len(topology.Validate(h)) > 0 {
				b.Fatal("not valid")
			}
		}
	})
	b.Run("hydrate", func(b *testing.B) {
		for b.Loop() {
			topology.Hydrate(g)
		}
	})
	b.Run("render", func(b *testing.B) {
		for b.Loop() {
			if _, err := compose.YAML(ofGraph(h)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
