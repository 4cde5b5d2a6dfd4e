package topology_test

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/compose"
	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/service"
	"github.com/decnet/decnet/internal/topology"
)

var topologyID = uuid.MustParse("0123abcd-0000-4000-8000-000000000001")

// ids returns a source of ids that are the same in every run.
func ids() func() uuid.UUID {
	n := uint64(0)
	return func() uuid.UUID {
		n++
		var id uuid.UUID
		binary.BigEndian.PutUint64(id[8:], n)
		return id
	}
}

func id(n uint64) uuid.UUID {
	var id uuid.UUID
	binary.BigEndian.PutUint64(id[8:], n)
	return id
}

func offers(slugs ...string) []decky.Service {
	services := make([]decky.Service, 0, len(slugs))
	for _, s := range slugs {
		services = append(services, decky.Service{Name: s, Config: service.Config{}})
	}
	return services
}

// The ids of valid.
var dmz, inner, gw, mid = id(1), id(2), id(11), id(12)

// valid returns a graph without issues: a gateway in the DMZ, and a decky that joins the LAN behind it.
func valid() topology.Graph {
	return topology.Graph{
		LANs: []topology.LAN{{ID: dmz, Name: "dmz", Subnet: "10.0.0.0/24", DMZ: true}, {ID: inner, Name: "inner", Subnet: "10.0.1.0/24"}},
		Deckies: []topology.Decky{
			{ID: gw, Name: "gw", Services: offers("ssh"), ForwardsL3: true, IPs: []topology.Address{{LAN: "dmz", IP: "10.0.0.2"}}},
			{
				ID: mid, Name: "mid", Services: offers("http", "redis"),
				IPs: []topology.Address{{LAN: "inner", IP: "10.0.1.2"}, {LAN: "dmz", IP: "10.0.0.3"}},
			},
		},
		Edges: []topology.Edge{
			{ID: id(21), DeckyID: gw, LANID: dmz},
			{ID: id(22), DeckyID: mid, LANID: inner},
			{ID: id(23), DeckyID: mid, LANID: dmz, Bridge: true},
		},
	}
}

// refused requires a fault of that kind and code and returns it.
func refused(t testing.TB, kind fault.Kind, code string, err error) *fault.Error {
	t.Helper()
	require.Error(t, err)
	f := fault.From(err)
	require.Equal(t, code, f.Code, f.Error())
	require.Equal(t, kind, f.Kind)
	return f
}

func TestNames(t *testing.T) {
	t.Parallel()
	require.Equal(t, "0123abcd-web-01", topology.DeckyKey(topologyID, "web-01"))
	require.Len(t, topology.DeckyKey(topologyID, strings.Repeat("a", 63)), 72)
	require.Equal(t, "decnet_t_0123abcd_lan-00", topology.NetworkName(topologyID, "LAN-00"))
	short, ok := topology.ShortIDFromNetwork("decnet_t_0123abcd_lan-00")
	require.True(t, ok)
	require.Equal(t, topology.ShortID(topologyID), short)
	for _, bad := range []string{"", "decnet_t_0123abcd", "decnet_t_0123ABCD_x", "x_decnet_t_0123abcd_x", "bridge"} {
		_, ok := topology.ShortIDFromNetwork(bad)
		require.False(t, ok, bad)
	}
	scope := topology.ScopeName(topologyID)
	require.Equal(t, "topology/0123abcd-0000-4000-8000-000000000001", scope)
	back, ok := topology.IDFromScope(scope)
	require.True(t, ok)
	require.Equal(t, topologyID, back)
	for _, bad := range []string{"fleet", "topology/", "topology/x", strings.ToUpper(scope), "topology/{" + topologyID.String() + "}"} {
		_, ok := topology.IDFromScope(bad)
		require.False(t, ok, bad)
	}
}

func TestBridgeName_IsShortAndItsOwn(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for n := range uint64(2000) {
		name := topology.BridgeName(topologyID, id(n))
		require.Len(t, name, 15, "IFNAMSIZ less the NUL")
		require.Regexp(t, `^[a-z0-9-]+$`, name)
		require.True(t, strings.HasPrefix(name, compose.BridgePrefix), "containment must recognise it")
		require.False(t, seen[name], name)
		seen[name] = true
	}
	require.NotEqual(t, topology.BridgeName(topologyID, dmz), topology.BridgeName(id(99), dmz))
}

