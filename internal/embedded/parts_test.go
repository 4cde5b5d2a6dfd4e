package embedded_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"github.com/decnet/decnet/internal/embedded"
	"github.com/decnet/decnet/internal/embedded/embeddedtest"
	"github.com/decnet/decnet/internal/fault"
)

func describe(ctx context.Context, address, namespace string) (*workflowservice.DescribeNamespaceResponse, error) {
	c, err := client.NewLazyClient(client.Options{HostPort: address, Namespace: namespace})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.WorkflowService().DescribeNamespace(ctx, &workflowservice.DescribeNamespaceRequest{Namespace: namespace})
}

func requireServing(t *testing.T, p *embedded.Parts) {
	t.Helper()
	require.Equal(t, "decnet", query(t, p.DatabaseURL, "SELECT current_database()"))
	conn, err := nats.Connect(p.NATSURL)
	require.NoError(t, err)
	defer conn.Close()
	js, err := jetstream.New(conn)
	require.NoError(t, err)
	_, err = js.CreateOrUpdateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}})
	require.NoError(t, err)
	ns, err := describe(t.Context(), p.TemporalAddress, p.TemporalNamespace)
	require.NoError(t, err)
	require.Equal(t, embedded.Retention, ns.GetConfig().GetWorkflowExecutionRetentionTtl().AsDuration())
	require.Len(t, ns.GetConfig().GetCustomSearchAttributeAliases(), len(embedded.SearchAttributes()))
}

func TestStart_ColdThenWarmOnSameAddresses(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	var log logBook
	first, stop := start(t, dir, &log)
	requireServing(t, first)
	resp, err := http.Get(first.TemporalUIURL + "/api/v1/settings") //nolint:noctx // a test
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusOK, resp.StatusCode)
	stop()
	began := time.Now()
	again, _ := start(t, dir, &log)
	require.Less(t, time.Since(began), 10*time.Second)
	requireServing(t, again)
	require.Equal(t, first.NATSURL, again.NATSURL)
	require.Equal(t, first.TemporalAddress, again.TemporalAddress)
	require.Equal(t, first.DatabaseURL, again.DatabaseURL)
}

func TestStart_NATSWantsToken(t *testing.T) {
	t.Parallel()
	u, err := url.Parse(embeddedtest.NATS(t))
	require.NoError(t, err)
	u.User = nil
	_, err = nats.Connect(u.String())
	require.ErrorIs(t, err, nats.ErrAuthorization)
}

func TestStart_ExternalPartsAreNotStarted(t *testing.T) {
	t.Parallel()
	var log logBook
	d := lock(t, filepath.Join(t.TempDir(), "data"))
	p, err := embedded.Start(t.Context(), embedded.Options{
		Dir: d, DatabaseURL: "postgres://db.example/decnet", NATSURL: "nats://n.example", TemporalAddress: "t.example:7233",
		TemporalNamespace: "decnet", Logger: log.logger(),
	})
	require.NoError(t, err)
	defer p.Stop(context.Background())
	require.Equal(t, "t.example:7233", p.TemporalAddress)
	require.Nil(t, p.Child("postgres"))
	require.Nil(t, p.Child("temporal"))
	require.NoDirExists(t, d.Join("postgres", "cluster"))
}

func TestStart_OneFailingPartStopsTheOthers(t *testing.T) {
	t.Parallel()
	var log logBook
	d := lock(t, filepath.Join(t.TempDir(), "data"))
	_, err := embedded.Start(t.Context(), embedded.Options{
		Dir: d, TemporalNamespace: "decnet", TemporalBinary: "/nonexistent/temporal", Logger: log.logger(),
	})
	requireFault(t, err, fault.Unavailable, "temporal_missing")
	require.NoFileExists(t, d.Join("run", "postgres.process"))
}

