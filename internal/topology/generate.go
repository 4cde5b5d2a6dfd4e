package topology

import (
	"math/rand/v2"

	"github.com/google/uuid"
)

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
	// Rand decides everything but ids: the same seed gives the same graph but for them.
	Rand *rand.Rand
	// NewID returns the id of a new row.
	NewID func() uuid.UUID
	// Reserved are the subnets of all topologies that hold some; malformed ones reserve nothing.
	Reserved []string
}
