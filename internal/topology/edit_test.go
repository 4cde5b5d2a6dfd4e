package topology_test

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/service"
	"github.com/decnet/decnet/internal/topology"
)

func site(live bool) topology.Site {
	n := uint64(1 << 32)
	s := topology.Site{ID: topologyID, Status: topology.Pending, NewID: func() uuid.UUID { n++; return id(n) }}
	if live {
		s.Status = topology.Active
	}
	return s
}

// must applies an op that is to be accepted.
func must(t testing.TB, g topology.Graph, live bool, op topology.Op) (topology.Graph, topology.Effects) {
	t.Helper()
	after, effects, err := topology.Apply(g, site(live), op)
	require.NoError(t, err)
	return after, effects
}

// mustNot applies an op that is to be refused and returns the fault.
func mustNot(t testing.TB, g topology.Graph, live bool, op topology.Op, kind fault.Kind, code string) *fault.Error {
	t.Helper()
	before := g.Clone()
	_, effects, err := topology.Apply(g, site(live), op)
	require.Equal(t, before, g)
	require.Zero(t, effects)
	return refused(t, kind, code, err)
}

// requireInvalid requires that an op is refused for one issue with that code.
func requireInvalid(t testing.TB, g topology.Graph, live bool, op topology.Op, code string) {
	t.Helper()
	f := mustNot(t, g, live, op, fault.Unprocessable, "topology_invalid")
	require.Equal(t, "topology."+code, f.Fields[0].Location)
}

// both runs a test under the rules of pending and of live edits.
func both(t *testing.T, run func(t *testing.T, live bool)) {
	t.Helper()
	t.Run("pending", func(t *testing.T) { t.Parallel(); run(t, false) })
	t.Run("live", func(t *testing.T) { t.Parallel(); run(t, true) })
}

func TestApply_NeedsAStatusThatAllowsIt(t *testing.T) {
	t.Parallel()
	for _, s := range topology.Statuses() {
		at := site(false)
		at.Status = s
		_, _, err := topology.Apply(valid(), at, topology.AddLAN{Name: "a"})
		if s.Editable() || s.Live() {
			require.NoError(t, err, s)
		} else {
			refused(t, fault.Conflict, "topology_status_conflict", err)
		}
	}
}

func TestApply_UnknownReferences(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, live bool) {
		for _, op := range []topology.Op{
			topology.RemoveLAN{LAN: "x"},
			topology.UpdateLAN{},
			topology.AddDecky{Name: "d", LAN: "x"},
			topology.AttachDecky{Decky: "gw", LAN: "DMZ"},
			topology.DetachDecky{Decky: "gw"},
		} {
			mustNot(t, valid(), live, op, fault.Unprocessable, "unknown_lan")
		}
		for _, op := range []topology.Op{
			topology.RemoveDecky{}, topology.UpdateDecky{Decky: "x"}, topology.AttachDecky{Decky: "x", LAN: "dmz"}, topology.DetachDecky{Decky: "x", LAN: "dmz"},
		} {
			mustNot(t, valid(), live, op, fault.Unprocessable, "unknown_decky")
		}
		g, _ := must(t, valid(), live, topology.AttachDecky{Decky: gw.String(), LAN: inner.String()})
		require.Len(t, g.EdgesOf(gw), 2, "ids do as well as names")
	})
}

func TestApply_FaultsSayWhere(t *testing.T) {
	t.Parallel()
	s := site(true)
	s.At = "body.payload"
	_, _, err := topology.Apply(valid(), s, topology.AddLAN{Name: "a b"})
	require.Equal(t, "body.payload.name", fault.From(err).Fields[0].Location)
	_, _, err = topology.Apply(valid(), s, topology.AddDecky{Name: "d", LAN: "dmz", Services: []string{"ssh"}, Configs: map[string]service.Config{"ssh": {"user": "Not A User"}}})
	f := refused(t, fault.Unprocessable, "config_invalid", err)
	require.Equal(t, "body.payload.service_config.ssh.user", f.Fields[0].Location)
}

