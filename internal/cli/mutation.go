package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/google/uuid"
)

const (
	pollEvery = 200 * time.Millisecond
	// outcomeWait is asked of the API when it should hand out the outcome of an operation that has already ended.
	outcomeWait     = "wait=10"
	outcomeAttempts = 3
)

// accepted is the body of 202.
type accepted struct {
	OperationID string `json:"operation_id"`
	State       string `json:"state"`
}

// mutate sends a change, follows its operation to the end and prints the API's final answer.
func (s *session) mutate(ctx context.Context, k call, table func(reply) error) error {
	k.key, k.prefer = uuid.NewString(), "wait=0"
	r, err := s.submit(ctx, k)
	if err != nil {
		return err
	}
	if r.status != http.StatusAccepted {
		return s.finish(r, table)
	}
	id, err := operationID(r)
	if err != nil {
		return err
	}
	if s.flags.noWait {
		return s.print(r, s.acceptedTable)
	}
	op, err := s.follow(ctx, id)
	if err != nil {
		return err
	}
	return s.outcome(ctx, k, op, table)
}

func (s *session) submit(ctx context.Context, k call) (reply, error) {
	limited, cancel := context.WithTimeout(ctx, s.flags.timeout)
	defer cancel()
	r, err := s.client.submit(limited, k)
	if err != nil && ctx.Err() != nil {
		return r, fmt.Errorf("interrupted; the change may have been accepted, look with '%s'", s.hint("operations list"))
	}
	return r, late(limited, err)
}

// finish prints an answer that is final.
func (s *session) finish(r reply, table func(reply) error) error {
	if err := r.err(); err != nil {
		return s.refused(err)
	}
	return s.print(r, table)
}

// outcome repeats the request with the same key: the stored answer is the resource, or says why there is none.
func (s *session) outcome(ctx context.Context, k call, op operationView, table func(reply) error) error {
	k.prefer = outcomeWait
	var r reply
	var err error
	for range outcomeAttempts {
		r, err = s.client.submit(ctx, k)
		if err == nil && r.status != http.StatusAccepted && !away(r) {
			break
		}
		if !pause(ctx, pollEvery) {
			break
		}
	}
	switch {
	case op.State != stateSucceeded:
		if err == nil {
			_ = s.refused(r.err())
		}
		return op.failure()
	case err != nil:
		return fmt.Errorf("operation %s succeeded, but its answer did not come: %w", cell(op.ID), err)
	case r.status == http.StatusAccepted:
		return fmt.Errorf("operation %s succeeded, but the API still calls it unfinished", cell(op.ID))
	}
	return s.finish(r, table)
}

// away reports whether the API could not look the outcome up; 502 is the outcome of an operation that failed.
func away(r reply) bool {
	return r.status == http.StatusServiceUnavailable || r.status == http.StatusTooManyRequests
}

// operationID takes the id from where the API puts it; it must be one, as it becomes part of a path.
func operationID(r reply) (string, error) {
	var a accepted
	_ = json.Unmarshal(r.body, &a) // without it, the headers decide
	for _, id := range []string{a.OperationID, r.header.Get("Decnet-Operation"), lastSegment(r.header.Get("Location"))} {
		if parsed, err := uuid.Parse(id); err == nil {
			return parsed.String(), nil
		}
	}
	return "", errors.New("the API accepted the change but named no operation")
}

func (s *session) acceptedTable(r reply) error {
	id, err := operationID(r)
	if err != nil {
		return err
	}
	return writeLines(s.env.Stdout, "operation "+id+" accepted", "look with: "+s.hint("operations show "+id+" --wait"))
}

// follow shows the steps of an operation until it has ended, time is up, or the operator stops watching.
func (s *session) follow(ctx context.Context, id string) (operationView, error) {
	limited, cancel := context.WithTimeout(ctx, s.flags.timeout)
	defer cancel()
	live := newLive(s.env)
	defer live.close()
	op, _, err := poll(limited, s.client, operationPath(id), live.update)
	if err == nil {
		return op, nil
	}
	live.close()
	if limited.Err() == nil {
		return op, s.refused(err)
	}
	return op, s.stopped(ctx, id, err)
}

// stopped explains how to go on after the watching ended before the operation.
func (s *session) stopped(ctx context.Context, id string, err error) error {
	s.note("Stopped watching; operation %s goes on.\n  look:   %s\n  cancel: %s",
		id, s.hint("operations show "+id+" --wait"), s.hint("operations cancel "+id))
	var away *unreachableError
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("interrupted before operation %s ended", id)
	case errors.As(err, &away):
		return away
	}
	return fmt.Errorf("operation %s has not ended after %s", id, s.flags.timeout)
}

// poll asks for an operation, or what else has an end, until it has ended. A connection that breaks and an API that is busy
// are waited out; when the time is up meanwhile, the error is the last of these.
func poll[T interface{ open() bool }](ctx context.Context, c *client, path string, seen func(T)) (T, reply, error) {
	var none T
	var trouble error
	for {
		r, err := c.get(ctx, path)
		switch {
		case err == nil:
			trouble = nil
			var view T
			if err := r.decode(&view); err != nil {
				return view, r, err
			}
			seen(view)
			if !view.open() {
				return view, r, nil
			}
		case ctx.Err() != nil:
			return none, r, errors.Join(trouble, ctx.Err())
		case !passing(err):
			return none, r, err
		default:
			trouble = err
		}
		if !pause(ctx, pollEvery) {
			return none, reply{}, errors.Join(trouble, ctx.Err())
		}
	}
}

// passing reports whether a later request may be answered.
func passing(err error) bool {
	var away *unreachableError
	var p *problemError
	return errors.As(err, &away) || errors.As(err, &p) && p.temporary()
}

func operationPath(id string) string { return "/operations/" + url.PathEscape(id) }
