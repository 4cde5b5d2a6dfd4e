package topology

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/google/uuid"

	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/runtime"
	"github.com/decnet/decnet/internal/service"
)

// effects compares two hydrated graphs of one topology.
func effects(id uuid.UUID, before, after Graph) Effects {
	var e Effects
	old, current := networks(id, before), networks(id, after)
	for _, n := range slices.Backward(old) {
		if !slices.Contains(current, n) {
			e.RemoveNetworks = append(e.RemoveNetworks, n)
		}
	}
	for _, n := range current {
		if !slices.Contains(old, n) {
			e.CreateNetworks = append(e.CreateNetworks, n)
		}
	}
	for _, d := range after.Deckies {
		if c, changed := change(id, before, after, d); changed {
			e.Converge = append(e.Converge, c)
		}
	}
	for _, d := range before.Deckies {
		if _, stays := after.Decky(d.ID); !stays {
			e.Remove = append(e.Remove, d.ID)
		}
	}
	return e
}

// networks leaves out LANs with a malformed subnet: they have no network.
func networks(id uuid.UUID, g Graph) []Network {
	g.LANs = slices.DeleteFunc(slices.Clone(g.LANs), func(l LAN) bool {
		_, err := l.Prefix()
		return err != nil
	})
	list, _ := Networks(id, g)
	return list
}

func change(id uuid.UUID, before, after Graph, d Decky) (Change, bool) {
	c := Change{Decky: d.ID}
	was, existed := before.Decky(d.ID)
	// An address that is missing is in neither list of networks; the deploy has refused such a graph before.
	from, _ := Attachments(id, before, was)
	to, _ := Attachments(id, after, d)
	c.Base = !existed || was.Name != d.Name || was.ForwardsL3 != d.ForwardsL3 || !slices.Equal(home(from), home(to)) ||
		!slices.Equal(Published(before, was), Published(after, d))
	for _, s := range d.Services {
		if i := decky.Find(was.Services, s.Name); i < 0 || !sameConfig(was.Services[i].Config, s.Config) {
			c.Services = append(c.Services, s.Name)
		}
	}
	for _, s := range was.Services {
		if decky.Find(d.Services, s.Name) < 0 {
			c.Gone = append(c.Gone, s.Name)
		}
	}
	slices.Sort(c.Services)
	slices.Sort(c.Gone)
	return c, c.Base || len(c.Services) > 0 || len(c.Gone) > 0 || !slices.Equal(from, to)
}

// home returns the first of a decky's networks: what its base container is made with.
func home(attachments []runtime.Attachment) []runtime.Attachment {
	return attachments[:min(1, len(attachments))]
}

// sameConfig compares by their JSON form: numbers change their Go type on the way through a store.
func sameConfig(a, b service.Config) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && (bytes.Equal(x, y) || len(a) == 0 && len(b) == 0)
}
