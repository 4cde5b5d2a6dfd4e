package docker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"

	"github.com/google/uuid"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/decnet/decnet/internal/compose"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/runtime/docker/containment"
)

// routeProtocol marks the routes made here; rtnetlink leaves the numbers above 4 to whoever wants one.
const routeProtocol = netlink.RouteProtocol(98)

var everywhere = netip.MustParsePrefix("0.0.0.0/0")

// place is where a running base is on the networks of its scope.
type place struct {
	decky    uuid.UUID
	base     string
	forwards bool
	at       map[string]netip.Addr // by network id
}

// lan is a network of a scope as routing sees it.
type lan struct {
	subnet   netip.Prefix
	internal bool
}

// routesFrom returns the next hops from a decky to the networks it is not on, over the shortest way through forwarding
// deckies. A decky on internal networks only, which the engine gives no way out, gets one towards the nearest network
// that has it: answers to clients outside go back through the gateway they came by.
func routesFrom(from place, all []place, lans map[string]lan) map[netip.Prefix]netip.Addr {
	routes := map[netip.Prefix]netip.Addr{}
	first := map[string]netip.Addr{} // next hop towards a network; invalid for one that from is on
	out := false
	queue := slices.Sorted(maps.Keys(from.at))
	for _, id := range queue {
		first[id] = netip.Addr{}
		out = out || !lans[id].internal
	}
	for len(queue) > 0 {
		here := queue[0]
		queue = queue[1:]
		for _, p := range all {
			if !p.forwards || p.decky == from.decky || !p.at[here].IsValid() {
				continue
			}
			hop := first[here]
			if !hop.IsValid() {
				hop = p.at[here]
			}
			for _, next := range slices.Sorted(maps.Keys(p.at)) {
				if _, seen := first[next]; seen {
					continue
				}
				first[next] = hop
				queue = append(queue, next)
				routes[lans[next].subnet] = hop
				if !out && !lans[next].internal {
					routes[everywhere], out = hop, true
				}
			}
		}
	}
	return routes
}

// routeScope brings the routes of every running decky of a scope up to date.
func (r *Runtime) routeScope(ctx context.Context, scope string) error {
	return r.route(ctx, scope, uuid.Nil)
}

// route brings the routes of one decky of a scope up to date, or of all for uuid.Nil.
func (r *Runtime) route(ctx context.Context, scope string, only uuid.UUID) error {
	places, lans, err := r.places(ctx, scope)
	if err != nil {
		return err
	}
	for _, p := range places {
		if only != uuid.Nil && p.decky != only {
			continue
		}
		if err := r.setRoutes(ctx, p, routesFrom(p, places, lans)); err != nil {
			return err
		}
	}
	return nil
}

// places returns where the running bases of a scope are, sorted by decky, and the scope's networks by id.
func (r *Runtime) places(ctx context.Context, scope string) ([]place, map[string]lan, error) {
	found, err := r.networks(ctx)
	if err != nil {
		return nil, nil, err
	}
	lans := map[string]lan{}
	for _, n := range found {
		if r.owns(n, scope) && len(n.IPAM.Config) == 1 {
			lans[n.ID] = lan{n.IPAM.Config[0].Subnet, n.Internal}
		}
	}
	list, err := r.containers(ctx, uuid.Nil)
	if err != nil {
		return nil, nil, err
	}
	var places []place
	for _, s := range list {
		if s.Labels[compose.LabelRole] == compose.RoleBase && s.Labels[compose.LabelScope] == scope && s.State == container.StateRunning {
			places = append(places, placeOf(s, lans))
		}
	}
	slices.SortFunc(places, func(a, b place) int { return slices.Compare(a.decky[:], b.decky[:]) })
	return places, lans, nil
}

func placeOf(s container.Summary, lans map[string]lan) place {
	p := place{
		decky: refOf(s).Decky, base: s.ID, at: map[string]netip.Addr{},
		forwards: s.Labels[compose.LabelTopologyForwards] == "true",
	}
	for _, e := range attachedTo(s) {
		if _, ok := lans[e.NetworkID]; ok && e.IPAddress.IsValid() {
			p.at[e.NetworkID] = e.IPAddress
		}
	}
	return p
}

func attachedTo(s container.Summary) map[string]*network.EndpointSettings {
	if s.NetworkSettings == nil {
		return nil
	}
	return s.NetworkSettings.Networks
}

// setRoutes makes the routes of ours in a base's namespace these. One that ended meanwhile has none.
func (r *Runtime) setRoutes(ctx context.Context, p place, want map[netip.Prefix]netip.Addr) error {
	path, err := r.namespace(ctx, p.base)
	if err != nil {
		if fault.KindOf(err) == fault.Unavailable || ctx.Err() != nil {
			return err
		}
		return nil
	}
	if nsErr := containment.InNamespace(path, func() { err = replaceRoutes(want) }); nsErr != nil {
		err = nsErr
	}
	if err == nil || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) {
		return nil
	}
	return fault.New(fault.Unavailable, "routes_unavailable", "the routes of a decky cannot be set: decnet must run as root for that").Wrap(err)
}

// replaceRoutes works on the network namespace of the calling thread.
func replaceRoutes(want map[netip.Prefix]netip.Addr) error {
	have, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Protocol: routeProtocol}, netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	for _, route := range have {
		if hop, ok := netip.AddrFromSlice(route.Gw); ok && want[prefixOf(route.Dst)] == hop.Unmap() {
			continue
		}
		if err := netlink.RouteDel(&route); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("remove route: %w", err)
		}
	}
	for to, hop := range want {
		err := netlink.RouteReplace(&netlink.Route{
			Dst: &net.IPNet{IP: to.Addr().AsSlice(), Mask: net.CIDRMask(to.Bits(), 32)}, Gw: hop.AsSlice(), Protocol: routeProtocol,
		})
		if err != nil && !errors.Is(err, unix.ENETUNREACH) { // the decky is about to leave the network of its next hop
			return fmt.Errorf("set route to %s: %w", to, err)
		}
	}
	return nil
}

func prefixOf(n *net.IPNet) netip.Prefix {
	if n == nil {
		return everywhere
	}
	addr, _ := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), ones)
}
