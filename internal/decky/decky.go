// Package decky holds the rules of fake hosts: their names, keys, addresses, identities, and what a change request does
// to their services. It is pure: nothing here reads a clock, a database or the network.
package decky

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/service"
)

// FleetScope is the scope of deckies that belong to no topology.
const FleetScope = "fleet"

const topologyPrefix = "topology/"

// TopologyScope is the scope of the deckies of a topology.
func TopologyScope(id uuid.UUID) string { return topologyPrefix + id.String() }

// TopologyOf returns the topology whose scope this is, nil for the fleet.
func TopologyOf(scope string) *string {
	if id, ok := strings.CutPrefix(scope, topologyPrefix); ok {
		return &id
	}
	return nil
}

// State is what is known about a decky as a whole.
type State string

// The states of a decky.
const (
	Pending     State = "pending"
	Running     State = "running"
	Reconciling State = "reconciling"
	Degraded    State = "degraded"
	Failed      State = "failed"
	Quarantined State = "quarantined"
	TearingDown State = "tearing_down"
	TornDown    State = "torn_down"
)

// Decky is one fake host with the services of one revision.
type Decky struct {
	ID    uuid.UUID
	Scope string
	Name  string
	Key   string
	IP    netip.Addr // zero while the decky is planned
	// Planned marks a decky of a topology that is not deployed, or not any more: nothing of it may run.
	Planned     bool
	Archetype   string // "" when none was chosen
	Distro      string
	Hostname    string
	NmapOS      string
	State       State
	StateReason string
	// RepairFailures counts repairs that failed in a row; before RepairAfter no other is asked for.
	RepairFailures int
	RepairAfter    time.Time
	// Revision is the number of the active revision, 0 before the first.
	Revision int
	Services []Service
	// Removed marks the revision in which nothing of the decky is left.
	Removed        bool
	Endpoints      []Endpoint
	CreatedAt      time.Time
	LastActivityAt *time.Time
}

// Service is one service of a revision, in the order they were added.
type Service struct {
	Name        string
	Config      service.Config
	SavedConfig service.Config // nil when nothing is saved but not applied
	// Revision is the number of the decky revision that last changed this decoy's input.
	Revision int
	// ExpiresAt is when the service is to be removed, nil for never; ExpiryID names that wish and is set with it.
	ExpiresAt *time.Time
	ExpiryID  uuid.UUID
}

// Endpoint is where a service can really be reached.
type Endpoint struct {
	Service  string
	Protocol string
	Port     uint16 // the service's own port
	Listen   netip.AddrPort
}

var (
	namePattern   = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	uuidPrefix    = regexp.MustCompile(`^[0-9a-f]{8}-`)
	reservedNames = []string{"events", "services", "archetypes", "deploy"}
)

// CheckName returns an Unprocessable fault (decky_name_invalid) unless name may be given to a decky of a topology.
func CheckName(name string) error {
	switch {
	case !namePattern.MatchString(name):
		return badName("must start with a lower-case letter or digit and hold only those and hyphens, at most 63")
	case slices.Contains(reservedNames, name):
		return badName("is reserved")
	}
	return nil
}

// CheckFleetName is CheckName for a fleet decky: a name that looks like a topology decky's key is refused as well,
// because the two would share artifact folders.
func CheckFleetName(name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if uuidPrefix.MatchString(name) {
		return badName("must not start with eight hexadecimal digits and a hyphen")
	}
	return nil
}

func badName(why string) error {
	return fault.New(fault.Unprocessable, "decky_name_invalid", "the name %s", why).
		With(fault.Field{Location: "body.name", Message: why})
}

// NotFound is the fault for a decky that is not there.
func NotFound() *fault.Error {
	return fault.New(fault.NotFound, "decky_not_found", "there is no such decky")
}

// Find returns the index of a service in services, or -1.
func Find(services []Service, name string) int {
	return slices.IndexFunc(services, func(s Service) bool { return s.Name == name })
}

// AddService returns services with one more at the end, stamped with the revision that adds it. A service that is
// already there is a Conflict (service_already_present), as is one whose port another holds (port_in_use).
func AddService(services []Service, add Service) ([]Service, error) {
	if Find(services, add.Name) >= 0 {
		return nil, fault.New(fault.Conflict, "service_already_present", "%s is already on the decky", add.Name)
	}
	if err := checkPorts(services, add); err != nil {
		return nil, err
	}
	return append(slices.Clone(services), add), nil
}

// RemoveService returns services without name, the others in their order. A service that is not there is a Conflict
// (service_not_present). Removing the last one is allowed.
func RemoveService(services []Service, name string) ([]Service, error) {
	i := Find(services, name)
	if i < 0 {
		return nil, notPresent()
	}
	return slices.Delete(slices.Clone(services), i, i+1), nil
}

// Names returns the slugs of services in order; never nil.
func Names(services []Service) []string {
	names := make([]string, len(services))
	for i, s := range services {
		names[i] = s.Name
	}
	return names
}

// checkPorts returns a Conflict (port_in_use) that names the holder when one of the others listens where wanted would.
func checkPorts(others []Service, wanted Service) error {
	def, _ := service.Lookup(wanted.Name)
	ports := def.ServedPorts(wanted.Config)
	for _, s := range others {
		held, _ := service.Lookup(s.Name)
		for _, p := range held.ServedPorts(s.Config) {
			if slices.Contains(ports, p) {
				return fault.New(fault.Conflict, "port_in_use", "%s needs %s/%d, which %s holds", wanted.Name, p.Protocol, p.Number, s.Name)
			}
		}
	}
	return nil
}
