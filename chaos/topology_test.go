package chaos_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/e2e/harness"
)

const editsPerRun = 8

// request is a change of a topology; path is below it.
type request struct {
	method, path string
	body         any
}

type object = map[string]any

// changeTopology plans a topology, deploys it, edits it and takes it down or not, while parts die. Requests follow one
// another without waiting for what came of those before.
func changeTopology(t *testing.T, c *harness.Client, random *rand.Rand, name string) {
	ctx := harness.Within(t, 3*time.Minute)
	var made struct {
		ID uuid.UUID `json:"id"`
	}
	answer, err := c.Persist(ctx, http.MethodPost, "/topologies/blank", object{"name": name})
	if err == nil {
		err = answer.Decode(&made)
	}
	if err != nil {
		t.Errorf("%s: %d %s %v", name, answer.Status, answer.Body, err)
		return
	}
	requests := []request{
		{http.MethodPost, "/lans", object{"name": "office"}},
		{http.MethodPost, "/edges", object{"decky_uuid": "dmz-gateway", "lan_id": "office"}},
		{http.MethodPost, "/deckies", object{"name": "pc-01", "lan": "office", "services": []string{"ssh"}}},
		{http.MethodPost, "/deploy", nil},
	}
	for range editsPerRun {
		requests = append(requests, randomEdit(random))
	}
	if random.IntN(2) == 0 {
		requests = append(requests, request{http.MethodPost, "/teardown", nil})
	}
	for _, r := range requests {
		answer, err := c.Persist(ctx, r.method, "/topologies/"+made.ID.String()+r.path, r.body)
		if err != nil || answer.Status >= 500 && answer.Status != http.StatusBadGateway || answer.Status == http.StatusUnauthorized {
			t.Errorf("%s %s %v: %d %s %v", r.method, r.path, r.body, answer.Status, answer.Body, err)
		}
		time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond)
	}
}

// randomEdit is a change of a running topology. Some fit what is there, others are refused.
func randomEdit(random *rand.Rand) request {
	edit := func(op string, payload object) request {
		return request{http.MethodPost, "/mutations", object{"op": op, "payload": payload}}
	}
	name := fmt.Sprintf("srv-%02d", random.IntN(3))
	services := [][]string{{}, {"redis"}, {"ssh"}, {"redis", "ssh"}}[random.IntN(4)]
	switch random.IntN(9) {
	case 0, 1:
		return edit("add_decky", object{"name": name, "lan": "office", "services": services})
	case 2:
		return edit("update_decky", object{"decky": "pc-01", "services": services})
	case 3:
		return edit("remove_decky", object{"decky": name})
	case 4:
		return edit("add_lan", object{"name": "lab"})
	case 5:
		return edit("attach_decky", object{"decky": "pc-01", "lan": "lab"})
	case 6:
		return edit("remove_lan", object{"name": "lab"})
	case 7:
		return request{http.MethodPost, "/deckies/pc-01/services", object{"name": "redis"}}
	default:
		return request{http.MethodDelete, "/deckies/pc-01/services/redis", nil}
	}
}

// checkTopologies adds the decoys that should run of all topologies to want, after a look at each of their deckies, and returns
// those.
func checkTopologies(ctx context.Context, t *testing.T, s system, want map[string]int64) (deckies []harness.Decky) {
	t.Helper()
	type summary struct {
		ID     uuid.UUID `json:"id"`
		Name   string    `json:"name"`
		Status string    `json:"status"`
	}
	topologies, err := harness.List[summary](ctx, s.client(), "/topologies")
	require.NoError(t, err)
	for _, topo := range topologies {
		require.Contains(t, []string{"pending", "active", "failed", "torn_down"}, topo.Status, "%s is at rest", topo.Name)
		if topo.Status != "active" {
			continue
		}
		var graph struct {
			Deckies []struct {
				Name     string   `json:"name"`
				Services []string `json:"services"`
			} `json:"deckies"`
		}
		answer, err := s.client().Do(ctx, http.MethodGet, "/topologies/"+topo.ID.String(), nil)
		require.NoError(t, err)
		require.NoError(t, answer.Decode(&graph))
		for _, d := range graph.Deckies {
			deckies = append(deckies, checkTopologyDecky(ctx, t, s, topo.ID, d.Name, want))
		}
	}
	return deckies
}

func checkTopologyDecky(ctx context.Context, t *testing.T, s system, topology uuid.UUID, name string, want map[string]int64) harness.Decky {
	t.Helper()
	answer, err := s.client().Do(ctx, http.MethodGet, "/topologies/"+topology.String()+"/deckies/"+name, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, answer.Status, "%s", answer.Body)
	var d harness.Decky
	require.NoError(t, answer.Decode(&d))
	require.Equal(t, "running", d.State, d.Name)
	for _, sv := range d.Services {
		want[d.UUID.String()+"/"+sv.Name] = sv.Revision
	}
	for _, e := range d.Endpoints {
		conn, err := net.DialTimeout("tcp", net.JoinHostPort(e.IP, strconv.Itoa(e.Port)), 5*time.Second)
		require.NoError(t, err, d.Name)
		_ = conn.Close()
	}
	return d
}

// edits are the kinds whose operations are told of as mutations of their topology.
var edits = map[string]bool{
	"add_lan": true, "remove_lan": true, "update_lan": true, "add_decky": true, "attach_decky": true, "detach_decky": true,
	"remove_decky": true, "update_decky": true,
}

// eventsOf returns how many events carry the id of an operation that ended: an edit is enqueued, begun and applied or
// failed, one that never began is enqueued and failed, one that was refused at the door is not told of. Any other is told
// of when it succeeds and concerns a decky somebody knows.
func eventsOf(op harness.Operation) int {
	switch {
	case edits[op.Kind] && op.Step("persist").State != "":
		return 3
	case edits[op.Kind] && op.Step("validate").State != "":
		return 2
	case op.State == "succeeded" && op.Decky != "" && !edits[op.Kind]:
		return 1
	}
	return 0
}
