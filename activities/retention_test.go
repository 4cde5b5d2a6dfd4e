package activities_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"

	"github.com/decnet/decnet/activities"
	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/db/dbtest"
	"github.com/decnet/decnet/internal/retention"
)

// keeper is a host with files of decoys and a database.
type keeper struct {
	*bundle
	url   string
	tree  retention.Tree
	files *activities.Files
	rows  *activities.Retention
	now   time.Time
}

func newKeeper(t *testing.T) *keeper {
	t.Helper()
	k := &keeper{url: dbtest.URL(t), now: time.Now()}
	store, err := db.Open(t.Context(), k.url)
	require.NoError(t, err)
	t.Cleanup(store.Close)
	k.bundle = setupOn(t, store)
	dir := t.TempDir()
	k.tree = retention.Tree{Artifacts: filepath.Join(dir, "artifacts"), Kept: filepath.Join(dir, "kept")}
	require.NoError(t, os.Mkdir(k.tree.Artifacts, 0o750))
	log := slog.New(slog.DiscardHandler)
	k.files = &activities.Files{Store: store, Tree: k.tree, Now: func() time.Time { return k.now }, Log: log}
	k.rows = &activities.Retention{Store: store, Log: log, Rows: 200}
	return k
}

func (k *keeper) exec(sql string, args ...any) {
	k.t.Helper()
	conn, err := pgx.Connect(k.t.Context(), k.url)
	require.NoError(k.t, err)
	defer func() { _ = conn.Close(context.Background()) }()
	_, err = conn.Exec(k.t.Context(), sql, args...)
	require.NoError(k.t, err)
}

func (k *keeper) count(sql string) (n int) {
	k.t.Helper()
	conn, err := pgx.Connect(k.t.Context(), k.url)
	require.NoError(k.t, err)
	defer func() { _ = conn.Close(context.Background()) }()
	require.NoError(k.t, conn.QueryRow(k.t.Context(), sql).Scan(&n))
	return n
}

func (k *keeper) trimRows() (out activities.TrimRowsResult) {
	k.t.Helper()
	k.run(k.rows, k.rows.TrimRows, &out)
	return out
}

func (k *keeper) trimFiles() (out activities.TrimFilesResult) {
	k.t.Helper()
	k.run(k.files, k.files.TrimFiles, &out)
	return out
}

func (k *keeper) run(acts, method, out any) {
	k.t.Helper()
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	env.RegisterActivity(acts)
	value, err := env.ExecuteActivity(method)
	require.NoError(k.t, err)
	require.NoError(k.t, value.Get(out))
}

func (k *keeper) set(class db.RetentionClass, l db.RetentionLimits) {
	k.t.Helper()
	_, err := k.store.SetRetention(k.t.Context(), class, l, "alice")
	require.NoError(k.t, err)
}

func (k *keeper) of(class db.RetentionClass) db.Retention {
	k.t.Helper()
	all, err := k.store.Retention(k.t.Context())
	require.NoError(k.t, err)
	for _, r := range all {
		if r.Class == class {
			return r
		}
	}
	k.t.Fatal(class)
	return db.Retention{}
}

// file makes a file of 8 KiB below the artifacts that was written some days ago.
func (k *keeper) file(days int, parts ...string) string {
	k.t.Helper()
	return k.fileAt(days, filepath.Join(append([]string{k.tree.Artifacts}, parts...)...))
}

func (k *keeper) fileAt(days int, path string) string {
	k.t.Helper()
	require.NoError(k.t, os.MkdirAll(filepath.Dir(path), 0o750))
	require.NoError(k.t, os.WriteFile(path, []byte(strings.Repeat("x", 8000)), 0o640))
	at := k.now.AddDate(0, 0, -days)
	require.NoError(k.t, os.Chtimes(path, at, at))
	return path
}

func storedName(n int) string {
	return time.Date(2026, 1, 1, 0, 0, n, 0, time.UTC).Format("2006-01-02T15:04:05Z") + "_0123456789ab_f"
}

// artifact makes an artifact that came in some days ago, with its file.
func (k *keeper) artifact(days, n int, service, folder string) (path string) {
	k.t.Helper()
	path = k.file(0, "web-01", folder, storedName(n))
	k.artifactRow(days, storedName(n), service)
	return path
}

func (k *keeper) artifactRow(days int, name, service string) {
	k.t.Helper()
	k.exec(`INSERT INTO artifacts (id, key, kind, decky_key, decky_name, service, folder, stored_as, attacker_id, attacker_ip, time, received_at)
		VALUES ($1, $2, 'file', 'web-01', 'web-01', $4, $4, $3, $1, '192.0.2.1', '2020-01-01', $5)`,
		uuid.New(), []byte(uuid.NewString()), name, service, k.now.AddDate(0, 0, -days))
}

