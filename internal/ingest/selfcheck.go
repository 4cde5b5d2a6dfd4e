package ingest

import (
	"net/netip"
	"time"
)

// A check is recorded before its connection leaves, and is over within the minute; its port may serve an attacker of a shared
// address later.
const (
	selfCheckBefore = 2 * time.Second
	selfCheckAfter  = time.Minute
)

// SelfCheck is a connection of the control plane's own to a decoy.
type SelfCheck struct {
	DeckyKey string
	Service  string
	// Local is where the connection came from, as the decoy saw it.
	Local netip.AddrPort
	At    time.Time
}

// SelfChecks recognises what our own connections made decoys write. It is immutable once made.
type SelfChecks map[netip.AddrPort][]SelfCheck

// NewSelfChecks returns the set of checks.
func NewSelfChecks(checks []SelfCheck) SelfChecks {
	s := make(SelfChecks, len(checks))
	for _, c := range checks {
		k := netip.AddrPortFrom(c.Local.Addr().Unmap(), c.Local.Port())
		s[k] = append(s[k], c)
	}
	return s
}

// Match reports whether an event stems from a self-check: same decky and service, source address and port, and time. A line
// without a source port never matches.
func (s SelfChecks) Match(e *Event) bool {
	peer := e.Peer()
	if !peer.IsValid() {
		return false
	}
	for _, c := range s[peer] {
		since := e.Time.Sub(c.At)
		if c.DeckyKey == e.Source.DeckyKey && c.Service == e.Service && since >= -selfCheckBefore && since <= selfCheckAfter {
			return true
		}
	}
	return false
}
