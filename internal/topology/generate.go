package topology

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/google/uuid"

	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/service"
)

// What Generate makes at most. Branching is exponential: without a bound one request could ask for 8^16 LANs, and an
// engine has trouble with far fewer bridges.
const (
	MaxLANs    = 256
	MaxDeckies = 1000
)

// maxRandomServices is how many services a decky gets at most when they are drawn.
const maxRandomServices = 3

// Params say what Generate makes.
type Params struct {
	// Depth is how many levels of LANs lie behind the DMZ: 1..16.
	Depth int `json:"depth"`
	// BranchingFactor is how many LANs lie behind a LAN at most: 1..8.
	BranchingFactor int `json:"branching_factor"`
	// DeckiesPerLANMin (0..32) and DeckiesPerLANMax (1..32) bound the deckies of a LAN; every LAN gets at least one.
	DeckiesPerLANMin int `json:"deckies_per_lan_min"`
	DeckiesPerLANMax int `json:"deckies_per_lan_max"`
	// BridgeForwardProbability is that of the decky which joins a LAN to its parent being a router.
	BridgeForwardProbability float64 `json:"bridge_forward_probability"`
	// CrossEdgeProbability is that of a LAN behind the DMZ having a decky in yet another such LAN.
	CrossEdgeProbability float64 `json:"cross_edge_probability"`
	// ServicesExplicit are what every decky offers. Without them RandomizeServices must be set.
	ServicesExplicit  []string `json:"services_explicit,omitempty"`
	RandomizeServices bool     `json:"randomize_services"`
}

// DefaultParams returns what a request that names no parameter asks for; Depth and BranchingFactor have no default.
func DefaultParams() Params {
	return Params{DeckiesPerLANMin: 1, DeckiesPerLANMax: 3, BridgeForwardProbability: 1, RandomizeServices: true}
}

// Source is what Generate and Blank take from outside.
type Source struct {
	// Rand decides everything but ids: the same seed gives the same graph but for them. Blank needs none.
	Rand *rand.Rand
	// NewID returns the id of a new row.
	NewID func() uuid.UUID
	// Reserved are the subnets of all topologies that hold some; malformed ones reserve nothing.
	Reserved []string
}

// Seeded returns the randomness of a seed.
func Seeded(seed int64) *rand.Rand { return rand.New(rand.NewPCG(uint64(seed), 0)) } //nolint:gosec // a plan must be repeatable, not secret

// Check returns an Unprocessable fault that names every refused parameter (parameters_invalid).
func (p Params) Check() error {
	var refused []fault.Field
	refuse := func(ok bool, field, why string) {
		if !ok {
			refused = append(refused, fault.Field{Location: "body." + field, Message: why})
		}
	}
	refuse(p.Depth >= 1 && p.Depth <= 16, "depth", "must be between 1 and 16")
	refuse(p.BranchingFactor >= 1 && p.BranchingFactor <= 8, "branching_factor", "must be between 1 and 8")
	refuse(p.DeckiesPerLANMin >= 0 && p.DeckiesPerLANMin <= 32, "deckies_per_lan_min", "must be between 0 and 32")
	refuse(p.DeckiesPerLANMax >= 1 && p.DeckiesPerLANMax <= 32, "deckies_per_lan_max", "must be between 1 and 32")
	refuse(p.DeckiesPerLANMin <= p.DeckiesPerLANMax, "deckies_per_lan_min", "must not be above deckies_per_lan_max")
	refuse(probability(p.BridgeForwardProbability), "bridge_forward_probability", "must be between 0 and 1")
	refuse(probability(p.CrossEdgeProbability), "cross_edge_probability", "must be between 0 and 1")
	refuse(p.RandomizeServices || len(p.ServicesExplicit) > 0, "services_explicit", "must be given unless randomize_services is set")
	if _, err := place(nil, p.ServicesExplicit); err != nil {
		refuse(false, "services_explicit", fault.From(err).Message)
	}
	if len(refused) == 0 {
		return nil
	}
	return fault.New(fault.Unprocessable, "parameters_invalid", "%s %s", refused[0].Location[len("body."):], refused[0].Message).With(refused...)
}

