package db_test

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver of goose
	"github.com/pressly/goose/v3"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/db/dbtest"
	"github.com/decnet/decnet/internal/embedded/embeddedtest"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/operation"
)

func TestMigrations_UpDownUpAlsoWithRows(t *testing.T) {
	t.Parallel()
	url := embeddedtest.EmptyDatabase(t)
	conn, err := sql.Open("pgx", url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	provider, err := goose.NewProvider(goose.DialectPostgres, conn, db.Migrations())
	require.NoError(t, err)
	_, err = provider.Up(t.Context())
	require.NoError(t, err)

	store, err := db.Open(t.Context(), url)
	require.NoError(t, err)
	_, err = store.Installation(t.Context())
	require.NoError(t, err)
	add(t, store, newOperation())
	ingestOnce(t, store)
	store.Close()

	_, err = provider.DownTo(t.Context(), 0)
	require.NoError(t, err)
	var left int
	require.NoError(t, conn.QueryRowContext(t.Context(),
		`SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
		 WHERE nspname = 'public' AND relkind IN ('r', 'S') AND relname NOT LIKE 'goose%'`).Scan(&left))
	require.Zero(t, left, "down leaves tables behind")
	_, err = provider.Up(t.Context())
	require.NoError(t, err)
}

func TestMigrate_ManyAtOnce(t *testing.T) {
	t.Parallel()
	url := embeddedtest.EmptyDatabase(t)
	errs := make(chan error, 5)
	for range cap(errs) {
		go func() {
			store, err := db.Open(context.WithoutCancel(t.Context()), url)
			if err == nil {
				err = store.Migrate(context.WithoutCancel(t.Context()))
				store.Close()
			}
			errs <- err
		}()
	}
	for range cap(errs) {
		require.NoError(t, <-errs)
	}
}

func newOperation() operation.Operation {
	return operation.Operation{
		ID: uuid.Must(uuid.NewV7()), Scope: "fleet", Lane: uuid.NewString(), Kind: operation.AddService, Actor: "alice",
		State: operation.Received, RequestHash: []byte{1},
	}
}

func add(t *testing.T, store *db.Store, op operation.Operation) operation.Operation {
	t.Helper()
	stored, _, err := store.AddOperation(t.Context(), op, []byte("sealed"))
	require.NoError(t, err)
	return stored
}

func TestAddOperation_OneKeyIsOneOperation(t *testing.T) {
	t.Parallel()
	store := dbtest.Open(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	ids, added := map[uuid.UUID]bool{}, 0
	for range 50 {
		wg.Go(func() {
			op := newOperation()
			op.IdempotencyKey = "k"
			stored, fresh, err := store.AddOperation(t.Context(), op, []byte("sealed"))
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			ids[stored.ID] = true
			if fresh {
				added++
			}
		})
	}
	wg.Wait()
	require.Len(t, ids, 1)
	require.Equal(t, 1, added)

	other := newOperation()
	other.IdempotencyKey, other.RequestHash = "k", []byte{2}
	_, _, err := store.AddOperation(t.Context(), other, []byte("sealed"))
	f, _ := fault.As(err)
	require.Equal(t, "idempotency_key_reused", f.Code)
	other.Actor = "bob"
	require.Equal(t, other.ID, add(t, store, other).ID, "keys of another actor are other keys")
}

func TestOperations_KeysetPagesAreComplete(t *testing.T) {
	t.Parallel()
	store := dbtest.Open(t)
	var want []uuid.UUID
	for range 25 {
		want = append([]uuid.UUID{add(t, store, newOperation()).ID}, want...)
	}
	var got []uuid.UUID
	before := int64(0)
	for {
		page, err := store.Operations(t.Context(), db.OperationFilter{BeforeSeq: before, Limit: 7, Actor: "alice"})
		require.NoError(t, err)
		if len(page) == 0 {
			break
		}
		for _, op := range page {
			got = append(got, op.ID)
		}
		before = page[len(page)-1].Seq
	}
	require.Equal(t, want, got)
}

func TestInTx_RollsBackAndTriesSerializationFailuresAgain(t *testing.T) {
	t.Parallel()
	store := dbtest.Open(t)
	boom := errors.New("boom")
	op := add(t, store, newOperation())
	err := store.InTx(t.Context(), func(tx *db.Tx) error {
		require.NoError(t, tx.StartOperation(t.Context(), op.ID, "run"))
		return boom
	})
	require.ErrorIs(t, err, boom)
	got, err := store.Operation(t.Context(), op.ID)
	require.NoError(t, err)
	require.Equal(t, operation.Received, got.State)

	// Two transactions that lock two rows in opposite order: Postgres ends one, InTx runs it again.
	second := add(t, store, newOperation())
	var wg sync.WaitGroup
	lockBoth := func(first, then uuid.UUID) {
		err := store.InTx(t.Context(), func(tx *db.Tx) error {
			if _, _, err := tx.LockOperation(t.Context(), first); err != nil {
				return err
			}
			_, _, err := tx.LockOperation(t.Context(), then)
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	for range 3 {
		wg.Go(func() { lockBoth(op.ID, second.ID) })
		wg.Go(func() { lockBoth(second.ID, op.ID) })
		wg.Wait()
	}
}

func TestLock_EndsWithItsConnection(t *testing.T) {
	t.Parallel()
	url := dbtest.URL(t)
	a, err := db.Open(t.Context(), url)
	require.NoError(t, err)
	defer a.Close()
	held, err := a.TryLock(t.Context(), "name")
	require.NoError(t, err)
	require.NotNil(t, held)
	again, err := a.TryLock(t.Context(), "name")
	require.NoError(t, err)
	require.Nil(t, again, "another connection of the same process does not get it either")

	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	_, err = conn.Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())")
	require.NoError(t, err)
	require.Error(t, held.Keep(t.Context()), "the holder notices")
	held.Release()
	require.Eventually(t, func() bool { // the server takes a moment to end the connection
		next, err := a.TryLock(t.Context(), "name")
		if err != nil || next == nil {
			return false
		}
		next.Release()
		return true
	}, 30*time.Second, 10*time.Millisecond)
}

func TestWakes_HearsOfEndedOperations(t *testing.T) {
	t.Parallel()
	store := dbtest.Open(t)
	wake, stop := store.Wakes(t.Context(), "operation_ended")
	defer stop()
	<-wake // listening began
	op := add(t, store, newOperation())
	require.NoError(t, store.InTx(t.Context(), func(tx *db.Tx) error {
		return tx.EndOperation(t.Context(), op.ID, operation.Cancelled, operation.CancelledFault(), nil)
	}))
	select {
	case <-wake:
	case <-time.After(10 * time.Second):
		t.Fatal("no notification")
	}
}

func TestQuiescence(t *testing.T) {
	t.Parallel()
	store := dbtest.Open(t)
	quiet := func() bool {
		q, err := store.Quiescence(t.Context())
		require.NoError(t, err)
		return q.Quiet()
	}
	pass := func(drift int) {
		now, err := store.Now(t.Context())
		require.NoError(t, err)
		require.NoError(t, store.RecordPass(t.Context(), db.ObserverPass{HostID: "h", StartedAt: now, Drift: drift}))
	}
	require.False(t, quiet(), "nobody has looked yet")
	pass(0)
	require.True(t, quiet())
	pass(1)
	require.False(t, quiet(), "drift")
	pass(0)
	require.NoError(t, store.StartRole(t.Context(), db.RoleInstance{ID: uuid.New(), Role: "worker", HostID: "h"}))
	require.False(t, quiet(), "a role started since")
	pass(0)
	op := add(t, store, newOperation())
	require.False(t, quiet(), "an operation is open")
	require.NoError(t, store.InTx(t.Context(), func(tx *db.Tx) error {
		if err := tx.StartOperation(t.Context(), op.ID, "run"); err != nil {
			return err
		}
		return tx.EndOperation(t.Context(), op.ID, operation.Failed, fault.New(fault.OperationFailed, "x", "y"), nil)
	}))
	require.False(t, quiet(), "an operation ended since")
	pass(0)
	require.True(t, quiet())
	refused := newOperation()
	refused.State = operation.Refused
	add(t, store, refused)
	require.True(t, quiet(), "what was refused at the door disturbed nothing")
}

func TestChooseRuntime_AnotherOneIsRefusedOnlyWhileDeckiesExist(t *testing.T) {
	t.Parallel()
	store := dbtest.Open(t)
	require.NoError(t, store.ChooseRuntime(t.Context(), "process"))
	require.NoError(t, store.ChooseRuntime(t.Context(), "docker"))
	require.NoError(t, store.ChooseRuntime(t.Context(), "process"))
}

// TestMigrate_WaitsForADatabaseThatGoesAway: a role that starts while Postgres is restarted must not end for it.
func TestMigrate_WaitsForADatabaseThatGoesAway(t *testing.T) {
	t.Parallel()
	url := dbtest.URL(t)
	killer, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer func() { _ = killer.Close(context.WithoutCancel(t.Context())) }()
	store, err := db.Open(t.Context(), url)
	require.NoError(t, err)
	defer store.Close()
	done := make(chan error, 1)
	killed := 0
	for range 5 {
		go func() { done <- store.Migrate(t.Context()) }()
		for range 40 {
			tag, err := killer.Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
			require.NoError(t, err)
			killed += int(tag.RowsAffected())
		}
		require.NoError(t, <-done)
	}
	require.Positive(t, killed)
}
