package activities_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	temporallog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"github.com/decnet/decnet/activities"
	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/db/dbtest"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/imports"
	"github.com/decnet/decnet/internal/ingest"
	"github.com/decnet/decnet/internal/ingest/cowrie/cowrietest"
	"github.com/decnet/decnet/internal/ingest/foreign"
)

// importer is the activity on a database of its own.
type importer struct {
	t     testing.TB
	store *db.Store
	conn  *pgx.Conn
	act   *activities.Import
}

func newImporter(t testing.TB) *importer {
	t.Helper()
	url := dbtest.URL(t)
	store, err := db.Open(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(store.Close)
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	i := &importer{t: t, store: store, conn: conn}
	i.act = &activities.Import{Store: store, Extractor: ingest.NewExtractor(nil), Log: slog.New(slog.DiscardHandler)}
	return i
}

// upload makes an import that is ready to be read.
func (i *importer) upload(format imports.Format, content []byte) imports.Import {
	i.t.Helper()
	im, err := i.store.CreateImport(i.t.Context(), format, "log", "alice")
	require.NoError(i.t, err)
	_, err = i.store.Upload(i.t.Context(), im.ID, bytes.NewReader(content))
	require.NoError(i.t, err)
	im, err = i.store.FinishUpload(i.t.Context(), im.ID)
	require.NoError(i.t, err)
	return im
}

func (i *importer) environment() *testsuite.TestActivityEnvironment {
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(temporallog.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	env := suite.NewTestActivityEnvironment()
	env.RegisterActivity(i.act)
	return env
}

// attempt runs the activity once.
func (i *importer) attempt(id uuid.UUID) (activities.ImportResult, error) {
	i.t.Helper()
	env := i.environment()
	value, err := env.ExecuteActivity(i.act.ReadImport, activities.ImportInput{ImportID: id})
	var out activities.ImportResult
	if err == nil {
		require.NoError(i.t, value.Get(&out))
	}
	return out, err
}

// read runs the activity to its end, and once more, which changes nothing.
func (i *importer) read(format imports.Format, content []byte) imports.Import {
	i.t.Helper()
	im := i.upload(format, content)
	first, err := i.attempt(im.ID)
	require.NoError(i.t, err)
	again, err := i.attempt(im.ID)
	require.NoError(i.t, err)
	require.Equal(i.t, first, again)
	return i.ended(im.ID)
}

func (i *importer) ended(id uuid.UUID) imports.Import {
	i.t.Helper()
	im, err := i.store.Import(i.t.Context(), id)
	require.NoError(i.t, err)
	require.False(i.t, im.State.Open())
	require.Zero(i.t, i.count("import_chunks"))
	skipped := int64(0)
	for _, n := range im.Report.Skipped {
		skipped += n
	}
	require.Equal(i.t, im.Report.Read, im.Report.Kept+skipped, "every line is accounted for")
	return im
}

func (i *importer) count(table string) (n int64) {
	i.t.Helper()
	require.NoError(i.t, i.conn.QueryRow(i.t.Context(), "SELECT count(*) FROM "+table).Scan(&n))
	return n
}

// rowsOf are the tables that an import fills, with the columns that differ between two databases of the same content.
var rowsOf = map[string]string{
	"events": "id,received_at,attacker_id", "attackers": "id,observed_at,updated_at", "sessions": "id,received_at,attacker_id",
	"commands": "id,received_at,attacker_id", "bounties": "id,received_at,attacker_id", "credentials": "id,received_at,attacker_id",
	"credential_reuse": "id,updated_at,attacker_ids", "artifacts": "id,received_at,attacker_id",
}

// rows returns everything that imports have stored. With same it is what two databases must agree on.
func (i *importer) rows(same bool) map[string][]string {
	i.t.Helper()
	all := map[string][]string{}
	for table, varying := range rowsOf {
		if !same {
			varying = ""
		}
		all[table] = i.texts(fmt.Sprintf("SELECT (to_jsonb(r) - string_to_array($1, ','))::text FROM %s r ORDER BY 1", table), varying)
	}
	return all
}

func (i *importer) texts(query string, args ...any) []string {
	i.t.Helper()
	rows, err := i.conn.Query(i.t.Context(), query, args...)
	require.NoError(i.t, err)
	texts, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(i.t, err)
	return texts
}

// outbox returns how many events of each topic wait to be published.
func (i *importer) outbox() []string {
	i.t.Helper()
	return i.texts("SELECT topic || ' ' || count(*) FROM outbox GROUP BY topic ORDER BY 1")
}

func cowrieLog(t testing.TB, lines int) []byte {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, cowrietest.Write(&b, 1, lines))
	return b.Bytes()
}

// openCanaryLog has a start of the sensor, a login to SSH and one to FTP.
func openCanaryLog(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	for n, l := range []struct {
		kind int
		data map[string]any
	}{
		{1001, map[string]any{"msg": map[string]any{"logdata": "Canary running!!!"}}},
		{4002, map[string]any{"USERNAME": "root", "PASSWORD": "toor", "LOCALVERSION": "SSH-2.0-OpenSSH_9", "REMOTEVERSION": "SSH-2.0-Go"}},
		{2000, map[string]any{"USERNAME": "ftp", "PASSWORD": "x@y"}},
	} {
		require.NoError(t, json.NewEncoder(&b).Encode(map[string]any{
			"dst_host": "198.51.100.1", "dst_port": 22, "local_time": fmt.Sprintf("2026-01-02 03:04:%02d.678901", n), "logdata": l.data,
			"logtype": l.kind, "node_id": "canary-1", "src_host": "192.0.2.7", "src_port": 40022, "utc_time": fmt.Sprintf("2026-01-02 03:04:%02d.678901", n),
		}))
	}
	return b.Bytes()
}

func compress(t testing.TB, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write(content)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	return b.Bytes()
}

func TestReadImport_Cowrie(t *testing.T) {
	t.Parallel()
	i := newImporter(t)
	im := i.read(imports.Cowrie, cowrieLog(t, 101))
	require.Equal(t, imports.Succeeded, im.State, "%+v", im.Fault)
	require.EqualValues(t, 101, im.Stored)
	require.Zero(t, im.Duplicates)
	require.Equal(t, im.BytesTotal, im.BytesRead)
	require.EqualValues(t, 101, im.Report.Kept)
	require.EqualValues(t, 101, i.count("events"))
	require.Equal(t, im.Report.Kinds["cowrie.command.input"], i.count("commands"))
	require.Equal(t, im.Report.Kinds["cowrie.session.file_download"], i.count("artifacts"))
	require.Equal(t, im.Report.Kinds["cowrie.session.closed"], i.count("sessions WHERE ended_at IS NOT NULL"))
	require.Equal(t, im.Report.Kinds["cowrie.session.closed"], i.count("outbox WHERE topic = 'attacker.session.ended'"))
	require.EqualValues(t, 2, i.count("attackers"))
	require.Positive(t, i.count("credentials"))
	require.Equal(t, []string{"svr-1"}, i.texts("SELECT DISTINCT decky_key || coalesce(decky_id::text, '') FROM events"), "no decky of ours")
	require.Equal(t, []string{"svr-1"}, i.texts("SELECT DISTINCT sensor FROM events"), "the source is marked")
	require.Equal(t, []string{"2026-01-02"}, i.texts("SELECT DISTINCT to_char(time AT TIME ZONE 'UTC', 'YYYY-MM-DD') FROM events"), "original times")
	require.Zero(t, i.count("deckies"))
}

func TestReadImport_OpenCanary(t *testing.T) {
	t.Parallel()
	i := newImporter(t)
	im := i.read(imports.OpenCanary, openCanaryLog(t))
	require.Equal(t, imports.Succeeded, im.State, "%+v", im.Fault)
	require.EqualValues(t, 2, im.Stored)
	require.Equal(t, map[foreign.Reason]int64{foreign.Operational: 1}, im.Report.Skipped)
	require.Equal(t, []string{"ftp", "ssh"}, i.texts("SELECT service FROM credentials ORDER BY 1"))
}

func TestReadImport_TwiceEqualsOnce(t *testing.T) {
	t.Parallel()
	i := newImporter(t)
	log := cowrieLog(t, 5000)
	i.read(imports.Cowrie, log)
	i.read(imports.OpenCanary, openCanaryLog(t))
	rows, outbox := i.rows(false), i.outbox()
	half := bytes.IndexByte(log[len(log)/2:], '\n') + len(log)/2 + 1
	for name, again := range map[string][]byte{"whole": log, "gzip": compress(t, log), "tail": log[half:], "twice in one": append(bytes.Clone(log), log...)} {
		im := i.read(imports.Cowrie, again)
		require.Equal(t, imports.Succeeded, im.State, name)
		require.Zero(t, im.Stored, name)
		require.Equal(t, im.Report.Kept, im.Duplicates, name)
		require.Equal(t, rows, i.rows(false), name)
		require.Equal(t, outbox, i.outbox(), name)
	}
}

func TestReadImport_TruncatedLastLineIsReported(t *testing.T) {
	t.Parallel()
	i := newImporter(t)
	log := cowrieLog(t, 50)
	im := i.read(imports.Cowrie, log[:len(log)-20])
	require.Equal(t, imports.Succeeded, im.State)
	require.Equal(t, map[foreign.Reason]int64{foreign.Truncated: 1}, im.Report.Skipped)
	require.EqualValues(t, 50, im.Report.Read)
	require.EqualValues(t, 49, im.Stored)
	// Once the sensor has written the rest, the same log is imported again.
	im = i.read(imports.Cowrie, log)
	require.EqualValues(t, 1, im.Stored)
	require.EqualValues(t, 49, im.Duplicates)
}

func TestReadImport_EndsThatAreNotSuccess(t *testing.T) {
	t.Parallel()
	log := cowrieLog(t, 500)
	archive := compress(t, log)
	for _, c := range []struct {
		name    string
		content []byte
		state   imports.State
		code    string
		stored  bool
	}{
		{"empty", nil, imports.Succeeded, "", false},
		{"of something else", bytes.Repeat([]byte("GET / HTTP/1.1\n"), 3000), imports.Failed, "import_nothing_kept", false},
		{"of another honeypot", openCanaryLog(t), imports.Failed, "import_nothing_kept", false},
		{"no archive", []byte{0x1f, 0x8b, 1, 2, 3}, imports.Failed, "import_damaged", false},
		{"archive that was cut", archive[:len(archive)*2/3], imports.Failed, "import_damaged", true},
		{"archive without its checksum", archive[:len(archive)-8], imports.Failed, "import_damaged", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			i := newImporter(t)
			im := i.read(imports.Cowrie, c.content)
			require.Equal(t, c.state, im.State)
			if c.code != "" {
				require.Equal(t, c.code, im.Fault.Code)
			}
			require.Equal(t, c.stored, im.Stored > 0)
			require.Equal(t, im.Stored, i.count("events"))
			require.Equal(t, im.Stored, im.Report.Kept)
		})
	}
}

