package db_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/uuid"
	"github.com/pressly/goose/v3"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/db/dbtest"
	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/embedded/embeddedtest"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/operation"
	"github.com/decnet/decnet/internal/topology"
)

func invent(d topology.Decky) decky.Decky {
	return decky.Decky{ID: d.ID, Name: d.Name, Distro: "debian", Hostname: "SRV", NmapOS: "linux"}
}

// createTopology stores a topology with the graph that draw returns.
func createTopology(
	t require.TestingT, ctx testContext, store *db.Store, id uuid.UUID, name string, draw func(topology.Source) (topology.Graph, error),
) (topo topology.Topology, g topology.Graph, err error) {
	err = store.InTx(ctx.Context(), func(tx *db.Tx) error {
		if topo, err = tx.CreateTopology(ctx.Context(), topology.Topology{ID: id, Name: name, Mode: topology.ModeUnihost}, nil); err != nil {
			return err
		}
		reserved, err := tx.ReservedSubnets(ctx.Context(), id)
		require.NoError(t, err)
		if g, err = draw(topology.Source{NewID: uuid.New, Rand: topology.Seeded(1), Reserved: reserved}); err != nil {
			return err
		}
		return tx.SaveGraph(ctx.Context(), topo, topology.Graph{}, g, invent)
	})
	return topo, g, err
}

func blank(t *testing.T, store *db.Store, name string) (topology.Topology, topology.Graph) {
	t.Helper()
	topo, g, err := createTopology(t, t, store, uuid.New(), name, topology.Blank)
	require.NoError(t, err)
	return topo, g
}

// edit changes a plan.
func edit(t require.TestingT, ctx testContext, store *db.Store, topo topology.Topology, op topology.Op) error {
	return store.InTx(ctx.Context(), func(tx *db.Tx) error {
		before, err := tx.Graph(ctx.Context(), topo)
		require.NoError(t, err)
		after, _, err := topology.Apply(before, topology.Site{ID: topo.ID, Status: topo.Status, NewID: uuid.New}, op)
		if err != nil {
			return err
		}
		return tx.SaveGraph(ctx.Context(), topo, before, after, invent)
	})
}

