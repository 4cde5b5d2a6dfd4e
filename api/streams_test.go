package api_test

import (
	"context"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/api"
	"github.com/decnet/decnet/internal/auth"
	"github.com/decnet/decnet/internal/bus"
	"github.com/decnet/decnet/internal/fault"
)

func TestStream_BeginsWithASnapshotOfTheFleet(t *testing.T) {
	t.Parallel()
	l := setupLive(t)
	l.createDecky(t, "web-01")
	hold := make(chan struct{})
	l.lane.set(func(lane *lane) { lane.hold = hold })
	t.Cleanup(func() { close(hold) })
	l.do(t, call{
		as: auth.Operator, method: http.MethodPost, path: "/deckies/web-01/services",
		body: map[string]any{"name": "ssh", "config": map[string]any{"password": marker}}, headers: map[string]string{"Prefer": "wait=0"},
	})
	running := func() []any {
		return l.do(t, call{as: auth.Viewer, method: http.MethodGet, path: "/operations?state=running"}).json(t)["items"].([]any)
	}
	require.Eventually(t, func() bool { return len(running()) == 1 }, patience, 10*time.Millisecond)

	s := l.open(t, ask{as: auth.Viewer})
	require.Equal(t, http.StatusOK, s.status)
	require.Equal(t, "text/event-stream", s.header.Get("Content-Type"))
	require.Equal(t, "no-cache", s.header.Get("Cache-Control"))
	require.Equal(t, "no", s.header.Get("X-Accel-Buffering"))
	snapshot := s.next()
	require.Equal(t, "snapshot", snapshot.Type)
	require.NotEmpty(t, snapshot.LastEventID)
	require.NotContains(t, snapshot.Data, marker)
	var got struct {
		Deckies []map[string]any `json:"deckies"`
		Flight  []map[string]any `json:"in_flight"`
	}
	reply{body: []byte(snapshot.Data)}.into(t, &got)
	listed := l.do(t, call{as: auth.Viewer, method: http.MethodGet, path: "/deckies"}).json(t)["items"].([]any)
	require.Len(t, got.Deckies, 1)
	require.Equal(t, listed[0], any(got.Deckies[0]))
	require.Len(t, got.Flight, 1)
	require.Equal(t, running()[0], any(got.Flight[0]))
}

func TestStream_FirstBytesAndSignsOfLife(t *testing.T) {
	t.Parallel()
	l := setupLive(t, func(_ *api.Deps, o *api.Options) { o.SSEKeepAlive = 50 * time.Millisecond })
	res, _ := l.response(t, ask{as: auth.Viewer})
	var got strings.Builder
	buffer := make([]byte, 512)
	for strings.Count(got.String(), ": keepalive\n\n") < 4 {
		n, err := res.Body.Read(buffer)
		require.NoError(t, err)
		got.Write(buffer[:n])
	}
	blocks := strings.Split(got.String(), "\n\n")
	require.Equal(t, ": keepalive", blocks[0])
	require.Regexp(t, `^id: [0-9a-z]+-[0-9a-z]+-[0-9a-z]+\nevent: snapshot\ndata: \{"deckies":\[\],"in_flight":\[\]\}$`, blocks[1])
	require.Equal(t, ": keepalive", blocks[2])
}

func TestStream_FleetEventsOnly(t *testing.T) {
	t.Parallel()
	l := setupLive(t)
	s := l.open(t, ask{as: auth.Viewer})
	s.next()
	l.publish(t, "decky.web-01.service_added", map[string]any{"topology_id": topologyID})
	l.publish(t, "topology."+topologyID+".status", nil)
	l.publish(t, "decky.web-01.service_added", map[string]any{"topology_id": 7})
	l.publish(t, "decky.web-01.service_added", map[string]any{"topology_id": ""})
	l.publish(t, "smtp.probe.pending", nil)
	l.publish(t, "decky.web-01.service_added", map[string]any{"topology_id": nil, "note": "a\nb\u2028<c>"})
	l.publish(t, "decky.h:web-01.state", map[string]any{"Topology_ID": topologyID})

	first := s.next()
	require.Equal(t, "decky.service_added", first.Type)
	require.NotContains(t, first.Data, "\n")
	data := body(t, first)
	require.Equal(t, "decky.web-01.service_added", data["topic"])
	require.Equal(t, "test", data["type"])
	require.InDelta(t, float64(time.Now().Unix()), data["ts"], 60)
	require.Equal(t, map[string]any{"topology_id": nil, "note": "a\nb\u2028<c>"}, data["payload"])
	require.Len(t, data, 4)
	require.Equal(t, "decky.state", s.next().Type)
}

