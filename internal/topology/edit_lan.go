package topology

import (
	"net/netip"
	"slices"

	"github.com/decnet/decnet/internal/fault"
)

// Op returns "add_lan".
func (AddLAN) Op() string { return OpAddLAN }

func (o AddLAN) apply(e *edit) error {
	if err := CheckLANName(o.Name); err != nil {
		return e.located(err, "name")
	}
	subnet, err := e.subnet(o.Subnet, "subnet")
	if err != nil {
		return err
	}
	e.g.LANs = append(e.g.LANs, LAN{ID: e.site.NewID(), Name: o.Name, Subnet: subnet, DMZ: o.DMZ, X: o.X, Y: o.Y})
	return nil
}

// subnet checks a subnet against those of other topologies, or chooses one. Whether it fits among the topology's own is
// an invariant.
func (e *edit) subnet(wanted, field string) (string, error) {
	if wanted != "" {
		p, err := CheckSubnet(wanted)
		if err != nil {
			return "", e.located(err, field)
		}
		if overlapsAny(p, Reserved(e.site.Reserved...)) {
			return "", e.refuse(fault.Conflict, "subnet_in_use", field, "must not overlap a subnet of another topology")
		}
		return wanted, nil
	}
	from := PendingBase
	if e.live {
		from = LiveBase
	}
	base, err := ParseBase(from)
	if err != nil {
		return "", err
	}
	taken := slices.Clone(e.site.Reserved)
	for _, l := range e.g.LANs {
		taken = append(taken, l.Subnet)
	}
	p, err := NextSubnet(base, Reserved(taken...))
	return p.String(), err
}

// Op returns "remove_lan".
func (RemoveLAN) Op() string { return OpRemoveLAN }

func (o RemoveLAN) apply(e *edit) error {
	found, err := e.lan(o.LAN, "name")
	if err != nil {
		return err
	}
	l := *found
	for i := range e.g.Deckies {
		d := &e.g.Deckies[i]
		if !e.attached(d.ID, l.ID) {
			continue
		}
		if home, _ := e.g.Home(d.ID); e.live && home.ID == l.ID {
			return e.refuse(fault.Conflict, "lan_is_home", "name", "must not be the home of a decky")
		}
		e.detach(d, l)
		if len(e.g.EdgesOf(d.ID)) == 0 {
			return e.refuse(fault.Unprocessable, "lan_is_only_one", "name", "must not be the only LAN of a decky")
		}
	}
	for i := range e.g.Deckies {
		e.detach(&e.g.Deckies[i], l) // addresses that were declared without a membership
	}
	e.g.LANs = slices.DeleteFunc(e.g.LANs, func(x LAN) bool { return x.ID == l.ID })
	return nil
}

// Op returns "update_lan".
func (UpdateLAN) Op() string { return OpUpdateLAN }

func (o UpdateLAN) apply(e *edit) error {
	l, err := e.lan(o.LAN, "name")
	if err != nil {
		return err
	}
	p := o.Patch
	if e.live && (p.Subnet != nil && *p.Subnet != l.Subnet || p.DMZ != nil && *p.DMZ != l.DMZ) {
		return e.refuse(fault.Conflict, "lan_frozen", "patch", "must not change subnet or is_dmz while the topology runs")
	}
	if p.Name != nil {
		if err := CheckLANName(*p.Name); err != nil {
			return e.located(err, "patch.name")
		}
		e.renameLAN(l, *p.Name)
	}
	if p.Subnet != nil && *p.Subnet != l.Subnet {
		if l.Subnet, err = e.subnet(*p.Subnet, "patch.subnet"); err != nil {
			return err
		}
		e.resettle(*l)
	}
	set(&l.DMZ, p.DMZ)
	setPlace(&l.X, o.X)
	setPlace(&l.Y, o.Y)
	return nil
}

// renameLAN takes the addresses along. Those of a LAN of the same name stay: with two, nobody knows whose they are, and
// the edit will be refused anyway.
func (e *edit) renameLAN(l *LAN, name string) {
	for i := range e.g.Deckies {
		for j, a := range e.g.Deckies[i].IPs {
			if a.LAN == l.Name {
				e.g.Deckies[i].IPs[j].LAN = name
			}
		}
	}
	l.Name = name
}

// resettle drops the addresses that do not fit into the subnet of a LAN.
func (e *edit) resettle(l LAN) {
	p, err := l.Prefix()
	for i := range e.g.Deckies {
		d := &e.g.Deckies[i]
		d.IPs = slices.DeleteFunc(d.IPs, func(a Address) bool {
			ip, bad := netip.ParseAddr(a.IP)
			return a.LAN == l.Name && (err != nil || bad != nil || !isHost(p, ip))
		})
	}
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

func setPlace(to **float64, from *float64) {
	if from != nil {
		*to = from
	}
}
