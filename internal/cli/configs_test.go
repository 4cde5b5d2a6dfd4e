package cli_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/cli"
)

// formed is a decky with a service whose form was filled in, one that was cleared, and one that was never touched.
const formed = `{"name":"web-01","services":[
{"name":"ssh","config":{"user":"bob"},"saved_config":{"user":"eve","password":"********","hostname":"edge"},"restart_needed":true},
{"name":"http","config":{"response_code":404},"saved_config":{},"restart_needed":true},
{"name":"redis","config":{"version":"7.0.1"}}]}`

const savedAnswer = `{"decky_name":"web-01","service_name":"ssh","topology_id":null,"config":{"user":"x\u001b[2J"},"recreated":false,"restart_needed":true}`

func TestConfigure_StartsFromWhatIsThere(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"from what is saved":  {[]string{"ssh", "--config", "user=mallory"}, `{"config":{"user":"mallory","password":"********","hostname":"edge"}}`},
		"from what is empty":  {[]string{"http", "--config", "fake_app=tomcat"}, `{"config":{"fake_app":"tomcat"}}`},
		"from what is there":  {[]string{"redis", "--config", "os_string=Linux"}, `{"config":{"version":"7.0.1","os_string":"Linux"}}`},
		"unset":               {[]string{"ssh", "--unset", "hostname", "--unset", "nothing"}, `{"config":{"user":"eve","password":"********"}}`},
		"from nothing":        {[]string{"ssh", "--replace", "--config", "user=mallory"}, `{"config":{"user":"mallory"}}`},
		"nothing at all":      {[]string{"ssh", "--replace"}, `{"config":{}}`},
		"a service not there": {[]string{"ftp", "--config", "a=b"}, `{"config":{"a":"b"}}`},
	} {
		for verb, route := range map[string]string{"save-config": "PUT /deckies/web-01/services/" + c.args[0] + "/config", "apply": "POST /deckies/web-01/services/" + c.args[0] + "/apply"} {
			api := newAPI(t)
			api.answer("GET /deckies/web-01", 200, formed)
			api.answer(route, 200, savedAnswer)
			out, _, err := setup(t, api).run(append([]string{"deckies", verb, "web-01"}, c.args...)...)
			require.NoError(t, err, name)
			requireVerbatim(t, savedAnswer+"\n", out)
			method, _, _ := strings.Cut(route, " ")
			require.JSONEq(t, c.want, api.seen(method)[0].body, "%s %s", verb, name)
			require.Equal(t, strings.Contains(strings.Join(c.args, " "), "--replace"), len(api.seen("GET")) == 0)
		}
	}
}

func TestApply_WithoutSettingsTakesWhatIsSaved(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	api.mutation("POST /deckies/web-01/services/ssh/apply", []string{op("running", "converge running"), op("succeeded")}, 201,
		`{"decky_name":"web-01","service_name":"ssh","config":{"user":"eve"},"recreated":true}`)
	out, _, err := setup(t, api).run("deckies", "apply", "web-01", "ssh", "-o", "table")
	require.NoError(t, err)
	require.Equal(t, "ssh on web-01 was started anew: user=eve\n", out)
	require.JSONEq(t, `{}`, api.seen("POST")[0].body)
	require.Empty(t, strings.TrimPrefix(api.seen("GET")[0].uri, "/operations/"+opID), "it asks for nothing but the operation")
}

func TestSaveConfig_TellsThatItIsNotApplied(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	api.answer("PUT /deckies/web-01/services/ssh/config", 200, savedAnswer)
	out, errOut, err := setup(t, api).run("deckies", "save-config", "web-01", "ssh", "--replace", "--config", "user=x", "-o", "table")
	require.NoError(t, err)
	require.Contains(t, out, "ssh on web-01 is saved: user=x")
	require.NotContains(t, out, "\x1b")
	require.Contains(t, errOut, "decnet deckies apply web-01 ssh")
}

