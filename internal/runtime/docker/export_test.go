package docker

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// PruneImages removes old images whatever their age.
func (r *Runtime) PruneImages(ctx context.Context) error {
	r.prepare.Lock()
	defer r.prepare.Unlock()
	return r.pruneImages(ctx, 0)
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
