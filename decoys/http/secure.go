package http

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/decnet/decnet/decoys/certificate"
	"github.com/decnet/decnet/decoys/clienthello"
	"github.com/decnet/decnet/decoys/eventlog"
	"github.com/decnet/decnet/decoys/persona"
)

// handshakeTimeout is what nginx and Apache's mod_reqtimeout give a handshake at most.
const handshakeTimeout = 20 * time.Second

// helloPrefix is how much of a connection is looked at before TLS gets it: record header, handshake header, version.
const helloPrefix = 5 + 4 + 2

// CertificateOptions says what the certificate of a host is like; an empty name is the host's own. The state directory is
// the caller's to add.
func CertificateOptions(h *persona.Host, name string) certificate.Options {
	if name == "" {
		name = h.Hostname
	}
	return certificate.Options{Name: name, Distro: distroOf(h), From: installTime(h)}
}

// warm begins to make the certificate ready.
func (s *Server) warm() {
	if s.cert != nil {
		s.warming.Go(func() { _, _ = s.cert.Get() })
	}
}

// Suites and groups of OpenSSL's defaults at level 2, as far as the library has them.
var (
	suites = []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA,
		tls.TLS_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_RSA_WITH_AES_128_CBC_SHA256,
		tls.TLS_RSA_WITH_AES_256_CBC_SHA, tls.TLS_RSA_WITH_AES_128_CBC_SHA,
	}
	groups = []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP521, tls.CurveP384}
)

// newTLS is the server's side of TLS as the distribution's OpenSSL is set up: 1.2 and 1.3, on CentOS 7 (OpenSSL 1.0.2) 1.0
// to 1.2.
func (s *Server) newTLS(h *persona.Host) *tls.Config {
	c := &tls.Config{
		MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS13, CipherSuites: suites, CurvePreferences: groups,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.cert.Get() },
	}
	if distroOf(h) == "centos7" {
		c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS12
		c.CurvePreferences = []tls.CurveID{tls.CurveP256, tls.CurveP521, tls.CurveP384}
		c.CipherSuites = append(slices.Clone(suites), tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA)
	}
	if s.http2 {
		c.NextProtos = append(c.NextProtos, "h2")
	}
	if s.http1 {
		c.NextProtos = append(c.NextProtos, "http/1.1")
	}
	silent := c.Clone()
	silent.NextProtos = nil
	c.GetConfigForClient = func(info *tls.ClientHelloInfo) (*tls.Config, error) {
		front := info.Conn.(*front)
		hello := clienthello.New(info, front.legacy, false)
		front.hello = &hello
		known := func(p string) bool { return slices.Contains(c.NextProtos, p) }
		if s.web.kind != nginx && !slices.ContainsFunc(info.SupportedProtos, known) {
			return silent, nil // nginx refuses protocols it does not know, others go on without
		}
		return nil, nil
	}
	return c
}

// front is a connection of which the first bytes were looked at.
type front struct {
	net.Conn
	in     io.Reader
	legacy uint16 // version field of the ClientHello
	hello  *clienthello.Hello
	tail   [7]byte // what was read last
}

// Read implements io.Reader.
func (f *front) Read(p []byte) (int, error) {
	n, err := f.in.Read(p)
	if n > 0 {
		both := append(f.tail[:], p[max(0, n-len(f.tail)):n]...)
		copy(f.tail[:], both[len(both)-len(f.tail):])
	}
	return n, err
}

// alert returns the alert in the clear that was read last. OpenSSL's client sends one when it does not trust a certificate
// although the server expects ciphertext by then (RFC 8446 section 6.2), which the library takes for a forgery.
func (f *front) alert() (string, bool) {
	if f.tail[0] != 0x15 || f.tail[1] != 3 || f.tail[3] != 0 || f.tail[4] != 2 {
		return "", false
	}
	return tls.AlertError(f.tail[6]).Error(), true
}

// CloseWrite lets TLS be ended in one direction.
func (f *front) CloseWrite() error {
	if t, ok := f.Conn.(*net.TCPConn); ok {
		return t.CloseWrite()
	}
	return nil
}

