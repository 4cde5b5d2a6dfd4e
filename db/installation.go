package db

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/decnet/decnet/db/dbsqlc"
	"github.com/decnet/decnet/internal/clock"
	"github.com/decnet/decnet/internal/fault"
)

// Installation identifies this control plane. Epoch rises with every restore of the database.
type Installation struct {
	ID              uuid.UUID
	Epoch           int
	Runtime         string // "" until the first start chose one
	RelayKillSwitch bool
}

// Installation returns the installation's row and makes it at the first call.
func (s *Store) Installation(ctx context.Context) (Installation, error) {
	r, err := s.queries().EnsureInstallation(ctx, uuid.New())
	return Installation{ID: r.ID, Epoch: int(r.Epoch), Runtime: deref(r.Runtime), RelayKillSwitch: r.RelayKillSwitch}, interpret(err)
}

// ChooseRuntime stores which runtime runs the decoys. Another one than before is a Conflict (runtime_in_use) while
// deckies exist.
func (s *Store) ChooseRuntime(ctx context.Context, name string) error {
	return s.InTx(ctx, func(tx *Tx) error {
		row, err := tx.q.EnsureInstallation(ctx, uuid.New())
		if err != nil {
			return err
		}
		if row.Runtime != nil && *row.Runtime != name {
			deckies, err := tx.q.CountDeckies(ctx)
			if err != nil {
				return err
			}
			if deckies > 0 {
				return fault.New(fault.Conflict, "runtime_in_use",
					"%d deckies run on the %s runtime: delete them before starting with %s", deckies, *row.Runtime, name)
			}
		}
		return tx.q.SetRuntime(ctx, &name)
	})
}

// RaiseEpoch starts a new epoch after a restore and engages the relay kill switch. A lower or equal epoch changes nothing.
func (s *Store) RaiseEpoch(ctx context.Context, epoch int) error {
	return interpret(s.queries().RaiseEpoch(ctx, int32(epoch)))
}

// RoleInstance is one running process's share in a role.
type RoleInstance struct {
	ID        uuid.UUID
	Role      string
	HostID    string
	PID       int
	StartedAt time.Time
	SeenAt    time.Time
}

// StartRole records that a process begins to serve a role. Its start counts as a disturbance (Quiescence).
func (s *Store) StartRole(ctx context.Context, r RoleInstance) error {
	return interpret(s.queries().StartRole(ctx, dbsqlc.StartRoleParams{ID: r.ID, Role: r.Role, HostID: r.HostID, PID: int32(r.PID)}))
}

// TouchRole records that the process still serves the role.
func (s *Store) TouchRole(ctx context.Context, id uuid.UUID) error {
	return interpret(s.queries().TouchRole(ctx, id))
}

// StopRole records a clean end.
func (s *Store) StopRole(ctx context.Context, id uuid.UUID) error {
	return interpret(s.queries().StopRole(ctx, id))
}

// LastStopClean reports whether the latest other instance of a role ended cleanly; true when there was none.
func (s *Store) LastStopClean(ctx context.Context, role string, self uuid.UUID) (bool, error) {
	clean, err := s.queries().LastRoleStopped(ctx, dbsqlc.LastRoleStoppedParams{Role: role, ID: self})
	if fault.KindOf(interpret(err)) == fault.NotFound {
		return true, nil
	}
	return clean, interpret(err)
}

// Roles lists the instances that reported within the last minute.
func (s *Store) Roles(ctx context.Context) ([]RoleInstance, error) {
	rows, err := s.queries().ListRoles(ctx)
	roles := make([]RoleInstance, len(rows))
	for i, r := range rows {
		roles[i] = RoleInstance{ID: r.ID, Role: r.Role, HostID: r.HostID, PID: int(r.PID), StartedAt: r.StartedAt, SeenAt: r.SeenAt}
	}
	return roles, interpret(err)
}

// ObserverPass is the last complete comparison of reality with desired state on one host.
type ObserverPass struct {
	HostID     string
	StartedAt  time.Time
	FinishedAt time.Time
	Decoys     int
	Drift      int
}

// RecordPass stores a host's last pass.
func (s *Store) RecordPass(ctx context.Context, p ObserverPass) error {
	return interpret(s.queries().UpsertObserverPass(ctx, dbsqlc.UpsertObserverPassParams{
		HostID: p.HostID, StartedAt: p.StartedAt, Decoys: int32(p.Decoys), Drift: int32(p.Drift),
	}))
}

// Quiescence is what decides whether the system is at rest.
type Quiescence struct {
	OpenOperations int64
	Reconciling    int64
	LastDisturbed  time.Time
	Passes         []ObserverPass
}

// Quiet reports whether no operation is open, no decky is reconciling, and every host finished an observer pass that
// began after the last disturbance and found nothing amiss.
func (q Quiescence) Quiet() bool {
	quiet := q.OpenOperations == 0 && q.Reconciling == 0 && len(q.Passes) > 0
	for _, p := range q.Passes {
		quiet = quiet && p.StartedAt.After(q.LastDisturbed) && p.Drift == 0
	}
	return quiet
}

