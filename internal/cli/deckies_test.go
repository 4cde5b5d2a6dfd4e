package cli_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/cli"
)

const decky = `{"uuid":"u-1","name":"web-01","scope":"fleet","ip":"127.66.0.2","archetype":"linux-server","state":"running",
"services":[{"name":"ssh","config":{"password":"***","user":"deploy"},"state":"running","restart_needed":true,"expires_at":null,"revision":1}],
"endpoints":[{"service":"ssh","protocol":"tcp","ip":"127.66.0.2","port":2222}],"revision":1,"created_at":"2026-01-02T03:04:05Z"}`

func TestShow_TellsWhereServicesAreReached(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	api.answer("GET /deckies/web-01", 200, decky)
	out, _, err := setup(t, api).run("deckies", "show", "web-01", "-o", "table")
	require.NoError(t, err)
	for _, want := range []string{"web-01", "127.66.0.2:2222/tcp", "running, restart needed", "password=***, user=deploy", "2026-01-02 03:04:05Z"} {
		require.Contains(t, out, want)
	}
	require.Equal(t, "Bearer "+token, api.seen("GET")[0].auth)
}

func TestList_FollowsPages(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	api.on("GET /deckies", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("cursor") == "" {
			write(w, 200, `{"items":[{"name":"a-1"}],"next_cursor":"c2"}`)
			return
		}
		write(w, 200, `{"items":[{"name":"b-2"}],"next_cursor":null}`)
	})
	b := setup(t, api)
	out, _, err := b.run("deckies", "list", "--all", "-o", "table", "--limit", "1")
	require.NoError(t, err)
	require.Contains(t, out, "a-1")
	require.Contains(t, out, "b-2")
	out, errOut, err := b.run("deckies", "list", "-o", "table")
	require.NoError(t, err)
	require.NotContains(t, out, "b-2")
	require.Contains(t, errOut, "--cursor c2")
}

func TestCreate_SendsWhatWasAskedFor(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		args  []string
		stdin string
		want  string
	}{
		"archetype decides": {nil, "", `{"name":"web-01"}`},
		"no services":       {[]string{"--no-services"}, "", `{"name":"web-01","services":[]}`},
		"everything": {
			[]string{"--archetype", "a", "--distro", "d", "--service", "ssh", "--service", "ftp", "--ip", "127.66.0.9", "--nmap-os", "linux", "--hostname", "h"},
			"", `{"name":"web-01","archetype":"a","distro":"d","services":["ssh","ftp"],"ip":"127.66.0.9","nmap_os":"linux","hostname":"h"}`,
		},
		"settings": {
			[]string{"--config", "ssh.user=a=b", "--config", "ftp.port:=2121", "--config", `ftp.list:=["x"]`},
			"", `{"name":"web-01","service_config":{"ssh":{"user":"a=b"},"ftp":{"port":2121,"list":["x"]}}}`,
		},
		"secret from standard input": {
			[]string{"--config", "ssh.password=-"}, "s3cret\n", `{"name":"web-01","service_config":{"ssh":{"password":"s3cret"}}}`,
		},
		"file on standard input, flags on top": {
			[]string{"--config-file", "-", "--config", "ssh.user=root"},
			`{"ssh":{"user":"u","n":12345678901234567890}}`,
			`{"name":"web-01","service_config":{"ssh":{"user":"root","n":12345678901234567890}}}`,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api := newAPI(t)
			api.answer("POST /deckies", 201, decky)
			b := setup(t, api)
			b.stdin = c.stdin
			out, _, err := b.run(append([]string{"deckies", "create", "web-01"}, c.args...)...)
			require.NoError(t, err)
			requireVerbatim(t, decky+"\n", out)
			sent := api.seen("POST")[0]
			require.JSONEq(t, c.want, sent.body)
			if strings.Contains(c.want, "12345678901234567890") {
				require.Contains(t, sent.body, "12345678901234567890")
			}
			require.NotEmpty(t, sent.key)
			require.Equal(t, "wait=0", sent.prefer)
		})
	}
}

func TestAddService_ReadsSecretsFromFiles(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	api.answer("POST /deckies/web-01/services", 201, `{"decky_name":"web-01","topology_id":null,"services":["ssh"]}`)
	b := setup(t, api)
	pw := b.writeFile("pw", "s3cret\r\n")
	file := b.writeFile("config.json", `{"user":"deploy","password":"old"}`)
	out, _, err := b.run("deckies", "add-service", "web-01", "ssh", "--config", "password=@"+pw, "--config-file", file, "-o", "table")
	require.NoError(t, err)
	require.Equal(t, "web-01 now has ssh\n", out)
	require.JSONEq(t, `{"name":"ssh","config":{"user":"deploy","password":"s3cret"}}`, api.seen("POST")[0].body)
}

func TestAddService_AsksForSecretsOnATerminal(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	api.answer("POST /deckies/web-01/services", 201, `{"decky_name":"web-01","services":["ssh"]}`)
	b := setup(t, api)
	b.terminals, b.passwords = "in err", []string{"one", "two"}
	_, errOut, err := b.run("deckies", "add-service", "web-01", "ssh", "--config", "password=-", "--config", "user_password=-")
	require.NoError(t, err)
	require.JSONEq(t, `{"name":"ssh","config":{"password":"one","user_password":"two"}}`, api.seen("POST")[0].body)
	require.Contains(t, errOut, "Value of password: ")
	require.NotContains(t, errOut, "one")
}

func TestConfig_RefusalsNeverRepeatValues(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"no separator":     {"--config", "hunter2"},
		"twice":            {"--config", "a=hunter2", "--config", "a=hunter2"},
		"bad json":         {"--config", "a:=hunter2"},
		"stdin twice":      {"--config", "a=-", "--config", "b=-"},
		"file not there":   {"--config", "a=@/nowhere/at/all"},
		"file no object":   {"--config-file", "-"},
		"no such key form": {"--config", "=hunter2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api := newAPI(t)
			b := setup(t, api)
			b.stdin = "[]"
			_, _, err := b.run(append([]string{"deckies", "add-service", "web-01", "ssh"}, args...)...)
			require.Equal(t, cli.ExitUsage, cli.ExitCode(err), "%v", err)
			require.NotContains(t, err.Error(), "hunter2")
			require.Empty(t, api.seen("POST"))
		})
	}
}

func TestPaths_AreEscaped(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	api.answer("GET /deckies/..%2Fusers%3Fa", 200, decky)
	_, _, err := setup(t, api).run("deckies", "show", "../users?a")
	require.NoError(t, err)
}

func TestCompletion_OffersNamesOfTheAPI(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	api.answer("GET /deckies", 200, `{"items":[{"name":"web-01"},{"name":"evil\u001b name"}]}`)
	api.answer("GET /deckies/web-01", 200, decky)
	api.answer("GET /operations", 200, `{"items":[`+op("running")+`,{"id":"done","state":"failed"}]}`)
	b := setup(t, api)
	for line, want := range map[string]string{
		"deckies show":                  "web-01\n:4\n",
		"deckies remove-service web-01": "ssh\n:4\n",
		"deckies add-service web-01":    ":4\n",
		"operations show":               opID + "\ndone\n:4\n",
		"operations cancel":             opID + "\n:4\n",
	} {
		out, _, err := b.run(append(append([]string{"__complete"}, strings.Fields(line)...), "")...)
		require.NoError(t, err)
		require.Contains(t, out, want, line)
		require.NotContains(t, out, "evil")
	}
}
