package topology_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/service"
	"github.com/decnet/decnet/internal/topology"
)

type target = map[string]any

// issue is what a test expects of an issue; all of these are errors.
type issue struct {
	code   string
	target target
}

func TestValidate_EachCodeAlone(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*topology.Graph)
		want   []issue
	}{
		"valid":        {func(*topology.Graph) {}, nil},
		"empty":        {func(g *topology.Graph) { *g = topology.Graph{} }, []issue{{topology.DMZMissing, target{}}}},
		"no DMZ":       {func(g *topology.Graph) { g.LANs[0].DMZ = false }, []issue{{topology.DMZMissing, target{}}}},
		"two DMZ":      {func(g *topology.Graph) { g.LANs[1].DMZ = true }, []issue{{topology.DMZMultiple, target{"lans": []string{"dmz", "inner"}}}}},
		"orphan LANs":  {func(g *topology.Graph) { g.Edges = g.Edges[:2]; lan(g, "far", "10.0.2.0/24") }, []issue{{topology.DMZOrphan, target{"lans": []string{"inner", "far"}}}}},
		"orphan decky": {func(g *topology.Graph) { host(g, "lost") }, []issue{{topology.DeckyOrphan, target{"decky": "lost"}}}},
		"two orphans": {
			func(g *topology.Graph) { host(g, "lost"); host(g, "gone") },
			[]issue{{topology.DeckyOrphan, target{"decky": "lost"}}, {topology.DeckyOrphan, target{"decky": "gone"}}},
		},
		"LAN name, each repetition": {
			func(g *topology.Graph) {
				lan(g, "inner", "10.0.2.0/24", mid)
				lan(g, "INNER", "10.0.3.0/24", mid)
			},
			[]issue{{topology.LANNameDup, target{"lan": "inner"}}, {topology.LANNameDup, target{"lan": "INNER"}}},
		},
		"decky name": {func(g *topology.Graph) { host(g, "gw", inner) }, []issue{{topology.DeckyNameDup, target{"decky": "gw"}}}},
		"unknown LAN": {
			func(g *topology.Graph) { declare(g, 0, "nowhere", "10.0.0.9") },
			[]issue{{topology.IPUnknownLAN, target{"decky": "gw", "lan": "nowhere"}}},
		},
		"outside": {
			func(g *topology.Graph) { g.Deckies[0].IPs[0].IP = "10.0.1.9" },
			[]issue{{topology.IPOutOfSubnet, target{"decky": "gw", "lan": "dmz", "ip": "10.0.1.9"}}},
		},
		"the network itself": {
			func(g *topology.Graph) { g.Deckies[0].IPs[0].IP = "10.0.0.0" },
			[]issue{{topology.IPOutOfSubnet, target{"decky": "gw", "lan": "dmz", "ip": "10.0.0.0"}}},
		},
		"the gateway": {
			func(g *topology.Graph) { g.Deckies[0].IPs[0].IP = "10.0.0.1" },
			[]issue{{topology.IPOutOfSubnet, target{"decky": "gw", "lan": "dmz", "ip": "10.0.0.1"}}},
		},
		"broadcast": {
			func(g *topology.Graph) { g.Deckies[0].IPs[0].IP = "10.0.0.255" },
			[]issue{{topology.IPOutOfSubnet, target{"decky": "gw", "lan": "dmz", "ip": "10.0.0.255"}}},
		},
		"outside and doubled": {
			func(g *topology.Graph) { g.Deckies[0].IPs[0].IP = "10.9.9.9"; g.Deckies[1].IPs[1].IP = "10.9.9.9" },
			[]issue{
				{topology.IPOutOfSubnet, target{"decky": "gw", "lan": "dmz", "ip": "10.9.9.9"}},
				{topology.IPOutOfSubnet, target{"decky": "mid", "lan": "dmz", "ip": "10.9.9.9"}},
				{topology.IPCollision, target{"lan": "dmz", "ip": "10.9.9.9", "deckies": []string{"gw", "mid"}}},
			},
		},
		"malformed, twice the same": {
			func(g *topology.Graph) { g.Deckies[0].IPs[0].IP = "10.0.0"; g.Deckies[1].IPs[1].IP = "10.0.0" },
			[]issue{
				{topology.IPMalformed, target{"decky": "gw", "ip": "10.0.0"}},
				{topology.IPMalformed, target{"decky": "mid", "ip": "10.0.0"}},
			},
		},
		"IPv6": {
			func(g *topology.Graph) { g.Deckies[0].IPs[0].IP = "fd00::2" },
			[]issue{{topology.IPMalformed, target{"decky": "gw", "ip": "fd00::2"}}},
		},
		"IPv4 in IPv6": {
			func(g *topology.Graph) { g.Deckies[0].IPs[0].IP = "::ffff:10.0.0.2" },
			[]issue{{topology.IPMalformed, target{"decky": "gw", "ip": "::ffff:10.0.0.2"}}},
		},
		"collision": {
			func(g *topology.Graph) { g.Deckies[1].IPs[1].IP = "10.0.0.2" },
			[]issue{{topology.IPCollision, target{"lan": "dmz", "ip": "10.0.0.2", "deckies": []string{"gw", "mid"}}}},
		},
		"collision of three names the first": {
			func(g *topology.Graph) {
				host(g, "x", dmz)
				declare(g, 2, "dmz", "10.0.0.2")
				g.Deckies[1].IPs[1].IP = "10.0.0.2"
			},
			[]issue{
				{topology.IPCollision, target{"lan": "dmz", "ip": "10.0.0.2", "deckies": []string{"gw", "mid"}}},
				{topology.IPCollision, target{"lan": "dmz", "ip": "10.0.0.2", "deckies": []string{"gw", "x"}}},
			},
		},
		"malformed subnet takes its addresses along": {
			func(g *topology.Graph) { g.LANs[1].Subnet = "10.0.1.0/33" },
			[]issue{{topology.IPMalformed, target{"decky": "mid", "ip": "10.0.1.2"}}, {topology.SubnetMalformed, target{"lan": "inner"}}},
		},
		"host bits":      {func(g *topology.Graph) { lan(g, "l", "10.0.9.1/24", mid) }, []issue{{topology.SubnetMalformed, target{"lan": "l"}}}},
		"no prefix":      {func(g *topology.Graph) { lan(g, "l", "10.0.9.0", mid) }, []issue{{topology.SubnetMalformed, target{"lan": "l"}}}},
		"no subnet":      {func(g *topology.Graph) { lan(g, "l", "", mid) }, []issue{{topology.SubnetMalformed, target{"lan": "l"}}}},
		"no hosts":       {func(g *topology.Graph) { lan(g, "l", "10.0.9.0/31", mid) }, []issue{{topology.SubnetMalformed, target{"lan": "l"}}}},
		"one address":    {func(g *topology.Graph) { lan(g, "l", "10.0.9.0/32", mid) }, []issue{{topology.SubnetMalformed, target{"lan": "l"}}}},
		"everything":     {func(g *topology.Graph) { lan(g, "l", "0.0.0.0/0", mid) }, []issue{{topology.SubnetMalformed, target{"lan": "l"}}}},
		"loopback":       {func(g *topology.Graph) { lan(g, "l", "127.0.9.0/24", mid) }, []issue{{topology.SubnetMalformed, target{"lan": "l"}}}},
		"IPv6 subnet":    {func(g *topology.Graph) { lan(g, "l", "fd00::/64", mid) }, []issue{{topology.SubnetMalformed, target{"lan": "l"}}}},
		"smallest":       {func(g *topology.Graph) { lan(g, "l", "10.0.9.0/30", mid) }, nil},
		"too many in it": {func(g *topology.Graph) { lan(g, "l", "10.0.9.0/30", mid, gw) }, []issue{{topology.AddressesExhausted, target{"lan": "l"}}}},
		"each overlapping pair": {
			func(g *topology.Graph) {
				lan(g, "a", "10.0.0.128/25", mid)
				lan(g, "b", "10.0.0.0/16", mid)
			},
			[]issue{
				{topology.SubnetOverlap, target{"lans": []string{"dmz", "a"}}},
				{topology.SubnetOverlap, target{"lans": []string{"dmz", "b"}}},
				{topology.SubnetOverlap, target{"lans": []string{"inner", "b"}}},
				{topology.SubnetOverlap, target{"lans": []string{"a", "b"}}},
			},
		},
		"unknown service": {
			func(g *topology.Graph) { g.Deckies[0].Services = offers("ssh", "nonesuch", "") },
			[]issue{
				{topology.UnknownService, target{"decky": "gw", "service": "nonesuch"}},
				{topology.UnknownService, target{"decky": "gw", "service": ""}},
			},
		},
		"undeclared configuration, even empty": {
			func(g *topology.Graph) {
				g.Deckies[0].Undeclared = map[string]service.Config{"redis": {"version": "7.0"}, "http": nil, "ssh": {}}
			},
			[]issue{
				{topology.ServiceCfgUndeclared, target{"decky": "gw", "service": "http"}},
				{topology.ServiceCfgUndeclared, target{"decky": "gw", "service": "redis"}},
			},
		},
		"two services on one port": {
			func(g *topology.Graph) { g.Deckies[0].Services = offers("ssh", "ssh") },
			[]issue{{topology.PortConflict, target{"decky": "gw", "port": 22, "services": []string{"ssh", "ssh"}}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := valid()
			c.change(&g)
			var got []issue
			for _, i := range topology.Validate(g) {
				require.Equal(t, topology.Error, i.Severity)
				require.NotEmpty(t, i.Message)
				require.NotNil(t, i.Target)
				got = append(got, issue{i.Code, i.Target})
			}
			require.Equal(t, c.want, got)
			require.Len(t, topology.Blocking(topology.Validate(g)), len(c.want))
		})
	}
}