func TestStart_TakenPortIsReplacedAndReported(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	var log logBook
	first, stop := start(t, dir, &log)
	stop()
	squatter, err := net.Listen("tcp", first.TemporalAddress)
	require.NoError(t, err)
	defer func() { _ = squatter.Close() }()
	again, _ := start(t, dir, &log)
	require.NotEqual(t, first.TemporalAddress, again.TemporalAddress)
	require.Contains(t, log.String(), "stored port is taken and was replaced")
	requireServing(t, again)
}

func TestStart_DeletedStoresAreBegunAnew(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	var log logBook
	_, stop := start(t, dir, &log)
	stop()
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "nats")))
	main, err := filepath.Glob(filepath.Join(dir, "temporal", "*.db"))
	require.NoError(t, err)
	require.Len(t, main, 1)
	require.NoError(t, os.Remove(main[0]))
	touch(t, main[0]+"-wal")
	p, _ := start(t, dir, &log)
	requireServing(t, p)
}

func TestStart_DamagedStoresAreMovedAside(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	var log logBook
	_, stop := start(t, dir, &log)
	stop()
	main, err := filepath.Glob(filepath.Join(dir, "temporal", "*.db"))
	require.NoError(t, err)
	require.Len(t, main, 1)
	for _, suffix := range []string{"-wal", "-shm"} { // or SQLite heals it from its log
		_ = os.Remove(main[0] + suffix)
	}
	require.NoError(t, os.WriteFile(main[0], bytes.Repeat([]byte("no database"), 1000), 0o600))
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "nats", "jetstream")))
	touch(t, filepath.Join(dir, "nats", "jetstream")) // a file where a directory has to be
	p, _ := start(t, dir, &log)
	requireServing(t, p)
	require.Contains(t, log.String(), "temporal database is damaged and was moved aside")
	require.Contains(t, log.String(), "nats store is damaged and was moved aside")
}

func TestTemporal_HalfMadeDatabaseIsBegunAnew(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	var log logBook
	_, stop := start(t, dir, &log)
	stop()
	good, err := filepath.Glob(filepath.Join(dir, "temporal", "*.db.ok"))
	require.NoError(t, err)
	require.Len(t, good, 1)
	db := good[0][:len(good[0])-len(".ok")]
	require.NoError(t, os.Remove(good[0]))
	require.NoError(t, os.WriteFile(db, nil, 0o600)) // what a kill right after its creation leaves
	p, _ := start(t, dir, &log)
	requireServing(t, p)
}

func TestTemporal_KilledServerComesBack(t *testing.T) {
	t.Parallel()
	var log logBook
	p, _ := start(t, filepath.Join(t.TempDir(), "data"), &log)
	kill(t, p.Child("temporal").PID())
	eventually(t, "restarted", func() bool {
		_, err := describe(t.Context(), p.TemporalAddress, p.TemporalNamespace)
		return err == nil && p.Child("temporal").Starts() == 2
	})
	requireServing(t, p)
}

// parent starts a process that starts everything in dir.
func parent(t *testing.T, dir string) (cmd *exec.Cmd, pids func() children) {
	t.Helper()
	cmd = exec.Command("/proc/self/exe", parentWord, dir, embeddedtest.TemporalBinary(t))
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = t.Output()
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd, func() (c children) {
		require.NoError(t, json.NewDecoder(out).Decode(&c))
		return c
	}
}

func TestStart_KilledParentTakesChildrenAlong(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	for range 3 {
		cmd, pids := parent(t, dir)
		c := pids()
		_, err := embedded.Lock(dir)
		requireFault(t, err, fault.Conflict, "data_dir_locked")
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait()
		eventually(t, "children gone", func() bool { return gone(c.Postgres) && gone(c.Temporal) })
	}
	var log logBook
	p, _ := start(t, dir, &log)
	requireServing(t, p)
}

func TestStart_KilledDuringFirstStartDoesNotBlock(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	for _, after := range []time.Duration{30, 150, 300, 500, 700, 900, 1200} {
		cmd, _ := parent(t, dir)
		time.Sleep(after * time.Millisecond) // the point is to hit any moment, not a certain one
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait()
	}
	var log logBook
	p, _ := start(t, dir, &log)
	requireServing(t, p)
}
