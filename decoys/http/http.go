// Package http is the web server decoy: HTTP/1.x, HTTP/2 and HTTP/3, in the clear or on TLS, in the manner of the server its
// Server header names.
//
// It does not use net/http. That server has a voice of its own: "400 Bad Request: missing required Host header", sorted and
// canonicalised headers, 431 for long ones, its own order of SETTINGS. And it hides what fingerprints are made of, the order
// and casing of the client's headers. So requests are read here, line by line, with the limits and complaints of Apache
// httpd or nginx as observed on Debian's packages; responses are written in their header order with their pages. HTTP/2 uses the
// frame codec of golang.org/x/net, HTTP/3 the transport and the field compression of quic-go; connection handling is here too.
//
// TLS is that of the standard library, and a client that looks closely sees it: the choice of ciphers does not follow
// OpenSSL's order (JA3S, JARM), TLS 1.3 sends one session ticket where OpenSSL sends two, Apache's habit to answer an
// unknown application protocol with its own is missing. Versions, groups and suites are those of the distribution. On QUIC,
// transport parameters and packet sizes are quic-go's, and no dynamic table of fields is offered.
//
// What differs from the real thing, for whoever compares: a range request with several ranges gets the whole file; no
// compression; no icons but empty ones; HTTP/2 streams of one connection are answered one after the other.
//
// Every event an attacker causes carries src_ip. Nothing an attacker sends is kept beyond its request.
package http

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/decnet/decnet/decoys/certificate"
	"github.com/decnet/decnet/decoys/config"
	"github.com/decnet/decnet/decoys/eventlog"
	"github.com/decnet/decnet/decoys/persona"
	"github.com/decnet/decnet/decoys/tcp"
)

// Limits of the server, beyond those of the server it imitates.
const (
	maxHeadBytes    = 128 << 10
	maxBodyBytes    = 8 << 20
	keptBodyBytes   = 64 << 10
	bodyTimeout     = 30 * time.Second
	writeTimeout    = 30 * time.Second
	maxConnDuration = 10 * time.Minute
)

// Options are the dependencies of a Server. HeaderTimeout is how long a request head may take; zero means what the imitated
// server allows. With a Certificate the server speaks TLS.
type Options struct {
	Log           *eventlog.Log
	Config        config.HTTP
	Host          *persona.Host
	HeaderTimeout time.Duration
	Certificate   *certificate.Lazy
}

// site answers requests; it sees only well-formed ones.
type site interface {
	answer(r *request) *response
}

// Server serves connections of one decoy.
type Server struct {
	*tcp.Server
	web    *web
	site   site
	extra  extraHeaders
	http1  bool
	http2  bool
	http3  bool
	header time.Duration

	cert    *certificate.Lazy // nil without TLS
	tls     *tls.Config
	warming sync.WaitGroup
}

// New prepares the pages. It reads no files.
func New(o Options) *Server {
	extra := parseExtraHeaders(o.Config.ExtraHeaders)
	w := newWeb(o.Host, o.Config.ServerHeader)
	w.secure = o.Certificate != nil
	if extra.server != "" {
		w.setBanner(extra.server)
	}
	versions := o.Config.HTTPVersions
	s := &Server{
		cert: o.Certificate, web: w, extra: extra, site: newSite(o.Config, o.Host, w), header: o.HeaderTimeout,
		http1: slices.Contains(versions, config.HTTP1), http2: slices.Contains(versions, config.HTTP2), http3: slices.Contains(versions, config.HTTP3),
	}
	if !s.http2 {
		s.http1 = true // with HTTP/3 alone no client would ever learn of it
	}
	if s.cert != nil {
		s.tls = s.newTLS(o.Host)
	}
	if s.header == 0 {
		s.header = w.headerTimeout()
	}
	s.Server = tcp.New(o.Log, s.handle)
	return s
}

// Serve makes the certificate ready meanwhile, so that the first client need not wait for it.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	s.warm()
	return s.Server.Serve(ctx, l)
}

// Close ends all connections and waits until their last events are written, at most for the given time.
func (s *Server) Close(wait time.Duration) {
	deadline := time.After(wait)
	s.Server.Close(wait)
	warm := make(chan struct{})
	go func() { s.warming.Wait(); close(warm) }()
	select {
	case <-warm:
	case <-deadline:
	}
}

// client is one connection.
type client struct {
	*tcp.Conn
	s    *Server
	in   *bufio.Reader
	alpn string // what TLS negotiated
}

