package activities_test

import (
	"encoding/json"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/activities"
	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/operation"
	"github.com/decnet/decnet/internal/topology"
)

// planned is a topology in the database.
type planned struct {
	*bundle
	id uuid.UUID
}

// plan stores a topology with a DMZ, its gateway, and what more edits make of it.
func (b *bundle) plan(more ...topology.Op) *planned {
	b.t.Helper()
	return b.planOf(func(src topology.Source) (topology.Graph, error) {
		g, err := topology.Blank(src)
		for _, op := range more {
			if err == nil {
				g, _, err = topology.Apply(g, topology.Site{Status: topology.Pending, NewID: uuid.New}, op)
			}
		}
		return g, err
	})
}

func (b *bundle) planOf(draw func(topology.Source) (topology.Graph, error)) *planned {
	b.t.Helper()
	id := uuid.New()
	require.NoError(b.t, b.store.InTx(b.t.Context(), func(tx *db.Tx) error {
		t, err := tx.CreateTopology(b.t.Context(), topology.Topology{ID: id, Name: id.String(), Mode: topology.ModeUnihost}, nil)
		if err != nil {
			return err
		}
		reserved, err := tx.ReservedSubnets(b.t.Context(), id)
		if err != nil {
			return err
		}
		g, err := draw(topology.Source{NewID: uuid.New, Reserved: reserved, Rand: topology.Seeded(1)})
		if err != nil {
			return err
		}
		return tx.SaveGraph(b.t.Context(), t, topology.Graph{}, g, activities.Invent)
	}))
	return &planned{bundle: b, id: id}
}

func (p *planned) on(kind operation.Kind, payload map[string]any) operation.Operation {
	p.t.Helper()
	op := operation.Operation{
		ID: uuid.Must(uuid.NewV7()), Scope: topology.ScopeName(p.id), Lane: operation.WholeScope, Kind: kind, Actor: "alice",
		State: operation.Received, RequestHash: []byte{1},
	}
	var request operation.Request
	if payload != nil {
		raw, err := json.Marshal(payload)
		require.NoError(p.t, err)
		request.Edit, op.Payload = raw, raw
	}
	plain, err := json.Marshal(request)
	require.NoError(p.t, err)
	sealed, err := p.box.Seal(plain, op.ID.String())
	require.NoError(p.t, err)
	op, _, err = p.store.AddOperation(p.t.Context(), op, sealed)
	require.NoError(p.t, err)
	return op
}

// service asks for a change of a decky's services.
func (p *planned) service(kind operation.Kind, name string, request operation.Request) operation.Operation {
	p.t.Helper()
	d := p.decky(name)
	plain, err := json.Marshal(request)
	require.NoError(p.t, err)
	op := operation.Operation{
		ID: uuid.Must(uuid.NewV7()), Scope: topology.ScopeName(p.id), Lane: d.ID.String(), Kind: kind, Actor: "alice",
		State: operation.Received, RequestHash: []byte{1}, DeckyID: d.ID, Decky: name, Service: "redis",
	}
	sealed, err := p.box.Seal(plain, op.ID.String())
	require.NoError(p.t, err)
	op, _, err = p.store.AddOperation(p.t.Context(), op, sealed)
	require.NoError(p.t, err)
	return op
}

func (p *planned) topology() (topology.Topology, topology.Graph) {
	p.t.Helper()
	t, err := p.store.Topology(p.t.Context(), p.id)
	require.NoError(p.t, err)
	g, err := p.store.Graph(p.t.Context(), t)
	require.NoError(p.t, err)
	return t, g
}

func (p *planned) status(want topology.Status) topology.Topology {
	p.t.Helper()
	t, _ := p.topology()
	require.Equal(p.t, want, t.Status, t.Reason)
	return t
}

func (p *planned) decky(name string) decky.Decky {
	p.t.Helper()
	d, err := p.store.DeckyByName(p.t.Context(), topology.ScopeName(p.id), name)
	require.NoError(p.t, err)
	return d
}