func TestValidate_OrderOfTheRules(t *testing.T) {
	t.Parallel()
	g := valid()
	g.Deckies[0].Services = offers("nonesuch", "redis", "redis")
	g.Deckies[0].Undeclared = map[string]service.Config{"http": {}}
	declare(&g, 0, "nowhere", "10.0.0.9")
	declare(&g, 0, "inner", "bad")
	declare(&g, 1, "inner", "10.0.0.77")
	declare(&g, 1, "dmz", "10.0.0.2")
	lan(&g, "Inner", "10.0.1.128/30", mid, gw, id(50))
	lan(&g, "l", "x")
	g.LANs = append(g.LANs, topology.LAN{ID: id(70), Name: "dmz2", Subnet: "10.7.0.0/24", DMZ: true})
	host(&g, "gw")
	var codes []string
	for _, i := range topology.Validate(g) {
		codes = append(codes, i.Code)
	}
	require.Equal(t, []string{
		"DMZ_MULTIPLE", "DMZ_ORPHAN", "DECKY_ORPHAN", "LAN_NAME_DUP", "DECKY_NAME_DUP", "IP_UNKNOWN_LAN", "IP_OUT_OF_SUBNET",
		"IP_MALFORMED", "IP_COLLISION", "SUBNET_MALFORMED", "SUBNET_OVERLAP", "UNKNOWN_SERVICE", "SERVICE_CFG_UNDECLARED",
		"PORT_CONFLICT", "ADDRESSES_EXHAUSTED",
	}, codes)
}