func shard(day time.Time) string { return "sessions-" + day.UTC().Format(time.DateOnly) + ".jsonl" }

func TestTrimFiles_ArtifactsByAgeOfIngest(t *testing.T) {
	t.Parallel()
	k := newKeeper(t)
	k.set(db.RetainArtifacts, db.RetentionLimits{MaxAgeDays: 10})
	old := k.artifact(11, 1, "docker_api", "docker-api")
	young := k.artifact(9, 2, "ssh", "ssh")
	k.artifactRow(11, storedName(3), "ssh")              // its file is gone already
	orphan := k.file(11, "web-01", "ssh", storedName(4)) // no row ever came of it
	fresh := k.file(5, "web-01", "ssh", storedName(5))
	late := k.file(20, "web-01", "ssh", storedName(6)) // read long after it was written
	k.artifactRow(1, storedName(6), "ssh")

	k.now = k.now.Add(2 * time.Hour) // nobody has written for a while
	out := k.trimFiles()
	require.EqualValues(t, 2, out.Removed)
	require.NoFileExists(t, old)
	require.NoFileExists(t, orphan)
	for _, path := range []string{young, fresh, late} {
		require.FileExists(t, path)
	}
	require.Equal(t, 2, k.count(`SELECT count(*) FROM artifacts WHERE removed_at IS NOT NULL`))
	require.Equal(t, 4, k.count(`SELECT count(*) FROM artifacts`), "rows stay")
	require.Zero(t, k.trimFiles().Removed, "twice")
	r := k.of(db.RetainArtifacts)
	require.EqualValues(t, 2, r.Removed)
	require.EqualValues(t, 3, r.Usage.Rows)
	require.Positive(t, r.Usage.Bytes)
}

func TestTrimFiles_ArtifactsByQuota(t *testing.T) {
	t.Parallel()
	k := newKeeper(t)
	var paths []string
	for n := range 6 {
		paths = append(paths, k.artifact(20-n, n, "ssh", "ssh")) // the first came in first
	}
	k.now = k.now.Add(2 * time.Hour)
	k.set(db.RetainArtifacts, db.RetentionLimits{MaxRows: 4})
	require.EqualValues(t, 2, k.trimFiles().Removed)
	require.NoFileExists(t, paths[0])
	require.NoFileExists(t, paths[1])
	require.FileExists(t, paths[2])
	bytes := k.of(db.RetainArtifacts).Usage.Bytes
	k.set(db.RetainArtifacts, db.RetentionLimits{MaxBytes: bytes - 1})
	require.EqualValues(t, 1, k.trimFiles().Removed)
	require.NoFileExists(t, paths[2])
	require.Equal(t, 3, k.count(`SELECT count(*) FROM artifacts WHERE removed_at IS NOT NULL`))
	require.Zero(t, k.trimFiles().Removed, "twice")
}

func (k *keeper) session(service, name string, started time.Time, ended any) {
	k.t.Helper()
	k.exec(`INSERT INTO sessions (id, decky_key, session, decky_name, service, attacker_id, attacker_ip, started_at, last_seen, ended_at, recorded, boot, line, opened)
		VALUES ($1, 'web-01', $2, 'web-01', $3, $1, '192.0.2.1', $4, $4, $5, true, '', 1, true)`, uuid.New(), name, service, started, ended)
}

func TestTrimFiles_RecordingsByAgeAndQuota(t *testing.T) {
	t.Parallel()
	k := newKeeper(t)
	day := func(ago int) time.Time { return k.now.UTC().Truncate(24*time.Hour).AddDate(0, 0, -ago) }
	paths := map[int]string{}
	for _, ago := range []int{0, 1, 2, 8, 12} {
		paths[ago] = k.file(ago, "web-01", "ssh", "transcripts", shard(day(ago)))
		k.session("ssh", shard(day(ago)), day(ago), day(ago).Add(time.Second))
	}
	telnet := k.file(12, "web-01", "telnet", "transcripts", shard(day(12)))
	k.set(db.RetainRecordings, db.RetentionLimits{MaxAgeDays: 10})
	require.EqualValues(t, 2, k.trimFiles().Removed)
	require.NoFileExists(t, paths[12])
	require.NoFileExists(t, telnet)
	require.Equal(t, 1, k.count(`SELECT count(*) FROM sessions WHERE recording_removed_at IS NOT NULL`))

	// A session that began the day before yesterday goes on: its shard stays, and today's, whatever the quota.
	k.session("ssh", "goes on", day(2).Add(time.Hour), nil)
	k.set(db.RetainRecordings, db.RetentionLimits{MaxBytes: 1})
	require.EqualValues(t, 2, k.trimFiles().Removed)
	require.NoFileExists(t, paths[8])
	require.NoFileExists(t, paths[1])
	require.FileExists(t, paths[2])
	require.FileExists(t, paths[0])
	require.Equal(t, 3, k.count(`SELECT count(*) FROM sessions WHERE recording_removed_at IS NOT NULL`))
	require.Zero(t, k.trimFiles().Removed, "twice")
	require.EqualValues(t, 4, k.of(db.RetainRecordings).Removed)
	require.EqualValues(t, 2, k.of(db.RetainRecordings).Usage.Rows)
}