func TestConfigure_DryRunShowsWhatWouldChange(t *testing.T) {
	t.Parallel()
	const answer = `{"decky_name":"web-01","service_name":"ssh","config":{},"recreated":true,"dry_run":true,
"config_diff":[{"key":"password","before":"********","after":"********","secret":true},{"key":"user","before":"bob","after":null,"secret":false}],
"compose_diff":"--- compose.yaml\n+++ compose.yaml\n@@ -1 +1 @@\n-revision: 1\n+revision: 2\u001b]0;x\n"}`
	api := newAPI(t)
	api.answer("POST /deckies/web-01/services/ssh/apply", 200, answer)
	b := setup(t, api)
	out, _, err := b.run("deckies", "apply", "web-01", "ssh", "--replace", "--dry-run", "-o", "table")
	require.NoError(t, err)
	require.Equal(t, "/deckies/web-01/services/ssh/apply?dry_run=true", api.seen("POST")[0].uri)
	require.Contains(t, out, "nothing was changed; ssh on web-01 would be started anew\n")
	require.Regexp(t, `(?m)^password +\*{8} +\*{8}$`, out)
	require.Regexp(t, `(?m)^user +bob +\(default\)$`, out)
	require.Contains(t, out, "\n-revision: 1\n+revision: 2")
	require.NotContains(t, out, "\x1b")
	out, _, err = b.run("deckies", "apply", "web-01", "ssh", "--dry-run", "-o", "json")
	require.NoError(t, err)
	requireVerbatim(t, answer+"\n", out)
}

func TestConfigs_UsageErrors(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		"deckies save-config web-01 ssh", "deckies save-config web-01", "deckies apply web-01 ssh --config user=a --unset user",
		"deckies set-expiry web-01 ssh", "deckies set-expiry web-01 ssh tomorrow", "deckies set-expiry web-01 ssh -- -2h", "deckies show web-01 --at x",
		"deckies rollback web-01 latest", "deckies rollback web-01 0", "deckies add-service web-01 ssh --expires-in 2h --expires-at 2h",
		"deckies add-service web-01 ssh --expires-in soon", "services schema", "services list ssh", "archetypes list x",
	} {
		api := newAPI(t)
		api.answer("GET /deckies/web-01", 200, formed)
		_, _, err := setup(t, api).run(strings.Fields(line)...)
		require.Equal(t, cli.ExitUsage, cli.ExitCode(err), "%s: %v", line, err)
		require.Empty(t, append(api.seen("POST"), api.seen("PUT")...))
	}
}

func TestSetExpiry_TimesDurationsAndNever(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Time{
		"2100-01-02T03:04:05+01:00": time.Date(2100, 1, 2, 2, 4, 5, 0, time.UTC),
		"2100-01-02 03:04":          time.Date(2100, 1, 2, 3, 4, 0, 0, time.UTC),
		"2100-01-02 03:04:05Z":      time.Date(2100, 1, 2, 3, 4, 5, 0, time.UTC),
		"90m":                       time.Now().Add(90 * time.Minute),
		"never":                     {},
	} {
		api := newAPI(t)
		api.answer("PUT /deckies/web-01/services/ssh/expiry", 200, `{"decky_name":"web-01","service_name":"ssh","expires_at":"2100-01-02T03:04:05Z"}`)
		out, _, err := setup(t, api).run("deckies", "set-expiry", "web-01", "ssh", text, "-o", "table")
		require.NoError(t, err, text)
		require.Equal(t, "ssh on web-01 is removed at 2100-01-02 03:04:05Z\n", out)
		var sent map[string]*time.Time
		require.NoError(t, json.Unmarshal([]byte(api.seen("PUT")[0].body), &sent))
		require.Contains(t, sent, "expires_at")
		if want.IsZero() {
			require.Nil(t, sent["expires_at"], text)
			continue
		}
		require.WithinDuration(t, want, *sent["expires_at"], time.Minute, text)
	}
}

func TestAddService_Temporary(t *testing.T) {
	t.Parallel()
	for _, flag := range []string{"--expires-in", "--expires-at"} {
		api := newAPI(t)
		api.answer("POST /deckies/web-01/services", 201, `{"decky_name":"web-01","services":["ssh"]}`)
		_, _, err := setup(t, api).run("deckies", "add-service", "web-01", "ssh", flag, "2h")
		require.NoError(t, err)
		var sent struct {
			At time.Time `json:"expires_at"`
		}
		require.NoError(t, json.Unmarshal([]byte(api.seen("POST")[0].body), &sent))
		require.WithinDuration(t, time.Now().Add(2*time.Hour), sent.At, time.Minute)
	}
}

func TestShow_Past(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	api.on("GET /deckies/web-01", func(w http.ResponseWriter, r *http.Request) {
		at, err := time.Parse(time.RFC3339Nano, r.URL.Query().Get("at"))
		if err != nil || time.Since(at).Round(time.Minute) != 2*time.Hour {
			write(w, 422, problem("validation_failed", 422, "at"))
			return
		}
		write(w, 200, `{"name":"web-01","state":"","services":[{"name":"ssh","config":{},"state":""}],"endpoints":[]}`)
	})
	out, _, err := setup(t, api).run("deckies", "show", "web-01", "--at", "2h", "-o", "table")
	require.NoError(t, err)
	require.NotContains(t, out, "state  ")
	require.Contains(t, out, "ssh")
}