func TestFault_NamesEveryIssue(t *testing.T) {
	t.Parallel()
	require.NoError(t, topology.Fault(nil))
	f := refused(t, fault.Unprocessable, "topology_invalid", topology.Fault(topology.Validate(topology.Graph{Deckies: []topology.Decky{{Name: "x"}}})))
	require.Len(t, f.Fields, 2)
	require.Equal(t, "topology.DMZ_MISSING", f.Fields[0].Location)
	require.Equal(t, "topology.DECKY_ORPHAN", f.Fields[1].Location)
}

func TestGatewayIssue(t *testing.T) {
	t.Parallel()
	g := valid()
	require.Empty(t, topology.GatewayIssue(g, g.Deckies[0]))
	require.Empty(t, topology.GatewayIssue(g, g.Deckies[1]), "it does not forward")
	g.Deckies[1].ForwardsL3 = true
	require.Empty(t, topology.Validate(g), "an inner router is no issue of the standing set")
	got := topology.GatewayIssue(g, g.Deckies[1])
	require.Len(t, got, 1)
	require.Equal(t, topology.GatewayNotInDMZ, got[0].Code)
	require.Equal(t, topology.Error, got[0].Severity)
	require.Equal(t, target{"decky": "mid", "lan": "inner"}, got[0].Target)
	g.Edges = nil
	require.Equal(t, target{"decky": "gw", "lan": "(no home LAN)"}, topology.GatewayIssue(g, g.Deckies[0])[0].Target)
}

