package topology

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/decnet/decnet/internal/fault"
)

// A LAN has at least a network, a gateway, one host and a broadcast address, and is no larger than a class A network.
const (
	minSubnetBits = 8
	maxSubnetBits = 30
)

// unusable are the blocks no LAN may lie in or around: "this network", loopback, link-local, multicast and reserved
// (RFC 6890, RFC 5771, RFC 1112).
var unusable = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("224.0.0.0/4"), netip.MustParsePrefix("240.0.0.0/4"),
}

// CheckSubnet parses the subnet of a LAN. One that is not IPv4 in CIDR form without host bits, has no room for a host
// (/31, /32) or lies where no LAN can be is an Unprocessable fault (subnet_invalid).
func CheckSubnet(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	switch {
	case err != nil || !p.Addr().Is4():
		return netip.Prefix{}, badSubnet("must be an IPv4 network such as 10.0.1.0/24")
	case p != p.Masked():
		return netip.Prefix{}, badSubnet("must have no host bits set")
	case p.Bits() < minSubnetBits || p.Bits() > maxSubnetBits:
		return netip.Prefix{}, badSubnet("must be between /8 and /30")
	case overlapsAny(p, unusable):
		return netip.Prefix{}, badSubnet("must not lie in a block with a special purpose")
	}
	return p, nil
}

func badSubnet(why string) error {
	return fault.New(fault.Unprocessable, "subnet_invalid", "the subnet %s", why).
		With(fault.Field{Location: "body.subnet", Message: why})
}

func overlapsAny(p netip.Prefix, others []netip.Prefix) bool {
	for _, o := range others {
		if p.Overlaps(o) {
			return true
		}
	}
	return false
}

// The pools that subnets are chosen from when none is named.
const (
	LiveBase    = "172.16.0.0/12" // the generator, and LANs added to a live topology
	PendingBase = "10.0"          // blank topologies, and LANs added to a pending one
)

// chosenBits is the size of a subnet that is chosen rather than named.
const chosenBits = 24

// ParseBase reads what subnets are chosen from: "a.b.c.d/n" (n at most 24, host bits ignored), "a.b" (that /16) or
// "a.b.c.d" (that /24); a dot at the end is tolerated. Anything else, and a base where no LAN can be, is an
// Unprocessable fault (subnet_base_invalid).
func ParseBase(text string) (netip.Prefix, error) {
	text = strings.TrimSuffix(text, ".")
	if !strings.Contains(text, "/") {
		switch strings.Count(text, ".") {
		case 1:
			text += ".0.0/16"
		case 3:
			text += "/24"
		}
	}
	p, err := netip.ParsePrefix(text)
	switch {
	case err != nil || !p.Addr().Is4():
		return netip.Prefix{}, badBase("must be a.b.c.d/n, a.b.c.d or a.b")
	case p.Bits() < minSubnetBits || p.Bits() > chosenBits:
		return netip.Prefix{}, badBase("must be between /8 and /24")
	case overlapsAny(p, unusable):
		return netip.Prefix{}, badBase("must not lie in a block with a special purpose")
	}
	return p.Masked(), nil
}

func badBase(why string) error {
	return fault.New(fault.Unprocessable, "subnet_base_invalid", "the base %s", why).
		With(fault.Field{Location: "query.base", Message: why})
}

// Reserved parses subnets that are taken. Malformed ones reserve nothing; host bits are ignored.
func Reserved(subnets ...string) []netip.Prefix {
	var parsed []netip.Prefix
	for _, s := range subnets {
		if p, err := netip.ParsePrefix(s); err == nil && p.Addr().Is4() {
			parsed = append(parsed, p.Masked())
		}
	}
	return parsed
}

// Subnets hands out the /24s of a base in order, without those that overlap a reserved prefix of whatever size.
type Subnets struct {
	base     netip.Prefix
	next     uint64 // number of the next candidate's first address; past 32 bits at the very end
	reserved []span // sorted, merged
}

// span is a range of address numbers, both ends in it.
type span struct{ first, last uint64 }

// NewSubnets returns the /24s of base, which ParseBase accepts, that are free of reserved.
func NewSubnets(base netip.Prefix, reserved []netip.Prefix) *Subnets {
	s := &Subnets{base: base.Masked(), next: uint64(number(base.Masked().Addr()))}
	for _, r := range reserved {
		s.reserved = append(s.reserved, spanOf(r))
	}
	slices.SortFunc(s.reserved, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	return s
}

func spanOf(p netip.Prefix) span {
	first := uint64(number(p.Masked().Addr()))
	return span{first, first + uint64(1)<<(32-p.Bits()) - 1}
}

// Next takes the lowest free /24, or returns a Conflict (subnets_exhausted).
func (s *Subnets) Next() (netip.Prefix, error) {
	const step = 1 << (32 - chosenBits)
	for end := spanOf(s.base).last; s.next < end; {
		candidate := span{s.next, s.next + step - 1}
		// Spans come sorted and candidates rise: what ends before this one concerns none after it.
		for len(s.reserved) > 0 && s.reserved[0].last < candidate.first {
			s.reserved = s.reserved[1:]
		}
		if r, taken := s.overlap(candidate); taken {
			s.next = max(candidate.last, r.last|(step-1)) + 1
			continue
		}
		s.next += step
		return netip.PrefixFrom(address(uint32(candidate.first)), chosenBits), nil
	}
	return netip.Prefix{}, fault.New(fault.Conflict, "subnets_exhausted", "no subnet is left in %s", s.base)
}

func (s *Subnets) overlap(c span) (span, bool) {
	for _, r := range s.reserved {
		if r.first > c.last {
			break
		}
		if r.last >= c.first {
			return r, true
		}
	}
	return span{}, false
}

// NextSubnet returns the lowest /24 of base that overlaps nothing reserved, or a Conflict (subnets_exhausted).
func NextSubnet(base netip.Prefix, reserved []netip.Prefix) (netip.Prefix, error) {
	return NewSubnets(base, reserved).Next()
}
