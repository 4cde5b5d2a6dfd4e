package docker

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/compose/v5/pkg/api"
	"github.com/google/uuid"

	"github.com/decnet/decnet/internal/compose"
	"github.com/decnet/decnet/internal/runtime"
)

// Recreate is what the compose library alone takes to replace one service: no verification, no log, no record.
func (r *Runtime) Recreate(ctx context.Context, d runtime.Decky, service string) error {
	c, err := r.render(ctx, d)
	if err != nil {
		return err
	}
	name := compose.ContainerName(d.Key, service)
	project, err := compose.Render(c).WithSelectedServices([]string{name}, types.IgnoreDependencies)
	if err != nil {
		return err
	}
	r.label(project)
	return r.compose.Up(ctx, project, api.UpOptions{
		Create: api.CreateOptions{Services: []string{name}, Recreate: api.RecreateForce, IgnoreOrphans: true},
		Start:  api.StartOptions{Project: project, Services: []string{name}},
	})
}

// Hop is a next hop of a decky, for tests of the choice of routes.
type Hop struct{ To, Via string }

// RoutesOf returns the routes of the first of deckies, each given as its addresses by network, "forwards" first for a
// router. Networks are named by their subnets; the first one is no internal one.
func RoutesOf(networks []string, deckies []map[string]string) []Hop {
	lans := map[string]lan{}
	for i, n := range networks {
		lans[n] = lan{netip.MustParsePrefix(n), i > 0}
	}
	var places []place
	for i, d := range deckies {
		p := place{decky: uuid.UUID{byte(i)}, forwards: d["forwards"] != "", at: map[string]netip.Addr{}}
		for n, ip := range d {
			if n != "forwards" {
				p.at[n] = netip.MustParseAddr(ip)
			}
		}
		places = append(places, p)
	}
	var hops []Hop
	for to, via := range routesFrom(places[0], places, lans) {
		hops = append(hops, Hop{to.String(), via.String()})
	}
	slices.SortFunc(hops, func(a, b Hop) int { return strings.Compare(a.To, b.To) })
	return hops
}
