package topology_test

import (
	"math"
	"slices"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/service"
	"github.com/decnet/decnet/internal/topology"
)

func params() topology.Params {
	p := topology.DefaultParams()
	p.Depth, p.BranchingFactor = 2, 2
	return p
}

func source(seed int64) topology.Source {
	return topology.Source{Rand: topology.Seeded(seed), NewID: ids()}
}

func TestGenerate_EveryGraphIsValid(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := topology.Params{
			Depth: rapid.IntRange(1, 4).Draw(t, "depth"), BranchingFactor: rapid.IntRange(1, 3).Draw(t, "branching"),
			DeckiesPerLANMin:         rapid.IntRange(0, 3).Draw(t, "min"),
			BridgeForwardProbability: rapid.Float64Range(0, 1).Draw(t, "forward"), CrossEdgeProbability: rapid.Float64Range(0, 1).Draw(t, "cross"),
			RandomizeServices: true,
		}
		p.DeckiesPerLANMax = rapid.IntRange(max(1, p.DeckiesPerLANMin), 5).Draw(t, "max")
		if rapid.Bool().Draw(t, "explicit") {
			p.RandomizeServices, p.ServicesExplicit = false, []string{"ssh", "redis"}
		}
		seed := rapid.Int64().Draw(t, "seed")
		g, err := topology.Generate(p, source(seed))
		require.NoError(t, err)
		again, err := topology.Generate(p, source(seed))
		require.NoError(t, err)
		require.Equal(t, g, again, "same seed, same graph")
		require.Empty(t, topology.Validate(g))
		checkShape(t, g, p)
	})
}

func checkShape(t require.TestingT, g topology.Graph, p topology.Params) {
	members, homes := map[uuid.UUID]int{}, map[string]int{}
	for _, d := range g.Deckies {
		home, ok := g.Home(d.ID)
		require.True(t, ok)
		homes[home.Name]++
		require.Equal(t, home.Name, d.IPs[0].LAN)
		require.Len(t, d.IPs, len(g.EdgesOf(d.ID)), "an address in every LAN")
		if p.RandomizeServices {
			require.Contains(t, []int{1, 2, 3}, len(d.Services))
		} else {
			require.Equal(t, p.ServicesExplicit, decky.Names(d.Services))
		}
		for _, s := range d.Services {
			_, err := service.ForDecky(s.Name)
			require.NoError(t, err)
		}
	}
	for _, e := range g.Edges {
		if e.Bridge {
			members[e.DeckyID]++
		}
	}
	require.Equal(t, "LAN-00", g.LANs[0].Name)
	require.Equal(t, 1, homes["LAN-00"], "one decky in the DMZ")
	gateway, _ := g.DeckyByName("decky-001")
	require.True(t, g.IsGateway(gateway))
	for i, l := range g.LANs {
		require.Equal(t, i == 0, l.DMZ)
		if i > 0 {
			require.GreaterOrEqual(t, homes[l.Name], max(1, p.DeckiesPerLANMin))
			require.LessOrEqual(t, homes[l.Name], p.DeckiesPerLANMax)
		}
	}
	require.GreaterOrEqual(t, len(members), 1, "somebody joins the LANs")
}

func TestGenerate_Probabilities(t *testing.T) {
	t.Parallel()
	p := params()
	p.Depth, p.BranchingFactor, p.BridgeForwardProbability, p.CrossEdgeProbability = 3, 3, 0, 0
	g, err := topology.Generate(p, source(7))
	require.NoError(t, err)
	bridges := 0
	for _, e := range g.Edges {
		require.False(t, e.ForwardsL3)
		if e.Bridge {
			bridges++
		}
	}
	require.Equal(t, len(g.LANs)-1, bridges, "a tree")
	p.BridgeForwardProbability, p.CrossEdgeProbability = 1, 1
	g, err = topology.Generate(p, source(7))
	require.NoError(t, err)
	crossed := 0
	for _, e := range g.Edges {
		if e.Bridge && !e.ForwardsL3 {
			crossed++
			l, _ := g.LAN(e.LANID)
			require.False(t, l.DMZ)
		}
	}
	require.Positive(t, crossed)
}