func TestMigration6_DownAndUpWithTopologies(t *testing.T) {
	t.Parallel()
	url := embeddedtest.EmptyDatabase(t)
	conn, err := sql.Open("pgx", url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	provider, err := goose.NewProvider(goose.DialectPostgres, conn, db.Migrations())
	require.NoError(t, err)
	_, err = provider.Up(t.Context())
	require.NoError(t, err)
	store, err := db.Open(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(store.Close)

	running, _ := blank(t, store, "running")
	gone, _ := blank(t, store, "gone")
	own, op := uuid.New(), newOperation()
	op.Kind, op.Scope, op.Payload = operation.AddDecky, topology.ScopeName(running.ID), json.RawMessage(`{"name":"pc-01"}`)
	add(t, store, op)
	require.NoError(t, store.InTx(t.Context(), func(tx *db.Tx) error {
		if err := tx.CreateDecky(t.Context(), decky.Decky{ID: own, Scope: decky.FleetScope, Name: "web-01", Key: "web-01", IP: netip.MustParseAddr("127.66.0.9")}); err != nil {
			return err
		}
		if err := tx.AddPendingRevision(t.Context(), op.ID, own, 1, false, []decky.Service{{Name: "ssh", Revision: 1}}); err != nil {
			return err
		}
		if err := tx.ActivateRevision(t.Context(), own, pendingOf(t, tx, op.ID)); err != nil {
			return err
		}
		if err := tx.SetUndo(t.Context(), op.ID, map[string]any{"deckies": nil}); err != nil {
			return err
		}
		if err := tx.SetPlanned(t.Context(), gone.ID, true); err != nil {
			return err
		}
		for _, status := range []topology.Status{topology.Deploying, topology.Failed} {
			if err := tx.SetTopologyStatus(t.Context(), &gone, status, "because"); err != nil {
				return err
			}
		}
		if err := tx.DeleteTopology(t.Context(), gone.ID); err != nil {
			return err
		}
		return tx.Publish(t.Context(), db.Event{EventID: uuid.New(), Key: "t", Topic: "topology.x.status", Type: "status", Payload: []byte("{}")})
	}))

	_, err = provider.DownTo(t.Context(), 5)
	require.NoError(t, err)
	count := func(query string) (n int) {
		require.NoError(t, conn.QueryRowContext(t.Context(), query).Scan(&n))
		return n
	}
	require.Equal(t, 1, count("SELECT count(*) FROM deckies"), "the fleet stays")
	require.Equal(t, 1, count("SELECT count(*) FROM revision_services"))
	require.Equal(t, 1, count("SELECT count(*) FROM operations"))
	require.Zero(t, count("SELECT count(*) FROM outbox"))
	_, err = provider.Up(t.Context())
	require.NoError(t, err)
	require.Zero(t, count("SELECT count(*) FROM topologies"))
	d, err := store.DeckyByName(t.Context(), decky.FleetScope, "web-01")
	require.NoError(t, err)
	require.Equal(t, []string{"ssh"}, decky.Names(d.Services))
	blank(t, store, "running")
}

func pendingOf(t *testing.T, tx *db.Tx, op uuid.UUID) uuid.UUID {
	t.Helper()
	list, err := tx.RevisionsOf(t.Context(), op)
	require.NoError(t, err)
	require.Len(t, list, 1)
	return list[0].ID
}

func requireFault(t *testing.T, code string, err error) {
	t.Helper()
	f, ok := fault.As(err)
	require.True(t, ok, "%v", err)
	require.Equal(t, code, f.Code)
}

func TestTopologies_NamesAndShortIDs(t *testing.T) {
	t.Parallel()
	store := dbtest.Open(t)
	first, _ := blank(t, store, "lab")
	_, _, err := createTopology(t, t, store, uuid.New(), "lab", topology.Blank)
	requireFault(t, "topology_exists", err)
	twin := uuid.New()
	copy(twin[:4], first.ID[:4])
	_, _, err = createTopology(t, t, store, twin, "other", topology.Blank)
	requireFault(t, "topology_id_taken", err)

	require.NoError(t, store.InTx(t.Context(), func(tx *db.Tx) error { return tx.DeleteTopology(t.Context(), first.ID) }))
	blank(t, store, "lab")
	_, err = store.Topology(t.Context(), first.ID)
	requireFault(t, "topology_not_found", err)
	_, _, err = createTopology(t, t, store, twin, "other", topology.Blank)
	requireFault(t, "topology_id_taken", err) // containers of the deleted one may be left
}

func TestTopologies_SubnetsAreHeldUntilTornDown(t *testing.T) {
	t.Parallel()
	store := dbtest.Open(t)
	first, g := blank(t, store, "first")
	taken := func(name, subnet string) error {
		_, _, err := createTopology(t, t, store, uuid.New(), name, func(src topology.Source) (topology.Graph, error) {
			g, err := topology.Blank(src)
			g.LANs[0].Subnet = subnet
			g.Deckies[0].IPs = nil
			return topology.Hydrate(g), err
		})
		return err
	}
	require.Equal(t, "10.0.0.0/24", g.LANs[0].Subnet)
	for _, overlapping := range []string{"10.0.0.0/24", "10.0.0.0/16", "10.0.0.128/25"} {
		requireFault(t, "subnet_in_use", taken("second", overlapping))
	}
	_, other := blank(t, store, "second")
	require.Equal(t, "10.0.1.0/24", other.LANs[0].Subnet)
	reserved, err := store.ReservedSubnets(t.Context(), first.ID)
	require.NoError(t, err)
	require.Equal(t, []string{"10.0.1.0/24"}, reserved)

	require.NoError(t, store.InTx(t.Context(), func(tx *db.Tx) error {
		for _, status := range []topology.Status{topology.Deploying, topology.TearingDown, topology.TornDown} {
			if err := tx.SetTopologyStatus(t.Context(), &first, status, ""); err != nil {
				return err
			}
		}
		return nil
	}))
	require.NoError(t, taken("third", "10.0.0.0/24"))
	kept, err := store.Graph(t.Context(), first)
	require.NoError(t, err)
	require.Equal(t, "10.0.0.0/24", kept.LANs[0].Subnet, "it shows what it was")
	require.Error(t, store.InTx(t.Context(), func(tx *db.Tx) error {
		return tx.SetTopologyStatus(t.Context(), &first, topology.Active, "")
	}))
}

func TestTopologies_MembersAndAddressesAreUnique(t *testing.T) {
	t.Parallel()
	store := dbtest.Open(t)
	topo, g := blank(t, store, "lab")
	save := func(change func(*topology.Graph)) error {
		after := g.Clone()
		change(&after)
		return store.InTx(t.Context(), func(tx *db.Tx) error { return tx.SaveGraph(t.Context(), topo, g, after, invent) })
	}
	again := g.Edges[0]
	again.ID = uuid.New()
	requireFault(t, "edge_exists", save(func(g *topology.Graph) { g.Edges = append(g.Edges, again) }))
	lan := topology.LAN{ID: uuid.New(), Name: g.LANs[0].Name, Subnet: "10.9.0.0/24"}
	requireFault(t, "lan_exists", save(func(g *topology.Graph) { g.LANs = append(g.LANs, lan) }))
	twin := topology.Decky{ID: uuid.New(), Name: g.Deckies[0].Name}
	requireFault(t, "decky_exists", save(func(g *topology.Graph) { g.Deckies = append(g.Deckies, twin) }))
	twin.Name, twin.IPs = "pc-01", g.Deckies[0].IPs
	again.DeckyID = twin.ID
	requireFault(t, "address_in_use", save(func(g *topology.Graph) {
		g.Deckies, g.Edges = append(g.Deckies, twin), append(g.Edges, again)
	}))
	after, err := store.Graph(t.Context(), topo)
	require.NoError(t, err)
	require.Equal(t, stamped(g), stamped(after), "nothing of what was refused is there")
}

func TestTopologies_BusyWhileSomethingIsUnderWay(t *testing.T) {
	t.Parallel()
	store := dbtest.Open(t)
	topo, g := blank(t, store, "lab")
	check := func(how func(*db.Tx) error) error { return store.InTx(t.Context(), how) }
	idle := func(tx *db.Tx) error { return tx.CheckIdle(t.Context(), topo.ID) }
	settled := func(tx *db.Tx) error { return tx.CheckSettled(t.Context(), topo.ID) }
	require.NoError(t, check(idle))
	require.NoError(t, check(settled))
	op := newOperation()
	op.Scope = topology.ScopeName(topo.ID)
	add(t, store, op)
	requireFault(t, "topology_busy", check(idle))
	require.NoError(t, check(settled))
	require.NoError(t, check(func(tx *db.Tx) error {
		return tx.AddPendingRevision(t.Context(), op.ID, g.Deckies[0].ID, 2, false, nil)
	}))
	requireFault(t, "topology_busy", check(settled))
}

// testContext is what testing.T and rapid.T have in common.
type testContext interface{ Context() context.Context }

// stamped returns a graph as the database gives it back: services carry the revision they were written in, and a
// configuration is never nil.
func stamped(g topology.Graph) topology.Graph {
	g = topology.Hydrate(g)
	g.LANs, g.Deckies, g.Edges = append([]topology.LAN(nil), g.LANs...), append([]topology.Decky(nil), g.Deckies...), append([]topology.Edge(nil), g.Edges...)
	for i := range g.Deckies {
		for j := range g.Deckies[i].Services {
			s := &g.Deckies[i].Services[j]
			s.Revision = 1
			if s.Config == nil {
				s.Config = map[string]any{}
			}
		}
		d := &g.Deckies[i] // empty is as good as absent
		d.Services, d.IPs, d.Undeclared = append([]decky.Service(nil), d.Services...), append([]topology.Address(nil), d.IPs...), nil
	}
	return g
}

// TestGraph_RoundTrip edits plans at random: what the database gives back is what was written, read as JSON.
func TestGraph_RoundTrip(t *testing.T) {
	t.Parallel()
	store := dbtest.Open(t)
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		params := topology.DefaultParams()
		params.Depth, params.BranchingFactor = rapid.IntRange(1, 2).Draw(rt, "depth"), rapid.IntRange(1, 2).Draw(rt, "branching")
		params.CrossEdgeProbability = rapid.Float64Range(0, 1).Draw(rt, "cross")
		seed := rapid.Int64().Draw(rt, "seed")
		topo, want, err := createTopology(rt, t, store, uuid.New(), fmt.Sprint("round ", n), func(src topology.Source) (topology.Graph, error) {
			src.Rand = topology.Seeded(seed)
			return topology.Generate(params, src)
		})
		require.NoError(rt, err)
		requireSame(rt, t, store, topo, want)
		for range rapid.IntRange(0, 5).Draw(rt, "edits") {
			op := drawEdit(rt, want)
			before, err := store.Graph(t.Context(), topo)
			require.NoError(rt, err)
			if edit(rt, t, store, topo, op) != nil {
				requireSame(rt, t, store, topo, before)
				continue
			}
			want, err = store.Graph(t.Context(), topo)
			require.NoError(rt, err)
			expected, _, err := topology.Apply(before, topology.Site{ID: topo.ID, Status: topo.Status, NewID: uuid.New}, op)
			require.NoError(rt, err)
			require.Equal(rt, shape(expected), shape(want), "%T%+v", op, op)
		}
		require.NoError(rt, store.InTx(t.Context(), func(tx *db.Tx) error { return tx.DeleteTopology(t.Context(), topo.ID) }))
	})
}

