package cli_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/cli"
)

const (
	rowID = "0190b6c1-0000-7000-8000-0000000000aa"
	where = `"decky":"web-01","decky_key":"web-01","topology_id":null,"sensor":null,"service":"ssh","attacker_id":"a-1","attacker_ip":"203.0.113.7"`
	at    = `"2026-01-02T03:04:05.678901Z"`

	eventItem = `{"id":"42","time":` + at + `,"received_at":` + at + `,` + where + `,"type":"auth_attempt","class":"scan","attacker_port":5022,` +
		`"session":"s-1","boot":"b-1","line":7,"fields":{"principal":"root","outcome":"failure","n":1},"msg":null,"raw":"<134>1 it","masked":false}`
	attackerItem = `{"id":"a-1","ip":"203.0.113.7","first_seen":` + at + `,"last_seen":` + at + `,"event_count":12,"session_count":2,"command_count":3,` +
		`"bounty_count":4,"credential_count":5,"services":["http","ssh"],"interacted":["ssh"],"scanned":["http"],"deckies":["web-01","db-01"],` +
		`"traversal":"web-01 → db-01","victim_domains":[]}`
	sessionItem = `{"id":"` + rowID + `","session":"s-1",` + where + `,"started_at":` + at + `,"last_seen":` + at + `,"ended_at":` + at +
		`,"duration_s":12.34,"command_count":2,"has_recording":true,"recording_removed":false}`
	commandItem = `{"id":"9","ref":"s-1#2","time":` + at + `,` + where + `,"session":"` + rowID + `","text":"uname -a","uid":0,"username":"root","directory":"/root"}`
	bountyItem  = `{"id":"3","type":"fingerprint","kind":"ja3","time":` + at + `,` + where + `,"payload":{"ja3":"abc"}}`
	credItem    = `{"id":"4",` + where + `,"principal":null,"secret_kind":"plaintext","secret_printable":"hunter2","secret_b64":"aHVudGVyMg==",` +
		`"secret_sha256":"f00d","outcome":"failure","attempt_count":3,"first_seen":` + at + `,"last_seen":` + at + `}`
	reuseItem = `{"id":"5","principal":"root","secret_kind":"plaintext","secret_printable":"hunter2","secret_b64":"aHVudGVyMg==","secret_sha256":"f00d",` +
		`"target_count":3,"attempt_count":9,"confidence":1,"attacker_ids":["a-1"],"attacker_ips":["203.0.113.7"],"deckies":["web-01","db-01"],` +
		`"services":["ssh"],"first_seen":` + at + `,"last_seen":` + at + `}`
	artifactItem = `{"id":"6","kind":"file","time":` + at + `,` + where + `,"stored_as":"x","sha256":"0123456789abcdef0123456789abcdef","size":31,` +
		`"orig_path":"/tmp/x.sh","session":"s-1","available":true}`
)

func listOf(items ...string) string {
	return `{"items":[` + strings.Join(items, ",") + `],"next_cursor":null}`
}

