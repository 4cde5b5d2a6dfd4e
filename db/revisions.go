package db

import (
	"context"
	"math"
	"time"

	"github.com/google/uuid"

	"github.com/decnet/decnet/db/dbsqlc"
	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/operation"
	"github.com/decnet/decnet/internal/service"
)

// NextRevision returns the number the decky's next revision gets. The decky's row must be locked.
func (tx *Tx) NextRevision(ctx context.Context, deckyID uuid.UUID) (int, error) {
	n, err := tx.q.NextRevisionNumber(ctx, deckyID)
	return int(n), err
}

// AddPendingRevision writes what an operation wants of a decky. A second pending revision is a Conflict (decky_busy).
func (tx *Tx) AddPendingRevision(ctx context.Context, operationID, deckyID uuid.UUID, number int, removed bool, list []decky.Service) error {
	id := newID()
	if err := tx.q.InsertRevision(ctx, dbsqlc.InsertRevisionParams{
		ID: id, DeckyID: deckyID, Number: int32(number), OperationID: &operationID, Removed: removed,
	}); err != nil {
		return err
	}
	for i, s := range list {
		if err := tx.insertService(ctx, id, i, s); err != nil {
			return err
		}
	}
	return nil
}

func (tx *Tx) insertService(ctx context.Context, revision uuid.UUID, position int, s decky.Service) error {
	p := dbsqlc.InsertRevisionServiceParams{
		RevisionID: revision, Position: int32(position), Name: s.Name, Config: marshal(nonNil(s.Config)),
		Revision: int32(s.Revision), ExpiresAt: s.ExpiresAt, ExpiryID: optional(s.ExpiryID),
	}
	if s.SavedConfig != nil {
		p.SavedConfig = marshal(s.SavedConfig)
	}
	return tx.q.InsertRevisionService(ctx, p)
}

func nonNil(c service.Config) service.Config {
	if c == nil {
		return service.Config{}
	}
	return c
}

// Revision is one recorded desired state of a decky.
type Revision struct {
	ID       uuid.UUID
	DeckyID  uuid.UUID
	Number   int
	State    string
	Removed  bool
	Services []decky.Service
}

// RevisionsOf returns the revisions an operation wrote, at most one of every decky.
func (tx *Tx) RevisionsOf(ctx context.Context, operationID uuid.UUID) ([]Revision, error) {
	rows, err := tx.q.ListRevisionsByOperation(ctx, &operationID)
	if err != nil {
		return nil, err
	}
	ids := make([]uuid.UUID, len(rows))
	for i, r := range rows {
		ids[i] = r.ID
	}
	list, err := services(ctx, tx.q, ids...)
	revisions := make([]Revision, len(rows))
	for i, r := range rows {
		revisions[i] = Revision{ID: r.ID, DeckyID: r.DeckyID, Number: int(r.Number), State: r.State, Removed: r.Removed, Services: list[r.ID]}
	}
	return revisions, err
}

// ActivateRevision closes a decky's active revision and makes the pending one active.
func (tx *Tx) ActivateRevision(ctx context.Context, deckyID, revisionID uuid.UUID) error {
	if err := tx.q.CloseActiveRevision(ctx, deckyID); err != nil {
		return err
	}
	return tx.q.ActivateRevision(ctx, revisionID)
}

// DiscardRevision gives up the revision an operation wrote, if it is still pending.
func (tx *Tx) DiscardRevision(ctx context.Context, operationID uuid.UUID) error {
	return tx.q.DiscardRevision(ctx, &operationID)
}

// RevisionNumber returns one revision of a decky that was active once. Any other number is a NotFound fault
// (revision_not_found).
func (tx *Tx) RevisionNumber(ctx context.Context, deckyID uuid.UUID, number int) (Revision, error) {
	none := fault.New(fault.NotFound, "revision_not_found", "the decky has no such revision")
	if number < 1 || number > math.MaxInt32 {
		return Revision{}, none
	}
	row, err := tx.q.GetRevisionByNumber(ctx, dbsqlc.GetRevisionByNumberParams{DeckyID: deckyID, Number: int32(number)})
	if err != nil {
		return Revision{}, notFound(err, none)
	}
	if row.ActivatedAt == nil {
		return Revision{}, none
	}
	list, err := services(ctx, tx.q, row.ID)
	return Revision{ID: row.ID, DeckyID: deckyID, Number: int(row.Number), State: row.State, Removed: row.Removed, Services: list[row.ID]}, err
}

// DeckyAt returns the decky of a name as its revision that was active at an instant had it, or a NotFound fault
// (decky_not_found). What has no past (its state and where it is reached) is empty unless the revision is active now.
func (s *Store) DeckyAt(ctx context.Context, scope, name string, at time.Time) (decky.Decky, error) {
	q := s.queries()
	rev, err := q.GetRevisionAt(ctx, dbsqlc.GetRevisionAtParams{Scope: scope, Name: name, At: &at})
	if err != nil {
		return decky.Decky{}, notFound(err, decky.NotFound())
	}
	row, err := q.GetDecky(ctx, rev.DeckyID)
	if err != nil {
		return decky.Decky{}, notFound(err, decky.NotFound())
	}
	list, err := services(ctx, q, rev.ID)
	if err != nil {
		return decky.Decky{}, err
	}
	d := toDecky(row)
	d.Revision, d.Services = int(rev.Number), list[rev.ID]
	if rev.State != string(RevisionActive) {
		d.State, d.StateReason = "", ""
		return d, nil
	}
	endpoints, err := q.ListEndpoints(ctx, []uuid.UUID{d.ID})
	for _, e := range endpoints {
		d.Endpoints = append(d.Endpoints, toEndpoint(e))
	}
	return d, interpret(err)
}

// PastRevision is a revision that was active once, with the operation that made it. ClosedAt is nil while it is active.
type PastRevision struct {
	Revision
	OperationID uuid.UUID
	Kind        operation.Kind
	Actor       string
	ActivatedAt time.Time
	ClosedAt    *time.Time
}

// Revisions lists the revisions of a decky that were active once, newest first, beginning below a number (0 for the
// newest).
func (s *Store) Revisions(ctx context.Context, deckyID uuid.UUID, before, limit int) ([]PastRevision, error) {
	if before <= 0 {
		before = math.MaxInt32
	}
	q := s.queries()
	rows, err := q.ListRevisions(ctx, dbsqlc.ListRevisionsParams{DeckyID: deckyID, BeforeNumber: int32(before), MaxRows: int32(limit)})
	if err != nil {
		return nil, interpret(err)
	}
	ids := make([]uuid.UUID, len(rows))
	for i, r := range rows {
		ids[i] = r.ID
	}
	list, err := services(ctx, q, ids...)
	if err != nil {
		return nil, err
	}
	past := make([]PastRevision, len(rows))
	for i, r := range rows {
		past[i] = PastRevision{
			Revision:    Revision{ID: r.ID, DeckyID: deckyID, Number: int(r.Number), State: r.State, Removed: r.Removed, Services: list[r.ID]},
			OperationID: deref(r.OperationID), Kind: operation.Kind(r.Kind), Actor: r.Actor, ActivatedAt: *r.ActivatedAt, ClosedAt: r.ClosedAt,
		}
	}
	return past, nil
}
