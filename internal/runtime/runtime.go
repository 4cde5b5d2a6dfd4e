// Package runtime is the boundary between the control plane and whatever really runs decoys.
//
// A Runtime makes reality match a desired decky and reports what runs. It decides nothing: desired state is read from
// Postgres by the caller, under the caller's lock on the decky. It is not safe to converge one decky from two goroutines;
// different deckies may be converged at once.
package runtime

import (
	"context"
	"net/netip"

	"github.com/google/uuid"
)

// Decky is the desired state of one decky. No services and Removed false means "the address exists, nothing listens";
// Removed true means nothing of the decky may be left but its artifacts.
type Decky struct {
	ID       uuid.UUID
	Scope    string // "fleet" or "topology/<uuid>"; "" means the fleet
	Key      string // decky key of the contracts page; names artifact folders
	Name     string
	Hostname string // cosmetic host name, the only name shown to attackers
	Distro   string
	NmapOS   string
	IP       netip.Addr // in a topology that of the home LAN
	Services []Service
	Removed  bool

	// Networks are those of a topology that the decky is on, its home first; empty in the fleet, which has one network.
	// A base is replaced when its home changes; it joins and leaves the others while it runs.
	Networks []Attachment
	// ForwardsL3 makes the decky a router between its networks.
	ForwardsL3 bool
	// Publish are ports of the decky that the host offers, under the same numbers where they are to be had.
	Publish []Port
}

// Network is one network of a topology.
type Network struct {
	Name     string // the engine's name of the network
	Bridge   string // name of its interface on the host; does not change when the LAN is renamed
	Subnet   netip.Prefix
	Gateway  netip.Addr
	Internal bool // the engine gives it no way out of the host
}

// Attachment is one network of a topology and the address that a decky has on it.
type Attachment struct {
	Name     string // the engine's name of the network
	Bridge   string // name of its interface on the host
	Subnet   netip.Prefix
	Gateway  netip.Addr
	Internal bool // the engine gives it no way out of the host
	IP       netip.Addr
}

// Service is one desired decoy. Config is complete (defaults applied) and holds the decoy's own fake credentials.
type Service struct {
	Name     string // slug
	Revision int64  // changes only with this decoy's input; a decoy with another revision is replaced
	Ports    []Port
	Config   map[string]any
}

// Port is one port a service offers, as attackers expect it.
type Port struct {
	Protocol string // "tcp" or "udp"
	Number   uint16
}

// Endpoint is where a service really listens; Port differs from the well-known one when that was not to be had.
type Endpoint struct {
	Service  string
	Protocol string
	Port     uint16         // the service's own port
	Listen   netip.AddrPort // of a published port, an address of the host
}

// Status is what is known about one running or ended decoy.
type Status struct {
	DeckyID   uuid.UUID
	DeckyKey  string
	Service   string
	Revision  int64
	Running   bool
	Ready     bool // it reported ready for Revision
	Detail    string
	Endpoints []Endpoint
}

// Base is what holds the address of one decky, whether or not anything listens there.
type Base struct {
	DeckyID  uuid.UUID
	DeckyKey string
	Running  bool
}

// Observation is what one look at a host found, of known and unknown deckies alike.
type Observation struct {
	Decoys []Status // sorted by decky and service
	Bases  []Base   // sorted by decky
	// Baseless says that deckies of this runtime need no base: Bases is empty and nothing is missing.
	Baseless bool
}

// Probe describes the connection that Converge is about to make to verify a decoy, so that ingest can discard it.
type Probe struct {
	DeckyID  uuid.UUID
	Service  string
	Protocol string
	Local    netip.AddrPort
	Remote   netip.AddrPort
}

// Hooks are called by Converge while it works. Both fields are required.
type Hooks struct {
	// Progress reports that work goes on and which step it is in ("converge" or "verify"); it is called at least every 2 s.
	Progress func(step string)
	// SelfCheck is called before the verifying connection leaves its bound local port; an error stops the check.
	SelfCheck func(context.Context, Probe) error
}

// Runtime runs decoys on this host.
type Runtime interface {
	// Name is "process" or "docker".
	Name() string
	// Prepare makes everything that does not depend on a decky (binary, sandbox support). Idempotent and cheap when done.
	Prepare(ctx context.Context) error
	// Converge makes the decoys of d match d and verifies each: it reported ready for its revision and its port answers.
	// Decoys whose revision already matches are not touched. It returns the endpoints of all services of d, sorted by
	// service; that of a published port is where the host offers it. A decoy that cannot come up is an OperationFailed fault whose message is safe to show.
	Converge(ctx context.Context, d Decky, h Hooks) ([]Endpoint, error)
	// Networks makes the networks of a topology's scope exist as wanted and removes its other ones that nothing is attached to
	// any more. It is called before deckies of the scope converge and again after.
	Networks(ctx context.Context, scope string, want []Network) error
	// Observe lists everything this installation has on the host.
	Observe(ctx context.Context) (Observation, error)
	// Exits delivers a value after some decoy or base ended by itself; a pending value is enough, values may be merged.
	Exits() <-chan struct{}
	// Close stops watching. It does not end any decoy.
	Close() error
}
