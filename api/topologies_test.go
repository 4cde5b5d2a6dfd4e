package api_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/api"
	"github.com/decnet/decnet/internal/auth"
	"github.com/decnet/decnet/internal/fault"
)

func (b *bundle) ok(t *testing.T, status int, c call) reply {
	t.Helper()
	if c.as == "" {
		c.as = auth.Admin
	}
	r := b.do(t, c)
	require.Equal(t, status, r.status, "%s %s: %s", c.method, c.path, r.body)
	return r
}

func (b *bundle) refused(t *testing.T, status int, code string, c call) {
	t.Helper()
	require.Equal(t, code, b.ok(t, status, c).code(t), "%s %s", c.method, c.path)
}

// blank makes a topology with a DMZ and its gateway.
func (b *bundle) blank(t *testing.T, name string) string {
	t.Helper()
	var s api.TopologySummary
	b.ok(t, http.StatusCreated, call{method: http.MethodPost, path: "/topologies/blank", body: object{"name": name}}).into(t, &s)
	require.Equal(t, "pending", s.Status)
	return "/topologies/" + s.ID
}

func (b *bundle) topology(t *testing.T, path string) api.TopologyBody {
	t.Helper()
	var body api.TopologyBody
	b.ok(t, http.StatusOK, call{as: auth.Viewer, method: http.MethodGet, path: path}).into(t, &body)
	return body
}

// settled waits until nothing of the topology is under way.
func (b *bundle) settled(t *testing.T, path, want string) api.TopologyBody {
	t.Helper()
	var body api.TopologyBody
	require.Eventually(t, func() bool {
		body = b.topology(t, path)
		return body.Topology.Status == want
	}, 10*time.Second, 10*time.Millisecond, "status %s", want)
	return body
}

func (b *bundle) deploy(t *testing.T, path string) api.TopologyBody {
	t.Helper()
	r := b.ok(t, http.StatusAccepted, call{as: auth.Operator, method: http.MethodPost, path: path + "/deploy"})
	require.Equal(t, "/api/v1/operations/"+r.header.Get("Decnet-Operation"), r.header.Get("Location"))
	return b.settled(t, path, "active")
}

func TestTopology_PlanIsEditedWithVersions(t *testing.T) {
	t.Parallel()
	b := setup(t)
	path := b.blank(t, "maze")
	g := b.topology(t, path)
	require.Equal(t, "dmz", g.LANs[0].Name)
	require.Equal(t, "10.0.0.0/24", g.LANs[0].Subnet)
	require.Equal(t, "dmz-gateway", g.Deckies[0].Name)
	require.Equal(t, "10.0.0.2", *g.Deckies[0].IP)

	var lan api.LANBody
	b.ok(t, http.StatusCreated, call{method: http.MethodPost, path: path + "/lans", body: object{"name": "office", "x": 3.5, "expected_version": 1}}).into(t, &lan)
	require.Equal(t, "10.0.1.0/24", lan.Subnet)
	require.InDelta(t, 3.5, *lan.X, 0)
	stale := call{method: http.MethodPost, path: path + "/lans", body: object{"name": "lab", "expected_version": 1}}
	b.refused(t, http.StatusConflict, "topology_version_conflict", stale)
	require.EqualValues(t, 2, b.topology(t, path).Topology.Version)

	var d api.TopologyDeckyBody
	b.ok(t, http.StatusCreated, call{method: http.MethodPost, path: path + "/deckies", body: object{
		"name": "file-01", "lan": "office", "services": []string{"ssh"}, "service_config": object{"ssh": object{"password": "marker-1"}},
	}}).into(t, &d)
	require.Equal(t, "********", d.DeckyConfig.ServiceConfig["ssh"]["password"])
	require.Equal(t, "10.0.1.2", *d.IP)

	// What is shown may be sent back: the mask keeps the value.
	b.ok(t, http.StatusOK, call{method: http.MethodPatch, path: path + "/deckies/" + d.UUID, body: object{
		"service_config": object{"ssh": object{"password": "********", "user": "eve"}}, "name": "file-02",
	}}).into(t, &d)
	require.Equal(t, "file-02", d.Name)
	require.Equal(t, map[string]any{"password": "********", "user": "eve"}, d.DeckyConfig.ServiceConfig["ssh"])
	g = b.topology(t, path)
	for _, got := range g.Deckies {
		if got.Name == "file-02" {
			require.Equal(t, d.DeckyConfig, got.DeckyConfig)
		}
	}

	var edge api.EdgeBody
	b.ok(t, http.StatusCreated, call{method: http.MethodPost, path: path + "/edges", body: object{"decky_uuid": g.Deckies[0].UUID, "lan_id": lan.ID}}).into(t, &edge)
	require.True(t, edge.IsBridge)
	b.ok(t, http.StatusNoContent, call{method: http.MethodDelete, path: path + "/edges/" + edge.ID})
	b.refused(t, http.StatusNotFound, "edge_not_found", call{method: http.MethodDelete, path: path + "/edges/" + edge.ID})
	b.refused(t, http.StatusUnprocessableEntity, "unknown_lan", call{method: http.MethodPost, path: path + "/edges", body: object{
		"decky_uuid": g.Deckies[0].UUID, "lan_id": uuid.NewString(),
	}})

	var issues api.IssuesBody
	b.ok(t, http.StatusOK, call{as: auth.Viewer, method: http.MethodGet, path: path + "/issues"}).into(t, &issues)
	require.False(t, issues.Deployable)
	require.Equal(t, "DMZ_ORPHAN", issues.Issues[0].Code)
	b.refused(t, http.StatusUnprocessableEntity, "topology_invalid", call{method: http.MethodPost, path: path + "/deploy"})

	var next api.AddressBody
	b.ok(t, http.StatusOK, call{as: auth.Viewer, method: http.MethodGet, path: path + "/lans/" + lan.ID + "/next-ip"}).into(t, &next)
	require.Equal(t, "10.0.1.3", next.IP)
	b.ok(t, http.StatusNoContent, call{method: http.MethodDelete, path: path + "/deckies/file-02"})
	b.ok(t, http.StatusNoContent, call{method: http.MethodDelete, path: path + "/lans/" + lan.ID})
	b.refused(t, http.StatusNotFound, "decky_not_found", call{method: http.MethodDelete, path: path + "/deckies/file-02"})
	b.ok(t, http.StatusNoContent, call{method: http.MethodDelete, path: path})
	b.refused(t, http.StatusNotFound, "topology_not_found", call{as: auth.Viewer, method: http.MethodGet, path: path})
	b.blank(t, "maze") // the name and its subnet are free again
}

