package e2e_test

import (
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/e2e/harness"
	"github.com/decnet/decnet/internal/service"
)

// TestTopologies has decoys that misbehave on demand; at its end it is killed in the middle of everything.
func TestTopologies(t *testing.T) {
	t.Parallel()
	bin, gate := harness.NewGate(t)
	s := newSystem(harness.StartUpWith(t, bin))
	t.Run("lives", func(t *testing.T) {
		t.Run("FromPlanToDeletion", func(t *testing.T) { t.Parallel(); fromPlanToDeletion(t, s) })
		t.Run("ServicesOfARunningTopology", func(t *testing.T) { t.Parallel(); servicesOfTopology(t, s) })
		t.Run("EveryServiceAtOnce", func(t *testing.T) { t.Parallel(); everyServiceAtOnce(t, s) })
		t.Run("FailedDeployIsUndone", func(t *testing.T) { t.Parallel(); failedDeploy(t, s, gate) })
		t.Run("FailedEditIsUndone", func(t *testing.T) { t.Parallel(); failedEdit(t, s, gate) })
		t.Run("CancelledDeployIsUndone", func(t *testing.T) { t.Parallel(); cancelledDeploy(t, s, gate) })
		t.Run("SameNamesSideBySide", func(t *testing.T) { t.Parallel(); sameNames(t, s) })
		t.Run("SecretsStayInside", func(t *testing.T) { t.Parallel(); topologySecrets(t, s) })
	})
	t.Run("KilledInTheMiddle", func(t *testing.T) {
		killedDeploy(t, s, gate)
		killedEdit(t, s, gate)
		killedTeardown(t, s)
	})
}

func redis(t testing.TB, d harness.Decky, command ...string) string {
	t.Helper()
	i := slices.IndexFunc(d.Endpoints, func(e harness.Endpoint) bool { return e.Service == "redis" })
	require.GreaterOrEqual(t, i, 0, "%+v", d)
	args := append([]string{"-h", d.Endpoints[i].IP, "-p", strconv.Itoa(d.Endpoints[i].Port)}, command...)
	out, code := harness.Run(harness.Within(t, patience), t, os.Environ(), "", "redis-cli", args...)
	require.Zero(t, code, out)
	return strings.TrimSpace(out)
}

// logsIn logs into the ssh service of a decky that may have others.
func logsIn(t testing.TB, d harness.Decky, password string) {
	t.Helper()
	d.Endpoints = slices.DeleteFunc(slices.Clone(d.Endpoints), func(e harness.Endpoint) bool { return e.Service != "ssh" })
	out, code := openssh(t, d, password, "", "id -un")
	require.Zero(t, code, out)
	require.Equal(t, "root\n", out)
}

func fromPlanToDeletion(t *testing.T, s *system) {
	o := s.blank(t, "whole life")
	o.plan(t, "/lans", map[string]any{"name": "office"})
	o.plan(t, "/deckies", map[string]any{
		"name": "pc-01", "lan": "office", "services": []string{"ssh", "redis"}, "service_config": map[string]any{"ssh": map[string]any{"password": "office-pw"}},
	})
	issues := read[struct {
		Deployable bool `json:"deployable"`
	}](t, &s.Client, o.path+"/issues")
	require.False(t, issues.Deployable, "the office cannot be reached yet")
	o.must(t, http.StatusUnprocessableEntity, http.MethodPost, o.path+"/deploy", nil)
	o.plan(t, "/edges", map[string]any{"decky_uuid": "dmz-gateway", "lan_id": "office"})
	o.must(t, http.StatusOK, http.MethodPost, o.path+"/deploy?dry_run=true", nil)
	o.agrees(t)

	deploy := o.done(t, "deploy")
	require.Equal(t, "2 of 2 deckies", deploy.Step("converge").Detail)
	require.Equal(t, "active", o.view(t).Topology.Status)
	o.agrees(t)
	logsIn(t, o.decky(t, "dmz-gateway"), "admin")
	logsIn(t, o.decky(t, "pc-01"), "office-pw")
	require.Equal(t, "PONG", redis(t, o.decky(t, "pc-01"), "ping"))

	editEverything(t, o)

	gone := o.decky(t, "pc-01")
	o.done(t, "teardown")
	require.Equal(t, "torn_down", o.view(t).Topology.Status)
	o.agrees(t)
	for _, e := range gone.Endpoints {
		require.False(t, open(e), "%+v", e)
	}
	o.must(t, http.StatusNoContent, http.MethodDelete, o.path, nil)
	o.must(t, http.StatusNotFound, http.MethodGet, o.path, nil)
	tellsTheWholeLife(t, o)
}

