package ssh

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/crypto/ssh"

	"github.com/decnet/decnet/decoys/artifact"
	"github.com/decnet/decnet/decoys/eventlog"
	"github.com/decnet/decnet/decoys/recording"
	"github.com/decnet/decnet/decoys/shell"
)

const (
	maxEnv      = 32
	maxEnvBytes = 256
)

// session is one session channel: a shell, a command or a subsystem.
type session struct {
	c      *conn
	ch     ssh.Channel
	sid    string
	env    map[string]string
	term   string
	cols   int
	rows   int
	pty    bool
	tty    *shell.TTY
	mu     sync.Mutex
	rec    *recording.Session
	sh     *shell.Session
	start  time.Time
	opened bool
}

func newSession(c *conn, ch ssh.Channel) *session {
	return &session{c: c, ch: ch, sid: uuid.NewString(), env: map[string]string{}, cols: 80, rows: 24}
}

// serve answers requests until one starts a program, then runs it while window changes and signals keep coming.
func (s *session) serve(ctx context.Context, reqs <-chan *ssh.Request) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer s.ch.Close()
	done := make(chan struct{})
	for {
		select {
		case r, ok := <-reqs:
			if !ok {
				cancel()
				if s.tty != nil {
					s.tty.Close()
				}
				if s.opened {
					<-done
				}
				return
			}
			ok, run := s.request(r)
			if r.WantReply {
				_ = r.Reply(ok, nil)
			}
			if run != nil {
				s.opened = true
				go func() {
					defer close(done)
					s.run(ctx, run)
				}()
			}
		case <-done:
			go ssh.DiscardRequests(reqs)
			return
		}
	}
}

// program is what a session runs; it returns the exit status.
type program struct {
	kind, command string
	recorded      bool
	main          func(context.Context) int
}

func (s *session) request(r *ssh.Request) (ok bool, run *program) {
	switch r.Type {
	case "pty-req":
		return s.ptyRequest(r.Payload), nil
	case "window-change":
		s.resize(r.Payload)
		return true, nil
	case "env":
		return s.setEnv(r.Payload), nil
	case "shell", "exec", "subsystem":
		if s.opened {
			return false, nil
		}
		run = s.program(r)
		return run != nil, run
	case "auth-agent-req@openssh.com", "x11-req":
		s.c.emit("forward_request", eventlog.F("kind", r.Type), eventlog.F("sid", s.sid))
		return false, nil
	case "signal":
		return true, nil
	}
	return false, nil
}

func (s *session) program(r *ssh.Request) *program {
	if r.Type == "shell" {
		return &program{kind: "shell", recorded: true, main: s.shell}
	}
	var p struct{ Value string }
	if ssh.Unmarshal(r.Payload, &p) != nil {
		return nil
	}
	switch {
	case r.Type == "subsystem" && p.Value == "sftp":
		return &program{kind: "sftp", main: s.sftp}
	case r.Type == "subsystem":
		return nil
	case isScp(p.Value):
		return &program{kind: "scp", command: p.Value, main: func(ctx context.Context) int { return s.scp(ctx, p.Value) }}
	case strings.HasSuffix(strings.TrimSpace(p.Value), "sftp-server"):
		return &program{kind: "sftp", command: p.Value, main: s.sftp}
	}
	return &program{kind: "exec", command: p.Value, recorded: true, main: func(ctx context.Context) int { return s.sh.Exec(ctx, p.Value) }}
}

func (s *session) ptyRequest(b []byte) bool {
	var p struct {
		Term                 string
		Cols, Rows, PxW, PxH uint32
		Modes                string
	}
	if s.opened || ssh.Unmarshal(b, &p) != nil {
		return false
	}
	s.pty, s.term = true, p.Term[:min(len(p.Term), 64)]
	s.cols, s.rows = sane(p.Cols, 80), sane(p.Rows, 24)
	return true
}

func sane(n uint32, def int) int {
	if n == 0 || n > 1000 {
		return def
	}
	return int(n)
}

func (s *session) resize(b []byte) {
	if len(b) < 8 {
		return
	}
	cols, rows := sane(binary.BigEndian.Uint32(b), 80), sane(binary.BigEndian.Uint32(b[4:]), 24)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cols, s.rows = cols, rows
	if s.tty != nil {
		s.tty.Resize(cols, rows)
	}
	if s.rec != nil {
		s.rec.Resize(cols, rows)
	}
}

func (s *session) setEnv(b []byte) bool {
	var p struct{ Name, Value string }
	if ssh.Unmarshal(b, &p) != nil || len(p.Value) > maxEnvBytes || len(s.env) >= maxEnv {
		return false
	}
	if p.Name != "LANG" && (!strings.HasPrefix(p.Name, "LC_") || len(p.Name) > 32 || strings.ContainsAny(p.Name, "=\x00 ")) {
		return false
	}
	s.env[p.Name] = strings.ReplaceAll(p.Value, "\x00", "")
	return true
}

// run opens the session, runs the program and closes it again, with all events.
func (s *session) run(ctx context.Context, p *program) {
	s.start = time.Now()
	s.event("session_opened", eventlog.F("kind", p.kind))
	if p.recorded {
		s.record(p)
	}
	local, localPort, _ := net.SplitHostPort(s.c.raw.LocalAddr().String())
	out := io.Writer(recorded{s, s.ch})
	errw := io.Writer(recorded{s, s.ch.Stderr()})
	s.mu.Lock()
	if s.pty {
		s.tty = shell.NewTTY(out, s.cols, s.rows)
		out, errw = s.tty, s.tty
	}
	s.mu.Unlock()
	s.sh = s.c.s.o.Machine.NewSession(shell.Options{
		User: s.c.ssh.User(), SrcIP: s.c.src, SrcPort: s.c.port, LocalIP: hostIP(s, local), LocalPort: visiblePort(localPort), Term: s.term, Env: s.env,
		TTY: s.tty, In: s.input(p), Out: out, Err: errw, PID: s.c.pid, Hooks: shell.Hooks{Command: s.command, File: s.file, Download: s.download},
	})
	if s.tty != nil {
		go s.feed()
	}
	status := s.guarded(ctx, p)
	count := s.sh.Close()
	_, _ = s.ch.SendRequest("exit-status", false, binary.BigEndian.AppendUint32(nil, uint32(status)))
	if p.kind == "shell" || p.kind == "exec" {
		_, _ = s.ch.SendRequest("eow@openssh.com", false, nil)
	}
	_ = s.ch.CloseWrite()
	_ = s.ch.Close()
	s.finish(count)
}