func TestAddLAN(t *testing.T) {
	t.Parallel()
	g, e := must(t, valid(), true, topology.AddLAN{Name: "Lab", X: ptr(3.0)})
	l, ok := g.LANByName("Lab")
	require.True(t, ok)
	require.Equal(t, "172.16.0.0/24", l.Subnet)
	require.InDelta(t, 3.0, *l.X, 0)
	require.Equal(t, topology.Effects{CreateNetworks: []topology.Network{{
		LANID: l.ID, Name: "decnet_t_0123abcd_lab", Bridge: topology.BridgeName(topologyID, l.ID),
		Subnet: prefix("172.16.0.0/24"), Gateway: ip("172.16.0.1"), Internal: true,
	}}}, e)

	g, e = must(t, valid(), false, topology.AddLAN{Name: "Lab"})
	l, _ = g.LANByName("Lab")
	require.Equal(t, "10.0.2.0/24", l.Subnet, "behind the topology's own")
	require.Zero(t, e, "nothing runs")

	both(t, func(t *testing.T, live bool) {
		mustNot(t, valid(), live, topology.AddLAN{Name: ""}, fault.Unprocessable, "lan_name_invalid")
		mustNot(t, valid(), live, topology.AddLAN{Name: "a", Subnet: "10.0.9.1/24"}, fault.Unprocessable, "subnet_invalid")
		mustNot(t, valid(), live, topology.AddLAN{Name: "a", Subnet: "10.0.9.0/31"}, fault.Unprocessable, "subnet_invalid")
		requireInvalid(t, valid(), live, topology.AddLAN{Name: "DMZ", Subnet: "10.0.9.0/24"}, topology.LANNameDup)
		requireInvalid(t, valid(), live, topology.AddLAN{Name: "a", Subnet: "10.0.0.0/16"}, topology.SubnetOverlap)
		s := site(live)
		s.Reserved = []string{"10.9.0.0/16", "172.16.0.0/12", "10.0.0.0/16"}
		_, _, err := topology.Apply(valid(), s, topology.AddLAN{Name: "a", Subnet: "10.9.1.0/24"})
		refused(t, fault.Conflict, "subnet_in_use", err)
		_, _, err = topology.Apply(valid(), s, topology.AddLAN{Name: "a"})
		refused(t, fault.Conflict, "subnets_exhausted", err)
	})
	requireInvalid(t, valid(), true, topology.AddLAN{Name: "a", DMZ: true}, topology.DMZMultiple)
	must(t, valid(), false, topology.AddLAN{Name: "a", DMZ: true})
}

func TestRemoveLAN(t *testing.T) {
	t.Parallel()
	g := valid()
	lan(&g, "side", "10.0.2.0/24", mid, gw)
	side := g.LANs[2].ID
	after, e := must(t, g, true, topology.RemoveLAN{LAN: "side"})
	require.Len(t, after.LANs, 2)
	require.Len(t, after.Edges, 3)
	require.Equal(t, topology.Hydrate(valid()), after)
	require.Equal(t, []topology.Change{{Decky: gw}, {Decky: mid}}, e.Converge, "visitors leave, their containers stay")
	require.Len(t, e.RemoveNetworks, 1)
	require.Equal(t, side, e.RemoveNetworks[0].LANID)

	mustNot(t, g, true, topology.RemoveLAN{LAN: "inner"}, fault.Conflict, "lan_is_home")
	mustNot(t, g, true, topology.RemoveLAN{LAN: "dmz"}, fault.Conflict, "lan_is_home")
	mustNot(t, valid(), false, topology.RemoveLAN{LAN: "dmz"}, fault.Unprocessable, "lan_is_only_one")
	after, _ = must(t, valid(), false, topology.RemoveLAN{LAN: "inner"})
	home, _ := after.Home(mid)
	require.Equal(t, "dmz", home.Name, "a pending decky moves to what is left")
	require.Equal(t, []topology.Address{{LAN: "dmz", IP: "10.0.0.3"}}, after.Deckies[1].IPs)

	g = valid()
	g.Edges, g.Deckies = nil, nil
	requireInvalid(t, g, true, topology.RemoveLAN{LAN: "dmz"}, topology.DMZMissing)
}

