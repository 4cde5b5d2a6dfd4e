package activities

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"

	"github.com/google/uuid"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/bus"
	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/operation"
	"github.com/decnet/decnet/internal/topology"
)

// topologyUndo is what an operation on a topology leaves for Converge and Discard; it holds no configuration.
type topologyUndo struct {
	// Deckies are those the operation touches; nil means all.
	Deckies []uuid.UUID `json:"deckies,omitempty"`
	// Graph is what an edit changed, without services; nil for a deploy or teardown.
	Graph *topology.Graph `json:"graph,omitempty"`
	// Was is the status before a teardown.
	Was topology.Status `json:"was,omitempty"`
}

func undoOf(op operation.Operation) (topologyUndo, error) {
	var u topologyUndo
	if len(op.Undo) == 0 {
		return u, nil
	}
	err := json.Unmarshal(op.Undo, &u)
	return u, err
}

// Invent makes up what a topology does not say about a decky. The choice is no secret.
func Invent(d topology.Decky) decky.Decky {
	rnd := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())) //nolint:gosec // see above
	s := decky.NewSystem(d.Archetype, rnd)
	return decky.Decky{ID: d.ID, Name: d.Name, Distro: s.Distro, Hostname: s.Hostname, NmapOS: s.NmapOS}
}

// lockTopology locks the topology whose scope an operation belongs to.
func lockTopology(ctx context.Context, tx *db.Tx, scope string) (topology.Topology, error) {
	id, ok := topology.IDFromScope(scope)
	if !ok {
		return topology.Topology{}, topology.NotFound()
	}
	return tx.LockTopology(ctx, id)
}

// writeTopology puts the wish of an operation on a whole topology into the database. It reports whether no decoy is
// concerned.
func (m *Mutation) writeTopology(ctx context.Context, tx *db.Tx, op operation.Operation, request operation.Request) (unaffected bool, err error) {
	t, err := lockTopology(ctx, tx, op.Scope)
	if err != nil {
		return false, err
	}
	switch op.Kind { //nolint:exhaustive // the others are edits
	case operation.Deploy:
		return false, m.writeDeploy(ctx, tx, t)
	case operation.Teardown:
		return false, m.writeTeardown(ctx, tx, op, t)
	}
	return m.writeEdit(ctx, tx, t, op, request)
}

func (m *Mutation) writeDeploy(ctx context.Context, tx *db.Tx, t topology.Topology) error {
	if !t.Status.Deployable() {
		return t.Status.Refused("deployed")
	}
	g, err := tx.Graph(ctx, t)
	if err != nil {
		return err
	}
	if err := topology.Fault(topology.Blocking(topology.Validate(g))); err != nil {
		return err
	}
	next, err := m.addresses(ctx, tx, g)
	if err != nil {
		return err
	}
	for _, d := range g.Deckies {
		ip, err := next(d)
		if err == nil {
			err = tx.SetDeckyAddress(ctx, d.ID, ip)
		}
		if err != nil {
			return err
		}
	}
	if err := tx.SetPlanned(ctx, t.ID, false); err != nil {
		return err
	}
	return m.setStatus(ctx, tx, &t, topology.Deploying, "")
}

// addresses returns what finds the address a runtime reaches a decky of a topology at: that in its home LAN where LANs are
// networks, one of the pool where they are only names.
func (m *Mutation) addresses(ctx context.Context, tx *db.Tx, g topology.Graph) (func(topology.Decky) (netip.Addr, error), error) {
	if m.Pool.Prefix != decky.LoopbackPool {
		return func(d topology.Decky) (netip.Addr, error) {
			home, _ := g.Home(d.ID)
			text, _ := d.Address(home.Name)
			ip, err := netip.ParseAddr(text)
			if err != nil {
				return netip.Addr{}, topology.AddressMissing(d.Name, home.Name)
			}
			return ip, nil
		}, nil
	}
	used, err := tx.UsedAddresses(ctx)
	return func(topology.Decky) (netip.Addr, error) {
		ip, err := m.Pool.Next(used)
		used = append(used, ip)
		return ip, err
	}, err
}

