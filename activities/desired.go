package activities

import (
	"context"

	"github.com/google/uuid"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/runtime"
	"github.com/decnet/decnet/internal/service"
	"github.com/decnet/decnet/internal/topology"
)

// Desired returns a decky in the form a runtime takes, the defaults of its services filled in. A service that is not in
// the registry any more is left out.
func Desired(d decky.Decky) runtime.Decky {
	want := runtime.Decky{
		ID: d.ID, Scope: d.Scope, Key: d.Key, Name: d.Name, Hostname: d.Hostname, Distro: d.Distro, NmapOS: d.NmapOS, IP: d.IP, Removed: d.Removed,
	}
	for _, s := range d.Services {
		def, ok := service.Lookup(s.Name)
		if !ok {
			continue
		}
		rs := runtime.Service{Name: s.Name, Revision: int64(s.Revision), Config: def.Complete(s.Config)}
		for _, p := range def.ServedPorts(s.Config) {
			rs.Ports = append(rs.Ports, runtime.Port(p))
		}
		want.Services = append(want.Services, rs)
	}
	return want
}

// desired returns what should run of a decky now, with the networks it is on.
func (r *Runtime) desired(ctx context.Context, id uuid.UUID) (runtime.Decky, error) {
	d, err := r.Store.Desired(ctx, id)
	if err != nil {
		return runtime.Decky{}, err
	}
	topologyID, ok := topology.IDFromScope(d.Scope)
	if !ok || d.Removed {
		return Desired(d), nil
	}
	t, err := r.Store.Topology(ctx, topologyID)
	if err != nil {
		return runtime.Decky{}, err
	}
	g, err := r.Store.Graph(ctx, t)
	if err != nil {
		return runtime.Decky{}, err
	}
	return InTopology(d, t.ID, g)
}

// InTopology returns a decky of a topology in the form a runtime takes.
func InTopology(d decky.Decky, id uuid.UUID, g topology.Graph) (runtime.Decky, error) {
	want := Desired(d)
	if d.Removed {
		return want, nil
	}
	node, ok := g.Decky(d.ID)
	if !ok {
		want.Services, want.Removed = nil, true
		return want, nil
	}
	var err error
	if want.Networks, err = topology.Attachments(id, g, node); err != nil {
		return runtime.Decky{}, err
	}
	want.ForwardsL3 = node.ForwardsL3
	for _, p := range topology.Published(g, node) {
		want.Publish = append(want.Publish, runtime.Port(p))
	}
	return want, nil
}

// DesiredScope lists what should run of a scope by its active revisions, in the form a runtime takes.
func DesiredScope(ctx context.Context, store *db.Store, scope string) ([]runtime.Decky, error) {
	all, err := store.AllDeckies(ctx)
	if err != nil {
		return nil, err
	}
	id, inTopology := topology.IDFromScope(scope)
	var g topology.Graph
	if inTopology {
		t, err := store.Topology(ctx, id)
		if err == nil {
			g, err = store.Graph(ctx, t)
		}
		if err != nil && fault.KindOf(err) != fault.NotFound {
			return nil, err
		}
	}
	var list []runtime.Decky
	for _, d := range all {
		if d.Scope != scope || d.Removed || d.State == decky.TornDown {
			continue
		}
		want := Desired(d)
		if inTopology {
			if want, err = InTopology(d, id, g); err != nil {
				return nil, err
			}
		}
		list = append(list, want)
	}
	return list, nil
}

// networks makes the networks exist that a decky of a topology is on.
func (r *Runtime) networks(ctx context.Context, d runtime.Decky) error {
	id, ok := topology.IDFromScope(d.Scope)
	if !ok || d.Removed {
		return nil
	}
	return r.scopeNetworks(ctx, id)
}

// scopeNetworks makes the networks of a topology those its status asks for.
func (r *Runtime) scopeNetworks(ctx context.Context, id uuid.UUID) error {
	t, err := r.Store.Topology(ctx, id)
	if fault.KindOf(err) == fault.NotFound {
		return r.Runtime.Networks(ctx, topology.ScopeName(id), nil)
	}
	if err != nil {
		return err
	}
	var want []runtime.Network
	if t.Status.Live() || t.Status == topology.Deploying {
		g, err := r.Store.Graph(ctx, t)
		if err != nil {
			return err
		}
		networks, err := topology.Networks(t.ID, g)
		if err != nil {
			return err
		}
		for _, n := range networks {
			want = append(want, runtime.Network{Name: n.Name, Bridge: n.Bridge, Subnet: n.Subnet, Gateway: n.Gateway, Internal: n.Internal})
		}
	}
	return r.Runtime.Networks(ctx, topology.ScopeName(id), want)
}
