package ssh

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/decnet/decnet/decoys/eventlog"
	"github.com/decnet/decnet/decoys/session"
	"github.com/decnet/decnet/decoys/shell"
)

const (
	maxEnv      = 32
	maxEnvBytes = 256
)

// channel is one session channel: a shell, a command or a subsystem.
type channel struct {
	*session.Session
	c      *conn
	ch     ssh.Channel
	env    map[string]string
	term   string
	pty    bool
	sh     *shell.Session
	opened bool
}

func (c *conn) newChannel(ch ssh.Channel) *channel {
	o := c.s.o
	books := session.New(session.Options{Log: o.Log, Service: o.Service, Machine: o.Machine, Records: o.Records, Artifacts: o.Artifacts},
		c.client(c.ssh.User()))
	return &channel{Session: books, c: c, ch: ch, env: map[string]string{}}
}

// serve answers requests until one starts a program, then runs it while window changes and signals keep coming.
func (s *channel) serve(ctx context.Context, reqs <-chan *ssh.Request) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer s.ch.Close()
	done := make(chan struct{})
	for {
		select {
		case r, ok := <-reqs:
			if !ok {
				cancel()
				s.Hangup()
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

func (s *channel) request(r *ssh.Request) (ok bool, run *program) {
	switch r.Type {
	case "pty-req":
		return s.ptyRequest(r.Payload), nil
	case "window-change":
		if len(r.Payload) >= 8 {
			s.Resize(binary.BigEndian.Uint32(r.Payload), binary.BigEndian.Uint32(r.Payload[4:]))
		}
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
		s.c.emit("forward_request", eventlog.F("kind", r.Type), eventlog.F("sid", s.ID))
		return false, nil
	case "signal":
		return true, nil
	}
	return false, nil
}

func (s *channel) program(r *ssh.Request) *program {
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

func (s *channel) ptyRequest(b []byte) bool {
	var p struct {
		Term                 string
		Cols, Rows, PxW, PxH uint32
		Modes                string
	}
	if s.opened || ssh.Unmarshal(b, &p) != nil {
		return false
	}
	s.pty, s.term = true, p.Term[:min(len(p.Term), 64)]
	s.Resize(p.Cols, p.Rows)
	return true
}

func (s *channel) setEnv(b []byte) bool {
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
func (s *channel) run(ctx context.Context, p *program) {
	s.Begin(session.Program{Kind: p.kind, Command: p.command, Term: s.term, Recorded: p.recorded})
	local, localPort, _ := net.SplitHostPort(s.c.raw.LocalAddr().String())
	o := shell.Options{LocalIP: hostIP(s, local), LocalPort: visiblePort(localPort), Term: s.term, Env: s.env, Out: s.Output(s.ch), Err: s.Output(s.ch.Stderr())}
	switch {
	case s.pty:
		o.TTY = s.Terminal(s.ch)
		o.Out, o.Err = o.TTY, o.TTY
	case p.recorded:
		o.In = s.Input(s.ch)
	}
	s.sh = s.Shell(o)
	if s.pty {
		go s.feed()
	}
	status := s.Guard(p.kind, func() int { return p.main(ctx) })
	count := s.sh.Close()
	_, _ = s.ch.SendRequest("exit-status", false, binary.BigEndian.AppendUint32(nil, uint32(status)))
	if p.kind == "shell" || p.kind == "exec" {
		_, _ = s.ch.SendRequest("eow@openssh.com", false, nil)
	}
	_ = s.ch.CloseWrite()
	_ = s.ch.Close()
	s.Finish(count)
}

// hostIP hides a loopback listener behind the pretended interface address.
func hostIP(s *channel, local string) string {
	if ip := net.ParseIP(local); ip == nil || ip.IsLoopback() {
		return s.c.s.o.Machine.Host.Addr.String()
	}
	return local
}

// visiblePort hides that the decoy may listen elsewhere than where the real service would.
func visiblePort(string) string { return "22" }

func (s *channel) shell(ctx context.Context) int { return s.sh.Serve(ctx) }

// feed moves keys from the channel to the terminal.
func (s *channel) feed() {
	defer s.Hangup()
	buf := make([]byte, 4096)
	for {
		n, err := s.ch.Read(buf)
		if n > 0 {
			s.Type(buf[:n])
		}
		if err != nil {
			return
		}
	}
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
