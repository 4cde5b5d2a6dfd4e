// Package ftp is the FTP decoy: one of five servers, with a share of files, that lets nine of ten passwords in.
//
// Which server, whether it knows anonymous users, which passwords work and all files are functions of the decky's identity. Replies are
// those of released servers, of three of them as observed. Every session has the files for itself: what one uploads, it finds again, and
// nobody else does.
//
// Data connections are passive ones only, on ports that are open while awaited (package passive), and only from the address of the
// control connection. The decoy connects to nobody: PORT and EPRT are refused, and reported with the address they name.
//
// What differs from the real thing, for whoever compares: a transfer is not interrupted by ABOR but by closing its connection; uploads
// in ASCII type are kept as they come; nothing is said about TLS.
package ftp

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/decnet/decnet/decoys/artifact"
	"github.com/decnet/decnet/decoys/eventlog"
	"github.com/decnet/decnet/decoys/passive"
	"github.com/decnet/decnet/decoys/persona"
	"github.com/decnet/decnet/decoys/tcp"
	"github.com/decnet/decnet/decoys/vfs"
)

// Limits.
const (
	loginTimeout = 60 * time.Second
	writeTimeout = 30 * time.Second
	dataTimeout  = 60 * time.Second
	maxDuration  = 2 * time.Hour
	maxCommands  = 20_000
	maxUploads   = 192 << 20 // kept for all sessions together
	maxSources   = 1000
	forgetAfter  = 10 * time.Minute
	successRate  = 0.9

	// Ports is how many data ports a server should be given.
	Ports = 64
)

// Options are the dependencies of a Server. FailDelay is how long the n-th refusal in a row of one source takes; nil means one that
// doubles from a second to sixteen.
type Options struct {
	Log       *eventlog.Log
	Host      *persona.Host
	NmapOS    string
	Data      *passive.Pool
	Artifacts *artifact.Store
	FailDelay func(n int) time.Duration
}

// Server serves connections of one decoy.
type Server struct {
	*tcp.Server
	o         Options
	product   *product
	anonymous bool
	room      atomic.Int64
	active    atomic.Int64

	mu       sync.Mutex
	share    *share
	failures map[string]*failing
}

// failing is a source that was refused.
type failing struct {
	n    int
	last time.Time
}

// New makes the files. It reads none.
func New(o Options) *Server {
	if o.FailDelay == nil {
		o.FailDelay = func(n int) time.Duration { return time.Second<<min(n-1, 4) + rand.N(400*time.Millisecond) }
	}
	s := &Server{o: o, product: pick(o.Host.ID, o.NmapOS), anonymous: o.Host.ID.Rand("ftp-anonymous").IntN(5) < 2, failures: map[string]*failing{}}
	s.share = newShare(o.Host, o.Host.Now())
	s.Server = tcp.New(o.Log, s.handle)
	return s
}

// tree returns fresh files for a session.
func (s *Server) tree() *vfs.FS {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := s.o.Host.Now(); !s.share.week.Equal(weekOf(now)) {
		s.share = newShare(s.o.Host, now)
	}
	return s.share.tree(s.o.Host.Now)
}

// accepts decides once and for all about a pair of name and password.
func (s *Server) accepts(user, password string) bool {
	if user == "" || password == "" || isAnonymous(user) {
		return false
	}
	b := binary.BigEndian.AppendUint64([]byte("ftp-login"), s.o.Host.ID.Seed())
	b = append(binary.BigEndian.AppendUint32(b, uint32(len(user))), user...)
	sum := sha256.Sum256(append(b, password...))
	return float64(binary.BigEndian.Uint64(sum[:]))/math.MaxUint64 < successRate
}

func isAnonymous(user string) bool {
	u := strings.ToLower(user)
	return u == "anonymous" || u == "ftp"
}

// failed counts a refusal and returns how many there were in a row.
func (s *Server) failed(src string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	f := s.failures[src]
	if f == nil || now.Sub(f.last) > forgetAfter {
		if len(s.failures) >= maxSources {
			s.forget()
		}
		f = &failing{}
		s.failures[src] = f
	}
	f.n, f.last = f.n+1, now
	return f.n
}

