package decky

import (
	"net/netip"

	"github.com/decnet/decnet/internal/fault"
)

// LoopbackPool is where deckies live that run as local processes: a part of 127.0.0.0/8 (RFC 1122 section 3.2.1.3)
// that other software rarely uses.
var LoopbackPool = netip.MustParsePrefix("127.66.0.0/16")

// Pool hands out addresses of one subnet. The network, its first host (the gateway) and the broadcast address are
// never handed out.
type Pool struct{ Prefix netip.Prefix }

// Next returns the lowest address of the pool that is not in used, or a Conflict fault (addresses_exhausted).
func (p Pool) Next(used []netip.Addr) (netip.Addr, error) {
	taken := make(map[netip.Addr]bool, len(used))
	for _, a := range used {
		taken[a] = true
	}
	for a := p.Prefix.Masked().Addr().Next().Next(); p.offers(a); a = a.Next() {
		if !taken[a] {
			return a, nil
		}
	}
	return netip.Addr{}, fault.New(fault.Conflict, "addresses_exhausted", "no address is left in %s", p.Prefix)
}

// Check parses a requested address; one outside the pool is an Unprocessable fault (address_invalid).
func (p Pool) Check(text string) (netip.Addr, error) {
	a, err := netip.ParseAddr(text)
	first := p.Prefix.Masked().Addr().Next()
	if err != nil || !p.offers(a) || a == first || a == p.Prefix.Masked().Addr() {
		return netip.Addr{}, refuse("ip", "address_invalid", "must be a free host address of "+p.Prefix.String())
	}
	return a, nil
}

// offers reports whether a lies in the pool and is not its last (broadcast) address.
func (p Pool) offers(a netip.Addr) bool {
	return a.IsValid() && p.Prefix.Contains(a) && p.Prefix.Contains(a.Next())
}