func TestLists_TablesAndWhatIsAskedFor(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args  []string
		route string
		query url.Values
		item  string
		want  string
	}{
		"events": {
			[]string{"events", "wget", `cmd:"uname -a"`, "--decky", "web-01", "--service", "ssh", "--type", "auth_attempt", "--class", "scan", "--attacker", "203.0.113.7", "--session", "s-1"},
			"/events",
			url.Values{"search": {`wget cmd:"uname -a"`}, "decky": {"web-01"}, "service": {"ssh"}, "type": {"auth_attempt"}, "class": {"scan"}, "attacker": {"203.0.113.7"}, "session": {"s-1"}},
			eventItem,
			"ID  TIME                      DECKY   SERVICE  EVENT         ATTACKER     DETAIL\n" +
				"42  2026-01-02 03:04:05.678Z  web-01  ssh      auth_attempt  203.0.113.7  n=1, outcome=failure, principal=root\n",
		},
		"attackers": {
			[]string{"attackers", "list", "--ip", "203.0.113.0/24", "--sort", "active"},
			"/attackers",
			url.Values{"ip": {"203.0.113.0/24"}, "sort": {"active"}},
			attackerItem,
			"IP           FIRST SEEN            LAST SEEN             EVENTS  SESSIONS  COMMANDS  CREDENTIALS  DECKIES        SERVICES\n" +
				"203.0.113.7  2026-01-02 03:04:05Z  2026-01-02 03:04:05Z  12      2         3         5            web-01, db-01  http, ssh\n",
		},
		"sessions": {
			[]string{"sessions", "list", "--recorded", "--open=false", "--attacker", "a-1"},
			"/sessions",
			url.Values{"recorded": {"true"}, "open": {"false"}, "attacker": {"a-1"}},
			sessionItem,
			"ID                                    STARTED               TOOK   DECKY   SERVICE  ATTACKER     COMMANDS  RECORDED\n" +
				rowID + "  2026-01-02 03:04:05Z  12.3s  web-01  ssh      203.0.113.7  2         yes\n",
		},
		"commands": {
			[]string{"commands", "uname", "--session", rowID},
			"/commands",
			url.Values{"search": {"uname"}, "session": {rowID}},
			commandItem,
			"TIME                      DECKY   SERVICE  ATTACKER     USER  DIRECTORY  COMMAND\n" +
				"2026-01-02 03:04:05.678Z  web-01  ssh      203.0.113.7  root  /root      uname -a\n",
		},
		"bounties": {
			[]string{"bounties", "--type", "fingerprint", "--kind", "ja3"},
			"/bounties",
			url.Values{"type": {"fingerprint"}, "kind": {"ja3"}},
			bountyItem,
			"TIME                  TYPE         KIND  DECKY   SERVICE  ATTACKER     WHAT\n" +
				"2026-01-02 03:04:05Z  fingerprint  ja3   web-01  ssh      203.0.113.7  ja3=abc\n",
		},
		"credentials": {
			[]string{"credentials", "--principal", "root", "--secret-kind", "plaintext", "--outcome", "failure", "--secret", "-"},
			"/credentials",
			url.Values{"principal": {"root"}, "secret_kind": {"plaintext"}, "outcome": {"failure"}, "secret": {"hunter2"}},
			credItem,
			"LAST SEEN             DECKY   SERVICE  ATTACKER     PRINCIPAL  KIND       OUTCOME  ATTEMPTS  SECRET\n" +
				"2026-01-02 03:04:05Z  web-01  ssh      203.0.113.7  (none)     plaintext  failure  3         hunter2\n",
		},
		"reuse": {
			[]string{"reuse", "list", "--min-targets", "3"},
			"/credential-reuse",
			url.Values{"min_targets": {"3"}},
			reuseItem,
			"ID  TARGETS  ATTEMPTS  ATTACKERS  LAST SEEN             SERVICES  PRINCIPAL  KIND       SECRET\n" +
				"5   3        9         1          2026-01-02 03:04:05Z  ssh       root       plaintext  hunter2\n",
		},
		"artifacts": {
			[]string{"artifacts", "list", "--kind", "file", "--sha256", "0123"},
			"/artifacts",
			url.Values{"kind": {"file"}, "sha256": {"0123"}},
			artifactItem,
			"ID  TIME                      KIND  DECKY   SERVICE  ATTACKER     BYTES  CONTENT    SHA256            PATH\n" +
				"6   2026-01-02 03:04:05.678Z  file  web-01  ssh      203.0.113.7  31     available  0123456789abcde…  /tmp/x.sh\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api := newAPI(t)
			api.answer("GET "+c.route, 200, listOf(c.item))
			b := setup(t, api)
			b.stdin = "hunter2\n"
			out, _, err := b.run(append(c.args, "-o", "table")...)
			require.NoError(t, err)
			require.Equal(t, c.want, out)
			require.Equal(t, c.query, asked(t, api, 0))

			out, _, err = b.run(append(c.args, "--output", "json")...)
			require.NoError(t, err)
			requireVerbatim(t, listOf(c.item)+"\n", out)
		})
	}
}

func asked(t *testing.T, api *fakeAPI, call int) url.Values {
	t.Helper()
	u, err := url.Parse(api.seen("GET")[call].uri)
	require.NoError(t, err)
	return u.Query()
}