func TestTrimFiles_KeptLogs(t *testing.T) {
	t.Parallel()
	k := newKeeper(t)
	kept := func(days int) string {
		return k.fileAt(days, filepath.Join(k.tree.Kept, uuid.NewString(), "web-01", "ssh", uuid.NewString()+".log"))
	}
	old, young := kept(8), kept(3)
	require.EqualValues(t, 1, k.trimFiles().Removed, "seven days is the default")
	require.NoFileExists(t, old)
	live := kept(0)
	k.set(db.RetainLogs, db.RetentionLimits{MaxBytes: 1})
	require.EqualValues(t, 1, k.trimFiles().Removed)
	require.NoFileExists(t, young)
	require.FileExists(t, live, "it may still be written")
	require.Zero(t, k.trimFiles().Removed, "twice")
	require.EqualValues(t, 2, k.of(db.RetainLogs).Removed)
}

// What a decoy puts in the way is neither followed nor removed, and does not keep the pass from its work.
func TestTrimFiles_HostileFiles(t *testing.T) {
	t.Parallel()
	k := newKeeper(t)
	k.set(db.RetainArtifacts, db.RetentionLimits{MaxAgeDays: 1, MaxBytes: 1})
	k.set(db.RetainRecordings, db.RetentionLimits{MaxAgeDays: 1, MaxBytes: 1})
	k.set(db.RetainLogs, db.RetentionLimits{MaxAgeDays: 1, MaxBytes: 1})
	outside := k.fileAt(50, filepath.Join(filepath.Dir(k.tree.Artifacts), "outside"))
	spool := filepath.Join(k.tree.Artifacts, "web-01", "ssh")
	old := time.Now().AddDate(0, 0, -50)
	hostile := map[string]func(string) error{
		storedName(1):               func(p string) error { return os.Symlink(outside, p) },
		storedName(2):               func(p string) error { return syscall.Mkfifo(p, 0o640) },
		storedName(3):               func(p string) error { return os.Mkdir(p, 0o750) },
		storedName(4) + "\n":        func(p string) error { return os.WriteFile(p, nil, 0o640) },
		storedName(5):               func(p string) error { return os.Link(outside, p) },
		"transcripts/" + shard(old): func(p string) error { return os.Symlink(outside, p) },
		"transcripts/" + shard(old.AddDate(0, 0, -2)): func(p string) error { return os.Mkdir(p, 0o750) },
	}
	k.file(50, "web-01", "ssh", "transcripts", shard(old.AddDate(0, 0, -1)))
	for name, put := range hostile {
		require.NoError(t, put(filepath.Join(spool, name)))
		if n := strings.TrimSuffix(name, "\n"); n == name && !strings.Contains(name, "/") {
			k.artifactRow(50, name, "ssh")
		}
	}
	k.artifactRow(50, "../../../outside", "ssh")
	k.artifactRow(50, storedName(6), "../ssh")
	out := k.trimFiles()
	require.EqualValues(t, 1, out.Removed)
	require.Equal(t, len(hostile), out.Foreign)
	for name := range hostile {
		_, err := os.Lstat(filepath.Join(spool, name))
		require.NoError(t, err, name)
	}
	content, err := os.ReadFile(outside)
	require.NoError(t, err)
	require.Len(t, content, 8000)
	require.Zero(t, k.count(`SELECT count(*) FROM artifacts WHERE removed_at IS NULL`), "there is no content of theirs")
	require.Zero(t, k.trimFiles().Removed, "twice")
}

