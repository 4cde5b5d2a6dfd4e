package cli_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/cli"
)

const (
	labID    = "70000000-0000-4000-8000-000000000001"
	officeID = "70000000-0000-4000-8000-0000000000aa"
	edgeID   = "70000000-0000-4000-8000-0000000000ee"
	atLab    = "/topologies/" + labID
	labList  = `{"items":[{"id":"` + labID + `","name":"lab","status":"active","version":3,"created_at":"2026-01-02T03:04:05Z"}],"next_cursor":null}`
	labGraph = `{"topology":{"id":"` + labID + `","name":"lab","status":"active","status_reason":"","version":3},` +
		`"lans":[{"id":"70000000-0000-4000-8000-0000000000dd","name":"dmz","subnet":"10.0.0.0/24","is_dmz":true},` +
		`{"id":"` + officeID + `","name":"office","subnet":"10.0.1.0/24","is_dmz":false}],` +
		`"deckies":[{"uuid":"d-1","name":"gw","services":["ssh"],"state":"running","decky_config":{"ips_by_lan":{"dmz":"10.0.0.2","office":"10.0.1.2"},"forwards_l3":true}},` +
		`{"uuid":"d-2","name":"pc-01","services":[],"state":"degraded","state_reason":"evil\u001b[2J","decky_config":{"ips_by_lan":{"office":"10.0.1.3"}}},` +
		`{"uuid":"d-3","name":"lost","services":["http"],"state":"pending","decky_config":{"ips_by_lan":{}}}],` +
		`"edges":[{"id":"e-1","decky_uuid":"d-1","lan_id":"70000000-0000-4000-8000-0000000000dd"},` +
		`{"id":"` + edgeID + `","decky_uuid":"d-1","lan_id":"` + officeID + `","is_bridge":true},` +
		`{"id":"e-3","decky_uuid":"d-2","lan_id":"` + officeID + `"}]}`
	noIssues = `{"issues":[],"deployable":false}`
)

func newLab(t *testing.T) *fakeAPI {
	t.Helper()
	api := newAPI(t)
	api.answer("GET /topologies", 200, labList)
	api.answer("GET "+atLab, 200, labGraph)
	api.answer("GET "+atLab+"/issues", 200, noIssues)
	return api
}

func TestTopologies_ShowIsATree(t *testing.T) {
	t.Parallel()
	b := setup(t, newLab(t))
	out, _, err := b.run("topologies", "show", "lab", "-o", "table")
	require.NoError(t, err)
	require.Equal(t, `name     lab
id       `+labID+`
status   active
version  3

DMZ dmz 10.0.0.0/24
  gw  10.0.0.2  running, routes  ssh

LAN office 10.0.1.0/24
  gw     10.0.1.2                         also here
  pc-01  10.0.1.3  degraded: evil\x1b[2J  no services

in no LAN
  lost    pending  http
`, out)
	verbatim, _, err := b.run("topologies", "show", labID)
	require.NoError(t, err)
	requireVerbatim(t, labGraph+"\n", verbatim)
}

func TestTopologies_AreFoundOnAnyPage(t *testing.T) {
	t.Parallel()
	api := newLab(t)
	api.on("GET /topologies", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("cursor") == "" {
			write(w, 200, `{"items":[{"id":"../users","name":"lab"}],"next_cursor":"c2"}`)
			return
		}
		write(w, 200, labList)
	})
	out, _, err := setup(t, api).run("topologies", "issues", "lab", "-o", "table")
	require.NoError(t, err)
	require.Equal(t, "nothing is wrong with it\n", out)

	_, _, err = setup(t, api).run("topologies", "issues", "la\x1bb")
	require.Equal(t, cli.ExitFailed, cli.ExitCode(err))
	require.ErrorContains(t, err, `there is no topology la\x1bb`)
}

