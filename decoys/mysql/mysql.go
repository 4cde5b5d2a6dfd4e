// Package mysql is the MySQL decoy: the handshake of a MySQL or MariaDB server that refuses every login.
//
// It stops at authentication: no query is ever read. Greeting, plugins, TLS and errors follow one release. Where accounts use
// caching_sha2_password, as they do from 8.0 on, the exchange is carried through to the point at which the client hands over
// the password itself, inside TLS or encrypted with the server's key.
//
// What differs from the real thing, for whoever compares: a login of at most 32 bytes is refused with the name <unknown>; hosts
// are never blocked for their errors; the TLS of this program is not OpenSSL's, and MariaDB has none; there is no X protocol;
// old accounts (mysql_old_password, sha256_password) do not exist.
package mysql

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"os"
	"sync/atomic"
	"time"

	"github.com/decnet/decnet/decoys/config"
	"github.com/decnet/decnet/decoys/eventlog"
	"github.com/decnet/decnet/decoys/persona"
	"github.com/decnet/decnet/decoys/tcp"
)

const (
	maxConnections = 151 // the server's default
	maxDuration    = time.Minute
)

// Options are the dependencies of a Server. State is where keys are kept.
type Options struct {
	Log    *eventlog.Log
	Config config.MySQL
	Host   *persona.Host
	State  *os.Root
}

// Server serves connections of one decoy.
type Server struct {
	*tcp.Server
	release release
	keys    *keys
	base    uint64
	active  atomic.Int64
}

// New returns a server. It reads no files: keys are loaded or made when a client first needs them.
func New(o Options) *Server {
	s := &Server{release: newRelease(o.Host, o.Config.Version)}
	s.keys = newKeys(o.State, o.Host, s.release)
	s.base = 7 + o.Host.ID.Rand("mysql-connections").Uint64N(200_000)
	s.Server = tcp.NewDescribed(o.Log, s.handle, func(c *tcp.Conn) []eventlog.Field {
		return []eventlog.Field{eventlog.Int("connection_id", s.number(c))}
	})
	return s
}

// number is the connection id a client is told.
func (s *Server) number(c *tcp.Conn) uint32 { return uint32(s.base + c.N) }

// unsupported is the error for a client that knows none of the account's plugins.
func (s *Server) unsupported() failure {
	name := map[bool]string{true: "MariaDB", false: "MySQL"}[s.release.maria]
	return failure{1251, "08004", "Client does not support authentication protocol requested by server; consider upgrading " + name + " client"}
}

func (s *Server) handle(ctx context.Context, raw *tcp.Conn) {
	ctx, cancel := context.WithTimeout(ctx, maxDuration)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()
	c := &client{Conn: raw, s: s, rw: raw.Conn, in: bufio.NewReader(raw.Conn), id: s.number(raw)}
	defer s.active.Add(-1)
	if s.active.Add(1) > maxConnections {
		c.old = !s.release.maria
		c.fail(ctx, tooMany)
		return
	}
	tcp.Pause(ctx, 2*time.Millisecond, 6*time.Millisecond)
	salt := s.release.newSalt()
	if c.write(s.release.greeting(c.id, salt)) != nil {
		return
	}
	p, err := c.readLogin()
	if err == nil && c.wantsTLS(p) {
		if !c.encrypt(ctx) {
			return
		}
		p, err = c.readLogin()
	}
	if err != nil {
		c.broken(ctx, err)
		return
	}
	c.login(ctx, p, salt)
}

func (c *client) login(ctx context.Context, p, salt []byte) {
	if len(p) <= headBytes {
		c.Emit("protocol_error", eventlog.F("error", "short login"), eventlog.Int("connection_id", c.id))
		c.fail(ctx, c.denied("<unknown>", false))
		return
	}
	l, err := parseLogin(p)
	c.old = l.caps&capProtocol41 == 0
	switch {
	case err != nil:
		c.Emit("protocol_error", eventlog.F("error", err.Error()), eventlog.Int("connection_id", c.id), eventlog.F("username", cut(l.user, maxLogged)))
		c.fail(ctx, badHandshake)
	case c.old:
		c.report(&attempt{login: l, plugin: "mysql_old_password"})
		c.fail(ctx, c.s.unsupported())
	default:
		c.authenticate(ctx, l, salt)
	}
}

// broken ends a connection whose client sent no packet that can be used.
func (c *client) broken(ctx context.Context, err error) {
	switch {
	case errors.Is(err, errOrder):
		c.seq = 1
		c.Emit("protocol_error", eventlog.F("error", err.Error()), eventlog.Int("connection_id", c.id))
		c.fail(ctx, outOfOrder)
	case errors.Is(err, errLength), errors.Is(err, errEmpty):
		c.Emit("protocol_error", eventlog.F("error", err.Error()), eventlog.Int("connection_id", c.id))
	}
}

// wantsTLS recognizes the request that comes in place of a login.
func (c *client) wantsTLS(p []byte) bool {
	return c.s.release.encrypts() && len(p) >= headBytes && (uint32(p[0])|uint32(p[1])<<8)&capSSL != 0
}

func (c *client) encrypt(ctx context.Context) bool {
	conf, err := c.s.keys.tls()
	if err != nil {
		return false
	}
	session := tls.Server(buffered{c.rw, c.in}, conf)
	_ = session.SetDeadline(time.Now().Add(readTimeout))
	if err := session.HandshakeContext(ctx); err != nil {
		c.Emit("protocol_error", eventlog.F("error", "tls handshake"), eventlog.Int("connection_id", c.id))
		return false
	}
	c.rw, c.in, c.secure = session, bufio.NewReader(session), true
	return true
}
