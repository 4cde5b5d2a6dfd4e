package ingester_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/ingest"
	"github.com/decnet/decnet/internal/role/ingester"
	"github.com/decnet/decnet/internal/runtime"
)

// faulty is a store that fails on demand.
type faulty struct {
	*db.Store
	before func(db.IngestBatch) error // instead of storing
	after  func() error               // instead of telling that it was stored
}

func (f *faulty) Ingest(ctx context.Context, b db.IngestBatch) (db.IngestResult, error) {
	if f.before != nil {
		if err := f.before(b); err != nil {
			return db.IngestResult{}, err
		}
	}
	r, err := f.Store.Ingest(ctx, b)
	if err == nil && f.after != nil {
		err = f.after()
	}
	return r, err
}

func away() error { return fault.New(fault.Unavailable, "database_unavailable", "away") }

func TestRun_CommitWhoseAnswerIsLostIsNotStoredTwice(t *testing.T) {
	t.Parallel()
	b, d := setup(t), newDecoy("web-01")
	var commits, refusals atomic.Int32
	b.in.Store = &faulty{
		Store: b.store,
		before: func(db.IngestBatch) error {
			if refusals.Add(1)%4 == 1 {
				return away()
			}
			return nil
		},
		after: func() error {
			if commits.Add(1)%2 == 1 {
				return away()
			}
			return nil
		},
	}
	log := b.path("log")
	b.outputs.set(d.output(log))
	b.run()
	for range 20 {
		b.write(log, d.commands(250))
		time.Sleep(20 * time.Millisecond)
	}
	b.settles(map[string]int64{"stored": 5000})
	b.once(5000)
	require.Greater(t, commits.Load(), int32(1))
}

func TestRun_LineThatCannotBeStoredIsSetAside(t *testing.T) {
	t.Parallel()
	b, d := setup(t), newDecoy("web-01")
	var tries atomic.Int32
	b.in.Store = &faulty{Store: b.store, before: func(batch db.IngestBatch) error {
		tries.Add(1)
		for _, x := range batch.Extractions {
			if strings.Contains(x.Event.Msg+x.Event.Fields.Get("command"), "poison") {
				return fmt.Errorf("store: %w", &pgconn.PgError{Code: "54000", Message: "too long"})
			}
		}
		return nil
	}}
	log := b.path("log")
	b.outputs.set(d.output(log))
	poison := func() string { return d.line("command", ` src_ip="192.0.2.17" command="poison"`) }
	b.write(log, d.commands(500)+poison()+d.commands(700)+poison())
	b.run()
	b.settles(map[string]int64{"stored": 1200, "malformed": 2})
	b.once(1200)
	require.Equal(t, 2, strings.Count(b.log.String(), "could not be stored"))
	require.NotContains(t, b.log.String(), "poison", "attacker text is not logged")
	b.write(log, d.commands(3))
	b.settles(map[string]int64{"stored": 1203, "malformed": 2})
}

func TestRun_DatabaseThatRefusesEverythingLosesNothing(t *testing.T) {
	t.Parallel()
	b, d := setup(t), newDecoy("web-01")
	var refusals atomic.Int32
	b.in.Store = &faulty{Store: b.store, before: func(db.IngestBatch) error {
		if refusals.Add(1) < 4 {
			return &pgconn.PgError{Code: "42501", Message: "permission denied"}
		}
		return nil
	}}
	log := b.path("log")
	b.outputs.set(d.output(log))
	b.write(log, d.commands(50))
	b.run()
	b.settles(map[string]int64{"stored": 50})
}

func TestRun_TwoOnOneHostStoreNothingTwice(t *testing.T) {
	t.Parallel()
	b, d := setup(t), newDecoy("web-01")
	log := b.path("log")
	b.outputs.set(d.output(log))
	b.run()
	b.run()
	for range 10 {
		b.write(log, d.commands(300))
		time.Sleep(100 * time.Millisecond)
	}
	b.settles(map[string]int64{"stored": 3000})
	b.once(3000)
}

func TestRun_ConnectionsOfOurOwnAreNoEvents(t *testing.T) {
	t.Parallel()
	b, d := setup(t), newDecoy("web-01")
	d.at = time.Now()
	require.NoError(t, b.store.InTx(t.Context(), func(tx *db.Tx) error {
		return tx.CreateDecky(t.Context(), decky.Decky{
			ID: d.id, Scope: decky.FleetScope, Name: "web-01", Key: "web-01", State: decky.Running, IP: netip.MustParseAddr("127.66.0.9"),
			Archetype: "custom", Distro: "debian", Hostname: "SRV", NmapOS: "linux",
		})
	}))
	log := b.path("log")
	b.outputs.set(d.output(log))
	b.run()
	connect := func(port uint16) string {
		return d.line("connect", fmt.Sprintf(` src_ip="127.0.0.1" src_port="%d"`, port))
	}
	for port := uint16(40000); port < 40020; port++ {
		require.NoError(t, b.store.RecordSelfCheck(t.Context(), db.SelfCheck{
			DeckyID: d.id, Service: "ssh", Local: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port),
			Remote: netip.MustParseAddrPort("127.66.0.9:22"),
		}))
		b.write(log, connect(port)) // at once
		time.Sleep(30 * time.Millisecond)
	}
	b.write(log, connect(50000))
	b.settles(map[string]int64{"self_check": 20, "stored": 1})
	require.Equal(t, "web-01", scan[string](b, "SELECT decky_name FROM events"))
}