func requireSame(rt *rapid.T, t *testing.T, store *db.Store, topo topology.Topology, want topology.Graph) {
	got, err := store.Graph(t.Context(), topo)
	require.NoError(rt, err)
	require.Equal(rt, shape(want), shape(got))
	require.Len(rt, got.Edges, len(want.Edges))
}

// shape is a graph as text: without the ids that two applications of an edit choose differently.
func shape(g topology.Graph) string {
	g = stamped(g)
	type member struct {
		Decky, LAN string
		Bridge, L3 bool
	}
	var edges []member
	for _, e := range g.Edges {
		d, _ := g.Decky(e.DeckyID)
		l, _ := g.LAN(e.LANID)
		edges = append(edges, member{d.Name, l.Name, e.Bridge, e.ForwardsL3})
	}
	g.Edges = nil
	for i := range g.LANs {
		g.LANs[i].ID = uuid.Nil
	}
	for i := range g.Deckies {
		g.Deckies[i].ID = uuid.Nil
	}
	text, err := json.MarshalIndent(map[string]any{"graph": g, "edges": edges}, "", " ")
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func drawEdit(rt *rapid.T, g topology.Graph) topology.Op {
	names := []string{"pc-01", "pc-02"}
	for _, d := range g.Deckies {
		names = append(names, d.Name)
	}
	lans := []string{"office", "lab"}
	for _, l := range g.LANs {
		lans = append(lans, l.Name)
	}
	host, lan := rapid.SampledFrom(names).Draw(rt, "decky"), rapid.SampledFrom(lans).Draw(rt, "lan")
	services := rapid.SampledFrom([][]string{nil, {}, {"ssh"}, {"redis", "ssh"}, {"http", "redis"}}).Draw(rt, "services")
	place := rapid.Float64Range(-10, 10).Draw(rt, "x")
	switch rapid.IntRange(0, 7).Draw(rt, "op") {
	case 0:
		return topology.AddLAN{Name: lan, Subnet: "192.168." + fmt.Sprint(rapid.IntRange(0, 3).Draw(rt, "net")) + ".0/24", X: &place}
	case 1:
		return topology.RemoveLAN{LAN: lan}
	case 2:
		other := rapid.SampledFrom(lans).Draw(rt, "name")
		return topology.UpdateLAN{LAN: lan, Patch: topology.LANPatch{Name: &other}, Y: &place}
	case 3:
		return topology.AddDecky{Name: host, LAN: lan, Services: services, Configs: nil, X: &place}
	case 4:
		return topology.AttachDecky{Decky: host, LAN: lan}
	case 5:
		return topology.DetachDecky{Decky: host, LAN: lan}
	case 6:
		return topology.RemoveDecky{Decky: host}
	default:
		other, on := rapid.SampledFrom(names).Draw(rt, "name"), rapid.Bool().Draw(rt, "forwards")
		return topology.UpdateDecky{Decky: host, Services: &services, Patch: topology.DeckyPatch{Name: &other, ForwardsL3: &on}, Y: &place}
	}
}
