package cli_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/cli"
	"github.com/decnet/decnet/internal/fault"
)

func TestExitCode_OfErrors(t *testing.T) {
	t.Parallel()
	require.Equal(t, 0, cli.ExitCode(nil))
	require.Equal(t, 1, cli.ExitCode(errors.New("x")))
	require.Equal(t, 2, cli.ExitCode(fmt.Errorf("x: %w", cli.Usage(errors.New("y")))))
	require.NoError(t, cli.Usage(nil))
	for _, kind := range fault.Kinds() {
		want, special := map[fault.Kind]int{fault.Invalid: 2, fault.Unavailable: 3}[kind]
		if !special {
			want = 1
		}
		require.Equal(t, want, cli.ExitCode(fmt.Errorf("x: %w", fault.New(kind, "c", "m"))), kind)
	}
}

func TestExitCode_OfCommandLines(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	api.answer("GET /deckies/html", 200, "<html>")
	api.answer("GET /deckies/teapot", 418, "<html>\x1b[2J")
	api.answer("GET /deckies/moved", 302, "")
	api.answer("GET /deckies/401", 401, problem("token_expired", 401, "the token has expired"))
	free := freeAddress(t)
	for line, c := range map[string]struct {
		args []string
		want int
		text string
	}{
		"help":               {[]string{"deckies"}, 0, ""},
		"unknown command":    {[]string{"nonsense"}, 2, `unknown command "nonsense" for "decnet"`},
		"unknown subcommand": {[]string{"deckies", "nonsense"}, 2, `unknown command "nonsense" for "decnet deckies"`},
		"unknown flag":       {[]string{"deckies", "list", "--nonsense"}, 2, "unknown flag: --nonsense\nrun 'decnet deckies list --help'"},
		"missing argument":   {[]string{"deckies", "show"}, 2, "accepts 1 arg(s), received 0\nrun 'decnet deckies show --help' for usage"},
		"too many":           {[]string{"deckies", "list", "x"}, 2, "unknown command"},
		"bad output":         {[]string{"deckies", "list", "-o", "xml"}, 2, "must be json or table"},
		"bad timeout":        {[]string{"deckies", "list", "--timeout", "0s"}, 2, "--timeout must be positive"},
		"bad limit":          {[]string{"deckies", "list", "--limit", "501"}, 2, "--limit must be 1 to 500"},
		"wait and no-wait":   {[]string{"deckies", "delete", "x", "--wait", "--no-wait"}, 2, "exclude each other"},
		"services and none":  {[]string{"deckies", "create", "x", "--service", "ssh", "--no-services"}, 2, "exclude each other"},
		"bad url":            {[]string{"deckies", "list", "--api-url", "localhost:1"}, 2, "must be a URL"},
		"url with password":  {[]string{"deckies", "list", "--api-url", "http://u:hunter2@h/"}, 2, "neither a user"},
		"bad since":          {[]string{"bus", "tail", "--since", "soon"}, 2, "--since"},
		"bad pattern":        {[]string{"bus", "tail", "a..b"}, 2, "pattern token 2"},
		"no such decky":      {[]string{"deckies", "show", "nobody"}, 1, "not_found: there is no GET /deckies/nobody (HTTP 404"},
		"not logged in":      {[]string{"deckies", "show", "401"}, 1, "decnet login"},
		"no json":            {[]string{"deckies", "show", "html", "-o", "table"}, 1, "is this its API?"},
		"no problem":         {[]string{"deckies", "show", "teapot"}, 1, "I'm a teapot (HTTP 418)"},
		"redirect":           {[]string{"deckies", "show", "moved"}, 1, "HTTP 302"},
		"nobody listens":     {[]string{"deckies", "list", "--api-url", "http://" + free}, 3, "cannot reach http://" + free + "/api/v1 (from --api-url): connect: connection refused"},
		"nobody, mutation":   {[]string{"deckies", "delete", "x", "--api-url", "http://" + free}, 3, "connection refused"},
		"no bus known":       {[]string{"bus", "tail"}, 3, "--nats-url"},
	} {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			b := setup(t, api)
			_, _, err := b.run(c.args...)
			require.Equal(t, c.want, cli.ExitCode(err), "%v", err)
			if c.text != "" {
				require.LessOrEqual(t, strings.Count(err.Error(), "--help"), 1)
				require.ErrorContains(t, err, c.text)
				requireHarmless(t, err.Error())
				require.NotContains(t, err.Error(), "hunter2")
			}
		})
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().String()
}