// edits are one of every kind, in an order that leaves the topology as it was.
func edits() []struct {
	op      string
	payload map[string]any
} {
	type m = map[string]any
	return []struct {
		op      string
		payload map[string]any
	}{
		{"add_lan", m{"name": "lab"}},
		{"attach_decky", m{"decky": "dmz-gateway", "lan": "lab"}},
		{"add_decky", m{"name": "srv-01", "lan": "lab", "services": []string{"redis"}}},
		{"update_decky", m{"decky": "srv-01", "services": []string{"redis", "ssh"}, "patch": m{"service_config": m{"ssh": m{"password": "lab-pw"}}}}},
		{"attach_decky", m{"decky": "srv-01", "lan": "office"}},
		{"detach_decky", m{"decky": "srv-01", "lan": "office"}},
		{"update_lan", m{"name": "lab", "patch": m{"name": "vault"}}},
		{"update_decky", m{"decky": "srv-01", "services": []string{"ssh"}}},
		{"remove_decky", m{"decky": "srv-01"}},
		{"remove_lan", m{"name": "vault"}},
	}
}

func editEverything(t *testing.T, o *topology) {
	t.Helper()
	before, untouched := o.view(t), o.pids()
	for i, e := range edits() {
		o.edited(t, e.op, e.payload)
		switch i {
		case 2:
			require.Equal(t, "PONG", redis(t, o.decky(t, "srv-01"), "ping"))
		case 3:
			logsIn(t, o.decky(t, "srv-01"), "lab-pw")
		}
	}
	after := o.view(t)
	require.Greater(t, after.Topology.Version, before.Topology.Version)
	after.Topology.Version = before.Topology.Version
	require.Equal(t, before, after, "all of it is undone again")
	require.Equal(t, untouched, o.pids(), "no edit touched a decoy it was not about")

	refused := o.ended(t, o.edit(t, "remove_lan", map[string]any{"name": "office"}))
	require.Equal(t, "refused", refused.State)
	stale := map[string]any{"op": "add_lan", "payload": map[string]any{"name": "late"}, "expected_version": 1}
	o.must(t, http.StatusConflict, http.MethodPost, o.path+"/mutations", stale)
	require.Equal(t, "active", o.view(t).Topology.Status)
}

func tellsTheWholeLife(t *testing.T, o *topology) {
	t.Helper()
	want := []string{"status deploying", "status active"}
	for _, e := range edits() {
		want = append(want, e.op+" enqueued", e.op+" applying", e.op+" applied")
	}
	want = append(want, "remove_lan enqueued", "remove_lan failed", "status tearing_down", "status torn_down")
	events := o.events(t)
	require.Equal(t, want, told(events))
	require.Equal(t, []string{"inserted running", "state_changed tearing_down", "deleted torn_down"}, toldOf(events, "pc-01"))
	require.Equal(t, []string{"inserted running", "state_changed tearing_down", "deleted torn_down"}, toldOf(events, "srv-01"))
}

// servicesOfTopology changes services of a plan, which is only kept, and of what runs.
func servicesOfTopology(t *testing.T, s *system) {
	o := s.office(t, "services", "ssh")
	services := o.path + "/deckies/pc-01/services"
	o.must(t, http.StatusCreated, http.MethodPost, services, map[string]any{"name": "redis"})
	o.agrees(t)
	o.done(t, "deploy")
	o.agrees(t)
	require.Equal(t, "PONG", redis(t, o.decky(t, "pc-01"), "ping"))
	sibling := o.pids()

	o.must(t, http.StatusCreated, http.MethodPost, services+"/ssh/apply", map[string]any{"config": map[string]any{"password": "applied-pw"}})
	logsIn(t, o.decky(t, "pc-01"), "applied-pw")
	o.must(t, http.StatusOK, http.MethodDelete, services+"/ssh", nil)
	o.must(t, http.StatusConflict, http.MethodDelete, services+"/ssh", nil)
	o.agrees(t)
	until := time.Now().Add(3 * time.Second)
	o.must(t, http.StatusCreated, http.MethodPost, services, map[string]any{"name": "ssh", "expires_at": until})
	eventually(t, func() bool { return len(o.decky(t, "pc-01").Services) == 1 }, "the temporary service is removed")
	o.quiet(t)
	o.agrees(t)
	for decoy, pid := range sibling {
		if strings.HasSuffix(decoy, "/redis") {
			require.Equal(t, pid, o.pids()[decoy], "siblings are not touched")
		}
	}
	require.Equal(t, []string{
		"service_added", // to the plan
		"inserted running", "service_config_changed", "service_removed", "service_added", "service_removed",
	}, toldOf(o.events(t), "pc-01"))
	o.done(t, "teardown")
	o.must(t, http.StatusConflict, http.MethodPost, services, map[string]any{"name": "ssh"})
	o.must(t, http.StatusNoContent, http.MethodDelete, o.path, nil)
}