// mortal is a store that fails at the n-th batch, before or after its transaction.
type mortal struct {
	*db.Store
	left  int
	after bool
}

var errDied = fault.New(fault.Unavailable, "died", "the worker died")

func (m *mortal) Ingest(ctx context.Context, b db.IngestBatch) (db.IngestResult, error) {
	m.left--
	switch {
	case m.left > 0:
		return m.Store.Ingest(ctx, b)
	case m.after:
		if _, err := m.Store.Ingest(ctx, b); err != nil {
			return db.IngestResult{}, err
		}
	}
	return db.IngestResult{}, errDied
}

// EndImport dies too: between the last batch and the end.
func (m *mortal) EndImport(context.Context, uuid.UUID, imports.State, *fault.Error) (bool, error) {
	return false, errDied
}

func TestReadImport_GoesOnWhereItWasKilled(t *testing.T) {
	t.Parallel()
	log := append(cowrieLog(t, 9000), "no json\n{\"eventid\":\"cowrie.x"...)
	log = append([]byte("\n[]\n"), log...)
	whole := newImporter(t)
	want := whole.read(imports.Cowrie, log)
	require.EqualValues(t, 9000, want.Stored)
	require.EqualValues(t, 9004, want.Report.Read)
	rows, outbox := whole.rows(true), whole.outbox()
	for name, content := range map[string][]byte{"plain": log, "gzip": compress(t, log)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := newImporter(t)
			im := i.upload(imports.Cowrie, content)
			deaths := 0
			for _, after := range []bool{false, true, false, true, true, true} {
				i.act.Store = &mortal{Store: i.store, left: 1 + deaths%2, after: after}
				_, err := i.attempt(im.ID)
				var app *temporal.ApplicationError
				require.ErrorAs(t, err, &app)
				require.Equal(t, "died", app.Type())
				deaths++
			}
			i.act.Store = i.store
			out, err := i.attempt(im.ID)
			require.NoError(t, err)
			got := i.ended(im.ID)
			require.Equal(t, want.State, got.State)
			require.Equal(t, want.Report, got.Report)
			require.Equal(t, want.Position, got.Position)
			require.Equal(t, []int64{9000, 0, 9000, 0}, []int64{got.Stored, got.Duplicates, out.Stored, out.Duplicates})
			require.Equal(t, rows, i.rows(true))
			require.Equal(t, outbox, i.outbox())
		})
	}
}

