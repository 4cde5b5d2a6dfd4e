package db

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/decnet/decnet/db/dbsqlc"
	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/operation"
)

// ChangeExpiry sets when a service of a decky is to be removed, nil for never, outside of the decky's lane: a change that
// is under way keeps the new time. It records the operation op as succeeded with a response. A service that is not there,
// or being removed right now, is a Conflict (service_not_present, service_being_removed). The expiry that was or is in
// force comes back; At is zero when there is none any more.
func (s *Store) ChangeExpiry(
	ctx context.Context, op operation.Operation, sealed []byte, at *time.Time, response any,
) (decky.Expiry, error) {
	var e decky.Expiry
	err := s.InTx(ctx, func(tx *Tx) error {
		d, err := tx.LockDecky(ctx, op.DeckyID)
		if err != nil {
			return err
		}
		i := decky.Find(d.Services, op.Service)
		if i < 0 {
			return fault.New(fault.Conflict, "service_not_present", "the service is not on the decky")
		}
		sv := d.Services[i]
		if leaving, err := tx.leaving(ctx, d.ID, op.Service); err != nil {
			return err
		} else if leaving {
			return fault.New(fault.Conflict, "service_being_removed", "the service is being removed")
		}
		e = decky.Expiry{ID: sv.ExpiryID, Scope: d.Scope, DeckyID: d.ID, Decky: d.Name, Service: sv.Name}
		if e.ID == uuid.Nil {
			e.ID = op.ID
		}
		p := dbsqlc.SetExpiryParams{DeckyID: d.ID, Name: op.Service}
		if at != nil {
			e.At, p.ExpiresAt, p.ExpiryID = *at, at, &e.ID
		}
		if err := tx.q.SetExpiry(ctx, p); err != nil {
			return err
		}
		return tx.recordEnded(ctx, op, sealed, d, response)
	})
	return e, err
}

// leaving reports whether the decky's pending revision, if it has one, is without the service.
func (tx *Tx) leaving(ctx context.Context, deckyID uuid.UUID, name string) (bool, error) {
	rev, err := tx.q.GetRevisionByState(ctx, dbsqlc.GetRevisionByStateParams{DeckyID: deckyID, State: string(RevisionPending)})
	if fault.KindOf(interpret(err)) == fault.NotFound {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	list, err := services(ctx, tx.q, rev.ID)
	return decky.Find(list[rev.ID], name) < 0, err
}

// recordEnded writes an operation that succeeded at once.
func (tx *Tx) recordEnded(ctx context.Context, op operation.Operation, sealed []byte, d decky.Decky, response any) error {
	op.State = operation.Received
	if _, err := tx.insertOperation(ctx, op, sealed); err != nil {
		return notFound(err, fault.New(fault.Conflict, "idempotency_key_in_use", "a request with this idempotency key has just been made"))
	}
	if err := tx.SetRevisions(ctx, op.ID, d.ID, &d.Revision, &d.Revision); err != nil {
		return err
	}
	return tx.EndOperation(ctx, op.ID, operation.Succeeded, nil, response)
}

// Expiry returns when a service is to be removed; ok is false when it is gone or stays.
func (s *Store) Expiry(ctx context.Context, deckyID uuid.UUID, name string) (e decky.Expiry, ok bool, err error) {
	row, err := s.queries().GetExpiry(ctx, dbsqlc.GetExpiryParams{DeckyID: deckyID, Name: name})
	if fault.KindOf(interpret(err)) == fault.NotFound {
		return decky.Expiry{}, false, nil
	}
	if err != nil {
		return decky.Expiry{}, false, interpret(err)
	}
	return decky.Expiry{ID: deref(row.ExpiryID), DeckyID: deckyID, Service: name, At: *row.ExpiresAt}, true, nil
}

// Expiries lists the services that are to be removed before a time, the earliest first.
func (s *Store) Expiries(ctx context.Context, before time.Time, limit int) ([]decky.Expiry, error) {
	rows, err := s.queries().ListExpiries(ctx, dbsqlc.ListExpiriesParams{Before: &before, MaxRows: int32(limit)})
	list := make([]decky.Expiry, len(rows))
	for i, r := range rows {
		list[i] = decky.Expiry{
			ID: deref(r.ExpiryID), Scope: r.Scope, DeckyID: r.DeckyID, Decky: r.DeckyName, Service: r.Name, At: *r.ExpiresAt,
		}
	}
	return list, interpret(err)
}
