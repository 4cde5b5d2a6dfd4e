// Package fault is the closed vocabulary of failures that cross package and process boundaries.
//
// A fault is what a caller may be told: a kind that decides the HTTP status and whether Temporal retries, a stable
// code, and a text without secrets or attacker bytes. Everything else is Internal and stays in the log.
package fault

import (
	"errors"
	"fmt"
)

// Kind classifies a failure. The set is closed: api and internal/temporalfault each translate every kind in one table.
type Kind string

// The kinds, in the order of the contracts page.
const (
	NotFound         Kind = "NotFound"
	Conflict         Kind = "Conflict"
	Invalid          Kind = "Invalid"
	Unprocessable    Kind = "Unprocessable"
	Unauthorized     Kind = "Unauthorized"
	Forbidden        Kind = "Forbidden"
	TooLarge         Kind = "TooLarge"
	UnsupportedMedia Kind = "UnsupportedMedia"
	RateLimited      Kind = "RateLimited"
	OperationFailed  Kind = "OperationFailed"
	Unavailable      Kind = "Unavailable"
	Internal         Kind = "Internal"
)

// Kinds returns every kind once, so that a table which must be complete can be tested against it.
func Kinds() []Kind {
	return []Kind{
		NotFound, Conflict, Invalid, Unprocessable, Unauthorized, Forbidden,
		TooLarge, UnsupportedMedia, RateLimited, OperationFailed, Unavailable, Internal,
	}
}

// Field names one refused part of a request. Location is a path such as "body.config.password"; the refused value is
// never part of it.
type Field struct {
	Location string `json:"location"`
	Message  string `json:"message"`
}

// Error is a failure that may be shown to the caller. It survives JSON (the cause does not), so it can be stored with
// an operation and carried through a workflow.
type Error struct {
	Kind Kind `json:"kind"`
	// Code is stable, lower_snake_case and safe to match on ("decky_not_found").
	Code string `json:"code"`
	// Message is safe for any reader: no secret, no attacker byte, no internal error text.
	Message string  `json:"message"`
	Fields  []Field `json:"fields,omitempty"`

	cause error
}

// New returns a fault with a formatted safe message.
func New(kind Kind, code, format string, args ...any) *Error {
	return &Error{Kind: kind, Code: code, Message: fmt.Sprintf(format, args...)}
}

// Wrap returns a copy of e that also carries cause for logs and errors.Is.
func (e *Error) Wrap(cause error) *Error {
	c := *e
	c.cause = cause
	return &c
}

// With returns a copy of e that names the refused fields.
func (e *Error) With(fields ...Field) *Error {
	c := *e
	c.Fields = append(append([]Field(nil), e.Fields...), fields...)
	return &c
}

// Safe returns a copy of e without its cause: what may leave the process.
func (e *Error) Safe() Error {
	c := *e
	c.cause = nil
	return c
}

// Error returns the message and, for logs, the cause.
func (e *Error) Error() string {
	if e.cause != nil {
		return e.Code + ": " + e.Message + ": " + e.cause.Error()
	}
	return e.Code + ": " + e.Message
}

// Unwrap returns the cause, or nil.
func (e *Error) Unwrap() error { return e.cause }

// Is reports whether target is a fault with the same code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// KindOf returns the kind of the first fault in err's chain, Internal when there is none, and "" for nil.
func KindOf(err error) Kind {
	if err == nil {
		return ""
	}
	if e, ok := As(err); ok {
		return e.Kind
	}
	return Internal
}

// As returns the first fault in err's chain.
func As(err error) (*Error, bool) {
	var e *Error
	ok := errors.As(err, &e)
	return e, ok
}

// From returns the fault in err's chain, or an opaque Internal one that wraps err.
func From(err error) *Error {
	if e, ok := As(err); ok {
		return e
	}
	return New(Internal, "internal", "internal error").Wrap(err)
}
