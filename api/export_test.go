package api

import (
	"context"

	"github.com/decnet/decnet/internal/fault"
)

// StatusOf returns the HTTP status of a kind; ok is false when the table lacks it.
func StatusOf(kind fault.Kind) (status int, ok bool) {
	o, ok := outcomes[kind]
	return o.status, ok
}

// ProblemFor returns what a client is told of err.
func ProblemFor(ctx context.Context, err error) *Problem {
	_, s := build(Deps{}, Options{})
	return s.problem(ctx, err)
}

// EventName returns the name of the event of a topic.
func EventName(topic string) string { return eventName(topic) }
