package ingest

import (
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Bounds of lists an attacker can lengthen. What is beyond is not listed, but counted where there is a count.
const (
	maxAttackerServices = 256
	maxAttackerDeckies  = 4096
	maxVictimDomains    = 256
)

// internalPrefix begins the names of machines that are no deckies, such as the prober's.
const internalPrefix = "decnet-"

// appMutator logs changes of deckies; nobody did them.
const appMutator = "mutator"

// Attacker is what the events of one address add up to: a fold, in any order but for Deckies. Rows of a batch are folded and
// merged into what is stored. How many bounties and credentials there are only their unique keys tell.
type Attacker struct {
	Addr      netip.Addr
	FirstSeen time.Time
	LastSeen  time.Time
	Events    int64
	// Services are sorted; so are Interacted and Scanned, which share no member. A service with noise only is in neither.
	Services   []string
	Interacted []string
	Scanned    []string
	// Deckies are the keys of deckies and of foreign sensors, in order of first contact.
	Deckies []string
	// VictimDomains are the domains mail was addressed to, sorted. Whole addresses are never kept.
	VictimDomains []string
}

// Add folds an event in. Events of other attackers and of nobody change nothing.
func (a *Attacker) Add(e *Event) {
	if !e.Attacker.IsValid() || e.App == appMutator || a.Addr.IsValid() && a.Addr != e.Attacker {
		return
	}
	b := Attacker{Addr: e.Attacker, FirstSeen: e.Time, LastSeen: e.Time, Events: 1, VictimDomains: victims(e)}
	if e.Service != "" {
		b.Services = []string{e.Service}
		switch e.Class {
		case ClassInteraction:
			b.Interacted = b.Services
		case ClassScan:
			b.Scanned = b.Services
		case ClassNoise:
		}
	}
	if k := e.Source.DeckyKey; k != "" && !strings.HasPrefix(k, internalPrefix) {
		b.Deckies = []string{k}
	}
	a.Merge(b)
}

// Merge folds in what was seen of the same attacker later.
func (a *Attacker) Merge(b Attacker) {
	if b.Events == 0 {
		return
	}
	a.Addr = b.Addr
	if a.Events == 0 || b.FirstSeen.Before(a.FirstSeen) {
		a.FirstSeen = b.FirstSeen
	}
	if b.LastSeen.After(a.LastSeen) {
		a.LastSeen = b.LastSeen
	}
	a.Events += b.Events
	a.Services = union(a.Services, b.Services, maxAttackerServices)
	a.Interacted = union(a.Interacted, b.Interacted, maxAttackerServices)
	a.Scanned = slices.DeleteFunc(union(a.Scanned, b.Scanned, maxAttackerServices), func(s string) bool {
		return slices.Contains(a.Interacted, s)
	})
	a.VictimDomains = union(a.VictimDomains, b.VictimDomains, maxVictimDomains)
	for _, d := range b.Deckies {
		if len(a.Deckies) < maxAttackerDeckies && !slices.Contains(a.Deckies, d) {
			a.Deckies = append(a.Deckies, strings.Clone(d))
		}
	}
}

// Traversal returns the way the attacker took, `a → b`, and whether it led over two deckies at least.
func (a *Attacker) Traversal() (path string, ok bool) {
	if len(a.Deckies) < 2 {
		return "", false
	}
	return strings.Join(a.Deckies, " → "), true
}

// union inserts what is new into a sorted list, which it may change. Copies are made, for texts share the line they are from.
func union(sorted, more []string, limit int) []string {
	for _, m := range more {
		if i, found := slices.BinarySearch(sorted, m); !found && len(sorted) < limit {
			sorted = slices.Insert(sorted, i, strings.Clone(m))
		}
	}
	return sorted
}

// privateTLDs name nobody's mail.
var privateTLDs = wordSet("invalid test localhost local example")

// victims returns the domains that a mail event is addressed to.
func victims(e *Event) []string {
	if e.Service != serviceSMTP && e.Service != serviceSMTPRelay {
		return nil
	}
	var to []string
	switch e.Type {
	case typeRcptTo, typeRcptDenied:
		to = []string{e.Fields.Get("value")}
	case TypeMessageAccepted:
		to = strings.Split(e.Fields.Get("rcpt_to"), ",")
	}
	var out []string
	for _, address := range to {
		d := domainOf(address)
		if d == "" || privateTLDs[d[strings.LastIndexByte(d, '.')+1:]] || len(d) > maxHostBytes {
			continue
		}
		out = union(out, []string{d}, maxVictimDomains)
	}
	return out
}
