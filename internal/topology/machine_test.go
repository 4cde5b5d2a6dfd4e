package topology_test

import (
	"reflect"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/service"
	"github.com/decnet/decnet/internal/topology"
)

func itoa(n int) string { return strconv.Itoa(n) }

// requireInvariants requires what every edit must keep.
func requireInvariants(t require.TestingT, g topology.Graph, live bool) {
	for _, i := range topology.Validate(g) {
		planned := []string{topology.DMZOrphan, topology.DeckyOrphan}
		if !live {
			planned = append(planned, topology.DMZMissing, topology.DMZMultiple)
		}
		require.Contains(t, planned, i.Code, i.Message)
	}
	seen := map[string]bool{}
	for _, e := range g.Edges {
		_, lan := g.LAN(e.LANID)
		d, host := g.Decky(e.DeckyID)
		require.True(t, lan && host, "an edge leads somewhere")
		require.False(t, seen[e.DeckyID.String()+e.LANID.String()], "a membership once")
		seen[e.DeckyID.String()+e.LANID.String()] = true
		attachments, err := topology.Attachments(topologyID, g, d)
		require.NoError(t, err)
		require.Len(t, attachments, len(g.EdgesOf(d.ID)))
	}
	for _, d := range g.Deckies {
		require.Len(t, d.IPs, len(g.EdgesOf(d.ID)), "an address for every membership and no other")
		require.Empty(t, d.Undeclared)
	}
}

// TestApply_RandomEdits applies random sequences of edits, many of them senseless. Whatever is refused changes nothing;
// whatever is accepted keeps the invariants and says exactly what changed for the runtime.
func TestApply_RandomEdits(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		live := rapid.Bool().Draw(t, "live")
		s := site(live)
		s.Reserved = []string{"172.16.0.0/23"}
		g := topology.Hydrate(valid())
		accepted := 0
		t.Repeat(map[string]func(*rapid.T){
			"edit": func(t *rapid.T) {
				op := drawOp(t)
				before := g.Clone()
				after, effects, err := topology.Apply(g, s, op)
				require.Equal(t, before, g, "the argument is never changed")
				if err != nil {
					require.NotEqual(t, fault.Internal, fault.KindOf(err), err)
					return
				}
				accepted++
				require.Equal(t, topology.Hydrate(after), after)
				requireEffects(t, live, g, after, effects)
				g = after
			},
			"": func(t *rapid.T) { requireInvariants(t, g, live) },
		})
	})
}

// requireEffects checks effects against the graphs: replaying them on what ran before gives what is to run.
func requireEffects(t require.TestingT, live bool, before, after topology.Graph, e topology.Effects) {
	if !live {
		require.Zero(t, e)
		return
	}
	running, err := topology.Networks(topologyID, before)
	require.NoError(t, err)
	for _, n := range e.RemoveNetworks {
		i := slices.Index(running, n)
		require.GreaterOrEqual(t, i, 0, "only what is there is removed")
		running = slices.Delete(running, i, i+1)
	}
	for _, n := range e.CreateNetworks {
		for _, r := range running {
			require.False(t, r.Subnet.Overlaps(n.Subnet) || r.Name == n.Name || r.Bridge == n.Bridge, "the engine would refuse it")
		}
		running = append(running, n)
	}
	want, err := topology.Networks(topologyID, after)
	require.NoError(t, err)
	require.ElementsMatch(t, want, running)
	for _, d := range before.Deckies {
		_, stays := after.Decky(d.ID)
		require.NotEqual(t, stays, slices.Contains(e.Remove, d.ID))
	}
	for _, d := range after.Deckies {
		was, _ := before.Decky(d.ID)
		from, _ := topology.Attachments(topologyID, before, was)
		to, _ := topology.Attachments(topologyID, after, d)
		differs := !slices.Equal(from, to) || was.ForwardsL3 != d.ForwardsL3 || !sameServices(was, d)
		require.Equal(t, differs, slices.ContainsFunc(e.Converge, func(c topology.Change) bool { return c.Decky == d.ID }), d.Name)
	}
}

