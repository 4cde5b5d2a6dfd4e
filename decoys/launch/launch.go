// Package launch turns a configuration into a running decoy: bind, open directories, confine, say ready, serve.
//
// Nothing is printed before the process is confined, except the one line that says why it gives up.
package launch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/decnet/decnet/decoys/config"
	"github.com/decnet/decnet/decoys/eventlog"
	"github.com/decnet/decnet/decoys/gate"
	"github.com/decnet/decnet/decoys/recording"
	"github.com/decnet/decnet/decoys/sandbox"
)

// Exit statuses of a decoy that did not become ready.
const (
	ExitConfig  = 2
	ExitBind    = 3
	ExitSandbox = 4
)

const (
	shutdownWait = 1500 * time.Millisecond
	packetsWait  = 300 * time.Millisecond // after it, connections are gone
)

// Error is why a decoy did not become ready. It was reported on the log already.
type Error struct {
	Status int
	Err    error
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Run runs the decoy that the file at path describes until ctx ends. Its only output goes to out, one write per line.
func Run(ctx context.Context, path string, out io.Writer) error {
	cfg, err := config.Load(path)
	if err != nil {
		return giveUp(eventlog.New(out, cfg.NodeName, cfg.Service, cfg.BootID, cfg.LineStart, nil), "config_error", ExitConfig, err)
	}
	log := eventlog.New(out, cfg.NodeName, cfg.Service, cfg.BootID, cfg.LineStart, nil)
	l := &launch{cfg: cfg, log: log}
	defer l.closeGates()
	defer l.close()
	if err := l.prepare(); err != nil {
		return err
	}
	return l.serve(ctx)
}

// giveUp reports err. Errors of this program hold no secrets; paths and addresses are its operator's own.
func giveUp(log *eventlog.Log, id string, status int, err error) error {
	log.Emit(eventlog.Event{PRI: eventlog.Warning, MsgID: id, Fields: []eventlog.Field{eventlog.F("msg", err.Error())}})
	return &Error{Status: status, Err: err}
}

type launch struct {
	cfg       config.Config
	log       *eventlog.Log
	listeners []net.Listener
	sockets   []*net.UDPConn // until gates hold them
	gates     []*gate.Conn
	bound     []string
	spool     *os.Root
	state     *os.Root
	spoolDir  *os.File
	server    server
	layers    string
	listens   bool // the service opens ports that are bound before it is confined
}

func (l *launch) close() {
	for _, ln := range l.listeners {
		_ = ln.Close()
	}
	for _, s := range l.sockets {
		_ = s.Close()
	}
}

func (l *launch) closeGates() {
	for _, g := range l.gates {
		_ = g.Close()
	}
}

func (l *launch) prepare() error {
	build, err := constructor(l.cfg)
	if err != nil {
		return giveUp(l.log, "config_error", ExitConfig, err)
	}
	if err := l.bind(); err != nil {
		return giveUp(l.log, "bind_error", ExitBind, err)
	}
	if err := l.directories(); err != nil {
		return giveUp(l.log, "config_error", ExitConfig, err)
	}
	if l.server, err = build(l); errors.Is(err, errDataPorts) {
		return giveUp(l.log, "bind_error", ExitBind, err)
	} else if err != nil {
		return giveUp(l.log, "config_error", ExitConfig, err)
	}
	if _, ok := l.server.(packetServer); !ok && len(l.sockets) > 0 {
		return giveUp(l.log, "config_error", ExitConfig, errors.New("listen: the service does not serve udp"))
	}
	if err := errors.Join(l.openGates(), l.confine()); err != nil {
		return giveUp(l.log, "sandbox_error", ExitSandbox, err)
	}
	return nil
}

// bind takes the first address of every port that can be had.
func (l *launch) bind() error {
	for _, p := range l.cfg.Listen {
		var last error
		for _, a := range p.Addresses {
			at, err := l.listen(p.Protocol, a)
			last = err
			if err == nil {
				l.bound = append(l.bound, fmt.Sprintf("%s/%d=%s", p.Protocol, p.Port, at))
				break
			}
			if !errors.Is(err, syscall.EACCES) && !errors.Is(err, syscall.EADDRINUSE) && !errors.Is(err, syscall.EADDRNOTAVAIL) {
				break
			}
		}
		if last != nil {
			return fmt.Errorf("%s/%d: %w", p.Protocol, p.Port, last)
		}
	}
	return nil
}

func (l *launch) listen(protocol, address string) (net.Addr, error) {
	ctx := context.Background() //nolint:forbidigo // binding hardly waits
	if protocol == "udp" {
		s, err := gate.Listen(ctx, address)
		if err != nil {
			return nil, err
		}
		l.sockets = append(l.sockets, s)
		return s.LocalAddr(), nil
	}
	lc := net.ListenConfig{}
	lc.SetMultipathTCP(false) // Landlock does not know multipath sockets
	ln, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	l.listeners = append(l.listeners, ln)
	return ln.Addr(), nil
}

// openGates hands the sockets to gates, which confine themselves.
func (l *launch) openGates() error {
	o := gate.Options{Unsafe: l.cfg.Unsafe}
	if l.cfg.User != nil && os.Geteuid() == 0 {
		o.UID, o.GID = l.cfg.User.UID, l.cfg.User.GID
	}
	for _, s := range l.sockets {
		g, err := gate.Start(s, o)
		if err != nil {
			return err
		}
		l.gates = append(l.gates, g)
	}
	l.sockets = nil
	return nil
}

// directories opens spool and state, makes what is missing below them and hands both to the account to be used.
func (l *launch) directories() error {
	var err error
	if l.spool, err = os.OpenRoot(l.cfg.Spool); err != nil {
		return fmt.Errorf("open spool: %w", err)
	}
	if l.state, err = os.OpenRoot(l.cfg.State); err != nil {
		return fmt.Errorf("open state: %w", err)
	}
	if l.spoolDir, err = l.spool.Open("."); err != nil {
		return fmt.Errorf("open spool: %w", err)
	}
	if err := recording.Prepare(l.spool); err != nil {
		return fmt.Errorf("prepare spool: %w", err)
	}
	return nil
}

// own changes the owner of a tree through its handle; links are not followed.
func own(r *os.Root, u config.User) error {
	return fs.WalkDir(r.FS(), ".", func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return r.Lchown(p, u.UID, u.GID)
	})
}

