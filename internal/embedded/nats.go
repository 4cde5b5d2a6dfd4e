package embedded

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Limits of the embedded NATS server. Streams set their own limits below these.
const (
	natsMaxPayload  = 1 << 20
	natsMaxMemory   = 64 << 20
	natsMaxStore    = 16 << 30
	natsMaxConns    = 1024
	natsMaxPending  = 64 << 20
	natsSync        = time.Second
	natsReadyWithin = 20 * time.Second
)

// NATSOptions configures StartNATS.
type NATSOptions struct {
	// StoreDir holds JetStream's files; it is created when missing.
	StoreDir string
	// Token is what clients have to present; empty means a random one.
	Token string
	// Port on loopback; 0 lets the kernel choose.
	Port int
	// Logger gets what the server has to say from warnings upwards.
	Logger *slog.Logger
}

// NATS is a nats-server with JetStream in this process.
type NATS struct {
	server *server.Server
	url    string
}

// StartNATS returns a server that accepts connections. A store that JetStream cannot open is moved aside (its name
// gets ".damaged" and the time) and a new one is begun: the bus holds nothing that Postgres does not.
func StartNATS(ctx context.Context, o NATSOptions) (*NATS, error) {
	if o.Token == "" {
		o.Token = rand.Text()
	}
	if err := os.MkdirAll(o.StoreDir, 0o700); err != nil {
		return nil, fmt.Errorf("start nats: %w", err)
	}
	n, err := tryNATS(ctx, o)
	if errors.Is(err, errStore) {
		aside := o.StoreDir + ".damaged." + strconv.FormatInt(time.Now().Unix(), 10)
		o.Logger.ErrorContext(ctx, "nats store is damaged and was moved aside", "err", err, "moved_to", aside)
		if err = errors.Join(os.Rename(o.StoreDir, aside), os.MkdirAll(o.StoreDir, 0o700)); err == nil {
			n, err = tryNATS(ctx, o)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("start nats: %w", err)
	}
	return n, nil
}

// errStore marks a failure that a fresh store would cure.
var errStore = errors.New("jetstream store")

func tryNATS(ctx context.Context, o NATSOptions) (*NATS, error) {
	port := o.Port
	if port == 0 {
		port = server.RANDOM_PORT
	}
	srv, err := server.NewServer(&server.Options{
		ServerName: "decnet", Host: "127.0.0.1", Port: port, Authorization: o.Token,
		NoSigs: true, MaxPayload: natsMaxPayload, MaxConn: natsMaxConns, MaxPending: natsMaxPending,
		JetStream: true, StoreDir: o.StoreDir, SyncInterval: natsSync,
		JetStreamMaxMemory: natsMaxMemory, JetStreamMaxStore: natsMaxStore,
	})
	if err != nil {
		return nil, err
	}
	log := &natsLog{log: o.Logger}
	srv.SetLoggerV2(log, false, false, false)
	srv.Start() // returns once it listens, or after a fatal error went to the log
	if err := awaitNATS(ctx, srv, log); err != nil {
		srv.Shutdown()
		srv.WaitForShutdown()
		return nil, err
	}
	u := url.URL{Scheme: "nats", User: url.User(o.Token), Host: srv.Addr().String()}
	return &NATS{server: srv, url: u.String()}, nil
}

func awaitNATS(ctx context.Context, srv *server.Server, log *natsLog) error {
	return waitUntil(ctx, natsReadyWithin, func() (bool, error) {
		if fatal := log.fatalText(); fatal != "" {
			if strings.Contains(fatal, "JetStream") {
				return false, fmt.Errorf("%w: %s", errStore, fatal)
			}
			return false, errors.New(fatal)
		}
		return srv.ReadyForConnections(50*time.Millisecond) && srv.JetStreamEnabled(), nil
	})
}

// waitUntil calls check until it is done or fails, at most for limit.
func waitUntil(ctx context.Context, limit time.Duration, check func() (done bool, err error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		if done, err := check(); done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// URL returns the address for clients, with the token in it.
func (n *NATS) URL() string { return n.url }

// Stop disconnects clients, syncs the store and returns when the server has ended.
func (n *NATS) Stop() {
	n.server.Shutdown()
	n.server.WaitForShutdown()
}

// natsToken returns the token of this data directory, kept so that a ready file stays true across restarts.
func natsToken(d *DataDir) (string, error) {
	token, _, err := d.textOnce(d.Join("run", "nats-token"), rand.Text)
	if err != nil {
		return "", fmt.Errorf("nats token: %w", err)
	}
	return token, nil
}

// natsLog passes the server's log on. Its texts carry data, so they are an attribute here.
type natsLog struct {
	log *slog.Logger

	mu    sync.Mutex
	fatal string
}

func (l *natsLog) write(level slog.Level, format string, args []any) {
	l.log.Log(context.Background(), level, "nats server", "text", fmt.Sprintf(format, args...)) //nolint:forbidigo // the server has no context to give
}

func (l *natsLog) fatalText() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal
}

// Noticef implements server.Logger; notices are debug to us.
func (l *natsLog) Noticef(format string, v ...any) { l.write(slog.LevelDebug, format, v) }

// Warnf implements server.Logger.
func (l *natsLog) Warnf(format string, v ...any) { l.write(slog.LevelWarn, format, v) }

// Errorf implements server.Logger; what it reports heals by itself or becomes fatal.
func (l *natsLog) Errorf(format string, v ...any) { l.write(slog.LevelWarn, format, v) }

// Debugf implements server.Logger.
func (l *natsLog) Debugf(format string, v ...any) { l.write(slog.LevelDebug, format, v) }

// Tracef implements server.Logger. Traces show payloads and are dropped.
func (l *natsLog) Tracef(string, ...any) {}

// Fatalf implements server.Logger. It does not end the process: the start fails instead.
func (l *natsLog) Fatalf(format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fatal == "" {
		l.fatal = fmt.Sprintf(format, v...)
	}
}

func natsStore(d *DataDir) string { return filepath.Clean(d.Join("nats")) }
