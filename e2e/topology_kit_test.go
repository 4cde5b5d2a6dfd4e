package e2e_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/e2e/harness"
	"github.com/decnet/decnet/internal/bus"
)

// topology is one of a running system.
type topology struct {
	*system
	id   uuid.UUID
	path string
	// deckies are the ids of all that were ever seen in it.
	deckies map[uuid.UUID]bool
}

// topologyView is the part of a topology tests look at.
type topologyView struct {
	Topology struct {
		Status       string `json:"status"`
		StatusReason string `json:"status_reason"`
		Version      int64  `json:"version"`
	} `json:"topology"`
	LANs []struct {
		ID     string `json:"id"`
		Name   string `json:"name"`
		Subnet string `json:"subnet"`
		IsDMZ  bool   `json:"is_dmz"`
	} `json:"lans"`
	Deckies []struct {
		UUID        uuid.UUID `json:"uuid"`
		Name        string    `json:"name"`
		Services    []string  `json:"services"`
		State       string    `json:"state"`
		DeckyConfig struct {
			IPsByLAN map[string]string `json:"ips_by_lan"`
		} `json:"decky_config"`
	} `json:"deckies"`
	Edges []struct {
		ID        string    `json:"id"`
		DeckyUUID uuid.UUID `json:"decky_uuid"`
		LANID     string    `json:"lan_id"`
		IsBridge  bool      `json:"is_bridge"`
	} `json:"edges"`
}

// blank makes a topology with a DMZ and its gateway.
func (s *system) blank(t testing.TB, name string) *topology {
	t.Helper()
	var made struct {
		ID uuid.UUID `json:"id"`
	}
	require.NoError(t, s.must(t, http.StatusCreated, http.MethodPost, "/topologies/blank", map[string]any{"name": name}).Decode(&made))
	return &topology{system: s, id: made.ID, path: "/topologies/" + made.ID.String(), deckies: map[uuid.UUID]bool{}}
}

// office is a topology with a LAN behind the DMZ and one decky in it.
func (s *system) office(t testing.TB, name string, services ...string) *topology {
	t.Helper()
	topo := s.blank(t, name)
	topo.plan(t, "/lans", map[string]any{"name": "office"})
	topo.plan(t, "/edges", map[string]any{"decky_uuid": "dmz-gateway", "lan_id": "office"})
	topo.plan(t, "/deckies", map[string]any{"name": "pc-01", "lan": "office", "services": services})
	return topo
}

func (o *topology) plan(t testing.TB, path string, body map[string]any) {
	t.Helper()
	o.must(t, http.StatusCreated, http.MethodPost, o.path+path, body)
}

// key is what a decky's artifacts, and the gate, go by.
func (o *topology) key(decky string) string { return o.id.String()[:8] + "-" + decky }

func (o *topology) view(t testing.TB) topologyView {
	t.Helper()
	v := read[topologyView](t, &o.Client, o.path)
	for _, d := range v.Deckies {
		o.deckies[d.UUID] = true
	}
	return v
}

func (o *topology) lan(t testing.TB, name string) string {
	t.Helper()
	for _, l := range o.view(t).LANs {
		if l.Name == name {
			return l.ID
		}
	}
	require.Fail(t, "no such LAN", name)
	return ""
}

func (o *topology) decky(t testing.TB, name string) harness.Decky {
	t.Helper()
	return read[harness.Decky](t, &o.Client, o.path+"/deckies/"+name)
}

// begin asks for a deploy or a teardown and returns the operation.
func (o *topology) begin(t testing.TB, what string) string {
	t.Helper()
	o.view(t) // remember the deckies
	return operationOf(t, o.must(t, http.StatusAccepted, http.MethodPost, o.path+"/"+what, nil))
}

func (o *topology) done(t testing.TB, what string) harness.Operation {
	t.Helper()
	op := o.ended(t, o.begin(t, what))
	require.Equal(t, "succeeded", op.State, "%+v", op)
	return op
}

func (o *topology) edit(t testing.TB, op string, payload map[string]any) string {
	t.Helper()
	o.view(t)
	answer := o.must(t, http.StatusAccepted, http.MethodPost, o.path+"/mutations", map[string]any{"op": op, "payload": payload})
	require.Contains(t, string(answer.Body), `"pending"`)
	return operationOf(t, answer)
}

func (o *topology) edited(t testing.TB, op string, payload map[string]any) {
	t.Helper()
	ended := o.ended(t, o.edit(t, op, payload))
	require.Equal(t, "succeeded", ended.State, "%s: %+v", op, ended)
	o.agrees(t)
}