func sameServices(a, b topology.Decky) bool {
	x, y := map[string]service.Config{}, map[string]service.Config{}
	for _, s := range a.Services {
		x[s.Name] = s.Config
	}
	for _, s := range b.Services {
		y[s.Name] = s.Config
	}
	return reflect.DeepEqual(x, y)
}

func drawOp(t *rapid.T) topology.Op {
	name := rapid.SampledFrom([]string{"gw", "mid", "a", "b", "c", "d", "Bad Name", ""})
	lanName := rapid.SampledFrom([]string{"dmz", "inner", "x", "y", "Z", "z", "no way", ""})
	subnet := rapid.SampledFrom([]string{"", "10.0.2.0/24", "10.0.2.0/29", "10.0.3.0/30", "10.0.0.0/25", "10.0.0.0/8", "10.0.4.0/31", "172.16.1.0/24", "bad"})
	address := rapid.SampledFrom([]string{"", "10.0.0.2", "10.0.0.9", "10.0.1.9", "10.0.2.2", "172.16.2.2", "172.16.2.3", "10.0.0.255", "bad"})
	slugs := rapid.SliceOfN(rapid.SampledFrom([]string{"ssh", "http", "redis", "redis", "nonesuch"}), 0, 3)
	configs := rapid.MapOfN(rapid.SampledFrom([]string{"ssh", "http", "redis"}), rapid.SampledFrom([]service.Config{{}, {"user": "bob"}, {"response_code": 404.0}, {"response_code": "x"}}), 0, 2)
	yes := rapid.Bool()
	switch rapid.SampledFrom(topology.Ops()).Draw(t, "op") {
	case topology.OpAddLAN:
		return topology.AddLAN{Name: lanName.Draw(t, "name"), Subnet: subnet.Draw(t, "subnet"), DMZ: rapid.IntRange(0, 5).Draw(t, "dmz") == 0}
	case topology.OpRemoveLAN:
		return topology.RemoveLAN{LAN: lanName.Draw(t, "name")}
	case topology.OpUpdateLAN:
		return topology.UpdateLAN{LAN: lanName.Draw(t, "name"), Patch: topology.LANPatch{
			Name: rapid.Ptr(lanName, true).Draw(t, "rename"), Subnet: rapid.Ptr(subnet, true).Draw(t, "subnet"), DMZ: rapid.Ptr(yes, true).Draw(t, "dmz"),
		}}
	case topology.OpAddDecky:
		return topology.AddDecky{
			Name: name.Draw(t, "name"), LAN: lanName.Draw(t, "lan"), Services: slugs.Draw(t, "services"), Configs: configs.Draw(t, "configs"),
			IP: address.Draw(t, "ip"), ForwardsL3: yes.Draw(t, "forwards"),
		}
	case topology.OpAttachDecky:
		return topology.AttachDecky{Decky: name.Draw(t, "name"), LAN: lanName.Draw(t, "lan"), IP: address.Draw(t, "ip"), Bridge: rapid.Ptr(yes, true).Draw(t, "bridge")}
	case topology.OpDetachDecky:
		return topology.DetachDecky{Decky: name.Draw(t, "name"), LAN: lanName.Draw(t, "lan")}
	case topology.OpRemoveDecky:
		return topology.RemoveDecky{Decky: name.Draw(t, "name")}
	}
	o := topology.UpdateDecky{Decky: name.Draw(t, "name"), Force: yes.Draw(t, "force"), Patch: topology.DeckyPatch{
		Name: rapid.Ptr(name, true).Draw(t, "rename"), ForwardsL3: rapid.Ptr(yes, true).Draw(t, "forwards"),
		Configs: rapid.Ptr(configs, true).Draw(t, "configs"), Archetype: rapid.Ptr(rapid.SampledFrom([]string{"", "deaddeck", "toaster"}), true).Draw(t, "archetype"),
	}, Services: rapid.Ptr(slugs, true).Draw(t, "services")}
	if yes.Draw(t, "addresses") {
		o.Patch.IPs = &[]topology.Address{{LAN: lanName.Draw(t, "lan"), IP: address.Draw(t, "ip")}}
	}
	return o
}