func TestLists_TimesAndPages(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	api.on("GET /events", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("cursor") == "" {
			write(w, 200, `{"items":[`+eventItem+`],"next_cursor":"c2"}`)
			return
		}
		write(w, 200, listOf(strings.Replace(eventItem, `"42"`, `"41"`, 1)))
	})
	b := setup(t, api)
	out, _, err := b.run("events", "--from", "24h", "--to", "2026-01-31 18:00", "--all", "--limit", "1", "-o", "table")
	require.NoError(t, err)
	require.Contains(t, out, "\n42  ")
	require.Contains(t, out, "\n41  ")
	q := asked(t, api, 1)
	require.Equal(t, "2026-01-31T18:00:00Z", q.Get("to"))
	require.Equal(t, "c2", q.Get("cursor"))
	from, err := time.Parse(time.RFC3339Nano, q.Get("from"))
	require.NoError(t, err)
	require.WithinDuration(t, time.Now().Add(-24*time.Hour), from, time.Minute)
}

func TestLists_DetailsAreWhole(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 500)
	api := newAPI(t)
	api.answer("GET /events/42", 200, strings.Replace(eventItem, "<134>1 it", long+`\u001b[2J`, 1))
	api.answer("GET /attackers/203.0.113.7", 200, attackerItem)
	api.answer("GET /sessions/"+rowID, 200, sessionItem)
	api.answer("GET /sessions/"+rowID+"/commands", 200, `{"items":[`+strings.Replace(commandItem, "uname -a", long, 1)+`],"next_cursor":"more"}`)
	api.answer("GET /credential-reuse/5", 200, reuseItem)
	api.answer("GET /artifacts/6", 200, artifactItem)
	api.answer("GET /ingest", 200, `{"items":[{"decky_key":"web-01","service":"ssh","outcomes":{"stored":12,"dropped_rate":3}}],"last_received_at":`+at+`}`)
	b := setup(t, api)
	for line, want := range map[string][]string{
		"events show 42":             {"attacker     203.0.113.7:5022\n", "\nfields\n  n          1\n  outcome    failure\n", long + `\x1b[2J`},
		"attackers show 203.0.113.7": {"traversal    web-01 → db-01\n", "credentials  5\n"},
		"sessions show " + rowID:     {"took         12.3s\n", "\n2026-01-02 03:04:05.678Z  root:/root  " + long + "\n"},
		"reuse show 5":               {"attackers   203.0.113.7\n", "deckies     web-01, db-01\n", "sha256      f00d\n"},
		"artifacts show 6":           {"path         /tmp/x.sh\n", "sha256       0123456789abcdef0123456789abcdef\n"},
		"ingest-status":              {"web-01  ssh      dropped_rate=3, stored=12\n", "\nlast received  2026-01-02 03:04:05.678901Z\n"},
	} {
		out, errOut, err := b.run(append(strings.Fields(line), "-o", "table")...)
		require.NoError(t, err, line)
		for _, w := range want {
			require.Contains(t, out, w, line)
		}
		require.Equal(t, strings.HasPrefix(line, "sessions"), strings.Contains(errOut, "there are more commands: decnet commands --all --session "+rowID))
	}
}

// hostile puts text that steers terminals into every text of a document.
func hostile(t *testing.T, document string) string {
	t.Helper()
	var v any
	require.NoError(t, json.Unmarshal([]byte(document), &v))
	var poison func(any) any
	poison = func(v any) any {
		switch v := v.(type) {
		case string:
			if _, err := time.Parse(time.RFC3339Nano, v); err == nil {
				return v
			}
			return v + "\x1b]52;c;AA\x07\u009b2J\u202e" + strings.Repeat("漢", 300)
		case []any:
			for i := range v {
				v[i] = poison(v[i])
			}
		case map[string]any:
			for k := range v {
				v[k] = poison(v[k])
			}
			if _, ok := v["principal"]; ok {
				v["k\x1b[2J"] = "x"
			}
		}
		return v
	}
	out, err := json.Marshal(poison(v))
	require.NoError(t, err)
	return string(out)
}

