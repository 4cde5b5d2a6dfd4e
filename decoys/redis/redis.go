// Package redis is the Redis decoy: a server without password, with some data, that believes everything it is told.
//
// It speaks RESP2, RESP3 maps and inline commands. Replies and error texts follow the version it claims, as observed on released
// servers; commands it does not know are refused with the real text. What intruders use it for is accepted and has no
// effect: changing the dump's directory, saving, following a master. Nothing is written and nothing is connected to.
//
// All connections share one bounded set of data, like the real thing. When an intruder flushed or locked it and nobody has been
// connected for six hours, it is made anew.
//
// What differs from the real thing, for whoever compares: no streams, geo, bit fields or HyperLogLog; scripts are not run;
// COMMAND lists nothing; no message reaches a subscriber.
package redis

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/decnet/decnet/decoys/config"
	"github.com/decnet/decnet/decoys/eventlog"
	"github.com/decnet/decnet/decoys/persona"
	"github.com/decnet/decnet/decoys/tcp"
)

// Limits of a connection.
const (
	idleTimeout  = 5 * time.Minute
	writeTimeout = 30 * time.Second
	maxDuration  = 2 * time.Hour
	maxCommands  = 100_000
	maxQueued    = 1024
	flushBytes   = 64 << 10
	maxReply     = 16 << 20
	resetAfter   = 6 * time.Hour
)

// Limits of attacker text in events.
const (
	maxLoggedArgs  = 8
	maxLoggedArg   = 700
	maxLoggedTotal = 3000
)

// Options are the dependencies of a Server.
type Options struct {
	Log    *eventlog.Log
	Config config.Redis
	Host   *persona.Host
}

// Server serves connections of one decoy.
type Server struct {
	*tcp.Server
	host *persona.Host
	v    version
	os   string

	mu       sync.Mutex // guards all below
	db       *store
	settings map[string]string
	master   string
	clients  map[int64]*client
	nextID   int64
	commands int64
	total    int64
	lastSave time.Time
	lastGone time.Time
	dirty    int64
}

// New makes the data. It reads no files.
func New(o Options) *Server {
	s := &Server{host: o.Host, v: newVersion(o.Host, o.Config.Version), os: o.Config.OSString, clients: map[int64]*client{}}
	if s.os == "" {
		s.os = "Linux " + o.Host.Kernel.Release + " x86_64"
	}
	r := o.Host.ID.Rand("redis-counters")
	s.nextID, s.commands, s.total = 4+r.Int64N(9000), r.Int64N(40_000_000), r.Int64N(90_000)
	s.renew()
	s.Server = tcp.New(o.Log, s.handle)
	return s
}

// renew puts the data and settings back. The caller holds the lock, or nobody else has the server yet.
func (s *Server) renew() {
	s.db, s.settings, s.master, s.dirty = seed(s.host), s.defaults(), "", 0
	s.lastSave = s.host.Now().Add(-time.Duration(s.host.ID.Seed()%3000+60) * time.Second)
}

// client is one connection. Its fields belong to the goroutine that serves it, but for what the server's lock guards: name, db, last.
type client struct {
	*tcp.Conn
	s      *Server
	in     *bufio.Reader
	id     int64
	proto  int
	db     int
	name   string
	authed bool
	opened time.Time
	last   string
	subs   int
	quit   bool

	multi  bool
	failed bool
	queue  [][]string
	queued int

	out     bytes.Buffer
	writing sync.Mutex
	watch   chan string
}

func (s *Server) handle(ctx context.Context, raw *tcp.Conn) {
	ctx, cancel := context.WithTimeout(ctx, maxDuration)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()
	c := s.register(raw)
	defer s.unregister(c)
	for range maxCommands {
		_ = c.SetReadDeadline(time.Now().Add(idleTimeout))
		args, err := readCommand(c.in)
		if err != nil {
			c.malformed(err)
			return
		}
		if len(args) > 0 {
			c.execute(ctx, args)
		}
		if c.quit || ((c.in.Buffered() == 0 || c.out.Len() > flushBytes) && c.flush() != nil) {
			_ = c.flush()
			return
		}
	}
}

