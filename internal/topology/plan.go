package topology

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/google/uuid"

	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/runtime"
	"github.com/decnet/decnet/internal/service"
)

// Network is what the engine is asked for on behalf of a LAN.
type Network struct {
	LANID    uuid.UUID
	Name     string
	Bridge   string
	Subnet   netip.Prefix
	Gateway  netip.Addr
	Internal bool // every LAN but the DMZ
}

// Networks returns the networks of a topology in the order in which they are made: the DMZ first, the others by name.
// They are removed in the reverse order. A malformed subnet is an Unprocessable fault.
func Networks(id uuid.UUID, g Graph) ([]Network, error) {
	networks := make([]Network, 0, len(g.LANs))
	for _, l := range g.LANs {
		n, err := network(id, l)
		if err != nil {
			return nil, err
		}
		networks = append(networks, n)
	}
	slices.SortFunc(networks, func(a, b Network) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Name, b.Name))
	})
	return networks, nil
}

func rank(n Network) int {
	if n.Internal {
		return 1
	}
	return 0
}

func network(id uuid.UUID, l LAN) (Network, error) {
	p, err := l.Prefix()
	if err != nil {
		return Network{}, err
	}
	return Network{
		LANID: l.ID, Name: NetworkName(id, l.Name), Bridge: BridgeName(id, l.ID),
		Subnet: p, Gateway: p.Addr().Next(), Internal: !l.DMZ,
	}, nil
}

// Attachments returns the networks a decky of a hydrated graph is on, its home first, the others in the order of its
// edges. An edge without a usable address is a Conflict (address_missing).
func Attachments(id uuid.UUID, g Graph, d Decky) ([]runtime.Attachment, error) {
	home, _ := g.Home(d.ID)
	var list []runtime.Attachment
	for _, e := range g.EdgesOf(d.ID) {
		l, ok := g.LAN(e.LANID)
		if !ok || slices.ContainsFunc(list, func(a runtime.Attachment) bool { return a.Bridge == BridgeName(id, l.ID) }) {
			continue
		}
		n, err := network(id, l)
		if err != nil {
			return nil, err
		}
		declared, _ := d.Address(l.Name)
		ip, err := netip.ParseAddr(declared)
		if err != nil || !isHost(n.Subnet, ip) {
			return nil, AddressMissing(d.Name, l.Name)
		}
		a := runtime.Attachment{Name: n.Name, Bridge: n.Bridge, Subnet: n.Subnet, Gateway: n.Gateway, Internal: n.Internal, IP: ip}
		if l.ID == home.ID {
			list = slices.Insert(list, 0, a)
		} else {
			list = append(list, a)
		}
	}
	return list, nil
}

// IsGateway reports whether a decky is a gateway of the topology: it forwards and its home is the DMZ.
func (g Graph) IsGateway(d Decky) bool {
	home, ok := g.Home(d.ID)
	return d.ForwardsL3 && ok && home.DMZ
}

// Published returns the ports that the host offers for a decky: those of a gateway's services in their order, none for
// any other decky.
func Published(g Graph, d Decky) []service.Port {
	if !g.IsGateway(d) {
		return nil
	}
	return servedPorts(d)
}

func servedPorts(d Decky) []service.Port {
	var ports []service.Port
	for _, s := range d.Services {
		def, _ := service.Lookup(s.Name)
		ports = append(ports, def.ServedPorts(s.Config)...)
	}
	return ports
}

// AddressMissing is the Conflict (address_missing) for a decky without a usable address in one of its LANs.
func AddressMissing(decky, lan string) *fault.Error {
	return fault.New(fault.Conflict, "address_missing", "%s has no address in %s", decky, lan)
}