// agrees checks that what runs is what is wanted: every service once, in its revision, reached where the API says.
func (o *topology) agrees(t testing.TB) {
	t.Helper()
	v := o.view(t)
	var want, have []string
	live := v.Topology.Status == "active" || v.Topology.Status == "degraded"
	for _, d := range v.Deckies {
		if !live {
			continue
		}
		require.Equal(t, "running", d.State, d.Name)
		full := o.decky(t, d.Name)
		for _, sv := range full.Services {
			decoy := d.UUID.String() + "/" + sv.Name
			want = append(want, decoy)
			require.Equal(t, sv.Revision, startedRevision(t, o.Dir, decoy), "%s of %s", sv.Name, d.Name)
		}
		reached := map[string]bool{}
		for _, e := range full.Endpoints {
			require.True(t, open(e), "%s of %s", e.Service, d.Name)
			reached[e.Service] = true
		}
		require.ElementsMatch(t, d.Services, slices.Collect(maps.Keys(reached)), d.Name)
	}
	for _, decoy := range harness.DecoyPIDs(o.Dir) {
		id, _, _ := strings.Cut(decoy, "/")
		if o.deckies[uuid.MustParse(id)] {
			have = append(have, decoy)
		}
	}
	require.ElementsMatch(t, want, have)
}

// pids are the decoys of the topology with their process ids: what was not touched keeps them.
func (o *topology) pids() map[string]int {
	pids := map[string]int{}
	for pid, decoy := range harness.DecoyPIDs(o.Dir) {
		if id, _, _ := strings.Cut(decoy, "/"); o.deckies[uuid.MustParse(id)] {
			pids[decoy] = pid
		}
	}
	return pids
}

// startedRevision reads the revision a decoy was started with.
func startedRevision(t testing.TB, dir, decoy string) int64 {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "decoys", decoy, "config.json"))
	require.NoError(t, err)
	var config struct {
		Revision int64 `json:"revision"`
	}
	require.NoError(t, json.Unmarshal(b, &config))
	return config.Revision
}

// topologyEvent is what the bus told of a topology.
type topologyEvent struct {
	Topic   string
	Payload struct {
		MutationID string `json:"mutation_id"`
		Op         string `json:"op"`
		State      string `json:"state"`
		Reason     string `json:"reason"`
		TopologyID string `json:"topology_id"`
		Name       string `json:"name"`
		DeckyName  string `json:"decky_name"`
		Transition string `json:"transition"`
	}
}

// events reads what the bus tells of the topology, from its beginning until nothing more comes.
func (o *topology) events(t testing.TB) (list []topologyEvent) {
	t.Helper()
	ctx := harness.Within(t, patience)
	b, err := bus.Connect(ctx, o.Ready.NATSURL, "e2e", bus.WithLogger(slog.New(slog.DiscardHandler)))
	require.NoError(t, err)
	defer func() { _ = b.Close() }()
	idle, stop := context.WithCancel(ctx)
	defer stop()
	last := time.AfterFunc(5*time.Second, stop)
	ids := map[string]bool{}
	require.NoError(t, b.Tail(idle, []string{"topology." + o.id.String() + ".>", "decky.>"}, time.Unix(1, 0), func(e bus.Envelope) error {
		last.Reset(time.Second)
		event := topologyEvent{Topic: strings.Replace(string(e.Topic), o.id.String(), "T", 1)}
		if err := json.Unmarshal(e.Payload, &event.Payload); err != nil {
			return err
		}
		if strings.HasPrefix(event.Topic, "topology.") || event.Payload.TopologyID == o.id.String() {
			require.False(t, ids[e.ID], "%s is there twice", e.ID)
			ids[e.ID] = true
			list = append(list, event)
		}
		return nil
	}))
	return list
}

// told returns the events of the topology itself, in their order, shortened.
func told(events []topologyEvent) (list []string) {
	for _, e := range events {
		switch e.Topic {
		case "topology.T.status":
			list = append(list, "status "+e.Payload.State)
		default:
			if state, ok := strings.CutPrefix(e.Topic, "topology.T.mutation."); ok {
				list = append(list, e.Payload.Op+" "+state)
			}
		}
	}
	return list
}

// toldOf returns what was told of one decky of the topology.
func toldOf(events []topologyEvent, decky string) (list []string) {
	for _, e := range events {
		switch {
		case strings.HasSuffix(e.Topic, ".state") && e.Payload.Name == decky:
			list = append(list, e.Payload.Transition+" "+e.Payload.State)
		case e.Payload.DeckyName == decky:
			list = append(list, e.Topic[strings.LastIndex(e.Topic, ".")+1:])
		}
	}
	return list
}
