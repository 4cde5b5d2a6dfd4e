package api

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/google/uuid"

	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/operation"
)

const (
	operationHeader = "Decnet-Operation"
	defaultWait     = 25 * time.Second
	maxWait         = 60 * time.Second
)

// AcceptedBody is the answer while an operation is open.
type AcceptedBody struct {
	OperationID string `json:"operation_id"`
	State       string `json:"state" enum:"received,queued,running,succeeded,failed,refused,unconverged,cancelled"`
}

// MutationInput holds the headers of every change request.
type MutationInput struct {
	IdempotencyKey string `header:"Idempotency-Key" minLength:"1" maxLength:"128" pattern:"^[\\x21-\\x7e]([\\x20-\\x7e]*[\\x21-\\x7e])?$" doc:"The same key with the same request gets the same outcome for 7 days"`
	Prefer         string `header:"Prefer" doc:"wait=N: seconds (0 to 60) to wait for the end, 25 by default (RFC 7240)"`
}

// checkKey refuses an idempotency key that is there and empty, or there twice: Huma would not see either.
func (s *server) checkKey(ctx huma.Context, next func(huma.Context)) {
	c := humagin.Unwrap(ctx)
	if keys := c.Request.Header.Values("Idempotency-Key"); len(keys) > 1 || (len(keys) == 1 && keys[0] == "") {
		s.refuse(c, fault.New(fault.Unprocessable, "idempotency_key_invalid", "the idempotency key is not usable").
			With(fault.Field{Location: "header.Idempotency-Key", Message: "must be one value of 1 to 128 printable characters"}))
		return
	}
	next(ctx)
}

// mutationOutput is a resource, or AcceptedBody.
type mutationOutput struct {
	Status    int
	Operation string `header:"Decnet-Operation" doc:"The operation's id"`
	Location  string `header:"Location" doc:"Where the operation can be followed, with 202"`
	Body      any
}

// wait returns how long the client wants to wait for the end. What it cannot read does not count (RFC 7240 section 2).
func (in MutationInput) wait() time.Duration {
	for _, preference := range strings.FieldsFunc(in.Prefer, func(r rune) bool { return r == ',' || r == ';' }) {
		name, value, _ := strings.Cut(preference, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "wait") {
			continue
		}
		seconds, err := strconv.Atoi(strings.Trim(strings.TrimSpace(value), `"`))
		if err != nil || seconds < 0 || time.Duration(seconds)*time.Second > maxWait {
			return defaultWait
		}
		return time.Duration(seconds) * time.Second
	}
	return defaultWait
}

// mutate runs a change request: an earlier use of its idempotency key answers first, then the door, then the lane. what
// names the kind and the target. Refusals for the state that was met are recorded, others leave no trace.
func (s *server) mutate(
	ctx context.Context, in MutationInput, what string, body any, door func(context.Context) (change, error),
) (*mutationOutput, error) {
	actor := principalOf(ctx).actor
	hash, err := s.deps.Dispatcher.RequestHash(what, body)
	if err != nil {
		return nil, err
	}
	earlier, found, err := s.earlier(ctx, actor, in.IdempotencyKey, hash)
	if err != nil {
		return nil, err
	}
	if found {
		return s.conclude(ctx, earlier, in.wait())
	}
	c, err := door(ctx)
	if err != nil && !recorded(err) {
		return nil, err
	}
	c.op.ID, c.op.Scope, c.op.State = uuid.Must(uuid.NewV7()), cmp.Or(c.op.Scope, decky.FleetScope), operation.Received
	c.op.Actor, c.op.IdempotencyKey, c.op.RequestHash = actor, in.IdempotencyKey, hash
	if err != nil {
		safe := fault.From(err).Safe()
		c.op.State, c.op.Fault = operation.Refused, &safe
	}
	return s.submit(ctx, c, in.wait())
}

// earlier finds the operation an idempotency key belongs to already.
func (s *server) earlier(ctx context.Context, actor, key string, hash []byte) (op operation.Operation, found bool, err error) {
	if key == "" {
		return operation.Operation{}, false, nil
	}
	op, err = s.deps.Store.OperationByKey(ctx, actor, key)
	switch {
	case fault.KindOf(err) == fault.NotFound:
		return operation.Operation{}, false, nil
	case err != nil:
		return operation.Operation{}, false, err
	case !bytes.Equal(op.RequestHash, hash):
		return operation.Operation{}, false, fault.New(fault.Unprocessable, "idempotency_key_reused",
			"the idempotency key belongs to another request").
			With(fault.Field{Location: "header.Idempotency-Key", Message: "was used with another request"})
	}
	return op, true, nil
}

// recorded reports whether a refusal is about the state that was met, not about the request itself.
func recorded(err error) bool {
	kind := fault.KindOf(err)
	return kind == fault.NotFound || kind == fault.Conflict
}

