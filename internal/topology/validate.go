package topology

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/service"
)

// order is that of the codes in the constants above: the rules run in it.
var order = []string{
	DMZMissing, DMZMultiple, DMZOrphan, DeckyOrphan, LANNameDup, DeckyNameDup, IPUnknownLAN, IPOutOfSubnet, IPMalformed,
	IPCollision, SubnetMalformed, SubnetOverlap, UnknownService, ServiceCfgUndeclared, PortConflict, AddressesExhausted,
}

// Validate returns everything that is wrong with a graph, hydrated or not, in the order of the codes and within a code in
// that of the graph. Names of LANs are compared without regard to case.
func Validate(g Graph) []Issue {
	c := newCheck(g)
	for _, rule := range []func(){
		c.dmz, c.reachable, c.orphans, c.lanNames, c.deckyNames, c.addresses, c.subnets, c.services, c.ports, c.room,
	} {
		rule()
	}
	return c.sorted()
}

// invariants returns what an edit must not make wrong: the rules that hold from the first LAN on.
func invariants(g Graph) []Issue {
	c := newCheck(g)
	for _, rule := range []func(){c.lanNames, c.deckyNames, c.addresses, c.subnets, c.services, c.ports, c.room} {
		rule()
	}
	return c.sorted()
}

// liveInvariants adds that a topology that runs has one way in.
func liveInvariants(g Graph) []Issue {
	c := newCheck(g)
	c.dmz()
	return append(c.sorted(), invariants(g)...)
}

// check collects the issues of one graph.
type check struct {
	g        Graph
	lanByID  map[uuid.UUID]int
	prefixes []netip.Prefix // by index of the LAN; the zero prefix where the subnet is malformed
	edges    map[uuid.UUID][]Edge
	issues   []Issue
}

func newCheck(g Graph) *check {
	c := &check{g: g, lanByID: make(map[uuid.UUID]int, len(g.LANs)), edges: map[uuid.UUID][]Edge{}}
	for i, l := range g.LANs {
		c.lanByID[l.ID] = i
		p, _ := l.Prefix()
		c.prefixes = append(c.prefixes, p)
	}
	for _, e := range g.Edges {
		c.edges[e.DeckyID] = append(c.edges[e.DeckyID], e)
	}
	return c
}

func (c *check) fail(code, message string, about target) {
	c.issues = append(c.issues, Issue{Error, code, message, about})
}

func (c *check) sorted() []Issue {
	slices.SortStableFunc(c.issues, func(a, b Issue) int {
		return cmp.Compare(slices.Index(order, a.Code), slices.Index(order, b.Code))
	})
	return c.issues
}

func (c *check) dmz() {
	var names []string
	for _, l := range c.g.LANs {
		if l.DMZ {
			names = append(names, l.Name)
		}
	}
	switch {
	case len(names) == 0:
		c.fail(DMZMissing, "no LAN is the DMZ", target{})
	case len(names) > 1:
		c.fail(DMZMultiple, "more than one LAN is the DMZ: "+strings.Join(names, ", "), target{"lans": names})
	}
}

// reachable walks from every DMZ over multi-homed deckies.
func (c *check) reachable() {
	var queue []uuid.UUID
	members := map[uuid.UUID][]uuid.UUID{}
	for _, l := range c.g.LANs {
		if l.DMZ {
			queue = append(queue, l.ID)
		}
	}
	if len(queue) == 0 {
		return
	}
	for _, e := range c.g.Edges {
		members[e.LANID] = append(members[e.LANID], e.DeckyID)
	}
	seen, passed := map[uuid.UUID]bool{}, map[uuid.UUID]bool{}
	for ; len(queue) > 0; queue = queue[1:] {
		lan := queue[0]
		if seen[lan] {
			continue
		}
		seen[lan] = true
		for _, d := range members[lan] {
			if passed[d] {
				continue
			}
			passed[d] = true
			for _, e := range c.edges[d] {
				queue = append(queue, e.LANID)
			}
		}
	}
	var orphans []string
	for _, l := range c.g.LANs {
		if !seen[l.ID] {
			orphans = append(orphans, l.Name)
		}
	}
	if len(orphans) > 0 {
		c.fail(DMZOrphan, "not reachable from the DMZ: "+strings.Join(orphans, ", "), target{"lans": orphans})
	}
}

func (c *check) orphans() {
	for _, d := range c.g.Deckies {
		if len(c.edges[d.ID]) == 0 {
			c.fail(DeckyOrphan, d.Name+" is in no LAN", target{"decky": d.Name})
		}
	}
}

func (c *check) lanNames() {
	seen := map[string]bool{}
	for _, l := range c.g.LANs {
		name := strings.ToLower(l.Name)
		if seen[name] {
			c.fail(LANNameDup, "another LAN is called "+l.Name, target{"lan": l.Name})
		}
		seen[name] = true
	}
}

func (c *check) deckyNames() {
	seen := map[string]bool{}
	for _, d := range c.g.Deckies {
		if seen[d.Name] {
			c.fail(DeckyNameDup, "another decky is called "+d.Name, target{"decky": d.Name})
		}
		seen[d.Name] = true
	}
}

