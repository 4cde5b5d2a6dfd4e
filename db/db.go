// Package db is the control plane's memory: a pool, one transaction helper, migrations, and queries that speak domain
// types. Generated rows do not leave it.
//
// Lock order inside a transaction: operation, decky, addresses. Ingest takes locks of its own first: cursors or the import, slots
// of decky keys, attackers by address, sessions by decky key and session, commands, bounties, artifacts and credentials each by
// key, reuse by secret, sequences and outcomes by key; and deckies, by name, last. Who deletes rows of it skips the locked ones.
// Nothing here talks to the network but to Postgres.
package db

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/decnet/decnet/db/dbsqlc"
	"github.com/decnet/decnet/internal/clock"
	"github.com/decnet/decnet/internal/fault"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations returns the migration files, for tests and tools that need their content.
func Migrations() fs.FS {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the path is a constant
	}
	return sub
}

// Store gives access to the database. It is safe for concurrent use.
type Store struct {
	pool *pgxpool.Pool
}

// Open connects to a database, waiting for it until ctx ends, and does not migrate it.
func Open(ctx context.Context, url string) (*Store, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("parse database url: %w", redactURL(err))
	}
	config.MaxConns = 32
	config.MaxConnIdleTime = time.Minute
	config.AfterConnect = func(_ context.Context, conn *pgx.Conn) error {
		sendUUIDs(conn.TypeMap())
		return nil
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	ping := func() (struct{}, error) { return struct{}{}, pool.Ping(ctx) }
	if _, err := backoff.Retry(ctx, ping, backoff.WithMaxElapsedTime(0)); err != nil {
		pool.Close()
		return nil, fmt.Errorf("reach database: %w", err)
	}
	return &Store{pool: pool}, nil
}

// redactURL keeps pgx's parse errors, which quote the connection string, from showing a password.
func redactURL(err error) error {
	var parse *pgconn.ParseConfigError
	if errors.As(err, &parse) {
		return errors.New("the connection string is not valid")
	}
	return err
}

// Close waits for borrowed connections and closes the pool.
func (s *Store) Close() { s.pool.Close() }

// Ping reports whether the database answers, as a fault when it does not.
func (s *Store) Ping(ctx context.Context) error { return interpret(s.pool.Ping(ctx)) }

// Migrate brings the schema up to date. Several processes may call it at once: a session lock lets one of them work. A database
// that goes away meanwhile is waited for until ctx ends.
func (s *Store) Migrate(ctx context.Context) error {
	return Patiently(ctx, func() error { return s.migrate(ctx) })
}

// Patiently calls fn, with growing pauses, until ctx ends or fn gives something other than what a database gives that is away.
// A process that starts meanwhile waits for it so, instead of ending.
func Patiently(ctx context.Context, fn func() error) error {
	try := func() (struct{}, error) {
		err := fn()
		if err != nil && fault.KindOf(interpret(err)) != fault.Unavailable {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}
	_, err := backoff.Retry(ctx, try, backoff.WithMaxElapsedTime(0))
	return err
}

func (s *Store) migrate(ctx context.Context) error {
	conn := stdlib.OpenDBFromPool(s.pool)
	defer func() { _ = conn.Close() }()
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return fmt.Errorf("migration lock: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, conn, Migrations(), goose.WithSessionLocker(locker))
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

// Tx is a transaction. It must not be used after the function it was given to returned.
type Tx struct {
	q   *dbsqlc.Queries
	raw pgx.Tx
}

const (
	serializationFailure = "40001"
	deadlockDetected     = "40P01"
	maxTransactionTries  = 5
)

// InTx runs fn in a transaction: it commits when fn returns nil and rolls back otherwise. Serialization failures and
// deadlocks are tried again, so fn may run more than once. Errors come back as faults where they have a meaning.
func (s *Store) InTx(ctx context.Context, fn func(*Tx) error) error {
	var err error
	for try := range maxTransactionTries {
		// Opponents of a deadlock must not meet again at once.
		clock.Sleep(ctx, time.Duration(try)*rand.N(20*time.Millisecond)) //nolint:gosec // not a secret
		err = pgx.BeginFunc(ctx, s.pool, func(raw pgx.Tx) error {
			return fn(&Tx{q: dbsqlc.New(raw), raw: raw})
		})
		if !repeatable(err) {
			break
		}
	}
	return interpret(err)
}

func repeatable(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == serializationFailure || pg.Code == deadlockDetected)
}

func (s *Store) queries() *dbsqlc.Queries { return dbsqlc.New(s.pool) }

// Now returns the database's clock, by which all times of rows are kept.
func (s *Store) Now(ctx context.Context) (time.Time, error) {
	t, err := s.queries().Now(ctx)
	return t, interpret(err)
}

// newID returns a UUIDv7 (RFC 9562): ids of one table sort by time of creation.
func newID() uuid.UUID { return uuid.Must(uuid.NewV7()) }

func ptr[T any](v T) *T { return &v }

// optional returns nil for the zero value, as nullable columns want it.
func optional[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