func probability(p float64) bool { return !math.IsNaN(p) && p >= 0 && p <= 1 }

// place adds services without configuration to those of a decky; faults are those of service.ForDecky and
// decky.AddService.
func place(placed []decky.Service, slugs []string) ([]decky.Service, error) {
	for _, slug := range slugs {
		if _, err := service.ForDecky(slug); err != nil {
			return nil, err
		}
		var err error
		if placed, err = decky.AddService(placed, decky.Service{Name: slug, Config: service.Config{}}); err != nil {
			return nil, err
		}
	}
	return placed, nil
}

// Generate makes a tree of LANs behind the DMZ and returns it hydrated: it has no issue. LAN-00 is the DMZ, with one
// decky, the gateway; the others are numbered breadth first. One decky of every other LAN is also in the parent LAN.
// Running out of subnets is a Conflict (subnets_exhausted), and so is passing MaxLANs or MaxDeckies
// (topology_too_large).
func Generate(p Params, src Source) (Graph, error) {
	if err := p.Check(); err != nil {
		return Graph{}, err
	}
	base, err := ParseBase(LiveBase)
	if err != nil {
		return Graph{}, err
	}
	b := &builder{p: p, src: src, subnets: NewSubnets(base, Reserved(src.Reserved...))}
	if err := b.tree(); err != nil {
		return Graph{}, err
	}
	b.cross()
	return Hydrate(b.g), nil
}

// builder is a graph while it is generated.
type builder struct {
	p       Params
	src     Source
	subnets *Subnets
	g       Graph
	homes   [][]uuid.UUID // deckies at home in a LAN, by its index
}

func (b *builder) tree() error {
	if err := b.lan(-1); err != nil {
		return err
	}
	level := []int{0}
	for range b.p.Depth {
		var below []int
		for _, parent := range level {
			for range 1 + b.src.Rand.IntN(b.p.BranchingFactor) {
				if err := b.lan(parent); err != nil {
					return err
				}
				below = append(below, len(b.g.LANs)-1)
			}
		}
		level = below
	}
	return nil
}

// lan adds a LAN with its deckies, joined to its parent; the DMZ has none (-1).
func (b *builder) lan(parent int) error {
	n := len(b.g.LANs)
	if n == MaxLANs {
		return tooLarge("LANs", MaxLANs)
	}
	subnet, err := b.subnets.Next()
	if err != nil {
		return err
	}
	b.g.LANs = append(b.g.LANs, LAN{ID: b.src.NewID(), Name: fmt.Sprintf("LAN-%02d", n), Subnet: subnet.String(), DMZ: parent < 0})
	count := 1
	if parent >= 0 {
		count = max(1, b.p.DeckiesPerLANMin+b.src.Rand.IntN(b.p.DeckiesPerLANMax-b.p.DeckiesPerLANMin+1))
	}
	b.homes = append(b.homes, nil)
	for range count {
		if err := b.decky(n); err != nil {
			return err
		}
	}
	if parent >= 0 {
		b.bridge(n, parent)
	}
	return nil
}

func tooLarge(what string, limit int) error {
	return fault.New(fault.Conflict, "topology_too_large", "the topology would have more than %d %s", limit, what)
}

func (b *builder) decky(lan int) error {
	if len(b.g.Deckies) == MaxDeckies {
		return tooLarge("deckies", MaxDeckies)
	}
	services, err := b.services()
	if err != nil {
		return err
	}
	d := Decky{
		ID: b.src.NewID(), Name: fmt.Sprintf("decky-%03d", len(b.g.Deckies)+1), Services: services,
		ForwardsL3: b.g.LANs[lan].DMZ, // the gateway: without one nobody would find the way in
	}
	b.g.Deckies = append(b.g.Deckies, d)
	b.homes[lan] = append(b.homes[lan], d.ID)
	b.g.Edges = append(b.g.Edges, Edge{ID: b.src.NewID(), DeckyID: d.ID, LANID: b.g.LANs[lan].ID})
	return nil
}

