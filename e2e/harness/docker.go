package harness

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/compose"
)

// DockerSubnet returns a subnet for 60 deckies in a documentation block (RFC 5737), where neither decnet nor any other tool
// puts anything by default. No other test of this host has it until this process ends.
func DockerSubnet(t testing.TB) string {
	t.Helper()
	blocks := []string{"192.0.2", "198.51.100", "203.0.113"}
	const perBlock = 4
	for _, n := range rand.Perm(perBlock * len(blocks)) {
		subnet := netip.MustParsePrefix(fmt.Sprintf("%s.%d/26", blocks[n/perBlock], n%perBlock*64))
		claim, err := net.Listen("unix", "@decnet-test-"+subnet.String())
		if err != nil {
			continue
		}
		if onHost(subnet) {
			_ = claim.Close()
			continue
		}
		t.Cleanup(func() { _ = claim.Close() })
		return subnet.String()
	}
	require.Fail(t, "no subnet is free")
	return ""
}

// onHost reports whether an interface has an address of the subnet: somebody else's, or one that a test left.
func onHost(subnet netip.Prefix) bool {
	addresses, _ := net.InterfaceAddrs()
	return slices.ContainsFunc(addresses, func(a net.Addr) bool {
		p, err := netip.ParsePrefix(a.String())
		return err == nil && p.Overlaps(subnet)
	})
}

// Containers looks at the containers of one installation from outside.
type Containers struct {
	*client.Client
	installation string
}

// OpenContainers returns the containers that a system has on the engine at host. They and their network go with the test,
// after stop has ended whatever would bring them back.
func OpenContainers(t testing.TB, host string, c *Client, stop func()) *Containers {
	t.Helper()
	answer, err := c.Do(t.Context(), http.MethodGet, "/status", nil)
	require.NoError(t, err)
	var status struct {
		Installation uuid.UUID `json:"installation_id"`
	}
	require.NoError(t, answer.Decode(&status))
	engine, err := client.New(client.WithHost(host))
	require.NoError(t, err)
	cs := &Containers{Client: engine, installation: status.Installation.String()}
	t.Cleanup(func() {
		stop()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		list, _ := cs.List(ctx)
		for _, s := range list {
			_, _ = engine.ContainerRemove(ctx, s.ID, client.ContainerRemoveOptions{Force: true})
		}
		_, _ = engine.NetworkRemove(ctx, compose.ProjectName(status.Installation, "fleet"), client.NetworkRemoveOptions{})
		_ = engine.Close()
	})
	return cs
}

// List returns all containers of the installation, those that ended too, sorted by name.
func (c *Containers) List(ctx context.Context) ([]container.Summary, error) {
	list, err := c.ContainerList(ctx, client.ContainerListOptions{
		All: true, Filters: client.Filters{}.Add("label", compose.LabelInstallation+"="+c.installation),
	})
	slices.SortFunc(list.Items, func(a, b container.Summary) int { return strings.Compare(NameOf(a), NameOf(b)) })
	return list.Items, err
}

// NameOf returns the name of a container.
func NameOf(s container.Summary) string { return strings.TrimPrefix(strings.Join(s.Names, ","), "/") }

// ID returns the id of a service's container, or of the base for "". It is "" when there is none or it does not run.
func (c *Containers) ID(ctx context.Context, decky, service string) string {
	list, _ := c.List(ctx)
	for _, s := range list {
		if NameOf(s) == containerName(decky, service) && s.State == container.StateRunning {
			return s.ID
		}
	}
	return ""
}

func containerName(decky, service string) string {
	if service == "" {
		return compose.BaseName(decky)
	}
	return compose.ContainerName(decky, service)
}

// Kill ends a container without warning, as `docker kill` does.
func (c *Containers) Kill(ctx context.Context, decky, service string) error {
	return c.KillName(ctx, containerName(decky, service))
}

// KillName is Kill for a container by its own name.
func (c *Containers) KillName(ctx context.Context, name string) error {
	_, err := c.ContainerKill(ctx, name, client.ContainerKillOptions{Signal: "KILL"})
	return err
}
