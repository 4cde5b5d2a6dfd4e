package db

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/decnet/decnet/db/dbsqlc"
)

// AbandonedAfter is how long after its first line a session that never ended counts as open.
const AbandonedAfter = 30 * 24 * time.Hour

const (
	// selfChecksKept is how late a line of a self check may be read and still be known for one.
	selfChecksKept = 7 * 24 * time.Hour
	// chunkStep is how many chunks of imports, of a MiB or so, go in one transaction.
	chunkStep = 32
	// sessionStep bounds the sessions that are locked at a time.
	sessionStep = 500
)

// forever is after everything that came in.
var forever = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// TrimStep is one short transaction that removes the oldest rows of a class.
type TrimStep struct {
	Class RetentionClass
	// Before keeps what came in later; zero removes rows whatever their age.
	Before time.Time
	// Limit is how many rows to remove at most.
	Limit int
	// After is where the step before ended: what it left stays for the next pass.
	After TrimMark
}

// TrimMark is how far a class is trimmed.
type TrimMark struct {
	ID int64
	At time.Time
}

// Trim makes a step and counts what it removed on the row of the class. 0 means that nothing more can be removed now. Rows
// that somebody works with, sessions that are open, and imports that have not ended are left alone, and nobody waits for the
// step longer than it takes. It never waits for a lock of a row.
func (s *Store) Trim(ctx context.Context, step TrimStep) (removed int64, next TrimMark, err error) {
	if step.Before.IsZero() {
		step.Before = forever
	}
	err = s.InTx(ctx, func(tx *Tx) error {
		if err := tx.q.PlanIngest(ctx); err != nil { // the oldest rows are found by indexes, too
			return err
		}
		if removed, next, err = tx.trim(ctx, step); err != nil || removed == 0 {
			return err
		}
		return tx.q.AddRetentionRemoved(ctx, dbsqlc.AddRetentionRemovedParams{Class: string(step.Class), Removed: removed})
	})
	return removed, next, err
}

func (tx *Tx) trim(ctx context.Context, s TrimStep) (removed int64, next TrimMark, err error) {
	next = s.After
	limit := int32(s.Limit)
	switch s.Class {
	case RetainEvents:
		row, err := tx.q.TrimEvents(ctx, dbsqlc.TrimEventsParams{After: s.After.ID, Horizon: s.Before, MaxRows: limit})
		next.ID = row.Last
		return row.Removed, next, err
	case RetainSessions:
		return tx.trimSessions(ctx, s)
	case RetainBounties:
		row, err := tx.q.TrimBounties(ctx, dbsqlc.TrimBountiesParams{After: s.After.At, Horizon: s.Before, MaxRows: limit})
		next.At = row.Last
		return row.Removed, next, err
	case RetainCredentials:
		row, err := tx.q.TrimCredentials(ctx, dbsqlc.TrimCredentialsParams{After: s.After.At, Horizon: s.Before, MaxRows: limit})
		next.At = row.Last
		return row.Removed, next, err
	case RetainImports:
		removed, err = tx.q.TrimImports(ctx, dbsqlc.TrimImportsParams{Horizon: &s.Before, MaxRows: limit})
		return removed, next, err
	case RetainArtifacts, RetainRecordings, RetainLogs:
	}
	return 0, next, fmt.Errorf("%s are no rows", s.Class)
}

// trimSessions removes commands before the sessions they belong to, so that a session with very many goes in several steps,
// and then those of no session that came in as early.
func (tx *Tx) trimSessions(ctx context.Context, s TrimStep) (removed int64, next TrimMark, err error) {
	old, err := tx.q.LockOldSessions(ctx, dbsqlc.LockOldSessionsParams{
		After: s.After.At, Horizon: s.Before, Abandoned: interval(AbandonedAfter), MaxRows: int32(min(s.Limit, sessionStep)),
	})
	if err != nil {
		return 0, s.After, err
	}
	ids, upto := firstSessions(old, s.Limit)
	if len(ids) == 0 {
		upto = s.Before
	}
	left := int64(s.Limit)
	for _, part := range []func(limit int32) (int64, error){
		func(limit int32) (int64, error) {
			return tx.q.TrimCommandsOfSessions(ctx, dbsqlc.TrimCommandsOfSessionsParams{Sessions: ids, MaxRows: limit})
		},
		func(int32) (int64, error) { return tx.q.TrimSessions(ctx, ids) },
		func(limit int32) (int64, error) {
			return tx.q.TrimLooseCommands(ctx, dbsqlc.TrimLooseCommandsParams{
				After: s.After.At, Upto: upto, Horizon: s.Before, MaxRows: limit,
			})
		},
	} {
		n, err := part(int32(left))
		if err != nil {
			return 0, s.After, err
		}
		removed += n
		if left -= n; left <= 0 {
			return removed, s.After, nil // there may be more of the same
		}
	}
	next = s.After
	if len(ids) > 0 {
		next.At = upto
	}
	return removed, next, nil
}

// firstSessions returns the sessions that make about as many rows as asked for, and when the last of them came in.
func firstSessions(old []dbsqlc.LockOldSessionsRow, rows int) (ids []uuid.UUID, upto time.Time) {
	ids = []uuid.UUID{}
	for _, s := range old {
		if rows <= 0 {
			break
		}
		ids, upto = append(ids, s.ID), s.ReceivedAt
		rows -= 1 + int(s.Commands)
	}
	return ids, upto
}

// Sweep makes a step in removing what has no limits of its own: the content of imports that ended, and self checks whose
// lines were read long ago. 0 means that there is nothing left.
func (s *Store) Sweep(ctx context.Context, limit int) (removed int64, err error) {
	chunks, err := s.queries().TrimImportChunks(ctx, int32(min(limit, chunkStep)))
	if err != nil {
		return 0, interpret(err)
	}
	checks, err := s.queries().TrimSelfChecks(ctx, dbsqlc.TrimSelfChecksParams{Kept: interval(selfChecksKept), MaxRows: int32(limit)})
	return chunks + checks, interpret(err)
}