func TestStream_TopologyEventsOnly(t *testing.T) {
	t.Parallel()
	l := setupLive(t)
	s := l.open(t, ask{as: auth.Viewer, path: "/topologies/" + topologyID + "/events"})
	snapshot := s.next()
	require.JSONEq(t, `{"topology_id":"`+topologyID+`","status":"pending","version":1,"in_flight":[]}`, snapshot.Data)
	other := uuid.NewString()
	l.publish(t, "decky.web1.service_added", nil) // a fleet decky of the same name
	l.publish(t, "decky.web1.service_added", map[string]any{"topology_id": other})
	l.publish(t, "topology."+other+".status", map[string]any{"topology_id": topologyID})
	l.publish(t, "topology."+topologyID+".mutation.applied", map[string]any{"op": "x"})
	l.publish(t, "decky.web1.service_config_changed", map[string]any{"topology_id": topologyID})
	l.publish(t, "topology."+topologyID+".status", nil)
	for _, name := range []string{"mutation.applied", "decky.service_config_changed", "status"} {
		require.Equal(t, name, s.next().Type)
	}
}

func TestEventName(t *testing.T) {
	t.Parallel()
	for topic, name := range map[string]string{
		"topology.T.mutation.applied": "mutation.applied", "topology.T.status": "status", "topology.T": "topology.T",
		"decky.web1.service_added": "decky.service_added", "decky.web1.a.b": "decky.a.b", "decky.web1": "decky.web1", "x": "x",
	} {
		require.Equal(t, name, api.EventName(topic), topic)
	}
}

func TestStream_UnknownTopologyIsNotFoundButOnlyToThoseWhoMayKnow(t *testing.T) {
	t.Parallel()
	l := setupLive(t)
	path := "/topologies/" + uuid.NewString() + "/events"
	require.Equal(t, "unauthorized", l.refusal(t, ask{path: path}).code(t))
	fresh := l.addUser(t, "fresh", auth.Admin, true)
	require.Equal(t, "password_change_required", l.refusal(t, ask{path: path, token: l.tokenOf(t, fresh)}).code(t))
	require.Equal(t, "topology_not_found", l.refusal(t, ask{path: path, as: auth.Viewer}).code(t))
}

func TestStream_ResumesRightBehindAnID(t *testing.T) {
	t.Parallel()
	l := setupLive(t)
	s := l.open(t, ask{as: auth.Viewer})
	begin := s.next().LastEventID
	for range 3 {
		l.publish(t, "decky.a.state", nil)
	}
	middle := []string{s.next().LastEventID, s.next().LastEventID, s.next().LastEventID}
	s.close()
	l.publish(t, "decky.a.service_added", nil)

	for name, a := range map[string]ask{
		"header": {lastID: middle[1]}, "query": {queryID: middle[1]}, "header wins": {lastID: middle[1], queryID: begin},
	} {
		a.as = auth.Viewer
		s := l.open(t, a)
		require.Equal(t, middle[2], s.next().LastEventID, name)
		require.Equal(t, "decky.service_added", s.next().Type, name)
		s.close()
	}
	s = l.open(t, ask{as: auth.Viewer, lastID: begin})
	require.Equal(t, middle[0], s.next().LastEventID, "the id of a snapshot is one to go on from")
}

func TestStream_AnIDThatIsNotGoodGivesASnapshot(t *testing.T) {
	t.Parallel()
	l := setupLive(t)
	l.publish(t, "decky.a.state", nil)
	s := l.open(t, ask{as: auth.Viewer})
	id := s.next().LastEventID
	s.close()
	parts := strings.Split(id, "-")
	for _, bad := range []string{
		"7", "x", "0", id + "0", "1-" + parts[1] + "-" + parts[2], parts[0] + "-zzzz-" + parts[2], parts[0] + "-" + parts[1] + "-1",
		strings.Repeat("a", 4000), "%00", "\x7f",
	} {
		s := l.open(t, ask{as: auth.Viewer, lastID: strings.ReplaceAll(bad, "\x7f", "~")})
		require.Equal(t, http.StatusOK, s.status, bad)
		e := s.next()
		require.Equal(t, "snapshot", e.Type, bad)
		require.Equal(t, id, e.LastEventID, bad)
		s.close()
	}
}