func (m *Mutation) writeTeardown(ctx context.Context, tx *db.Tx, op operation.Operation, t topology.Topology) error {
	if !t.Status.Teardownable() {
		return t.Status.Refused("torn down")
	}
	if err := tx.SetUndo(ctx, op.ID, topologyUndo{Was: t.Status}); err != nil {
		return err
	}
	if err := tx.SetPlanned(ctx, t.ID, true); err != nil {
		return err
	}
	if err := m.setStatus(ctx, tx, &t, topology.TearingDown, ""); err != nil {
		return err
	}
	return m.setStates(ctx, tx, t.ID, decky.TearingDown, "")
}

func (m *Mutation) writeEdit(
	ctx context.Context, tx *db.Tx, t topology.Topology, op operation.Operation, request operation.Request,
) (unaffected bool, err error) {
	if !t.Status.Live() {
		return false, t.Status.Refused("edited by a mutation")
	}
	if err := t.CheckVersion(request.ExpectedVersion); err != nil {
		return false, err
	}
	edit, err := topology.DecodeOp(string(op.Kind), request.Edit)
	if err != nil {
		return false, err
	}
	before, err := tx.Graph(ctx, t)
	if err != nil {
		return false, err
	}
	reserved, err := tx.ReservedSubnets(ctx, t.ID)
	if err != nil {
		return false, err
	}
	site := topology.Site{ID: t.ID, Status: t.Status, NewID: uuid.New, Reserved: append(reserved, m.Pool.Prefix.String()), At: "body.payload"}
	after, effects, err := topology.Apply(before, site, edit)
	if err != nil {
		return false, err
	}
	if err := announceEdit(ctx, tx, t.ID, op, bus.MutationApplying, ""); err != nil {
		return false, err
	}
	if err := m.saveEdit(ctx, tx, t, op, before, after, effects); err != nil {
		return false, err
	}
	idle := len(effects.Converge)+len(effects.Remove)+len(effects.CreateNetworks)+len(effects.RemoveNetworks) == 0
	return idle, nil
}

// saveEdit writes the new graph, the revisions of the deckies that change, and what is needed to go back.
func (m *Mutation) saveEdit(
	ctx context.Context, tx *db.Tx, t topology.Topology, op operation.Operation, before, after topology.Graph, effects topology.Effects,
) error {
	undo := topologyUndo{Deckies: append([]uuid.UUID{}, effects.Remove...), Graph: ptr(withoutServices(before))}
	for _, c := range effects.Converge {
		undo.Deckies = append(undo.Deckies, c.Decky)
	}
	if err := tx.SetUndo(ctx, op.ID, undo); err != nil {
		return err
	}
	// Addresses are known before rows are inserted: a decky that may run has one.
	next, err := m.addresses(ctx, tx, after)
	if err != nil {
		return err
	}
	made := map[uuid.UUID]netip.Addr{}
	for _, d := range after.Deckies {
		if _, existed := before.Decky(d.ID); existed {
			continue
		}
		if made[d.ID], err = next(d); err != nil {
			return err
		}
	}
	invent := func(d topology.Decky) decky.Decky {
		fresh := Invent(d)
		fresh.IP = made[d.ID]
		return fresh
	}
	if err := tx.SaveGraph(ctx, t, before, after, invent); err != nil {
		return err
	}
	if err := m.moveHomes(ctx, tx, before, after); err != nil {
		return err
	}
	for _, d := range after.Deckies {
		if err := m.reviseTopologyDecky(ctx, tx, op, before, d); err != nil {
			return err
		}
	}
	for _, id := range effects.Remove {
		if err := m.retireTopologyDecky(ctx, tx, op, id); err != nil {
			return err
		}
	}
	return tx.BumpTopology(ctx, &t)
}