func TestUpdateLAN_Rename(t *testing.T) {
	t.Parallel()
	g, e := must(t, valid(), true, topology.UpdateLAN{LAN: "inner", Patch: topology.LANPatch{Name: ptr("core"), Subnet: ptr("10.0.1.0/24"), DMZ: ptr(false)}, Y: ptr(1.0)})
	require.Equal(t, topology.Address{LAN: "core", IP: "10.0.1.2"}, g.Deckies[1].IPs[0])
	require.Equal(t, "decnet_t_0123abcd_inner", e.RemoveNetworks[0].Name)
	require.Equal(t, "decnet_t_0123abcd_core", e.CreateNetworks[0].Name)
	require.Equal(t, []topology.Change{{Decky: mid, Base: true}}, e.Converge)

	g, e = must(t, valid(), true, topology.UpdateLAN{LAN: "inner", Patch: topology.LANPatch{Name: ptr("INNER")}})
	require.Equal(t, "INNER", g.Deckies[1].IPs[0].LAN)
	require.Zero(t, e, "the network has the same name")

	_, e = must(t, valid(), true, topology.UpdateLAN{LAN: "inner", X: ptr(7.0)})
	require.Zero(t, e)
	both(t, func(t *testing.T, live bool) {
		mustNot(t, valid(), live, topology.UpdateLAN{LAN: "inner", Patch: topology.LANPatch{Name: ptr("a b")}}, fault.Unprocessable, "lan_name_invalid")
		requireInvalid(t, valid(), live, topology.UpdateLAN{LAN: "inner", Patch: topology.LANPatch{Name: ptr("dmz")}}, topology.LANNameDup)
	})
}

func TestUpdateLAN_FrozenWhileLive(t *testing.T) {
	t.Parallel()
	subnet := topology.UpdateLAN{LAN: "inner", Patch: topology.LANPatch{Subnet: ptr("10.0.7.0/24")}}
	asDMZ := topology.UpdateLAN{LAN: "inner", Patch: topology.LANPatch{DMZ: ptr(true)}}
	mustNot(t, valid(), true, subnet, fault.Conflict, "lan_frozen")
	mustNot(t, valid(), true, asDMZ, fault.Conflict, "lan_frozen")
	g, _ := must(t, valid(), false, asDMZ)
	require.True(t, g.LANs[1].DMZ)
	g, _ = must(t, valid(), false, subnet)
	require.Equal(t, []topology.Address{{LAN: "inner", IP: "10.0.7.2"}, {LAN: "dmz", IP: "10.0.0.3"}}, g.Deckies[1].IPs, "it moves along")
	g, _ = must(t, valid(), false, topology.UpdateLAN{LAN: "inner", Patch: topology.LANPatch{Subnet: ptr("10.0.1.0/25")}})
	require.Equal(t, "10.0.1.2", g.Deckies[1].IPs[0].IP, "it fits and stays")
}