func (s *Server) register(raw *tcp.Conn) *client {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.clients) == 0 && !s.lastGone.IsZero() && time.Since(s.lastGone) > resetAfter {
		s.renew()
	}
	s.nextID++
	s.total++
	c := &client{Conn: raw, s: s, in: bufio.NewReaderSize(raw, 16<<10), id: s.nextID, proto: 2, opened: s.host.Now(), authed: s.settings["requirepass"] == ""}
	s.clients[c.id] = c
	return c
}

func (s *Server) unregister(c *client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.clients, c.id)
	s.lastGone = time.Now()
	if c.watch != nil {
		close(c.watch)
		c.watch = nil
	}
}

func (c *client) malformed(err error) {
	if e, ok := errors.AsType[*protocolError](err); ok {
		c.Emit("protocol_error", eventlog.F("error", e.text), eventlog.F("data", e.data))
		c.fail("ERR Protocol error: " + e.text)
	}
	_ = c.flush()
}

func (c *client) flush() error {
	if c.out.Len() == 0 {
		return nil
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	_ = c.SetWriteDeadline(time.Now().Add(writeTimeout))
	_, err := c.Write(c.out.Bytes())
	if c.out.Reset(); c.out.Cap() > 1<<20 {
		c.out = bytes.Buffer{}
	}
	return err
}

// execute reports and runs one command.
func (c *client) execute(ctx context.Context, args []string) {
	name := strings.ToLower(args[0])
	c.report(args)
	if name == "post" || name == "host:" { // a browser led here: the real server hangs up without a word
		c.Emit("protocol_error", eventlog.F("error", "cross protocol request"))
		c.quit = true
		c.out.Reset()
		return
	}
	cmd, known := commands[name]
	if !known || !c.s.v.has(cmd) {
		c.failed = c.failed || c.multi
		c.fail(c.s.v.unknown(args))
		return
	}
	c.s.mu.Lock()
	unlock := sync.OnceFunc(c.s.mu.Unlock)
	defer unlock()
	c.s.commands++
	c.last = name
	switch text := c.refusal(name, cmd, args); {
	case text != "":
		c.failed = c.failed || c.multi
		c.fail(text)
	case c.multi && !cmd.control:
		c.enqueue(args)
	case cmd.blocking != nil:
		unlock()
		cmd.blocking(ctx, c, args)
	default:
		cmd.run(c, args)
	}
}

// refusal returns the error that comes before a command is looked at, or an empty text.
func (c *client) refusal(name string, cmd command, args []string) string {
	switch {
	case (cmd.arity > 0 && len(args) != cmd.arity) || len(args) < -cmd.arity:
		return fmt.Sprintf("ERR wrong number of arguments for '%s' command", name)
	case !c.authed && c.s.settings["requirepass"] != "" && name != "auth" && name != "hello" && name != "quit":
		return "NOAUTH Authentication required."
	case cmd.write && c.s.master != "":
		if c.s.v.atLeast(5, 0) {
			return "READONLY You can't write against a read only replica."
		}
		return "READONLY You can't write against a read only slave."
	case cmd.write && c.s.db.full():
		return "OOM command not allowed when used memory > 'maxmemory'."
	}
	return ""
}

func (c *client) enqueue(args []string) {
	for _, a := range args {
		c.queued += len(a)
	}
	if len(c.queue) >= maxQueued || c.queued > maxKept {
		c.quit = true
		return
	}
	c.queue = append(c.queue, args)
	c.simple("QUEUED")
}

// report writes the event of a command and shows it to those who monitor.
func (c *client) report(args []string) {
	items := eventlog.NewItems(maxLoggedTotal)
	for _, a := range args[1:min(len(args), maxLoggedArgs+1)] {
		items.Add(eventlog.Quote(a, maxLoggedArg))
	}
	fields := []eventlog.Field{
		eventlog.F("src_port", c.Port), eventlog.F("cmd", strings.ToUpper(cut(args[0], 64))), eventlog.F("args", items.List()), eventlog.Int("argc", len(args)-1), eventlog.Int("db", c.db),
	}
	text := strings.Join(args[:min(len(args), maxLoggedArgs+1)], " ")
	c.Emit("command", append(fields, eventlog.F("command", cut(text, 1024)))...)
	c.s.show(c, args)
}

func cut(s string, n int) string { return s[:min(len(s), n)] }
