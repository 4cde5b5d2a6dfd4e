package http

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/decnet/decnet/decoys/clienthello"
	"github.com/decnet/decnet/decoys/eventlog"
)

// Handshakes that are going on at the same time, of which nobody knows yet whether their source is real.
const (
	maxHandshakes          = 64
	maxHandshakesPerSource = 16
	retryFrom              = 16 // from then on sources must prove themselves first
)

// handshakes are the connections whose handshake is not done.
type handshakes struct {
	s  *Server
	mu sync.Mutex
	by map[string]int
	n  int
}

// attempt is one handshake, from the first packet on.
type attempt struct {
	from  net.Addr
	hello *clienthello.Hello
	done  bool
}

type attemptKey struct{}

var errRefused = errors.New("too many connections")

// sourceOf is the text of an address without its port.
func sourceOf(a net.Addr) string {
	host, _, _ := net.SplitHostPort(a.String())
	return host
}

// ServePackets serves HTTP/3 until ctx ends, which returns nil, or pc fails; without TLS or HTTP/3 in the configuration it
// fails at once. Connections are closed when it returns; pc is not.
func (s *Server) ServePackets(ctx context.Context, pc net.PacketConn) error {
	if s.cert == nil || !s.http3 {
		return errors.New("http/3 is not configured")
	}
	if intruder.packets != nil {
		intruder.packets(pc)
	}
	s.warm()
	p := &handshakes{s: s, by: map[string]int{}}
	t := &quic.Transport{Conn: pc, ConnContext: p.begin, VerifySourceAddress: func(net.Addr) bool { return p.count() >= retryFrom }}
	defer t.Close()
	l, err := t.Listen(p.tls(), &quic.Config{
		HandshakeIdleTimeout: 5 * time.Second, MaxIdleTimeout: idle3, MaxIncomingStreams: maxStreams3, MaxIncomingUniStreams: maxUnidir,
		InitialStreamReceiveWindow: maxStreamWin, MaxStreamReceiveWindow: maxStreamWin,
		InitialConnectionReceiveWindow: maxConnWin, MaxConnectionReceiveWindow: maxConnWin, DisablePathMTUDiscovery: true,
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for {
		conn, err := l.Accept(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		wg.Go(func() { p.serve(ctx, conn) })
	}
}

// tls is the configuration of QUIC: version 1.3 alone, whatever the distribution's packages do on TCP.
func (p *handshakes) tls() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"h3"}, CurvePreferences: groups,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return p.s.cert.Get() },
		GetConfigForClient: func(info *tls.ClientHelloInfo) (*tls.Config, error) {
			if a, ok := info.Context().Value(attemptKey{}).(*attempt); ok {
				hello := clienthello.New(info, tls.VersionTLS12, true) // RFC 9001 section 4.2, RFC 8446 section 4.1.2
				p.mu.Lock()
				a.hello = &hello
				p.mu.Unlock()
			}
			return nil, nil
		},
	}
}

func (p *handshakes) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.n
}

// begin lets a handshake in. When the connection ends before the handshake is done, that is reported.
func (p *handshakes) begin(ctx context.Context, info *quic.ClientInfo) (context.Context, error) {
	a := &attempt{from: info.RemoteAddr}
	host := sourceOf(a.from)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.n >= maxHandshakes || p.by[host] >= maxHandshakesPerSource {
		return nil, errRefused
	}
	p.n++
	p.by[host]++
	context.AfterFunc(ctx, func() {
		if p.end(a) {
			p.failed(a, context.Cause(ctx))
		}
	})
	return context.WithValue(ctx, attemptKey{}, a), nil
}

// end takes an attempt out of the count. It reports whether it was still in it.
func (p *handshakes) end(a *attempt) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if a.done {
		return false
	}
	a.done = true
	host := sourceOf(a.from)
	p.n--
	if p.by[host]--; p.by[host] == 0 {
		delete(p.by, host)
	}
	return true
}

// serve takes a connection whose handshake is done, and with it its source proven.
func (p *handshakes) serve(ctx context.Context, conn *quic.Conn) {
	a, _ := conn.Context().Value(attemptKey{}).(*attempt)
	if a != nil {
		p.end(a)
	}
	peer, leave, ok := p.s.Enter(closer{conn}, conn.RemoteAddr(), eventlog.F("transport", "udp"))
	if !ok {
		_ = conn.CloseWithError(quic.ApplicationErrorCode(h3ExcessiveLoad), "")
		return
	}
	defer leave()
	defer closer{conn}.Close()
	defer func() { peer.Recover(recover()) }()
	if a != nil {
		p.greet(peer.Emit, a, peer.Port)
	}
	p.s.serveHTTP3(ctx, conn, peer)
}

type closer struct{ conn *quic.Conn }

// Close implements io.Closer.
func (c closer) Close() error { return c.conn.CloseWithError(quic.ApplicationErrorCode(h3NoError), "") }

// greet reports the ClientHello of an attempt, if one came.
func (p *handshakes) greet(emit func(string, ...eventlog.Field), a *attempt, port string) {
	p.mu.Lock()
	hello := a.hello
	p.mu.Unlock()
	if hello != nil {
		emit("quic_client_hello", append(helloFields(*hello, port), eventlog.F("ja3", hello.JA3()), eventlog.F("ja3_raw", hello.JA3String()),
			eventlog.F("ja4_quic", hello.JA4()), eventlog.F("ja4_raw", hello.JA4Raw()))...)
	}
}

// failed reports a handshake that was not finished; its source may be somebody else's address.
func (p *handshakes) failed(a *attempt, cause error) {
	peer := p.s.Peer(a.from)
	p.greet(peer.Emit, a, peer.Port)
	peer.Log(eventlog.Warning, "tls_handshake_failed", eventlog.F("src_port", peer.Port), eventlog.F("transport", "udp"),
		eventlog.F("source", "unproven"), eventlog.F("error", failureOfQUIC(cause)))
}

func failureOfQUIC(cause error) string {
	_, slow := errors.AsType[*quic.HandshakeTimeoutError](cause)
	_, silent := errors.AsType[*quic.IdleTimeoutError](cause)
	transport, told := errors.AsType[*quic.TransportError](cause)
	switch {
	case slow, silent:
		return "timeout"
	case told && transport.Remote && transport.ErrorCode.IsCryptoError():
		return "client alert"
	case told && transport.ErrorCode.IsCryptoError():
		return "no common parameters"
	case told && !transport.Remote:
		return "malformed packet"
	}
	return "connection closed"
}