// wanted lists what should run, as "decky/service".
func (p *planned) wanted() (list []string) {
	p.t.Helper()
	ids, err := p.store.ScopeDeckies(p.t.Context(), topology.ScopeName(p.id))
	require.NoError(p.t, err)
	for _, id := range ids {
		d, err := p.store.Desired(p.t.Context(), id)
		require.NoError(p.t, err)
		for _, s := range d.Services {
			list = append(list, d.Name+"/"+s.Name)
		}
	}
	return list
}

// told returns what the outbox has to say: topics without ids, with the state or transition.
func (p *planned) told() (list []string) {
	p.t.Helper()
	events, err := p.store.Unpublished(p.t.Context(), 1000)
	require.NoError(p.t, err)
	for _, e := range events {
		var payload struct {
			State      string `json:"state"`
			Transition string `json:"transition"`
			Op         string `json:"op"`
			Name       string `json:"name"`
		}
		require.NoError(p.t, json.Unmarshal(e.Payload, &payload))
		words := []string{e.Type}
		for _, w := range []string{payload.Op, payload.Name, payload.Transition, payload.State} {
			if w != "" {
				words = append(words, w)
			}
		}
		list = append(list, strings.Join(words, " "))
	}
	return list
}

// succeed runs the transactions of a successful operation, each twice. Only the first Begin knows that no decoy is concerned;
// a converge that finds nothing to do is all that comes of it.
func (p *planned) succeed(op operation.Operation) {
	p.t.Helper()
	first := p.begin(op, "run")
	require.Equal(p.t, activities.Begun, first.Outcome, "%+v", first.Fault)
	first.Unaffected = false
	require.Equal(p.t, first, p.begin(op, "run"))
	require.NoError(p.t, p.activate(op))
	require.NoError(p.t, p.activate(op))
}

func addRedis() operation.Request {
	return operation.Request{Add: &operation.AddRequest{Service: "redis"}}
}

func TestTopology_LifeRunTwice(t *testing.T) {
	t.Parallel()
	p := setup(t).plan(topology.AddLAN{Name: "office"}, topology.AttachDecky{Decky: topology.BlankGateway, LAN: "office"})
	require.Empty(t, p.wanted(), "a plan wants nothing to run")
	p.succeed(p.service(operation.AddService, topology.BlankGateway, addRedis()))
	require.Empty(t, p.wanted())
	require.Equal(t, decky.Pending, p.decky(topology.BlankGateway).State)

	p.succeed(p.on(operation.Deploy, nil))
	active := p.status(topology.Active)
	require.Equal(t, []string{"dmz-gateway/ssh", "dmz-gateway/redis"}, p.wanted())
	require.Equal(t, "127.66.0.2", p.decky(topology.BlankGateway).IP.String())
	p.succeed(p.on(operation.AddDecky, map[string]any{"name": "pc-01", "lan": "office", "services": []string{"ssh"}}))
	require.Equal(t, "127.66.0.3", p.decky("pc-01").IP.String())
	require.Greater(t, p.status(topology.Active).Version, active.Version)
	p.succeed(p.on(operation.RemoveDecky, map[string]any{"decky": "pc-01"}))
	require.Equal(t, []string{"dmz-gateway/ssh", "dmz-gateway/redis"}, p.wanted())
	p.succeed(p.on(operation.Teardown, nil))
	p.status(topology.TornDown)
	require.Empty(t, p.wanted())
	require.Equal(t, []string{
		"service_added", "status deploying", "state dmz-gateway inserted running", "status active",
		"applying add_decky", "state pc-01 inserted running", "applied add_decky",
		"applying remove_decky", "state pc-01 state_changed tearing_down", "state pc-01 deleted torn_down", "applied remove_decky",
		"status tearing_down", "state dmz-gateway state_changed tearing_down", "state dmz-gateway deleted torn_down", "status torn_down",
	}, p.told(), "every fact once, although every transaction ran twice")
	require.Equal(t, operation.Refused, p.begin(p.on(operation.Deploy, nil), "run").State)
}