// handshake puts TLS in the place of the connection. It reports whether there is something to serve.
func (c *client) handshake(ctx context.Context) bool {
	plain := c.Conn.Conn
	_ = plain.SetDeadline(time.Now().Add(min(handshakeTimeout, c.s.header)))
	first, err := c.in.Peek(1)
	if err != nil {
		return false
	}
	if first[0] != 0x16 && first[0]&0x80 == 0 { // neither a record of TLS nor a message of SSL 2
		c.answerPlain()
		return false
	}
	f := &front{Conn: plain, in: c.in}
	if head, err := c.in.Peek(helloPrefix); err == nil {
		f.legacy = binary.BigEndian.Uint16(head[helloPrefix-2:])
	}
	t := tls.Server(f, c.s.tls)
	err = t.HandshakeContext(ctx)
	if f.hello != nil {
		c.Emit("tls_client_hello", append(helloFields(*f.hello, c.Port), eventlog.F("ja3", f.hello.JA3()), eventlog.F("ja3_raw", f.hello.JA3String()),
			eventlog.F("ja4", f.hello.JA4()), eventlog.F("ja4_raw", f.hello.JA4Raw()))...)
	}
	if err != nil {
		class, alert := c.failure(err, f)
		c.refused(class, alert)
		return false
	}
	_ = plain.SetDeadline(time.Time{})
	c.Conn.Conn, c.alpn = t, t.ConnectionState().NegotiatedProtocol
	c.in = bufio.NewReaderSize(t, 16<<10)
	return true
}

// helloFields are what every report of a ClientHello begins with.
func helloFields(h clienthello.Hello, port string) []eventlog.Field {
	return []eventlog.Field{
		eventlog.F("src_port", port), eventlog.F("dst_port", "443"), eventlog.F("tls_version", h.VersionName()), eventlog.F("sni", h.Name()), eventlog.F("alpn", h.Protocols()),
		eventlog.F("raw_ciphers", h.CipherList()), eventlog.F("raw_extensions", h.ExtensionList()),
	}
}

func (c *client) refused(class, alert string) {
	fields := []eventlog.Field{eventlog.F("src_port", c.Port), eventlog.F("error", class)}
	if alert != "" {
		fields = append(fields, eventlog.F("alert", alert))
	}
	c.Log(eventlog.Warning, "tls_handshake_failed", fields...)
}

// failure names why a handshake failed, in words of ours. The library's errors for what it refuses are mere text, so those
// are told apart by what the client offered. alert is the library's name of the alert a client sent.
func (c *client) failure(err error, f *front) (class, alert string) {
	if e, ok := errors.AsType[*net.OpError](err); ok && e.Op == "remote error" {
		return "client alert", e.Err.Error()
	}
	if alert, ok := f.alert(); ok {
		return "client alert", alert
	}
	_, notTLS := errors.AsType[tls.RecordHeaderError](err)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout", ""
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed):
		return "connection closed", ""
	case notTLS:
		return "malformed record", ""
	case f.hello == nil:
		return "malformed hello", ""
	case f.hello.Version() < c.s.tls.MinVersion:
		return "no common version", ""
	}
	return "no common parameters", ""
}

// answerPlain is what the imitated server does with a request in the clear: nginx reads it to its end, Apache knows one by
// its first letters, the others hang up.
func (c *client) answerPlain() {
	c.refused("plain HTTP", "")
	head, _ := c.in.Peek(4)
	known := slices.Contains([]string{"GET ", "POST", "HEAD", "PUT "}, string(head))
	if c.s.web.kind != nginx && (c.s.web.kind != apache || !known) {
		return
	}
	r, err := c.readRequest()
	if err != nil {
		if c.s.web.kind == nginx {
			c.complain(r, err)
		}
		return
	}
	c.observe(r)
	note := nginxPlainHTTP
	if c.s.web.kind == apache { // it goes on with a request of its own invention
		r, note = &request{method: "GET", proto: "HTTP/1.0", major: 1}, apachePlainHTTP
	}
	resp := c.s.web.page(400, r, note)
	resp.close = true
	_ = c.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := c.s.write1(c, r, resp, false); err == nil {
		c.linger()
	}
}
