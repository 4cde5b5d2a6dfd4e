package topology_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/runtime"
	"github.com/decnet/decnet/internal/topology"
)

func TestHydrate_ReservesBeforeItChooses(t *testing.T) {
	t.Parallel()
	g := valid()
	host(&g, "a", dmz)        // first by name, but 10.0.0.2 and 10.0.0.3 are declared
	host(&g, "z", inner, dmz) // wants an address that fits the second LAN only
	g.Deckies[3].IP = "10.0.0.40"
	host(&g, "zz", dmz)
	g.Deckies[4].IP = "10.0.0.40" // taken by then
	h := topology.Hydrate(g)
	require.Equal(t, []string{"a", "gw", "mid", "z", "zz"}, names(h))
	require.Equal(t, []topology.Address{{LAN: "dmz", IP: "10.0.0.4"}}, h.Deckies[0].IPs)
	require.Equal(t, []topology.Address{{LAN: "inner", IP: "10.0.1.3"}, {LAN: "dmz", IP: "10.0.0.40"}}, h.Deckies[3].IPs)
	require.Equal(t, []topology.Address{{LAN: "dmz", IP: "10.0.0.5"}}, h.Deckies[4].IPs)
	require.Empty(t, topology.Validate(h))
	require.Equal(t, h, topology.Hydrate(h), "once is enough")
	require.Empty(t, g.Deckies[2].IPs, "its argument stays as it is")
}

func TestHydrate_PutsHomeFirst(t *testing.T) {
	t.Parallel()
	g := valid()
	ips := g.Deckies[1].IPs
	ips[0], ips[1] = ips[1], ips[0]
	require.Equal(t, "inner", topology.Hydrate(g).Deckies[1].IPs[0].LAN)
}

func TestHydrate_KeepsWhatIsWrong(t *testing.T) {
	t.Parallel()
	g := valid()
	g.LANs[1].Subnet = "nonsense"
	g.Deckies[1].IPs = []topology.Address{{LAN: "nowhere", IP: "x"}}
	lan(&g, "full", "10.0.9.0/30", gw, mid)
	g.Edges = append(g.Edges, topology.Edge{ID: id(90), DeckyID: mid, LANID: id(91)})
	h := topology.Hydrate(g)
	require.Equal(t, []topology.Address{{LAN: "nowhere", IP: "x"}, {LAN: "dmz", IP: "10.0.0.3"}}, h.Deckies[1].IPs)
	require.Equal(t, []topology.Address{{LAN: "dmz", IP: "10.0.0.2"}, {LAN: "full", IP: "10.0.9.2"}}, h.Deckies[0].IPs)
	_, err := topology.Attachments(topologyID, h, h.Deckies[1])
	refused(t, fault.Unprocessable, "subnet_invalid", err)
	_, err = topology.Networks(topologyID, h)
	refused(t, fault.Unprocessable, "subnet_invalid", err)
	h.LANs[2].Subnet = "10.0.1.0/24"
	_, err = topology.Attachments(topologyID, h, h.Deckies[1])
	refused(t, fault.Conflict, "address_missing", err)
}

func TestNetworks_DMZFirst(t *testing.T) {
	t.Parallel()
	g := valid()
	lan(&g, "a", "10.0.2.0/28", mid)
	got, err := topology.Networks(topologyID, g)
	require.NoError(t, err)
	require.Equal(t, []topology.Network{
		{LANID: dmz, Name: "decnet_t_0123abcd_dmz", Bridge: topology.BridgeName(topologyID, dmz), Subnet: prefix("10.0.0.0/24"), Gateway: ip("10.0.0.1")},
		{LANID: g.LANs[2].ID, Name: "decnet_t_0123abcd_a", Bridge: topology.BridgeName(topologyID, g.LANs[2].ID), Subnet: prefix("10.0.2.0/28"), Gateway: ip("10.0.2.1"), Internal: true},
		{LANID: inner, Name: "decnet_t_0123abcd_inner", Bridge: topology.BridgeName(topologyID, inner), Subnet: prefix("10.0.1.0/24"), Gateway: ip("10.0.1.1"), Internal: true},
	}, got)
}

func TestAttachments_HomeFirst(t *testing.T) {
	t.Parallel()
	g := valid()
	g.Edges[1], g.Edges[2] = g.Edges[2], g.Edges[1]
	g.Edges = append(g.Edges, g.Edges[2]) // a membership twice is one
	got, err := topology.Attachments(topologyID, g, g.Deckies[1])
	require.NoError(t, err)
	require.Equal(t, []runtime.Attachment{
		{Name: "decnet_t_0123abcd_inner", Bridge: topology.BridgeName(topologyID, inner), Subnet: prefix("10.0.1.0/24"), Gateway: ip("10.0.1.1"), Internal: true, IP: ip("10.0.1.2")},
		{Name: "decnet_t_0123abcd_dmz", Bridge: topology.BridgeName(topologyID, dmz), Subnet: prefix("10.0.0.0/24"), Gateway: ip("10.0.0.1"), IP: ip("10.0.0.3")},
	}, got)
}

func TestPublished_IsForGateways(t *testing.T) {
	t.Parallel()
	g := valid()
	require.Len(t, topology.Published(g, g.Deckies[0]), 1)
	g.Deckies[1].ForwardsL3 = true
	require.Empty(t, topology.Published(g, g.Deckies[1]), "its home is not the DMZ")
	g.Deckies[0].ForwardsL3 = false
	require.Empty(t, topology.Published(g, g.Deckies[0]))
}

func names(g topology.Graph) []string {
	var list []string
	for _, d := range g.Deckies {
		list = append(list, d.Name)
	}
	return list
}
