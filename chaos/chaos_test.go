// Package chaos kills parts of the control plane at random moments while operators change deckies, and checks that nothing
// is left half done. Every run is reproducible as far as the machine allows: the seed decides what is done and killed.
//
// A small set runs with all tests; CHAOS_RUNS sets how many.
package chaos_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/e2e/harness"
	"github.com/decnet/decnet/internal/bus"
)

const (
	defaultRuns   = 2
	changesPerRun = 12
	clients       = 4
	maxKills      = 3
	// quietLimit is the promise of the design: 30 s after all roles are ready the system is at rest.
	quietLimit = 30 * time.Second
	// startLimit is what a killed part may take to be ready on a busy machine.
	startLimit = 60 * time.Second
)

// system is what chaos works on.
type system interface {
	client() *harness.Client
	victims() []string
	// kill ends a victim without warning and brings it back.
	kill(victim string) error
	natsURL() string
	// running returns the revisions of all decoys that run, by "<decky uuid>/<service>". It fails the test when one runs
	// twice or anything is left of one that does not.
	running(t *testing.T, deckies []harness.Decky) map[string]int64
	// unseen is when something died last of which only the observer can know.
	unseen() time.Time
}

func TestMain(m *testing.M) {
	os.Exit(harness.Main(m))
}

func runs(t *testing.T) int {
	t.Helper()
	text := os.Getenv("CHAOS_RUNS")
	if text == "" {
		return defaultRuns
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err)
	return n
}

type upSystem struct{ *harness.Up }

func (s upSystem) client() *harness.Client { return &s.Client }
func (s upSystem) natsURL() string         { return s.Ready.NATSURL }
func (upSystem) unseen() time.Time         { return time.Time{} }
func (s upSystem) running(t *testing.T, _ []harness.Decky) map[string]int64 {
	t.Helper()
	return processes(t, s.Dir)
}

func (s upSystem) victims() []string {
	return []string{"up", "postgres", "temporal", "up and the bus's store", "up and Temporal's file"}
}

func (s upSystem) kill(victim string) error {
	lost := map[string]string{"up": "", "up and the bus's store": "nats", "up and Temporal's file": "temporal"}
	folder, whole := lost[victim]
	if !whole {
		return s.KillChild(victim)
	}
	s.Kill()
	if folder != "" {
		if err := os.RemoveAll(filepath.Join(s.Dir, folder)); err != nil {
			return err
		}
	}
	return s.TryStart()
}

type roleSystem struct{ *harness.Roles }

func (s roleSystem) client() *harness.Client { return &s.Client }
func (s roleSystem) natsURL() string         { return s.NATSURL() }
func (roleSystem) unseen() time.Time         { return time.Time{} }
func (s roleSystem) running(t *testing.T, _ []harness.Decky) map[string]int64 {
	t.Helper()
	return processes(t, s.Dir)
}

func (s roleSystem) victims() []string {
	return append([]string{"nats", "nats and its store", "postgres", "temporal", "all"}, harness.RoleNames...)
}

func (s roleSystem) kill(victim string) error {
	switch victim {
	case "all":
		for _, name := range append([]string{"nats"}, harness.RoleNames...) {
			if err := s.KillPart(name); err != nil {
				return err
			}
		}
		for _, name := range append([]string{"nats"}, harness.RoleNames...) {
			s.StartPart(name)
		}
		return nil
	case "nats and its store":
		if err := s.KillPart("nats"); err != nil {
			return err
		}
		if err := os.RemoveAll(s.NATSStore()); err != nil {
			return err
		}
		s.StartPart("nats")
		return nil
	}
	if err := s.KillPart(victim); err != nil {
		return err
	}
	if victim != "postgres" && victim != "temporal" {
		s.StartPart(victim)
	}
	return nil
}

func TestChaos_Up(t *testing.T) {
	up := harness.StartUp(t)
	var times calm
	for seed := range runs(t) {
		times.run(t, upSystem{up}, uint64(seed))
	}
	times.report(t)
}

func TestChaos_Roles(t *testing.T) {
	roles := harness.StartRoles(t)
	var times calm
	for seed := range runs(t) {
		times.run(t, roleSystem{roles}, uint64(seed))
	}
	times.report(t)
}

// calm collects how long systems took to come to rest.
type calm []time.Duration