func TestTopology_NamesAndSubnetsAreHeld(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.blank(t, "one")
	b.refused(t, http.StatusConflict, "topology_exists", call{method: http.MethodPost, path: "/topologies/blank", body: object{"name": "one"}})
	two := b.blank(t, "two")
	require.Equal(t, "10.0.1.0/24", b.topology(t, two).LANs[0].Subnet)
	b.refused(t, http.StatusConflict, "subnet_in_use", call{method: http.MethodPost, path: two + "/lans", body: object{"name": "x", "subnet": "10.0.0.0/16"}})
	var next api.SubnetBody
	b.ok(t, http.StatusOK, call{as: auth.Viewer, method: http.MethodGet, path: "/topologies/next-subnet?base=10.0"}).into(t, &next)
	require.Equal(t, "10.0.2.0/24", next.Subnet)
	for _, base := range []string{"", "10", "10.0.0.0/32", "300.1", "2001:db8::/32", "10.0.0.0/33"} {
		r := b.do(t, call{as: auth.Viewer, method: http.MethodGet, path: "/topologies/next-subnet?base=" + base})
		require.Contains(t, []int{http.StatusOK, http.StatusUnprocessableEntity}, r.status, base)
	}
}

func TestTopology_GeneratedLifeCycle(t *testing.T) {
	t.Parallel()
	b := setup(t)
	body := object{"name": "gen", "depth": 2, "branching_factor": 2, "seed": 7}
	var s api.TopologySummary
	key := map[string]string{"Idempotency-Key": "gen-1"}
	r := b.ok(t, http.StatusCreated, call{method: http.MethodPost, path: "/topologies", body: body, headers: key})
	r.into(t, &s)
	again := b.ok(t, http.StatusCreated, call{method: http.MethodPost, path: "/topologies", body: body, headers: key})
	require.JSONEq(t, string(r.body), string(again.body), "the same key gives the same topology")
	b.refused(t, http.StatusUnprocessableEntity, "parameters_invalid", call{method: http.MethodPost, path: "/topologies", body: object{
		"name": "bad", "depth": 17, "branching_factor": 0,
	}})

	path := "/topologies/" + s.ID
	var plan api.DeployPlanBody
	b.ok(t, http.StatusOK, call{method: http.MethodPost, path: path + "/deploy?dry_run=true"}).into(t, &plan)
	require.True(t, plan.Deployable)
	b.refused(t, http.StatusConflict, "topology_status_conflict", call{method: http.MethodPost, path: path + "/teardown"})
	g := b.deploy(t, path)
	for _, d := range g.Deckies {
		require.Equal(t, "running", d.State)
	}
	b.refused(t, http.StatusConflict, "topology_status_conflict", call{method: http.MethodPost, path: path + "/deploy"})
	b.refused(t, http.StatusConflict, "topology_status_conflict", call{method: http.MethodPost, path: path + "/lans", body: object{"name": "late"}})
	b.refused(t, http.StatusConflict, "topology_status_conflict", call{method: http.MethodDelete, path: path})

	b.ok(t, http.StatusAccepted, call{as: auth.Operator, method: http.MethodPost, path: path + "/teardown"})
	down := b.settled(t, path, "torn_down")
	require.Len(t, down.Deckies, len(g.Deckies), "what it consisted of stays to be seen")
	var events []api.StatusEventBody
	b.ok(t, http.StatusOK, call{as: auth.Viewer, method: http.MethodGet, path: path + "/status-events"}).into(t, &events)
	var steps []string
	for _, e := range events {
		steps = append(steps, e.FromStatus+">"+e.ToStatus)
	}
	require.Equal(t, []string{"tearing_down>torn_down", "active>tearing_down", "deploying>active", "pending>deploying"}, steps)
	b.ok(t, http.StatusNoContent, call{method: http.MethodDelete, path: path})
}

