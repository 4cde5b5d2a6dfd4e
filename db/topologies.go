package db

import (
	"cmp"
	"context"
	"encoding/json"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/decnet/decnet/db/dbsqlc"
	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/operation"
	"github.com/decnet/decnet/internal/topology"
)

// CreateTopology inserts a pending topology without a graph. generated is what it was generated from, nil for one drawn by
// hand. A taken name is a Conflict (topology_exists).
func (tx *Tx) CreateTopology(ctx context.Context, t topology.Topology, generated json.RawMessage) (topology.Topology, error) {
	row, err := tx.q.InsertTopology(ctx, dbsqlc.InsertTopologyParams{ID: t.ID, Name: t.Name, Mode: t.Mode, GeneratedFrom: generated})
	return toTopology(row), err
}

// Topology returns a topology without its graph, or a NotFound fault (topology_not_found).
func (s *Store) Topology(ctx context.Context, id uuid.UUID) (topology.Topology, error) {
	row, err := s.queries().GetTopology(ctx, id)
	return found(row, err)
}

// LockTopology reads a topology and locks its row to the end of the transaction; rows of its deckies are locked after it.
func (tx *Tx) LockTopology(ctx context.Context, id uuid.UUID) (topology.Topology, error) {
	row, err := tx.q.LockTopology(ctx, id)
	return found(row, err)
}

// TopologyFilter selects topologies; an empty status selects all. The page begins behind the topology that was created at
// BeforeCreated with the id Before; a zero time begins with the newest.
type TopologyFilter struct {
	Status        topology.Status
	BeforeCreated time.Time
	Before        uuid.UUID
	Limit         int
}

