// Package session keeps the books of what an intruder does after logging in: the recording, the events of commands and dropped
// files, the terminal. It knows no protocol; package ssh and package telnet move its bytes.
//
// Every session that began ends with exactly one `session_closed`, recorded or not.
package session

import (
	"errors"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/decnet/decnet/decoys/artifact"
	"github.com/decnet/decnet/decoys/eventlog"
	"github.com/decnet/decnet/decoys/recording"
	"github.com/decnet/decnet/decoys/shell"
	"github.com/decnet/decnet/decoys/tcp"
)

const (
	maxCommandText = 4000
	maxURLText     = 2048
	maxWindow      = 1000
)

// Options are what all sessions of a decoy share.
type Options struct {
	Log       *eventlog.Log
	Service   string
	Machine   *shell.Machine
	Records   *recording.Store
	Artifacts *artifact.Store
}

// Client is who a session belongs to. Src and Port are its address in text, PID the process that serves it in the pretended host.
type Client struct {
	Src, Port, User string
	PID             int
}

// Session is one session. Create it with New; call Begin first and Finish last, once each.
type Session struct {
	ID string

	o     Options
	c     Client
	start time.Time

	mu         sync.Mutex
	cols, rows int
	tty        *shell.TTY
	rec        *recording.Session
}

// New returns a session of 80 columns and 24 rows with a fresh id.
func New(o Options, c Client) *Session {
	return &Session{ID: uuid.NewString(), o: o, c: c, cols: 80, rows: 24}
}

// Resize sets the size of the window, before or while a terminal is open; zero and nonsense become 80x24.
func (s *Session) Resize(cols, rows uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cols, s.rows = sane(cols, 80), sane(rows, 24)
	if s.tty != nil {
		s.tty.Resize(s.cols, s.rows)
	}
	if s.rec != nil {
		s.rec.Resize(s.cols, s.rows)
	}
}

func sane(n uint32, def int) int {
	if n == 0 || n > maxWindow {
		return def
	}
	return int(n)
}

// Program says what a session runs. Kind is shell, exec, sftp or scp; Command is empty for a shell.
type Program struct {
	Kind, Command, Term string
	Recorded            bool
}

// Begin reports the session and starts its recording. A recording that cannot be kept is reported and otherwise missing.
func (s *Session) Begin(p Program) {
	s.start = time.Now()
	s.Event("session_opened", eventlog.F("kind", p.Kind))
	if !p.Recorded {
		return
	}
	s.mu.Lock()
	h := recording.Header{SID: s.ID, Width: s.cols, Height: s.rows, Shell: "/bin/bash", Term: p.Term, Command: p.Command, Start: s.start}
	s.mu.Unlock()
	rec, err := s.o.Records.Start(h)
	if err != nil {
		reason := recording.ReasonOpenFailed
		if e, ok := errors.AsType[*recording.SkipError](err); ok {
			reason = e.Reason
		}
		s.sessrec("session_skipped", eventlog.F("reason", reason))
		return
	}
	s.mu.Lock()
	s.rec = rec
	s.mu.Unlock()
}

// Terminal opens a terminal of the current size that prints to out; what it prints is recorded.
func (s *Session) Terminal(out io.Writer) *shell.TTY {
	out = s.Output(out)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tty = shell.NewTTY(out, s.cols, s.rows)
	return s.tty
}

// Type hands keys to the terminal and records them.
func (s *Session) Type(p []byte) {
	if rec := s.recording(); rec != nil {
		rec.Input(p)
	}
	s.tty.Feed(p)
}

// Hangup ends the input of the terminal, if there is one.
func (s *Session) Hangup() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tty != nil {
		s.tty.Close()
	}
}

// Shell opens the session on the pretended host. Account, source and hooks of o are filled in.
func (s *Session) Shell(o shell.Options) *shell.Session {
	o.User, o.SrcIP, o.SrcPort, o.PID = s.c.User, s.c.Src, s.c.Port, s.c.PID
	o.Hooks = shell.Hooks{Command: s.Command, File: s.file, Download: s.download}
	return s.o.Machine.NewSession(o)
}

