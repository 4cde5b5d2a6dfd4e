package activities

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/operation"
	"github.com/decnet/decnet/internal/temporalfault"
)

// ActorExpiry is who removes a service whose time is up.
const ActorExpiry = "expiry"

const (
	// lookAgain is the pause before a removal that is under way is looked at again.
	lookAgain = 2 * time.Second
	// retryRemoval and maxRetryRemoval bound the pause before a removal that failed is tried again; it doubles.
	retryRemoval    = 5 * time.Second
	maxRetryRemoval = 5 * time.Minute
)

// Expiry holds what the timer of a temporary service needs. All fields are required.
type Expiry struct {
	Store *db.Store
	// Accept records a change request and hands it to its scope.
	Accept func(context.Context, operation.Operation, operation.Request) (operation.Operation, error)
	// Hash digests a request for its idempotency key.
	Hash func(what string, body any) ([]byte, error)
	Now  func() time.Time
}

// ExpireInput names a temporary service, and how often its removal was asked for.
type ExpireInput struct {
	Expiry  decky.Expiry `json:"expiry"`
	Attempt int          `json:"attempt,omitempty"`
	// Last is the removal asked for before, uuid.Nil for none.
	Last uuid.UUID `json:"last,omitzero"`
}

// ExpireResult says what the timer does next: nothing when Done, else wake at Next with the rest as input.
type ExpireResult struct {
	Done    bool      `json:"done,omitempty"`
	Next    time.Time `json:"next,omitzero"`
	Attempt int       `json:"attempt,omitempty"`
	Last    uuid.UUID `json:"last,omitzero"`
}

// Expire asks for the removal of a service whose time is up, by an ordinary operation in its decky's lane. A service that is
// gone, stays, or got another timer is Done; one whose end was moved is looked at again then.
//
// Idempotency: the removal's idempotency key is made of the wish, its time and the attempt; begin drops a removal whose
// wish was changed.
func (x *Expiry) Expire(ctx context.Context, in ExpireInput) (ExpireResult, error) {
	e, ok, err := x.Store.Expiry(ctx, in.Expiry.DeckyID, in.Expiry.Service)
	if err != nil {
		return ExpireResult{}, temporalfault.Wrap(err)
	}
	if !ok || e.ID != in.Expiry.ID {
		return ExpireResult{Done: true}, nil
	}
	now := x.Now()
	if e.At.After(now) {
		return ExpireResult{Next: e.At}, nil
	}
	wait, err := x.pause(ctx, in, now)
	if err != nil || wait > 0 {
		return ExpireResult{Next: now.Add(wait), Attempt: in.Attempt, Last: in.Last}, temporalfault.Wrap(err)
	}
	op, err := x.remove(ctx, in, e)
	if err != nil {
		return ExpireResult{}, temporalfault.Wrap(err)
	}
	return ExpireResult{Next: now.Add(lookAgain), Attempt: in.Attempt + 1, Last: op.ID}, nil
}

// pause returns how long the removal asked for before is left alone: while it is open, and for longer each time it failed.
func (x *Expiry) pause(ctx context.Context, in ExpireInput, now time.Time) (time.Duration, error) {
	if in.Last == uuid.Nil {
		return 0, nil
	}
	op, err := x.Store.Operation(ctx, in.Last)
	switch {
	case fault.KindOf(err) == fault.NotFound:
		return 0, nil
	case err != nil:
		return 0, err
	case op.State.Open() || op.EndedAt == nil:
		return lookAgain, nil
	}
	pause := min(retryRemoval<<min(max(in.Attempt-1, 0), 6), maxRetryRemoval)
	return op.EndedAt.Add(pause).Sub(now), nil
}

func (x *Expiry) remove(ctx context.Context, in ExpireInput, e decky.Expiry) (operation.Operation, error) {
	request := operation.Request{Remove: e.Service, Expired: &operation.ExpiredRequest{ID: e.ID, At: e.At}}
	key := fmt.Sprintf("%s/%d/%d", e.ID, e.At.UnixMicro(), in.Attempt)
	hash, err := x.Hash("expire "+key, nil)
	if err != nil {
		return operation.Operation{}, err
	}
	return x.Accept(ctx, operation.Operation{
		ID: uuid.Must(uuid.NewV7()), Scope: in.Expiry.Scope, Lane: e.DeckyID.String(), Kind: operation.RemoveService,
		Actor: ActorExpiry, IdempotencyKey: key, RequestHash: hash, State: operation.Received,
		DeckyID: e.DeckyID, Decky: in.Expiry.Decky, Service: e.Service,
	}, request)
}
