// Package operation is the record of a change request: what was asked, by whom, how far it got and how it ended.
//
// The row is the audit record and the authority; workflow history only explains it.
package operation

import (
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/service"
)

// Kind says what an operation changes.
type Kind string

// The kinds of operations.
const (
	CreateDecky   Kind = "create_decky"
	DeleteDecky   Kind = "delete_decky"
	AddService    Kind = "add_service"
	RemoveService Kind = "remove_service"
	SaveConfig    Kind = "save_config"
	ApplyConfig   Kind = "apply_config"
	SetExpiry     Kind = "set_expiry" // recorded, never run: it changes no decoy
	Rollback      Kind = "rollback"
	Reconcile     Kind = "reconcile"

	// Recorded, never run: nothing of a plan or of what was torn down runs.
	CreateTopology Kind = "create_topology"
	DeleteTopology Kind = "delete_topology"

	// On a topology as a whole.
	Deploy      Kind = "deploy"
	Teardown    Kind = "teardown"
	AddLAN      Kind = "add_lan"
	RemoveLAN   Kind = "remove_lan"
	UpdateLAN   Kind = "update_lan"
	AddDecky    Kind = "add_decky"
	AttachDecky Kind = "attach_decky"
	DetachDecky Kind = "detach_decky"
	RemoveDecky Kind = "remove_decky"
	UpdateDecky Kind = "update_decky"
)

// OfTopology reports whether operations of this kind change a topology as a whole, in its lane for everything.
func (k Kind) OfTopology() bool {
	switch k {
	case Deploy, Teardown, AddLAN, RemoveLAN, UpdateLAN, AddDecky, AttachDecky, DetachDecky, RemoveDecky, UpdateDecky:
		return true
	case CreateDecky, DeleteDecky, AddService, RemoveService, SaveConfig, ApplyConfig, SetExpiry, Rollback, Reconcile,
		CreateTopology, DeleteTopology:
	}
	return false
}

// State is how far an operation got. The last five are final.
type State string

// The states of an operation.
const (
	Received    State = "received"
	Queued      State = "queued"
	Running     State = "running"
	Succeeded   State = "succeeded"
	Failed      State = "failed" // and undone
	Refused     State = "refused"
	Unconverged State = "unconverged" // undone in Postgres, the decoys not yet: Reconcile owes it
	Cancelled   State = "cancelled"
)

// Open reports whether an operation in this state may still change something.
func (s State) Open() bool { return s == Received || s == Queued || s == Running }

// Step is one visible part of an operation.
type Step string

// The steps, in the order a successful and then an undone operation takes them.
const (
	Validate Step = "validate"
	Prepare  Step = "prepare"
	Persist  Step = "persist"
	Converge Step = "converge"
	Verify   Step = "verify"
	Activate Step = "activate"
	Discard  Step = "discard"
	Undo     Step = "undo"
)

// StepState is running, succeeded or failed.
type StepState string

// The states of a step.
const (
	StepRunning   StepState = "running"
	StepSucceeded StepState = "succeeded"
	StepFailed    StepState = "failed"
)

// StepRecord is one step as it happened. Attempt counts from 1.
type StepRecord struct {
	Name      Step
	State     StepState
	StartedAt time.Time
	EndedAt   *time.Time
	Attempt   int
	Detail    string
}

// WholeScope is the lane of operations that wait for, and hold up, every lane of their scope.
const WholeScope = "*"

// Operation is one change request. Decky is its subject's name at the time, "" when it has none.
type Operation struct {
	ID             uuid.UUID
	Seq            int64
	Scope          string
	Lane           string
	Kind           Kind
	Actor          string
	IdempotencyKey string
	RequestHash    []byte
	State          State
	Fault          *fault.Error
	DeckyID        uuid.UUID
	Decky          string
	Service        string
	RevisionBefore *int
	RevisionAfter  *int
	// Response is the body the API answers with once the operation succeeded.
	Response json.RawMessage
	// Payload is the request of a topology's edit as anybody may see it; nil for other operations.
	Payload json.RawMessage
	// Undo is what the operation's kind needs to restore what it changed; it holds no secret.
	Undo      json.RawMessage
	RunID     string
	Cancel    bool // cancelling was asked for
	Steps     []StepRecord
	CreatedAt time.Time
	EndedAt   *time.Time
}

// Request is what an operation does; it is stored sealed. Exactly the part that belongs to the kind is set.
type Request struct {
	Create *decky.Spec `json:"create,omitempty"`
	Add    *AddRequest `json:"add,omitempty"`
	Remove string      `json:"remove,omitempty"`
	// Expired comes with Remove when the service's time is up: only the wish that was made then is carried out.
	Expired   *ExpiredRequest   `json:"expired,omitempty"`
	Configure *ConfigureRequest `json:"configure,omitempty"`
	// Revision is the number to roll back to.
	Revision int `json:"revision,omitempty"`
	// Edit is the payload of a change of a topology's graph.
	Edit json.RawMessage `json:"edit,omitempty"`
	// ExpectedVersion is the version the topology must have when the edit's turn comes.
	ExpectedVersion *int64 `json:"expected_version,omitempty"`
	// Reason is why a repair was asked for, in words of our own.
	Reason string `json:"reason,omitempty"`
}

// AddRequest names a service and its validated configuration.
type AddRequest struct {
	Service   string         `json:"service"`
	Config    service.Config `json:"config,omitempty"`
	ExpiresAt *time.Time     `json:"expires_at,omitempty"`
}

// ConfigureRequest names a service and its configuration as submitted, masks included. Nil means the saved one.
type ConfigureRequest struct {
	Service string         `json:"service"`
	Config  map[string]any `json:"config"`
}

// ExpiredRequest names the wish that made a service temporary, and its time.
type ExpiredRequest struct {
	ID uuid.UUID `json:"id"`
	At time.Time `json:"at"`
}

// NotFound is the fault for an operation that is not there.
func NotFound() *fault.Error {
	return fault.New(fault.NotFound, "operation_not_found", "there is no such operation")
}

// CancelledFault is the fault of an operation that ended because somebody cancelled it.
func CancelledFault() *fault.Error {
	return fault.New(fault.Conflict, "operation_cancelled", "the operation was cancelled")
}
