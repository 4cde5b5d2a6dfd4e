package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.temporal.io/sdk/client"
	temporallog "go.temporal.io/sdk/log"
	"golang.org/x/sync/errgroup"
	"golang.org/x/term"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/bus"
	"github.com/decnet/decnet/internal/clock"
	"github.com/decnet/decnet/internal/config"
	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/dispatch"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/secretbox"
)

const (
	// drainLimit bounds how long a process may take to end after SIGTERM.
	drainLimit   = 20 * time.Second
	touchEvery   = 15 * time.Second
	firstPause   = 500 * time.Millisecond
	longestPause = 10 * time.Second
)

// process is what the roles of one process share.
type process struct {
	cfg       config.Config
	log       *slog.Logger
	key       []byte
	box       *secretbox.Box
	hostID    string
	at        endpoints
	stateFile string // "" without a data directory
	pool      decky.Pool

	store    *db.Store
	temporal client.Client
	bus      *bus.Bus
	// events is the API's own connection, which changes nothing on the broker: what readers of event streams ask for must
	// not delay what is published.
	events     *bus.Bus
	dispatcher *dispatch.Dispatcher
	metrics    *prometheus.Registry
}

// endpoints says where the parts around decnet are.
type endpoints struct {
	database, nats, temporal, temporalUI string
}

// connect opens every connection a role may need and brings the schema up to date.
func connect(ctx context.Context, cfg config.Config, log *slog.Logger, key []byte, hostID string, at endpoints) (*process, error) {
	box, err := secretbox.New(key)
	if err != nil {
		return nil, err
	}
	p := &process{cfg: cfg, log: log, key: key, box: box, hostID: hostID, at: at, metrics: prometheus.NewRegistry()}
	p.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if p.store, err = db.Open(gctx, at.database); err != nil {
			return err
		}
		return p.store.Migrate(gctx)
	})
	g.Go(func() (err error) {
		p.temporal, err = dialTemporal(gctx, at.temporal, cfg.TemporalNamespace, log)
		return err
	})
	g.Go(func() (err error) {
		p.bus, err = bus.Connect(gctx, at.nats, "decnet", bus.WithLogger(log))
		return err
	})
	if err := g.Wait(); err != nil {
		p.close()
		return nil, err
	}
	p.dispatcher = dispatch.New(p.store, p.temporal, p.box, log)
	p.metrics.MustRegister(storeMetrics{p.store})
	return p, nil
}

func dialTemporal(ctx context.Context, address, namespace string, log *slog.Logger) (client.Client, error) {
	options := client.Options{
		HostPort: address, Namespace: namespace, Logger: temporallog.NewStructuredLogger(log.With("component", "temporal")),
	}
	dial := func() (client.Client, error) { return client.DialContext(ctx, options) }
	c, err := backoff.Retry(ctx, dial, backoff.WithMaxElapsedTime(0))
	if err != nil {
		return nil, fmt.Errorf("reach Temporal at %s: %w", address, err)
	}
	return c, nil
}

// close closes what connect opened, in reverse order.
func (p *process) close() {
	for _, b := range []*bus.Bus{p.events, p.bus} {
		if b != nil {
			_ = b.Close()
		}
	}
	if p.temporal != nil {
		p.temporal.Close()
	}
	if p.store != nil {
		p.store.Close()
	}
}

// role is one kind of work of a process. run calls ready once it serves, and returns when ctx ended or it cannot go on.
type role struct {
	name string
	run  func(ctx context.Context, instance uuid.UUID, ready func()) error
}

// serve runs roles until ctx ends, each started again with back-off when it fails. ready is called when all served once.
func (p *process) serve(ctx context.Context, ready func(), roles ...role) error {
	started := make(chan string, len(roles))
	g, gctx := errgroup.WithContext(ctx)
	for _, r := range roles {
		g.Go(func() error { return p.keep(gctx, r, func() { started <- r.name }) })
	}
	g.Go(func() error {
		for range roles {
			select {
			case <-gctx.Done():
				return nil
			case name := <-started:
				p.log.InfoContext(gctx, "role serves", "role", name)
			}
		}
		ready()
		return nil
	})
	return g.Wait()
}

// keep runs one role for as long as ctx lasts and keeps its row up to date.
func (p *process) keep(ctx context.Context, r role, ready func()) error {
	instance := db.RoleInstance{ID: uuid.Must(uuid.NewV7()), Role: r.name, HostID: p.hostID, PID: os.Getpid()}
	if err := db.Patiently(ctx, func() error { return p.store.StartRole(ctx, instance) }); err != nil {
		return err
	}
	go p.touch(ctx, instance.ID)
	once := false
	first := func() {
		if !once {
			once = true
			ready()
		}
	}
	wait := &backoff.ExponentialBackOff{InitialInterval: firstPause, MaxInterval: longestPause, Multiplier: 2}
	wait.Reset()
	for ctx.Err() == nil {
		began := time.Now()
		err := r.run(ctx, instance.ID, first)
		if ctx.Err() != nil {
			break
		}
		if f, ok := fault.As(err); ok && f.Kind == fault.Invalid {
			return err // an operator must change something
		}
		if time.Since(began) > longestPause {
			wait.Reset()
		}
		p.log.WarnContext(ctx, "role starts again", "role", r.name, "err", err)
		clock.Sleep(ctx, wait.NextBackOff())
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := p.store.StopRole(last, instance.ID); err != nil {
		p.log.WarnContext(last, "the clean end of a role was not recorded", "role", r.name, "err", err)
	}
	return nil
}

func (p *process) touch(ctx context.Context, id uuid.UUID) {
	for clock.Sleep(ctx, touchEvery); ctx.Err() == nil; clock.Sleep(ctx, touchEvery) {
		if err := p.store.TouchRole(ctx, id); err != nil && ctx.Err() == nil {
			p.log.WarnContext(ctx, "a role's sign of life was not recorded", "err", err)
		}
	}
}

// readiness reports what does not answer. Everything is asked at once: a part that hangs must not use up the time of the
// others.
func (p *process) readiness(ctx context.Context) map[string]error {
	var postgres, nats, temporal error
	var wg sync.WaitGroup
	wg.Go(func() { postgres = p.store.Ping(ctx) })
	wg.Go(func() { nats = p.bus.Ping(ctx) })
	wg.Go(func() { _, temporal = p.temporal.CheckHealth(ctx, &client.CheckHealthRequest{}) })
	wg.Wait()
	return map[string]error{"postgres": postgres, "nats": nats, "temporal": temporal}
}

func newLogger(cfg config.Config, out *os.File) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.LogLevel)); err != nil {
		level = slog.LevelInfo
	}
	options := &slog.HandlerOptions{Level: level}
	if cfg.LogFormat == "text" || cfg.LogFormat == "auto" && term.IsTerminal(int(out.Fd())) {
		return slog.New(slog.NewTextHandler(out, options))
	}
	return slog.New(slog.NewJSONHandler(out, options))
}
