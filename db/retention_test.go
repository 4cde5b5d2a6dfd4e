package db_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/db/dbtest"
	"github.com/decnet/decnet/internal/fault"
)

// keeper is a database whose rows can be given any age.
type keeper struct {
	*db.Store
	t   *testing.T
	url string
}

func newKeeper(t *testing.T) *keeper {
	t.Helper()
	k := &keeper{t: t, url: dbtest.URL(t)}
	var err error
	k.Store, err = db.Open(t.Context(), k.url)
	require.NoError(t, err)
	t.Cleanup(k.Close)
	return k
}

func (k *keeper) connect() *pgx.Conn {
	k.t.Helper()
	conn, err := pgx.Connect(k.t.Context(), k.url)
	require.NoError(k.t, err)
	k.t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func (k *keeper) exec(sql string, args ...any) {
	k.t.Helper()
	conn := k.connect()
	_, err := conn.Exec(k.t.Context(), sql, args...)
	require.NoError(k.t, err)
	require.NoError(k.t, conn.Close(k.t.Context()))
}

func (k *keeper) one(sql string, args ...any) (n int64) {
	k.t.Helper()
	conn := k.connect()
	require.NoError(k.t, conn.QueryRow(k.t.Context(), sql, args...).Scan(&n))
	require.NoError(k.t, conn.Close(k.t.Context()))
	return n
}

const (
	addEvents = `INSERT INTO events (received_at, time, decky_key, decky_name, service, type, class, fields, msg, raw, document)
		SELECT $2, '2020-01-01', 'web-01', 'web-01', 'ssh', 'command', 'interaction', '{"a": "b"}', 'm', repeat('x', 300), 'a:1' FROM generate_series(1, $1::int)`
	addBounties = `INSERT INTO bounties (id, key, type, kind, decky_key, decky_name, service, attacker_id, attacker_ip, payload, time, received_at)
		SELECT gen_random_uuid(), sha256(gen_random_uuid()::text::bytea), 'fingerprint', 'ja3', 'web-01', 'web-01', 'https', gen_random_uuid(), '192.0.2.1', '{}', '2020-01-01', $2
		FROM generate_series(1, $1::int)`
	addCredentials = `INSERT INTO credentials (id, key, decky_key, decky_name, service, attacker_id, attacker_ip, principal, secret_kind, secret_sha256, secret_printable, secret_b64, attempt_count, first_seen, last_seen, received_at)
		SELECT gen_random_uuid(), sha256(gen_random_uuid()::text::bytea), 'web-01', 'web-01', 'ssh', gen_random_uuid(), '192.0.2.1', 'root', 'plaintext', repeat('a', 64), 'x', 'eA==', 1, '2020-01-01', '2020-01-01', $2
		FROM generate_series(1, $1::int)`
	// Every session has as many commands as $3 says.
	addSessions = `WITH s AS (
		INSERT INTO sessions (id, decky_key, session, decky_name, service, attacker_id, attacker_ip, started_at, last_seen, ended_at, commands, boot, line, opened, received_at)
		SELECT gen_random_uuid(), 'web-01', gen_random_uuid()::text, 'web-01', 'ssh', gen_random_uuid(), '192.0.2.1', '2020-01-01', '2020-01-01', $4, $3, '', 1, true, $2
		FROM generate_series(1, $1::int) RETURNING session)
		INSERT INTO commands (id, decky_key, ref, decky_name, service, session, attacker_id, attacker_ip, time, line, text, received_at, document)
		SELECT gen_random_uuid(), 'web-01', s.session || '#' || n, 'web-01', 'ssh', s.session, gen_random_uuid(), '192.0.2.1', '2020-01-01', n, 'id', $2, 'id:1' FROM s, generate_series(1, $3::int) n`
	addLooseCommands = `INSERT INTO commands (id, decky_key, ref, decky_name, service, session, attacker_id, attacker_ip, time, line, text, received_at, document)
		SELECT gen_random_uuid(), 'web-01', gen_random_uuid()::text, 'web-01', 'ssh', '', gen_random_uuid(), '192.0.2.1', '2020-01-01', n, 'id', $2, 'id:1' FROM generate_series(1, $1::int) n`
	addImports = `INSERT INTO imports (id, format, name, actor, state, created_at, ended_at)
		SELECT gen_random_uuid(), 'cowrie', 'n', 'alice', 'succeeded', $2, $2 FROM generate_series(1, $1::int)`
)

func (k *keeper) add(class db.RetentionClass, n int, at time.Time) {
	k.t.Helper()
	switch class {
	case db.RetainEvents:
		k.exec(addEvents, n, at)
	case db.RetainSessions:
		k.exec(addSessions, n, at, 0, at)
	case db.RetainBounties:
		k.exec(addBounties, n, at)
	case db.RetainCredentials:
		k.exec(addCredentials, n, at)
	case db.RetainImports:
		k.exec(addImports, n, at)
	case db.RetainArtifacts, db.RetainRecordings, db.RetainLogs:
		k.t.Fatal("no rows")
	}
}

// trim makes steps until there is nothing more to remove.
func (k *keeper) trim(class db.RetentionClass, before time.Time, limit int) (removed int64) {
	k.t.Helper()
	step := db.TrimStep{Class: class, Before: before, Limit: limit}
	for {
		n, next, err := k.Trim(k.t.Context(), step)
		require.NoError(k.t, err)
		require.LessOrEqual(k.t, n, int64(limit)+500, "a step is bounded")
		removed, step.After = removed+n, next
		if n == 0 {
			return removed
		}
	}
}

func (k *keeper) settings(class db.RetentionClass) db.Retention {
	k.t.Helper()
	all, err := k.Retention(k.t.Context())
	require.NoError(k.t, err)
	for _, r := range all {
		if r.Class == class {
			return r
		}
	}
	k.t.Fatal(class)
	return db.Retention{}
}

func (k *keeper) set(class db.RetentionClass, l db.RetentionLimits) db.Retention {
	k.t.Helper()
	r, err := k.SetRetention(k.t.Context(), class, l, "alice")
	require.NoError(k.t, err)
	return r
}

func (k *keeper) measure(r db.Retention) db.Measurement {
	k.t.Helper()
	m, err := k.Measure(k.t.Context(), r)
	require.NoError(k.t, err)
	return m
}

func TestTrim_ByAge(t *testing.T) {
	t.Parallel()
	for _, class := range db.RowClasses() {
		t.Run(string(class), func(t *testing.T) {
			t.Parallel()
			k := newKeeper(t)
			now := time.Now()
			k.add(class, 700, now.AddDate(0, 0, -11))
			k.add(class, 300, now.AddDate(0, 0, -9))
			r := k.set(class, db.RetentionLimits{MaxAgeDays: 10})
			require.EqualValues(t, 700, k.trim(class, r.Horizon, 128))
			require.Zero(t, k.trim(class, r.Horizon, 128), "twice")
			m := k.measure(r)
			require.EqualValues(t, 300, m.Rows)
			require.Zero(t, m.Excess)
			require.WithinDuration(t, now.AddDate(0, 0, -9), m.Oldest, time.Second)
			require.EqualValues(t, 700, k.settings(class).Removed)
		})
	}
}

func TestTrim_ByQuota(t *testing.T) {
	t.Parallel()
	for _, class := range db.RowClasses() {
		t.Run(string(class), func(t *testing.T) {
			t.Parallel()
			k := newKeeper(t)
			now := time.Now()
			k.add(class, 500, now.Add(-2*time.Hour))
			k.add(class, 700, now.Add(-time.Hour))
			r := k.set(class, db.RetentionLimits{MaxRows: 1000})
			require.True(t, r.Horizon.IsZero())
			m := k.measure(r)
			require.EqualValues(t, 200, m.Excess)
			n, _, err := k.Trim(t.Context(), db.TrimStep{Class: class, Limit: int(m.Excess)})
			require.NoError(t, err)
			require.EqualValues(t, 200, n)
			m = k.measure(r)
			require.EqualValues(t, 1000, m.Rows)
			require.Zero(t, m.Excess)
			require.WithinDuration(t, now.Add(-2*time.Hour), m.Oldest, time.Second, "the oldest go first, and no more of them")
			k.add(class, 1, now)
			require.EqualValues(t, 1, k.measure(r).Excess)
		})
	}
}

// A quota in bytes goes by the size of rows, not of tables: those stay as large until they are vacuumed.
func TestMeasure_BytesDoNotSpiral(t *testing.T) {
	t.Parallel()
	for _, class := range db.RowClasses() {
		t.Run(string(class), func(t *testing.T) {
			t.Parallel()
			k := newKeeper(t)
			k.exec(`ALTER TABLE ` + tableOf(class) + ` SET (autovacuum_enabled = off)`)
			k.add(class, 20_000, time.Now().Add(-time.Hour))
			before := k.measure(k.set(class, db.RetentionLimits{}))
			r := k.set(class, db.RetentionLimits{MaxBytes: before.Bytes / 2})
			excess := k.measure(r).Excess
			require.InDelta(t, 10_000, excess, 2500)
			for left := excess; left > 0; {
				n, _, err := k.Trim(t.Context(), db.TrimStep{Class: class, Limit: int(min(left, 2000))})
				require.NoError(t, err)
				require.Positive(t, n)
				left -= n
			}
			after := k.measure(r)
			require.GreaterOrEqual(t, after.Bytes, before.Bytes)
			require.Less(t, after.Excess, excess/5, "the next pass finds next to nothing")
		})
	}
}

func tableOf(class db.RetentionClass) string { return string(class) }

func TestMeasure_CountsLargeTablesOnlyNearAQuota(t *testing.T) {
	t.Parallel()
	k := newKeeper(t)
	k.exec(`ALTER TABLE imports SET (autovacuum_enabled = off)`)
	k.add(db.RetainImports, 510_000, time.Now())
	k.exec(`ANALYZE imports`)
	k.exec(`DELETE FROM imports WHERE id IN (SELECT id FROM imports LIMIT 10000)`)
	require.InDelta(t, 510_000, k.measure(k.set(db.RetainImports, db.RetentionLimits{})).Rows, 100, "a guess lags behind")
	require.Zero(t, k.measure(k.set(db.RetainImports, db.RetentionLimits{MaxRows: 2_000_000})).Excess)
	m := k.measure(k.set(db.RetainImports, db.RetentionLimits{MaxRows: 499_000}))
	require.EqualValues(t, 1000, m.Excess, "what a quota takes is counted")
	require.EqualValues(t, 500_000, m.Rows)
}

func TestTrim_SessionsWithTheirCommands(t *testing.T) {
	t.Parallel()
	k := newKeeper(t)
	now := time.Now()
	old := now.AddDate(0, 0, -20)
	k.exec(addSessions, 20, old, 30, old)                   // ended
	k.exec(addSessions, 1, old.Add(time.Minute), 5000, old) // ended, very long
	k.exec(addSessions, 3, old, 7, nil)                     // open
	k.exec(addSessions, 2, now.AddDate(0, 0, -31), 5, nil)  // open for so long that it is not
	k.exec(addSessions, 4, now, 2, now)                     // young
	k.exec(addLooseCommands, 40, old)                       //
	k.exec(addLooseCommands, 11, now)                       //
	r := k.set(db.RetainSessions, db.RetentionLimits{MaxAgeDays: 10})
	require.EqualValues(t, 20*31+5001+2*6+40, k.trim(db.RetainSessions, r.Horizon, 500))
	require.EqualValues(t, 3+4, k.one(`SELECT count(*) FROM sessions`))
	require.EqualValues(t, 3*7+4*2+11, k.one(`SELECT count(*) FROM commands`))
	require.EqualValues(t, 3*7, k.one(`SELECT count(*) FROM sessions s JOIN commands c USING (decky_key, session) WHERE s.ended_at IS NULL`))

	// A quota takes what has ended, and never what is open.
	require.EqualValues(t, 4*3+11, k.trim(db.RetainSessions, time.Time{}, 500))
	require.EqualValues(t, 3, k.one(`SELECT count(*) FROM sessions`))
	require.EqualValues(t, 3*7, k.one(`SELECT count(*) FROM commands`))
	require.Zero(t, k.trim(db.RetainSessions, time.Time{}, 500), "twice")
}

func TestTrim_SessionQuotaTakesLittleMore(t *testing.T) {
	t.Parallel()
	k := newKeeper(t)
	now := time.Now()
	for i := range 30 {
		k.exec(addSessions, 1, now.Add(-time.Duration(100-i)*time.Hour), 9, now)
	}
	n, next, err := k.Trim(t.Context(), db.TrimStep{Class: db.RetainSessions, Limit: 25})
	require.NoError(t, err)
	require.EqualValues(t, 25, n, "27 commands of three sessions are more than was to go")
	require.EqualValues(t, 30, k.one(`SELECT count(*) FROM sessions`), "a session goes after its commands")
	for removed := n; removed < 30; removed += n {
		n, next, err = k.Trim(t.Context(), db.TrimStep{Class: db.RetainSessions, Limit: int(30 - removed), After: next})
		require.NoError(t, err)
		require.Positive(t, n)
	}
	require.EqualValues(t, 27, k.one(`SELECT count(*) FROM sessions`))
	require.EqualValues(t, 27*9, k.one(`SELECT count(*) FROM commands`))
}

func TestTrim_ImportsThatEnded(t *testing.T) {
	t.Parallel()
	k := newKeeper(t)
	old := time.Now().AddDate(0, 0, -100)
	k.add(db.RetainImports, 3, old)
	running := uuid.New()
	k.exec(`INSERT INTO imports (id, format, name, actor, state, created_at) VALUES ($1, 'cowrie', 'n', 'alice', 'running', $2)`, running, old)
	k.exec(`INSERT INTO import_chunks (import_id, number, data) SELECT id, n, '\x00' FROM imports, generate_series(1, 50) n`)
	require.Zero(t, k.trim(db.RetainImports, time.Time{}, 100), "their content goes first")
	var swept int64
	for {
		n, err := k.Sweep(t.Context(), 100)
		require.NoError(t, err)
		if n == 0 {
			break
		}
		swept += n
	}
	require.EqualValues(t, 150, swept)
	require.EqualValues(t, 3, k.trim(db.RetainImports, time.Time{}, 100))
	require.EqualValues(t, 1, k.one(`SELECT count(*) FROM imports WHERE id = $1`, running))
	require.EqualValues(t, 50, k.one(`SELECT count(*) FROM import_chunks`))
}

func TestSweep_SelfChecks(t *testing.T) {
	t.Parallel()
	k := newKeeper(t)
	k.exec(`INSERT INTO self_checks (local_ip, local_port, remote_ip, remote_port, decky_id, service, at)
		SELECT '127.0.0.1', 1000 + n, '127.66.0.2', 22, gen_random_uuid(), 'ssh', now() - n * interval '1 day' FROM generate_series(1, 10) n`)
	n, err := k.Sweep(t.Context(), 2)
	require.NoError(t, err)
	require.EqualValues(t, 2, n)
	_, err = k.Sweep(t.Context(), 100)
	require.NoError(t, err)
	require.EqualValues(t, 6, k.one(`SELECT count(*) FROM self_checks`))
}

func TestTrim_LeavesLockedRowsAndDoesNotWait(t *testing.T) {
	t.Parallel()
	for _, class := range db.RowClasses() {
		t.Run(string(class), func(t *testing.T) {
			t.Parallel()
			k := newKeeper(t)
			k.add(class, 10, time.Now().Add(-time.Hour))
			conn := k.connect()
			tx, err := conn.Begin(t.Context())
			require.NoError(t, err)
			_, err = tx.Exec(t.Context(), `SELECT FROM `+tableOf(class)+` WHERE id = (SELECT id FROM `+tableOf(class)+` LIMIT 1) FOR UPDATE`)
			require.NoError(t, err)
			require.EqualValues(t, 9, k.trim(class, time.Time{}, 100))
			require.NoError(t, tx.Rollback(t.Context()))
			require.EqualValues(t, 1, k.trim(class, time.Time{}, 100))
		})
	}
}

// TestTrim_IngestGoesOn has three writers with a lock timeout of a second insert, and touch the rows that are trimmed, all the
// while: none of them fails and none of them waits long.
func TestTrim_IngestGoesOn(t *testing.T) {
	t.Parallel()
	k := newKeeper(t)
	old := time.Now().AddDate(-1, 0, 0)
	k.exec(addEvents, 60_000, old)
	k.exec(addCredentials, 20_000, old)
	k.exec(addSessions, 2000, old, 5, old)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var written, longest atomic.Int64
	for i, statement := range []string{
		addEvents, addCredentials,
		// What an ingester does with a credential that is tried again, and with a session.
		`WITH c AS (SELECT key FROM credentials ORDER BY received_at DESC LIMIT $1)
		 UPDATE credentials SET attempt_count = attempt_count + 1, last_seen = $2 FROM c WHERE credentials.key = c.key`,
	} {
		conn := k.connect()
		_, err := conn.Exec(ctx, `SET lock_timeout = '1s'`)
		require.NoError(t, err)
		wg.Go(func() {
			for ctx.Err() == nil {
				began := time.Now()
				if _, err := conn.Exec(ctx, statement, 50, began); err != nil && ctx.Err() == nil {
					t.Errorf("writer %d: %v", i, err)
					return
				}
				written.Add(50)
				longest.Store(max(longest.Load(), int64(time.Since(began))))
			}
		})
	}
	horizon := time.Now().AddDate(0, 0, -1)
	removed := map[db.RetentionClass]int64{}
	for _, class := range []db.RetentionClass{db.RetainEvents, db.RetainCredentials, db.RetainSessions} {
		removed[class] = k.trim(class, horizon, 2000)
	}
	cancel()
	wg.Wait()
	t.Logf("%d rows were written meanwhile, the longest statement took %s", written.Load(), time.Duration(longest.Load()))
	require.Equal(t, map[db.RetentionClass]int64{db.RetainEvents: 60_000, db.RetainCredentials: 20_000, db.RetainSessions: 12_000}, removed)
	require.Positive(t, written.Load())
	require.Zero(t, k.one(`SELECT count(*) FROM events WHERE received_at < $1`, horizon))
}

func TestSetRetention(t *testing.T) {
	t.Parallel()
	k := newKeeper(t)
	all, err := k.Retention(t.Context())
	require.NoError(t, err)
	require.Len(t, all, len(db.RetentionClasses()))
	for i, class := range db.RetentionClasses() {
		require.Equal(t, class, all[i].Class)
		require.Equal(t, "default", all[i].UpdatedBy)
		require.Nil(t, all[i].MeasuredAt)
	}
	require.Equal(t, db.RetentionLimits{MaxAgeDays: 90, MaxRows: 20_000_000}, all[0].RetentionLimits)
	r := k.set(db.RetainLogs, db.RetentionLimits{MaxAgeDays: 36_500, MaxBytes: 1 << 40, MaxRows: 7})
	require.Equal(t, db.RetentionLimits{MaxAgeDays: 36_500, MaxBytes: 1 << 40, MaxRows: 7}, r.RetentionLimits)
	require.Equal(t, "alice", r.UpdatedBy)
	require.WithinDuration(t, time.Now().AddDate(0, 0, -36_500), r.Horizon, 26*time.Hour)
	require.Equal(t, db.RetentionLimits{}, k.set(db.RetainLogs, db.RetentionLimits{}).RetentionLimits)
	_, err = k.SetRetention(t.Context(), "dogs", db.RetentionLimits{}, "alice")
	require.Equal(t, fault.NotFound, fault.KindOf(err))

	require.NoError(t, k.RecordUsage(t.Context(), db.RetainLogs, db.Usage{Rows: 3, Bytes: 9}))
	r = k.settings(db.RetainLogs)
	require.NotNil(t, r.MeasuredAt)
	require.Equal(t, db.Usage{Rows: 3, Bytes: 9}, r.Usage)
}

func TestMarkRecordingsRemoved(t *testing.T) {
	t.Parallel()
	k := newKeeper(t)
	add := func(name, decky, service, started, ended string, recorded bool) {
		k.exec(fmt.Sprintf(`INSERT INTO sessions (id, decky_key, session, decky_name, service, attacker_id, attacker_ip, started_at, last_seen, ended_at, recorded, boot, line, opened)
			VALUES (gen_random_uuid(), '%s', '%s', 'n', '%s', gen_random_uuid(), '192.0.2.1', '%s', '%s', '%s', %t, '', 1, true)`, decky, name, service, started, ended, ended, recorded))
	}
	add("that day", "web-01", "ssh", "2026-01-02 00:00Z", "2026-01-02 10:00Z", true)
	add("not recorded", "web-01", "ssh", "2026-01-02 09:00Z", "2026-01-02 10:00Z", false)
	add("another service", "web-01", "telnet", "2026-01-02 09:00Z", "2026-01-02 10:00Z", true)
	add("another decky", "web-02", "ssh", "2026-01-02 09:00Z", "2026-01-02 10:00Z", true)
	add("day before", "web-01", "ssh", "2026-01-01 09:00Z", "2026-01-01 23:59:59Z", true)
	add("day after", "web-01", "ssh", "2026-01-03 00:00Z", "2026-01-03 01:00Z", true)
	add("over midnight", "web-01", "ssh", "2026-01-02 23:59:59Z", "2026-01-03 01:00Z", true)
	midnight := func(day int) time.Time { return time.Date(2026, 1, day, 0, 0, 0, 0, time.UTC) }
	mark := func(day int, others ...time.Time) int64 {
		n, err := k.MarkRecordingsRemoved(t.Context(), "web-01", "ssh", midnight(day), others)
		require.NoError(t, err)
		return n
	}
	require.EqualValues(t, 1, mark(2, midnight(1), midnight(3)), "that day; over midnight is perhaps in the next shard")
	require.Zero(t, mark(2, midnight(1), midnight(3)), "twice")
	require.EqualValues(t, 2, mark(3, midnight(1)), "day after, over midnight")
	require.EqualValues(t, 1, mark(1))
	require.EqualValues(t, 4, k.one(`SELECT count(*) FROM sessions WHERE recording_removed_at IS NOT NULL AND decky_key = 'web-01' AND service = 'ssh' AND recorded`))
}
