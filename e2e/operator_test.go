package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"github.com/decnet/decnet/e2e/harness"
)

func itoa(n int) string { return strconv.Itoa(n) }

// failedInTemporal checks that the workflow of an operation failed with the operation's own code.
func failedInTemporal(t *testing.T, s *system, op harness.Operation) {
	t.Helper()
	err := s.temporal(t).GetWorkflow(harness.Within(t, patience), op.WorkflowID, "").Get(t.Context(), nil)
	var failure *temporal.ApplicationError
	require.ErrorAs(t, err, &failure)
	require.Equal(t, op.Fault.Code, failure.Type())
	require.Equal(t, op.Fault.Message, failure.Message())
}

// temporalTellsTheStory finds mutations as an operator does who knows Temporal.
func temporalTellsTheStory(t *testing.T, s *system) {
	d := s.create(t, "story-01")
	first, second := occupy(t, d.IP, 22), occupy(t, d.IP, 22+s.PortOffset)
	s.must(t, http.StatusBadGateway, http.MethodPost, "/deckies/story-01/services", map[string]any{"name": "ssh"})
	_, _ = first.Close(), second.Close()
	s.addSSH(t, "story-01", nil)

	type execution struct {
		Execution        struct{ WorkflowID string }
		Status           string
		SearchAttributes struct {
			IndexedFields map[string]struct{ Data []byte }
		}
	}
	find := func(query string) (found []execution) {
		out, code := harness.Run(harness.Within(t, patience), t, os.Environ(), "", harness.Build(t).Temporal, "workflow", "list",
			"--address", s.Ready.TemporalAddress, "--namespace", s.Ready.TemporalNamespace, "--query", query, "-o", "json",
			"--disable-config-file", "--disable-config-env")
		require.Zero(t, code, out)
		require.NoError(t, json.Unmarshal([]byte(out), &found), out)
		return found
	}
	eventually(t, func() bool { return len(find(`DecnetDecky="story-01"`)) == 3 }, "create, failed and successful add are found")
	failed := find(`DecnetDecky="story-01" AND DecnetService="ssh" AND ExecutionStatus="Failed" AND DecnetActor="admin" AND DecnetScope="fleet"`)
	require.Len(t, failed, 1)
	require.Equal(t, "WORKFLOW_EXECUTION_STATUS_FAILED", failed[0].Status)
	op := s.operations(t, "decky", "story-01", "state", "failed")[0]
	require.Equal(t, op.WorkflowID, failed[0].Execution.WorkflowID)
	attributes := failed[0].SearchAttributes.IndexedFields
	for name, want := range map[string]string{
		"DecnetScope": "fleet", "DecnetDecky": "story-01", "DecnetService": "ssh", "DecnetActor": "admin", "DecnetOperation": op.ID.String(),
	} {
		require.Equal(t, strconv.Quote(want), string(attributes[name].Data), name)
	}
	failedInTemporal(t, s, op)
	describe(t, s, op)
}

func describe(t *testing.T, s *system, op harness.Operation) {
	t.Helper()
	out, code := harness.Run(harness.Within(t, patience), t, os.Environ(), "", harness.Build(t).Temporal, "workflow", "describe",
		"--address", s.Ready.TemporalAddress, "--namespace", s.Ready.TemporalNamespace, "--workflow-id", op.WorkflowID,
		"--disable-config-file", "--disable-config-env")
	require.Zero(t, code, out)
	require.Contains(t, out, "FAILED")
	require.Contains(t, out, op.Fault.Message)
}

// commandLine does with the program what the API tests do with requests.
func commandLine(t *testing.T, s *system) {
	home := t.TempDir()
	run := func(stdin string, args ...string) (string, string, int) {
		return s.CLI(harness.Within(t, patience), home, stdin, args...)
	}
	ok := func(stdin string, args ...string) string {
		t.Helper()
		out, errs, code := run(stdin, args...)
		require.Zero(t, code, "decnet %s\n%s%s", strings.Join(args, " "), out, errs)
		return out
	}
	fails := func(want int, args ...string) string {
		t.Helper()
		out, errs, code := run("", args...)
		require.Equal(t, want, code, "decnet %s\n%s%s", strings.Join(args, " "), out, errs)
		return errs
	}

	fails(1, "deckies", "list") // not logged in
	ok(harness.AdminPassword+"\n", "login", "--user", "admin", "--password-stdin")
	secret := filepath.Join(home, "pw.txt")
	require.NoError(t, os.WriteFile(secret, []byte("cli-secret-pw\n"), 0o600))
	ok("", "deckies", "create", "cli-01", "--no-services", "--ip", s.ip())
	ok("", "deckies", "add-service", "cli-01", "ssh", "--config", "user=deploy", "--config", "password=@"+secret)
	shown := ok("", "deckies", "show", "cli-01", "-o", "json")
	var d harness.Decky
	require.NoError(t, json.Unmarshal([]byte(shown), &d))
	require.NotContains(t, shown, "cli-secret-pw")
	out, code := openssh(t, d, "cli-secret-pw", "", "id -un")
	require.Zero(t, code, out)
	table := ok("", "deckies", "list", "--all", "-o", "table")
	require.Regexp(t, `cli-01\s+running\s+`+d.IP, table)
	require.Contains(t, ok("", "deckies", "list", "-o", "json"), `"items"`)

	listed := ok("", "operations", "list", "--decky", "cli-01", "-o", "table")
	require.Contains(t, listed, "add_service")
	op := s.operations(t, "decky", "cli-01")[0]
	require.Contains(t, ok("", "operations", "show", op.ID.String(), "-o", "table"), "activate")
	fails(1, "operations", "cancel", op.ID.String())
	require.Contains(t, fails(1, "deckies", "add-service", "cli-01", "ssh"), "already")
	require.NotEmpty(t, fails(1, "deckies", "show", "no-such"))

	cliEvents(t, ok)
	cliConfig(t)
	fails(2, "deckies", "create")
	fails(2, "deckies", "list", "--no-such-flag")
	fails(2, "no-such-command")
	fails(3, "deckies", "list", "--api-url", "http://127.0.0.1:"+harness.FreePort(t))
	cliStatus(t, run)
	cliConfigurations(t, s, ok, fails)
	ok("", "deckies", "remove-service", "cli-01", "ssh")
	ok("", "deckies", "delete", "cli-01")
	ok("", "logout")
	fails(1, "deckies", "list")
}