// TestRun_RandomBytes feeds what no decoy prints, 100 MiB of it in either form, next to a decoy that must not wait.
func TestRun_RandomBytes(t *testing.T) {
	b := setup(t)
	const size = 100 << 20
	source := rand.NewChaCha8([32]byte{1})
	noLines, lines := newDecoy("web-01"), newDecoy("web-02")
	write := func(path string, change func([]byte)) {
		f, err := os.Create(path)
		require.NoError(t, err)
		chunk := make([]byte, 1<<20)
		for range size / len(chunk) {
			_, _ = source.Read(chunk)
			change(chunk)
			_, err = f.Write(chunk)
			require.NoError(t, err)
		}
		require.NoError(t, f.Close())
	}
	write(b.path("none"), func(p []byte) {
		for i := range p {
			if p[i] == '\n' {
				p[i] = 0
			}
		}
	})
	write(b.path("many"), func([]byte) {})
	honest, engine := newDecoy("web-03"), newDecoy("web-04")
	twice := engine.output(b.path("many"), b.path("none"))
	twice.Format = runtime.OutputJSONFile
	b.outputs.set(noLines.output(b.path("none")), lines.output(b.path("many")), honest.output(b.path("log")), twice)
	b.write(b.path("log"), "")
	metrics := prometheus.NewRegistry()
	b.in.Metrics = ingester.NewMetrics(metrics)
	var highest atomic.Uint64
	quit := make(chan struct{})
	defer close(quit)
	go func() {
		var m goruntime.MemStats
		for {
			select {
			case <-quit:
				return
			case <-time.After(20 * time.Millisecond):
				goruntime.ReadMemStats(&m)
				highest.Store(max(highest.Load(), m.HeapAlloc))
			}
		}
	}()
	b.run()
	time.Sleep(300 * time.Millisecond)
	began := time.Now()
	b.write(b.path("log"), honest.commands(10))
	b.eventually(func() bool { return b.events() == 10 }, "the honest decoy is read")
	require.Less(t, time.Since(began), 5*time.Second)
	b.eventually(func() bool { return gauge(t, metrics, "decnet_ingest_lag_bytes") == 0 }, "all of it is read")
	b.eventually(func() bool {
		return scan[int64](b, "SELECT count(*) FROM ingest_cursors WHERE position > 99 * 1024 * 1024") == 1
	}, "what is lines is dealt with")
	got := b.outcomes()
	require.Equal(t, int64(10), got["stored"])
	require.Greater(t, got["malformed"], int64(300_000))
	require.Less(t, highest.Load(), uint64(64<<20), "memory is flat")
	t.Logf("heap at most %d MiB, %v", highest.Load()>>20, got)
}

// gauge returns the value of a metric without labels.
func gauge(t *testing.T, r prometheus.Gatherer, name string) float64 {
	t.Helper()
	families, err := r.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// ingestForEver is the ingester as a process of its own, to be killed. Every file of the folder is a decoy's.
func ingestForEver(url, folder string) {
	ctx := context.Background()
	store, err := db.Open(ctx, url)
	if err != nil {
		panic(err)
	}
	in := &ingester.Ingester{
		Store: store, Outputs: folderOutputs(folder), HostID: "h1", Gate: ingest.DefaultGate(), Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}
	panic(in.Run(ctx))
}

type folderOutputs string

// Outputs reads the decky's id and key from the names of the files.
func (dir folderOutputs) Outputs(context.Context) ([]runtime.Output, error) {
	paths, err := filepath.Glob(filepath.Join(string(dir), "*.log"))
	var list []runtime.Output
	for _, path := range paths {
		id, key, _ := strings.Cut(strings.TrimSuffix(filepath.Base(path), ".log"), ".")
		list = append(list, runtime.Output{
			DeckyID: uuid.MustParse(id), DeckyKey: key, Service: "ssh", Format: runtime.OutputLines, Files: []string{path},
		})
	}
	return list, err
}

func TestRun_KilledAndCutOffAgainAndAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const files, lines = 8, 20_000
	decoys := make([]*decoy, files)
	for i := range decoys {
		decoys[i] = newDecoy(fmt.Sprintf("web-%02d", i))
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		for n := 0; n < lines; n += 50 {
			d := decoys[n/50%files]
			text := d.commands(50)
			half := rand.IntN(len(text))
			path := b.path(d.id.String() + "." + d.key + ".log")
			b.write(path, text[:half])
			time.Sleep(time.Duration(rand.IntN(40)) * time.Millisecond)
			b.write(path, text[half:])
		}
	}()
	start := func() *exec.Cmd {
		cmd := exec.Command(os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), "INGESTER_TEST_DATABASE="+b.url, "INGESTER_TEST_FOLDER="+b.dir)
		cmd.Stderr = b.log
		require.NoError(t, cmd.Start())
		return cmd
	}
	kills := 0
	for done := false; !done; {
		cmd := start()
		time.Sleep(time.Duration(100+rand.IntN(700)) * time.Millisecond)
		if kills%3 == 2 {
			b.cutConnections()
			time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
		}
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait()
		kills++
		select {
		case <-written:
			done = kills >= 15
		default:
		}
	}
	cmd := start()
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	b.settles(map[string]int64{"stored": lines})
	b.once(lines)
	t.Logf("%d kills", kills)
}

// cutConnections ends every other connection to the database.
func (b *bundle) cutConnections() {
	b.Helper()
	conn, err := pgx.Connect(b.Context(), b.url)
	require.NoError(b, err)
	defer func() { _ = conn.Close(b.Context()) }()
	_, err = conn.Exec(b.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
	require.True(b, err == nil || errors.Is(err, io.EOF))
}
