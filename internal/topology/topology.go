// Package topology holds the rules of MazeNET topologies: LANs behind a DMZ, joined by deckies that stand in several of
// them. It names, checks, generates and edits their graphs, and says what an edit means for the networks and decoys
// that run.
//
// It is pure: nothing here reads a clock, a database or the network, and randomness and new ids come from the caller.
// What it protects: a graph that passed Validate can be deployed, and an edit never makes a valid graph invalid.
//
// Ids of topologies must be random (version 4). Keys, networks and containers carry the first eight digits only, and
// those of a version 7 are its time: two topologies of one minute would share them.
package topology

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/service"
)

// ModeUnihost is the only mode: all of a topology runs on this host.
const ModeUnihost = "unihost"

// Topology is a topology without its graph.
type Topology struct {
	ID     uuid.UUID
	Name   string
	Mode   string
	Status Status
	Reason string // why it came to be there, "" when that needs no words
	// Version rises by one with every change of the graph or the status, whether or not the caller named the one it saw.
	Version         int64
	CreatedAt       time.Time
	StatusChangedAt time.Time
}

// LAN is one network of a topology.
type LAN struct {
	ID   uuid.UUID
	Name string
	// Subnet is IPv4 in CIDR form. It is text because an imported graph may hold anything: see LAN.Prefix.
	Subnet string
	DMZ    bool
	X, Y   *float64 // place on the canvas
}

// Prefix returns the parsed subnet; one that Validate reports as SUBNET_MALFORMED is an Unprocessable fault.
func (l LAN) Prefix() (netip.Prefix, error) { return CheckSubnet(l.Subnet) }

// Address is the address of a decky in one LAN, both as text: an imported graph may hold anything.
type Address struct {
	LAN string // name of the LAN
	IP  string
}

// Decky is one fake host of a topology.
type Decky struct {
	ID        uuid.UUID
	Name      string
	Services  []decky.Service
	Archetype string // "" when none was chosen
	// ForwardsL3 makes the decky a router between its LANs; one whose home is the DMZ also publishes its services' ports
	// on the host.
	ForwardsL3 bool
	// IPs are the declared addresses. After Hydrate there is one for every LAN of the decky, its home first.
	IPs []Address
	// IP is an address wanted in whatever LAN it fits; Hydrate uses it where IPs has none. "" is the usual case.
	IP   string
	X, Y *float64
	// Undeclared holds configurations of services that are not in Services. Validate refuses them.
	Undeclared map[string]service.Config
}

// Edge is the membership of a decky in a LAN. A decky with two or more is multi-homed.
type Edge struct {
	ID      uuid.UUID
	DeckyID uuid.UUID
	LANID   uuid.UUID
	// Bridge marks every membership but that of the home LAN.
	Bridge bool
	// ForwardsL3 records that the membership was made to route. What counts at run time is the decky's own flag.
	ForwardsL3 bool
}

// Graph is what a topology consists of. Edges are in the order in which they were made; it decides which LAN is home.
type Graph struct {
	LANs    []LAN
	Deckies []Decky
	Edges   []Edge
}

// Clone returns a copy that shares nothing that an edit could change.
func (g Graph) Clone() Graph {
	c := Graph{LANs: slices.Clone(g.LANs), Deckies: slices.Clone(g.Deckies), Edges: slices.Clone(g.Edges)}
	for i, d := range c.Deckies {
		c.Deckies[i].Services = slices.Clone(d.Services)
		c.Deckies[i].IPs = slices.Clone(d.IPs)
		c.Deckies[i].Undeclared = maps.Clone(d.Undeclared)
	}
	return c
}

// LANByName returns the LAN of that exact name.
func (g Graph) LANByName(name string) (LAN, bool) {
	return find(g.LANs, func(l LAN) bool { return l.Name == name })
}

// LAN returns the LAN with that id.
func (g Graph) LAN(id uuid.UUID) (LAN, bool) {
	return find(g.LANs, func(l LAN) bool { return l.ID == id })
}

// DeckyByName returns the decky of that name.
func (g Graph) DeckyByName(name string) (Decky, bool) {
	return find(g.Deckies, func(d Decky) bool { return d.Name == name })
}

// Decky returns the decky with that id.
func (g Graph) Decky(id uuid.UUID) (Decky, bool) {
	return find(g.Deckies, func(d Decky) bool { return d.ID == id })
}

// EdgesOf returns the edges of a decky in their order.
func (g Graph) EdgesOf(deckyID uuid.UUID) []Edge {
	var edges []Edge
	for _, e := range g.Edges {
		if e.DeckyID == deckyID {
			edges = append(edges, e)
		}
	}
	return edges
}

// Home returns the home LAN of a decky: that of its first edge that is no bridge, else that of its first edge. It
// reports false when the decky has no edge, or that edge leads to no LAN.
func (g Graph) Home(deckyID uuid.UUID) (LAN, bool) {
	edges := g.EdgesOf(deckyID)
	if len(edges) == 0 {
		return LAN{}, false
	}
	return g.LAN(homeEdge(edges).LANID)
}

// homeEdge returns that of a decky's edges which leads home; there must be one.
func homeEdge(edges []Edge) Edge {
	if home, ok := find(edges, func(e Edge) bool { return !e.Bridge }); ok {
		return home
	}
	return edges[0]
}

// Address returns what the decky declares for a LAN, and whether it declares anything.
func (d Decky) Address(lan string) (string, bool) {
	a, ok := find(d.IPs, func(a Address) bool { return a.LAN == lan })
	return a.IP, ok
}

func find[T any](list []T, match func(T) bool) (T, bool) {
	if i := slices.IndexFunc(list, match); i >= 0 {
		return list[i], true
	}
	var none T
	return none, false
}

// NotFound is the fault for a topology that is not there.
func NotFound() *fault.Error {
	return fault.New(fault.NotFound, "topology_not_found", "there is no such topology")
}

// MaxNameRunes bounds the name of a topology.
const MaxNameRunes = 64

// CheckName returns an Unprocessable fault (topology_name_invalid) unless name may be given to a topology. It is shown to
// people only and never becomes part of a name on the host.
func CheckName(name string) error {
	why := ""
	switch n := utf8.RuneCountInString(name); {
	case n < 1 || n > MaxNameRunes:
		why = "must have 1 to 64 characters"
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		why = "must hold printable characters only"
	case name != strings.TrimSpace(name):
		why = "must not begin or end with a blank"
	default:
		return nil
	}
	return fault.New(fault.Unprocessable, "topology_name_invalid", "the name %s", why).
		With(fault.Field{Location: "body.name", Message: why})
}

// CheckVersion returns a Conflict (topology_version_conflict) when expected is given and is not the current version.
func (t Topology) CheckVersion(expected *int64) error {
	if expected == nil || *expected == t.Version {
		return nil
	}
	return fault.New(fault.Conflict, "topology_version_conflict", "the topology has changed: expected version %d, current %d", *expected, t.Version)
}
