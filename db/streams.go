package db

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/decnet/decnet/db/dbsqlc"
	"github.com/decnet/decnet/internal/auth"
	"github.com/decnet/decnet/internal/operation"
)

// openBatch is how many open operations are read at a time.
const openBatch = 200

// AddTicket stores a ticket under its hash, good for one use within life.
func (s *Store) AddTicket(ctx context.Context, hash []byte, t auth.Ticket, life time.Duration) error {
	if err := s.queries().DeleteExpiredSSETickets(ctx); err != nil {
		return interpret(err)
	}
	p := dbsqlc.InsertSSETicketParams{Hash: hash, UserID: t.UserID, Role: string(t.Role), Life: interval(life)}
	if t.APITokenID != uuid.Nil {
		p.ApiTokenID = &t.APITokenID
	} else {
		p.Jti, p.TokenGeneration = &t.Claims.ID, ptr(int32(t.Claims.Generation))
		p.TokenIssuedAt, p.TokenExpiresAt = &t.Claims.IssuedAt, &t.Claims.ExpiresAt
	}
	return interpret(s.queries().InsertSSETicket(ctx, p))
}

// TakeTicket uses a ticket up and returns it, or a NotFound fault when there is none, it was used or has expired.
func (s *Store) TakeTicket(ctx context.Context, hash []byte) (auth.Ticket, error) {
	row, err := s.queries().TakeSSETicket(ctx, hash)
	if err != nil {
		return auth.Ticket{}, interpret(err)
	}
	t := auth.Ticket{UserID: row.UserID, APITokenID: deref(row.ApiTokenID), Role: auth.Role(row.Role)}
	if row.Jti != nil {
		t.Claims = auth.Claims{
			UserID: row.UserID, ID: *row.Jti, Generation: int(deref(row.TokenGeneration)),
			IssuedAt: deref(row.TokenIssuedAt), ExpiresAt: deref(row.TokenExpiresAt),
		}
	}
	return t, nil
}

// APIToken returns a token that has not expired, or a NotFound fault (token_not_found).
func (s *Store) APIToken(ctx context.Context, id uuid.UUID) (auth.APIToken, error) {
	row, err := s.queries().GetAPIToken(ctx, id)
	if err != nil {
		return auth.APIToken{}, notFound(err, tokenNotFound())
	}
	return toAPIToken(row.ApiToken, row.Username, row.OwnerRole), nil
}

// TakeStreamLease counts one more open stream of a user, in all processes, for life unless it is extended. When the user
// has most already, retryAfter is positive and says when the first of them ends if nobody extends it.
func (s *Store) TakeStreamLease(ctx context.Context, id, user uuid.UUID, most int, life time.Duration) (retryAfter time.Duration, err error) {
	err = s.InTx(ctx, func(tx *Tx) error {
		if err := tx.q.LockSSEUser(ctx, user.String()); err != nil {
			return err
		}
		if err := tx.q.DeleteExpiredSSELeases(ctx, user); err != nil {
			return err
		}
		open, err := tx.q.CountSSELeases(ctx, user)
		if err != nil {
			return err
		}
		if retryAfter = 0; open.Open >= int64(most) {
			retryAfter = max(time.Second, time.Duration(open.FirstEndsIn*float64(time.Second)))
			return nil
		}
		return tx.q.InsertSSELease(ctx, dbsqlc.InsertSSELeaseParams{ID: id, UserID: user, Life: interval(life)})
	})
	return retryAfter, err
}

// ExtendStreamLease keeps a stream counted for life from now; held is false when it is not counted any more.
func (s *Store) ExtendStreamLease(ctx context.Context, id uuid.UUID, life time.Duration) (held bool, err error) {
	n, err := s.queries().ExtendSSELease(ctx, dbsqlc.ExtendSSELeaseParams{ID: id, Life: interval(life)})
	return n > 0, interpret(err)
}

// EndStreamLease makes room for another stream of the user.
func (s *Store) EndStreamLease(ctx context.Context, id uuid.UUID) error {
	return interpret(s.queries().DeleteSSELease(ctx, id))
}

// OpenOperationsOf lists every operation of a scope that has not ended, with its steps, oldest first.
func (s *Store) OpenOperationsOf(ctx context.Context, scope string) ([]operation.Operation, error) {
	var all []operation.Operation
	for after := int64(0); ; after = all[len(all)-1].Seq {
		rows, err := s.queries().ListOpenOperationsOfScope(ctx, dbsqlc.ListOpenOperationsOfScopeParams{
			Scope: scope, AfterSeq: after, MaxRows: openBatch,
		})
		if err != nil {
			return nil, interpret(err)
		}
		ops := toOperations(rows)
		if err := s.attachSteps(ctx, ops); err != nil {
			return nil, err
		}
		if all = append(all, ops...); len(rows) < openBatch {
			return all, nil
		}
	}
}