// TestTopologies_Requests says what every command asks for.
func TestTopologies_Requests(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"blank new": `POST /topologies/blank {"name":"new"}`,
		"generate new --depth 1 --branching 3 --deckies-min 2 --deckies-max 2 --service ssh --seed 0": `POST /topologies {"name":"new","depth":1,` +
			`"branching_factor":3,"deckies_per_lan_min":2,"deckies_per_lan_max":2,"bridge_forward_probability":1,"cross_edge_probability":0,` +
			`"services_explicit":["ssh"],"randomize_services":false,"seed":0}`,
		"delete lab --expected-version 3":              "DELETE " + atLab + "?expected_version=3 ",
		"deploy lab --dry-run":                         "POST " + atLab + "/deploy?dry_run=true ",
		"lans add lab vault --dmz":                     "POST " + atLab + `/lans {"name":"vault","is_dmz":true}`,
		"lans update lab office --name hq":             "PATCH " + atLab + "/lans/" + officeID + ` {"name":"hq"}`,
		"lans update lab office --dmz=false":           "PATCH " + atLab + "/lans/" + officeID + ` {"is_dmz":false}`,
		"lans remove lab " + strings.ToUpper(officeID): "DELETE " + atLab + "/lans/" + officeID + " ",
		"deckies add lab pc-02 --lan office --ip 10.0.1.9 --service ssh --config ssh.user=bob --forwards-l3": "POST " + atLab +
			`/deckies {"name":"pc-02","lan":"office","ip":"10.0.1.9","services":["ssh"],"service_config":{"ssh":{"user":"bob"}},"forwards_l3":true}`,
		"deckies update lab pc-01 --name pc-09 --no-services --ip office=10.0.1.7 --expected-version 4": "PATCH " + atLab +
			`/deckies/pc-01 {"name":"pc-09","services":[],"ips_by_lan":{"office":"10.0.1.7"},"expected_version":4}`,
		"deckies remove lab pc-01":                       "DELETE " + atLab + "/deckies/pc-01 ",
		"edges add lab pc-01 dmz --ip 10.0.0.9 --bridge": "POST " + atLab + `/edges {"decky_uuid":"pc-01","lan_id":"dmz","ip":"10.0.0.9","is_bridge":true}`,
		"edges remove lab gw office":                     "DELETE " + atLab + "/edges/" + edgeID + " ",
	} {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			api := newLab(t)
			method, rest, _ := strings.Cut(want, " ")
			uri, body, _ := strings.Cut(rest, " ")
			path, _, _ := strings.Cut(uri, "?")
			api.answer(method+" "+path, 200, `{}`)
			_, _, err := setup(t, api).run(append([]string{"topologies"}, strings.Fields(line)...)...)
			require.NoError(t, err)
			sent := api.seen(method)
			require.Len(t, sent, 1)
			require.Equal(t, uri, sent[0].uri)
			require.NotEmpty(t, sent[0].key)
			if body == "" {
				require.Empty(t, sent[0].body)
				return
			}
			require.JSONEq(t, body, sent[0].body)
		})
	}
}

func TestTopologies_WhatIsNotThereIsSaidWithoutAsking(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		"lans remove lab nowhere", "lans update lab nowhere --name x", "edges remove lab pc-01 dmz", "edges remove lab nobody office",
	} {
		api := newLab(t)
		_, _, err := setup(t, api).run(append([]string{"topologies"}, strings.Fields(line)...)...)
		require.Equal(t, cli.ExitFailed, cli.ExitCode(err), line)
		require.Empty(t, api.seen("DELETE"))
		require.Empty(t, api.seen("PATCH"))
	}
}

// follows makes a route one that is always answered 202 and whose operation goes through frames.
func (f *fakeAPI) follows(route string, frames ...string) {
	f.mutation(route, frames, 0, "")
	f.on(route, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Decnet-Operation", opID)
		w.Header().Set("Location", "/api/v1/operations/"+opID)
		write(w, http.StatusAccepted, `{"mutation_id":"`+opID+`","state":"pending"}`)
	})
}

