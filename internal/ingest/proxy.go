package ingest

import (
	"net/netip"
	"slices"
	"strings"
)

// proxyHeaders are read in this order; the first that yields an address wins.
var proxyHeaders = []struct {
	name  string
	claim func(value string) netip.Addr
}{
	{"Forwarded", forwardedFor},
	{"X-Forwarded-For", leftmost},
	{"X-Real-IP", claimed},
	{"True-Client-IP", claimed},
	{"CF-Connecting-IP", claimed},
}

// proxied is rules 3 and 4: an attacker's proxy names him, or he names somebody.
func (e *extraction) proxied(headers []header, trusted []netip.Prefix) {
	source := e.Event.Attacker
	if slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(source) }) {
		return
	}
	seen := map[string]string{}
	var claim netip.Addr
	from := ""
	for _, p := range proxyHeaders {
		value, ok := findHeader(headers, p.name)
		if !ok {
			continue
		}
		seen[p.name] = spell(value)
		if a := p.claim(value); from == "" && a.IsValid() {
			claim, from = a, p.name
		}
	}
	if from == "" || claim == source {
		return
	}
	p := payload{"source_ip": source.String(), "source_header": from, "headers_seen": seen}
	category := addressCategory(claim)
	if category == categoryPublic {
		p["real_ip_claim"] = claim.String()
		e.bounty(BountyIPLeak, "", p)
		return
	}
	p["claimed_ip"], p["claim_category"] = claim.String(), category
	e.fingerprint("spoofed_source", p)
}

// forwardedFor reads the first `for=` of RFC 7239.
func forwardedFor(value string) netip.Addr {
	for _, part := range strings.FieldsFunc(value, func(r rune) bool { return r == ';' || r == ',' }) {
		key, v, ok := strings.Cut(strings.TrimSpace(part), "=")
		if ok && strings.EqualFold(strings.TrimSpace(key), "for") {
			return claimed(v)
		}
	}
	return netip.Addr{}
}

func leftmost(value string) netip.Addr {
	for part := range strings.SplitSeq(value, ",") {
		if a := claimed(part); a.IsValid() {
			return a
		}
	}
	return netip.Addr{}
}

func claimed(v string) netip.Addr {
	a, _ := splitAddress(strings.TrimSpace(strings.Trim(strings.TrimSpace(v), `"`)))
	return a
}

const categoryPublic = "public"

var reservedNets, privateNets = prefixes("240.0.0.0/4", "::/8", "100::/8", "200::/7", "400::/6", "800::/5", "1000::/4", "4000::/2", "8000::/2",
	"c000::/3", "e000::/4", "f000::/5", "f800::/6", "fe00::/9"),
	prefixes("0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
		"2001:db8::/32", "fec0::/10")

func prefixes(nets ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(nets))
	for i, n := range nets {
		out[i] = netip.MustParsePrefix(n)
	}
	return out
}

// addressCategory returns the first category that fits, in the sheet's order. Addresses for documentation, benchmarks and
// shared use are private: nobody can come from them.
func addressCategory(a netip.Addr) string {
	in := func(nets []netip.Prefix) bool {
		return slices.ContainsFunc(nets, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	switch {
	case a.IsUnspecified():
		return "unspecified"
	case a.IsLoopback():
		return "loopback"
	case a.IsLinkLocalUnicast():
		return "link_local"
	case a.IsMulticast():
		return "multicast"
	case in(reservedNets):
		return "reserved"
	case a.IsPrivate() || in(privateNets):
		return "private"
	}
	return categoryPublic
}
