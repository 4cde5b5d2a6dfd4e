package docker

import (
	"context"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/decnet/decnet/internal/compose"
	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/fault"
)

// ensureNetwork makes the fleet's network, with a bridge of a fixed name. One that differs is replaced when nothing is on
// it, and a Conflict otherwise.
func (r *Runtime) ensureNetwork(ctx context.Context) error {
	name := compose.ProjectName(r.opts.Installation, decky.FleetScope)
	for range 2 {
		found, err := r.engine.NetworkInspect(ctx, name, client.NetworkInspectOptions{})
		switch {
		case errdefs.IsNotFound(err):
			return r.createNetwork(ctx, name)
		case err != nil:
			return engineError(ctx, "look for network", err)
		case r.fits(found.Network.Network):
			return nil
		case len(found.Network.Containers) > 0:
			return fault.New(fault.Conflict, "network_differs",
				"the network %s is not as configured and in use: delete the deckies first or configure it as it was", name)
		}
		if _, err := r.engine.NetworkRemove(ctx, name, client.NetworkRemoveOptions{}); err != nil && !errdefs.IsNotFound(err) {
			return engineError(ctx, "replace network", err)
		}
	}
	return fault.New(fault.Conflict, "network_differs", "the network %s cannot be replaced", name)
}

func (r *Runtime) fits(n network.Network) bool {
	want := r.opts.Network
	return n.Driver == want.Driver && len(n.IPAM.Config) == 1 && n.IPAM.Config[0].Subnet == want.Subnet &&
		n.Options["parent"] == want.Parent
}

func (r *Runtime) createNetwork(ctx context.Context, name string) error {
	want := r.opts.Network
	no := false
	o := client.NetworkCreateOptions{
		Driver: want.Driver, EnableIPv6: &no,
		IPAM: &network.IPAM{Driver: "default", Config: []network.IPAMConfig{{Subnet: want.Subnet, Gateway: want.Gateway}}},
		Labels: map[string]string{
			compose.LabelInstallation: r.opts.Installation.String(), compose.LabelScope: decky.FleetScope,
		},
	}
	switch want.Driver {
	case compose.Macvlan:
		o.Options = map[string]string{"parent": want.Parent}
	default:
		o.Options = map[string]string{
			"com.docker.network.bridge.name":                 compose.BridgeName(r.opts.Installation, decky.FleetScope),
			"com.docker.network.bridge.enable_icc":           "false",
			"com.docker.network.bridge.enable_ip_masquerade": "false",
		}
	}
	_, err := r.engine.NetworkCreate(ctx, name, o)
	switch {
	case errdefs.IsConflict(err): // made by somebody else meanwhile
		return nil
	case err == nil:
		r.log.InfoContext(ctx, "network made", "network", name, "driver", want.Driver, "subnet", want.Subnet.String())
		return nil
	}
	if reached := engineError(ctx, "make network", err); fault.KindOf(reached) == fault.Unavailable || ctx.Err() != nil {
		return reached
	}
	return fault.New(fault.Unavailable, "network_unavailable",
		"the Docker engine cannot make a %s network on %s: choose another subnet", want.Driver, want.Subnet).Wrap(err)
}