// everyServiceAtOnce adds all services of the registry to one decky at the same time, in the fleet, in a plan, and in what
// runs. What is refused is refused for a port that another one holds.
func everyServiceAtOnce(t *testing.T, s *system) {
	s.create(t, "all-01")
	addAll(t, s, "/deckies/all-01")
	require.NotEmpty(t, s.decky(t, "all-01").Endpoints)

	o := s.office(t, "everything", []string{}...)
	addAll(t, s, o.path+"/deckies/pc-01")
	o.must(t, http.StatusCreated, http.MethodPost, o.path+"/deckies", map[string]any{"name": "pc-02", "lan": "office", "services": []string{}})
	o.done(t, "deploy")
	addAll(t, s, o.path+"/deckies/pc-02")
	o.agrees(t)
	for _, name := range []string{"pc-01", "pc-02"} {
		require.NotEmpty(t, o.decky(t, name).Endpoints)
		for _, e := range o.decky(t, name).Endpoints {
			require.True(t, open(e), "%+v", e)
		}
	}
	o.done(t, "teardown")
}

func addAll(t *testing.T, s *system, decky string) {
	t.Helper()
	var wg sync.WaitGroup
	answers := map[string]harness.Answer{}
	var mu sync.Mutex
	for _, def := range service.All() {
		if def.Singleton {
			continue
		}
		wg.Go(func() {
			answer, err := s.Do(harness.Within(t, 2*patience), http.MethodPost, decky+"/services", map[string]any{"name": def.Name}, "Prefer", "wait=60")
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			answers[def.Name] = answer
		})
	}
	wg.Wait()
	var holders []string
	for _, sv := range read[harness.Decky](t, &s.Client, decky).Services {
		holders = append(holders, sv.Name)
	}
	require.GreaterOrEqual(t, len(holders), 5)
	for name, a := range answers {
		if slices.Contains(holders, name) {
			require.Equal(t, http.StatusCreated, a.Status, "%s: %s", name, a.Body)
			continue
		}
		require.Equal(t, http.StatusConflict, a.Status, "%s: %s", name, a.Body)
		require.Contains(t, string(a.Body), "port_in_use")
		require.True(t, slices.ContainsFunc(holders, func(h string) bool { return strings.Contains(string(a.Body), "which "+h+" holds") }), "%s", a.Body)
	}
}

func failedDeploy(t *testing.T, s *system, gate *harness.Gate) {
	o := s.office(t, "never up", "ssh")
	gate.Crash(o.key("pc-01"))
	op := o.ended(t, o.begin(t, "deploy"))
	require.Equal(t, "failed", op.State)
	require.Equal(t, "decoy_start_failed", op.Fault.Code)
	require.True(t, strings.HasPrefix(op.Fault.Message, "pc-01: "), op.Fault.Message)
	require.Equal(t, "succeeded", op.Step("undo").State)
	failedInTemporal(t, s, op)
	v := o.view(t)
	require.Equal(t, "failed", v.Topology.Status)
	require.Equal(t, op.Fault.Message, v.Topology.StatusReason)
	o.agrees(t)
	o.must(t, http.StatusConflict, http.MethodPost, o.path+"/deploy", nil)
	o.must(t, http.StatusConflict, http.MethodPost, o.path+"/deckies/pc-01/services", map[string]any{"name": "redis"})
	o.quiet(t)
	require.Empty(t, s.operations(t, "decky", "pc-01", "kind", "reconcile"), "nothing is owed to what never came up")
	require.Equal(t, []string{"status deploying", "status failed"}, told(o.events(t)))
	gate.Open(o.key("pc-01"))
	o.done(t, "teardown")
	require.Equal(t, "torn_down", o.view(t).Topology.Status)
	o.must(t, http.StatusNoContent, http.MethodDelete, o.path, nil)

	gone := s.office(t, "never up", "ssh")
	gate.Crash(gone.key("pc-01"))
	require.Equal(t, "failed", gone.ended(t, gone.begin(t, "deploy")).State)
	gone.must(t, http.StatusNoContent, http.MethodDelete, gone.path, nil, "Idempotency-Key", uuid.NewString())
	s.quiet(t)
	require.Empty(t, gone.pids())
}