func TestStream_ABusThatLostItsStoreGivesAnotherSnapshot(t *testing.T) {
	t.Parallel()
	l := setupLive(t)
	s := l.open(t, ask{as: auth.Viewer})
	id := s.next().LastEventID
	l.nats.Down()
	l.nats.Wipe()
	l.nats.Up()
	again := s.next()
	require.Equal(t, "snapshot", again.Type)
	require.NotEqual(t, id, again.LastEventID)
	l.publish(t, "decky.a.service_added", nil)
	require.Equal(t, "decky.service_added", s.next().Type)
	s.close()
	require.Equal(t, "snapshot", l.open(t, ask{as: auth.Viewer, lastID: id}).next().Type)
}

func TestStream_WithoutTheBusASnapshotThenWhatWasMissed(t *testing.T) {
	t.Parallel()
	l := setupLive(t, func(_ *api.Deps, o *api.Options) { o.SSEKeepAlive = 100 * time.Millisecond })
	l.publish(t, "decky.a.state", nil)
	first := l.open(t, ask{as: auth.Viewer})
	first.next()
	l.publish(t, "decky.a.state", nil)
	seen := first.next().LastEventID
	first.close()
	l.publish(t, "decky.a.service_added", nil)
	l.nats.Down()

	began := time.Now()
	back := l.open(t, ask{as: auth.Viewer, lastID: seen})
	require.Equal(t, "snapshot", back.next().Type)
	fresh := l.open(t, ask{as: auth.Viewer})
	require.Equal(t, "snapshot", fresh.next().Type)
	require.Less(t, time.Since(began), 5*time.Second)
	l.nats.Up()
	l.publish(t, "decky.a.service_removed", nil)
	require.Equal(t, "decky.service_added", back.next().Type)
	require.Equal(t, "decky.service_removed", back.next().Type)
	for name := ""; name != "decky.service_removed"; { // what was there a moment before may come too
		name = fresh.next().Type
	}
}

func TestStream_NoBusAtAll(t *testing.T) {
	t.Parallel()
	l := setupLive(t, func(d *api.Deps, _ *api.Options) { d.Events = nil })
	s := l.open(t, ask{as: auth.Viewer, lastID: "7"})
	require.Equal(t, "snapshot", s.next().Type)
	l.stop()
	require.Empty(t, s.ended())
}

// captured is a log that never says anything.
type captured struct{ deadlines chan bool }

func (c captured) Locate(context.Context, []string, bus.Position) (bus.Position, bool, error) {
	return bus.Position{}, false, nil
}

func (c captured) Follow(ctx context.Context, _ []string, _ bus.Position, _ func(bus.Step) error) error {
	_, bounded := ctx.Deadline()
	c.deadlines <- bounded
	<-ctx.Done()
	return nil
}

func TestStream_IsNotBoundByTheDeadlineOfRequests(t *testing.T) {
	t.Parallel()
	c := captured{deadlines: make(chan bool, 2)}
	l := setupLive(t, func(d *api.Deps, _ *api.Options) { d.Events = c })
	l.open(t, ask{as: auth.Viewer}).next()
	l.open(t, ask{as: auth.Viewer, path: "/topologies/" + topologyID + "/events"}).next()
	require.False(t, <-c.deadlines)
	require.False(t, <-c.deadlines)
}

func TestStream_AFailureIsToldAndTheIDStays(t *testing.T) {
	t.Parallel()
	l := setupLive(t)
	l.createDecky(t, "web-01")
	l.exec(t, "ALTER TABLE decky_endpoints RENAME TO secret_reason")
	s := l.open(t, ask{as: auth.Viewer})
	e := s.next()
	require.Equal(t, "error", e.Type)
	require.JSONEq(t, `{"message":"Stream interrupted"}`, e.Data)
	require.Empty(t, e.LastEventID)
	require.Empty(t, s.ended())
	require.Contains(t, l.log.String(), "decky_endpoints")
}

func TestStream_AStoppingProcessEndsThemAtOnce(t *testing.T) {
	t.Parallel()
	l := setupLive(t)
	var all []*subscriber
	for range 3 {
		s := l.open(t, ask{as: auth.Viewer})
		s.next()
		all = append(all, s)
	}
	began := time.Now()
	l.stop()
	for _, s := range all {
		require.Empty(t, s.ended())
	}
	require.Less(t, time.Since(began), 2*time.Second)
	require.Equal(t, 0, l.leases(t))
}

