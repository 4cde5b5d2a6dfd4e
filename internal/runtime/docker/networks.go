package docker

import (
	"context"
	"net"
	"net/netip"
	"regexp"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/google/uuid"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/decnet/decnet/internal/compose"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/runtime"
	"github.com/decnet/decnet/internal/topology"
)

// Keys of locks that belong to no decky.
var (
	networksLock = uuid.Nil // held while networks of this installation come and go
	portsLock    = uuid.Max // held from the choice of the host's ports until they are taken
)

// Options of the engine's bridge driver.
const (
	optionBridge     = "com.docker.network.bridge.name"
	optionICC        = "com.docker.network.bridge.enable_icc"
	optionMasquerade = "com.docker.network.bridge.enable_ip_masquerade"
)

var (
	networkPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$`)
	bridgePattern  = regexp.MustCompile(`^` + compose.BridgePrefix + `[a-z0-9]{1,8}$`)
)

// Networks implements runtime.Runtime. A network is recognised by the scope in its labels and the name of its bridge. One
// that is not as wanted is made anew: what was on it is taken off and joins when it converges. A leftover of another topology
// makes room. A subnet that anybody else uses is an OperationFailed fault (network_conflict) that names the user. Routes
// over forwarding deckies are brought up to date each time. Safe beside Converge of the scope's deckies.
func (r *Runtime) Networks(ctx context.Context, scope string, want []runtime.Network) error {
	if _, ok := topology.IDFromScope(scope); !ok {
		return fault.New(fault.Invalid, "scope_invalid", "only a topology has networks of its own")
	}
	for _, n := range want {
		if err := checkNetwork(n); err != nil {
			return err
		}
	}
	if err := r.changeNetworks(ctx, scope, want); err != nil {
		return err
	}
	return r.routeScope(ctx, scope)
}

func (r *Runtime) changeNetworks(ctx context.Context, scope string, want []runtime.Network) error {
	unlock, err := r.locks.Lock(ctx, networksLock)
	if err != nil {
		return err
	}
	defer unlock()
	list, err := r.networks(ctx)
	if err != nil {
		return err
	}
	for _, n := range list {
		if r.owns(n, scope) && !wanted(n, want) {
			if _, err := r.removeUnused(ctx, n); err != nil {
				return err
			}
		}
	}
	for _, n := range want {
		if err := r.ensureLAN(ctx, scope, n, want); err != nil {
			return err
		}
	}
	return nil
}

// checkNetwork refuses what the engine or the containment could misunderstand.
func checkNetwork(n runtime.Network) error {
	if !networkPattern.MatchString(n.Name) || !bridgePattern.MatchString(n.Bridge) || !n.Subnet.IsValid() || !n.Subnet.Addr().Is4() ||
		n.Subnet != n.Subnet.Masked() || !n.Subnet.Contains(n.Gateway) {
		return fault.New(fault.Invalid, "network_invalid", "a network of the topology is not valid")
	}
	return nil
}

func networkOf(a runtime.Attachment) runtime.Network {
	return runtime.Network{Name: a.Name, Bridge: a.Bridge, Subnet: a.Subnet, Gateway: a.Gateway, Internal: a.Internal}
}

// networks lists every network of the engine, whoever made it.
func (r *Runtime) networks(ctx context.Context) ([]network.Network, error) {
	found, err := r.engine.NetworkList(ctx, client.NetworkListOptions{})
	if err != nil {
		return nil, engineError(ctx, "list networks", err)
	}
	list := make([]network.Network, len(found.Items))
	for i, n := range found.Items {
		list[i] = n.Network
	}
	return list, nil
}

func (r *Runtime) ours(n network.Network) bool {
	return n.Labels[compose.LabelInstallation] == r.opts.Installation.String()
}

// owns reports whether a network was made for a scope of this installation.
func (r *Runtime) owns(n network.Network, scope string) bool {
	return r.ours(n) && n.Labels[compose.LabelScope] == scope
}

func wanted(n network.Network, want []runtime.Network) bool {
	return slices.ContainsFunc(want, func(w runtime.Network) bool { return w.Bridge == n.Options[optionBridge] })
}

// lanOf returns the network of a scope behind a bridge.
func (r *Runtime) lanOf(list []network.Network, scope, bridge string) (network.Network, bool) {
	i := slices.IndexFunc(list, func(n network.Network) bool { return r.owns(n, scope) && n.Options[optionBridge] == bridge })
	if i < 0 {
		return network.Network{}, false
	}
	return list[i], true
}

func fitsLAN(n network.Network, want runtime.Network) bool {
	return n.Driver == compose.Bridge && n.Internal == want.Internal && len(n.IPAM.Config) == 1 &&
		n.IPAM.Config[0].Subnet == want.Subnet && n.IPAM.Config[0].Gateway == want.Gateway
}

// ensureLAN makes one network of a scope; all are the scope's wanted ones. The caller holds networksLock.
func (r *Runtime) ensureLAN(ctx context.Context, scope string, n runtime.Network, all []runtime.Network) error {
	list, err := r.networks(ctx)
	if err != nil {
		return err
	}
	if found, ok := r.lanOf(list, scope, n.Bridge); ok {
		if fitsLAN(found, n) {
			return nil
		}
		if err := r.dismantle(ctx, found); err != nil {
			return err
		}
		list = slices.DeleteFunc(list, func(o network.Network) bool { return o.ID == found.ID })
	}
	for _, other := range list {
		if !overlaps(other, n.Subnet) {
			continue
		}
		if err := r.makeRoom(ctx, scope, n, other, all); err != nil {
			return err
		}
	}
	if err := clearOfHost(n); err != nil {
		return err
	}
	if slices.ContainsFunc(list, func(o network.Network) bool { return o.Name == n.Name }) {
		n.Name += n.Bridge[len(compose.BridgePrefix)-1:] // a renamed LAN may have kept the name
	}
	return r.createLAN(ctx, scope, n)
}

func overlaps(n network.Network, subnet netip.Prefix) bool {
	return slices.ContainsFunc(n.IPAM.Config, func(c network.IPAMConfig) bool { return c.Subnet.IsValid() && c.Subnet.Overlaps(subnet) })
}

// makeRoom removes a network in the way of a wanted one when it is a leftover of ours: unused, or of the same topology
// which does not want it any more.
func (r *Runtime) makeRoom(ctx context.Context, scope string, n runtime.Network, other network.Network, all []runtime.Network) error {
	_, inTopology := topology.IDFromScope(other.Labels[compose.LabelScope])
	switch {
	case r.owns(other, scope) && !wanted(other, all):
		return r.dismantle(ctx, other)
	case r.ours(other) && inTopology:
		if gone, err := r.removeUnused(ctx, other); gone || err != nil {
			return err
		}
	}
	return conflict(n, "the network "+other.Name+" of the Docker engine")
}

func conflict(n runtime.Network, user string) *fault.Error {
	return fault.New(fault.OperationFailed, "network_conflict", "the subnet %s is already used by %s: choose another one", n.Subnet, user)
}

// clearOfHost refuses a subnet that would take the host's own network away from it.
func clearOfHost(n runtime.Network) error {
	interfaces, err := net.Interfaces()
	if err != nil {
		return fault.New(fault.Unavailable, "network_unavailable", "the networks of this host cannot be read").Wrap(err)
	}
	for _, i := range interfaces {
		addrs, err := i.Addrs()
		if err != nil || i.Name == n.Bridge {
			continue // it went away meanwhile, or is what a removed network leaves for a moment
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Masked().Overlaps(n.Subnet) {
				return conflict(n, "the host's interface "+i.Name)
			}
		}
	}
	return nil
}

func (r *Runtime) createLAN(ctx context.Context, scope string, n runtime.Network) error {
	no := false
	_, err := r.engine.NetworkCreate(ctx, n.Name, client.NetworkCreateOptions{
		Driver: compose.Bridge, Internal: n.Internal, EnableIPv6: &no,
		IPAM:    &network.IPAM{Driver: "default", Config: []network.IPAMConfig{{Subnet: n.Subnet, Gateway: n.Gateway}}},
		Options: map[string]string{optionBridge: n.Bridge, optionICC: "false", optionMasquerade: "false"},
		Labels:  map[string]string{compose.LabelInstallation: r.opts.Installation.String(), compose.LabelScope: scope},
	})
	if err == nil {
		r.log.InfoContext(ctx, "network made", "network", n.Name, "scope", scope, "subnet", n.Subnet.String())
		return nil
	}
	if reached := engineError(ctx, "make network", err); fault.KindOf(reached) == fault.Unavailable || ctx.Err() != nil {
		return reached
	}
	return fault.New(fault.OperationFailed, "network_unavailable",
		"the Docker engine cannot make the network %s on %s", n.Name, n.Subnet).Wrap(err)
}

// removeUnused removes a network unless something is attached to it.
func (r *Runtime) removeUnused(ctx context.Context, n network.Network) (gone bool, err error) {
	found, err := r.engine.NetworkInspect(ctx, n.ID, client.NetworkInspectOptions{})
	switch {
	case errdefs.IsNotFound(err):
		return true, nil
	case err != nil:
		return false, engineError(ctx, "look at network", err)
	case len(found.Network.Containers) > 0:
		return false, nil
	}
	_, err = r.engine.NetworkRemove(ctx, n.ID, client.NetworkRemoveOptions{})
	switch {
	case err == nil:
		r.log.InfoContext(ctx, "network removed", "network", n.Name)
		return true, nil
	case errdefs.IsNotFound(err):
		return true, nil
	case errdefs.IsPermissionDenied(err), errdefs.IsConflict(err): // joined meanwhile
		return false, nil
	}
	return false, engineError(ctx, "remove network", err)
}

// dismantle takes everything off a network and removes it.
func (r *Runtime) dismantle(ctx context.Context, n network.Network) error {
	found, err := r.engine.NetworkInspect(ctx, n.ID, client.NetworkInspectOptions{})
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return engineError(ctx, "look at network", err)
	}
	for id := range found.Network.Containers {
		if err := r.leave(ctx, n.ID, id); err != nil {
			return err
		}
	}
	gone, err := r.removeUnused(ctx, n)
	if err == nil && !gone {
		return fault.New(fault.OperationFailed, "network_in_use", "the network %s is not as wanted and cannot be replaced", n.Name)
	}
	return err
}