func failedEdit(t *testing.T, s *system, gate *harness.Gate) {
	o := s.office(t, "mostly harmless", "ssh")
	o.done(t, "deploy")
	before, running := o.view(t), o.pids()
	revision := o.decky(t, "pc-01").Revision
	gate.Crash(o.key("pc-02"))
	gate.Crash(o.key("pc-01")) // only what is started from now on
	for _, e := range []struct {
		op      string
		payload map[string]any
	}{
		{"add_decky", map[string]any{"name": "pc-02", "lan": "office", "services": []string{"redis"}}},
		{"update_decky", map[string]any{"decky": "pc-01", "services": []string{"ssh", "redis"}, "x": 7}},
		{"update_decky", map[string]any{"decky": "pc-01", "services": []string{"ssh", "mysql"}}},
	} {
		op := o.ended(t, o.edit(t, e.op, e.payload))
		require.Equal(t, "failed", op.State, "%+v", op)
		require.Equal(t, "decoy_start_failed", op.Fault.Code)
		after := o.view(t)
		after.Topology.Version = before.Topology.Version
		require.Equal(t, before, after, "%s is undone", e.op)
		require.Equal(t, running, o.pids(), "what ran was not touched")
		o.agrees(t)
	}
	require.Equal(t, revision, o.decky(t, "pc-01").Revision)
	gate.Open(o.key("pc-01"))
	gate.Open(o.key("pc-02"))
	o.edited(t, "add_decky", map[string]any{"name": "pc-02", "lan": "office", "services": []string{"redis"}})
	require.Equal(t, "PONG", redis(t, o.decky(t, "pc-02"), "ping"))
	edits := read[[]struct{ State, Reason string }](t, &s.Client, o.path+"/mutations?state=failed")
	require.Len(t, edits, 3)
	require.Contains(t, edits[0].Reason, "decoy_start_failed: pc-01: ")
	require.NotContains(t, told(o.events(t)), "status degraded", "an edit that was undone leaves no mark")
	o.done(t, "teardown")
}

func cancelledDeploy(t *testing.T, s *system, gate *harness.Gate) {
	o := s.office(t, "changed my mind", "ssh")
	gate.Hold(o.key("pc-01"))
	id := o.begin(t, "deploy")
	eventually(t, func() bool { return s.operation(t, id).Step("converge").Detail == "1 of 2 deckies" }, "the gateway is up, the other waits")
	require.Equal(t, "deploying", o.view(t).Topology.Status)
	o.must(t, http.StatusConflict, http.MethodDelete, o.path, nil)
	o.must(t, http.StatusAccepted, http.MethodPost, "/operations/"+id+"/cancel", nil)
	op := s.ended(t, id)
	require.Equal(t, "cancelled", op.State)
	require.Equal(t, "failed", o.view(t).Topology.Status)
	o.agrees(t)
	gate.Open(o.key("pc-01"))

	// A teardown of what never ran has nothing to bring back either.
	o.done(t, "teardown")
	o.agrees(t)
	require.Equal(t, []string{"status deploying", "status failed", "status tearing_down", "status torn_down"}, told(o.events(t)))

	queued := s.office(t, "changed it twice", "ssh")
	queued.done(t, "deploy")
	gate.Hold(queued.key("pc-02"))
	running := queued.edit(t, "add_decky", map[string]any{"name": "pc-02", "lan": "office", "services": []string{"ssh"}})
	waiting := queued.edit(t, "add_lan", map[string]any{"name": "lab"})
	for _, id := range []string{waiting, running} {
		queued.must(t, http.StatusAccepted, http.MethodPost, "/operations/"+id+"/cancel", nil)
		require.Equal(t, "cancelled", s.ended(t, id).State)
	}
	gate.Open(queued.key("pc-02"))
	queued.agrees(t)
	require.Len(t, queued.view(t).LANs, 2)
	sequence := told(queued.events(t))
	require.Contains(t, sequence, "add_lan failed", "whoever waits for the edit is told")
	require.Contains(t, sequence, "add_decky failed")
	queued.done(t, "teardown")
}

