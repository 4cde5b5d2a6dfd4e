package topology

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/decnet/decnet/internal/fault"
)

// Hosts hands out the addresses of one LAN from the lowest on. The network, its first host (the gateway) and the
// broadcast address are never handed out. Released addresses are used again once the others have been.
type Hosts struct {
	subnet   netip.Prefix
	next     netip.Addr
	taken    map[netip.Addr]bool
	released []netip.Addr // sorted; handed out before, now free
}

// NewHosts returns the hosts of a subnet. One without room for any is an Unprocessable fault (subnet_invalid).
func NewHosts(subnet netip.Prefix) (*Hosts, error) {
	if _, err := CheckSubnet(subnet.String()); err != nil {
		return nil, err
	}
	return &Hosts{subnet: subnet, next: subnet.Addr().Next().Next(), taken: map[netip.Addr]bool{}}, nil
}

// Reserve takes an address. One that is no host of the subnet is an Unprocessable fault (address_invalid), one that is
// taken a Conflict (address_in_use).
func (h *Hosts) Reserve(a netip.Addr) error {
	switch {
	case !isHost(h.subnet, a):
		return fault.New(fault.Unprocessable, "address_invalid", "the address is not a host of %s", h.subnet)
	case h.taken[a]:
		return fault.New(fault.Conflict, "address_in_use", "the address %s is in use", a)
	}
	h.taken[a] = true
	h.released = slices.DeleteFunc(h.released, func(r netip.Addr) bool { return r == a })
	return nil
}

// Next takes the lowest address that was never taken, or else the lowest released one. When there is none it returns a
// Conflict (addresses_exhausted).
func (h *Hosts) Next() (netip.Addr, error) {
	for ; isHost(h.subnet, h.next); h.next = h.next.Next() {
		if a := h.next; !h.taken[a] && !slices.Contains(h.released, a) {
			h.taken[a] = true
			h.next = a.Next()
			return a, nil
		}
	}
	if len(h.released) > 0 {
		a := h.released[0]
		h.released = h.released[1:]
		h.taken[a] = true
		return a, nil
	}
	return netip.Addr{}, fault.New(fault.Conflict, "addresses_exhausted", "no address is left in %s", h.subnet)
}

// Release gives an address back; one that was not taken is ignored.
func (h *Hosts) Release(a netip.Addr) {
	if !h.taken[a] {
		return
	}
	delete(h.taken, a)
	i, _ := slices.BinarySearchFunc(h.released, a, netip.Addr.Compare)
	h.released = slices.Insert(h.released, i, a)
}

// isHost reports whether a may be given to a decky on subnet.
func isHost(subnet netip.Prefix, a netip.Addr) bool {
	if !a.Is4() || !subnet.Contains(a) {
		return false
	}
	n, first := number(a), number(subnet.Masked().Addr())
	return n > first+1 && n < first+size(subnet)-1
}

// capacity returns how many deckies fit on a subnet.
func capacity(subnet netip.Prefix) int { return int(size(subnet)) - 3 }

func size(subnet netip.Prefix) uint32 { return 1 << (32 - subnet.Bits()) }

func number(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

func address(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, n)))
}

// NextIP returns the lowest address of a LAN that no decky of a hydrated graph has. When there is none it returns a Conflict
// (addresses_exhausted).
func NextIP(g Graph, l LAN) (netip.Addr, error) {
	subnet, err := l.Prefix()
	if err != nil {
		return netip.Addr{}, err
	}
	hosts, err := NewHosts(subnet)
	if err != nil {
		return netip.Addr{}, err
	}
	for _, d := range g.Deckies {
		text, _ := d.Address(l.Name)
		if ip, err := netip.ParseAddr(text); err == nil && isHost(subnet, ip) {
			hosts.taken[ip] = true
		}
	}
	return hosts.Next()
}
