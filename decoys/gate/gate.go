// Package gate lets a confined decoy answer datagrams without being able to send one to an address of its choice.
//
// A decoy's own filter has no sendto. What holds the bound UDP socket is a small process of the same program (`decoy gate`),
// started before the decoy is confined and confined more tightly than it: no files, no new descriptors, only recvfrom and
// sendto. It passes every datagram to the decoy over a socket pair, the peer's address in front, and sends on what comes
// back only to a peer that sent something within the last minute. Everything else is dropped without a word.
//
// The gate ends when the pair closes, which the kernel sees to even when the decoy is killed. A parent-death signal is not
// used: it follows the thread that forked, and threads of a Go program end while the program lives.
//
// What it is not: protection of third parties whose address somebody forges. That is up to the protocol (QUIC answers an
// unproven address with at most three times what it received).
package gate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/decnet/decnet/decoys/sandbox"
)

// The limits of a gate.
const (
	MaxPeers    = 4096
	AnswerFor   = 60 * time.Second
	maxDatagram = 65535
)

// headerBytes is the peer's address, IPv4 mapped into IPv6, and its port.
const headerBytes = 18

// The descriptors a gate is started with.
const (
	socketFD = 3
	pairFD   = 4
)

// Run is the process `decoy gate UID GID safe|unsafe`; zero ids leave the account as it is. It returns when the decoy is gone.
func Run(args []string) error {
	o, err := options(args)
	if err != nil {
		return err
	}
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT) // the decoy decides when to end, and needs its gate until then
	r := &relay{socket: socketFD, pair: pairFD, peers: newPeers(MaxPeers, AnswerFor), now: time.Now}
	if err := r.prepare(); err != nil {
		return err
	}
	report, err := sandbox.Apply(o)
	if err != nil {
		return err
	}
	if err := unix.Send(pairFD, []byte(report.String()), 0); err != nil {
		return err
	}
	go r.inbound()
	r.outbound()
	return nil
}

func options(args []string) (sandbox.Options, error) {
	o := sandbox.Options{Gate: true}
	if len(args) != 3 {
		return o, errors.New("gate: three arguments are needed")
	}
	var err, err2 error
	o.UID, err = strconv.Atoi(args[0])
	o.GID, err2 = strconv.Atoi(args[1])
	o.Unsafe = args[2] == "unsafe"
	return o, errors.Join(err, err2)
}

// relay moves datagrams between the socket and the pair, both blocking.
type relay struct {
	socket, pair int
	v6           bool
	peers        *peers
	now          func() time.Time
}

func (r *relay) prepare() error {
	for _, fd := range []int{r.socket, r.pair} {
		if err := unix.SetNonblock(fd, false); err != nil {
			return fmt.Errorf("gate: %w", err)
		}
	}
	sa, err := unix.Getsockname(r.socket)
	_, r.v6 = sa.(*unix.SockaddrInet6)
	return err
}

// inbound passes datagrams to the decoy. When the decoy does not keep up they are lost, as a full socket would lose them.
func (r *relay) inbound() {
	buf := make([]byte, headerBytes+maxDatagram)
	for {
		n, from, err := unix.Recvfrom(r.socket, buf[headerBytes:], 0)
		addr, ok := addrOf(from)
		if err != nil || !ok || n == 0 {
			if errors.Is(err, unix.EBADF) {
				return
			}
			continue // an ICMP error of an earlier answer, or a signal
		}
		r.peers.heard(addr, r.now())
		putAddr(buf, addr)
		_ = unix.Send(r.pair, buf[:headerBytes+n], unix.MSG_DONTWAIT)
	}
}

// outbound sends the decoy's answers until the pair closes.
func (r *relay) outbound() {
	buf := make([]byte, headerBytes+maxDatagram)
	for {
		n, err := unix.Read(r.pair, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return
		}
		addr, ok := takeAddr(buf[:n])
		if !ok || !r.peers.answerable(addr, r.now()) {
			continue
		}
		_ = unix.Sendto(r.socket, buf[headerBytes:n], 0, r.sockaddr(addr))
	}
}

func (r *relay) sockaddr(a netip.AddrPort) unix.Sockaddr {
	if r.v6 {
		return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
}

func addrOf(sa unix.Sockaddr) (netip.AddrPort, bool) {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)), true
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port)), true
	}
	return netip.AddrPort{}, false
}

func putAddr(b []byte, a netip.AddrPort) {
	ip := a.Addr().As16()
	copy(b, ip[:])
	binary.BigEndian.PutUint16(b[16:], a.Port())
}

// takeAddr reads the address in front of a datagram that is not empty.
func takeAddr(b []byte) (netip.AddrPort, bool) {
	if len(b) <= headerBytes {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[:16])).Unmap(), binary.BigEndian.Uint16(b[16:])), true
}
