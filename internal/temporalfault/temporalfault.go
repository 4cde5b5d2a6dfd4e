// Package temporalfault carries faults through Temporal: a fault becomes an application error whose type is the fault's
// code, and comes back as the same fault on the other side.
package temporalfault

import (
	"errors"

	"go.temporal.io/sdk/temporal"

	"github.com/decnet/decnet/internal/fault"
)

// retryable says, for every kind, whether trying the same thing again later can help.
var retryable = map[fault.Kind]bool{
	fault.NotFound:         false,
	fault.Conflict:         false,
	fault.Invalid:          false,
	fault.Unprocessable:    false,
	fault.Unauthorized:     false,
	fault.Forbidden:        false,
	fault.TooLarge:         false,
	fault.UnsupportedMedia: false,
	fault.RateLimited:      true,
	fault.OperationFailed:  false,
	fault.Unavailable:      true,
	fault.Internal:         true,
}

// Wrap turns err into an application error; nil stays nil. Only the safe part of a fault travels: internal causes stay
// in the log of the process that met them.
func Wrap(err error) error {
	if err == nil {
		return nil
	}
	var app *temporal.ApplicationError
	var cancelled *temporal.CanceledError
	if errors.As(err, &app) || errors.As(err, &cancelled) {
		return err
	}
	f := fault.From(err)
	return temporal.NewApplicationErrorWithOptions(f.Message, f.Code, temporal.ApplicationErrorOptions{
		NonRetryable: !retryable[f.Kind],
		Details:      []any{f.Safe()},
	})
}

// Unwrap returns the fault inside err's chain: one that Wrap made, or what an activity that timed out or was never
// started amounts to (Unavailable). Anything else is Internal. Nil stays nil.
func Unwrap(err error) *fault.Error {
	if err == nil {
		return nil
	}
	var app *temporal.ApplicationError
	if errors.As(err, &app) && app.HasDetails() {
		var f fault.Error
		if app.Details(&f) == nil && f.Code != "" {
			return &f
		}
	}
	var timeout *temporal.TimeoutError
	if errors.As(err, &timeout) {
		return fault.New(fault.Unavailable, "timeout", "the step did not finish in time")
	}
	return fault.From(err)
}
