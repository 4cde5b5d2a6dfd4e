package recovery_test

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	temporallog "go.temporal.io/sdk/log"

	"github.com/decnet/decnet/activities"
	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/db/dbtest"
	"github.com/decnet/decnet/internal/dispatch"
	"github.com/decnet/decnet/internal/embedded/embeddedtest"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/retention"
	"github.com/decnet/decnet/internal/role/recovery"
	"github.com/decnet/decnet/internal/secretbox"
	"github.com/decnet/decnet/worker"
	"github.com/decnet/decnet/workflows"
)

// hosted is a database with a host, next to a Temporal that may be exchanged for an empty one.
type hosted struct {
	t        *testing.T
	url      string
	store    *db.Store
	temporal client.Client
	d        *dispatch.Dispatcher
	r        *recovery.Recovery
}

func setupHost(t *testing.T) *hosted {
	t.Helper()
	b := &hosted{t: t, url: dbtest.URL(t)}
	var err error
	b.store, err = db.Open(t.Context(), b.url)
	require.NoError(t, err)
	t.Cleanup(b.store.Close)
	require.NoError(t, b.store.StartRole(t.Context(), db.RoleInstance{ID: uuid.New(), Role: "runtime", HostID: "h1"}))
	b.newTemporal()
	return b
}

func (b *hosted) newTemporal() {
	b.t.Helper()
	address, namespace := embeddedtest.Temporal(b.t)
	c, err := client.Dial(client.Options{HostPort: address, Namespace: namespace, Logger: temporallog.NewStructuredLogger(quiet)})
	require.NoError(b.t, err)
	b.t.Cleanup(c.Close)
	box, err := secretbox.New(make([]byte, secretbox.KeyBytes))
	require.NoError(b.t, err)
	b.temporal, b.d = c, dispatch.New(b.store, c, box, quiet)
	b.r = &recovery.Recovery{Store: b.store, Temporal: c, Namespace: namespace, Dispatcher: b.d, Log: quiet, Ready: func() {}}
}

func (b *hosted) pass() {
	b.t.Helper()
	_, err := b.r.Pass(b.t.Context())
	require.NoError(b.t, err)
}

func (b *hosted) schedule(id string) *client.ScheduleDescription {
	b.t.Helper()
	d, err := b.temporal.ScheduleClient().GetHandle(b.t.Context(), id).Describe(b.t.Context())
	require.NoError(b.t, err)
	return d
}

func (b *hosted) requireRetention() {
	b.t.Helper()
	s := b.schedule(workflows.RetentionScheduleID).Schedule
	require.Equal(b.t, 10*time.Minute, s.Spec.Intervals[0].Every)
	require.Equal(b.t, enums.SCHEDULE_OVERLAP_POLICY_SKIP, s.Policy.Overlap)
	require.Equal(b.t, 10*time.Second, s.Policy.CatchupWindow)
	action, ok := s.Action.(*client.ScheduleWorkflowAction)
	require.True(b.t, ok)
	require.Equal(b.t, workflows.RetentionType, action.Workflow)
	require.Equal(b.t, workflows.ControlQueue, action.TaskQueue)
}

func TestPass_SchedulesWhatRecurs(t *testing.T) {
	t.Parallel()
	b := setupHost(t)
	b.pass()
	b.requireRetention()
	b.schedule(workflows.ObserveScheduleID("h1"))
	made := b.schedule(workflows.RetentionScheduleID).Info.CreatedAt
	b.pass()
	b.requireRetention()
	info := b.schedule(workflows.RetentionScheduleID).Info
	require.Equal(t, made, info.CreatedAt)
	require.Zero(t, info.LastUpdateAt.Unix(), "one that is right is not touched")

	b.newTemporal() // its database was lost
	b.pass()
	b.requireRetention()
	b.schedule(workflows.ObserveScheduleID("h1"))
}

