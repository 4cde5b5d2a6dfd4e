package topology

import (
	"slices"

	"github.com/decnet/decnet/internal/fault"
)

// Status is where a topology stands between plan and teardown.
type Status string

// The statuses of a topology.
const (
	Pending     Status = "pending"
	Deploying   Status = "deploying"
	Active      Status = "active"
	Degraded    Status = "degraded"
	Failed      Status = "failed"
	TearingDown Status = "tearing_down"
	TornDown    Status = "torn_down"
)

// Statuses returns every status once.
func Statuses() []Status {
	return []Status{Pending, Deploying, Active, Degraded, Failed, TearingDown, TornDown}
}

var follows = map[Status][]Status{
	Pending:   {Deploying, TornDown},
	Deploying: {Active, Failed, Degraded, TearingDown},
	Active:    {Degraded, TearingDown},
	Degraded:  {Active, TearingDown},
	Failed:    {TearingDown},
	// Back to Failed when the teardown of what never came up is undone.
	TearingDown: {TornDown, Degraded, Failed},
	TornDown:    nil,
}

// Next returns a Conflict (topology_status_conflict) unless a topology may go from one status to the other. Staying is
// no step.
func Next(from, to Status) error {
	if !slices.Contains(follows[from], to) {
		return fault.New(fault.Conflict, "topology_status_conflict", "a topology that is %s cannot become %s", from, to)
	}
	return nil
}

// Editable reports whether the graph is a plan that may be changed freely.
func (s Status) Editable() bool { return s == Pending }

// Live reports whether the topology runs and takes changes through its lane, under the rules of live edits.
func (s Status) Live() bool { return s == Active || s == Degraded }

// Deployable reports whether a deploy may begin.
func (s Status) Deployable() bool { return s == Pending }

// Teardownable reports whether a teardown may begin.
func (s Status) Teardownable() bool {
	return slices.Contains([]Status{Active, Degraded, Failed, Deploying}, s)
}

// Deletable reports whether the topology may be forgotten: nothing of it runs.
func (s Status) Deletable() bool { return slices.Contains([]Status{Pending, TornDown, Failed}, s) }

// HoldsSubnets reports whether the subnets of the topology are taken for others.
func (s Status) HoldsSubnets() bool { return s != TornDown }

// Refused is the Conflict (topology_status_conflict) for a request that the status does not allow; doing says what was
// asked for, as in "deployed".
func (s Status) Refused(doing string) *fault.Error {
	return fault.New(fault.Conflict, "topology_status_conflict", "a topology that is %s cannot be %s", s, doing)
}