func TestTopologies_DeployIsFollowed(t *testing.T) {
	t.Parallel()
	half := strings.Replace(op("running", "converge running"), "about converge", "1 of 2 deckies", 1)
	api := newLab(t)
	api.follows("POST "+atLab+"/deploy", op("queued"), half, half, op("succeeded", "converge succeeded", "activate succeeded"))
	b := setup(t, api)
	out, errOut, err := b.run("topologies", "deploy", "lab", "-o", "table")
	require.NoError(t, err)
	require.Contains(t, out, "DMZ dmz 10.0.0.0/24")
	require.Equal(t, 1, strings.Count(errOut, "converge running 1 of 2 deckies"), "progress is told once:\n%s", errOut)
	require.Len(t, api.seen("POST"), 1, "it is asked for once")
	out, _, err = b.run("topologies", "deploy", "lab")
	require.NoError(t, err)
	requireVerbatim(t, labGraph+"\n", out)

	api.follows("POST "+atLab+"/teardown", op("failed", "converge failed"))
	_, _, err = b.run("topologies", "teardown", "lab")
	require.Equal(t, cli.ExitFailed, cli.ExitCode(err))
	require.ErrorContains(t, err, "port_in_use: port 22 is taken")
	out, _, err = b.run("topologies", "teardown", "lab", "--no-wait", "-o", "table")
	require.NoError(t, err)
	require.Contains(t, out, "operation "+opID+" accepted")

	api.answer("POST "+atLab+"/deploy", 422, problem("topology_invalid", 422, "DMZ_MISSING: no DMZ"))
	_, _, err = b.run("topologies", "deploy", "lab")
	require.ErrorContains(t, err, "topology_invalid")
}

func TestTopologies_EditPayloads(t *testing.T) {
	t.Parallel()
	const payload = `{"name":"pc-02","lan":"office","service_config":{"ssh":{"password":"hunter2","n":12345678901234567890}}}`
	for name, c := range map[string]struct{ flag, stdin string }{
		"given": {payload, ""}, "standard input": {"-", payload}, "file": {"@", ""},
	} {
		api := newLab(t)
		api.follows("POST "+atLab+"/mutations", op("succeeded", "activate succeeded"))
		b := setup(t, api)
		b.stdin = c.stdin
		if c.flag == "@" {
			c.flag = "@" + b.writeFile("payload.json", payload)
		}
		out, _, err := b.run("topologies", "edit", "lab", "add_decky", "--payload", c.flag, "--expected-version", "3", "-o", "table")
		require.NoError(t, err, name)
		require.Equal(t, "add_decky is applied\n", out)
		sent := api.seen("POST")
		require.Len(t, sent, 1)
		require.JSONEq(t, `{"op":"add_decky","expected_version":3,"payload":`+payload+`}`, sent[0].body)
		require.Contains(t, sent[0].body, "12345678901234567890")
	}
	for _, wrong := range []string{"hunter2", `["hunter2"]`, "null", "", `{"a":"hunter2"} {}`, "@/nowhere/at/all"} {
		api := newLab(t)
		_, _, err := setup(t, api).run("topologies", "edit", "lab", "add_decky", "--payload", wrong)
		require.Equal(t, cli.ExitUsage, cli.ExitCode(err), wrong)
		require.NotContains(t, err.Error(), "hunter2")
		require.Empty(t, api.seen("POST"))
	}
}

func TestTopologies_TablesAreClean(t *testing.T) {
	t.Parallel()
	const evil = `evil\u001b]0;owned\u0007\u202e`
	api := newLab(t)
	api.answer("GET /topologies", 200, strings.Replace(labList, `"version":3`, `"version":3,"status_reason":"`+evil+`"`, 1))
	api.answer("GET "+atLab+"/issues", 200, `{"issues":[{"severity":"error","code":"DMZ_ORPHAN","message":"`+evil+`","target":{"lans":["`+evil+`"]}}],"deployable":false}`)
	api.answer("GET "+atLab+"/status-events", 200, `[{"from_status":"pending","to_status":"deploying","at":"2026-01-02T03:04:05Z","reason":"`+evil+`"}]`)
	api.answer("GET "+atLab+"/mutations", 200, `[{"id":"m-1","op":"add_lan","state":"failed","actor":"`+evil+`","requested_at":"2026-01-02T03:04:05Z","reason":"`+evil+`"}]`)
	api.answer("GET /topologies/next-subnet", 200, `{"subnet":"`+evil+`"}`)
	api.answer("POST "+atLab+"/deploy", 200, `{"issues":[],"deployable":true,"compose":"name: x\n`+evil+`"}`)
	for line, want := range map[string]string{
		"list": "lab", "issues lab": "DMZ_ORPHAN", "show lab": "error DMZ_ORPHAN", "status-events lab": "deploying", "edits lab --state failed --limit 5": "add_lan",
		"next-subnet 10.20": "evil", "deploy lab --dry-run": "name: x\n",
	} {
		out, _, err := setup(t, api).run(append(append([]string{"topologies"}, strings.Fields(line)...), "-o", "table")...)
		require.NoError(t, err, line)
		require.Contains(t, out, want)
		require.Contains(t, out, `evil\x1b]0;owned\x07\u202e`, line)
		require.NotContains(t, out, "\x1b", line)
		require.NotContains(t, out, "\u202e", line)
	}
	queries := map[string]bool{}
	for _, r := range api.seen("GET") {
		queries[r.uri] = true
	}
	require.True(t, queries[atLab+"/mutations?limit=5&state=failed"])
	require.True(t, queries["/topologies/next-subnet?base=10.20"])
}