func TestLists_AttackersTextCannotSteerTheTerminal(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	lists := map[string]string{
		"/events": eventItem, "/attackers": attackerItem, "/sessions": sessionItem, "/commands": commandItem, "/bounties": bountyItem,
		"/credentials": credItem, "/credential-reuse": reuseItem, "/artifacts": artifactItem,
	}
	for path, item := range lists {
		api.answer("GET "+path, 200, hostile(t, listOf(item)))
		api.answer("GET "+path+"/x", 200, hostile(t, item))
	}
	api.answer("GET /sessions/x/commands", 200, hostile(t, listOf(commandItem)))
	b := setup(t, api)
	b.terminals = "in out err"
	for _, line := range []string{
		"events", "events show x", "events --follow --count 1", "attackers list", "attackers show x", "sessions list", "sessions show x", "commands",
		"bounties", "credentials", "reuse list", "reuse show x", "artifacts list", "artifacts show x", "events -o json", "events --format csv", "events --format ndjson",
	} {
		out, errOut, err := b.run(strings.Fields(line)...)
		require.NoError(t, err, line)
		requireHarmless(t, out+errOut)
		require.NotEmpty(t, out)
	}
}

func TestLists_LongTextFitsTheTerminal(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	api.answer("GET /commands", 200, listOf(strings.Replace(commandItem, "uname -a", strings.Repeat("A", 400), 1)))
	b := setup(t, api)
	b.terminals = "out"
	out, _, err := b.run("commands")
	require.NoError(t, err)
	for line := range strings.Lines(out) {
		require.LessOrEqual(t, len([]rune(strings.TrimRight(line, "\n"))), 100)
	}
	require.Contains(t, out, "AAA…")
}

func TestExport_ToAFileOnce(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	api.on("GET /events", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/csv")
		_, _ = w.Write([]byte("id,msg\n1,\x1b[2J\n"))
	})
	b := setup(t, api)
	file := filepath.Join(b.dir, "out.csv")
	export := []string{"events", "wget", "--format", "csv", "--max-rows", "5", "--output", file}
	out, errOut, err := b.run(export...)
	require.NoError(t, err)
	require.Empty(t, out)
	require.Equal(t, "14 bytes are in "+file+"\n", errOut)
	requireFile(t, file, "id,msg\n1,\x1b[2J\n")
	require.Equal(t, url.Values{"format": {"csv"}, "max_rows": {"5"}, "search": {"wget"}}, asked(t, api, 0))
	require.Equal(t, "text/csv, application/problem+json", api.seen("GET")[0].accept)

	require.NoError(t, os.WriteFile(file, []byte("mine"), 0o600))
	_, _, err = b.run(export...)
	require.ErrorContains(t, err, "is there already; --force replaces it")
	requireFile(t, file, "mine")
	_, _, err = b.run(append(export, "--force")...)
	require.NoError(t, err)
	requireFile(t, file, "id,msg\n1,\x1b[2J\n")

	out, _, err = b.run("events", "wget", "--format", "csv", "--max-rows", "5")
	require.NoError(t, err)
	requireVerbatim(t, "id,msg\n1,\x1b[2J\n", out)
	b.terminals = "out"
	out, _, err = b.run("events", "wget", "--format", "csv", "--max-rows", "5")
	require.NoError(t, err)
	require.Equal(t, "id,msg\n1,\\x1b[2J\n", out)
}

func requireFile(t *testing.T, name, content string) {
	t.Helper()
	got, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Equal(t, content, string(got))
	info, err := os.Stat(name)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	entries, err := os.ReadDir(filepath.Dir(name))
	require.NoError(t, err)
	for _, e := range entries {
		require.NotContains(t, e.Name(), ".decnet-")
	}
}

func TestExport_WhatFailsLeavesNothing(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	api.answer("GET /bounties", 403, problem("forbidden", 403, "no"))
	api.on("GET /commands", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = w.Write([]byte("half"))
	})
	b := setup(t, api)
	file := filepath.Join(b.dir, "out")
	for _, force := range [][]string{nil, {"--force"}} {
		_, _, err := b.run(append([]string{"bounties", "--format", "ndjson", "--output", file}, force...)...)
		require.ErrorContains(t, err, "forbidden")
		_, _, err = b.run(append([]string{"commands", "--format", "ndjson", "--output", file}, force...)...)
		require.Equal(t, cli.ExitUnreachable, cli.ExitCode(err), "%v", err)
		entries, err := os.ReadDir(b.dir)
		require.NoError(t, err)
		require.Empty(t, entries)
	}
	link := filepath.Join(b.dir, "link")
	require.NoError(t, os.Symlink("/dev/null", link))
	for _, name := range []string{link, "/dev/null", b.dir} {
		_, _, err := b.run("commands", "--format", "csv", "--force", "--output", name)
		require.ErrorContains(t, err, "is no regular file")
	}
}

