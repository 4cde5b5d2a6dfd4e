package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/decnet/decnet/api"
	"github.com/decnet/decnet/internal/auth"
	"github.com/decnet/decnet/internal/bus"
	"github.com/decnet/decnet/internal/config"
	"github.com/decnet/decnet/internal/embedded"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/runtime"
)

// stateFileName is where the data directory remembers the highest operation.
const stateFileName = "run/highest-operation.json"

func newUp(in invocation) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run everything in one process until Ctrl-C",
		Long: "Runs every role in one process. Postgres, NATS and Temporal are embedded unless an external one is named.\n" +
			"Decoys outlive it and are adopted by the next start.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(cmd.Flags(), in.environ)
			if err != nil {
				return err
			}
			return up(cmd.Context(), in, cfg)
		},
	}
	config.AddFlags(cmd.Flags())
	return cmd
}

func up(ctx context.Context, in invocation, cfg config.Config) error {
	log := newLogger(cfg, os.Stderr)
	for _, w := range cfg.Warnings {
		log.WarnContext(ctx, "configuration", "warning", w)
	}
	listener, err := listen(ctx, cfg.Listen)
	if err != nil {
		return fault.New(fault.Conflict, "listen_taken", "cannot listen on %s: is another decnet up?", cfg.Listen).Wrap(err)
	}
	defer func() { _ = listener.Close() }()
	dir, err := embedded.Lock(cfg.DataDir)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Unlock() }()
	key, hostID, err := identity(dir, cfg)
	if err != nil {
		return err
	}
	parts, err := startParts(ctx, dir, cfg, log)
	if err != nil {
		return err
	}
	defer func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainLimit)
		defer cancel()
		parts.Stop(last)
	}()
	at := endpoints{database: parts.DatabaseURL, nats: parts.NATSURL, temporal: parts.TemporalAddress, temporalUI: parts.TemporalUIURL}
	p, err := connect(ctx, cfg, log, key, hostID, at)
	if err != nil {
		return err
	}
	defer p.close()
	p.stateFile = dir.Join(stateFileName)
	return p.runUp(ctx, in, dir, parts, listener)
}

func identity(dir *embedded.DataDir, cfg config.Config) (key []byte, hostID string, err error) {
	if cfg.SecretKeyFile != "" {
		key, err = readKey(cfg.SecretKeyFile)
	} else {
		key, err = dir.SecretKey()
	}
	if err != nil {
		return nil, "", err
	}
	hostID, err = dir.HostID(cfg.HostID)
	return key, hostID, err
}

// runUp serves all roles until ctx ends or a part around decnet cannot be kept running.
func (p *process) runUp(ctx context.Context, in invocation, dir *embedded.DataDir, parts *embedded.Parts, l net.Listener) error {
	rt, err := p.openRuntime(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = rt.Close() }()
	first, err := p.bootstrap(ctx, dir.AdminPasswordFile())
	if err != nil {
		return err
	}
	serving, err := p.apiRole(ctx, l)
	if err != nil {
		return err
	}
	ready := p.readyFile(dir, parts, rt, l, first)
	path := readyPath(p.cfg)
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.dispatcher.Run(gctx) })
	g.Go(func() error {
		select {
		case <-gctx.Done():
			return nil
		case err := <-parts.Err():
			return err
		}
	})
	g.Go(func() error {
		return p.serve(gctx, func() {
			if err := ready.Write(path); err != nil {
				p.log.ErrorContext(gctx, "ready file not written", "err", err)
			}
			greet(in, ready, first)
		}, serving, p.workerRole(), p.runtimeRole(rt), p.bridgeRole(), p.ingestRole())
	})
	err = g.Wait()
	_ = embedded.RemoveReadyFile(path)
	return err
}

// readyPath is where the ready file is written when nothing else is said.
func readyPath(cfg config.Config) string {
	if cfg.ReadyFile != "" {
		return cfg.ReadyFile
	}
	return filepath.Join(cfg.DataDir, "run", "ready.json")
}

