package recovery_test

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	temporallog "go.temporal.io/sdk/log"

	"github.com/decnet/decnet/activities"
	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/db/dbtest"
	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/dispatch"
	"github.com/decnet/decnet/internal/embedded/embeddedtest"
	"github.com/decnet/decnet/internal/imports"
	"github.com/decnet/decnet/internal/ingest"
	"github.com/decnet/decnet/internal/ingest/cowrie/cowrietest"
	"github.com/decnet/decnet/internal/role/recovery"
	"github.com/decnet/decnet/internal/secretbox"
	"github.com/decnet/decnet/worker"
	"github.com/decnet/decnet/workflows"
)

var quiet = slog.New(slog.DiscardHandler)

// bundle is recovery on a real Postgres and a real Temporal.
type bundle struct {
	t        *testing.T
	store    *db.Store
	conn     *pgx.Conn
	temporal client.Client
	dispatch *dispatch.Dispatcher
	recovery *recovery.Recovery
}

func setup(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{t: t}
	url := dbtest.URL(t)
	address, namespace := embeddedtest.Temporal(t)
	var err error
	b.store, err = db.Open(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(b.store.Close)
	b.conn, err = pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = b.conn.Close(context.WithoutCancel(t.Context())) })
	b.temporal, err = client.Dial(client.Options{HostPort: address, Namespace: namespace, Logger: temporallog.NewStructuredLogger(quiet)})
	require.NoError(t, err)
	t.Cleanup(b.temporal.Close)
	box, err := secretbox.New(make([]byte, secretbox.KeyBytes))
	require.NoError(t, err)
	b.dispatch = dispatch.New(b.store, b.temporal, box, quiet)
	b.recovery = &recovery.Recovery{
		Store: b.store, Temporal: b.temporal, Namespace: namespace, Dispatcher: b.dispatch, Log: quiet, Ready: func() {},
	}
	b.start(worker.Control(b.temporal, worker.ControlActivities{
		Mutation:  &activities.Mutation{Store: b.store, Box: box, Pool: decky.Pool{Prefix: decky.LoopbackPool}, HostID: "h1", Now: time.Now},
		Scope:     &activities.Scope{Store: b.store, Temporal: b.temporal, MutationID: workflows.MutationID},
		Expiry:    &activities.Expiry{Store: b.store, Accept: b.dispatch.Accept, Hash: b.dispatch.RequestHash, Now: time.Now},
		Import:    b.importer(b.store),
		Retention: &activities.Retention{Store: b.store, Log: quiet},
	}))
	return b
}

func (b *bundle) importer(store activities.ImportStore) *activities.Import {
	return &activities.Import{Store: store, Extractor: ingest.NewExtractor(nil), Log: quiet}
}

// start runs a worker until the test or the returned function ends it.
func (b *bundle) start(w worker.Worker) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.t.Context()))
	var running sync.WaitGroup
	running.Go(func() { _ = w.Run(ctx, func() {}) })
	stop = func() { cancel(); running.Wait() }
	b.t.Cleanup(stop)
	return stop
}

func (b *bundle) pass() {
	b.t.Helper()
	_, err := b.recovery.Pass(b.t.Context())
	require.NoError(b.t, err)
}

// upload makes an import of a log of so many lines.
func (b *bundle) upload(lines int) imports.Import {
	b.t.Helper()
	var log bytes.Buffer
	require.NoError(b.t, cowrietest.Write(&log, 3, lines))
	im, err := b.store.CreateImport(b.t.Context(), imports.Cowrie, "log", "alice")
	require.NoError(b.t, err)
	_, err = b.store.Upload(b.t.Context(), im.ID, &log)
	require.NoError(b.t, err)
	return im
}

func (b *bundle) finish(im imports.Import) imports.Import {
	b.t.Helper()
	im, err := b.store.FinishUpload(b.t.Context(), im.ID)
	require.NoError(b.t, err)
	return im
}

func (b *bundle) requireExact(id uuid.UUID, lines int64) {
	b.t.Helper()
	var im imports.Import
	require.Eventually(b.t, func() bool {
		var err error
		im, err = b.store.Import(b.t.Context(), id)
		return err == nil && !im.State.Open()
	}, time.Minute, 20*time.Millisecond)
	require.Equal(b.t, imports.Succeeded, im.State, "%+v", im.Fault)
	require.Equal(b.t, []int64{lines, 0, lines, lines}, []int64{im.Stored, im.Duplicates, im.Report.Read, im.Report.Kept})
	require.Equal(b.t, lines, b.count("events"))
}