func TestAddDecky(t *testing.T) {
	t.Parallel()
	g, e := must(t, valid(), true, topology.AddDecky{Name: "new", LAN: "inner", Services: []string{"ssh", "http"}, Configs: map[string]service.Config{"http": {"response_code": "404", "nonsense": 1}}})
	d, ok := g.DeckyByName("new")
	require.True(t, ok)
	require.Equal(t, []topology.Address{{LAN: "inner", IP: "10.0.1.3"}}, d.IPs)
	require.Equal(t, service.Config{"response_code": int64(404)}, d.Services[1].Config)
	require.Equal(t, []topology.Edge{{ID: g.Edges[3].ID, DeckyID: d.ID, LANID: inner}}, g.Edges[3:])
	require.Equal(t, topology.Effects{Converge: []topology.Change{{Decky: d.ID, Base: true, Services: []string{"http", "ssh"}}}}, e)

	g, _ = must(t, valid(), false, topology.AddDecky{Name: "new", Archetype: "linux-server", IP: "10.0.1.77"})
	d, _ = g.DeckyByName("new")
	require.Equal(t, []string{"ssh", "http"}, decky.Names(d.Services))
	require.Empty(t, g.EdgesOf(d.ID), "a pending decky may wait for its LAN")
	g, _ = must(t, g, false, topology.AttachDecky{Decky: "new", LAN: "inner"})
	d, _ = g.DeckyByName("new")
	require.Equal(t, []topology.Address{{LAN: "inner", IP: "10.0.1.77"}}, d.IPs)
	require.False(t, g.Edges[3].Bridge, "its first LAN is its home")

	both(t, func(t *testing.T, live bool) {
		add := topology.AddDecky{Name: "new", LAN: "dmz"}
		with := func(change func(*topology.AddDecky)) topology.AddDecky { o := add; change(&o); return o }
		mustNot(t, valid(), live, with(func(o *topology.AddDecky) { o.Name = "New" }), fault.Unprocessable, "decky_name_invalid")
		mustNot(t, valid(), live, with(func(o *topology.AddDecky) { o.Name = "services" }), fault.Unprocessable, "decky_name_invalid")
		mustNot(t, valid(), live, with(func(o *topology.AddDecky) { o.Archetype = "toaster" }), fault.Unprocessable, "unknown_archetype")
		mustNot(t, valid(), live, with(func(o *topology.AddDecky) { o.Services = []string{"nonesuch"} }), fault.Unprocessable, "unknown_service")
		mustNot(t, valid(), live, with(func(o *topology.AddDecky) { o.Services = []string{"ssh", "ssh"} }), fault.Unprocessable, "service_repeated")
		requireInvalid(t, valid(), live, with(func(o *topology.AddDecky) { o.Name = "gw" }), topology.DeckyNameDup)
		requireInvalid(t, valid(), live, with(func(o *topology.AddDecky) { o.IP = "10.0.0.2" }), topology.IPCollision)
		requireInvalid(t, valid(), live, with(func(o *topology.AddDecky) { o.IP = "10.0.1.2" }), topology.IPOutOfSubnet)
		requireInvalid(t, valid(), live, with(func(o *topology.AddDecky) { o.IP = "nonsense" }), topology.IPMalformed)
		requireInvalid(t, valid(), live, with(func(o *topology.AddDecky) { o.Configs = map[string]service.Config{"ssh": {}} }), topology.ServiceCfgUndeclared)
		g, _ := must(t, valid(), live, with(func(o *topology.AddDecky) { o.Name = "deadbeef-x" }))
		require.Len(t, g.Deckies, 3, "only fleet names must not look like keys")
	})
	mustNot(t, valid(), true, topology.AddDecky{Name: "new"}, fault.Unprocessable, "unknown_lan")
	mustNot(t, valid(), false, topology.AddDecky{Name: "new", IP: "x"}, fault.Unprocessable, "address_invalid")
	mustNot(t, valid(), true, topology.AddDecky{Name: "new", LAN: "inner", ForwardsL3: true}, fault.Unprocessable, "gateway_not_in_dmz")
	must(t, valid(), true, topology.AddDecky{Name: "new", LAN: "dmz", ForwardsL3: true})
	must(t, valid(), false, topology.AddDecky{Name: "new", LAN: "inner", ForwardsL3: true})
}

func TestAttachDecky(t *testing.T) {
	t.Parallel()
	g, e := must(t, valid(), true, topology.AttachDecky{Decky: "gw", LAN: "inner", IP: "10.0.1.99", ForwardsL3: true})
	require.Equal(t, topology.Edge{ID: g.Edges[3].ID, DeckyID: gw, LANID: inner, Bridge: true, ForwardsL3: true}, g.Edges[3])
	require.Equal(t, []topology.Address{{LAN: "dmz", IP: "10.0.0.2"}, {LAN: "inner", IP: "10.0.1.99"}}, g.Deckies[0].IPs)
	require.Equal(t, topology.Effects{Converge: []topology.Change{{Decky: gw}}}, e, "its sessions go on")
	both(t, func(t *testing.T, live bool) {
		mustNot(t, valid(), live, topology.AttachDecky{Decky: "gw", LAN: "dmz"}, fault.Conflict, "already_attached")
		requireInvalid(t, valid(), live, topology.AttachDecky{Decky: "gw", LAN: "inner", IP: "10.0.1.2"}, topology.IPCollision)
		full := valid()
		lan(&full, "tiny", "10.0.9.0/30", mid)
		requireInvalid(t, full, live, topology.AttachDecky{Decky: "gw", LAN: "tiny"}, topology.AddressesExhausted)
	})
	g, _ = must(t, valid(), false, topology.AttachDecky{Decky: "gw", LAN: "inner", Bridge: ptr(false)})
	require.False(t, g.Edges[3].Bridge)
	g, _ = must(t, valid(), true, topology.AttachDecky{Decky: "gw", LAN: "inner", Bridge: ptr(false)})
	require.True(t, g.Edges[3].Bridge)
}