func (c calm) report(t *testing.T) {
	t.Helper()
	if len(c) > 0 {
		slices.Sort(c)
		t.Logf("%d runs: quiescent after %s (median), %s at most", len(c), c[len(c)/2].Round(time.Millisecond), c[len(c)-1].Round(time.Millisecond))
	}
}

// run changes deckies from several clients while parts die, and checks the invariants once all is quiet.
func (c *calm) run(t *testing.T, s system, seed uint64) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 7))
	t.Logf("seed %d", seed)
	began := time.Now()
	stop := make(chan struct{})
	var killer sync.WaitGroup
	kills := 1 + random.IntN(maxKills)
	plan := make([]struct {
		victim string
		after  time.Duration
	}, kills)
	for i := range plan {
		plan[i].victim = s.victims()[random.IntN(len(s.victims()))]
		plan[i].after = time.Duration(random.IntN(1500)) * time.Millisecond
	}
	killer.Go(func() {
		for _, k := range plan {
			select {
			case <-stop:
				return
			case <-time.After(k.after):
			}
			t.Logf("seed %d: kill %s after %s", seed, k.victim, time.Since(began).Round(time.Millisecond))
			if err := s.kill(k.victim); err != nil {
				t.Errorf("seed %d: kill %s: %v", seed, k.victim, err)
			}
		}
	})
	var topologies sync.WaitGroup
	own := rand.New(rand.NewPCG(seed, 11))
	topologies.Go(func() { changeTopology(t, s.client(), own, fmt.Sprintf("chaos %d %d", seed, began.UnixNano())) })
	change(t, s.client(), random)
	topologies.Wait()
	killer.Wait()
	close(stop)

	ready, cancel := context.WithTimeout(t.Context(), startLimit)
	defer cancel()
	require.NoError(t, awaitReady(ready, s.client()), "seed %d: not ready again", seed)
	quiet, cancel := context.WithTimeout(t.Context(), quietLimit)
	defer cancel()
	settled := time.Now()
	require.NoError(t, s.client().WaitQuiescentSince(quiet, s.unseen()), "seed %d", seed)
	*c = append(*c, time.Since(settled))
	t.Logf("seed %d: quiescent %s after the last part was ready", seed, time.Since(settled).Round(time.Millisecond))
	check(t, s, began)
}

func awaitReady(ctx context.Context, c *harness.Client) error {
	probe := &harness.Client{URL: c.URL[:len(c.URL)-len("/api/v1")]}
	for {
		answer, err := probe.Do(ctx, http.MethodGet, "/readyz", nil)
		if err == nil && answer.Status == http.StatusOK {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w %s", ctx.Err(), err, answer.Body)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// change sends random requests from several clients at once. Every one of them must be answered in the end, and never
// with a 5xx that is not about a dependency or the operation itself.
func change(t *testing.T, c *harness.Client, random *rand.Rand) {
	t.Helper()
	type request struct {
		method, path string
		body         any
	}
	var requests []request
	for range changesPerRun {
		name := fmt.Sprintf("web-%02d", random.IntN(5))
		switch random.IntN(5) {
		case 0, 1:
			services := [][]string{{}, {"ssh"}}[random.IntN(2)]
			requests = append(requests, request{http.MethodPost, "/deckies", map[string]any{"name": name, "services": services}})
		case 2:
			requests = append(requests, request{http.MethodPost, "/deckies/" + name + "/services", map[string]any{"name": "ssh", "config": map[string]any{"password": "x" + name}}})
		case 3:
			requests = append(requests, request{http.MethodDelete, "/deckies/" + name + "/services/ssh", nil})
		case 4:
			requests = append(requests, request{http.MethodDelete, "/deckies/" + name, nil})
		}
	}
	ctx := harness.Within(t, 3*time.Minute)
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			for j := i; j < len(requests); j += clients {
				r := requests[j]
				answer, err := c.Persist(ctx, r.method, r.path, r.body)
				if err != nil || answer.Status >= 500 && answer.Status != http.StatusBadGateway || answer.Status == http.StatusUnauthorized {
					t.Errorf("%s %s: %d %s %v", r.method, r.path, answer.Status, answer.Body, err)
				}
			}
		})
	}
	wg.Wait()
}