// cliConfigurations saves, looks, applies, goes back and sets an end.
func cliConfigurations(t *testing.T, s *system, ok func(string, ...string) string, fails func(int, ...string) string) {
	t.Helper()
	saved := ok("", "deckies", "save-config", "cli-01", "ssh", "--config", "hostname=edge-3", "-o", "table")
	require.Equal(t, "ssh on cli-01 is saved: hostname=edge-3, password=********, user=deploy\n", saved)
	require.Contains(t, ok("", "deckies", "show", "cli-01", "-o", "table"), "restart needed")
	require.Regexp(t, `(?m)^hostname +\(default\) +edge-3$`, ok("", "deckies", "apply", "cli-01", "ssh", "--dry-run", "-o", "table"))
	require.Contains(t, ok("", "deckies", "apply", "cli-01", "ssh", "-o", "json"), `"recreated":true`)
	out, code := openssh(t, s.decky(t, "cli-01"), "cli-secret-pw", "", "hostname")
	require.Equal(t, []any{"edge-3\n", 0}, []any{out, code}, "the mask kept the password")

	require.Regexp(t, `(?m)^4 +active .* apply_config +admin +ssh$`, ok("", "deckies", "revisions", "cli-01", "-o", "table"))
	require.Equal(t, "cli-01 now has ssh\n", ok("", "deckies", "rollback", "cli-01", "2", "-o", "table"))
	require.Contains(t, ok("", "deckies", "set-expiry", "cli-01", "ssh", "36h", "-o", "table"), "is removed at")
	require.Equal(t, "ssh on cli-01 stays\n", ok("", "deckies", "set-expiry", "cli-01", "ssh", "never", "-o", "table"))
	fails(1, "deckies", "show", "cli-01", "--at", "240h")
	fails(1, "deckies", "rollback", "cli-01", "99")
	fails(1, "deckies", "apply", "cli-01", "redis")
	fails(2, "deckies", "save-config", "cli-01", "ssh")
	require.Contains(t, ok("", "services", "schema", "ssh", "-o", "table"), "user_password")
}

// cliConfig shows a configuration full of secrets.
func cliConfig(t *testing.T) {
	t.Helper()
	environ := []string{
		"DECNET_ADMIN_PASSWORD=hidden-admin-password", "DECNET_DATABASE_URL=postgres://decnet:hidden-db@db.example/decnet",
		"DECNET_NATS_URL=nats://hidden-token@nats.example:4222", "DECNET_HOST_ID=shown-host",
	}
	out, code := harness.Run(harness.Within(t, patience), t, environ, "", harness.Build(t).Decnet, "config", "show")
	require.Zero(t, code, out)
	for _, shown := range []string{"shown-host", "db.example", "nats.example"} {
		require.Contains(t, out, shown)
	}
	require.NotContains(t, out, "hidden")
}

func cliEvents(t *testing.T, ok func(string, ...string) string) {
	t.Helper()
	out := ok("", "bus", "tail", "decky.>", "--since", "1h", "--count", "2", "--timeout", "30s", "-o", "json")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Len(t, lines, 2)
	for _, line := range lines {
		var e struct{ ID, Topic, Type string }
		require.NoError(t, json.Unmarshal([]byte(line), &e), line)
		require.True(t, strings.HasPrefix(e.Topic, "decky."), line)
		require.NotEmpty(t, e.ID)
		require.NotEmpty(t, e.Type)
	}
}

// cliStatus waits with the program for rest, which comes when the other tests are done.
func cliStatus(t *testing.T, run func(string, ...string) (string, string, int)) {
	t.Helper()
	for began := time.Now(); ; {
		out, errs, code := run("", "status", "--wait-quiescent", "--timeout", "20s", "-o", "json")
		if code == 0 {
			require.Contains(t, out, `"quiescent":true`, out)
			return
		}
		require.Equal(t, 1, code, errs)
		require.Contains(t, errs, "not quiescent")
		require.Less(t, time.Since(began), 2*patience, fmt.Sprint(out))
	}
}