func TestTopology_UndoneDeployFailsAndItsTeardownStartsNothing(t *testing.T) {
	t.Parallel()
	p := setup(t).plan()
	deploy := p.on(operation.Deploy, nil)
	p.begin(deploy, "run")
	require.NotEmpty(t, p.wanted())
	p.undo(deploy, operation.Failed)
	require.Equal(t, "no", p.status(topology.Failed).Reason)
	require.Empty(t, p.wanted())
	require.Equal(t, decky.Failed, p.decky(topology.BlankGateway).State)

	teardown := p.on(operation.Teardown, nil)
	p.begin(teardown, "run")
	p.status(topology.TearingDown)
	p.undo(teardown, operation.Cancelled)
	p.status(topology.Failed)
	require.Empty(t, p.wanted(), "undoing the teardown of what never came up brings nothing up")
	require.Equal(t, decky.Failed, p.decky(topology.BlankGateway).State)
	p.succeed(p.on(operation.Teardown, nil))
	p.status(topology.TornDown)
}

func TestTopology_UndoneTeardownRunsAgain(t *testing.T) {
	t.Parallel()
	for state, want := range map[operation.State]topology.Status{operation.Cancelled: topology.Active, operation.Unconverged: topology.Degraded} {
		p := setup(t).plan()
		p.succeed(p.on(operation.Deploy, nil))
		before := p.wanted()
		teardown := p.on(operation.Teardown, nil)
		p.begin(teardown, "run")
		require.Empty(t, p.wanted())
		p.undo(teardown, state)
		p.status(want)
		require.ElementsMatch(t, before, p.wanted())
		if state != operation.Unconverged {
			continue
		}
		require.Equal(t, decky.Degraded, p.decky(topology.BlankGateway).State, "so that somebody repairs it")
		p.succeed(p.service(operation.Reconcile, topology.BlankGateway, operation.Request{}))
		p.status(topology.Active)
	}
}

func TestTopology_UndoneEditsLeaveWhatWas(t *testing.T) {
	t.Parallel()
	p := setup(t).plan(topology.AddLAN{Name: "office"}, topology.AttachDecky{Decky: topology.BlankGateway, LAN: "office"},
		topology.AddDecky{Name: "pc-01", LAN: "office", Services: []string{"ssh"}})
	p.succeed(p.on(operation.Deploy, nil))
	_, before := p.topology()
	running, revision := p.wanted(), p.decky("pc-01").Revision
	for kind, payload := range map[operation.Kind]map[string]any{
		operation.AddLAN:      {"name": "lab"},
		operation.UpdateLAN:   {"name": "office", "patch": map[string]any{"name": "hq"}, "x": 3},
		operation.AddDecky:    {"name": "pc-02", "lan": "office", "services": []string{"redis"}},
		operation.RemoveDecky: {"decky": "pc-01"},
		operation.UpdateDecky: {"decky": "pc-01", "services": []string{"redis"}, "y": 4, "patch": map[string]any{"archetype": ""}},
		operation.AttachDecky: {"decky": "pc-01", "lan": "dmz"},
		operation.DetachDecky: {"decky": "dmz-gateway", "lan": "office"},
		operation.RemoveLAN:   {"name": "office"},
	} {
		op := p.on(kind, payload)
		begun := p.begin(op, "run")
		if begun.Outcome != activities.Begun {
			require.Contains(t, []operation.Kind{operation.RemoveLAN, operation.DetachDecky}, kind, "%+v", begun.Fault)
			continue
		}
		_, changed := p.topology()
		require.NotEqual(t, before, changed, kind)
		p.undo(op, operation.Failed)
		_, after := p.topology()
		require.Equal(t, before, after, kind)
		require.ElementsMatch(t, running, p.wanted(), kind)
		require.Equal(t, revision, p.decky("pc-01").Revision)
		p.status(topology.Active)
	}
}

func TestTopology_WhoWaitsForAnEditIsToldOfItsCancellation(t *testing.T) {
	t.Parallel()
	p := setup(t).plan()
	p.succeed(p.on(operation.Deploy, nil))
	scope := &activities.Scope{Store: p.store}
	for _, end := range []func(operation.Operation){
		func(op operation.Operation) {
			require.NoError(t, scope.EndCancelled(t.Context(), activities.OperationInput{OperationID: op.ID}))
		},
		func(op operation.Operation) { require.Equal(t, operation.Cancelled, p.begin(op, "run").State) },
	} {
		op := p.on(operation.AddLAN, map[string]any{"name": "lab"})
		_, err := p.store.RequestCancel(t.Context(), op.ID)
		require.NoError(t, err)
		end(op)
		end(op)
		events := p.events(op)
		require.Len(t, events, 1)
		require.Contains(t, events[0].Topic, ".mutation.failed")
		require.Contains(t, string(events[0].Payload), "operation_cancelled: ")
	}
}