func TestExport_ACutOneSaysSo(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	api.answer("GET /events", 200, `{"id":"1"}`+"\n"+`{"error":`+problem("database_unavailable", 503, "not now\x1b")+"}\n")
	api.answer("GET /commands", 200, "{\"id\":\"1\",\"error\":null}\n{\"id\":\"2\"}\n")
	api.answer("GET /bounties", 200, "id,msg\n1,\"a\n\"\"b\"\n2,x\n")
	b := setup(t, api)
	file := filepath.Join(b.dir, "out")
	_, errOut, err := b.run("events", "--format", "ndjson", "--output", file)
	require.ErrorContains(t, err, `database_unavailable: not now\x1b (HTTP 503`)
	require.NoFileExists(t, file)
	require.Empty(t, errOut)

	for _, line := range []string{"commands --format ndjson", "bounties --format csv"} {
		_, errOut, err = b.run(append(strings.Fields(line), "--max-rows", "2")...)
		require.NoError(t, err)
		require.Equal(t, "these are the first 2; there may be more, see --max-rows\n", errOut)
		_, errOut, err = b.run(append(strings.Fields(line), "--max-rows", "3")...)
		require.NoError(t, err)
		require.Empty(t, errOut)
	}
}

func TestExport_MistakesOnTheCommandLine(t *testing.T) {
	t.Parallel()
	b := setup(t, newAPI(t))
	for line, text := range map[string]string{
		"events -o file.csv":                "give --format too",
		"events --format xml":               "csv or ndjson",
		"events --format csv -o json":       "./json",
		"events --format csv --all":         "are for pages",
		"events --format csv --limit 5":     "are for pages",
		"events --format csv --max-rows -1": "not be negative",
		"events --force":                    "need --format",
		"events --max-rows 5":               "need --format",
		"events --from yesterday":           "--from must be a time",
		"events show x -o file":             "json or table",
		"attackers show x --output file":    "json or table",
		"events --interval 1s":              "needs --follow",
		"events --follow --to 1h":           "goes without --to",
		"events --follow --all":             "goes without --to",
		"events --follow --interval 1ms":    "--interval must be 100ms or more",
		"events --follow --limit 501":       "--limit must be",
		"bounties x":                        "unknown command",
		"sessions replay x --speed 0":       "--speed must be",
		"sessions replay x --speed NaN":     "--speed must be",
		"sessions replay x --max-idle -1s":  "--max-idle must not",
		"sessions replay x --force":         "--force needs --cast",
		"attackers list --sort":             "flag needs an argument",
		"artifacts get":                     "accepts 1 arg",
		"events --follow --format csv":      "goes without",
	} {
		_, _, err := b.run(strings.Fields(line)...)
		require.Equal(t, cli.ExitUsage, cli.ExitCode(err), line)
		require.ErrorContains(t, err, text, line)
	}
}

func FuzzExport(f *testing.F) {
	f.Add([]byte("id,msg\n1,\"\x1b[2J\n\"\r\n"), 4, true)
	f.Add([]byte("{\"a\":\"\u202e漢\"}\n{\"error\":{\"status\":503}}\n"), 8, false)
	f.Add([]byte("\xe6\xbc"), 1, false)
	f.Fuzz(func(t *testing.T, content []byte, at int, csv bool) {
		at = max(0, min(at, len(content)))
		var out strings.Builder
		w := cli.CleanLines(&out, csv)
		for _, piece := range [][]byte{content[:at], content[at:]} {
			n, err := w.Write(piece)
			require.NoError(t, err)
			require.Len(t, piece, n)
		}
		requireHarmless(t, out.String())

		rows, failure := cli.RowsOf(csv, content[:at], content[at:])
		whole, wholeFailure := cli.RowsOf(csv, content)
		require.Equal(t, whole, rows)
		require.Equal(t, wholeFailure, failure)
	})
}
