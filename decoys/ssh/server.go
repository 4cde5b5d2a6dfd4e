// Package ssh is the SSH decoy: a server that looks like OpenSSH of the release its banner names, lets two accounts in
// and gives them a pretended shell.
//
// What differs from the real thing, for whoever compares: sntrup761x25519, diffie-hellman-group18-sha512, umac and
// hmac-sha1-etm are never offered; the strict key exchange marker is always offered, so banners name patch levels that
// carry that fix (CentOS 7, Fedora 39 and Arch's 9.7 or Kali's 9.7 have it in no or later packages); compression is `none`
// only; after authentication failures the methods are listed as `password,publickey` where OpenSSH says
// `publickey,password`; EXT_INFO names ping@openssh.com, which OpenSSH has since 9.5; the sftp extensions are those of the
// library. Keyboard-interactive works but is offered by all releases alike.
//
// Every event an attacker causes carries src_ip. No input may crash the process: each connection and channel recovers.
package ssh

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/decnet/decnet/decoys/artifact"
	"github.com/decnet/decnet/decoys/config"
	"github.com/decnet/decnet/decoys/eventlog"
	"github.com/decnet/decnet/decoys/recording"
	"github.com/decnet/decnet/decoys/shell"
	"github.com/decnet/decnet/decoys/tcp"
)

// Limits of the server.
const (
	maxChannels  = 10
	maxAuthTries = 6
	loginGrace   = 120 * time.Second
	idleTimeout  = 30 * time.Minute
	maxSession   = 12 * time.Hour
)

// Options are the dependencies of a Server. FailDelay is how long a wrong password takes to be refused; nil means the
// delay of PAM with its jitter.
type Options struct {
	Log       *eventlog.Log
	Service   string
	Config    config.SSH
	Machine   *shell.Machine
	State     *os.Root
	Records   *recording.Store
	Artifacts *artifact.Store
	FailDelay func() time.Duration
}

// Server serves connections of one decoy. Create it with New before the process is confined.
type Server struct {
	*tcp.Server
	o       Options
	keys    map[string]ssh.AlgorithmSigner
	late    *lateKey
	profile profile
}

// New loads or makes the host keys.
func New(o Options) (*Server, error) {
	keys, late, err := hostKeys(o.State)
	if err != nil {
		return nil, err
	}
	if o.FailDelay == nil {
		o.FailDelay = func() time.Duration { return 1200*time.Millisecond + rand.N(1300*time.Millisecond) }
	}
	p, ok := profiles[o.Machine.Host.SSH.Profile]
	if !ok {
		return nil, fmt.Errorf("no algorithm profile %q", o.Machine.Host.SSH.Profile)
	}
	s := &Server{o: o, keys: keys, late: late, profile: p}
	s.Server = tcp.New(o.Log, s.handle)
	return s, nil
}

// Serve accepts connections until the listener is closed.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	go s.finishKeys(ctx)
	return s.Server.Serve(ctx, l)
}

// finishKeys makes the RSA key when nobody asked for it during the first minute. Many decoys start at once; their keys
// need not be made at once.
func (s *Server) finishKeys(ctx context.Context) {
	pause := time.NewTimer(20*time.Second + rand.N(40*time.Second))
	defer pause.Stop()
	select {
	case <-ctx.Done():
	case <-pause.C:
		_, _ = s.late.signer() // a client that needs it meets the error again
	}
}

// conn is one client.
type conn struct {
	s    *Server
	raw  *tcp.Conn
	src  string
	port string
	pid  int
	mu   sync.Mutex
	ssh  *ssh.ServerConn
	idle time.Duration
}

func (s *Server) handle(ctx context.Context, raw *tcp.Conn) {
	c := &conn{s: s, raw: raw, src: raw.Src, port: raw.Port, pid: s.o.Machine.NextPID()}
	c.serve(ctx)
}

// emit writes an event of this client.
func (c *conn) emit(id string, fields ...eventlog.Field) { c.raw.Emit(id, fields...) }