// overtaken is a store whose import is gone on with by somebody else before its first batch.
type overtaken struct {
	*db.Store
	other func()
	once  bool
}

func (o *overtaken) Ingest(ctx context.Context, b db.IngestBatch) (db.IngestResult, error) {
	if !o.once {
		o.once = true
		o.other()
	}
	return o.Store.Ingest(ctx, b)
}

func TestReadImport_OfTwoAttemptsOneStores(t *testing.T) {
	t.Parallel()
	i := newImporter(t)
	im := i.upload(imports.Cowrie, cowrieLog(t, 5000))
	slow := newImporterOn(i)
	slow.act.Store = &overtaken{Store: i.store, other: func() {
		i.act.Store = &mortal{Store: i.store, left: 2, after: true}
		_, err := i.attempt(im.ID)
		require.Error(t, err)
	}}
	_, err := slow.attempt(im.ID)
	var app *temporal.ApplicationError
	require.ErrorAs(t, err, &app)
	require.Equal(t, "import_overtaken", app.Type())
	require.False(t, app.NonRetryable())
	out, err := slow.attempt(im.ID)
	require.NoError(t, err)
	require.EqualValues(t, 5000, out.Stored)
	require.EqualValues(t, 5000, i.ended(im.ID).Report.Kept)
}

