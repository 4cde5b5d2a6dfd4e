package topology

import (
	"github.com/google/uuid"

	"github.com/decnet/decnet/internal/service"
)

// The names of the edits.
const (
	OpAddLAN       = "add_lan"
	OpRemoveLAN    = "remove_lan"
	OpUpdateLAN    = "update_lan"
	OpAddDecky     = "add_decky"
	OpAttachDecky  = "attach_decky"
	OpDetachDecky  = "detach_decky"
	OpRemoveDecky  = "remove_decky"
	OpUpdateDecky  = "update_decky"
	maxPayloadSize = 256 << 10
)

// Op is one edit of a graph: one of the types below.
type Op interface {
	// Op returns the name of the edit, such as "add_lan".
	Op() string
	apply(*edit) error
}

// AddLAN adds a LAN. Without a subnet it gets the lowest free /24 of the site's base.
type AddLAN struct {
	Name   string   `json:"name"`
	Subnet *string  `json:"subnet"`
	DMZ    bool     `json:"is_dmz"`
	X      *float64 `json:"x"`
	Y      *float64 `json:"y"`
}

// RemoveLAN removes a LAN; deckies that only visit it are detached.
type RemoveLAN struct {
	LAN string `json:"name"`
}

// UpdateLAN changes a LAN; what is nil stays.
type UpdateLAN struct {
	LAN   string    `json:"name"`
	Patch *LANPatch `json:"patch"`
	X     *float64  `json:"x"`
	Y     *float64  `json:"y"`
}

// LANPatch is what may change in a LAN. Subnet and DMZ are frozen while the topology is live.
type LANPatch struct {
	Name   *string `json:"name"`
	Subnet *string `json:"subnet"`
	DMZ    *bool   `json:"is_dmz"`
}

// AddDecky adds a decky and its home edge. LAN may be empty while the topology is pending only; then the decky has no
// edge yet. Services nil means those of the archetype, and none without one.
type AddDecky struct {
	Name       string                    `json:"name"`
	LAN        string                    `json:"lan"`
	Services   []string                  `json:"services"`
	Configs    map[string]service.Config `json:"service_config"`
	Archetype  string                    `json:"archetype"`
	ForwardsL3 bool                      `json:"forwards_l3"`
	IP         string                    `json:"ip"`
	X          *float64                  `json:"x"`
	Y          *float64                  `json:"y"`
}

// AttachDecky makes a decky a member of one more LAN.
type AttachDecky struct {
	Decky      string `json:"decky"`
	LAN        string `json:"lan"`
	IP         string `json:"ip"`
	ForwardsL3 bool   `json:"forwards_l3"`
	// Bridge is whether the edge is a bridge; nil means that it is unless it is the decky's first. Live edits always
	// make a bridge.
	Bridge *bool `json:"-"`
}

// DetachDecky ends a membership: never that of the home LAN while the topology is live.
type DetachDecky struct {
	Decky string `json:"decky"`
	LAN   string `json:"lan"`
}

// RemoveDecky removes a decky with its edges.
type RemoveDecky struct {
	Decky string `json:"decky"`
}

// UpdateDecky changes a decky; what is nil stays. Services is the complete new list: a service that is not in it goes,
// with its configuration.
type UpdateDecky struct {
	Decky    string      `json:"decky"`
	Patch    *DeckyPatch `json:"patch"`
	Services *[]string   `json:"services"`
	X        *float64    `json:"x"`
	Y        *float64    `json:"y"`
	// Force confirms a flip of forwards_l3 on a live topology, which ends every session on the decky.
	Force bool `json:"force"`
}

// DeckyPatch is merged shallowly: a key that is given replaces the whole value.
type DeckyPatch struct {
	Name       *string                    `json:"name"` // frozen while the topology is live
	Archetype  *string                    `json:"archetype"`
	ForwardsL3 *bool                      `json:"forwards_l3"`
	IPs        *Addresses                 `json:"ips_by_lan"`
	Configs    *map[string]service.Config `json:"service_config"`
}

// Site is what an edit needs to know beyond its graph.
type Site struct {
	ID     uuid.UUID // of the topology
	Status Status
	// NewID returns the id of a new row.
	NewID func() uuid.UUID
	// Reserved are the subnets of every other topology that holds some; malformed ones reserve nothing.
	Reserved []string
	// At is put in front of the field locations of faults; "" means "body".
	At string
}

// Effects is what an edit means for what runs; it is empty while a topology is pending. Networks are removed (whatever is
// on them is taken off first) before others are created, and created before deckies converge.
type Effects struct {
	RemoveNetworks []Network
	CreateNetworks []Network
	Converge       []Change
	// Remove are deckies that are no longer in the graph.
	Remove []uuid.UUID
}

// Change is what an edit means for one decky.
type Change struct {
	Decky uuid.UUID
	// Base is set when the base container is replaced, and all services with it.
	Base bool
	// Services are the slugs that were added or whose configuration changed, sorted; Gone those that were removed.
	Services []string
	Gone     []string
}