func TestCheckNames(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"dmz", "LAN-00", "a", "0_x", strings.Repeat("a", 32)} {
		require.NoError(t, topology.CheckLANName(good), good)
	}
	for _, bad := range []string{"", "-a", "_a", "a b", "a.b", "a/b", "é", "a\n", strings.Repeat("a", 33)} {
		refused(t, fault.Unprocessable, "lan_name_invalid", topology.CheckLANName(bad))
	}
	for _, good := range []string{"a", "Factory floor", "Büro 2", strings.Repeat("é", 64)} {
		require.NoError(t, topology.CheckName(good), good)
	}
	for _, bad := range []string{"", " a", "a ", "a\x00", "a\tb", "a\xff", strings.Repeat("é", 65)} {
		refused(t, fault.Unprocessable, "topology_name_invalid", topology.CheckName(bad))
	}
}

func TestCheckVersion(t *testing.T) {
	t.Parallel()
	topo, same, other := topology.Topology{Version: 3}, int64(3), int64(2)
	require.NoError(t, topo.CheckVersion(nil))
	require.NoError(t, topo.CheckVersion(&same))
	f := refused(t, fault.Conflict, "topology_version_conflict", topo.CheckVersion(&other))
	require.Contains(t, f.Message, "expected version 2, current 3")
}

func TestStatus_Golden(t *testing.T) {
	t.Parallel()
	// Rows are where a topology stands, columns where it may go, in the order of Statuses.
	table := map[topology.Status]string{
		topology.Pending:     ".d....x",
		topology.Deploying:   "..agft.",
		topology.Active:      "...g.t.",
		topology.Degraded:    "..a..t.",
		topology.Failed:      ".....t.",
		topology.TearingDown: "...gf.x",
		topology.TornDown:    ".......",
	}
	require.Len(t, table, len(topology.Statuses()))
	for from, row := range table {
		for i, to := range topology.Statuses() {
			err := topology.Next(from, to)
			if row[i] == '.' {
				refused(t, fault.Conflict, "topology_status_conflict", err)
			} else {
				require.NoError(t, err, "%s -> %s", from, to)
			}
		}
	}
	refused(t, fault.Conflict, "topology_status_conflict", topology.Next("nonsense", topology.Active))
}

func TestStatus_WhatIsAllowed(t *testing.T) {
	t.Parallel()
	// editable, live, deployable, teardownable, deletable, holds subnets
	table := map[topology.Status]string{
		topology.Pending:     "e-p-dh",
		topology.Deploying:   "---t-h",
		topology.Active:      "-l-t-h",
		topology.Degraded:    "-l-t-h",
		topology.Failed:      "---tdh",
		topology.TearingDown: "-----h",
		topology.TornDown:    "----d-",
	}
	for _, s := range topology.Statuses() {
		got := []byte("------")
		for i, is := range []bool{s.Editable(), s.Live(), s.Deployable(), s.Teardownable(), s.Deletable(), s.HoldsSubnets()} {
			if is {
				got[i] = "elptdh"[i]
			}
		}
		require.Equal(t, table[s], string(got), s)
	}
}

func TestHome(t *testing.T) {
	t.Parallel()
	g := valid()
	home, ok := g.Home(mid)
	require.True(t, ok)
	require.Equal(t, "inner", home.Name)
	g.Edges[1], g.Edges[2] = g.Edges[2], g.Edges[1]
	home, _ = g.Home(mid)
	require.Equal(t, "inner", home.Name, "the first edge that is no bridge")
	g.Edges[2].Bridge = true
	home, _ = g.Home(mid)
	require.Equal(t, "dmz", home.Name, "else the first")
	_, ok = g.Home(id(999))
	require.False(t, ok)
}

func TestClone_SharesNothing(t *testing.T) {
	t.Parallel()
	g := valid()
	c := g.Clone()
	c.LANs[0].Name, c.Deckies[0].Services[0].Name, c.Deckies[0].IPs[0].IP, c.Edges[0].Bridge = "x", "x", "x", true
	require.Equal(t, valid(), g)
}