func TestDeckies_OfATopology(t *testing.T) {
	t.Parallel()
	api := newLab(t)
	api.answer("GET "+atLab+"/deckies/pc-01", 200, decky)
	api.answer("POST "+atLab+"/deckies/pc-01/services", 201, `{"decky_name":"pc-01","services":["ssh"]}`)
	api.answer("DELETE "+atLab+"/deckies/pc-01/services/ssh", 200, `{"decky_name":"pc-01","services":[]}`)
	b := setup(t, api)
	out, _, err := b.run("deckies", "add-service", "pc-01", "ssh", "--topology", "lab", "-o", "table")
	require.NoError(t, err)
	require.Equal(t, "pc-01 now has ssh\n", out)
	out, _, err = b.run("deckies", "show", "pc-01", "--topology", labID)
	require.NoError(t, err)
	requireVerbatim(t, decky+"\n", out)
	_, _, err = b.run("deckies", "remove-service", "pc-01", "ssh", "--topology", "lab")
	require.NoError(t, err)
	_, _, err = b.run("deckies", "remove-service", "pc-01", "ssh", "--topology", "nowhere")
	require.ErrorContains(t, err, "there is no topology nowhere")
	for _, elsewhere := range []string{"list", "create x", "delete x", "unquarantine x"} {
		_, _, err = b.run(append(append([]string{"deckies"}, strings.Fields(elsewhere)...), "--topology", "lab")...)
		require.Equal(t, cli.ExitUsage, cli.ExitCode(err), elsewhere)
	}
}

func TestTopologies_Completion(t *testing.T) {
	t.Parallel()
	api := newLab(t)
	api.answer("GET "+atLab+"/deckies/pc-01", 200, decky)
	api.answer("GET /topologies", 200, strings.Replace(labList, `}],`, `},{"id":"`+officeID+`","name":"two words"}],`, 1))
	b := setup(t, api)
	for line, want := range map[string]string{
		"topologies show":                                           "lab\n" + officeID + "\n:4\n",
		"topologies lans remove lab":                                "dmz\noffice\n:4\n",
		"topologies edges remove lab":                               "gw\npc-01\nlost\n:4\n",
		"topologies edges remove lab gw":                            "dmz\noffice\n:4\n",
		"topologies deckies remove nowhere":                         ":4\n",
		"topologies list --status":                                  "pending\ndeploying\n",
		"topologies edit lab":                                       "add_decky\nadd_lan\nattach_decky\n",
		"deckies remove-service --topology lab":                     "gw\npc-01\nlost\n:4\n",
		"deckies remove-service --topology lab pc-01":               "ssh\n:4\n",
		"deckies show --topology":                                   "lab\n" + officeID + "\n:4\n",
		fmt.Sprintf("topologies deckies add %s x --service", labID): "ssh\n",
	} {
		out, _, err := b.run(append(append([]string{"__complete"}, strings.Fields(line)...), "")...)
		require.NoError(t, err)
		require.Contains(t, out, want, line)
	}
}