// newImporterOn returns another worker on the same database.
func newImporterOn(i *importer) *importer {
	other, act := *i, *i.act
	other.act = &act
	return &other
}

func TestReadImport_CancelledBetweenBatches(t *testing.T) {
	t.Parallel()
	i := newImporter(t)
	im := i.upload(imports.Cowrie, cowrieLog(t, 5000))
	batches := 0
	i.act.Store = &overtaken{Store: i.store, other: func() {
		batches++
		ended, err := i.store.EndImport(t.Context(), im.ID, imports.Cancelled, nil)
		require.NoError(t, err)
		require.True(t, ended)
	}}
	out, err := i.attempt(im.ID)
	require.NoError(t, err, "that is what was asked for")
	require.Equal(t, imports.Cancelled, out.State)
	require.Equal(t, 1, batches)
	require.Zero(t, i.count("events"))
	i.ended(im.ID)
}

func TestReadImport_UnforeseenErrorEndsAfterManyAttempts(t *testing.T) {
	t.Parallel()
	i := newImporter(t)
	im := i.upload(imports.Cowrie, cowrieLog(t, 5))
	_, err := i.conn.Exec(t.Context(), `UPDATE imports SET position = '{"offset": 3, "line": 1}'`)
	require.NoError(t, err)
	_, err = i.attempt(im.ID)
	var app *temporal.ApplicationError
	require.ErrorAs(t, err, &app)
	require.False(t, app.NonRetryable(), "a bug may be one of the process")

	env := i.environment()
	_, err = env.ExecuteActivity(i.act.EndImport, activities.EndImportInput{
		ImportID: im.ID, State: imports.Failed, Fault: fault.New(fault.Internal, "import_failed", "no"),
	})
	require.NoError(t, err)
	_, err = i.attempt(uuid.New())
	require.ErrorAs(t, err, &app)
	require.Equal(t, "import_not_found", app.Type())
	require.True(t, app.NonRetryable())
}

func TestReadImport_CapturedLogs(t *testing.T) {
	t.Parallel()
	files := cowrietest.Captured(t)
	i := newImporter(t)
	for _, name := range files {
		content, err := os.ReadFile(name)
		require.NoError(t, err)
		want := cowrietest.NewReference(content)
		before := i.count("events")
		im := i.read(imports.Cowrie, content)
		require.Equal(t, imports.Succeeded, im.State)
		require.Equal(t, want.Kinds, im.Report.Kinds)
		require.Equal(t, want.Lines, im.Report.Read)
		require.Equal(t, want.Malformed, im.Report.Read-im.Report.Kept)
		require.Equal(t, im.Report.Kept, im.Stored, "no two lines are one")
		require.Equal(t, im.Stored, i.count("events")-before)
		if want.Malformed > 0 {
			require.EqualValues(t, 1, im.Report.Skipped[foreign.Truncated], "the last line is cut off")
		}
		t.Logf("%s: %d lines, %d stored, %v", filepath.Base(name), im.Report.Read, im.Stored, im.Report.Skipped)
	}
	rows := i.rows(false)
	for _, name := range files {
		content, err := os.ReadFile(name)
		require.NoError(t, err)
		require.Zero(t, i.read(imports.Cowrie, compress(t, content)).Stored)
	}
	require.Equal(t, rows, i.rows(false))
}

func TestImportInput_ErrorsOfTheStoreAreNotDamage(t *testing.T) {
	t.Parallel()
	away := errors.New("away")
	archive := compress(t, cowrieLog(t, 500))
	parts := 0
	input := imports.NewInput(int64(len(archive)), func() ([]byte, error) {
		if parts++; parts > 3 {
			return nil, away
		}
		return archive[(parts-1)*1000 : parts*1000], nil
	})
	r, err := imports.Open(imports.Import{Format: imports.Cowrie}, input)
	require.NoError(t, err)
	for err == nil {
		_, err = r.Batch(10, 1<<20)
	}
	require.ErrorIs(t, err, away)
	require.Empty(t, r.Position().End)
	_, err = io.ReadAll(input)
	require.ErrorIs(t, err, away, "the error stays")
}
