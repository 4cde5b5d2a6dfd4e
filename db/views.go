package db

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/decnet/decnet/db/dbsqlc"
	"github.com/decnet/decnet/internal/fault"
)

const (
	// statementLimit bounds one statement of a view, idleLimit how long one may wait for its reader between two.
	statementLimit = 10 * time.Second
	idleLimit      = 10 * time.Minute
	queryCanceled  = "57014"
)

// View reads what was ingested, all of it as it was at one moment. It must not be used after the function it was given to
// returned.
type View struct {
	q *dbsqlc.Queries
}

// View runs fn on a snapshot of the database. A statement that takes too long is an Unprocessable fault (search_too_slow).
func (s *Store) View(ctx context.Context, fn func(*View) error) error {
	return s.view(ctx, statementLimit, fn)
}

func (s *Store) view(ctx context.Context, limit time.Duration, fn func(*View) error) error {
	options := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err := pgx.BeginTxFunc(ctx, s.pool, options, func(raw pgx.Tx) error {
		v := &View{q: dbsqlc.New(raw)}
		if err := v.q.SetViewLimits(ctx, dbsqlc.SetViewLimitsParams{
			StatementMs: strconv.FormatInt(limit.Milliseconds(), 10), IdleMs: strconv.FormatInt(idleLimit.Milliseconds(), 10),
		}); err != nil {
			return err
		}
		return fn(v)
	})
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == queryCanceled && ctx.Err() == nil {
		return fault.New(fault.Unprocessable, "search_too_slow",
			"the search takes too long: narrow it by time, or by what is rarer").Wrap(err)
	}
	return interpret(err)
}

// Scope is what most lists can be narrowed by; zero fields do not. From is inclusive, To is not.
type Scope struct {
	Attacker       uuid.UUID
	Decky, Service string
	From, To       time.Time
}

// Place is where a list ordered by time goes on, behind the row with these; the zero Place is the beginning.
type Place struct {
	Time time.Time
	ID   uuid.UUID
}

// convert turns rows into what they stand for.
func convert[R, T any](rows []R, err error, to func(R) T) ([]T, error) {
	if err != nil {
		return nil, err
	}
	out := make([]T, len(rows))
	for i, r := range rows {
		out[i] = to(r)
	}
	return out, nil
}