// Quiescence reads all of it in one snapshot.
func (s *Store) Quiescence(ctx context.Context) (q Quiescence, err error) {
	err = pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(raw pgx.Tx) error {
		queries := dbsqlc.New(raw)
		var ended, started time.Time
		if q.OpenOperations, err = queries.CountOpenOperations(ctx); err != nil {
			return err
		}
		if q.Reconciling, err = queries.CountDeckiesInState(ctx, "reconciling"); err != nil {
			return err
		}
		if ended, err = queries.LastOperationEnd(ctx); err != nil {
			return err
		}
		if started, err = queries.LastRoleStart(ctx); err != nil {
			return err
		}
		rows, err := queries.ListObserverPasses(ctx)
		for _, r := range rows {
			q.Passes = append(q.Passes, ObserverPass{HostID: r.HostID, StartedAt: r.StartedAt, FinishedAt: r.FinishedAt, Decoys: int(r.Decoys), Drift: int(r.Drift)})
		}
		q.LastDisturbed = ended
		if started.After(ended) {
			q.LastDisturbed = started
		}
		return err
	})
	return q, interpret(err)
}

// Lock is an exclusive right held in the database: it ends with the connection, so a killed holder blocks nobody.
type Lock struct {
	conn *pgxpool.Conn
	name string
}

// TryLock takes the named lock unless another process has it; then the result is nil.
func (s *Store) TryLock(ctx context.Context, name string) (*Lock, error) {
	return s.lock(ctx, name, "SELECT pg_try_advisory_lock(hashtextextended($1, 0))")
}

// WaitLock takes the named lock, waiting until ctx ends.
func (s *Store) WaitLock(ctx context.Context, name string) (*Lock, error) {
	return s.lock(ctx, name, "SELECT true FROM pg_advisory_lock(hashtextextended($1, 0))")
}

func (s *Store) lock(ctx context.Context, name, query string) (*Lock, error) {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return nil, interpret(err)
	}
	var taken bool
	if err := conn.QueryRow(ctx, query, name).Scan(&taken); err != nil || !taken {
		conn.Release()
		return nil, interpret(err)
	}
	return &Lock{conn: conn, name: name}, nil
}

// Held returns an error when the connection that carries the lock is lost.
func (l *Lock) Held(ctx context.Context) error {
	if err := l.conn.Ping(ctx); err != nil {
		return fmt.Errorf("lock %q: %w", l.name, interpret(err))
	}
	return nil
}

// Release gives the lock back. It closes the connection when the database does not confirm.
func (l *Lock) Release() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second) //nolint:forbidigo // also after the holder was cancelled
	defer cancel()
	var done bool
	err := l.conn.QueryRow(ctx, "SELECT pg_advisory_unlock(hashtextextended($1, 0))", l.name).Scan(&done)
	if err != nil || !done {
		_ = l.conn.Conn().Close(ctx)
	}
	l.conn.Release()
}

// Listen calls fn with the payload of every notification on some channels until ctx ends or the connection is lost; the
// caller must then poll once and listen again. ready is closed once no later notification can be missed.
func (s *Store) Listen(ctx context.Context, ready func(), fn func(payload string), channels ...string) error {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return interpret(err)
	}
	raw := conn.Hijack() // a connection that listens must not go back to the pool
	defer func() { _ = raw.Close(context.WithoutCancel(ctx)) }()
	for _, channel := range channels {
		if _, err := raw.Exec(ctx, "LISTEN "+pgx.Identifier{channel}.Sanitize()); err != nil {
			return interpret(err)
		}
	}
	ready()
	for {
		n, err := raw.WaitForNotification(ctx)
		if err != nil {
			return interpret(err)
		}
		fn(n.Payload)
	}
}

// DeleteOldRoles forgets role instances that have not reported for a week.
func (s *Store) DeleteOldRoles(ctx context.Context) error {
	return interpret(s.queries().DeleteOldRoles(ctx))
}

// Wakes delivers a value after notifications on some channels, several at once as one, and whenever some may have been
// missed. stop must be called.
func (s *Store) Wakes(ctx context.Context, channels ...string) (wake <-chan struct{}, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ch, done := make(chan struct{}, 1), make(chan struct{})
	poke := func() {
		select {
		case ch <- struct{}{}:
		default: // one waits already
		}
	}
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			_ = s.Listen(ctx, poke, func(string) { poke() }, channels...) // it only ends when the connection is lost
			clock.Sleep(ctx, time.Second)
		}
	}()
	return ch, func() { cancel(); <-done }
}

// Keep returns nil when ctx ends, and an error as soon as the connection that carries the lock is lost.
func (l *Lock) Keep(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := l.Held(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		clock.Sleep(ctx, time.Second)
	}
	return nil
}