// Guard runs main and turns a panic into an event and the exit status 255.
func (s *Session) Guard(kind string, main func() int) (status int) {
	defer func() {
		if recover() != nil {
			s.Event("parse_error", eventlog.F("error", "panic in "+kind))
			status = 255
		}
	}()
	return main()
}

// Finish ends the recording and reports the end. count is how many command lines ran.
func (s *Session) Finish(count int64) {
	d := tcp.Seconds(time.Since(s.start))
	rec := s.recording()
	if rec != nil {
		sum := rec.Close()
		s.sessrec("session_recorded", eventlog.F("duration_s", d), eventlog.Int("bytes", sum.Bytes), eventlog.F("truncated", strconv.FormatBool(sum.Truncated)))
	}
	s.sessrec("session_closed", eventlog.F("duration_s", d), eventlog.Int("command_count", count), eventlog.F("has_recording", strconv.FormatBool(rec != nil)))
}

// Event writes an event of this session; src_ip and sid are its first fields.
func (s *Session) Event(id string, fields ...eventlog.Field) {
	s.o.Log.Emit(eventlog.Event{MsgID: id, Fields: append([]eventlog.Field{eventlog.F("src_ip", s.c.Src), eventlog.F("sid", s.ID)}, fields...)})
}

// Output returns a writer to w that records what it writes.
func (s *Session) Output(w io.Writer) io.Writer { return output{s, w} }

// Input returns a reader from r that records what it reads.
func (s *Session) Input(r io.Reader) io.Reader { return input{s, r} }

type output struct {
	s *Session
	w io.Writer
}

func (o output) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	if rec := o.s.recording(); rec != nil && n > 0 {
		rec.Output(p[:n])
	}
	return n, err
}

type input struct {
	s *Session
	r io.Reader
}

func (i input) Read(p []byte) (int, error) {
	n, err := i.r.Read(p)
	if rec := i.s.recording(); rec != nil && n > 0 {
		rec.Input(p[:n])
	}
	return n, err
}

func (s *Session) recording() *recording.Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rec
}

func (s *Session) sessrec(id string, fields ...eventlog.Field) {
	s.o.Log.Emit(eventlog.Event{App: "sessrec", MsgID: id, Fields: append([]eventlog.Field{
		eventlog.F("sid", s.ID), eventlog.F("service", s.o.Service), eventlog.F("src_ip", s.c.Src),
	}, fields...)})
}

// Command reports a command line.
func (s *Session) Command(e shell.CommandEvent) {
	line := e.Line[:min(len(e.Line), maxCommandText)]
	s.o.Log.Emit(eventlog.Event{
		MsgID: "command",
		Fields: []eventlog.Field{
			eventlog.F("sid", s.ID), eventlog.F("src_ip", s.c.Src), eventlog.F("command", line), eventlog.Int("uid", e.UID), eventlog.F("user", e.User), eventlog.F("pwd", e.Dir),
		},
		Msg: "CMD uid=" + strconv.Itoa(e.UID) + " user=" + e.User + " src=" + s.c.Src + " pwd=" + e.Dir + " cmd=" + line,
	})
}

func (s *Session) download(tool, url string) {
	s.Event("download_attempt", eventlog.F("url", url[:min(len(url), maxURLText)]), eventlog.F("tool", tool))
}

func (s *Session) file(e shell.FileEvent) {
	f, err := s.o.Artifacts.Capture(e.Path, e.Data)
	if err != nil {
		s.Event("file_skipped", eventlog.F("orig_path", e.Path), eventlog.Int("size", len(e.Data)), eventlog.F("reason", artifact.SkipReason(err)))
		return
	}
	s.o.Log.Emit(f.Event(e.Path, artifact.Writer{
		SrcIP: s.c.Src, SrcPort: s.c.Port, User: s.c.User, UID: e.UID, PID: s.c.PID, Comm: e.Comm, Cmdline: e.Cmdline, SessionID: s.ID, ModTime: e.ModTime,
	}))
}