// A schedule of an earlier release becomes that of this one; one that somebody paused stays paused.
func TestPass_CorrectsSchedules(t *testing.T) {
	t.Parallel()
	b := setupHost(t)
	b.pass()
	handle := b.temporal.ScheduleClient().GetHandle(t.Context(), workflows.RetentionScheduleID)
	require.NoError(t, handle.Update(t.Context(), client.ScheduleUpdateOptions{
		DoUpdate: func(in client.ScheduleUpdateInput) (*client.ScheduleUpdate, error) {
			s := in.Description.Schedule
			s.Spec.Intervals[0].Every = 48 * time.Hour
			s.Policy.Overlap = enums.SCHEDULE_OVERLAP_POLICY_ALLOW_ALL
			return &client.ScheduleUpdate{Schedule: &s}, nil
		},
	}))
	require.NoError(t, handle.Pause(t.Context(), client.SchedulePauseOptions{Note: "by hand"}))
	require.Eventually(t, func() bool { // the server takes up what it was told in its own time
		return b.schedule(workflows.RetentionScheduleID).Schedule.State.Paused
	}, time.Minute, 20*time.Millisecond)
	b.pass()
	b.requireRetention()
	require.True(t, b.schedule(workflows.RetentionScheduleID).Schedule.State.Paused)
}

func (b *hosted) exec(sql string, args ...any) {
	b.t.Helper()
	conn, err := pgx.Connect(b.t.Context(), b.url)
	require.NoError(b.t, err)
	defer func() { _ = conn.Close(context.Background()) }()
	_, err = conn.Exec(b.t.Context(), sql, args...)
	require.NoError(b.t, err)
}

func (b *hosted) settings(class db.RetentionClass) db.Retention {
	b.t.Helper()
	all, err := b.store.Retention(b.t.Context())
	require.NoError(b.t, err)
	for _, r := range all {
		if r.Class == class {
			return r
		}
	}
	b.t.Fatal(class)
	return db.Retention{}
}

// TestRetention_RunsFromItsSchedule has real workers carry out passes that are asked for: of the settings as they are then.
func TestRetention_RunsFromItsSchedule(t *testing.T) {
	t.Parallel()
	b := setupHost(t)
	require.Equal(t, fault.Unavailable, fault.KindOf(b.d.RunRetention(t.Context())), "before recovery")
	b.pass()
	artifacts := t.TempDir()
	shard := filepath.Join(artifacts, "web-01", "ssh", "transcripts", "sessions-2020-01-01.jsonl")
	require.NoError(t, os.MkdirAll(filepath.Dir(shard), 0o750))
	require.NoError(t, os.WriteFile(shard, []byte("{}\n"), 0o640))
	old := time.Now().AddDate(-1, 0, 0)
	require.NoError(t, os.Chtimes(shard, old, old))
	b.exec(`INSERT INTO events (received_at, time, decky_key, decky_name, service, type, class, fields, msg, raw, document)
		SELECT now() - interval '50 days', '2020-01-01', 'web-01', 'web-01', 'ssh', 'command', 'interaction', '{}', 'm', 'r', 'a:1' FROM generate_series(1, 5000)`)
	b.work(artifacts)

	require.NoError(t, b.d.RunRetention(t.Context()))
	require.Eventually(t, func() bool { return b.settings(db.RetainRecordings).Removed == 1 }, time.Minute, 50*time.Millisecond)
	require.NoFileExists(t, shard)
	require.EqualValues(t, 5000, b.settings(db.RetainEvents).Usage.Rows, "90 days is the default")

	_, err := b.store.SetRetention(t.Context(), db.RetainEvents, db.RetentionLimits{MaxAgeDays: 30}, "alice")
	require.NoError(t, err)
	require.NoError(t, b.d.RunRetention(t.Context()))
	require.Eventually(t, func() bool {
		r := b.settings(db.RetainEvents)
		return r.Removed == 5000 && r.Usage.Rows == 0
	}, time.Minute, 50*time.Millisecond)
}

func (b *hosted) work(artifacts string) {
	b.t.Helper()
	control := worker.Control(b.temporal, worker.ControlActivities{
		Mutation: &activities.Mutation{}, Scope: &activities.Scope{}, Expiry: &activities.Expiry{}, Import: &activities.Import{},
		Retention: &activities.Retention{Store: b.store, Log: quiet},
	})
	host := worker.Runtime(b.temporal, "h1", &activities.Runtime{Store: b.store, Look: func(context.Context) error { return nil }},
		&activities.Files{Store: b.store, Tree: retention.Tree{Artifacts: artifacts}, Now: time.Now, Log: quiet})
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.t.Context()))
	var wg sync.WaitGroup
	for _, w := range []worker.Worker{control, host} {
		wg.Go(func() { _ = w.Run(ctx, func() {}) })
	}
	b.t.Cleanup(func() { cancel(); wg.Wait() })
}