// check compares desired deckies and running decoys, and the operations accepted since a time with their events: a bus that
// lost its store gets back the events of the last minutes, not all.
func check(t *testing.T, s system, since time.Time) {
	t.Helper()
	ctx := harness.Within(t, time.Minute)
	deckies, err := harness.List[harness.Decky](ctx, s.client(), "/deckies")
	require.NoError(t, err)
	want := map[string]int64{}
	for _, d := range deckies {
		require.Equal(t, "running", d.State, d.Name)
		for _, svc := range d.Services {
			want[d.UUID.String()+"/"+svc.Name] = svc.Revision
		}
		require.Len(t, d.Endpoints, len(d.Services), d.Name)
		for _, e := range d.Endpoints {
			conn, err := net.DialTimeout("tcp", net.JoinHostPort(e.IP, strconv.Itoa(e.Port)), 5*time.Second)
			require.NoError(t, err, d.Name)
			_ = conn.Close()
		}
	}
	deckies = append(deckies, checkTopologies(ctx, t, s, want)...)
	require.Equal(t, want, s.running(t, deckies), "desired services are the running decoys")

	operations, err := harness.List[harness.Operation](ctx, s.client(), "/operations")
	require.NoError(t, err)
	expected, final := map[string]int{}, map[string]bool{}
	for _, op := range operations {
		require.NotNil(t, op.EndedAt, "operation %s is %s", op.ID, op.State)
		recent := !op.CreatedAt.Before(since)
		// The repair of a decky of a plan changes nothing that could be told.
		final[op.ID.String()] = recent && (op.Kind != "reconcile" || op.Scope == "fleet")
		if n := eventsOf(op); final[op.ID.String()] && n > 0 {
			expected[op.ID.String()] = n
		}
	}
	var got map[string]int
	for range 10 {
		got = events(t, s)
		maps.DeleteFunc(got, func(id string, _ int) bool { return !final[id] })
		if maps.Equal(expected, got) {
			break
		}
	}
	require.Equal(t, expected, got, "every operation has its events, each once")
}

// processes lists the decoys that run from a data directory, with the revisions they were started with.
func processes(t *testing.T, dataDir string) map[string]int64 {
	t.Helper()
	found := map[string]int64{}
	for _, decoy := range harness.Decoys(dataDir) {
		require.NotContains(t, found, decoy, "runs twice")
		b, err := os.ReadFile(filepath.Join(dataDir, "decoys", decoy, "config.json"))
		require.NoError(t, err)
		var config struct {
			Revision int64 `json:"revision"`
		}
		require.NoError(t, json.Unmarshal(b, &config))
		found[decoy] = config.Revision
	}
	return found
}

// events counts different events by operation.
func events(t *testing.T, s system) map[string]int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	b, err := bus.Connect(ctx, s.natsURL(), "chaos", bus.WithLogger(slog.New(slog.DiscardHandler)))
	require.NoError(t, err)
	defer func() { _ = b.Close() }()
	idle, stop := context.WithCancel(ctx)
	defer stop()
	last := time.AfterFunc(2*time.Second, stop) // the stream is read to its end when nothing comes any more
	ids, counts := map[string]bool{}, map[string]int{}
	err = b.Tail(idle, []string{"decky.>", "topology.>"}, time.Unix(1, 0), func(e bus.Envelope) error {
		last.Reset(500 * time.Millisecond)
		var p struct {
			OperationID string `json:"operation_id"`
			MutationID  string `json:"mutation_id"` // of an edit of a topology
		}
		if err := json.Unmarshal(e.Payload, &p); err != nil {
			return err
		}
		if id := cmp.Or(p.OperationID, p.MutationID); id != "" && !ids[e.ID] {
			ids[e.ID] = true
			counts[id]++
		}
		return nil
	})
	require.NoError(t, err)
	return counts
}

// TestChaos_TemporalForgets deletes Temporal's file in the middle of a mutation.
func TestChaos_TemporalForgets(t *testing.T) {
	up := harness.StartUp(t)
	began := time.Now()
	random := rand.New(rand.NewPCG(1, 1))
	change(t, &up.Client, random)
	body := map[string]any{"name": "late-01", "services": []string{"ssh"}}
	_, err := up.Persist(t.Context(), http.MethodPost, "/deckies", body)
	require.NoError(t, err)
	up.Kill()
	require.NoError(t, os.RemoveAll(filepath.Join(up.Dir, "temporal")))
	up.Start()
	require.NoError(t, up.WaitQuiescent(harness.Within(t, quietLimit)))
	check(t, upSystem{up}, began)
}