func TestShow_TellsWhatIsSaved(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	api.answer("GET /deckies/web-01", 200, formed)
	out, _, err := setup(t, api).run("deckies", "show", "web-01", "-o", "table")
	require.NoError(t, err)
	require.Regexp(t, `(?m)user=bob +hostname=edge, password=\*{8}, user=eve$`, out)
	require.Regexp(t, `(?m)response_code=404 +\(defaults\)$`, out)
	require.Regexp(t, `(?m)version=7.0.1$`, out)
}

func TestRevisionsAndRollback(t *testing.T) {
	t.Parallel()
	const list = `{"items":[{"number":2,"state":"active","kind":"apply_config","actor":"alice","services":[{"name":"ssh"},{"name":"http"}],
"activated_at":"2026-01-02T03:04:05Z","closed_at":null}],"next_cursor":"c2"}`
	api := newAPI(t)
	api.answer("GET /deckies/web-01/revisions", 200, list)
	api.answer("POST /deckies/web-01/rollback", 200, `{"decky_name":"web-01","services":["ssh"]}`)
	b := setup(t, api)
	out, errOut, err := b.run("deckies", "revisions", "web-01", "-o", "table", "--limit", "1")
	require.NoError(t, err)
	require.Regexp(t, `(?m)^2 +active +2026-01-02 03:04:05Z +apply_config +alice +ssh, http$`, out)
	require.Contains(t, errOut, "--cursor c2")
	out, _, err = b.run("deckies", "rollback", "web-01", "1", "-o", "table")
	require.NoError(t, err)
	require.Equal(t, "web-01 now has ssh\n", out)
	require.JSONEq(t, `{"revision":1}`, api.seen("POST")[0].body)
}

func TestCatalog(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	api.answer("GET /deckies/services", 200, `{"services":["http","ssh"],"fleet_singletons":["sniffer"]}`)
	api.answer("GET /deckies/services/ssh/schema", 200, `{"name":"ssh","ports":[22],"fleet_singleton":false,"fields":[
		{"key":"password","label":"P","type":"password","default":"admin","secret":true,"help":"Lets them in.","enum":null,"placeholder":""},
		{"key":"kind","label":"K","type":"enum","default":null,"secret":false,"help":"","enum":["a","b"],"placeholder":""}]}`)
	api.answer("GET /deckies/archetypes", 200, `{"archetypes":[{"slug":"linux-server","display_name":"Linux server","services":["ssh"],"preferred_distros":["debian"],"nmap_os":"linux"}]}`)
	b := setup(t, api)
	for line, want := range map[string][]string{
		"services list -o table":       {`(?m)^http +on deckies$`, `(?m)^sniffer +once per installation$`},
		"services schema ssh -o table": {`(?m)^ports +22$`, `(?m)^password +password, secret +admin +Lets them in.$`, `(?m)^kind +enum +a, b$`},
		"archetypes list -o table":     {`(?m)^linux-server +Linux server +ssh +debian +linux$`},
		"archetypes list -o json":      {`^\{"archetypes"`},
	} {
		out, _, err := b.run(strings.Fields(line)...)
		require.NoError(t, err)
		for _, w := range want {
			require.Regexp(t, w, out)
		}
	}
}

func TestCompletion_OfConfigurations(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	api.answer("GET /deckies", 200, `{"items":[{"name":"web-01"}]}`)
	api.answer("GET /deckies/web-01", 200, formed)
	b := setup(t, api)
	for _, line := range []string{"deckies save-config", "deckies apply", "deckies set-expiry", "deckies revisions", "deckies rollback"} {
		out, _, err := b.run(append(append([]string{"__complete"}, strings.Fields(line)...), "")...)
		require.NoError(t, err)
		require.Contains(t, out, "web-01\n:4\n", line)
	}
	for _, line := range []string{"deckies save-config web-01", "deckies apply web-01", "deckies set-expiry web-01"} {
		out, _, err := b.run(append(append([]string{"__complete"}, strings.Fields(line)...), "")...)
		require.NoError(t, err)
		require.Contains(t, out, "ssh\nhttp\nredis\n:4\n", line)
	}
	out, _, err := b.run("__complete", "services", "schema", "")
	require.NoError(t, err)
	require.Contains(t, out, "redis\nssh\n")
}