// sameNames has deckies of one name in the fleet and in two topologies.
func sameNames(t *testing.T, s *system) {
	s.create(t, "dmz-gateway", "redis")
	one, two := s.office(t, "twin one", "redis"), s.office(t, "twin two", "redis")
	s.must(t, http.StatusConflict, http.MethodPost, "/topologies/blank", map[string]any{"name": "twin one"})
	require.NotEqual(t, one.view(t).LANs[0].Subnet, two.view(t).LANs[0].Subnet)
	first, second := one.begin(t, "deploy"), two.begin(t, "deploy")
	require.Equal(t, "succeeded", s.ended(t, first).State)
	require.Equal(t, "succeeded", s.ended(t, second).State)
	one.agrees(t)
	two.agrees(t)
	one.done(t, "teardown")
	two.agrees(t)
	require.Equal(t, "PONG", redis(t, s.decky(t, "dmz-gateway"), "ping"))
	require.Equal(t, "PONG", redis(t, two.decky(t, "pc-01"), "ping"))
	two.done(t, "teardown")
	s.must(t, http.StatusOK, http.MethodDelete, "/deckies/dmz-gateway", nil)
}

// topologySecrets lets marked passwords pass through plans, edits and services of a topology and looks for the mark.
func topologySecrets(t *testing.T, s *system) {
	mark := "mark" + strings.ReplaceAll(uuid.NewString(), "-", "")
	config := func(tag string) map[string]any {
		return map[string]any{"ssh": map[string]any{"password": mark + tag, "user_password": mark + tag + "u"}}
	}
	o := s.blank(t, "secretive")
	var answers []harness.Answer
	keep := func(status int, method, path string, body any) {
		answers = append(answers, o.must(t, status, method, o.path+path, body))
	}
	keep(http.StatusCreated, http.MethodPost, "/lans", map[string]any{"name": "office"})
	keep(http.StatusCreated, http.MethodPost, "/edges", map[string]any{"decky_uuid": "dmz-gateway", "lan_id": "office"})
	keep(http.StatusCreated, http.MethodPost, "/deckies", map[string]any{"name": "pc-01", "lan": "office", "services": []string{"ssh"}, "service_config": config("plan")})
	keep(http.StatusOK, http.MethodPatch, "/deckies/pc-01", map[string]any{"service_config": config("patch")})
	keep(http.StatusOK, http.MethodPost, "/deploy?dry_run=true", nil)
	o.done(t, "deploy")
	for _, payload := range []map[string]any{
		{"name": "pc-02", "lan": "office", "services": []string{"ssh"}, "service_config": config("edit")},
		{"name": "pc-03", "lan": "nowhere", "services": []string{"ssh"}, "service_config": config("refused")},
		{"name": "pc-04", "lan": "office", "services": []string{"redis"}, "service_config": config("undeclared")},
	} {
		o.ended(t, o.edit(t, "add_decky", payload))
	}
	keep(http.StatusUnprocessableEntity, http.MethodPost, "/mutations", map[string]any{"op": "add_decky", "payload": map[string]any{"name": "x", "password": mark}})
	keep(http.StatusUnprocessableEntity, http.MethodPost, "/mutations", map[string]any{"op": mark, "payload": map[string]any{}})
	o.edited(t, "update_decky", map[string]any{"decky": "pc-02", "patch": map[string]any{"service_config": config("patched")}})
	keep(http.StatusCreated, http.MethodPost, "/deckies/pc-01/services/ssh/apply", map[string]any{"config": config("applied")["ssh"]})
	logsIn(t, o.decky(t, "pc-01"), mark+"applied")
	logsIn(t, o.decky(t, "pc-02"), mark+"patched")

	answers = append(answers, everyTopologyAnswer(t, o)...)
	for _, a := range answers {
		require.NotContains(t, string(a.Body), mark, "an answer of the API")
	}
	for id, history := range workflowHistories(t, s) {
		require.NotContains(t, string(history), mark, "the history of %s", id)
	}
	for _, e := range allEvents(t, s) {
		require.NotContains(t, string(e), mark, "an event")
	}
	require.False(t, holds(t, s.Log, mark), "the log")
	require.NotContains(t, plainColumns(t, s), mark, "what operations keep unsealed")
	o.done(t, "teardown")
}