func TestDetachDecky(t *testing.T) {
	t.Parallel()
	g, e := must(t, valid(), true, topology.DetachDecky{Decky: "mid", LAN: "dmz"})
	require.Equal(t, []topology.Address{{LAN: "inner", IP: "10.0.1.2"}}, g.Deckies[1].IPs)
	require.Len(t, g.Edges, 2)
	require.Equal(t, []topology.Change{{Decky: mid}}, e.Converge)
	mustNot(t, valid(), true, topology.DetachDecky{Decky: "mid", LAN: "inner"}, fault.Conflict, "lan_is_home")
	mustNot(t, valid(), true, topology.DetachDecky{Decky: "gw", LAN: "dmz"}, fault.Conflict, "lan_is_home")
	g, _ = must(t, valid(), false, topology.DetachDecky{Decky: "gw", LAN: "dmz"})
	require.Equal(t, topology.DeckyOrphan, topology.Validate(g)[0].Code)
	both(t, func(t *testing.T, live bool) {
		mustNot(t, valid(), live, topology.DetachDecky{Decky: "gw", LAN: "inner"}, fault.Conflict, "not_attached")
	})
}

func TestRemoveDecky(t *testing.T) {
	t.Parallel()
	g, e := must(t, valid(), true, topology.RemoveDecky{Decky: "mid"})
	require.Equal(t, []string{"gw"}, names(g))
	require.Len(t, g.Edges, 1)
	require.Equal(t, topology.Effects{Remove: []uuid.UUID{mid}}, e)
	_, e = must(t, valid(), false, topology.RemoveDecky{Decky: "mid"})
	require.Zero(t, e)
}

func TestUpdateDecky_Services(t *testing.T) {
	t.Parallel()
	g := valid()
	g.Deckies[1].Services[0].Config = service.Config{"fake_app": "tomcat"}
	g.Deckies[1].Services[1].SavedConfig = service.Config{"version": "7.0"}
	after, e := must(t, g, true, topology.UpdateDecky{Decky: "mid", Services: &[]string{"ssh", "redis"}})
	d := after.Deckies[1]
	require.Equal(t, []string{"ssh", "redis"}, decky.Names(d.Services))
	require.Equal(t, service.Config{"version": "7.0"}, d.Services[1].SavedConfig, "what stays, stays as it is")
	require.Empty(t, d.Undeclared, "the configuration goes with its service")
	require.Equal(t, topology.Effects{Converge: []topology.Change{{Decky: mid, Services: []string{"ssh"}, Gone: []string{"http"}}}}, e)

	after, e = must(t, after, true, topology.UpdateDecky{Decky: "mid", Services: &[]string{"redis", "http", "ssh"}})
	require.Equal(t, service.Config{}, after.Deckies[1].Services[1].Config, "and does not come back with it")
	require.Equal(t, []topology.Change{{Decky: mid, Services: []string{"http"}}}, e.Converge)

	after, e = must(t, after, true, topology.UpdateDecky{Decky: "mid", Services: &[]string{}})
	require.Empty(t, after.Deckies[1].Services, "the last one may go")
	require.Equal(t, []topology.Change{{Decky: mid, Gone: []string{"http", "redis", "ssh"}}}, e.Converge)

	_, e = must(t, valid(), true, topology.UpdateDecky{Decky: "gw", Services: &[]string{"ssh", "redis"}})
	require.Equal(t, []topology.Change{{Decky: gw, Base: true, Services: []string{"redis"}}}, e.Converge, "a gateway publishes another port")
	both(t, func(t *testing.T, live bool) {
		mustNot(t, valid(), live, topology.UpdateDecky{Decky: "mid", Services: &[]string{"ssh", "nonesuch"}}, fault.Unprocessable, "unknown_service")
	})
}