// Topologies lists topologies without their graphs, newest first.
func (s *Store) Topologies(ctx context.Context, f TopologyFilter) ([]topology.Topology, error) {
	if f.BeforeCreated.IsZero() {
		f.BeforeCreated = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	rows, err := s.queries().ListTopologies(ctx, dbsqlc.ListTopologiesParams{
		Status: optional(string(f.Status)), BeforeCreated: f.BeforeCreated, BeforeID: f.Before, MaxRows: int32(f.Limit),
	})
	list := make([]topology.Topology, len(rows))
	for i, r := range rows {
		list[i] = toTopology(r)
	}
	return list, interpret(err)
}

// TopologyScopes lists the scopes of the topologies of which something may run or be asked.
func (s *Store) TopologyScopes(ctx context.Context) ([]string, error) {
	ids, err := s.queries().ListScopes(ctx)
	scopes := make([]string, len(ids))
	for i, id := range ids {
		scopes[i] = topology.ScopeName(id)
	}
	return scopes, interpret(err)
}

func found(row dbsqlc.Topology, err error) (topology.Topology, error) {
	if err != nil {
		return topology.Topology{}, notFound(err, topology.NotFound())
	}
	return toTopology(row), nil
}

func toTopology(r dbsqlc.Topology) topology.Topology {
	return topology.Topology{
		ID: r.ID, Name: r.Name, Mode: r.Mode, Status: topology.Status(r.Status), Reason: r.StatusReason, Version: r.Version,
		CreatedAt: r.CreatedAt, StatusChangedAt: r.StatusChangedAt,
	}
}

// SetTopologyStatus changes the status of a locked topology, raises its version and notes the step; staying does nothing.
// A step the status machine does not have is a Conflict (topology_status_conflict). What is torn down holds no subnets.
func (tx *Tx) SetTopologyStatus(ctx context.Context, t *topology.Topology, to topology.Status, reason string) error {
	if t.Status == to {
		return nil
	}
	if err := topology.Next(t.Status, to); err != nil {
		return err
	}
	if err := tx.q.SetTopologyStatus(ctx, dbsqlc.SetTopologyStatusParams{ID: t.ID, Status: string(to), Reason: reason}); err != nil {
		return err
	}
	event := dbsqlc.InsertStatusEventParams{TopologyID: t.ID, FromStatus: string(t.Status), ToStatus: string(to), Reason: reason}
	if err := tx.q.InsertStatusEvent(ctx, event); err != nil {
		return err
	}
	t.Status, t.Reason = to, reason
	t.Version++
	if !to.HoldsSubnets() {
		return tx.q.ReleaseSubnets(ctx, t.ID)
	}
	return nil
}

// SetTopologyReason says why a locked topology has the status it has.
func (tx *Tx) SetTopologyReason(ctx context.Context, t *topology.Topology, reason string) error {
	t.Reason = reason
	return tx.q.SetTopologyReason(ctx, dbsqlc.SetTopologyReasonParams{ID: t.ID, Reason: reason})
}

// BumpTopology raises the version of a locked topology.
func (tx *Tx) BumpTopology(ctx context.Context, t *topology.Topology) (err error) {
	t.Version, err = tx.q.BumpTopologyVersion(ctx, t.ID)
	return err
}

// DeleteTopology forgets a locked topology: its name, subnets and the names of its deckies are free. Its deckies stay in
// the database as what events refer to.
func (tx *Tx) DeleteTopology(ctx context.Context, id uuid.UUID) error {
	if err := tx.q.DeleteTopology(ctx, id); err != nil {
		return err
	}
	if err := tx.q.ReleaseSubnets(ctx, id); err != nil {
		return err
	}
	_, err := tx.SetDeckyStates(ctx, id, decky.TornDown, "")
	return err
}

// StatusEvent is one step of a topology's status.
type StatusEvent struct {
	From, To topology.Status
	At       time.Time
	Reason   string
}

// StatusEvents lists the latest steps of a topology's status, newest first.
func (s *Store) StatusEvents(ctx context.Context, id uuid.UUID, limit int) ([]StatusEvent, error) {
	rows, err := s.queries().ListStatusEvents(ctx, dbsqlc.ListStatusEventsParams{TopologyID: id, MaxRows: int32(limit)})
	list := make([]StatusEvent, len(rows))
	for i, r := range rows {
		list[i] = StatusEvent{From: topology.Status(r.FromStatus), To: topology.Status(r.ToStatus), At: r.At, Reason: r.Reason}
	}
	return list, interpret(err)
}

// ReservedSubnets lists the subnets that every topology but one holds, as text in CIDR form, and locks their choice to the
// end of the transaction.
func (tx *Tx) ReservedSubnets(ctx context.Context, except uuid.UUID) ([]string, error) {
	if err := tx.q.LockSubnets(ctx); err != nil {
		return nil, err
	}
	return reservedSubnets(ctx, tx.q, except)
}

// ReservedSubnets is Tx.ReservedSubnets without the lock.
func (s *Store) ReservedSubnets(ctx context.Context, except uuid.UUID) ([]string, error) {
	list, err := reservedSubnets(ctx, s.queries(), except)
	return list, interpret(err)
}

func reservedSubnets(ctx context.Context, q *dbsqlc.Queries, except uuid.UUID) ([]string, error) {
	subnets, err := q.ListReservedSubnets(ctx, except)
	list := make([]string, len(subnets))
	for i, p := range subnets {
		list[i] = p.String()
	}
	return list, err
}

// Graph returns the hydrated graph of a topology as it is wanted: what is being changed counts as done.
func (s *Store) Graph(ctx context.Context, t topology.Topology) (topology.Graph, error) {
	g, err := readGraph(ctx, s.queries(), t)
	return g, interpret(err)
}

// Graph is Store.Graph inside a transaction.
func (tx *Tx) Graph(ctx context.Context, t topology.Topology) (topology.Graph, error) {
	return readGraph(ctx, tx.q, t)
}

func readGraph(ctx context.Context, q *dbsqlc.Queries, t topology.Topology) (topology.Graph, error) {
	var g topology.Graph
	lans, err := q.ListLANs(ctx, t.ID)
	if err != nil {
		return g, err
	}
	names := make(map[uuid.UUID]string, len(lans))
	for _, l := range lans {
		names[l.ID] = l.Name
		g.LANs = append(g.LANs, topology.LAN{ID: l.ID, Name: l.Name, Subnet: l.Subnet.String(), DMZ: l.IsDMZ, X: l.X, Y: l.Y})
	}
	edges, err := q.ListEdges(ctx, t.ID)
	if err != nil {
		return g, err
	}
	addresses := map[uuid.UUID][]topology.Address{}
	for _, e := range edges {
		g.Edges = append(g.Edges, topology.Edge{ID: e.ID, DeckyID: e.DeckyID, LANID: e.LANID, Bridge: e.IsBridge, ForwardsL3: e.ForwardsL3})
		addresses[e.DeckyID] = append(addresses[e.DeckyID], topology.Address{LAN: names[e.LANID], IP: e.IP.String()})
	}
	deckies, err := topologyDeckies(ctx, q, t)
	if err != nil {
		return g, err
	}
	for _, d := range deckies {
		d.IPs = addresses[d.ID]
		g.Deckies = append(g.Deckies, d)
	}
	return topology.Hydrate(g), nil
}

func topologyDeckies(ctx context.Context, q *dbsqlc.Queries, t topology.Topology) ([]topology.Decky, error) {
	rows, err := q.ListTopologyDeckies(ctx, dbsqlc.ListTopologyDeckiesParams{
		Scope: topology.ScopeName(t.ID), TornDown: t.Status == topology.TornDown,
	})
	if err != nil {
		return nil, err
	}
	full, err := complete(ctx, q, rows)
	if err == nil {
		err = anticipate(ctx, q, full)
	}
	if err != nil {
		return nil, err
	}
	var list []topology.Decky
	for i, r := range rows {
		if full[i].Removed && t.Status != topology.TornDown {
			continue // one that is being removed, or whose making failed
		}
		list = append(list, topology.Decky{
			ID: r.ID, Name: r.Name, Services: full[i].Services, Archetype: deref(r.Archetype), ForwardsL3: r.ForwardsL3, X: r.X, Y: r.Y,
		})
	}
	return list, nil
}

// anticipate gives deckies that are being changed what they are about to have.
func anticipate(ctx context.Context, q *dbsqlc.Queries, deckies []decky.Decky) error {
	ids := make([]uuid.UUID, len(deckies))
	index := make(map[uuid.UUID]*decky.Decky, len(deckies))
	for i := range deckies {
		ids[i] = deckies[i].ID
		index[ids[i]] = &deckies[i]
	}
	pending, err := q.ListRevisionsByState(ctx, dbsqlc.ListRevisionsByStateParams{DeckyIds: ids, State: string(RevisionPending)})
	if err != nil {
		return err
	}
	revisions := make([]uuid.UUID, len(pending))
	for i, r := range pending {
		revisions[i] = r.ID
	}
	byRevision, err := services(ctx, q, revisions...)
	for _, r := range pending {
		d := index[r.DeckyID]
		d.Revision, d.Removed, d.Services = int(r.Number), r.Removed, byRevision[r.ID]
	}
	return err
}

// TopologyDeckies lists the deckies of a topology by name with their active revisions.
func (s *Store) TopologyDeckies(ctx context.Context, t topology.Topology) ([]decky.Decky, error) {
	q := s.queries()
	rows, err := q.ListTopologyDeckies(ctx, dbsqlc.ListTopologyDeckiesParams{
		Scope: topology.ScopeName(t.ID), TornDown: t.Status == topology.TornDown,
	})
	if err != nil {
		return nil, interpret(err)
	}
	return complete(ctx, q, rows)
}

// SaveGraph makes the LANs, edges and deckies of a topology those of after. In a plan the deckies' services too: each
// has one revision that no operation made. In a topology that is not a plan, services and the going of deckies are a
// matter of revisions; a new decky is inserted with what invent makes up for it.
func (tx *Tx) SaveGraph(ctx context.Context, t topology.Topology, before, after topology.Graph, invent func(topology.Decky) decky.Decky) error {
	if err := tx.saveLANs(ctx, t.ID, after); err != nil {
		return err
	}
	for _, d := range after.Deckies {
		if err := tx.saveTopologyDecky(ctx, t, before, d, invent); err != nil {
			return err
		}
	}
	if t.Status.Editable() {
		for _, d := range before.Deckies {
			if _, stays := after.Decky(d.ID); stays {
				continue
			}
			if err := tx.q.DeletePlannedDecky(ctx, d.ID); err != nil {
				return err
			}
		}
	}
	return tx.saveEdges(ctx, t.ID, after)
}

// saveLANs drops edges and LANs that are no longer there, and writes the LANs.
func (tx *Tx) saveLANs(ctx context.Context, id uuid.UUID, g topology.Graph) error {
	edges, lans := make([]uuid.UUID, len(g.Edges)), make([]uuid.UUID, len(g.LANs))
	for i, e := range g.Edges {
		edges[i] = e.ID
	}
	for i, l := range g.LANs {
		lans[i] = l.ID
	}
	if err := tx.q.DeleteEdgesExcept(ctx, dbsqlc.DeleteEdgesExceptParams{TopologyID: id, Ids: edges}); err != nil {
		return err
	}
	if err := tx.q.DeleteLANsExcept(ctx, dbsqlc.DeleteLANsExceptParams{TopologyID: id, Ids: lans}); err != nil {
		return err
	}
	for i, l := range g.LANs {
		subnet, err := l.Prefix()
		if err != nil {
			return err
		}
		if err := tx.q.UpsertLAN(ctx, dbsqlc.UpsertLANParams{
			ID: l.ID, TopologyID: id, Position: int32(i), Name: l.Name, Subnet: subnet, IsDMZ: l.DMZ, X: l.X, Y: l.Y,
		}); err != nil {
			return err
		}
	}
	return nil
}

func (tx *Tx) saveTopologyDecky(
	ctx context.Context, t topology.Topology, before topology.Graph, d topology.Decky, invent func(topology.Decky) decky.Decky,
) error {
	was, existed := before.Decky(d.ID)
	if !existed {
		return tx.insertTopologyDecky(ctx, t, d, invent(d))
	}
	if err := tx.q.UpdateTopologyDecky(ctx, dbsqlc.UpdateTopologyDeckyParams{
		ID: d.ID, Name: d.Name, Key: topology.DeckyKey(t.ID, d.Name), Archetype: optional(d.Archetype),
		ForwardsL3: d.ForwardsL3, X: d.X, Y: d.Y,
	}); err != nil {
		return err
	}
	if !t.Status.Editable() || decky.SameServices(was.Services, d.Services) {
		return nil
	}
	rev, err := tx.q.GetRevisionByState(ctx, dbsqlc.GetRevisionByStateParams{DeckyID: d.ID, State: string(RevisionActive)})
	if err != nil {
		return err
	}
	if err := tx.q.DeleteRevisionServices(ctx, rev.ID); err != nil {
		return err
	}
	return tx.insertServices(ctx, rev.ID, int(rev.Number), d.Services)
}

func (tx *Tx) insertTopologyDecky(ctx context.Context, t topology.Topology, d topology.Decky, made decky.Decky) error {
	planned := t.Status.Editable()
	if err := tx.q.InsertTopologyDecky(ctx, dbsqlc.InsertTopologyDeckyParams{
		ID: d.ID, Scope: topology.ScopeName(t.ID), Name: d.Name, Key: topology.DeckyKey(t.ID, d.Name), IP: optional(made.IP),
		Archetype: optional(d.Archetype), Distro: made.Distro, Hostname: made.Hostname, NmapOS: made.NmapOS,
		Planned: planned, ForwardsL3: d.ForwardsL3, X: d.X, Y: d.Y,
	}); err != nil || !planned {
		return err
	}
	id := newID()
	if err := tx.q.InsertPlanRevision(ctx, dbsqlc.InsertPlanRevisionParams{ID: id, DeckyID: d.ID, Number: 1}); err != nil {
		return err
	}
	return tx.insertServices(ctx, id, 1, d.Services)
}

// insertServices writes the services of a revision; one that is new is stamped with the revision's number.
func (tx *Tx) insertServices(ctx context.Context, revision uuid.UUID, number int, list []decky.Service) error {
	for i, s := range list {
		if s.Revision == 0 {
			s.Revision = number
		}
		if err := tx.insertService(ctx, revision, i, s); err != nil {
			return err
		}
	}
	return nil
}

func (tx *Tx) saveEdges(ctx context.Context, id uuid.UUID, g topology.Graph) error {
	for i, e := range g.Edges {
		ip, err := edgeAddress(g, e)
		if err != nil {
			return err
		}
		if err := tx.q.UpsertEdge(ctx, dbsqlc.UpsertEdgeParams{
			ID: e.ID, TopologyID: id, Position: int32(i), DeckyID: e.DeckyID, LANID: e.LANID, IP: ip,
			IsBridge: e.Bridge, ForwardsL3: e.ForwardsL3,
		}); err != nil {
			return err
		}
	}
	return nil
}

// edgeAddress returns the address a hydrated graph has for an edge.
func edgeAddress(g topology.Graph, e topology.Edge) (netip.Addr, error) {
	d, _ := g.Decky(e.DeckyID)
	l, _ := g.LAN(e.LANID)
	text, _ := d.Address(l.Name)
	ip, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}, topology.AddressMissing(d.Name, l.Name)
	}
	return ip, nil
}