func TestPortCollisions_WarnsOfGatewaysOnly(t *testing.T) {
	t.Parallel()
	g := valid()
	g.Deckies[0].Services = offers("ssh", "redis")
	got := topology.PortCollisions(g, func(p service.Port) bool { return p.Number != 6379 })
	require.Len(t, got, 1)
	require.Equal(t, topology.PortCollision, got[0].Code)
	require.Equal(t, topology.Warning, got[0].Severity)
	require.Equal(t, target{"decky": "gw", "port": 22}, got[0].Target)
	require.Empty(t, topology.Blocking(got))
}

// lan adds a LAN with these members.
func lan(g *topology.Graph, name, subnet string, members ...[16]byte) {
	l := topology.LAN{ID: id(uint64(100 + len(g.LANs))), Name: name, Subnet: subnet}
	g.LANs = append(g.LANs, l)
	for _, m := range members {
		g.Edges = append(g.Edges, topology.Edge{ID: id(uint64(200 + len(g.Edges))), DeckyID: m, LANID: l.ID, Bridge: true})
	}
}

// host adds a decky that is a member of these LANs.
func host(g *topology.Graph, name string, lans ...[16]byte) {
	d := topology.Decky{ID: id(uint64(300 + len(g.Deckies))), Name: name, Services: offers("ssh")}
	g.Deckies = append(g.Deckies, d)
	for _, l := range lans {
		g.Edges = append(g.Edges, topology.Edge{ID: id(uint64(400 + len(g.Edges))), DeckyID: d.ID, LANID: l})
	}
}

func declare(g *topology.Graph, i int, lan, ip string) {
	g.Deckies[i].IPs = append(g.Deckies[i].IPs, topology.Address{LAN: lan, IP: ip})
}

// large returns a graph of n deckies in LANs of ten, every LAN joined to the DMZ.
func large(n int) topology.Graph {
	next := ids()
	g := topology.Graph{LANs: []topology.LAN{{ID: next(), Name: "dmz", Subnet: "10.0.0.0/24", DMZ: true}}}
	for i := range n {
		if i%10 == 0 {
			g.LANs = append(g.LANs, topology.LAN{ID: next(), Name: fmt.Sprintf("lan-%d", i/10), Subnet: fmt.Sprintf("10.0.%d.0/24", 1+i/10)})
		}
		d := topology.Decky{ID: next(), Name: fmt.Sprintf("decky-%03d", i), Services: offers("ssh", "http", "redis")}
		g.Deckies = append(g.Deckies, d)
		g.Edges = append(g.Edges, topology.Edge{ID: next(), DeckyID: d.ID, LANID: g.LANs[len(g.LANs)-1].ID})
		if i%10 == 0 {
			g.Edges = append(g.Edges, topology.Edge{ID: next(), DeckyID: d.ID, LANID: g.LANs[0].ID, Bridge: true})
		}
	}
	return g
}