func TestGenerate_OtherSeedOtherGraph(t *testing.T) {
	t.Parallel()
	a, err := topology.Generate(params(), source(1))
	require.NoError(t, err)
	b, err := topology.Generate(params(), source(2))
	require.NoError(t, err)
	require.NotEqual(t, a, b)
}

func TestGenerate_AvoidsReservedSubnetsOfAnySize(t *testing.T) {
	t.Parallel()
	src := source(1)
	src.Reserved = []string{"172.16.0.0/15", "172.18.0.128/25", "garbage"}
	g, err := topology.Generate(params(), src)
	require.NoError(t, err)
	require.Equal(t, "172.18.1.0/24", g.LANs[0].Subnet)
	src = source(1)
	src.Reserved = []string{"172.16.0.0/12"}
	_, err = topology.Generate(params(), src)
	refused(t, fault.Conflict, "subnets_exhausted", err)
}

func TestGenerate_IsBounded(t *testing.T) {
	t.Parallel()
	p := params()
	p.Depth, p.BranchingFactor = 16, 8
	_, err := topology.Generate(p, source(1))
	refused(t, fault.Conflict, "topology_too_large", err)
	p.Depth, p.BranchingFactor, p.DeckiesPerLANMin, p.DeckiesPerLANMax = 6, 3, 32, 32
	_, err = topology.Generate(p, source(1))
	refused(t, fault.Conflict, "topology_too_large", err)
}

func TestParams_Check(t *testing.T) {
	t.Parallel()
	require.NoError(t, params().Check())
	for field, breakIt := range map[string]func(*topology.Params){
		"depth":                      func(p *topology.Params) { p.Depth = 17 },
		"branching_factor":           func(p *topology.Params) { p.BranchingFactor = 0 },
		"deckies_per_lan_min":        func(p *topology.Params) { p.DeckiesPerLANMin = 4 },
		"deckies_per_lan_max":        func(p *topology.Params) { p.DeckiesPerLANMax = 33 },
		"bridge_forward_probability": func(p *topology.Params) { p.BridgeForwardProbability = math.NaN() },
		"cross_edge_probability":     func(p *topology.Params) { p.CrossEdgeProbability = 1.01 },
		"services_explicit":          func(p *topology.Params) { p.RandomizeServices = false },
	} {
		p := params()
		breakIt(&p)
		_, err := topology.Generate(p, source(1))
		f := refused(t, fault.Unprocessable, "parameters_invalid", err)
		require.Len(t, f.Fields, 1)
		require.Equal(t, "body."+field, f.Fields[0].Location)
	}
	for _, bad := range [][]string{{"nonesuch"}, {"ssh", "ssh"}, {""}} {
		p := params()
		p.ServicesExplicit = bad
		f := refused(t, fault.Unprocessable, "parameters_invalid", p.Check())
		require.Equal(t, "body.services_explicit", f.Fields[0].Location)
	}
	require.Len(t, fault.From(topology.Params{DeckiesPerLANMin: -1}.Check()).Fields, 5, "every refused parameter is named")
}

func TestBlank(t *testing.T) {
	t.Parallel()
	src := source(1)
	src.Reserved = []string{"10.0.0.0/24", "10.0.1.64/26"}
	g, err := topology.Blank(src)
	require.NoError(t, err)
	require.Empty(t, topology.Validate(g))
	require.Equal(t, "dmz", g.LANs[0].Name)
	require.Equal(t, "10.0.2.0/24", g.LANs[0].Subnet)
	require.True(t, g.LANs[0].DMZ)
	d := g.Deckies[0]
	require.Equal(t, "dmz-gateway", d.Name)
	require.Equal(t, "deaddeck", d.Archetype)
	require.Equal(t, []string{"ssh"}, decky.Names(d.Services))
	require.True(t, g.IsGateway(d))
	require.Equal(t, []topology.Address{{LAN: "dmz", IP: "10.0.2.2"}}, d.IPs)
	require.Equal(t, []bool{true}, []bool{g.Edges[0].Bridge})
	require.True(t, slices.ContainsFunc(topology.Published(g, d), func(p service.Port) bool { return p.Number == 22 }))
	src.Reserved = []string{"10.0.0.0/16"}
	_, err = topology.Blank(src)
	refused(t, fault.Conflict, "subnets_exhausted", err)
}
