// Package passive keeps TCP ports bound and closed, and opens one for as long as somebody is expected on it.
//
// A confined decoy cannot make sockets, yet protocols with data connections need ports of their own, and a port that stays open would
// give the decoy away to a scanner. So sockets are bound before confinement and put into the listening state by listen(2) only while
// a connection is awaited; shutdown(2) takes them out of it again, which on Linux answers later clients with a reset and leaves
// address and port bound, any number of times. The port is bound by its number, because the kernel gives back one that it chose.
//
// The invariant: at any time no more ports are open than have been taken and opened.
package passive

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// The range ports are drawn from: above what services use, and not so narrow that it would be a pattern.
const (
	lowest   = 20_000
	highest  = 60_999
	attempts = 20 // per port wanted
)

// ErrNone is returned when all ports are taken.
var ErrNone = errors.New("no port is free")

// Pool is a set of ports of one address. It is safe for concurrent use.
type Pool struct {
	mu   sync.Mutex
	free []*Port
}

// Port is one port that was taken from a pool, closed at first. It is used by one goroutine.
type Port struct {
	pool *Pool
	l    *net.TCPListener
	open bool
}

// Bind binds n ports of an address, which may be unspecified. It makes sockets and so must run before the process is confined.
func Bind(addr netip.Addr, n int) (*Pool, error) {
	p := &Pool{}
	var last error
	for range n * attempts {
		if len(p.free) == n {
			return p, nil
		}
		l, err := bind(netip.AddrPortFrom(addr, uint16(lowest+rand.IntN(highest-lowest+1))))
		if err != nil {
			last = err
			continue
		}
		p.free = append(p.free, &Port{pool: p, l: l})
	}
	if len(p.free) == n {
		return p, nil
	}
	p.Close()
	return nil, fmt.Errorf("bind ports of %s: %w", addr, last)
}

// bind returns a listener that does not listen: the standard library asks no more of a socket than that it is bound.
func bind(at netip.AddrPort) (*net.TCPListener, error) {
	family, sa := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()})
	if a := at.Addr().Unmap(); a.Is4() {
		family, sa = unix.AF_INET, &unix.SockaddrInet4{Port: int(at.Port()), Addr: a.As4()}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_TCP)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "passive")
	defer f.Close()
	if family == unix.AF_INET6 {
		v6only := 1
		if at.Addr().IsUnspecified() {
			v6only = 0
		}
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, v6only); err != nil {
			return nil, err
		}
	}
	// Connections that ended a moment ago must not keep the port from opening again.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return nil, err
	}
	if err := unix.Bind(fd, sa); err != nil {
		return nil, err
	}
	l, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	return l.(*net.TCPListener), nil
}

// Open takes a port and opens it. It fails with ErrNone when there is none left.
func (p *Pool) Open() (*Port, error) {
	for {
		port, err := p.take()
		if err != nil {
			return nil, err
		}
		if err = port.control(func(fd int) error { return unix.Listen(fd, 1) }); err == nil {
			port.open = true
			return port, nil
		}
		if !errors.Is(err, unix.EADDRINUSE) { // somebody else listens there meanwhile; another port will do
			port.Release()
			return nil, err
		}
		_ = port.l.Close()
	}
}

func (p *Pool) take() (*Port, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.free) == 0 {
		return nil, ErrNone
	}
	i, last := rand.IntN(len(p.free)), len(p.free)-1
	p.free[i], p.free[last] = p.free[last], p.free[i]
	port := p.free[last]
	p.free = p.free[:last]
	return port, nil
}

// Close gives up the ports that are not taken.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, port := range p.free {
		_ = port.l.Close()
	}
	p.free = nil
}

// Number returns the number of the port.
func (p *Port) Number() uint16 { return p.l.Addr().(*net.TCPAddr).AddrPort().Port() }

// Accept waits for a connection until the deadline or the end of ctx.
func (p *Port) Accept(ctx context.Context, deadline time.Time) (net.Conn, error) {
	if err := p.l.SetDeadline(deadline); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = p.l.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	return p.l.Accept()
}

// Release closes the port to clients and puts it back. Connections that were accepted live on, others are reset. A second call does
// nothing.
func (p *Port) Release() {
	if p.pool == nil {
		return
	}
	pool := p.pool
	p.pool = nil
	if p.open && p.control(func(fd int) error { return unix.Shutdown(fd, unix.SHUT_RD) }) != nil {
		_ = p.l.Close() // rather one port less than one that stays open
		return
	}
	pool.mu.Lock()
	defer pool.mu.Unlock()
	pool.free = append(pool.free, &Port{pool: pool, l: p.l})
}

func (p *Port) control(do func(fd int) error) error {
	raw, err := p.l.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = do(int(fd)) }); err != nil {
		return err
	}
	return failed
}