func TestTrimFiles_FoldersOfDeckiesThatAreGone(t *testing.T) {
	t.Parallel()
	k := newKeeper(t)
	k.create("web-01")
	past := time.Now().Add(-2 * time.Hour)
	for _, dir := range []string{"web-01/ssh", "web-02/ssh"} {
		path := filepath.Join(k.tree.Artifacts, dir)
		require.NoError(t, os.MkdirAll(path, 0o750))
		require.NoError(t, os.Chtimes(path, past, past))
	}
	k.trimFiles()
	require.DirExists(t, filepath.Join(k.tree.Artifacts, "web-01/ssh"))
	require.NoDirExists(t, filepath.Join(k.tree.Artifacts, "web-02/ssh"))
	require.NoError(t, os.Chtimes(filepath.Join(k.tree.Artifacts, "web-02"), past, past))
	k.trimFiles()
	require.NoDirExists(t, filepath.Join(k.tree.Artifacts, "web-02"))
}

func (k *keeper) addEvents(n, days int) {
	k.t.Helper()
	k.exec(`INSERT INTO events (received_at, time, decky_key, decky_name, service, type, class, fields, msg, raw, document)
		SELECT now() - $2::int * interval '1 day', '2020-01-01', 'web-01', 'web-01', 'ssh', 'command', 'interaction', '{}', 'm', 'r', 'a:1' FROM generate_series(1, $1::int)`, n, days)
}

func (k *keeper) addBounties(n, days int) {
	k.t.Helper()
	k.exec(`INSERT INTO bounties (id, key, type, kind, decky_key, decky_name, service, attacker_id, attacker_ip, payload, time, received_at)
		SELECT gen_random_uuid(), sha256(gen_random_uuid()::text::bytea), 'fingerprint', 'ja3', 'web-01', 'web-01', 'https', gen_random_uuid(), '192.0.2.1', '{}', '2020-01-01', now() - $2::int * interval '1 day'
		FROM generate_series(1, $1::int)`, n, days)
}

func TestTrimRows_AllClassesByAgeThenQuota(t *testing.T) {
	t.Parallel()
	k := newKeeper(t)
	k.addEvents(1500, 40)
	k.addEvents(1300, 5)
	k.addBounties(700, 40)
	k.addBounties(50, 5)
	k.set(db.RetainEvents, db.RetentionLimits{MaxAgeDays: 30, MaxRows: 1000})
	k.set(db.RetainBounties, db.RetentionLimits{MaxAgeDays: 30})
	id := uuid.New()
	require.NoError(t, k.store.StartRole(t.Context(), db.RoleInstance{ID: id, Role: "runtime", HostID: "h1"}))
	out := k.trimRows()
	require.EqualValues(t, 1800+700, out.Removed)
	require.False(t, out.More)
	require.Equal(t, []string{"h1"}, out.Hosts)
	require.Equal(t, 1000, k.count(`SELECT count(*) FROM events`))
	require.Equal(t, 50, k.count(`SELECT count(*) FROM bounties`))
	events := k.of(db.RetainEvents)
	require.EqualValues(t, 1800, events.Removed)
	require.EqualValues(t, 1000, events.Usage.Rows)
	require.NotNil(t, events.MeasuredAt)
	require.WithinDuration(t, time.Now().AddDate(0, 0, -5), events.Usage.Oldest, 2*time.Hour)

	again := k.trimRows()
	require.Zero(t, again.Removed, "twice")
	require.EqualValues(t, 1800, k.of(db.RetainEvents).Removed)

	// A change holds from the next pass on, and one back brings nothing back.
	k.set(db.RetainEvents, db.RetentionLimits{MaxAgeDays: 3})
	require.EqualValues(t, 1000, k.trimRows().Removed)
	require.True(t, k.of(db.RetainEvents).Usage.Oldest.IsZero())
	k.set(db.RetainEvents, db.RetentionLimits{})
	require.Zero(t, k.trimRows().Removed)
}

// One that is cancelled ends soon, and what it had done counts.
func TestTrimRows_EndsWithItsContext(t *testing.T) {
	t.Parallel()
	k := newKeeper(t)
	k.addEvents(5000, 400)
	k.rows.Rows = 10
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	env.RegisterActivity(k.rows)
	env.SetTestTimeout(time.Minute)
	env.SetWorkerOptions(worker.Options{BackgroundActivityContext: ctx})
	_, err := env.ExecuteActivity(k.rows.TrimRows)
	require.Error(t, err)
	left := k.count(`SELECT count(*) FROM events`)
	require.Less(t, left, 5000)
	require.Positive(t, left)
	require.EqualValues(t, 5000-left, k.of(db.RetainEvents).Removed)
	k.rows.Rows = 2000
	require.EqualValues(t, left, k.trimRows().Removed)
}
