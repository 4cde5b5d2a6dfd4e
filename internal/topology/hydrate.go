package topology

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// Hydrate returns the graph as every consumer reads it: LANs and deckies sorted by name (deckies of one name by id), and
// every decky with an address in each LAN it is a member of, its home first. Declared addresses stay, valid or not; then,
// decky by decky and edge by edge, the others get the decky's wanted address where it fits and is free, else the
// lowest free one. Where there is none, or the subnet is malformed, the address stays missing: Validate says why.
func Hydrate(g Graph) Graph {
	h := g.Clone()
	slices.SortStableFunc(h.LANs, func(a, b LAN) int { return strings.Compare(a.Name, b.Name) })
	slices.SortStableFunc(h.Deckies, func(a, b Decky) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), cmp.Compare(a.ID.String(), b.ID.String()))
	})
	pools := newPools(h)
	edges := map[uuid.UUID][]Edge{}
	for _, e := range h.Edges {
		edges[e.DeckyID] = append(edges[e.DeckyID], e)
	}
	for i := range h.Deckies {
		pools.complete(&h.Deckies[i], edges[h.Deckies[i].ID])
	}
	return h
}

// pools are the hosts of every LAN of a graph, declared addresses taken.
type pools struct {
	names map[uuid.UUID]string
	hosts map[string]*Hosts // by name of the LAN; none where the subnet is malformed
}

func newPools(g Graph) pools {
	p := pools{names: map[uuid.UUID]string{}, hosts: map[string]*Hosts{}}
	for _, l := range g.LANs {
		p.names[l.ID] = l.Name
		prefix, err := l.Prefix()
		if err != nil || p.hosts[l.Name] != nil {
			continue
		}
		if h, err := NewHosts(prefix); err == nil {
			p.hosts[l.Name] = h
		}
	}
	for _, d := range g.Deckies {
		for _, a := range d.IPs {
			p.reserve(a)
		}
	}
	return p
}

// reserve takes an address where that is possible: a malformed, foreign or doubled one is what Validate is for.
func (p pools) reserve(a Address) bool {
	ip, err := netip.ParseAddr(a.IP)
	h := p.hosts[a.LAN]
	return err == nil && h != nil && h.Reserve(ip) == nil
}

func (p pools) complete(d *Decky, edges []Edge) {
	for _, e := range edges {
		lan, ok := p.names[e.LANID]
		if _, declared := d.Address(lan); !ok || declared {
			continue
		}
		if wanted := (Address{lan, d.IP}); p.reserve(wanted) {
			d.IPs = append(d.IPs, wanted)
		} else if h := p.hosts[lan]; h != nil {
			if ip, err := h.Next(); err == nil {
				d.IPs = append(d.IPs, Address{lan, ip.String()})
			}
		}
	}
	if len(edges) > 0 {
		home := p.names[homeEdge(edges).LANID]
		slices.SortStableFunc(d.IPs, func(a, b Address) int { return cmp.Compare(away(a, home), away(b, home)) })
	}
}

func away(a Address, home string) int {
	if a.LAN == home {
		return 0
	}
	return 1
}