func TestUpdateDecky_Config(t *testing.T) {
	t.Parallel()
	patch := func(c map[string]service.Config) topology.UpdateDecky {
		return topology.UpdateDecky{Decky: "mid", Patch: topology.DeckyPatch{Configs: &c}}
	}
	g, e := must(t, valid(), true, patch(map[string]service.Config{"http": {"response_code": 404.0}, "redis": nil}))
	require.Equal(t, service.Config{"response_code": int64(404)}, g.Deckies[1].Services[0].Config)
	require.Equal(t, []topology.Change{{Decky: mid, Services: []string{"http"}}}, e.Converge)
	g.Deckies[1].Services[0].SavedConfig = service.Config{"fake_app": "tomcat"}
	g.Deckies[1].Services[0].Config["response_code"] = 404.0 // as a store gives it back
	same, e := must(t, g, true, patch(map[string]service.Config{"http": {"response_code": "404"}}))
	require.Zero(t, e)
	require.Equal(t, g, same)
	g, e = must(t, g, true, patch(map[string]service.Config{}))
	require.Empty(t, g.Deckies[1].Services[0].Config, "the patch is shallow: what is not in it is gone")
	require.Nil(t, g.Deckies[1].Services[0].SavedConfig, "what was saved for another configuration goes with it")
	require.Len(t, e.Converge, 1)
	both(t, func(t *testing.T, live bool) {
		mustNot(t, valid(), live, patch(map[string]service.Config{"http": {"response_code": "eighty"}}), fault.Unprocessable, "config_invalid")
		requireInvalid(t, valid(), live, patch(map[string]service.Config{"ssh": {}}), topology.ServiceCfgUndeclared)
		with := patch(map[string]service.Config{"ssh": {"user": "bob"}})
		with.Services = &[]string{"ssh"}
		g, _ := must(t, valid(), live, with)
		require.Equal(t, service.Config{"user": "bob"}, g.Deckies[1].Services[0].Config, "services first, then their configurations")
	})
}

func TestUpdateDecky_ForwardsL3(t *testing.T) {
	t.Parallel()
	flip := func(name string, on, force bool) topology.UpdateDecky {
		return topology.UpdateDecky{Decky: name, Patch: topology.DeckyPatch{ForwardsL3: &on}, Force: force}
	}
	mustNot(t, valid(), true, flip("gw", false, false), fault.Conflict, "force_required")
	mustNot(t, valid(), true, flip("mid", true, false), fault.Conflict, "force_required")
	mustNot(t, valid(), true, flip("mid", true, true), fault.Unprocessable, "gateway_not_in_dmz")
	_, e := must(t, valid(), true, flip("gw", true, false))
	require.Zero(t, e, "nothing flips")
	g, e := must(t, valid(), true, flip("gw", false, true))
	require.False(t, g.Deckies[0].ForwardsL3)
	require.Equal(t, []topology.Change{{Decky: gw, Base: true}}, e.Converge)
	g, _ = must(t, g, true, flip("gw", true, true))
	require.True(t, g.Deckies[0].ForwardsL3)
	g, _ = must(t, valid(), false, flip("mid", true, false))
	require.True(t, g.Deckies[1].ForwardsL3, "a plan may have inner routers")
	_, e = must(t, g, true, flip("mid", false, true))
	require.Equal(t, []topology.Change{{Decky: mid, Base: true}}, e.Converge)
}

func TestUpdateDecky_Addresses(t *testing.T) {
	t.Parallel()
	patch := func(a ...topology.Address) topology.UpdateDecky {
		return topology.UpdateDecky{Decky: "mid", Patch: topology.DeckyPatch{IPs: &a}}
	}
	both(t, func(t *testing.T, live bool) {
		g, e := must(t, valid(), live, patch(topology.Address{LAN: "dmz", IP: "10.0.0.50"}, topology.Address{LAN: "inner", IP: "10.0.1.2"}))
		require.Equal(t, []topology.Address{{LAN: "inner", IP: "10.0.1.2"}, {LAN: "dmz", IP: "10.0.0.50"}}, g.Deckies[1].IPs)
		if live {
			require.Equal(t, []topology.Change{{Decky: mid}}, e.Converge)
		}
		g, e = must(t, valid(), live, patch(topology.Address{LAN: "inner", IP: "10.0.1.50"}))
		require.Equal(t, []topology.Address{{LAN: "inner", IP: "10.0.1.50"}, {LAN: "dmz", IP: "10.0.0.3"}}, g.Deckies[1].IPs)
		if live {
			require.Equal(t, []topology.Change{{Decky: mid, Base: true}}, e.Converge)
		}
		requireInvalid(t, valid(), live, patch(topology.Address{LAN: "nowhere", IP: "10.0.1.50"}), topology.IPUnknownLAN)
		requireInvalid(t, valid(), live, patch(topology.Address{LAN: "dmz", IP: "10.0.0.2"}), topology.IPCollision)
		own := topology.UpdateDecky{Decky: "gw", Patch: topology.DeckyPatch{IPs: &[]topology.Address{{LAN: "inner", IP: "10.0.1.9"}}}}
		mustNot(t, valid(), live, own, fault.Unprocessable, "not_attached")
	})
}

