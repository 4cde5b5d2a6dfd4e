package ftp

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/decnet/decnet/decoys/eventlog"
	"github.com/decnet/decnet/decoys/identity"
	"github.com/decnet/decnet/decoys/passive"
	"github.com/decnet/decnet/decoys/persona"
	"github.com/decnet/decnet/decoys/tcp"
)

// ProductOf names the server a decky gets.
func ProductOf(id identity.Identity, nmapOS string) string { return pick(id, nmapOS).name }

// Texts returns what every server says.
func Texts() map[string]map[key]string {
	all := map[string]map[key]string{}
	for _, p := range []*product{&vsftpd, &proftpd, &pureftpd, &fileZilla, &microsoft} {
		all[p.name] = p.text
	}
	return all
}

// Commands returns the commands every server knows.
func Commands() map[string]string {
	all := map[string]string{}
	for _, p := range []*product{&vsftpd, &proftpd, &pureftpd, &fileZilla, &microsoft} {
		all[p.name] = p.commands + " " + p.early
	}
	return all
}

// Handled reports whether there is code for a command.
func Handled(cmd string) bool { return handlers[cmd] != nil }

// SharedFiles returns the files of a decky at a time.
func SharedFiles(h *persona.Host, now time.Time) map[string][]byte {
	all := map[string][]byte{}
	for _, f := range newShare(h, now).files {
		if !f.mode.IsDir() {
			all[f.path+" "+f.mtime.String()] = f.data
		}
	}
	return all
}

// FailedSources returns how many sources the server remembers.
func (s *Server) FailedSources() int { s.mu.Lock(); defer s.mu.Unlock(); return len(s.failures) }

// Failed counts a refusal.
func (s *Server) Failed(src string) int { return s.failed(src) }

// Accepts decides about a password.
func (s *Server) Accepts(user, password string) bool { return s.accepts(user, password) }

// Room returns the bytes uploads occupy.
func (s *Server) Room() int64 { return s.room.Load() }

// RunScript feeds a script to a session that is logged in, without a network.
func RunScript(t testing.TB, h *persona.Host, nmapOS, script string) {
	var out strings.Builder
	log := eventlog.New(io.Discard, "n", "ftp", "b", 1, nil)
	s := &Server{o: Options{Log: log, Host: h, Data: &passive.Pool{}}, product: pick(h.ID, nmapOS), failures: map[string]*failing{}, share: shareOf(h)}
	done := make(chan struct{})
	s.Server = tcp.New(log, func(ctx context.Context, raw *tcp.Conn) {
		defer close(done)
		c := &conn{Conn: raw, s: s, p: s.product, in: lines{c: raw}, cwd: "/", user: "u"}
		c.enter(false)
		for range 50 {
			line, err := c.in.next(time.Now().Add(time.Second))
			if err != nil {
				return
			}
			c.execute(ctx, line)
		}
	})
	here, there := net.Pipe()
	go func() { _, _ = io.Copy(&out, here) }()
	go func() { _, _ = here.Write([]byte(script)); time.Sleep(time.Millisecond); _ = here.Close() }()
	l := &oneListener{c: there}
	_ = s.Serve(t.Context(), l)
	<-done
	s.Close(time.Second)
}

var shares sync.Map

func shareOf(h *persona.Host) *share {
	if s, ok := shares.Load(h.ID.Seed()); ok {
		return s.(*share)
	}
	s := newShare(h, h.Now())
	shares.Store(h.ID.Seed(), s)
	return s
}

// oneListener hands out one connection.
type oneListener struct{ c net.Conn }

func (l *oneListener) Accept() (net.Conn, error) {
	if c := l.c; c != nil {
		l.c = nil
		return c, nil
	}
	return nil, net.ErrClosed
}
func (l *oneListener) Close() error   { return nil }
func (l *oneListener) Addr() net.Addr { return &net.TCPAddr{} }
