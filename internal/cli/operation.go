package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/operation"
)

const stateSucceeded = string(operation.Succeeded)

// operationView is an operation as the API shows it.
type operationView struct {
	ID             string     `json:"id"`
	Kind           string     `json:"kind"`
	Scope          string     `json:"scope"`
	Decky          string     `json:"decky"`
	Service        string     `json:"service"`
	Actor          string     `json:"actor"`
	State          string     `json:"state"`
	Fault          *faultView `json:"fault"`
	Steps          []stepView `json:"steps"`
	RevisionBefore *int       `json:"revision_before"`
	RevisionAfter  *int       `json:"revision_after"`
	WorkflowID     string     `json:"workflow_id"`
	WorkflowURL    string     `json:"workflow_url"`
	CreatedAt      time.Time  `json:"created_at"`
	EndedAt        *time.Time `json:"ended_at"`
}

// faultView is why it did not succeed.
type faultView struct {
	Code    string        `json:"code"`
	Message string        `json:"message"`
	Errors  []fault.Field `json:"errors"`
}

// stepView is one step of it.
type stepView struct {
	Name      string     `json:"name"`
	State     string     `json:"state"`
	StartedAt *time.Time `json:"started_at"`
	EndedAt   *time.Time `json:"ended_at"`
	Attempt   int        `json:"attempt"`
	Detail    string     `json:"detail"`
}

func (o operationView) open() bool { return operation.State(o.State).Open() }

// subject names what is changed: "add_service ssh on web-01".
func (o operationView) subject() string {
	s := cell(o.Kind)
	if o.Service != "" {
		s += " " + cell(o.Service)
	}
	if o.Decky != "" {
		s += " on " + cell(o.Decky)
	}
	return s
}

// failure returns nil for an operation that succeeded or has not ended.
func (o operationView) failure() error {
	if o.open() || o.State == stateSucceeded {
		return nil
	}
	reason := "no reason recorded"
	if o.Fault != nil {
		reason = Clean(o.Fault.Code) + ": " + Clean(o.Fault.Message)
	}
	return &operationError{text: fmt.Sprintf("%s %s: %s (operation %s)%s",
		o.subject(), ending(o.State), reason, cell(o.ID), o.fields())}
}

func (o operationView) fields() string {
	if o.Fault == nil {
		return ""
	}
	var b strings.Builder
	for _, f := range o.Fault.Errors {
		fmt.Fprintf(&b, "\n  %s: %s", Clean(f.Location), Clean(f.Message))
	}
	return b.String()
}

// ending says a final state in words.
func ending(state string) string {
	switch operation.State(state) {
	case operation.Failed:
		return "failed and was undone"
	case operation.Unconverged:
		return "failed and was undone, but its decoys are still to be put right"
	case operation.Refused:
		return "was refused"
	case operation.Cancelled:
		return "was cancelled"
	default:
		return cell(state)
	}
}

// operationError is an operation that ended otherwise than asked. It hides the kind of its fault from ExitCode: an
// operation that failed because something was unavailable did reach the API.
type operationError struct {
	text string
}

func (e *operationError) Error() string { return e.text }

// elapsed returns how long something took or has been taking, "" when it has not begun.
func elapsed(from, to *time.Time, now time.Time) string {
	if from == nil || from.IsZero() {
		return ""
	}
	end := now
	if to != nil {
		end = *to
	}
	return fmt.Sprintf("%.1fs", max(end.Sub(*from), 0).Seconds())
}