func (b *bundle) count(table string) (n int64) {
	b.t.Helper()
	require.NoError(b.t, b.conn.QueryRow(b.t.Context(), "SELECT count(*) FROM "+table).Scan(&n))
	return n
}

// held is a store whose second batch does not end before it is told to, or the attempt is over.
type held struct {
	*db.Store
	mu      sync.Mutex
	batches int
	reached chan struct{}
}

func (h *held) Ingest(ctx context.Context, batch db.IngestBatch) (db.IngestResult, error) {
	h.mu.Lock()
	h.batches++
	n := h.batches
	h.mu.Unlock()
	if n == 2 {
		close(h.reached)
		<-ctx.Done()
		return db.IngestResult{}, ctx.Err()
	}
	return h.Store.Ingest(ctx, batch)
}

func TestPass_StartsImportsThatHaveNoWorkflow(t *testing.T) {
	t.Parallel()
	b := setup(t)
	im := b.finish(b.upload(3000))
	b.start(worker.Intel(b.temporal, b.importer(b.store)))
	for range 2 {
		b.pass()
	}
	b.requireExact(im.ID, 3000)
	b.pass()
	require.Zero(t, b.count("import_chunks"))
}

func TestPass_ImportGoesOnAfterItsWorkflowWasLost(t *testing.T) {
	t.Parallel()
	b := setup(t)
	im := b.finish(b.upload(9000))
	h := &held{Store: b.store, reached: make(chan struct{})}
	b.start(worker.Intel(b.temporal, b.importer(h)))
	b.dispatch.StartImport(t.Context(), im)
	<-h.reached
	b.pass()
	require.EqualValues(t, 2000, b.count("events"), "the open workflow is left alone")
	require.NoError(t, b.temporal.TerminateWorkflow(t.Context(), workflows.ImportID(im.ID), "", "lost"))
	b.pass()
	b.requireExact(im.ID, 9000)
}

func TestIntel_WorkerThatEndsHandsItsImportOver(t *testing.T) {
	t.Parallel()
	b := setup(t)
	im := b.finish(b.upload(9000))
	h := &held{Store: b.store, reached: make(chan struct{})}
	stop := b.start(worker.Intel(b.temporal, b.importer(h)))
	b.dispatch.StartImport(t.Context(), im)
	<-h.reached
	stop()
	require.EqualValues(t, 2000, b.count("events"))
	b.start(worker.Intel(b.temporal, b.importer(b.store)))
	b.requireExact(im.ID, 9000)
}

func TestIntel_CancelledInTemporalEndsTheImport(t *testing.T) {
	t.Parallel()
	b := setup(t)
	im := b.finish(b.upload(9000))
	h := &held{Store: b.store, reached: make(chan struct{})}
	b.start(worker.Intel(b.temporal, b.importer(h)))
	b.dispatch.StartImport(t.Context(), im)
	<-h.reached
	require.NoError(t, b.temporal.CancelWorkflow(t.Context(), workflows.ImportID(im.ID), ""))
	require.Eventually(t, func() bool {
		now, err := b.store.Import(t.Context(), im.ID)
		return err == nil && now.State == imports.Cancelled
	}, time.Minute, 20*time.Millisecond)
	b.pass()
	require.Zero(t, b.count("import_chunks"), "what was uploaded is removed")
	require.EqualValues(t, 2000, b.count("events"), "what was stored stays")
}

func TestPass_EndsAbandonedUploadsOnly(t *testing.T) {
	t.Parallel()
	b := setup(t)
	abandoned, slow := b.upload(5000), b.upload(10)
	_, err := b.conn.Exec(t.Context(), "UPDATE imports SET touched_at = now() - interval '11 minutes' WHERE id = $1", abandoned.ID)
	require.NoError(t, err)
	b.pass()
	im, err := b.store.Import(t.Context(), abandoned.ID)
	require.NoError(t, err)
	require.Equal(t, imports.Failed, im.State)
	require.Equal(t, "upload_interrupted", im.Fault.Code)
	require.EqualValues(t, 1, b.count("import_chunks"), "of the other one")
	b.finish(slow)
}