func (p *process) readyFile(dir *embedded.DataDir, parts *embedded.Parts, rt runtime.Runtime, l net.Listener, a admin) embedded.ReadyFile {
	return embedded.ReadyFile{
		APIURL: "http://" + l.Addr().String() + "/api/v1", TemporalAddress: parts.TemporalAddress, TemporalUIURL: parts.TemporalUIURL,
		TemporalNamespace: p.cfg.TemporalNamespace, NATSURL: parts.NATSURL, DatabaseURL: parts.DatabaseURL, Runtime: rt.Name(),
		AdminUser: p.cfg.AdminUser, AdminPasswordFile: a.file, DataDir: dir.Path(), PID: os.Getpid(),
	}
}

// greet tells the operator where everything is; a generated password is shown this once.
func greet(in invocation, r embedded.ReadyFile, a admin) {
	out := func(format string, args ...any) { _, _ = fmt.Fprintf(in.stdout, format+"\n", args...) }
	out("decnet is ready.")
	out("  API          %s", r.APIURL)
	if r.TemporalUIURL != "" {
		out("  Temporal UI  %s", r.TemporalUIURL)
	}
	out("  decoys run as %s", map[string]string{"process": "sandboxed processes", "docker": "containers"}[r.Runtime])
	if a.generated != "" {
		out("  first login  %s, password %s (also in %s); it must be changed", r.AdminUser, a.generated, a.file)
	}
	out("Next: bin/decnet login")
}

func startParts(ctx context.Context, dir *embedded.DataDir, cfg config.Config, log *slog.Logger) (*embedded.Parts, error) {
	o := embedded.Options{
		Dir: dir, DatabaseURL: cfg.DatabaseURL, NATSURL: cfg.NATSURL, TemporalAddress: cfg.TemporalAddress,
		TemporalNamespace: cfg.TemporalNamespace, PostgresBinDirs: cfg.PostgresBinDirs(), Logger: log,
	}
	if cfg.TemporalAddress == "" {
		path, err := cfg.TemporalPath()
		if err != nil {
			return nil, err
		}
		o.TemporalBinary = path
	}
	return embedded.Start(ctx, o)
}

// admin is the bootstrap admin's password as far as this start made or keeps one.
type admin struct {
	generated string // shown this once
	file      string // where it can be read while it was not changed
}

// bootstrap makes sure that there is an admin.
func (p *process) bootstrap(ctx context.Context, file string) (admin, error) {
	generated, err := auth.Bootstrap(ctx, p.store, p.cfg.AdminUser, string(p.cfg.AdminPassword), file)
	a := admin{generated: generated}
	if _, statErr := os.Stat(file); statErr == nil {
		a.file = file
	}
	return a, err
}

// apiRole serves the REST API on a listener. The error is that the bus did not answer before ctx ended.
func (p *process) apiRole(ctx context.Context, l net.Listener) (role, error) {
	events, err := bus.Connect(ctx, p.at.nats, "decnet-events", bus.WithLogger(p.log), bus.ReadOnly())
	if err != nil {
		return role{}, err
	}
	p.events = events
	stopping := make(chan struct{})
	engine := api.New(api.Deps{
		Store: p.store, Dispatcher: p.dispatcher, Key: p.key, Log: p.log, Metrics: p.metrics, Ready: p.readiness,
		Pool: p.pool, Compose: p.composeWith, ComposeTopology: p.composeTopology, Events: p.events, Stopping: stopping,
		ArtifactsRoot: p.cfg.ArtifactsRoot,
		RunRetention:  p.dispatcher.RunRetention,
	}, api.Options{
		TokenLife: time.Duration(p.cfg.JWTExpMinutes) * time.Minute, LimiterEnabled: p.cfg.LimiterEnabled,
		TemporalUIURL: p.at.temporalUI, TemporalNamespace: p.cfg.TemporalNamespace, Version: version,
		SSEMaxPerUser: p.cfg.SSEMaxPerUser, ImportMaxBytes: int64(p.cfg.ImportMaxBytes),
	})
	return role{name: roleAPI, run: func(ctx context.Context, _ uuid.UUID, ready func()) error {
		// Event streams have no end of their own; the server waits for them.
		defer context.AfterFunc(ctx, func() { close(stopping) })()
		ready()
		if err := serveHTTP(ctx, l, engine); err != nil {
			return fault.New(fault.Invalid, "listener_lost", "the API's listener failed").Wrap(err)
		}
		return nil
	}}, nil
}
