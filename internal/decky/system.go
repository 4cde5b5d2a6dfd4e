package decky

import (
	"math/rand/v2"
	"slices"
)

// System is what a decky pretends to be made of.
type System struct {
	Distro, Hostname, NmapOS string
}

// NewSystem makes up a system in the manner of an archetype, "" or an unknown one for a plain host.
func NewSystem(archetype string, rnd *rand.Rand) System {
	offered := Archetypes()
	var s Spec
	var a Archetype
	if i := slices.IndexFunc(offered, func(a Archetype) bool { return a.Slug == archetype }); i >= 0 {
		a = offered[i]
	}
	if err := s.completeSystem(a, rnd); err != nil {
		panic(err) // our own table names a distribution that is not in it
	}
	return System{Distro: s.Distro, Hostname: s.Hostname, NmapOS: s.NmapOS}
}
