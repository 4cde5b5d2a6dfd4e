// Package telnet is the Telnet decoy: busybox's telnetd in front of the login program and shell of the decky's distribution.
//
// It negotiates like that server, which asks for everything at once and ignores every answer but the window size. Two accounts get in,
// as with package ssh, and get the same pretended shell; clients that do not negotiate at all are served as well.
//
// What differs from the real thing, for whoever compares: what is typed before a password is asked for is not thrown away, and commands
// that a client sent before it hung up are carried out for a moment.
//
// Every event an intruder causes carries src_ip. No input may crash the process; each connection recovers.
package telnet

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/decnet/decnet/decoys/config"
	"github.com/decnet/decnet/decoys/eventlog"
	"github.com/decnet/decnet/decoys/persona"
	"github.com/decnet/decnet/decoys/session"
	"github.com/decnet/decnet/decoys/shell"
	"github.com/decnet/decnet/decoys/tcp"
)

// Limits of a connection.
const (
	idleTimeout  = 30 * time.Minute
	maxSession   = 12 * time.Hour
	writeTimeout = 30 * time.Second
	hangupGrace  = 10 * time.Second
)

// term is what a telnetd that init started leaves in the environment; it does not ask the client for its terminal.
const term = "linux"

// Options are the dependencies of a Server. FailDelay is how long a wrong password takes to be refused; nil means the delay of PAM.
type Options struct {
	session.Options
	Config    config.SSH
	FailDelay func() time.Duration
	// LoginLimit is how long a client may take to log in; 0 means 60 s, as it says.
	LoginLimit time.Duration
}

// Server serves connections of one decoy.
type Server struct {
	*tcp.Server
	o Options
}

// New returns a server of the machine in o. The machine's host must be one people log into by Telnet.
func New(o Options) *Server {
	if o.FailDelay == nil {
		o.FailDelay = pamDelay
	}
	if o.LoginLimit == 0 {
		o.LoginLimit = loginLimit
	}
	s := &Server{o: o}
	s.Server = tcp.New(o.Log, s.handle)
	return s
}

// conn is one client. It is used by the goroutine that serves it; once the shell runs, input belongs to another one.
type conn struct {
	s       *Server
	raw     *tcp.Conn
	host    *persona.Host
	dialect dialect
	decoder *Decoder
	typed   []byte
	buf     [4096]byte
	// cols and rows are the last window size, before there is a session to tell.
	cols, rows uint16
	session    *session.Session
}

func (s *Server) handle(ctx context.Context, raw *tcp.Conn) {
	ctx, cancel := context.WithTimeout(ctx, maxSession)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()
	h := s.o.Machine.Host
	c := &conn{s: s, raw: raw, host: h, dialect: dialectOf(h)}
	c.decoder = NewDecoder(c.window)
	user, err := c.login(ctx)
	if options := c.decoder.Options(); options != "" {
		raw.Emit("client_options", eventlog.F("src_port", raw.Port), eventlog.F("options", options))
	}
	if err == nil {
		c.serve(ctx, cancel, user)
	}
}

// window takes a window size, which may come at any time.
func (c *conn) window(cols, rows uint16) {
	if c.session != nil {
		c.session.Resize(uint32(cols), uint32(rows))
		return
	}
	c.cols, c.rows = cols, rows
}

// serve runs the login shell.
func (c *conn) serve(ctx context.Context, cancel context.CancelFunc, user string) {
	pid := c.s.o.Machine.NextPID()
	s := session.New(c.s.o.Options, session.Client{Src: c.raw.Src, Port: c.raw.Port, User: user, PID: pid})
	s.Resize(uint32(c.cols), uint32(c.rows))
	c.session = s
	s.Begin(session.Program{Kind: "shell", Term: term, Recorded: true})
	tty := s.Terminal(escaper{writer{c}})
	sh := s.Shell(shell.Options{LocalIP: c.local(), LocalPort: "23", Term: term, TTY: tty, Out: tty, Err: tty})
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		s.Guard("terminal", func() int { return c.feed(cancel) })
	}()
	s.Guard("shell", func() int { return sh.Serve(ctx) })
	count := sh.Close()
	_ = c.raw.Close()
	<-fed
	s.Finish(count)
}

// feed moves what is typed to the terminal until the client is gone. A client that hung up has sent all its commands; they get a moment.
func (c *conn) feed(cancel context.CancelFunc) int {
	for {
		if len(c.typed) > 0 {
			c.session.Type(c.typed)
			c.typed = nil
		}
		_ = c.raw.SetReadDeadline(time.Now().Add(idleTimeout))
		err := c.read()
		if err == nil {
			continue
		}
		c.session.Hangup()
		if !errors.Is(err, errGone) {
			cancel()
		} else {
			time.AfterFunc(hangupGrace, cancel)
		}
		return 0
	}
}

// local hides a loopback listener behind the pretended interface address.
func (c *conn) local() string {
	local, _, _ := net.SplitHostPort(c.raw.LocalAddr().String())
	if ip := net.ParseIP(local); ip == nil || ip.IsLoopback() {
		return c.host.Addr.String()
	}
	return local
}

// pause waits and reports whether the connection is still served.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

func (c *conn) write(p []byte) { _, _ = escaper{writer{c}}.Write(p) }

// writer gives every write a deadline: who does not read does not keep a decoy busy.
type writer struct{ c *conn }

func (w writer) Write(p []byte) (int, error) {
	_ = w.c.raw.SetWriteDeadline(time.Now().Add(writeTimeout))
	return w.c.raw.Write(p)
}