// everyTopologyAnswer reads all there is to read of a topology, and the operations.
func everyTopologyAnswer(t *testing.T, o *topology) (answers []harness.Answer) {
	t.Helper()
	lan := o.lan(t, "office")
	for _, path := range readable(t, o.system) {
		if !strings.HasPrefix(path, "/topologies") || strings.HasSuffix(path, "/events") {
			continue
		}
		path = strings.NewReplacer("{topology_id}", o.id.String(), "{decky}", "pc-01", "{lan_id}", lan, "{service}", "ssh", "{slug}", "ssh").Replace(path)
		answers = append(answers, o.must(t, http.StatusOK, http.MethodGet, path, nil))
	}
	require.Greater(t, len(answers), 5)
	for _, op := range o.operations(t) {
		answers = append(answers, o.must(t, http.StatusOK, http.MethodGet, "/operations/"+op.ID.String(), nil))
	}
	return answers
}

// plainColumns returns what the database keeps of operations and events in the clear.
func plainColumns(t *testing.T, s *system) string {
	t.Helper()
	var operations, outbox string
	s.query(t, "SELECT string_agg(concat(payload, undo, response, fault), ' ') FROM operations", &operations)
	s.query(t, "SELECT coalesce(string_agg(payload::text, ' '), '') FROM outbox", &outbox)
	return operations + outbox
}

// killedWhile kills the process after something was asked for and checks that the next one leaves nothing half done.
func killedWhile(t *testing.T, o *topology, id string, release func()) harness.Operation {
	t.Helper()
	o.Kill()
	release()
	o.Start()
	op := o.ended(t, id)
	require.Contains(t, []string{"succeeded", "failed"}, op.State, "%+v", op)
	o.quiet(t)
	o.agrees(t)
	return op
}

func killedDeploy(t *testing.T, s *system, gate *harness.Gate) {
	o := s.office(t, "killed deploy", "ssh")
	gate.Hold(o.key("pc-01"))
	id := o.begin(t, "deploy")
	eventually(t, func() bool { return s.operation(t, id).Step("converge").Detail == "1 of 2 deckies" }, "half of it is up")
	op := killedWhile(t, o, id, func() { gate.Open(o.key("pc-01")) })
	want := map[string]string{"succeeded": "active", "failed": "failed"}[op.State]
	require.Equal(t, want, o.view(t).Topology.Status)
	o.done(t, "teardown")

	for i := range 3 {
		o := s.office(t, "killed deploy "+itoa(i), "ssh", "redis")
		id := o.begin(t, "deploy")
		time.Sleep(time.Duration(i) * 120 * time.Millisecond)
		killedWhile(t, o, id, func() {})
	}
}

func killedEdit(t *testing.T, s *system, gate *harness.Gate) {
	o := s.office(t, "killed edit", "ssh")
	o.done(t, "deploy")
	before := o.view(t)
	gate.Hold(o.key("pc-02"))
	id := o.edit(t, "add_decky", map[string]any{"name": "pc-02", "lan": "office", "services": []string{"redis"}})
	eventually(t, func() bool { return s.operation(t, id).Step("converge").State == "running" }, "it converges")
	op := killedWhile(t, o, id, func() { gate.Open(o.key("pc-02")) })
	if op.State == "failed" {
		after := o.view(t)
		after.Topology.Version = before.Topology.Version
		require.Equal(t, before, after)
	} else {
		require.Len(t, o.view(t).Deckies, 3)
	}
	for i := range 3 {
		id := o.edit(t, "add_decky", map[string]any{"name": "hit-0" + itoa(i), "lan": "office", "services": []string{"redis"}})
		time.Sleep(time.Duration(i) * 40 * time.Millisecond)
		op := killedWhile(t, o, id, func() {})
		require.Equal(t, op.State == "succeeded", slices.ContainsFunc(o.decks(t), func(n string) bool { return n == "hit-0"+itoa(i) }))
	}
	sequence := told(o.events(t))
	require.Len(t, sequence, 2+4*3, "every edit is enqueued, begun and ended exactly once: %v", sequence)
	o.done(t, "teardown")
}

func (o *topology) decks(t testing.TB) (names []string) {
	t.Helper()
	for _, d := range o.view(t).Deckies {
		names = append(names, d.Name)
	}
	return names
}

func killedTeardown(t *testing.T, s *system) {
	for i := range 3 {
		o := s.office(t, "killed teardown "+itoa(i), "ssh", "redis")
		o.done(t, "deploy")
		id := o.begin(t, "teardown")
		time.Sleep(time.Duration(i) * 40 * time.Millisecond)
		op := killedWhile(t, o, id, func() {})
		want := map[string]string{"succeeded": "torn_down", "failed": "active"}[op.State]
		require.Equal(t, want, o.view(t).Topology.Status)
	}
}