// readyFile returns the content of a ready file of process pid.
func readyFile(api, nats string, pid int) string {
	b, _ := json.Marshal(map[string]any{
		"api_url": api, "temporal_address": "x", "temporal_namespace": "decnet", "nats_url": nats, "database_url": "x",
		"runtime": "process", "admin_user": "chief", "data_dir": "x", "pid": pid,
	})
	return string(b)
}

func TestAPI_IsFoundThroughTheReadyFile(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	api.answer("GET /deckies", 200, `{"items":[]}`)
	b := setup(t, nil)
	path := b.writeFile("data/run/ready.json", readyFile(api.url(), "nats://x", os.Getpid()))
	elsewhere := b.writeFile("elsewhere.json", readyFile(api.url(), "nats://x", os.Getpid()))
	withDir := b.env

	_, _, err := b.run("deckies", "list")
	require.NoError(t, err, "the data directory of the environment")
	b.env = withDir[:1]
	_, _, err = b.run("deckies", "list", "--data-dir", filepath.Join(b.dir, "data"))
	require.NoError(t, err, "the data directory of the flag")
	_, _, err = b.run("deckies", "list", "--ready-file", elsewhere)
	require.NoError(t, err, "the file of the flag")
	b.env = append(withDir[:1:1], "DECNET_READY_FILE="+elsewhere)
	_, _, err = b.run("deckies", "list")
	require.NoError(t, err, "the file of the environment")

	_, _, err = b.run("deckies", "list", "--ready-file", filepath.Join(b.dir, "missing"))
	require.Equal(t, cli.ExitUnreachable, cli.ExitCode(err))
	require.ErrorContains(t, err, "is decnet up?")

	require.NoError(t, os.WriteFile(path, []byte(readyFile(api.url(), "nats://x", 1<<22+1)), 0o600))
	b.env = withDir[:1]
	_, _, err = b.run("deckies", "list", "--ready-file", path)
	require.Equal(t, cli.ExitUnreachable, cli.ExitCode(err))
	require.ErrorContains(t, err, "ready_file_stale")

	b.env = withDir // a stale file that was not asked for is not an error of its own
	_, _, err = b.run("bus", "tail")
	require.Equal(t, cli.ExitUnreachable, cli.ExitCode(err))
	require.ErrorContains(t, err, "--nats-url, DECNET_NATS_URL or --ready-file: ")
}

func TestLogin_OffersTheAdminOfTheReadyFile(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	withLogin(api, "right", false)
	b := setup(t, nil)
	b.writeFile("data/run/ready.json", readyFile(api.url(), "nats://x", os.Getpid()))
	b.stdin = "right"
	_, _, err := b.run("login", "--password-stdin")
	require.NoError(t, err)
	require.JSONEq(t, `{"username":"chief","password":"right"}`, api.seen("POST")[0].body)
}

// Not parallel: it changes the working directory.
func TestReadyFile_OfAnotherUserIsNotTrustedByChance(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to make a file of another user")
	}
	b := setup(t, nil)
	t.Chdir(b.dir)
	b.env = b.env[:1]
	path := b.writeFile("data/run/ready.json", readyFile("http://x/api/v1", "nats://127.0.0.1:1", os.Getpid()))
	require.NoError(t, os.Chown(path, 12345, 12345))
	_, _, err := b.run("bus", "tail")
	require.Equal(t, cli.ExitUnreachable, cli.ExitCode(err))
	require.ErrorContains(t, err, "belongs to another user")
}

func TestUnreachable_SaysWhyThatAddress(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	b.env = append(b.env, "DECNET_API_URL=http://"+freeAddress(t))
	_, _, err := b.run("status")
	require.Equal(t, cli.ExitUnreachable, cli.ExitCode(err))
	require.ErrorContains(t, err, "(from DECNET_API_URL)")
}
