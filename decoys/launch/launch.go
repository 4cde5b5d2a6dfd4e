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
	"github.com/decnet/decnet/decoys/recording"
	"github.com/decnet/decnet/decoys/sandbox"
)

// Exit statuses of a decoy that did not become ready.
const (
	ExitConfig  = 2
	ExitBind    = 3
	ExitSandbox = 4
)

const shutdownWait = 1500 * time.Millisecond

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
	if err := l.confine(); err != nil {
		return giveUp(l.log, "sandbox_error", ExitSandbox, err)
	}
	return nil
}

// bind takes the first address of every port that can be had.
func (l *launch) bind() error {
	for _, p := range l.cfg.Listen {
		if p.Protocol != "tcp" {
			return fmt.Errorf("%s/%d: protocol is not served", p.Protocol, p.Port)
		}
		var last error
		for _, a := range p.Addresses {
			lc := net.ListenConfig{}
			lc.SetMultipathTCP(false)                            // Landlock does not know multipath sockets
			ln, err := lc.Listen(context.Background(), "tcp", a) //nolint:forbidigo // binding does not wait
			if err == nil {
				l.listeners = append(l.listeners, ln)
				l.bound = append(l.bound, fmt.Sprintf("tcp/%d=%s", p.Port, ln.Addr()))
				last = nil
				break
			}
			last = err
			if !errors.Is(err, syscall.EACCES) && !errors.Is(err, syscall.EADDRINUSE) && !errors.Is(err, syscall.EADDRNOTAVAIL) {
				break
			}
		}
		if last != nil {
			return fmt.Errorf("tcp/%d: %w", p.Port, last)
		}
	}
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
	l.log.Emit(eventlog.Event{MsgID: "ready", Fields: []eventlog.Field{
		eventlog.Int("revision", l.cfg.Revision), eventlog.F("listen", strings.Join(l.bound, " ")), eventlog.F("sandbox", l.layers),
	}})
	l.log.Emit(eventlog.Event{MsgID: "startup", Fields: []eventlog.Field{eventlog.F("msg", "service started")}})
	for _, ln := range l.listeners {
		go func() { _ = l.server.Serve(ctx, ln) }()
	}
	<-ctx.Done()
	l.close()
	l.server.Close(shutdownWait)
	l.log.Emit(eventlog.Event{MsgID: "shutdown", Fields: []eventlog.Field{eventlog.F("msg", "service stopped")}})
	return nil
}
