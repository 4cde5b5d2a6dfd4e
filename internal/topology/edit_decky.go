package topology

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/service"
)

// Op returns "add_decky".
func (AddDecky) Op() string { return OpAddDecky }

func (o AddDecky) apply(e *edit) error {
	if err := decky.CheckName(o.Name); err != nil {
		return e.located(err, "name")
	}
	d := Decky{ID: e.site.NewID(), Name: o.Name, Archetype: o.Archetype, ForwardsL3: o.ForwardsL3, X: o.X, Y: o.Y}
	slugs := o.Services
	if o.Archetype != "" {
		a, ok := archetypeOf(o.Archetype)
		if !ok {
			return e.refuse(fault.Unprocessable, "unknown_archetype", "archetype", "must be one that is offered")
		}
		if slugs == nil {
			slugs = a.Services
		}
	}
	var err error
	if d.Services, err = e.services(nil, slugs); err != nil {
		return err
	}
	if err := e.configure(&d, o.Configs, "service_config"); err != nil {
		return err
	}
	if err := e.ports(d); err != nil {
		return err
	}
	e.g.Deckies = append(e.g.Deckies, d)
	added := &e.g.Deckies[len(e.g.Deckies)-1]
	if o.LAN == "" && !e.live {
		if a, err := netip.ParseAddr(o.IP); o.IP != "" && (err != nil || !a.Is4()) {
			return e.refuse(fault.Unprocessable, "address_invalid", "ip", "must be an IPv4 address")
		}
		added.IP = o.IP
		return nil
	}
	l, err := e.lan(o.LAN, "lan")
	if err != nil {
		return err
	}
	e.join(added, *l, o.IP, false, false)
	return e.gateway(d, "forwards_l3")
}

// Op returns "attach_decky".
func (AttachDecky) Op() string { return OpAttachDecky }

func (o AttachDecky) apply(e *edit) error {
	d, err := e.decky(o.Decky, "decky")
	if err != nil {
		return err
	}
	l, err := e.lan(o.LAN, "lan")
	if err != nil {
		return err
	}
	if e.attached(d.ID, l.ID) {
		return e.refuse(fault.Conflict, "already_attached", "lan", "must be one that the decky is not in yet")
	}
	bridge := e.live || len(e.g.EdgesOf(d.ID)) > 0
	if !e.live {
		set(&bridge, o.Bridge)
	}
	if o.IP != "" { // declared before there was a membership
		d.IPs = slices.DeleteFunc(d.IPs, func(a Address) bool { return a.LAN == l.Name })
	}
	e.join(d, *l, o.IP, bridge, o.ForwardsL3)
	return nil
}

// Op returns "detach_decky".
func (DetachDecky) Op() string { return OpDetachDecky }

func (o DetachDecky) apply(e *edit) error {
	d, err := e.decky(o.Decky, "decky")
	if err != nil {
		return err
	}
	l, err := e.lan(o.LAN, "lan")
	if err != nil {
		return err
	}
	if !e.attached(d.ID, l.ID) {
		return e.refuse(fault.Conflict, "not_attached", "lan", "must be one that the decky is in")
	}
	if home, _ := e.g.Home(d.ID); e.live && home.ID == l.ID {
		return e.refuse(fault.Conflict, "lan_is_home", "lan", "must not be the home of the decky")
	}
	e.detach(d, *l)
	return nil
}

// Op returns "remove_decky".
func (RemoveDecky) Op() string { return OpRemoveDecky }

func (o RemoveDecky) apply(e *edit) error {
	d, err := e.decky(o.Decky, "decky")
	if err != nil {
		return err
	}
	id := d.ID
	e.g.Edges = slices.DeleteFunc(e.g.Edges, func(x Edge) bool { return x.DeckyID == id })
	e.g.Deckies = slices.DeleteFunc(e.g.Deckies, func(x Decky) bool { return x.ID == id })
	return nil
}

// Op returns "update_decky".
func (UpdateDecky) Op() string { return OpUpdateDecky }

func (o UpdateDecky) apply(e *edit) error {
	d, err := e.decky(o.Decky, "decky")
	if err != nil {
		return err
	}
	if o.Services != nil {
		if d.Services, err = e.services(d.Services, *o.Services); err != nil {
			return err
		}
		maps.DeleteFunc(d.Undeclared, func(slug string, _ service.Config) bool { return decky.Find(d.Services, slug) >= 0 })
	}
	if err := o.identity(e, d); err != nil {
		return err
	}
	if err := o.routing(e, d); err != nil {
		return err
	}
	if o.Patch.Configs != nil {
		if err := e.configure(d, *o.Patch.Configs, "patch.service_config"); err != nil {
			return err
		}
	}
	if o.Services != nil || o.Patch.Configs != nil {
		if err := e.ports(*d); err != nil {
			return err
		}
	}
	setPlace(&d.X, o.X)
	setPlace(&d.Y, o.Y)
	return nil
}

func (o UpdateDecky) identity(e *edit, d *Decky) error {
	if name := o.Patch.Name; name != nil && *name != d.Name {
		if e.live {
			return e.refuse(fault.Conflict, "decky_name_frozen", "patch.name", "must not change while the topology runs")
		}
		if err := decky.CheckName(*name); err != nil {
			return e.located(err, "patch.name")
		}
		d.Name = *name
	}
	if a := o.Patch.Archetype; a != nil {
		if _, ok := archetypeOf(*a); !ok && *a != "" {
			return e.refuse(fault.Unprocessable, "unknown_archetype", "patch.archetype", "must be one that is offered")
		}
		d.Archetype = *a
	}
	return nil
}

func (o UpdateDecky) routing(e *edit, d *Decky) error {
	if on := o.Patch.ForwardsL3; on != nil && *on != d.ForwardsL3 {
		if e.live && !o.Force {
			return e.refuse(fault.Conflict, "force_required", "force", "must be set to change forwards_l3 while the topology runs")
		}
		d.ForwardsL3 = *on
		if err := e.gateway(*d, "patch.forwards_l3"); err != nil {
			return err
		}
	}
	if o.Patch.IPs == nil {
		return nil
	}
	for _, a := range *o.Patch.IPs {
		if l, ok := e.g.LANByName(a.LAN); ok && !e.attached(d.ID, l.ID) {
			return e.refuse(fault.Unprocessable, "not_attached", "patch.ips_by_lan", "must name LANs that the decky is in")
		}
	}
	d.IPs = slices.Clone(*o.Patch.IPs)
	return nil
}
