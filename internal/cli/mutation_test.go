package cli_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/cli"
)

const servicesBody = `{"decky_name":"web-01","topology_id":null,"services":["ssh"]}`

var addService = []string{"deckies", "add-service", "web-01", "ssh", "--config", "user=deploy"}

func TestMutation_TellsEachStepOnceAndPrintsTheResource(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	api.mutation("POST /deckies/web-01/services", []string{
		op("queued"), op("running", "persist succeeded", "converge running"),
		op("running", "persist succeeded", "converge running"),
		op("succeeded", "persist succeeded", "converge succeeded", "activate succeeded"),
	}, 201, servicesBody)
	out, errOut, err := setup(t, api).run(addService...)
	require.NoError(t, err)
	requireVerbatim(t, servicesBody+"\n", out)
	require.Equal(t, strings.Join([]string{
		"operation " + opID + " add_service ssh on web-01: queued",
		"operation " + opID + " add_service ssh on web-01: running",
		"persist succeeded 1.5s about persist",
		"converge running about converge",
		"converge succeeded 1.5s about converge",
		"activate succeeded 1.5s about activate",
		"operation " + opID + " add_service ssh on web-01: succeeded",
	}, "\n")+"\n", errOut)

	posts := api.seen("POST")
	require.Len(t, posts, 2)
	require.Equal(t, posts[0].key, posts[1].key)
	require.Equal(t, posts[0].body, posts[1].body)
	require.NotEqual(t, posts[0].prefer, posts[1].prefer)
}

func TestMutation_RedrawsOnATerminal(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	api.mutation("DELETE /deckies/web-01", []string{
		op("running", "converge running"), op("succeeded", "converge succeeded", "activate succeeded"),
	}, 200, `{}`)
	b := setup(t, api)
	b.terminals = "in out err"
	out, errOut, err := b.run("deckies", "delete", "web-01")
	require.NoError(t, err)
	require.Equal(t, "decky web-01 is deleted\n", out)
	frames := strings.Split(errOut, "\x1b[2A") // two lines drawn, then drawn over
	require.Len(t, frames, 2)
	require.Contains(t, frames[0], "converge     running")
	require.Contains(t, frames[1], "converge     succeeded")
	require.Contains(t, frames[1], "1.5s")
}

func TestMutation_FailureTellsTheCause(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	body := problem("operation-failed", 502, "port 22 is taken")
	api.mutation("POST /deckies/web-01/services", []string{op("running"), op("failed", "converge failed", "undo succeeded")}, 502, body)
	out, _, err := setup(t, api).run(addService...)
	require.Equal(t, cli.ExitFailed, cli.ExitCode(err))
	require.ErrorContains(t, err, "add_service ssh on web-01 failed and was undone: port_in_use: port 22 is taken")
	require.ErrorContains(t, err, opID)
	require.ErrorContains(t, err, "\n  body.name: ssh holds it")
	require.Equal(t, body+"\n", out)
}

func TestMutation_RefusalNamesFields(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	api.answer("POST /deckies/web-01/services", 422, problem("config_invalid", 422, "the configuration is refused",
		map[string]string{"location": "body.config.user", "message": "must be a login name"}))
	out, _, err := setup(t, api).run(append(addService, "-o", "table")...)
	require.Equal(t, cli.ExitFailed, cli.ExitCode(err))
	require.Empty(t, out)
	require.Equal(t, "config_invalid: the configuration is refused (HTTP 422, request req-1)\n  body.config.user: must be a login name", err.Error())
}

func TestMutation_NoWaitReturnsAtOnce(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	api.mutation("POST /deckies/web-01/services", []string{op("queued")}, 201, servicesBody)
	b := setup(t, api)
	out, _, err := b.run(append(addService, "--no-wait")...)
	require.NoError(t, err)
	require.JSONEq(t, `{"operation_id":"`+opID+`","state":"queued"}`, out)
	require.Empty(t, api.seen("GET"))
	out, _, err = b.run(append(addService, "--no-wait", "-o", "table")...)
	require.NoError(t, err)
	require.Contains(t, out, "decnet operations show "+opID)
}