// hostIP hides a loopback listener behind the pretended interface address.
func hostIP(s *session, local string) string {
	if ip := net.ParseIP(local); ip == nil || ip.IsLoopback() {
		return s.c.s.o.Machine.Host.Addr.String()
	}
	return local
}

// visiblePort hides that the decoy may listen elsewhere than where the real service would.
func visiblePort(string) string { return "22" }

func (s *session) guarded(ctx context.Context, p *program) (status int) {
	defer func() {
		if recover() != nil {
			s.event("parse_error", eventlog.F("error", "panic in "+p.kind))
			status = 255
		}
	}()
	return p.main(ctx)
}

func (s *session) shell(ctx context.Context) int { return s.sh.Serve(ctx) }

// input is the channel as standard input of a program without terminal.
func (s *session) input(p *program) io.Reader {
	if s.tty != nil || p.kind == "sftp" || p.kind == "scp" {
		return nil
	}
	return tapped{s}
}

type tapped struct{ s *session }

func (t tapped) Read(b []byte) (int, error) {
	n, err := t.s.ch.Read(b)
	if t.s.rec != nil && n > 0 {
		t.s.rec.Input(b[:n])
	}
	return n, err
}

// feed moves keys from the channel to the terminal.
func (s *session) feed() {
	defer s.tty.Close()
	buf := make([]byte, 4096)
	for {
		n, err := s.ch.Read(buf)
		if n > 0 {
			if s.rec != nil {
				s.rec.Input(buf[:n])
			}
			s.tty.Feed(buf[:n])
		}
		if err != nil {
			return
		}
	}
}

type recorded struct {
	s *session
	w io.Writer
}

func (r recorded) Write(p []byte) (int, error) {
	n, err := r.w.Write(p)
	if r.s.rec != nil && n > 0 {
		r.s.rec.Output(p[:n])
	}
	return n, err
}

func (s *session) record(p *program) {
	rec, err := s.c.s.o.Records.Start(recording.Header{
		SID: s.sid, Width: s.cols, Height: s.rows, Shell: "/bin/bash", Term: s.term, Command: p.command, Start: s.start,
	})
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

func (s *session) event(id string, fields ...eventlog.Field) {
	s.c.emit(id, append([]eventlog.Field{eventlog.F("sid", s.sid)}, fields...)...)
}

func (s *session) sessrec(id string, fields ...eventlog.Field) {
	s.c.s.o.Log.Emit(eventlog.Event{App: "sessrec", MsgID: id, Fields: append([]eventlog.Field{
		eventlog.F("sid", s.sid), eventlog.F("service", s.c.s.o.Service), eventlog.F("src_ip", s.c.src),
	}, fields...)})
}

func (s *session) finish(count int64) {
	d := seconds(time.Since(s.start))
	if s.rec != nil {
		sum := s.rec.Close()
		s.sessrec("session_recorded", eventlog.F("duration_s", d), eventlog.Int("bytes", sum.Bytes), eventlog.F("truncated", strconv.FormatBool(sum.Truncated)))
	}
	s.sessrec("session_closed", eventlog.F("duration_s", d), eventlog.Int("command_count", count), eventlog.F("has_recording", strconv.FormatBool(s.rec != nil)))
}

func (s *session) command(e shell.CommandEvent) {
	line := e.Line[:min(len(e.Line), 4000)]
	s.c.s.o.Log.Emit(eventlog.Event{
		MsgID: "command",
		Fields: []eventlog.Field{
			eventlog.F("sid", s.sid), eventlog.F("src_ip", s.c.src), eventlog.F("command", line), eventlog.Int("uid", e.UID), eventlog.F("user", e.User), eventlog.F("pwd", e.Dir),
		},
		Msg: "CMD uid=" + strconv.Itoa(e.UID) + " user=" + e.User + " src=" + s.c.src + " pwd=" + e.Dir + " cmd=" + line,
	})
}

func (s *session) download(tool, url string) {
	s.event("download_attempt", eventlog.F("url", url[:min(len(url), 2048)]), eventlog.F("tool", tool))
}

func (s *session) file(e shell.FileEvent) {
	f, err := s.c.s.o.Artifacts.Capture(e.Path, e.Data)
	if err != nil {
		s.event("file_skipped", eventlog.F("orig_path", e.Path), eventlog.Int("size", len(e.Data)), eventlog.F("reason", artifact.SkipReason(err)))
		return
	}
	s.c.s.o.Log.Emit(f.Event(e.Path, artifact.Writer{
		SrcIP: s.c.src, SrcPort: s.c.port, User: s.c.ssh.User(), UID: e.UID, PID: s.c.pid, Comm: e.Comm, Cmdline: e.Cmdline, SessionID: s.sid, ModTime: e.ModTime,
	}))
}

// denied is what file operations of the transfer protocols report.
func denied(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return os.ErrNotExist
	}
	if errors.Is(err, os.ErrPermission) {
		return os.ErrPermission
	}
	return err
}
