package docker_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/runtime/docker"
)

func TestRoutes_ShortestWayThroughRouters(t *testing.T) {
	t.Parallel()
	const dmz, factory, vault, island = "10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24", "10.0.3.0/24"
	networks := []string{dmz, factory, vault, island}
	gw := map[string]string{"forwards": "yes", dmz: "10.0.0.2", factory: "10.0.1.2"}
	router := map[string]string{"forwards": "yes", factory: "10.0.1.3", vault: "10.0.2.3"}
	shortcut := map[string]string{"forwards": "yes", dmz: "10.0.0.9", vault: "10.0.2.9"}
	plain := map[string]string{factory: "10.0.1.7", island: "10.0.3.7"}
	for name, c := range map[string]struct {
		deckies []map[string]string
		want    []docker.Hop
	}{
		"behind two routers": {
			[]map[string]string{{vault: "10.0.2.4"}, gw, router, plain},
			[]docker.Hop{{"0.0.0.0/0", "10.0.2.3"}, {dmz, "10.0.2.3"}, {factory, "10.0.2.3"}},
		},
		"on the DMZ, which has a way out": {
			[]map[string]string{{dmz: "10.0.0.4"}, gw, router},
			[]docker.Hop{{factory, "10.0.0.2"}, {vault, "10.0.0.2"}},
		},
		"a router knows its own networks":   {[]map[string]string{gw, router}, []docker.Hop{{vault, "10.0.1.3"}}},
		"a router further in has a way out": {[]map[string]string{router, gw}, []docker.Hop{{"0.0.0.0/0", "10.0.1.2"}, {dmz, "10.0.1.2"}}},
		"the shorter way":                   {[]map[string]string{{dmz: "10.0.0.4"}, gw, router, shortcut}, []docker.Hop{{factory, "10.0.0.2"}, {vault, "10.0.0.9"}}},
		"no router":                         {[]map[string]string{{island: "10.0.3.4"}, plain, gw}, nil},
		"a decky on two networks is none":   {[]map[string]string{plain, router}, []docker.Hop{{vault, "10.0.1.3"}}},
	} {
		require.Equal(t, c.want, docker.RoutesOf(networks, c.deckies), name)
	}
}