func TestTopology_ServicesOfDeckies(t *testing.T) {
	t.Parallel()
	b := setup(t)
	path := b.blank(t, "svc")
	gateway := path + "/deckies/dmz-gateway"
	add := call{as: auth.Operator, method: http.MethodPost, path: gateway + "/services", body: object{"name": "redis"}}
	var changed api.DeckyServicesBody
	b.ok(t, http.StatusCreated, add).into(t, &changed)
	require.Equal(t, []string{"ssh", "redis"}, changed.Services)
	require.Equal(t, path[len("/topologies/"):], *changed.TopologyID)
	b.refused(t, http.StatusConflict, "service_already_present", add)
	require.Equal(t, "pending", b.topology(t, path).Topology.Status, "in a plan it is only kept")

	b.deploy(t, path)
	var config api.ServiceConfigBody
	b.ok(t, http.StatusOK, call{as: auth.Operator, method: http.MethodPut, path: gateway + "/services/redis/config", body: object{"config": object{"version": "6.2.1"}}}).into(t, &config)
	require.True(t, config.RestartNeeded)
	require.Equal(t, path[len("/topologies/"):], *config.TopologyID)
	b.ok(t, http.StatusCreated, call{as: auth.Operator, method: http.MethodPost, path: gateway + "/services/redis/apply", body: object{}}).into(t, &config)
	require.Equal(t, map[string]any{"version": "6.2.1"}, config.Config)
	b.ok(t, http.StatusOK, call{as: auth.Operator, method: http.MethodDelete, path: gateway + "/services/redis"})
	b.ok(t, http.StatusOK, call{as: auth.Operator, method: http.MethodPost, path: gateway + "/rollback", body: object{"revision": 3}})
	var d api.DeckyBody
	b.ok(t, http.StatusOK, call{as: auth.Viewer, method: http.MethodGet, path: gateway}).into(t, &d)
	require.Equal(t, path[len("/topologies/"):], *d.TopologyID)
	require.Len(t, d.Services, 2)

	unknown := "/topologies/" + uuid.NewString() + "/deckies/dmz-gateway/services"
	b.refused(t, http.StatusUnprocessableEntity, "unknown_service", call{as: auth.Operator, method: http.MethodPost, path: unknown, body: object{"name": "nope"}})
	b.refused(t, http.StatusNotFound, "topology_not_found", call{as: auth.Operator, method: http.MethodPost, path: unknown, body: object{"name": "redis"}})
	b.refused(t, http.StatusNotFound, "decky_not_found", call{as: auth.Operator, method: http.MethodPost, path: path + "/deckies/nobody/services", body: object{"name": "redis"}})
}