func (b *builder) services() ([]decky.Service, error) {
	if len(b.p.ServicesExplicit) > 0 {
		return place(nil, b.p.ServicesExplicit)
	}
	var slugs []string
	for _, def := range service.All() {
		if !def.Singleton {
			slugs = append(slugs, def.Name)
		}
	}
	b.src.Rand.Shuffle(len(slugs), func(i, j int) { slugs[i], slugs[j] = slugs[j], slugs[i] })
	var placed []decky.Service
	for want := 1 + b.src.Rand.IntN(maxRandomServices); want > len(placed) && len(slugs) > 0; slugs = slugs[1:] {
		if more, err := place(placed, slugs[:1]); err == nil { // else its port is held by one drawn before
			placed = more
		}
	}
	return placed, nil
}

// bridge makes a decky of one LAN a member of another, too.
func (b *builder) bridge(from, to int) {
	id := b.homes[from][b.src.Rand.IntN(len(b.homes[from]))]
	forwards := b.src.Rand.Float64() < b.p.BridgeForwardProbability
	b.g.Edges = append(b.g.Edges, Edge{ID: b.src.NewID(), DeckyID: id, LANID: b.g.LANs[to].ID, Bridge: true, ForwardsL3: forwards})
	if forwards {
		i := slices.IndexFunc(b.g.Deckies, func(d Decky) bool { return d.ID == id })
		b.g.Deckies[i].ForwardsL3 = true
	}
}

// cross joins LANs behind the DMZ across the tree. A decky that is in the chosen LAN already stays as it is.
func (b *builder) cross() {
	for from := 1; from < len(b.g.LANs); from++ {
		if b.src.Rand.Float64() >= b.p.CrossEdgeProbability || len(b.g.LANs) < 3 {
			continue
		}
		to := 1 + b.src.Rand.IntN(len(b.g.LANs)-2)
		if to >= from {
			to++
		}
		id := b.homes[from][b.src.Rand.IntN(len(b.homes[from]))]
		lan := b.g.LANs[to]
		if slices.ContainsFunc(b.g.Edges, func(e Edge) bool { return e.DeckyID == id && e.LANID == lan.ID }) {
			continue
		}
		b.g.Edges = append(b.g.Edges, Edge{ID: b.src.NewID(), DeckyID: id, LANID: lan.ID, Bridge: true})
	}
}

// The parts of a blank topology.
const (
	BlankLAN     = "dmz"
	BlankGateway = "dmz-gateway"
)

// Blank returns what an empty canvas begins with: the LAN dmz, out of PendingBase, and in it the gateway dmz-gateway with
// ssh. Running out of subnets is a Conflict (subnets_exhausted).
func Blank(src Source) (Graph, error) {
	base, err := ParseBase(PendingBase)
	if err != nil {
		return Graph{}, err
	}
	subnet, err := NextSubnet(base, Reserved(src.Reserved...))
	if err != nil {
		return Graph{}, err
	}
	services, err := place(nil, []string{"ssh"})
	if err != nil {
		return Graph{}, err
	}
	lan := LAN{ID: src.NewID(), Name: BlankLAN, Subnet: subnet.String(), DMZ: true}
	gateway := Decky{ID: src.NewID(), Name: BlankGateway, Services: services, Archetype: "deaddeck", ForwardsL3: true}
	return Hydrate(Graph{
		LANs: []LAN{lan}, Deckies: []Decky{gateway},
		Edges: []Edge{{ID: src.NewID(), DeckyID: gateway.ID, LANID: lan.ID, Bridge: true}},
	}), nil
}
