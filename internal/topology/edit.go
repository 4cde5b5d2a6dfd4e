package topology

import (
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/service"
)

// edit is a graph while it is changed.
type edit struct {
	site Site
	live bool
	g    Graph
}

// Apply returns the graph after op, hydrated, and what that means for what runs. A pending topology is edited freely, an
// active or degraded one under the rules of live edits, any other not at all (Conflict, topology_status_conflict).
// What an op names and is not there is Unprocessable (unknown_lan, unknown_decky). An op that is refused changes
// nothing, and so does one that would make the graph invalid in a way it is not yet (Unprocessable, topology_invalid);
// what is invalid before stays repairable that way, one edit at a time.
func Apply(g Graph, site Site, op Op) (Graph, Effects, error) {
	if !site.Status.Editable() && !site.Status.Live() {
		return Graph{}, Effects{}, site.Status.Refused("changed")
	}
	before := Hydrate(g)
	e := &edit{site: site, live: site.Status.Live(), g: before.Clone()}
	if e.site.At == "" {
		e.site.At = "body"
	}
	if err := op.apply(e); err != nil {
		return Graph{}, Effects{}, err
	}
	after := Hydrate(e.g)
	if err := e.keeps(before, after); err != nil {
		return Graph{}, Effects{}, err
	}
	if !e.live {
		return after, Effects{}, nil
	}
	return after, effects(site.ID, before, after), nil
}

func (e *edit) keeps(before, after Graph) error {
	rules := invariants
	if e.live {
		rules = liveInvariants
	}
	if len(after.LANs) > max(MaxLANs, len(before.LANs)) {
		return tooLarge("LANs", MaxLANs)
	}
	if len(after.Deckies) > max(MaxDeckies, len(before.Deckies)) {
		return tooLarge("deckies", MaxDeckies)
	}
	known := map[string]int{}
	for _, i := range rules(before) {
		known[identity(i)]++
	}
	var introduced []Issue
	for _, i := range rules(after) {
		if known[identity(i)]--; known[identity(i)] < 0 {
			introduced = append(introduced, i)
		}
	}
	return Fault(introduced)
}

// identity tells issues apart: fmt prints maps sorted.
func identity(i Issue) string { return fmt.Sprint(i.Code, i.Target) }

func (e *edit) refuse(kind fault.Kind, code, field, why string) error {
	return fault.New(kind, code, "%s %s", field, why).With(fault.Field{Location: e.site.At + "." + field, Message: why})
}

// located moves the field of a fault to where the edit has it.
func (e *edit) located(err error, field string) error {
	f := *fault.From(err)
	f.Fields = []fault.Field{{Location: e.site.At + "." + field, Message: f.Message}}
	return &f
}

// lan returns the LAN that a field names, for changes in place.
func (e *edit) lan(ref, field string) (*LAN, error) {
	i := slices.IndexFunc(e.g.LANs, func(l LAN) bool { return l.Name == ref })
	if i < 0 {
		i = slices.IndexFunc(e.g.LANs, func(l LAN) bool { return l.ID.String() == ref })
	}
	if i < 0 {
		return nil, e.refuse(fault.Unprocessable, "unknown_lan", field, "must name a LAN of the topology")
	}
	return &e.g.LANs[i], nil
}

// decky returns the decky that a field names, for changes in place.
func (e *edit) decky(ref, field string) (*Decky, error) {
	i := slices.IndexFunc(e.g.Deckies, func(d Decky) bool { return d.Name == ref })
	if i < 0 {
		i = slices.IndexFunc(e.g.Deckies, func(d Decky) bool { return d.ID.String() == ref })
	}
	if i < 0 {
		return nil, e.refuse(fault.Unprocessable, "unknown_decky", field, "must name a decky of the topology")
	}
	return &e.g.Deckies[i], nil
}

func (e *edit) attached(deckyID, lanID uuid.UUID) bool {
	return slices.ContainsFunc(e.g.Edges, func(x Edge) bool { return x.DeckyID == deckyID && x.LANID == lanID })
}

// detach ends a membership and gives its address up.
func (e *edit) detach(d *Decky, l LAN) {
	e.g.Edges = slices.DeleteFunc(e.g.Edges, func(x Edge) bool { return x.DeckyID == d.ID && x.LANID == l.ID })
	d.IPs = slices.DeleteFunc(d.IPs, func(a Address) bool { return a.LAN == l.Name })
}

// join makes a decky a member of a LAN; without an address it gets one when the graph is hydrated.
func (e *edit) join(d *Decky, l LAN, ip string, bridge, forwards bool) {
	e.g.Edges = append(e.g.Edges, Edge{ID: e.site.NewID(), DeckyID: d.ID, LANID: l.ID, Bridge: bridge, ForwardsL3: forwards})
	if ip != "" {
		d.IPs = append(d.IPs, Address{l.Name, ip})
	}
}

// services returns the list that slugs ask for. What the decky has already stays as it is.
func (e *edit) services(has []decky.Service, slugs []string) ([]decky.Service, error) {
	wanted := make([]decky.Service, 0, len(slugs))
	for i, slug := range slugs {
		field := fmt.Sprintf("services[%d]", i)
		if _, err := service.ForDecky(slug); err != nil {
			return nil, e.located(err, field)
		}
		if decky.Find(wanted, slug) >= 0 {
			return nil, e.refuse(fault.Unprocessable, "service_repeated", field, "must name every service once")
		}
		s := decky.Service{Name: slug, Config: service.Config{}}
		if at := decky.Find(has, slug); at >= 0 {
			s = has[at]
		}
		wanted = append(wanted, s)
	}
	return wanted, nil
}

// configure sets the configurations of all services of a decky; field names where they stand. Those of services that the
// decky does not offer are kept apart, for the invariants to refuse.
func (e *edit) configure(d *Decky, configs map[string]service.Config, field string) error {
	d.Undeclared = map[string]service.Config{}
	for slug, c := range configs {
		if decky.Find(d.Services, slug) < 0 {
			d.Undeclared[slug] = c
		}
	}
	for i, s := range d.Services {
		def, ok := service.Lookup(s.Name)
		if !ok {
			continue
		}
		submitted := service.Unmask(def, configs[s.Name], s.Latest())
		accepted, err := def.Validate(e.site.At+"."+field+"."+s.Name, submitted)
		if err != nil {
			return err
		}
		if !sameConfig(accepted, s.Config) {
			d.Services[i].Config, d.Services[i].SavedConfig = accepted, nil
		}
	}
	return nil
}

// ports refuses services of one decky that want the same port.
func (e *edit) ports(d Decky) error {
	var placed []decky.Service
	for i, s := range d.Services {
		var err error
		if placed, err = decky.AddService(placed, s); err != nil {
			return e.located(err, fmt.Sprintf("services[%d]", i))
		}
	}
	return nil
}

// gateway refuses to make a decky of a running topology a router unless it is at home in the DMZ.
func (e *edit) gateway(d Decky, field string) error {
	if issues := GatewayIssue(e.g, d); e.live && len(issues) > 0 {
		return e.refuse(fault.Unprocessable, "gateway_not_in_dmz", field, "needs a decky whose home is the DMZ")
	}
	return nil
}

func archetypeOf(slug string) (decky.Archetype, bool) {
	return find(decky.Archetypes(), func(a decky.Archetype) bool { return a.Slug == slug })
}
