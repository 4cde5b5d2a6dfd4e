//go:build probe

package http

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The probe exists in test builds only. It tries, from inside the confined process, to get a datagram to an address.
func init() {
	var through atomic.Pointer[net.PacketConn]
	intruder.packets = func(pc net.PacketConn) { through.Store(&pc) }
	intruder.answer = func(r *request) *response {
		to, ok := strings.CutPrefix(r.path, "/send-datagram/")
		if !ok {
			return nil
		}
		return &response{status: 200, ctype: "text/plain", body: []byte(send(netip.MustParseAddrPort(to), through.Load()))}
	}
}

func send(to netip.AddrPort, through *net.PacketConn) string {
	var b strings.Builder
	report := func(what string, err error) {
		if err == nil {
			fmt.Fprintf(&b, "%s: SENT\n", what)
			return
		}
		fmt.Fprintf(&b, "%s: denied: %v\n", what, err)
	}
	payload := []byte("escaped")
	conn, err := net.DialTimeout("udp", to.String(), time.Second)
	if err == nil {
		_, err = conn.Write(payload)
	}
	report("dial", err)
	_, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, 0)
	report("socket", err)
	sa := &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}
	for fd := range 64 {
		for what, err := range map[string]error{
			"sendto": unix.Sendto(fd, payload, 0, sa), "sendmsg": unix.Sendmsg(fd, payload, nil, sa, 0), "connect": unix.Connect(fd, sa),
		} {
			if err != unix.EPERM { //nolint:errorlint // the number itself
				report(fmt.Sprintf("%s %d", what, fd), err)
			}
		}
		kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
		domain, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
		if err == nil && kind == unix.SOCK_DGRAM && domain != unix.AF_UNIX {
			report(fmt.Sprintf("datagram socket %d", fd), nil)
		}
	}
	if through != nil {
		_, err = (*through).WriteTo(payload, net.UDPAddrFromAddrPort(to))
		fmt.Fprintf(&b, "handed to the gate: %v\n", err)
	}
	return b.String()
}