func (s *server) submit(ctx context.Context, c change, wait time.Duration) (*mutationOutput, error) {
	stored, err := s.deps.Dispatcher.Accept(ctx, c.op, c.request)
	if err != nil {
		return nil, err
	}
	if c.async && stored.State.Open() {
		return accepted(stored), nil
	}
	if stored.ID == c.op.ID && stored.State.Open() {
		now, err := s.deps.Dispatcher.Wait(ctx, stored.ID, 0)
		if err != nil {
			return nil, err
		}
		if now.State == operation.Received {
			wait = 0 // its scope cannot be reached: recovery will, some time
		}
	}
	return s.conclude(ctx, stored, wait)
}

// conclude answers with an operation's end, or with where it can be followed.
func (s *server) conclude(ctx context.Context, op operation.Operation, wait time.Duration) (*mutationOutput, error) {
	var err error
	if op.State.Open() {
		if op, err = s.deps.Dispatcher.Wait(ctx, op.ID, wait); err != nil {
			return nil, err
		}
	}
	switch op.State {
	case operation.Succeeded:
		return s.success(ctx, op)
	case operation.Received, operation.Queued, operation.Running:
		return accepted(op), nil
	case operation.Refused, operation.Cancelled, operation.Failed, operation.Unconverged:
	}
	return nil, &operationError{id: op.ID, err: endFault(op)}
}

func accepted(op operation.Operation) *mutationOutput {
	return &mutationOutput{
		Status: http.StatusAccepted, Operation: op.ID.String(), Location: Prefix + "/operations/" + op.ID.String(),
		Body: AcceptedBody{OperationID: op.ID.String(), State: string(op.State)},
	}
}

// endFault is what a client is told of an operation that did not succeed.
func endFault(op operation.Operation) *fault.Error {
	f := op.Fault
	if f == nil {
		f = fault.New(fault.Internal, "internal", "the reason was not recorded")
	}
	switch {
	case op.State == operation.Cancelled:
		return operation.CancelledFault()
	case op.State == operation.Refused:
		return f
	case op.State == operation.Unconverged:
		return fault.New(fault.OperationFailed, "operation-failed", "%s; undoing it is not finished", f.Message)
	}
	return fault.New(fault.OperationFailed, "operation-failed", "%s", f.Message)
}

func (s *server) success(ctx context.Context, op operation.Operation) (*mutationOutput, error) {
	out := &mutationOutput{Status: http.StatusOK, Operation: op.ID.String()}
	switch op.Kind {
	case operation.AddService, operation.CreateDecky, operation.ApplyConfig, operation.CreateTopology, operation.AddLAN, operation.AddDecky,
		operation.AttachDecky:
		out.Status = http.StatusCreated
	case operation.RemoveLAN, operation.RemoveDecky, operation.DetachDecky, operation.DeleteTopology:
		out.Status = http.StatusNoContent
		return out, nil
	case operation.RemoveService, operation.DeleteDecky, operation.SaveConfig, operation.SetExpiry, operation.Rollback, operation.Reconcile,
		operation.UpdateLAN, operation.UpdateDecky, operation.Deploy, operation.Teardown:
	}
	var err error
	if op.Kind == operation.CreateDecky {
		out.Body, err = s.created(ctx, op)
	} else {
		out.Body = op.Response
	}
	return out, err
}

// servicesAfter returns what was recorded when the operation succeeded.
func servicesAfter(op operation.Operation) (DeckyServicesBody, error) {
	var body DeckyServicesBody
	if err := json.Unmarshal(op.Response, &body); err != nil {
		return body, fmt.Errorf("read the outcome of operation %s: %w", op.ID, err)
	}
	return body, nil
}

// created returns the decky an operation made. The first answer to a request with an idempotency key is kept: the decky
// goes on changing, its repetitions must not.
func (s *server) created(ctx context.Context, op operation.Operation) (json.RawMessage, error) {
	if op.IdempotencyKey != "" {
		body, err := s.deps.Store.Answer(ctx, op.ID)
		if err == nil || fault.KindOf(err) != fault.NotFound {
			return body, err
		}
	}
	d, err := s.deps.Store.DeckyByName(ctx, op.Scope, op.Decky)
	gone := fault.KindOf(err) == fault.NotFound || (err == nil && d.ID != op.DeckyID)
	if gone {
		d, err = s.createdThen(ctx, op)
	}
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(toDeckyBody(d))
	if err != nil || op.IdempotencyKey == "" {
		return body, err
	}
	return s.deps.Store.KeepAnswer(ctx, op.ID, body)
}

// createdThen returns a decky that is gone again as far as it is known.
func (s *server) createdThen(ctx context.Context, op operation.Operation) (decky.Decky, error) {
	d, err := s.deps.Store.Desired(ctx, op.DeckyID)
	if err != nil {
		return decky.Decky{}, err
	}
	recorded, err := servicesAfter(op)
	if err != nil {
		return decky.Decky{}, err
	}
	d.Services = nil
	for _, name := range recorded.Services {
		d.Services = append(d.Services, decky.Service{Name: name, Revision: 1})
	}
	return d, nil
}
