package e2e_test

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/e2e/harness"
	"github.com/decnet/decnet/internal/runtime/docker"
	netns "github.com/decnet/decnet/internal/runtime/docker/containment"
	"github.com/decnet/decnet/internal/runtime/docker/enginetest"
)

const (
	// baseRounds is how often bases are killed, and baseLimit how long their services may then be out of reach.
	baseRounds = 20
	baseLimit  = 10 * time.Second
)

// containers is a system whose decoys are containers.
type containers struct {
	*system
	engine *harness.Containers
	subnet string
}

// TestDocker runs containers on the host's engine.
func TestDocker(t *testing.T) {
	t.Parallel()
	enginetest.Require(t)
	c := containers{subnet: harness.DockerSubnet(t)}
	c.system = &system{
		Up:   harness.StartUp(t, "--runtime", "docker", "--docker-subnet", c.subnet),
		pool: netip.MustParsePrefix(c.subnet).Addr(),
	}
	require.Equal(t, "docker", c.Ready.Runtime)
	c.engine = harness.OpenContainers(t, docker.DefaultHost, &c.Client, c.Kill)
	t.Run("IntruderIsKnown", func(t *testing.T) { intruderIsKnown(t, c.system, c.name(t, "known")) })
	t.Run("BaseIsHealed", func(t *testing.T) { baseIsHealed(t, c) })
	t.Run("BaseWithoutServicesIsHealed", func(t *testing.T) { emptyBaseIsHealed(t, c) })
	t.Run("HopelessIsQuarantined", func(t *testing.T) { hopelessContainer(t, c) })
	t.Run("ControlPlaneDies", func(t *testing.T) { containersAreAdopted(t, c) })
}

// name makes the names of deckies differ from those of other systems on the engine.
func (c containers) name(t *testing.T, name string) string {
	t.Helper()
	return fmt.Sprintf("%s-%d", name, os.Getpid())
}

// baseIsHealed kills bases again and again, and measures how long their services are out of reach. They take turns: a decky
// that was repaired a moment ago has to wait a little for the next repair.
func baseIsHealed(t *testing.T, c containers) {
	var deckies []harness.Decky
	for i := range 5 {
		d := c.create(t, c.name(t, "base-"+itoa(i)), "ssh", "http", "redis")
		require.Len(t, d.Endpoints, 3)
		deckies = append(deckies, d)
	}
	var took []time.Duration
	for round := range baseRounds {
		d := deckies[round%len(deckies)]
		before := c.engine.ID(t.Context(), d.Name, "")
		began := time.Now()
		require.NoError(t, c.engine.Kill(t.Context(), d.Name, ""))
		require.Eventually(t, func() bool {
			now := c.engine.ID(t.Context(), d.Name, "")
			return now != "" && now != before && allOpen(d)
		}, patience, 10*time.Millisecond, "all services answer again at their addresses")
		took = append(took, time.Since(began))
		require.Less(t, took[round], baseLimit)
	}
	c.quiet(t)
	slices.Sort(took)
	t.Logf("three services back after %s (median of %d), %s at most",
		took[len(took)/2].Round(time.Millisecond), len(took), took[len(took)-1].Round(time.Millisecond))
	for _, d := range deckies {
		require.ElementsMatch(t, d.Endpoints, c.decky(t, d.Name).Endpoints)
		banner(t, net.JoinHostPort(d.IP, "22"))
	}
}

func allOpen(d harness.Decky) bool {
	for _, e := range d.Endpoints {
		conn, err := net.DialTimeout("tcp", net.JoinHostPort(e.IP, itoa(e.Port)), 200*time.Millisecond)
		if err != nil {
			return false
		}
		_ = conn.Close()
	}
	return true
}

func emptyBaseIsHealed(t *testing.T, c containers) {
	d := c.create(t, c.name(t, "empty"))
	require.NoError(t, c.engine.Kill(t.Context(), d.Name, ""))
	eventually(t, func() bool { return c.engine.ID(t.Context(), d.Name, "") != "" }, "its base is back")
	c.quiet(t)
	repairs := c.operations(t, "decky", d.Name, "kind", "reconcile")
	require.Len(t, repairs, 1)
	require.Equal(t, "succeeded", repairs[0].State)
	require.Equal(t, "its base does not run", repairs[0].Step("validate").Detail)
}

// hopelessContainer takes the port inside the decky's namespace.
func hopelessContainer(t *testing.T, c containers) {
	hopeless(t, c.system, c.name(t, "lost"), func(d harness.Decky) (release func()) {
		base, err := c.engine.ContainerInspect(t.Context(), c.engine.ID(t.Context(), d.Name, ""), client.ContainerInspectOptions{})
		require.NoError(t, err)
		require.NoError(t, c.engine.Kill(t.Context(), d.Name, "ssh"))
		var thief net.Listener
		require.Eventually(t, func() (ok bool) {
			require.NoError(t, netns.InNamespace(fmt.Sprintf("/proc/%d/ns/net", base.Container.State.Pid), func() {
				thief, ok = listen(d.IP, 22)
			}))
			return ok
		}, patience, time.Millisecond, "the port is faster taken than the decoy is back")
		return func() { _ = thief.Close() }
	})
}

// containersAreAdopted kills the control plane: what runs goes on and is known again.
func containersAreAdopted(t *testing.T, c containers) {
	name := c.name(t, "adopt")
	d := c.create(t, name, "ssh")
	before := c.engine.ID(t.Context(), name, "ssh")
	c.Kill()
	banner(t, net.JoinHostPort(d.IP, "22"))
	c.Start()
	require.NoError(t, c.Login(t.Context()))
	c.quiet(t)
	require.Equal(t, before, c.engine.ID(t.Context(), name, "ssh"), "what runs is adopted")
	stdout, stderr, code := c.CLI(t.Context(), t.TempDir(), "", "compose", "render", "--docker-subnet", c.subnet)
	require.Zero(t, code, stderr)
	require.Contains(t, stdout, "container_name: "+name+"-ssh\n")
	require.NotContains(t, stdout, "password")

	c.must(t, http.StatusOK, http.MethodDelete, "/deckies/"+name, nil)
	require.Empty(t, c.engine.ID(t.Context(), name, "ssh"))
	require.Empty(t, c.engine.ID(t.Context(), name, ""))
}

// banner reads the first line of a service.
func banner(t *testing.T, at string) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", at, 5*time.Second)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(5*time.Second)))
	line := make([]byte, 7)
	_, err = conn.Read(line)
	require.NoError(t, err)
	require.Equal(t, "SSH-2.0", string(line))
}
