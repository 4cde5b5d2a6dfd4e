package chaos_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/e2e/harness"
	"github.com/decnet/decnet/internal/bus"
	"github.com/decnet/decnet/internal/compose"
	"github.com/decnet/decnet/internal/runtime/docker/enginetest"
)

const (
	// longestAway bounds how long a killed engine stays away, while operators go on asking for changes.
	longestAway = 4 * time.Second
)

// bystanders are deckies that nobody changes. Whatever dies around them, they must not be taken for gone.
var bystanders = map[string][]string{"still-01": {"ssh", "redis"}, "still-02": {"http"}, "still-03": {}}

// dockerSystem has containers on an engine of its own among its victims.
type dockerSystem struct {
	roleSystem
	engine     *enginetest.Engine
	containers *harness.Containers
	random     *rand.Rand // of the killer, who is alone

	noticed   time.Time // see unseen
	restarted bool      // the engine was, without live-restore, in this run
}

func (s *dockerSystem) unseen() time.Time { return s.noticed }

func (s *dockerSystem) victims() []string {
	own := []string{"dockerd", "dockerd", "dockerd with live-restore", "dockerd with live-restore", "a base", "a base", "a service", "a service"}
	return append(own, s.roleSystem.victims()...)
}

func (s *dockerSystem) kill(victim string) error {
	switch victim {
	case "dockerd", "dockerd with live-restore":
		s.engine.LiveRestore = victim != "dockerd"
		s.restarted = s.restarted || !s.engine.LiveRestore
		if err := s.engine.Kill(); err != nil {
			return err
		}
		s.noticed = time.Now()
		time.Sleep(time.Duration(s.random.Int64N(int64(longestAway))))
		return s.engine.Start()
	case "a base":
		return s.killOne(compose.RoleBase)
	case "a service":
		return s.killOne(compose.RoleService)
	}
	return s.roleSystem.kill(victim)
}

// killOne kills a container of a decky that is no bystander, if there is one.
func (s *dockerSystem) killOne(role string) error {
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	list, err := s.containers.List(ctx)
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(c container.Summary) bool {
		_, bystander := bystanders[c.Labels[compose.LabelDeckyKey]]
		return bystander || c.Labels[compose.LabelRole] != role || c.State != container.StateRunning
	})
	if len(list) == 0 {
		return nil
	}
	victim := list[s.random.IntN(len(list))].ID
	if err := s.containers.KillName(ctx, victim); err != nil {
		return nil //nolint:nilerr // it was being replaced: nobody was killed
	}
	for { // from when on whoever looks must see it
		s.noticed = time.Now()
		list, err := s.containers.List(ctx)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(list, func(c container.Summary) bool {
			return c.ID == victim && c.State == container.StateRunning
		}) {
			return nil
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// running checks that bases and services are exactly those of the deckies, each service in the namespace of its base.
func (s *dockerSystem) running(t *testing.T, deckies []harness.Decky) map[string]int64 {
	t.Helper()
	list, err := s.containers.List(harness.Within(t, startLimit))
	require.NoError(t, err)
	bases, want := map[string]string{}, map[string]bool{}
	for _, d := range deckies {
		want[d.UUID.String()] = true
	}
	for _, c := range list {
		require.Equal(t, container.StateRunning, c.State, harness.NameOf(c))
		if c.Labels[compose.LabelRole] == compose.RoleBase {
			require.NotContains(t, bases, c.Labels[compose.LabelDeckyID])
			bases[c.Labels[compose.LabelDeckyID]] = c.ID
		}
	}
	require.ElementsMatch(t, slices.Collect(maps.Keys(want)), slices.Collect(maps.Keys(bases)), "every decky has its base")
	found := map[string]int64{}
	for _, c := range list {
		if c.Labels[compose.LabelRole] == compose.RoleBase {
			continue
		}
		id := c.Labels[compose.LabelDeckyID]
		require.Equal(t, "container:"+bases[id], c.HostConfig.NetworkMode, harness.NameOf(c))
		decoy := id + "/" + c.Labels[compose.LabelService]
		require.NotContains(t, found, decoy, "runs twice")
		found[decoy], err = strconv.ParseInt(c.Labels[compose.LabelRevision], 10, 64)
		require.NoError(t, err)
	}
	return found
}

// still returns the ids of the bystanders' containers by name.
func (s *dockerSystem) still(t *testing.T) map[string]string {
	t.Helper()
	list, err := s.containers.List(harness.Within(t, startLimit))
	require.NoError(t, err)
	ids := map[string]string{}
	for _, c := range list {
		if _, ok := bystanders[c.Labels[compose.LabelDeckyKey]]; ok {
			ids[harness.NameOf(c)] = c.ID
		}
	}
	return ids
}

// TestChaos_Docker has containers and their engine die next to the control plane's own parts.
func TestChaos_Docker(t *testing.T) {
	engine := enginetest.Private(t)
	s := &dockerSystem{engine: engine, roleSystem: roleSystem{harness.StartRoles(t,
		"DECNET_RUNTIME=docker", "DECNET_DOCKER_HOST="+engine.Host, "DECNET_DOCKER_SUBNET="+harness.DockerSubnet(t))}}
	s.containers = harness.OpenContainers(t, engine.Host, s.client(), func() { _ = s.KillPart("runtime") })
	began := time.Now()
	for name, services := range bystanders {
		answer, err := s.client().Do(harness.Within(t, startLimit), http.MethodPost, "/deckies",
			map[string]any{"name": name, "services": services}, "Prefer", "wait=60")
		require.NoError(t, err)
		require.Equal(t, http.StatusCreated, answer.Status, "%s", answer.Body)
	}
	require.NoError(t, s.client().WaitQuiescent(harness.Within(t, startLimit)))
	var times calm
	for seed := range runs(t) {
		s.random, s.restarted = rand.New(rand.NewPCG(uint64(seed), 11)), false
		before := s.still(t)
		require.Len(t, before, 6)
		times.run(t, s, uint64(seed))
		if after := s.still(t); s.restarted {
			require.ElementsMatch(t, slices.Collect(maps.Keys(before)), slices.Collect(maps.Keys(after)))
		} else {
			require.Equal(t, before, after, "seed %d: nothing was done to them", seed)
		}
	}
	times.report(t)
	require.Subset(t, []string{"running", "reconciling", "degraded"}, s.statesOfBystanders(t, began), "nobody was taken for gone")
}

// statesOfBystanders returns every state that was announced of one, but for what belongs to its creation.
func (s *dockerSystem) statesOfBystanders(t *testing.T, since time.Time) []string {
	t.Helper()
	ctx := harness.Within(t, startLimit)
	b, err := bus.Connect(ctx, s.natsURL(), "chaos", bus.WithLogger(slog.New(slog.DiscardHandler)))
	require.NoError(t, err)
	defer func() { _ = b.Close() }()
	idle, stop := context.WithCancel(ctx)
	defer stop()
	last := time.AfterFunc(2*time.Second, stop)
	states := map[string]bool{"running": true}
	require.NoError(t, b.Tail(idle, []string{"decky.>"}, since, func(e bus.Envelope) error {
		last.Reset(500 * time.Millisecond)
		var p struct {
			Name  string `json:"name"`
			State string `json:"state"`
		}
		if err := json.Unmarshal(e.Payload, &p); err != nil {
			return err
		}
		if strings.HasPrefix(p.Name, "still-") && p.State != "" {
			states[p.State] = true
		}
		return nil
	}))
	return slices.Collect(maps.Keys(states))
}
