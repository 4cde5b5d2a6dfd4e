// Package shell is a shell that looks like bash on a real server and touches nothing.
//
// Command lines are parsed and interpreted (pipes, redirections, loops, functions), but every file lives in a vfs.FS,
// every program is a Go function that prints a plausible answer, and there is no network. The interpreter's ways to the
// real machine are closed twice: all its handlers are replaced, and constructs that bypass them (process substitution,
// `$$`, sourcing) are rewritten before it sees them. The process sandbox is the third line.
//
// Attackers pay for what they use: bytes of output, calls, wall time, variables and memory are bounded per command line,
// endless loops slow down, and every line can be interrupted.
package shell

import (
	"context"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/decnet/decnet/decoys/persona"
	"github.com/decnet/decnet/decoys/vfs"
)

// Limits of the tree that all sessions of a decoy share.
const (
	maxTreeBytes = 64 << 20
	maxTreeNodes = 20000
)

// CommandEvent is one command line that an intruder ran.
type CommandEvent struct {
	UID           int
	User, Dir     string
	Line          string
	Uninteractive bool
}

// FileEvent is a file an intruder finished writing.
type FileEvent struct {
	Path          string
	Data          []byte
	UID           int
	User          string
	Comm, Cmdline string
	ModTime       time.Time
}

// Hooks are called for what an observer wants to know. All must be safe for concurrent use; nil ones are skipped.
type Hooks struct {
	Command  func(CommandEvent)
	File     func(FileEvent)
	Download func(tool, url string)
}

// Machine is one pretended host: its facts and its files, shared by all sessions. It is safe for concurrent use.
type Machine struct {
	Host *persona.Host

	mu       sync.Mutex
	fs       *vfs.FS
	sessions int
	pids     atomic.Int64
	online   map[*Session]struct{}
}

// NewMachine builds the host's file system.
func NewMachine(h *persona.Host) *Machine {
	m := &Machine{Host: h, online: map[*Session]struct{}{}}
	m.pids.Store(int64(1800 + h.ID.Seed()%4000))
	m.fs = buildRoot(m)
	return m
}

// FS returns the current tree. A session keeps the one it started with.
func (m *Machine) FS() *vfs.FS {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.fs
}

// NextPID returns a fresh process id.
func (m *Machine) NextPID() int { return int(m.pids.Add(1 + time.Now().UnixNano()%3)) }

// Options describe a session to be opened.
type Options struct {
	User             string
	SrcIP            string
	SrcPort          string
	LocalIP          string
	LocalPort        string
	Term             string
	Env              map[string]string
	TTY              *TTY // nil without a terminal
	In               io.Reader
	Out, Err         io.Writer
	Hooks            Hooks
	PID              int
	SuppressCommands bool
}

// Session is one login. It is used by one goroutine, except where noted.
type Session struct {
	m       *Machine
	fs      *vfs.FS
	o       Options
	user    User
	tty     *TTY
	in      *lazyInput
	history []string
	started time.Time
	pid     int
	ptsName string
	count   atomic.Int64
}

// NewSession opens a session for an existing account; an unknown name gets a copy of `nobody`. Close must be called.
func (m *Machine) NewSession(o Options) *Session {
	m.mu.Lock()
	if m.sessions == 0 && m.damaged() {
		m.fs = buildRoot(m)
	}
	m.sessions++
	s := &Session{m: m, fs: m.fs, o: o, tty: o.TTY, started: m.Host.Now(), pid: o.PID}
	m.mu.Unlock()
	if s.pid == 0 {
		s.pid = m.NextPID()
	}
	s.user = s.lookup(o.User)
	s.in = newLazyInput(o.TTY, o.In)
	m.mu.Lock()
	s.ptsName = m.freePTS()
	m.online[s] = struct{}{}
	m.mu.Unlock()
	if b, err := s.fs.ReadFile(vfs.Cred{}, s.user.Home+"/.bash_history"); err == nil {
		s.history = strings.Split(strings.TrimSpace(string(b)), "\n")
	}
	return s
}

// damaged reports whether an earlier intruder left nothing to work with; then the tree is made anew.
func (m *Machine) damaged() bool {
	for _, p := range []string{"/bin/ls", "/etc/passwd", "/root", "/tmp"} {
		if _, err := m.fs.Stat(vfs.Cred{}, p, true); err != nil {
			return true
		}
	}
	_, nodes := m.fs.Used()
	bytes, _ := m.fs.Used()
	return nodes > maxTreeNodes*9/10 || bytes > maxTreeBytes*9/10
}

func (m *Machine) freePTS() string {
	used := map[string]bool{}
	for s := range m.online {
		used[s.ptsName] = true
	}
	for i := range 1000 {
		if n := "pts/" + itoa(i); !used[n] {
			return n
		}
	}
	return "pts/1000"
}

// Close ends the session and returns how many command lines it ran.
func (s *Session) Close() int64 {
	s.m.mu.Lock()
	s.m.sessions--
	delete(s.m.online, s)
	s.m.mu.Unlock()
	s.in.close()
	return s.count.Load()
}

// Count returns how many command lines ran so far. It is safe for concurrent use.
func (s *Session) Count() int64 { return s.count.Load() }

// FS returns the tree this session works on.
func (s *Session) FS() *vfs.FS { return s.fs }

// User returns the account of the session.
func (s *Session) User() User { return s.user }

// Exec runs one command line like `bash -c` and returns its exit status.
func (s *Session) Exec(ctx context.Context, line string) int {
	sh := s.newShell(s.user, 0, "bash")
	defer sh.close()
	s.report(sh, line, true)
	return sh.runText(ctx, line)
}

// Serve runs a login shell until the intruder leaves, and returns its exit status.
func (s *Session) Serve(ctx context.Context) int {
	sh := s.newShell(s.user, 0, "-"+baseShell(s.user.Shell))
	defer sh.close()
	if s.tty != nil {
		io.WriteString(s.tty, s.greeting())
	}
	return sh.loop(ctx)
}

func baseShell(p string) string { return p[strings.LastIndexByte(p, '/')+1:] }

// Uploaded reports a file written by other means than a command, such as sftp.
func (s *Session) Uploaded(path string, data []byte, comm string) {
	s.captured(path, data, comm, comm)
}

func (s *Session) captured(path string, data []byte, comm, cmdline string) {
	if s.o.Hooks.File == nil || len(data) == 0 || ignoredPath(path) {
		return
	}
	s.o.Hooks.File(FileEvent{
		Path: path, Data: data, UID: s.user.UID, User: s.user.Name, Comm: comm, Cmdline: cmdline, ModTime: s.m.Host.Now(),
	})
}

func ignoredPath(p string) bool {
	for _, pre := range []string{"/dev/", "/proc/", "/sys/", "/var/lib/systemd/", "/var/log/"} {
		if strings.HasPrefix(p, pre) && !strings.HasPrefix(p, "/dev/shm/") {
			return true
		}
	}
	return strings.HasSuffix(p, "_history") || strings.HasSuffix(p, "/.viminfo")
}

func (s *Session) report(sh *shell, line string, quiet bool) {
	s.count.Add(1)
	if s.o.Hooks.Command != nil && !s.o.SuppressCommands {
		s.o.Hooks.Command(CommandEvent{UID: sh.user.UID, User: sh.user.Name, Dir: sh.dir(), Line: line, Uninteractive: quiet})
	}
}

func (s *Session) width() int {
	if s.tty == nil {
		return 80
	}
	w, _ := s.tty.Size()
	return w
}