func TestMutation_TimeoutLeavesTheOperationRunning(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	api.mutation("POST /deckies/web-01/services", []string{op("running"), op("running"), op("running"), op("running"), op("running")}, 201, servicesBody)
	out, errOut, err := setup(t, api).run(append(addService, "--timeout", "300ms")...)
	require.Equal(t, cli.ExitFailed, cli.ExitCode(err))
	require.ErrorContains(t, err, "has not ended after 300ms")
	require.Contains(t, errOut, "decnet operations cancel "+opID)
	require.Empty(t, out)
}

func TestMutation_InterruptStopsWatchingOnly(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	ctx, cancel := context.WithCancel(t.Context())
	api.mutation("POST /deckies/web-01/services", []string{op("running")}, 201, servicesBody)
	api.on("GET /operations/"+opID, func(w http.ResponseWriter, _ *http.Request) {
		write(w, 200, op("running", "converge running"))
		cancel()
	})
	b := setup(t, api)
	b.ctx = ctx
	_, errOut, err := b.run(addService...)
	require.Equal(t, cli.ExitFailed, cli.ExitCode(err))
	require.ErrorContains(t, err, "interrupted before operation "+opID)
	require.Contains(t, errOut, "decnet operations show "+opID+" --wait")
	require.Contains(t, errOut, "decnet operations cancel "+opID)
	require.Len(t, api.seen("POST"), 1)
}

func TestMutation_SurvivesARestartOfTheAPI(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	looks, posts := 0, 0
	api.on("POST /deckies/web-01/services", func(w http.ResponseWriter, _ *http.Request) {
		posts++
		switch {
		case posts == 1: // the answer is lost
			drop(w)
		case looks < 3:
			write(w, 202, `{"operation_id":"`+opID+`","state":"queued"}`)
		default:
			write(w, 201, servicesBody)
		}
	})
	api.on("GET /operations/"+opID, func(w http.ResponseWriter, _ *http.Request) {
		looks++
		switch looks {
		case 1:
			drop(w)
		case 2:
			write(w, 503, problem("unavailable", 503, "the database is away"))
		default:
			write(w, 200, op("succeeded", "activate succeeded"))
		}
	})
	out, _, err := setup(t, api).run(addService...)
	require.NoError(t, err)
	requireVerbatim(t, servicesBody+"\n", out)
	sent := api.seen("POST")
	require.Len(t, sent, 3)
	require.Equal(t, sent[0].key, sent[1].key)
	require.Equal(t, sent[0].key, sent[2].key)
}

// drop ends the connection without an answer.
func drop(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		_ = conn.Close()
	}
}

func TestOperations_ShowAndList(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	failed := op("failed", "converge failed")
	api.answer("GET /operations/"+opID, 200, failed)
	api.answer("GET /operations", 200, `{"items":[`+failed+`],"next_cursor":null}`)
	b := setup(t, api)
	out, _, err := b.run("operations", "show", opID, "-o", "table")
	require.NoError(t, err)
	require.Contains(t, out, "port_in_use: port 22 is taken")
	require.Contains(t, out, "1 to 2")
	_, _, err = b.run("operations", "show", opID, "--wait")
	require.ErrorContains(t, err, "failed and was undone")
	out, _, err = b.run("operations", "list", "--decky", "web-01", "--state", "failed", "--limit", "7")
	require.NoError(t, err)
	require.True(t, json.Valid([]byte(out)))
	gets := api.seen("GET")
	require.Equal(t, "/operations?decky=web-01&limit=7&state=failed", gets[len(gets)-1].uri)
}

func TestOperations_Cancel(t *testing.T) {
	t.Parallel()
	for state, want := range map[string]int{"cancelled": cli.ExitOK, "succeeded": cli.ExitFailed} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			api := newAPI(t)
			api.answer("POST /operations/"+opID+"/cancel", 202, `{"operation_id":"`+opID+`","state":"running"}`)
			api.answer("GET /operations/"+opID, 200, op(state))
			out, _, err := setup(t, api).run("operations", "cancel", opID)
			require.Equal(t, want, cli.ExitCode(err), "%v", err)
			require.JSONEq(t, op(state), out)
		})
	}
}

func TestOperations_CancelTooLateIsRefused(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	api.answer("POST /operations/"+opID+"/cancel", 409, problem("already_active", 409, "the operation is active"))
	_, _, err := setup(t, api).run("operations", "cancel", opID)
	require.Equal(t, cli.ExitFailed, cli.ExitCode(err))
	require.ErrorContains(t, err, "already_active: the operation is active")
}
