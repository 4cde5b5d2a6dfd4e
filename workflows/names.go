// Package workflows holds the durable processes of the control plane. Workflow code only decides; everything it learns
// or does goes through activities, and nothing but ids enters it: no configuration, no secret, no attacker text.
package workflows

import (
	"strings"

	"github.com/google/uuid"
)

// ControlQueue is the task queue of workflows and of the transactions of operations.
const ControlQueue = "control"

// RuntimeQueue returns the task queue of the one worker that touches the decoys of a host.
func RuntimeQueue(hostID string) string { return "runtime/" + hostID }

// IntelQueue is the task queue of work on what attackers did that takes long and touches no decoy.
const IntelQueue = "intel"

// Workflow types, as they are registered and shown.
const (
	ScopeType     = "Scope"
	MutationType  = "Mutation"
	ObserveType   = "Observe"
	RetentionType = "Retention"

	TemporaryServiceType = "TemporaryService"
	ImportType           = "Import"
)

const (
	scopePrefix    = "scope/"
	mutationPrefix = "mutation/"
	expiryPrefix   = "expiry/"
	importPrefix   = "import/"
)

// ScopeID returns the workflow id of a scope's sequencer: "scope/fleet" or "scope/topology/<uuid>".
func ScopeID(scope string) string { return scopePrefix + scope }

// ScopeOf is the inverse of ScopeID.
func ScopeOf(workflowID string) (scope string, ok bool) {
	return strings.CutPrefix(workflowID, scopePrefix)
}

// MutationID returns the workflow id of an operation's mutation.
func MutationID(operation uuid.UUID) string { return mutationPrefix + operation.String() }

// ObserveScheduleID returns the id of the schedule that lets a host's observer look at everything.
func ObserveScheduleID(hostID string) string { return "observe/" + hostID }

// ImportID returns the workflow id of an import.
func ImportID(id uuid.UUID) string { return importPrefix + id.String() }

// RetentionScheduleID is the id of the schedule that removes what is too old or too much.
const RetentionScheduleID = "retention"

// ExpiryID returns the workflow id of the timer that waits for the end of a temporary service.
func ExpiryID(id uuid.UUID) string { return expiryPrefix + id.String() }
