package topology

import (
	"github.com/google/uuid"

	"github.com/decnet/decnet/internal/service"
)

// The names of the edits.
const (
	OpAddLAN      = "add_lan"
	OpRemoveLAN   = "remove_lan"
	OpUpdateLAN   = "update_lan"
	OpAddDecky    = "add_decky"
	OpAttachDecky = "attach_decky"
	OpDetachDecky = "detach_decky"
	OpRemoveDecky = "remove_decky"
	OpUpdateDecky = "update_decky"
)

// Op is one edit of a graph: one of the types below. Their fields LAN and Decky take a name or an id. DecodeOp reads them
// from the payload of a request, where they go by the names in the comments.
type Op interface {
	// Op returns the name of the edit, such as "add_lan".
	Op() string
	apply(*edit) error
}

// AddLAN (name, subnet, is_dmz, x, y) adds a LAN. Without a subnet it gets the lowest free /24 of PendingBase or LiveBase.
type AddLAN struct {
	Name   string
	Subnet string
	DMZ    bool
	X, Y   *float64
}

// RemoveLAN (name) removes a LAN; deckies that only visit it are detached. It is refused while the LAN is the home of a
// decky, and in a pending topology only while it is the only LAN of one.
type RemoveLAN struct {
	LAN string
}

// UpdateLAN (name, patch, x, y) changes a LAN; what is nil stays.
type UpdateLAN struct {
	LAN   string
	Patch LANPatch
	X, Y  *float64
}

// LANPatch (name, subnet, is_dmz) is what may change in a LAN. Subnet and DMZ are frozen while the topology is live. With
// the subnet, deckies lose the addresses that do not fit into it and get others.
type LANPatch struct {
	Name   *string
	Subnet *string
	DMZ    *bool
}

// AddDecky (name, lan, services, service_config, archetype, forwards_l3, ip, x, y) adds a decky and its home edge. LAN may be empty while the topology is pending only; then the decky has no
// edge yet. Services nil means those of the archetype, and none without one.
type AddDecky struct {
	Name       string
	LAN        string
	Services   []string
	Configs    map[string]service.Config
	Archetype  string
	ForwardsL3 bool
	IP         string
	X, Y       *float64
}

// AttachDecky (decky, lan, ip, forwards_l3) makes a decky a member of one more LAN.
type AttachDecky struct {
	Decky      string
	LAN        string
	IP         string
	ForwardsL3 bool
	// Bridge is whether the edge is a bridge; nil means that it is unless it is the decky's first. Live edits always
	// make a bridge.
	Bridge *bool
}

// DetachDecky (decky, lan) ends a membership: never that of the home LAN while the topology is live.
type DetachDecky struct {
	Decky string
	LAN   string
}

// RemoveDecky (decky) removes a decky with its edges.
type RemoveDecky struct {
	Decky string
}

// UpdateDecky (decky, patch, services, x, y, force) changes a decky; what is nil stays. Services is the complete new list: a service that is not in it goes,
// with its configuration.
type UpdateDecky struct {
	Decky    string
	Patch    DeckyPatch
	Services *[]string
	X, Y     *float64
	// Force confirms a flip of forwards_l3 on a live topology, which ends every session on the decky.
	Force bool
}

// DeckyPatch (name, archetype, forwards_l3, ips_by_lan, service_config) is merged shallowly: what is given replaces the
// whole value.
type DeckyPatch struct {
	Name      *string // frozen while the topology is live
	Archetype *string
	// ForwardsL3 needs Force while the topology is live, and to be turned on there a home in the DMZ.
	ForwardsL3 *bool
	// IPs replaces the declared addresses; LANs that are missing get an address again.
	IPs *[]Address
	// Configs replaces those of all services; one that is missing falls back to its defaults.
	Configs *map[string]service.Config
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