func TestTopology_EditsWhileItRuns(t *testing.T) {
	t.Parallel()
	b := setup(t)
	path := b.blank(t, "live")
	edit := func(op string, payload object) call {
		return call{method: http.MethodPost, path: path + "/mutations", body: object{"op": op, "payload": payload}}
	}
	b.refused(t, http.StatusConflict, "topology_status_conflict", edit("add_lan", object{"name": "office"}))
	b.deploy(t, path)
	b.refused(t, http.StatusUnprocessableEntity, "unknown_op", edit("explode", object{}))
	b.refused(t, http.StatusUnprocessableEntity, "payload_invalid", edit("add_lan", object{"name": "office", "nope": 1}))

	run := func(want string, c call) api.TopologyEditBody {
		t.Helper()
		var accepted api.EditAcceptedBody
		b.ok(t, http.StatusAccepted, c).into(t, &accepted)
		require.Equal(t, "pending", accepted.State)
		var found api.TopologyEditBody
		require.Eventually(t, func() bool {
			var list []api.TopologyEditBody
			b.ok(t, http.StatusOK, call{as: auth.Viewer, method: http.MethodGet, path: path + "/mutations"}).into(t, &list)
			for _, e := range list {
				if e.ID == accepted.MutationID {
					found = e
				}
			}
			return found.State == want
		}, 10*time.Second, 10*time.Millisecond, "%+v", found)
		return found
	}
	run("applied", edit("add_lan", object{"name": "office"}))
	run("applied", edit("attach_decky", object{"decky": "dmz-gateway", "lan": "office"}))
	done := run("applied", edit("add_decky", object{
		"name": "pc-01", "lan": "office", "services": []string{"ssh"}, "service_config": object{"ssh": object{"password": "marker-2"}},
	}))
	require.NotContains(t, string(done.Payload), "marker-2")
	g := b.topology(t, path)
	require.Len(t, g.LANs, 2)
	require.Equal(t, "172.16.0.0/24", g.LANs[1].Subnet)
	require.Len(t, g.Edges, 3)

	failed := run("failed", edit("remove_lan", object{"name": "office"}))
	require.Contains(t, *failed.Reason, ": ")
	require.Equal(t, "active", b.topology(t, path).Topology.Status, "what was refused changed nothing")

	b.lane.set(func(l *lane) { l.fail = fault.New(fault.OperationFailed, "decoy_start_failed", "it did not come up") })
	run("failed", edit("add_decky", object{"name": "pc-02", "lan": "office", "services": []string{"redis"}}))
	after := b.topology(t, path)
	require.Equal(t, g.LANs, after.LANs)
	require.Equal(t, g.Edges, after.Edges)
	require.Equal(t, g.Deckies, after.Deckies, "what failed is undone")
	b.lane.set(func(l *lane) { l.fail = nil })
	run("applied", edit("add_decky", object{"name": "pc-02", "lan": "office", "services": []string{"redis"}}))
	run("applied", edit("update_decky", object{"decky": "pc-01", "services": []string{"redis", "ssh"}, "x": 1.5}))
	run("applied", edit("remove_decky", object{"decky": "pc-02"}))
	run("applied", edit("update_lan", object{"name": "office", "patch": object{"name": "hq"}}))
	g = b.topology(t, path)
	require.Equal(t, "hq", g.LANs[1].Name)
	require.Len(t, g.Deckies, 2)

	stale := edit("add_lan", object{"name": "lab"})
	stale.body.(object)["expected_version"] = g.Topology.Version - 1
	b.refused(t, http.StatusConflict, "topology_version_conflict", stale)
	b.ok(t, http.StatusAccepted, call{as: auth.Operator, method: http.MethodPost, path: path + "/teardown"})
	b.settled(t, path, "torn_down")
}

func TestTopology_FailedDeployIsUndone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	path := b.blank(t, "broken")
	b.lane.set(func(l *lane) { l.fail = fault.New(fault.OperationFailed, "decoy_start_failed", "it did not come up") })
	b.ok(t, http.StatusAccepted, call{as: auth.Operator, method: http.MethodPost, path: path + "/deploy"})
	g := b.settled(t, path, "failed")
	require.Eventually(t, func() bool {
		g = b.topology(t, path)
		return g.Topology.StatusReason == "it did not come up"
	}, 5*time.Second, 10*time.Millisecond)
	require.Equal(t, "failed", g.Deckies[0].State)
	b.refused(t, http.StatusConflict, "topology_status_conflict", call{as: auth.Operator, method: http.MethodPost, path: path + "/deploy"})
	b.lane.set(func(l *lane) { l.fail = nil })
	b.ok(t, http.StatusAccepted, call{as: auth.Operator, method: http.MethodPost, path: path + "/teardown"})
	b.settled(t, path, "torn_down")
	b.ok(t, http.StatusNoContent, call{method: http.MethodDelete, path: path})
}

func TestTopologies_ArePaged(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for i := range 5 {
		b.blank(t, fmt.Sprintf("t%d", i))
	}
	var names []string
	for cursor := ""; ; {
		var page api.Page[api.TopologySummary]
		b.ok(t, http.StatusOK, call{as: auth.Viewer, method: http.MethodGet, path: "/topologies?limit=2&cursor=" + cursor}).into(t, &page)
		for _, s := range page.Items {
			names = append(names, s.Name)
		}
		if page.NextCursor == nil {
			break
		}
		cursor = *page.NextCursor
	}
	require.Equal(t, []string{"t4", "t3", "t2", "t1", "t0"}, names)
}
