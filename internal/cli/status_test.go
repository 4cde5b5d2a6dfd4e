package cli_test

import (
	"encoding/json"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/bus"
	"github.com/decnet/decnet/internal/bus/bustest"
	"github.com/decnet/decnet/internal/cli"
)

const (
	atRest   = `{"quiescent":true,"open_operations":0,"reconciling":0,"last_disturbed":null,"observer":[{"host_id":"h1","finished_at":"2026-01-02T03:04:05Z","decoys":4,"drift":0}],"roles":[{"role":"api","host_id":"h1","pid":42}],"outbox_backlog":0,"runtime":"process","version":"v1","installation_id":"i-1","epoch":3}`
	restless = `{"quiescent":false,"open_operations":[{"id":"x"}],"reconciling":["web-01","web-02"],"outbox_backlog":7}`
)

func TestStatus_IsReadable(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	api.answer("GET /status", 200, atRest)
	b := setup(t, api)
	out, _, err := b.run("status", "-o", "table")
	require.NoError(t, err)
	for _, want := range []string{"quiescent        yes", "i-1 (epoch 3)", "h1", "api", "42"} {
		require.Contains(t, out, want)
	}
	out, _, err = b.run("status")
	require.NoError(t, err)
	require.Equal(t, atRest+"\n", out)
}

func TestStatus_WaitsThroughARestart(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	looks := 0
	api.on("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		looks++
		switch looks {
		case 1:
			drop(w)
		case 2:
			write(w, 503, problem("unavailable", 503, "the database is away"))
		case 3:
			write(w, 200, restless)
		default:
			write(w, 200, atRest)
		}
	})
	out, _, err := setup(t, api).run("status", "--wait-quiescent", "--timeout", "10s")
	require.NoError(t, err)
	require.Equal(t, atRest+"\n", out)
}

func TestStatus_GivesUpInTime(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	api.answer("GET /status", 200, restless)
	b := setup(t, api)
	out, _, err := b.run("status", "--wait-quiescent", "--timeout", "100ms", "-o", "table")
	require.Equal(t, cli.ExitFailed, cli.ExitCode(err))
	require.ErrorContains(t, err, "not quiescent after 100ms")
	require.Contains(t, out, "reconciling      2")
	_, _, err = b.run("status", "--wait-quiescent", "--timeout", "100ms", "--api-url", "http://"+freeAddress(t))
	require.Equal(t, cli.ExitUnreachable, cli.ExitCode(err))
}

func TestBusTail_PrintsEnvelopesAndLines(t *testing.T) {
	t.Parallel()
	srv := bustest.Start(t)
	broker, err := bus.Connect(t.Context(), srv.URL(), "test")
	require.NoError(t, err)
	t.Cleanup(func() { _ = broker.Close() })
	subject, err := bus.ParseSubject("decky.web-01.service_added")
	require.NoError(t, err)
	e, err := bus.New(subject, "service_added", time.Now(), map[string]string{"banner": "\x1b[2J\u009b<x>"})
	require.NoError(t, err)
	require.NoError(t, broker.Publish(t.Context(), e))

	b := setup(t, nil)
	b.writeFile("data/run/ready.json", readyFile("http://x/api/v1", srv.URL(), os.Getpid()))
	out, _, err := b.run("bus", "tail", "decky.>", "--since", "1h", "--count", "1")
	require.NoError(t, err)
	var got bus.Envelope
	require.NoError(t, json.Unmarshal([]byte(out), &got))
	require.Equal(t, e.ID, got.ID)

	b.terminals = "out err"
	out, _, err = b.run("bus", "tail", "--since", "1h", "--count", "1", "--nats-url", srv.URL())
	require.NoError(t, err)
	requireHarmless(t, out)
	require.Contains(t, out, "decky.web-01.service_added")

	_, _, err = b.run("bus", "tail", "attacker.>", "--since", "1h", "--count", "1", "--timeout", "200ms")
	require.Equal(t, cli.ExitFailed, cli.ExitCode(err))
	require.ErrorContains(t, err, "0 of 1 events")
	_, _, err = b.run("bus", "tail", "attacker.>", "--timeout", "200ms")
	require.NoError(t, err)
}

func TestDoctor_FindsWhatIsMissing(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	taken := newAPI(t).server.Listener.Addr().String()
	b.writeFile("data/foreign", "x")
	b.writeFile("data/postgres/cluster/PG_VERSION", "9\n")
	key := b.writeFile("data/secret.key", "x")
	require.NoError(t, os.Chmod(key, 0o644))
	b.env = append(b.env, "PATH=/nowhere", "DECNET_DOCKER_HOST=unix:///nowhere.sock")
	out, _, err := b.run("doctor", "--listen", taken, "--runtime", "docker", "--decoy-binary", "/nowhere", "--temporal-binary", "/nowhere")
	require.Equal(t, cli.ExitFailed, cli.ExitCode(err))
	require.ErrorContains(t, err, "checks failed")
	states := findings(t, out)
	for _, name := range []string{"postgres", "temporal", "decoy", "docker", "data directory", "secret files", "api port"} {
		require.Equal(t, "fail", states[name], name)
	}
	require.Equal(t, "ok", states["configuration"])

	out, _, err = b.run("doctor", "--runtime", "nonsense", "-o", "table")
	require.Equal(t, cli.ExitFailed, cli.ExitCode(err))
	require.Contains(t, out, "fail  configuration")
	require.Contains(t, out, "fix: ")
}

func TestDoctor_IsContentWithARunningInstallation(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	api := newAPI(t)
	b.writeFile("data/run/ready.json", readyFile(api.url(), "nats://x", os.Getpid()))
	b.env = append(b.env, "DECNET_DATABASE_URL=postgres://u@h/d", "DECNET_TEMPORAL_ADDRESS=h:1", "DECNET_DOCKER_HOST=unix:///nowhere.sock")
	self, err := os.Executable()
	require.NoError(t, err)
	out, _, err := b.run("doctor", "--listen", api.server.Listener.Addr().String(), "--decoy-binary", self)
	require.NoError(t, err, out)
	states := findings(t, out)
	for _, name := range []string{"postgres", "temporal", "decoy", "docker", "data directory", "secret files", "api port"} {
		require.Equal(t, "ok", states[name], name)
	}
}

func findings(t *testing.T, out string) map[string]string {
	t.Helper()
	var report struct {
		Checks []struct{ Check, State, Detail, Fix string }
	}
	require.NoError(t, json.Unmarshal([]byte(out), &report), out)
	states := map[string]string{}
	for _, c := range report.Checks {
		states[c.Check] = c.State
		require.True(t, c.State == "ok" || c.Fix != "", "%s has no fix", c.Check)
	}
	return states
}