func (c *conn) serve(ctx context.Context) {
	_ = c.raw.SetDeadline(time.Now().Add(loginGrace))
	sn := &sniffed{
		Conn:  c.raw,
		idle:  func() time.Duration { c.mu.Lock(); defer c.mu.Unlock(); return c.idle },
		found: c.banner,
		bad: func(first []byte) {
			c.emit("protocol_error", eventlog.F("error", "identification"), eventlog.F("data", string(first[:min(len(first), 128)])))
		},
	}
	sc, chans, reqs, err := ssh.NewServerConn(sn, c.config(ctx))
	if err != nil {
		if _, auth := errors.AsType[*ssh.ServerAuthError](err); !auth {
			c.emit("parse_error", eventlog.F("error", eventlog.Spell(err.Error())[:min(len(eventlog.Spell(err.Error())), 200)]))
		}
		return
	}
	defer sc.Close()
	c.mu.Lock()
	c.ssh, c.idle = sc, idleTimeout
	c.mu.Unlock()
	_ = c.raw.SetDeadline(time.Time{})
	ctx, cancel := context.WithTimeout(ctx, maxSession)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = sc.Close() })
	defer stop()
	go c.global(reqs)
	c.channels(ctx, chans)
}

func (c *conn) banner(version string, k *KexInit) {
	fields := []eventlog.Field{eventlog.F("client_version", version[:min(len(version), 255)])}
	if k != nil {
		fields = append(fields, eventlog.F("hassh", k.HASSH()), eventlog.F("hassh_algorithms", k.Kex+";"+k.CiphersCS+";"+k.MACsCS+";"+k.CompressionCS))
	}
	c.emit("client_banner", fields...)
}

// channels serves session channels; everything else is refused like a server without forwarding does.
func (c *conn) channels(ctx context.Context, chans <-chan ssh.NewChannel) {
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, maxChannels)
	for nc := range chans {
		if nc.ChannelType() != "session" {
			c.refuse(nc)
			continue
		}
		select {
		case slots <- struct{}{}:
		default:
			_ = nc.Reject(ssh.ConnectionFailed, "open failed")
			continue
		}
		ch, reqs, err := nc.Accept()
		if err != nil {
			<-slots
			continue
		}
		wg.Add(1)
		go func() {
			defer func() {
				if p := recover(); p != nil {
					c.emit("parse_error", eventlog.F("error", "panic in session"))
					_ = ch.Close()
				}
				<-slots
				wg.Done()
			}()
			c.newChannel(ch).serve(ctx, reqs)
		}()
	}
}

func (c *conn) refuse(nc ssh.NewChannel) {
	var d struct {
		Host  string
		Port  uint32
		OHost string
		OPort uint32
	}
	fields := []eventlog.Field{eventlog.F("kind", nc.ChannelType())}
	switch nc.ChannelType() {
	case "direct-tcpip":
		if ssh.Unmarshal(nc.ExtraData(), &d) == nil {
			fields = append(fields, eventlog.F("dest", d.Host[:min(len(d.Host), 255)]+":"+strconv.Itoa(int(d.Port))), eventlog.Int("dest_port", d.Port),
				eventlog.F("origin", d.OHost[:min(len(d.OHost), 255)]+":"+strconv.Itoa(int(d.OPort))))
		}
		c.emit("forward_request", fields...)
		_ = nc.Reject(ssh.Prohibited, "open failed")
	case "direct-streamlocal@openssh.com", "x11", "forwarded-tcpip", "tun@openssh.com":
		c.emit("forward_request", fields...)
		_ = nc.Reject(ssh.Prohibited, "open failed")
	default:
		_ = nc.Reject(ssh.UnknownChannelType, "unknown channel type")
	}
}

// global answers requests outside channels. Only forwarding is worth an event.
func (c *conn) global(reqs <-chan *ssh.Request) {
	for r := range reqs {
		switch r.Type {
		case "tcpip-forward", "streamlocal-forward@openssh.com":
			var d struct {
				Addr string
				Port uint32
			}
			_ = ssh.Unmarshal(r.Payload, &d)
			c.emit("forward_request", eventlog.F("kind", r.Type), eventlog.F("dest", d.Addr[:min(len(d.Addr), 255)]+":"+strconv.Itoa(int(d.Port))))
		}
		if r.WantReply {
			_ = r.Reply(false, nil) // OpenSSH answers keepalive@openssh.com with a failure too
		}
	}
}
