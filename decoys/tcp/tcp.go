// Package tcp accepts the connections of a decoy: caps in total and per source, `connect` and `disconnect` events, recovery.
// Connections of a protocol on datagrams, which somebody else accepts, are let in by Enter under the same rules.
//
// It knows no protocol. The invariant: whatever a handler does with hostile bytes, the connection ends, is counted
// out, and leaves its events; a panic ends one connection, never the process.
package tcp

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/decnet/decnet/decoys/eventlog"
)

// Limits of connections that are open at the same time.
const (
	MaxConns          = 256
	MaxConnsPerSource = 32
)

const (
	acceptRetry    = 50 * time.Millisecond
	maxSecretBytes = 1024
)

// Conn is one client. Src and Port are its address in text, N counts the admitted connections of the server from 1.
// net.Conn is nil for one let in by Enter.
type Conn struct {
	net.Conn
	Src, Port string
	N         uint64
	log       *eventlog.Log
}

// Emit writes an event of this client; src_ip is its first field.
func (c *Conn) Emit(id string, fields ...eventlog.Field) { c.Log(eventlog.Info, id, fields...) }

// Log is Emit with a severity.
func (c *Conn) Log(pri int, id string, fields ...eventlog.Field) {
	c.log.Emit(eventlog.Event{PRI: pri, MsgID: id, Fields: append([]eventlog.Field{eventlog.F("src_ip", c.Src)}, fields...)})
}

// Server serves the connections of one decoy.
type Server struct {
	log      *eventlog.Log
	handle   func(context.Context, *Conn)
	describe func(*Conn) []eventlog.Field

	mu     sync.Mutex
	conns  map[io.Closer]string
	count  uint64
	closed bool
	wg     sync.WaitGroup
}

// New returns a server that calls handle for every admitted connection, each in a goroutine of its own. The connection is
// closed when handle returns.
func New(log *eventlog.Log, handle func(context.Context, *Conn)) *Server {
	return NewDescribed(log, handle, func(*Conn) []eventlog.Field { return nil })
}

// NewDescribed is New for protocols that number or name their connections: the fields describe returns are added to `connect`.
func NewDescribed(log *eventlog.Log, handle func(context.Context, *Conn), describe func(*Conn) []eventlog.Field) *Server {
	return &Server{log: log, handle: handle, describe: describe, conns: map[io.Closer]string{}}
}

// Serve accepts connections until the listener is closed. Running out of descriptors only slows it down.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	for {
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(acceptRetry):
				continue
			}
		}
		client, leave, ok := s.Enter(c, c.RemoteAddr())
		if !ok {
			_ = c.Close()
			continue
		}
		client.Conn = c
		go s.serve(ctx, client, leave)
	}
}

// Close ends all connections and waits until their last events are written, at most for the given time.
func (s *Server) Close(wait time.Duration) {
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	done := make(chan struct{})
	go func() { s.wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(wait):
	}
}

// Peer returns a client for events alone: it has no connection and does not count.
func (s *Server) Peer(from net.Addr) *Conn {
	host, port, _ := net.SplitHostPort(from.String())
	return &Conn{Src: host, Port: port, log: s.log}
}

// Enter lets a connection in, unless there are too many or the server is closed, and reports it. Close closes c; leave must be
// called once when the connection is over. It is for connections that Serve does not accept itself.
func (s *Server) Enter(c io.Closer, from net.Addr, fields ...eventlog.Field) (client *Conn, leave func(), ok bool) {
	client = s.Peer(from)
	if client.N, ok = s.admit(c, client.Src); !ok {
		return nil, nil, false
	}
	started := time.Now()
	fields = append([]eventlog.Field{eventlog.F("src_port", client.Port)}, fields...)
	client.Emit("connect", append(fields, s.describe(client)...)...)
	return client, func() {
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
		client.Emit("disconnect", eventlog.F("src_port", client.Port), eventlog.F("duration_s", Seconds(time.Since(started))))
		s.wg.Done()
	}, true
}

// admit returns the number of the connection.
func (s *Server) admit(c io.Closer, host string) (uint64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	same := 0
	for _, h := range s.conns {
		if h == host {
			same++
		}
	}
	if s.closed || len(s.conns) >= MaxConns || same >= MaxConnsPerSource {
		return 0, false
	}
	s.conns[c] = host
	s.count++
	s.wg.Add(1)
	return s.count, true
}

func (s *Server) serve(ctx context.Context, c *Conn, leave func()) {
	raw := c.Conn // a handler may put another one, TLS, in its place
	defer func() {
		c.Recover(recover())
		_ = raw.Close()
		leave()
	}()
	s.handle(ctx, c)
}

// Recover reports what recover returned, if anything.
func (c *Conn) Recover(p any) {
	if p != nil {
		c.Emit("parse_error", eventlog.F("error", "panic"))
	}
}

// Seconds spells a duration as events do.
func Seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 3, 64) }

// Secret returns the fields of a captured secret: its printable form and its exact bytes, at most 1 KiB. An empty secret has no
// fields, because it is no credential.
func Secret(kind, secret string) []eventlog.Field {
	if secret == "" {
		return nil
	}
	secret = secret[:min(len(secret), maxSecretBytes)]
	return []eventlog.Field{
		eventlog.F("secret_kind", kind), eventlog.F("secret_printable", printable(secret)),
		eventlog.F("secret_b64", base64.StdEncoding.EncodeToString([]byte(secret))),
	}
}

// Digest is Secret for what only a program can read, a hash or a response to a challenge: its printable form is hex.
func Digest(kind string, raw []byte) []eventlog.Field {
	if len(raw) == 0 {
		return nil
	}
	raw = raw[:min(len(raw), maxSecretBytes)]
	return []eventlog.Field{
		eventlog.F("secret_kind", kind), eventlog.F("secret_printable", hex.EncodeToString(raw)),
		eventlog.F("secret_b64", base64.StdEncoding.EncodeToString(raw)),
	}
}

// Pause waits between lo and hi, or until ctx ends: what answers at once is no server under load.
func Pause(ctx context.Context, lo, hi time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(lo + rand.N(hi-lo)):
	}
}

// printable shows bytes outside the printable range as question marks.
func printable(secret string) string {
	var b strings.Builder
	for _, c := range []byte(secret) {
		if c < 0x20 || c > 0x7e {
			c = '?'
		}
		b.WriteByte(c)
	}
	return b.String()
}