// forget makes room: the source that has been quiet for the longest time goes.
func (s *Server) forget() {
	oldest := ""
	for src, f := range s.failures {
		if oldest == "" || f.last.Before(s.failures[oldest].last) {
			oldest = src
		}
	}
	delete(s.failures, oldest)
}

func (s *Server) forgive(src string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.failures, src)
}

// conn is one client. It is used by the goroutine that serves it.
type conn struct {
	*tcp.Conn
	s  *Server
	p  *product
	in lines

	user      string // as given by USER
	loggedIn  bool
	anonymous bool
	tries     int
	quit      bool

	fs       *vfs.FS
	cred     vfs.Cred
	cwd      string
	ascii    bool
	offset   int64
	rename   string
	reserved int64 // of the server's room

	data     *passive.Port
	expires  time.Time // when data closes again
	epsvOnly bool
	up, down int64
}

func (s *Server) handle(ctx context.Context, raw *tcp.Conn) {
	ctx, cancel := context.WithTimeout(ctx, maxDuration)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()
	c := &conn{Conn: raw, s: s, p: s.product, in: lines{c: raw}, cwd: "/"}
	s.active.Add(1)
	defer func() {
		c.closeData()
		s.room.Add(-c.reserved)
		s.active.Add(-1)
	}()
	c.greet()
	began := time.Now()
	for range maxCommands {
		line, err := c.line(began)
		if err != nil {
			c.ended(err)
			return
		}
		c.execute(ctx, line)
		if c.quit {
			return
		}
	}
}

// line waits for a command, and closes a data port that nobody used meanwhile.
func (c *conn) line(began time.Time) (string, error) {
	idle := time.Now().Add(c.p.idle)
	if limit := began.Add(loginTimeout); !c.loggedIn && limit.Before(idle) {
		idle = limit
	}
	for {
		deadline := idle
		if c.data != nil && c.expires.Before(deadline) {
			deadline = c.expires
		}
		line, err := c.in.next(deadline)
		if errors.Is(err, os.ErrDeadlineExceeded) && deadline.Before(idle) {
			c.closeData()
			continue
		}
		return line, err
	}
}

// ended says goodbye to who was slow or talked too much.
func (c *conn) ended(err error) {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.say("timeout")
	case errors.Is(err, errTooLong):
		c.Emit("protocol_error", eventlog.F("error", err.Error()), eventlog.F("data", string(c.in.buf[:128])))
		c.say("too long")
	}
}

func (c *conn) greet() {
	h := c.s.o.Host
	version := versionOf(h)
	if c.p == &proftpd {
		version = greetingOfProFTPD(h)
	}
	private := "220-This is a private system - No anonymous login\n"
	if c.s.anonymous {
		private = ""
	}
	local := c.visible()
	if h.PackageTool == "apt" && !strings.Contains(local, ":") { // the package listens on IPv6 sockets
		local = "::ffff:" + local
	}
	c.say("greeting", "version", version, "local", local, "n", strconv.FormatInt(c.s.active.Load()+int64(h.ID.Seed()%3), 10), "clock", h.Now().Format("15:04"), "private", private)
}

// visible returns the address this client sees.
func (c *conn) visible() string {
	host, _, _ := net.SplitHostPort(c.LocalAddr().String())
	return host
}

// say writes a reply. fill alternates names and values of what stands in braces in its text.
func (c *conn) say(k key, fill ...string) {
	text := c.p.text[k]
	if text == "" {
		return
	}
	pairs := make([]string, 0, len(fill))
	for i := 0; i+1 < len(fill); i += 2 {
		value := fill[i+1]
		if !contains("list private plain options", fill[i]) { // those are texts of ours
			value = strings.NewReplacer("\r", "", "\n", "").Replace(value)
		}
		pairs = append(pairs, "{"+fill[i]+"}", value)
	}
	text = strings.NewReplacer(pairs...).Replace(text)
	_ = c.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := c.Write([]byte(strings.ReplaceAll(text, "\n", "\r\n") + "\r\n")); err != nil {
		c.quit = true
	}
}