// ScopeDeckies lists the ids of the deckies of a scope that are not gone.
func (s *Store) ScopeDeckies(ctx context.Context, scope string) ([]uuid.UUID, error) {
	ids, err := s.queries().ListScopeDeckies(ctx, scope)
	return ids, interpret(err)
}

// SetPlanned says of all deckies of a topology whether they are only planned: nothing of a planned one may run.
func (tx *Tx) SetPlanned(ctx context.Context, id uuid.UUID, planned bool) error {
	return tx.q.SetPlanned(ctx, dbsqlc.SetPlannedParams{Scope: topology.ScopeName(id), Planned: planned})
}

// SetDeckyAddress gives a decky the address under which its runtime makes it reachable.
func (tx *Tx) SetDeckyAddress(ctx context.Context, deckyID uuid.UUID, ip netip.Addr) error {
	return tx.q.SetDeckyAddress(ctx, dbsqlc.SetDeckyAddressParams{ID: deckyID, IP: &ip})
}

// SetDeckyStates puts all deckies of a topology into one state; torn_down ends them. Those that were in another come back
// as they were, by name: their id, name, scope and former state.
func (tx *Tx) SetDeckyStates(ctx context.Context, id uuid.UUID, state decky.State, reason string) ([]decky.Decky, error) {
	scope := topology.ScopeName(id)
	rows, err := tx.q.SetDeckyStates(ctx, dbsqlc.SetDeckyStatesParams{Scope: scope, State: string(state), Reason: reason})
	list := make([]decky.Decky, len(rows))
	for i, r := range rows {
		list[i] = decky.Decky{ID: r.ID, Name: r.Name, Scope: scope, State: decky.State(r.Previous)}
	}
	slices.SortFunc(list, func(a, b decky.Decky) int { return cmp.Compare(a.Name, b.Name) })
	return list, err
}