// moveHomes gives deckies whose address at home changes the new one, where LANs are networks.
func (m *Mutation) moveHomes(ctx context.Context, tx *db.Tx, before, after topology.Graph) error {
	if m.Pool.Prefix == decky.LoopbackPool {
		return nil
	}
	home := func(g topology.Graph, d topology.Decky) string {
		l, _ := g.Home(d.ID)
		ip, _ := d.Address(l.Name)
		return ip
	}
	next, err := m.addresses(ctx, tx, after)
	if err != nil {
		return err
	}
	for _, d := range after.Deckies {
		was, existed := before.Decky(d.ID)
		if !existed || home(before, was) == home(after, d) {
			continue
		}
		ip, err := next(d)
		if err == nil {
			err = tx.SetDeckyAddress(ctx, d.ID, ip)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func withoutServices(g topology.Graph) topology.Graph {
	g = g.Clone()
	for i := range g.Deckies {
		g.Deckies[i].Services, g.Deckies[i].Undeclared = nil, nil
	}
	return g
}

// reviseTopologyDecky writes a pending revision when the edit changes a decky's services, or makes it.
func (m *Mutation) reviseTopologyDecky(ctx context.Context, tx *db.Tx, op operation.Operation, before topology.Graph, d topology.Decky) error {
	was, existed := before.Decky(d.ID)
	if existed && decky.SameServices(was.Services, d.Services) {
		return nil
	}
	number, err := tx.NextRevision(ctx, d.ID)
	if err != nil {
		return err
	}
	return tx.AddPendingRevision(ctx, op.ID, d.ID, number, false, decky.Restamp(was.Services, d.Services, number))
}

func (m *Mutation) retireTopologyDecky(ctx context.Context, tx *db.Tx, op operation.Operation, id uuid.UUID) error {
	d, err := tx.LockDecky(ctx, id)
	if err != nil {
		return err
	}
	if err := m.setState(ctx, tx, d, decky.TearingDown, ""); err != nil {
		return err
	}
	number, err := tx.NextRevision(ctx, id)
	if err != nil {
		return err
	}
	return tx.AddPendingRevision(ctx, op.ID, id, number, true, nil)
}

// TopologyBody is what an operation on a whole topology is answered with.
type TopologyBody struct {
	ID      uuid.UUID       `json:"id"`
	Status  topology.Status `json:"status"`
	Version int64           `json:"version"`
}

// activateTopology makes the wish of an operation on a whole topology the present.
func (m *Mutation) activateTopology(ctx context.Context, tx *db.Tx, op operation.Operation) (any, error) {
	t, err := lockTopology(ctx, tx, op.Scope)
	if err != nil {
		return nil, err
	}
	switch op.Kind {
	case operation.Deploy:
		if err = m.setStates(ctx, tx, t.ID, decky.Running, ""); err == nil {
			err = m.setStatus(ctx, tx, &t, topology.Active, "")
		}
	case operation.Teardown:
		if err = m.setStates(ctx, tx, t.ID, decky.TornDown, ""); err == nil {
			err = m.setStatus(ctx, tx, &t, topology.TornDown, "")
		}
	default:
		if err = m.activateEdit(ctx, tx, op); err == nil {
			err = announceEdit(ctx, tx, t.ID, op, bus.MutationApplied, "")
		}
		if err == nil {
			err = m.refreshTopology(ctx, tx, op.Scope) // what an earlier undo left behind may be whole again
		}
	}
	return TopologyBody{ID: t.ID, Status: t.Status, Version: t.Version}, err
}

func (m *Mutation) activateEdit(ctx context.Context, tx *db.Tx, op operation.Operation) error {
	revisions, err := tx.RevisionsOf(ctx, op.ID)
	if err != nil {
		return err
	}
	for _, rev := range revisions {
		if rev.State != string(db.RevisionPending) {
			return fault.New(fault.OperationFailed, "interrupted", "the change was given up before it could become active")
		}
		d, err := tx.LockDecky(ctx, rev.DeckyID)
		if err != nil {
			return err
		}
		if err := tx.ActivateRevision(ctx, rev.DeckyID, rev.ID); err != nil {
			return err
		}
		state, transition := decky.Running, "state_changed"
		switch {
		case rev.Removed:
			state, transition = decky.TornDown, "deleted"
		case d.Revision == 0:
			transition = "inserted"
		}
		if err := m.transition(ctx, tx, d, state, "", transition, uuid.Nil); err != nil {
			return err
		}
	}
	return nil
}

// discardTopology turns the wish of an operation on a whole topology back, so that Converge aims at what was before.
func (m *Mutation) discardTopology(ctx context.Context, tx *db.Tx, op operation.Operation) error {
	t, err := lockTopology(ctx, tx, op.Scope)
	if err != nil {
		return err
	}
	switch op.Kind { //nolint:exhaustive // the others are edits
	case operation.Deploy:
		if t.Status != topology.Deploying {
			return nil
		}
		if err := tx.SetPlanned(ctx, t.ID, true); err != nil {
			return err
		}
		return m.setStatus(ctx, tx, &t, topology.Failed, "the deploy is being undone")
	case operation.Teardown:
		return m.discardTeardown(ctx, tx, t, op)
	}
	return m.discardEdit(ctx, tx, t, op)
}

// discardTeardown wants the deckies back, unless there were none: of a deploy that failed nothing ran.
func (m *Mutation) discardTeardown(ctx context.Context, tx *db.Tx, t topology.Topology, op operation.Operation) error {
	if t.Status != topology.TearingDown {
		return nil
	}
	undo, err := undoOf(op)
	if err != nil {
		return err
	}
	const reason = "the teardown is being undone"
	if undo.Was == topology.Failed || undo.Was == topology.Deploying {
		return m.setStatus(ctx, tx, &t, topology.Failed, reason)
	}
	if err := tx.SetPlanned(ctx, t.ID, false); err != nil {
		return err
	}
	return m.setStatus(ctx, tx, &t, topology.Degraded, reason)
}

func (m *Mutation) discardEdit(ctx context.Context, tx *db.Tx, t topology.Topology, op operation.Operation) error {
	undo, err := undoOf(op)
	if err != nil || undo.Graph == nil {
		return err
	}
	if err := tx.DiscardRevision(ctx, op.ID); err != nil {
		return err
	}
	failed, err := tx.Graph(ctx, t)
	if err != nil {
		return err
	}
	if err := tx.SaveGraph(ctx, t, *undo.Graph, *undo.Graph, Invent); err != nil {
		return err
	}
	if err := m.moveHomes(ctx, tx, failed, *undo.Graph); err != nil {
		return err
	}
	return tx.BumpTopology(ctx, &t)
}

// settleTopology says how an operation on a whole topology ended that did not succeed.
func (m *Mutation) settleTopology(ctx context.Context, tx *db.Tx, op operation.Operation, in SettleInput) error {
	t, err := lockTopology(ctx, tx, op.Scope)
	if fault.KindOf(err) == fault.NotFound {
		return nil
	}
	if err != nil {
		return err
	}
	switch op.Kind { //nolint:exhaustive // the others are edits
	case operation.Deploy:
		if err := m.setStates(ctx, tx, t.ID, decky.Failed, in.Fault.Message); err != nil {
			return err
		}
		return tx.SetTopologyReason(ctx, &t, in.Fault.Message)
	case operation.Teardown:
		return m.settleTeardown(ctx, tx, t, in)
	}
	if err := m.settleEdited(ctx, tx, op, in); err != nil {
		return err
	}
	if in.State == operation.Unconverged {
		if err := m.setStatus(ctx, tx, &t, topology.Degraded, in.Fault.Message); err != nil {
			return err
		}
	}
	return announceEdit(ctx, tx, t.ID, op, bus.MutationFailed, reasonOf(in.Fault))
}

// settleTeardown leaves a topology as it was before a teardown, or degraded when its deckies are not all back.
func (m *Mutation) settleTeardown(ctx context.Context, tx *db.Tx, t topology.Topology, in SettleInput) error {
	state, reason := decky.Running, ""
	switch {
	case t.Status == topology.Failed:
		state, reason = decky.Failed, in.Fault.Message
	case in.State == operation.Unconverged:
		state, reason = decky.Degraded, in.Fault.Message
	}
	if err := m.setStates(ctx, tx, t.ID, state, reason); err != nil {
		return err
	}
	if err := tx.SetTopologyReason(ctx, &t, in.Fault.Message); err != nil {
		return err
	}
	return m.refreshTopology(ctx, tx, topology.ScopeName(t.ID))
}

// settleEdited gives the deckies an edit touched the state they are in after it was undone.
func (m *Mutation) settleEdited(ctx context.Context, tx *db.Tx, op operation.Operation, in SettleInput) error {
	undo, err := undoOf(op)
	if err != nil {
		return err
	}
	for _, id := range undo.Deckies {
		d, err := tx.LockDecky(ctx, id)
		switch {
		case fault.KindOf(err) == fault.NotFound:
			continue
		case err != nil:
			return err
		case d.Removed: // the edit would have made it
			err = m.transition(ctx, tx, d, decky.TornDown, "", "deleted", uuid.Nil)
		case in.State == operation.Unconverged:
			err = m.setState(ctx, tx, d, decky.Degraded, in.Fault.Message)
		default:
			err = m.setState(ctx, tx, d, decky.Running, "")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// setStates puts all deckies of a topology into one state and announces those that were in another.
func (m *Mutation) setStates(ctx context.Context, tx *db.Tx, id uuid.UUID, state decky.State, reason string) error {
	changed, err := tx.SetDeckyStates(ctx, id, state, reason)
	if err != nil {
		return err
	}
	for _, d := range changed {
		transition := "state_changed"
		switch {
		case state == decky.TornDown:
			transition = "deleted"
		case d.State == decky.Pending && state == decky.Running:
			transition = "inserted"
		}
		if err := m.announceState(ctx, tx, d, state, transition, uuid.Nil); err != nil {
			return err
		}
	}
	return nil
}

type statusPayload struct {
	State         topology.Status `json:"state"`
	PreviousState topology.Status `json:"previous_state"`
	Reason        string          `json:"reason"`
}

// setStatus changes a topology's status and says so; staying says nothing.
func (m *Mutation) setStatus(ctx context.Context, tx *db.Tx, t *topology.Topology, to topology.Status, reason string) error {
	from := t.Status
	if err := tx.SetTopologyStatus(ctx, t, to, reason); err != nil || from == to {
		return err
	}
	subject, err := bus.TopologyStatus(t.ID.String())
	if err != nil {
		return err
	}
	return publish(ctx, tx, t.ID, subject, "status", statusPayload{State: to, PreviousState: from, Reason: reason}, uuid.Nil)
}

// refreshTopology makes a running topology degraded while one of its deckies is, and active again.
func (m *Mutation) refreshTopology(ctx context.Context, tx *db.Tx, scope string) error {
	id, ok := topology.IDFromScope(scope)
	if !ok {
		return nil
	}
	t, err := tx.LockTopology(ctx, id)
	if err != nil || !t.Status.Live() {
		return err
	}
	troubled, err := tx.TroubledDeckies(ctx, id)
	if err != nil {
		return err
	}
	if troubled > 0 {
		return m.setStatus(ctx, tx, &t, topology.Degraded, fmt.Sprintf("%d of its deckies are not as they should be", troubled))
	}
	return m.setStatus(ctx, tx, &t, topology.Active, "")
}

type editPayload struct {
	MutationID uuid.UUID       `json:"mutation_id"`
	Op         operation.Kind  `json:"op"`
	Payload    json.RawMessage `json:"payload,omitempty"`
	Reason     string          `json:"reason,omitempty"`
}

// announceEdit tells how far an edit of a topology got. Only what has not happened yet says what it is.
func announceEdit(ctx context.Context, tx *db.Tx, id uuid.UUID, op operation.Operation, state, reason string) error {
	subject, err := bus.TopologyMutation(id.String(), state)
	if err != nil {
		return err
	}
	payload := editPayload{MutationID: op.ID, Op: op.Kind, Reason: reason}
	if state == bus.MutationApplying {
		payload.Payload = op.Payload
	}
	return publish(ctx, tx, id, subject, state, payload, op.ID)
}

// announceRefusal tells that an edit of a topology will not happen.
func announceRefusal(ctx context.Context, tx *db.Tx, op operation.Operation, f *fault.Error) error {
	id, ok := topology.IDFromScope(op.Scope)
	if !ok || len(op.Payload) == 0 {
		return nil
	}
	return announceEdit(ctx, tx, id, op, bus.MutationFailed, reasonOf(*f))
}

// cancelled ends an operation that was cancelled before it began.
func cancelled(ctx context.Context, tx *db.Tx, op operation.Operation) error {
	f := operation.CancelledFault()
	if err := announceRefusal(ctx, tx, op, f); err != nil {
		return err
	}
	return tx.EndOperation(ctx, op.ID, operation.Cancelled, f, nil)
}

func reasonOf(f fault.Error) string { return f.Code + ": " + f.Message }

func ptr[T any](v T) *T { return &v }