// leases returns how many more streams the viewer could not open.
func (l *liveBundle) leases(t *testing.T) int {
	t.Helper()
	for most := 1; ; most++ {
		id := uuid.New()
		after, err := l.store.TakeStreamLease(t.Context(), id, l.users[auth.Viewer].ID, most, time.Minute)
		require.NoError(t, err)
		if after == 0 {
			require.NoError(t, l.store.EndStreamLease(t.Context(), id))
			return most - 1
		}
	}
}

func TestStream_ASlowReaderIsDisconnectedAndResumes(t *testing.T) {
	t.Parallel()
	l := setupLive(t) // whose cap leaves room for the leases that count
	quick := l.open(t, ask{as: auth.Viewer})
	begin := quick.next().LastEventID

	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimSuffix(strings.TrimPrefix(l.url, "http://"), "/api/v1"))
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	require.NoError(t, conn.(*net.TCPConn).SetReadBuffer(4096))
	_, err = conn.Write([]byte("GET /api/v1/deckies/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " +
		l.tokenOf(t, l.users[auth.Viewer]) + "\r\nLast-Event-ID: " + begin + "\r\n\r\n"))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return l.leases(t) == 2 }, patience, 10*time.Millisecond)

	// More than the buffers of both ends hold.
	const total = 300
	payload := map[string]any{"text": strings.Repeat("x", 60_000)}
	var wg sync.WaitGroup
	wg.Go(func() {
		for range total {
			e, err := bus.New("decky.a.traffic", "test", time.Now(), payload)
			if err != nil || l.events.Publish(t.Context(), e) != nil {
				return
			}
		}
	})
	began := time.Now()
	for range total {
		quick.next()
	}
	require.Less(t, time.Since(began), patience, "nobody else waits")
	wg.Wait()
	require.Eventually(t, func() bool { return l.leases(t) == 1 }, patience, 20*time.Millisecond)

	back := l.open(t, ask{as: auth.Viewer, lastID: begin})
	for range total {
		require.Equal(t, "decky.traffic", back.next().Type)
	}
}

func TestStream_NoMoreThanAllowedPerUserInAllProcesses(t *testing.T) {
	t.Parallel()
	first := setupLive(t, func(_ *api.Deps, o *api.Options) { o.SSEMaxPerUser = 2 })
	a, b := first.open(t, ask{as: auth.Viewer}), first.open(t, ask{as: auth.Viewer})
	a.next()
	b.next()

	// Another process on the same database; an API token counts for its owner.
	second := *first
	second.engine = api.New(api.Deps{Store: first.store, Dispatcher: first.lane, Key: installationKey}, api.Options{SSEMaxPerUser: 2})
	r := second.do(t, call{as: auth.Viewer, method: http.MethodGet, path: "/deckies/events"})
	require.Equal(t, http.StatusTooManyRequests, r.status)
	require.Equal(t, "too_many_streams", r.code(t))
	require.Regexp(t, `^([1-9]|[12][0-9]|30)$`, r.header.Get("Retry-After"))
	first.open(t, ask{as: auth.Admin}).next()

	a.close()
	require.Eventually(t, func() bool {
		res, cancel := first.response(t, ask{as: auth.Viewer})
		defer cancel()
		return res.StatusCode == http.StatusOK
	}, patience, 20*time.Millisecond)
}

func TestStream_TheLeaseOfADeadProcessExpires(t *testing.T) {
	t.Parallel()
	b := setup(t)
	user := b.users[auth.Viewer].ID
	after, err := b.store.TakeStreamLease(t.Context(), uuid.New(), user, 1, 300*time.Millisecond)
	require.NoError(t, err)
	require.Zero(t, after)
	after, err = b.store.TakeStreamLease(t.Context(), uuid.New(), user, 1, time.Minute)
	require.NoError(t, err)
	require.Positive(t, after)
	require.Eventually(t, func() bool {
		after, err := b.store.TakeStreamLease(t.Context(), uuid.New(), user, 1, time.Minute)
		return err == nil && after == 0
	}, patience, 20*time.Millisecond)
}

func TestStream_ManyAtOnceAreCountedInTurn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var wg sync.WaitGroup
	var open atomic.Int32
	for range 40 {
		wg.Go(func() {
			after, err := b.store.TakeStreamLease(t.Context(), uuid.New(), b.users[auth.Viewer].ID, 5, time.Minute)
			if err == nil && after == 0 {
				open.Add(1)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 5, open.Load())
	_, err := b.store.TakeStreamLease(t.Context(), uuid.New(), uuid.New(), 5, time.Minute)
	require.Error(t, err, "nobody's stream")
	require.NotEqual(t, fault.Conflict, fault.KindOf(err))
}