func (s *Server) handle(ctx context.Context, raw *tcp.Conn) {
	ctx, cancel := context.WithTimeout(ctx, maxConnDuration)
	defer cancel()
	plain := raw.Conn
	stop := context.AfterFunc(ctx, func() { _ = plain.Close() })
	defer stop()
	c := &client{Conn: raw, s: s, in: bufio.NewReaderSize(plain, 16<<10)}
	if s.cert != nil {
		if !c.handshake(ctx) {
			return
		}
		defer raw.Conn.Close() // says good-bye
	}
	if c.alpn == "h2" {
		c.serveHTTP2(ctx, nil)
		return
	}
	if s.http2 && (s.cert == nil || !s.http1) {
		_ = c.SetReadDeadline(time.Now().Add(s.header))
		if c.prefaced() {
			c.serveHTTP2(ctx, nil)
			return
		}
	}
	c.serveHTTP1(ctx)
}

// prefaced looks for the connection preface of RFC 9113 section 3.4 without taking bytes.
func (c *client) prefaced() bool {
	for n := 1; n <= len(preface); n++ {
		b, err := c.in.Peek(n)
		if err != nil || b[n-1] != preface[n-1] {
			return false
		}
	}
	return true
}

func (c *client) serveHTTP1(ctx context.Context) {
	for n := 1; ctx.Err() == nil; n++ {
		if !c.await(n) {
			return
		}
		r, err := c.readRequest()
		if err != nil {
			c.complain(r, err)
			return
		}
		r.serial = n
		if !c.s.http1 && !c.upgradable(r) {
			c.observe(r)
			c.rejectHTTP1()
			return
		}
		if more := c.exchange(ctx, r); !more {
			return
		}
	}
}

// await waits for the first byte of the next request.
func (c *client) await(n int) bool {
	wait := c.s.header
	if n > 1 {
		wait = c.s.web.keepAlive()
	}
	_ = c.SetReadDeadline(time.Now().Add(wait))
	if _, err := c.in.Peek(1); err != nil {
		return false
	}
	_ = c.SetReadDeadline(time.Now().Add(c.s.header))
	return true
}

// exchange reads the body, reports and answers one request. It reports whether another may follow.
func (c *client) exchange(ctx context.Context, r *request) bool {
	resp, err := c.receiveBody(r)
	if err != nil {
		c.complain(r, err)
		return false
	}
	c.observe(r)
	if c.upgradable(r) {
		c.upgrade(ctx, r)
		return false
	}
	pause(ctx)
	if resp == nil {
		resp = c.respond(r)
	}
	more := r.keepAlive && !resp.close && r.serial < c.s.web.maxRequests()
	_ = c.SetWriteDeadline(time.Now().Add(writeTimeout))
	more, err = c.s.write1(c, r, resp, more)
	if err != nil {
		return false
	}
	if !more {
		c.linger()
	}
	return more
}

// respond lets the server's own rules answer before the site is asked.
func (c *client) respond(r *request) *response {
	if intruder.answer != nil {
		if resp := intruder.answer(r); resp != nil {
			return resp
		}
	}
	if resp := c.s.web.intercept(r, c.s.dynamic()); resp != nil {
		return resp
	}
	return c.s.site.answer(r)
}

// dynamic reports whether a program behind the server answers, which then sees every method.
func (s *Server) dynamic() bool {
	_, static := s.site.(*plainSite)
	return !static
}

// complain answers what is no request as the imitated server does, where it answers at all.
func (c *client) complain(r *request, err error) {
	f, ok := errors.AsType[*refusal](err)
	if errors.Is(err, os.ErrDeadlineExceeded) && r != nil && c.s.web.kind == apache {
		f, ok = &refusal{status: 408}, true
	}
	if r == nil || len(r.line) == 0 {
		return
	}
	if !ok {
		c.Emit("parse_error", eventlog.F("error", "incomplete request"), eventlog.F("data", r.line[:min(len(r.line), 256)]))
		return
	}
	if r.method != "" && r.target != "" {
		c.observe(r)
	}
	c.Emit("protocol_error", eventlog.F("error", "malformed request"), eventlog.Int("status", f.status), eventlog.F("data", r.line[:min(len(r.line), 256)]))
	resp := c.s.web.page(f.status, r, f.note)
	resp.close = true
	_ = c.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := c.s.write1(c, r, resp, false); err == nil {
		c.linger()
	}
}

// linger lets the last answer arrive although the client is still sending.
func (c *client) linger() {
	if half, ok := c.Conn.Conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	_ = c.SetReadDeadline(time.Now().Add(time.Second))
	_, _ = io.CopyN(io.Discard, c.in, 1<<20)
}

// pause takes the time a real server needs.
func pause(ctx context.Context) {
	select {
	case <-time.After(2*time.Millisecond + rand.N(12*time.Millisecond)):
	case <-ctx.Done():
	}
}