// addresses checks the four rules of declared addresses in one pass: they depend on each other.
func (c *check) addresses() {
	type place struct {
		lan int
		ip  netip.Addr
	}
	lans := make(map[string]int, len(c.g.LANs))
	for i, l := range slices.Backward(c.g.LANs) {
		lans[l.Name] = i
	}
	holders := map[place]string{}
	for _, d := range c.g.Deckies {
		for _, a := range d.IPs {
			lan, ok := lans[a.LAN]
			if !ok {
				c.fail(IPUnknownLAN, d.Name+" has an address in a LAN that is not there", target{"decky": d.Name, "lan": a.LAN})
				continue
			}
			ip, err := netip.ParseAddr(a.IP)
			if err != nil || !ip.Is4() || !c.prefixes[lan].IsValid() {
				c.fail(IPMalformed, fmt.Sprintf("the address of %s in %s cannot be read", d.Name, a.LAN), target{"decky": d.Name, "ip": a.IP})
				continue
			}
			if !isHost(c.prefixes[lan], ip) {
				c.fail(IPOutOfSubnet, fmt.Sprintf("%s is no host address of %s", a.IP, a.LAN), target{"decky": d.Name, "lan": a.LAN, "ip": a.IP})
			}
			if first, taken := holders[place{lan, ip}]; taken {
				c.fail(IPCollision, fmt.Sprintf("%s and %s both have %s in %s", first, d.Name, a.IP, a.LAN),
					target{"lan": a.LAN, "ip": a.IP, "deckies": []string{first, d.Name}})
			} else {
				holders[place{lan, ip}] = d.Name
			}
		}
	}
}

func (c *check) subnets() {
	for i, l := range c.g.LANs {
		if !c.prefixes[i].IsValid() {
			c.fail(SubnetMalformed, "the subnet of "+l.Name+" cannot be used", target{"lan": l.Name})
		}
	}
	for i, a := range c.prefixes {
		for j := i + 1; j < len(c.prefixes); j++ {
			if a.Overlaps(c.prefixes[j]) {
				names := []string{c.g.LANs[i].Name, c.g.LANs[j].Name}
				c.fail(SubnetOverlap, fmt.Sprintf("the subnets of %s and %s overlap", names[0], names[1]), target{"lans": names})
			}
		}
	}
}

func (c *check) services() {
	for _, d := range c.g.Deckies {
		for _, s := range d.Services {
			if _, err := service.ForDecky(s.Name); err != nil {
				c.fail(UnknownService, d.Name+" offers a service that is not there", target{"decky": d.Name, "service": s.Name})
			}
		}
		for _, slug := range undeclared(d) {
			c.fail(ServiceCfgUndeclared, d.Name+" configures a service that it does not offer", target{"decky": d.Name, "service": slug})
		}
	}
}

// ports finds two services of a decky on one port, and one service twice.
func (c *check) ports() {
	for _, d := range c.g.Deckies {
		holders := map[service.Port]string{}
		for _, s := range d.Services {
			def, _ := service.Lookup(s.Name)
			for _, p := range def.ServedPorts(s.Config) {
				first, taken := holders[p]
				if !taken {
					holders[p] = s.Name
					continue
				}
				c.fail(PortConflict, fmt.Sprintf("on %s, %s and %s both need %s/%d", d.Name, first, s.Name, p.Protocol, p.Number),
					target{"decky": d.Name, "port": int(p.Number), "services": []string{first, s.Name}})
			}
		}
	}
}

// room finds LANs with more members than addresses.
func (c *check) room() {
	used := make([]int, len(c.g.LANs))
	for _, e := range c.g.Edges {
		if i, ok := c.lanByID[e.LANID]; ok {
			used[i]++
		}
	}
	for i, l := range c.g.LANs {
		if p := c.prefixes[i]; p.IsValid() && used[i] > capacity(p) {
			c.fail(AddressesExhausted, fmt.Sprintf("%s has room for %d deckies", l.Name, capacity(p)), target{"lan": l.Name})
		}
	}
}

// undeclared returns the slugs that a decky configures without offering them, sorted.
func undeclared(d Decky) []string {
	var slugs []string
	for slug := range d.Undeclared {
		if !slices.ContainsFunc(d.Services, func(s decky.Service) bool { return s.Name == slug }) {
			slugs = append(slugs, slug)
		}
	}
	slices.Sort(slugs)
	return slugs
}

// GatewayIssue returns GATEWAY_NOT_IN_DMZ when a decky forwards and its home is not the DMZ. It is not part of Validate:
// routers between inner LANs are legitimate, they are just no gateways.
func GatewayIssue(g Graph, d Decky) []Issue {
	home, ok := g.Home(d.ID)
	if !d.ForwardsL3 || home.DMZ {
		return nil
	}
	lan := home.Name
	if !ok {
		lan = "(no home LAN)"
	}
	return []Issue{{Error, GatewayNotInDMZ, "only a decky at home in the DMZ can be a gateway", target{"decky": d.Name, "lan": lan}}}
}

// PortCollisions returns a warning for every port of a gateway that listening says is in use on the host already.
func PortCollisions(g Graph, listening func(service.Port) bool) []Issue {
	var issues []Issue
	for _, d := range g.Deckies {
		for _, p := range Published(g, d) {
			if listening(p) {
				issues = append(issues, Issue{
					Warning, PortCollision, fmt.Sprintf("the host already listens on %s/%d, which %s would publish", p.Protocol, p.Number, d.Name),
					target{"decky": d.Name, "port": int(p.Number)},
				})
			}
		}
	}
	return issues
}