func TestUpdateDecky_NameAndArchetype(t *testing.T) {
	t.Parallel()
	rename := topology.UpdateDecky{Decky: "mid", Patch: topology.DeckyPatch{Name: ptr("centre")}}
	mustNot(t, valid(), true, rename, fault.Conflict, "decky_name_frozen")
	g, _ := must(t, valid(), false, rename)
	require.Equal(t, []string{"centre", "gw"}, names(g))
	mustNot(t, valid(), false, topology.UpdateDecky{Decky: "mid", Patch: topology.DeckyPatch{Name: ptr("A")}}, fault.Unprocessable, "decky_name_invalid")
	requireInvalid(t, valid(), false, topology.UpdateDecky{Decky: "mid", Patch: topology.DeckyPatch{Name: ptr("gw")}}, topology.DeckyNameDup)
	both(t, func(t *testing.T, live bool) {
		mustNot(t, valid(), live, topology.UpdateDecky{Decky: "mid", Patch: topology.DeckyPatch{Archetype: ptr("toaster")}}, fault.Unprocessable, "unknown_archetype")
		g, e := must(t, valid(), live, topology.UpdateDecky{Decky: "mid", Patch: topology.DeckyPatch{Archetype: ptr("deaddeck")}, X: ptr(1.0)})
		require.Equal(t, "deaddeck", g.Deckies[1].Archetype)
		require.Zero(t, e, "what it is called changes nothing that runs")
	})
}

func TestApply_WhatIsWrongCanBeRepaired(t *testing.T) {
	t.Parallel()
	g := valid()
	g.Deckies[0].Services = offers("ssh", "nonesuch")
	g.Deckies[1].Undeclared = map[string]service.Config{"ssh": {}}
	both(t, func(t *testing.T, live bool) {
		after, _ := must(t, g, live, topology.AddLAN{Name: "other"})
		after, _ = must(t, after, live, topology.UpdateDecky{Decky: "gw", Services: &[]string{"ssh"}})
		require.Equal(t, topology.ServiceCfgUndeclared, topology.Blocking(topology.Validate(after))[1].Code)
		after, _ = must(t, after, live, topology.UpdateDecky{Decky: "mid", Patch: topology.DeckyPatch{Configs: &map[string]service.Config{}}})
		require.Len(t, topology.Validate(after), 1, "but for the LAN that nobody is in")
		declared, _ := must(t, g, live, topology.UpdateDecky{Decky: "mid", Services: &[]string{"ssh"}})
		require.Empty(t, declared.Deckies[1].Undeclared)
		require.Equal(t, service.Config{}, declared.Deckies[1].Services[0].Config)
		requireInvalid(t, g, live, topology.AddDecky{Name: "gw", LAN: "dmz"}, topology.DeckyNameDup)
	})
}

func TestApply_IsBounded(t *testing.T) {
	t.Parallel()
	g := large(10)
	for n := len(g.LANs); n < topology.MaxLANs; n++ {
		g.LANs = append(g.LANs, topology.LAN{ID: id(uint64(5000 + n)), Name: "x" + id(uint64(n)).String()[24:], Subnet: "11.0." + itoa(n-2) + ".0/24"})
	}
	mustNot(t, g, false, topology.AddLAN{Name: "more"}, fault.Conflict, "topology_too_large")
}