func (l *launch) free() (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(l.spoolDir.Fd()), &st); err != nil {
		return 0, err
	}
	return st.Bavail * uint64(st.Bsize), nil
}

func (l *launch) confine() error {
	o := sandbox.Options{Writable: []string{l.cfg.Spool, l.cfg.State}, Listen: l.listens, Unsafe: l.cfg.Unsafe}
	if l.cfg.User != nil && os.Geteuid() == 0 {
		o.UID, o.GID = l.cfg.User.UID, l.cfg.User.GID
		for _, r := range []*os.Root{l.spool, l.state} {
			if err := own(r, *l.cfg.User); err != nil {
				return fmt.Errorf("hand over directories: %w", err)
			}
		}
	}
	_ = time.Local.String() // load the zone while files can still be opened
	report, err := sandbox.Apply(o)
	l.layers = report.String()
	return err
}

func (l *launch) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ready := []eventlog.Field{
		eventlog.Int("revision", l.cfg.Revision), eventlog.F("listen", strings.Join(l.bound, " ")), eventlog.F("sandbox", l.layers),
	}
	for _, g := range l.gates {
		ready = append(ready, eventlog.F("gate", g.Layers()))
	}
	l.log.Emit(eventlog.Event{MsgID: "ready", Fields: ready})
	l.log.Emit(eventlog.Event{MsgID: "startup", Fields: []eventlog.Field{eventlog.F("msg", "service started")}})
	for _, ln := range l.listeners {
		go func() { _ = l.server.Serve(ctx, ln) }()
	}
	failed := l.servePackets(ctx, cancel)
	<-ctx.Done()
	l.close()
	l.server.Close(shutdownWait)
	err := failed()
	l.closeGates()
	l.log.Emit(eventlog.Event{MsgID: "shutdown", Fields: []eventlog.Field{eventlog.F("msg", "service stopped")}})
	return err
}

// servePackets serves what comes through the gates. A gate that is lost ends the decoy, to be started anew: half of its ports
// would be dead. The function it returns waits for the end and tells whether that was the reason.
func (l *launch) servePackets(ctx context.Context, cancel context.CancelFunc) (failed func() error) {
	s, _ := l.server.(packetServer)
	errs := make(chan error, len(l.gates))
	for _, g := range l.gates {
		go func() {
			err := s.ServePackets(ctx, g)
			if err != nil {
				err = fmt.Errorf("gate: %w", err)
			}
			errs <- err
			cancel()
		}()
	}
	return func() error {
		var all error
		for range l.gates {
			select {
			case err := <-errs:
				all = errors.Join(all, err)
			case <-time.After(packetsWait):
				return all
			}
		}
		return all
	}
}
