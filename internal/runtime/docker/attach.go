package docker

import (
	"context"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/google/uuid"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/decnet/decnet/internal/compose"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/runtime"
	"github.com/decnet/decnet/internal/topology"
)

// inTopology reports whether a decky has networks of a topology rather than the fleet's one.
func inTopology(d runtime.Decky) bool { return len(d.Networks) > 0 }

// checkAttachments refuses a decky of a topology that could not be on its networks.
func checkAttachments(d runtime.Decky) error {
	bridges := map[string]bool{}
	for _, a := range d.Networks {
		if err := checkNetwork(networkOf(a)); err != nil {
			return err
		}
		if bridges[a.Bridge] || !a.Subnet.Contains(a.IP) || a.IP == a.Gateway {
			return fault.New(fault.Invalid, "network_invalid", "an address of %s is not valid", d.Key)
		}
		bridges[a.Bridge] = true
	}
	if d.IP != d.Networks[0].IP {
		return fault.New(fault.Invalid, "network_invalid", "the address of %s is not that in its home network", d.Key)
	}
	return nil
}

// settle returns d with the names that the engine has its networks under, and makes those that are missing: somebody may
// have removed one since the last call of Networks.
func (r *Runtime) settle(ctx context.Context, d runtime.Decky) (runtime.Decky, error) {
	if d.Removed || !inTopology(d) {
		return d, nil
	}
	unlock, err := r.locks.Lock(ctx, networksLock)
	if err != nil {
		return d, err
	}
	defer unlock()
	if err := r.notePorts(ctx); err != nil {
		return d, err
	}
	d.Networks = slices.Clone(d.Networks)
	want := make([]runtime.Network, len(d.Networks))
	for i, a := range d.Networks {
		want[i] = networkOf(a)
	}
	list, err := r.networks(ctx)
	if err != nil {
		return d, err
	}
	for i, a := range d.Networks {
		found, ok := r.lanOf(list, d.Scope, a.Bridge)
		if !ok {
			if err := r.ensureLAN(ctx, d.Scope, want[i], want); err != nil {
				return d, err
			}
			if list, err = r.networks(ctx); err != nil {
				return d, err
			}
			found, ok = r.lanOf(list, d.Scope, a.Bridge)
		}
		if !ok || !fitsLAN(found, want[i]) {
			return d, fault.New(fault.OperationFailed, "network_differs", "the network %s is not as %s needs it", a.Name, d.Key)
		}
		d.Networks[i].Name = found.Name
	}
	r.scopes.noteNetworks(d.Networks)
	return d, nil
}

// connectBase puts the running base on its networks and sets its routes between them.
func (c *convergence) connectBase(ctx context.Context) error {
	if err := c.joinNetworks(ctx); err != nil {
		return err
	}
	return c.r.route(ctx, c.d.Scope, c.d.ID)
}

// joinNetworks takes the running base off the networks that are not wanted any more and puts it on those it is missing.
func (c *convergence) joinNetworks(ctx context.Context) error {
	if !inTopology(c.d) {
		return nil
	}
	base, err := c.r.engine.ContainerInspect(ctx, c.baseID, client.ContainerInspectOptions{})
	if err != nil {
		return engineError(ctx, "look at base container", err)
	}
	on := base.Container.NetworkSettings.Networks
	for name, e := range on {
		if !slices.ContainsFunc(c.d.Networks, func(a runtime.Attachment) bool { return a.Name == name && a.IP == e.IPAddress }) {
			if err := c.r.leave(ctx, e.NetworkID, c.baseID); err != nil {
				return err
			}
			delete(on, name)
		}
	}
	for _, a := range c.d.Networks {
		if on[a.Name] != nil {
			continue
		}
		if err := c.r.join(ctx, a, c.baseID); err != nil {
			return err
		}
		c.r.log.InfoContext(ctx, "decky joined a network", "decky_id", c.d.ID, "network", a.Name, "address", a.IP.String())
	}
	return nil
}

func (r *Runtime) join(ctx context.Context, a runtime.Attachment, container string) error {
	_, err := r.engine.NetworkConnect(ctx, a.Name, client.NetworkConnectOptions{
		Container:      container,
		EndpointConfig: &network.EndpointSettings{IPAMConfig: &network.EndpointIPAMConfig{IPv4Address: a.IP}},
	})
	if err = engineError(ctx, "join network", err); err == nil || ctx.Err() != nil || fault.KindOf(err) == fault.Unavailable {
		return err
	}
	return fault.New(fault.OperationFailed, "network_join_failed", "the address %s cannot be had on the network %s", a.IP, a.Name).Wrap(err)
}

// leave takes a container off a network; one that is not on it, or gone, is fine.
func (r *Runtime) leave(ctx context.Context, networkID, container string) error {
	_, err := r.engine.NetworkDisconnect(ctx, networkID, client.NetworkDisconnectOptions{Container: container, Force: true})
	if errdefs.IsNotFound(err) {
		return nil
	}
	return engineError(ctx, "leave network", err)
}

// amend adds to the status of a topology's decoy what its base tells: the host's ports, and whether somebody took the base
// off a network. It can tell the latter only of deckies that this process has converged.
func (r *Runtime) amend(st *runtime.Status, base container.Summary) {
	if _, ok := topology.IDFromScope(base.Labels[compose.LabelScope]); !ok || !st.Ready {
		return
	}
	if missing := r.scopes.missing(st.DeckyID, base); missing != "" {
		st.Ready, st.Endpoints, st.Detail = false, nil, "its decky is not on the network "+missing
		return
	}
	st.Endpoints = portsOf(base).locate(st.Endpoints)
}

// missing returns the name of a network that a decky should be on with its address and is not, or "".
func (s *scopes) missing(id uuid.UUID, base container.Summary) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	on := attachedTo(base)
	for _, a := range s.known[id].Networks {
		name := a.Name
		if kept, ok := s.names[a.Bridge]; ok {
			name = kept
		}
		if on[name] == nil || on[name].IPAddress != a.IP {
			return name
		}
	}
	return ""
}