// CheckIdle returns a Conflict (topology_busy) while an operation in the scope of a locked topology is open.
func (tx *Tx) CheckIdle(ctx context.Context, id uuid.UUID) error {
	open, err := tx.q.CountOpenScopeOperations(ctx, topology.ScopeName(id))
	return busy(open, err)
}

// CheckSettled returns a Conflict (topology_busy) while a decky of a locked topology has a change that is begun and not
// over: what it makes of the decky would replace an edit.
func (tx *Tx) CheckSettled(ctx context.Context, id uuid.UUID) error {
	pending, err := tx.q.CountPendingRevisions(ctx, topology.ScopeName(id))
	return busy(pending, err)
}

func busy(n int64, err error) error {
	if err == nil && n > 0 {
		return fault.New(fault.Conflict, "topology_busy", "another change of the topology is under way")
	}
	return err
}

// TroubledDeckies counts the deckies of a topology that are not as they should be, with nothing under way.
func (tx *Tx) TroubledDeckies(ctx context.Context, id uuid.UUID) (int, error) {
	n, err := tx.q.CountTroubledDeckies(ctx, topology.ScopeName(id))
	return int(n), err
}

// SetUndo keeps what an operation needs to restore what it changed. It must hold no secret.
func (tx *Tx) SetUndo(ctx context.Context, id uuid.UUID, undo any) error {
	return tx.q.SetOperationUndo(ctx, dbsqlc.SetOperationUndoParams{ID: id, Undo: marshal(undo)})
}

// Edits lists the operations that changed a topology's graph, newest first; states nil for all.
func (s *Store) Edits(ctx context.Context, id uuid.UUID, states []operation.State, before int64, limit int) ([]operation.Operation, error) {
	if before <= 0 {
		before = math.MaxInt64
	}
	p := dbsqlc.ListScopeOperationsParams{Scope: topology.ScopeName(id), BeforeSeq: before, MaxRows: int32(limit)}
	for _, state := range states {
		p.States = append(p.States, string(state))
	}
	rows, err := s.queries().ListScopeOperations(ctx, p)
	return toOperations(rows), interpret(err)
}