// TestTopology_HomeAddressFollows has a runtime for which LANs are networks.
func TestTopology_HomeAddressFollows(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.acts.Pool = decky.Pool{Prefix: netip.MustParsePrefix("10.200.0.0/16")}
	p := b.plan()
	p.succeed(p.on(operation.Deploy, nil))
	home := p.decky(topology.BlankGateway).IP
	require.Equal(t, "10.0.0.2", home.String())
	move := map[string]any{"decky": topology.BlankGateway, "patch": map[string]any{"ips_by_lan": map[string]string{"dmz": "10.0.0.77"}}}
	op := p.on(operation.UpdateDecky, move)
	p.begin(op, "run")
	require.Equal(t, "10.0.0.77", p.decky(topology.BlankGateway).IP.String())
	p.undo(op, operation.Failed)
	require.Equal(t, home, p.decky(topology.BlankGateway).IP)
	p.succeed(p.on(operation.UpdateDecky, move))
	require.Equal(t, "10.0.0.77", p.decky(topology.BlankGateway).IP.String())
}

// TestTopology_DeckiesSideBySide changes services of all deckies at once: their lanes meet at the row of the topology.
func TestTopology_DeckiesSideBySide(t *testing.T) {
	t.Parallel()
	names := []string{"pc-01", "pc-02", "pc-03", "pc-04", "pc-05", "pc-06"}
	var ops []topology.Op
	for _, name := range names {
		ops = append(ops, topology.AddDecky{Name: name, LAN: "dmz", Services: []string{}})
	}
	p := setup(t).plan(ops...)
	p.succeed(p.on(operation.Deploy, nil))
	began := p.status(topology.Active).Version
	var wg sync.WaitGroup
	for _, name := range names {
		wg.Go(func() {
			for range 3 {
				p.succeed(p.service(operation.AddService, name, addRedis()))
				p.succeed(p.service(operation.RemoveService, name, operation.Request{Remove: "redis"}))
			}
		})
	}
	wg.Wait()
	require.Equal(t, began+int64(len(names)*6), p.status(topology.Active).Version, "every change raises the version once")
}

// TestTopology_LargeOnesFitIntoTheirTransactions begins, undoes and edits a topology of the size that can be generated.
func TestTopology_LargeOnesFitIntoTheirTransactions(t *testing.T) {
	t.Parallel()
	const deckies = 200
	p := setup(t).planOf(func(src topology.Source) (topology.Graph, error) {
		params := topology.DefaultParams()
		params.Depth, params.BranchingFactor, params.DeckiesPerLANMin, params.DeckiesPerLANMax = 2, 8, 6, 10
		for seed := int64(1); ; seed++ {
			src.Rand = topology.Seeded(seed)
			g, err := topology.Generate(params, src)
			if err != nil || len(g.Deckies) >= deckies {
				return g, err
			}
		}
	})
	_, g := p.topology()
	timed := func(what string, do func()) {
		began := time.Now()
		do()
		t.Logf("%s of %d deckies in %d LANs: %s", what, len(g.Deckies), len(g.LANs), time.Since(began).Round(time.Millisecond))
	}
	deploy := p.on(operation.Deploy, nil)
	timed("begin a deploy", func() { p.begin(deploy, "run") })
	timed("activate it", func() { require.NoError(t, p.activate(deploy)) })
	edit := p.on(operation.AddDecky, map[string]any{"name": "late", "lan": g.LANs[1].Name, "services": []string{"ssh"}})
	timed("begin an edit", func() { p.begin(edit, "run") })
	timed("undo it", func() { p.undo(edit, operation.Failed) })
	timed("tear it down", func() { p.succeed(p.on(operation.Teardown, nil)) })
}
