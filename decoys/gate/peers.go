package gate

import (
	"container/list"
	"net/netip"
	"sync"
	"time"
)

// peers remembers who sent something lately, at most max of them; the one silent for longest is forgotten first. It is
// safe for concurrent use.
type peers struct {
	max int
	ttl time.Duration

	mu    sync.Mutex
	known map[netip.AddrPort]*list.Element
	order *list.List // of *peer, the latest first
}

type peer struct {
	addr netip.AddrPort
	at   time.Time
}

func newPeers(limit int, ttl time.Duration) *peers {
	return &peers{max: limit, ttl: ttl, known: map[netip.AddrPort]*list.Element{}, order: list.New()}
}

func (p *peers) heard(addr netip.AddrPort, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e, ok := p.known[addr]; ok {
		e.Value.(*peer).at = now
		p.order.MoveToFront(e)
		return
	}
	if p.order.Len() >= p.max {
		last := p.order.Back()
		delete(p.known, last.Value.(*peer).addr)
		p.order.Remove(last)
	}
	p.known[addr] = p.order.PushFront(&peer{addr, now})
}

// answerable reports whether addr sent something within the last ttl.
func (p *peers) answerable(addr netip.AddrPort, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	e, ok := p.known[addr]
	return ok && now.Sub(e.Value.(*peer).at) <= p.ttl
}
