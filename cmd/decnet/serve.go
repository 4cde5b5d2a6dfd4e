package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/decnet/decnet/activities"
	"github.com/decnet/decnet/internal/ingest"
	"github.com/decnet/decnet/internal/retention"
	"github.com/decnet/decnet/internal/role/observer"
	"github.com/decnet/decnet/internal/role/recovery"
	"github.com/decnet/decnet/internal/role/relay"
	"github.com/decnet/decnet/internal/runtime"
	"github.com/decnet/decnet/internal/service"
	"github.com/decnet/decnet/worker"
	"github.com/decnet/decnet/workflows"
)

// Names of roles, as commands and in the database.
const (
	roleAPI     = "api"
	roleWorker  = "worker"
	roleRuntime = "runtime"
	roleBridge  = "bridge"
	roleIngest  = "ingest"
)

// workerRole carries out operations and recovers what was lost.
func (p *process) workerRole() role {
	return role{name: roleWorker, run: func(ctx context.Context, _ uuid.UUID, ready func()) error {
		mutation := &activities.Mutation{
			Store: p.store, Box: p.box, Pool: p.pool, HostID: p.hostID, Now: time.Now,
		}
		scope := &activities.Scope{Store: p.store, Temporal: p.temporal, MutationID: workflows.MutationID}
		expiry := &activities.Expiry{
			Store: p.store, Accept: p.dispatcher.Accept, Hash: p.dispatcher.RequestHash, Now: time.Now,
		}
		imported := &activities.Import{Store: p.store, Extractor: ingest.NewExtractor(nil), Log: p.log}
		retain := &activities.Retention{Store: p.store, Log: p.log}
		polls, reads, recovered := make(chan struct{}), make(chan struct{}), make(chan struct{}, 1)
		rec := &recovery.Recovery{
			Store: p.store, Temporal: p.temporal, Namespace: p.cfg.TemporalNamespace, Dispatcher: p.dispatcher,
			StateFile: p.stateFile, Log: p.log, Ready: func() {
				select {
				case recovered <- struct{}{}:
				default:
				}
			},
		}
		g, gctx := errgroup.WithContext(ctx)
		g.Go(func() error {
			return worker.Control(p.temporal, worker.ControlActivities{
				Mutation: mutation, Scope: scope, Expiry: expiry, Import: imported, Retention: retain,
			}).Run(gctx, func() { close(polls) })
		})
		g.Go(func() error { return worker.Intel(p.temporal, imported).Run(gctx, func() { close(reads) }) })
		g.Go(func() error { return rec.Run(gctx) })
		g.Go(func() error { return whenAll(gctx, ready, polls, reads, recovered) })
		return g.Wait()
	}}
}

// runtimeRole touches the decoys of this host. Only one process per host does, whoever holds the host's lock.
func (p *process) runtimeRole(rt runtime.Runtime) role {
	return role{name: roleRuntime, run: func(ctx context.Context, _ uuid.UUID, ready func()) error {
		lock, err := p.store.WaitLock(ctx, "runtime/"+p.hostID)
		if err != nil {
			return err
		}
		defer lock.Release()
		watch := &observer.Observer{
			Store: p.store, Runtime: rt, Dispatcher: p.dispatcher, HostID: p.hostID, Log: p.log, Now: time.Now,
		}
		acts := &activities.Runtime{Store: p.store, Runtime: rt, Now: time.Now, Log: p.log, Look: watch.Look}
		if rt.Name() == runtimeDocker {
			acts.Listening = listening
		}
		files := &activities.Files{Store: p.store, Tree: p.tree(), Now: time.Now, Log: p.log}
		g, gctx := errgroup.WithContext(ctx)
		g.Go(func() error { return worker.Runtime(p.temporal, p.hostID, acts, files).Run(gctx, ready) })
		g.Go(func() error { return watch.Run(gctx) })
		g.Go(func() error { return lock.Keep(gctx) })
		return g.Wait()
	}}
}

// tree is where decoys of this host leave their files.
func (p *process) tree() retention.Tree {
	return retention.Tree{Artifacts: p.cfg.ArtifactsRoot, Kept: filepath.Join(p.cfg.DataDir, "decoys", "kept")}
}

// bridgeRole carries committed events from the outbox to the bus.
func (p *process) bridgeRole() role {
	return role{name: roleBridge, run: func(ctx context.Context, instance uuid.UUID, ready func()) error {
		ready()
		r := &relay.Relay{Store: p.store, Bus: p.bus, Log: p.log, Instance: instance, Role: roleBridge}
		return r.Run(ctx)
	}}
}

// whenAll calls fn after something was received from every channel.
func whenAll(ctx context.Context, fn func(), signals ...<-chan struct{}) error {
	for _, s := range signals {
		select {
		case <-ctx.Done():
			return nil
		case <-s:
		}
	}
	fn()
	return nil
}

// unackedLimit is how long a peer may leave what was sent unacknowledged: the readers of event streams send nothing
// themselves, and one that vanished must not count as reading for the kernel's quarter of an hour.
const unackedLimit = 30 * time.Second

// listen returns a listener of the API.
func listen(ctx context.Context, address string) (net.Listener, error) {
	config := net.ListenConfig{Control: func(_, _ string, conn syscall.RawConn) error {
		var set error
		err := conn.Control(func(fd uintptr) { // accepted connections inherit it
			set = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(unackedLimit/time.Millisecond))
		})
		return errors.Join(err, set)
	}}
	return config.Listen(ctx, "tcp", address)
}

// serveHTTP serves handler on a listener until ctx ends, then lets running requests finish.
func serveHTTP(ctx context.Context, l net.Listener, handler http.Handler) error {
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainLimit/2)
	defer cancel()
	err := server.Shutdown(last)
	if errors.Is(err, context.DeadlineExceeded) {
		return server.Close()
	}
	return err
}

// opsHandler serves health and metrics of a role that runs alone.
func (p *process) opsHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		for part, err := range p.readiness(r.Context()) {
			if err != nil {
				p.log.WarnContext(r.Context(), "not ready", "part", part, "err", err)
				http.Error(w, part+" does not answer", http.StatusServiceUnavailable)
				return
			}
		}
		_, _ = fmt.Fprintln(w, "ok")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(p.metrics, promhttp.HandlerOpts{}))
	return mux
}

// listening reports whether something on this host has a port.
func listening(p service.Port) bool {
	address := fmt.Sprintf(":%d", p.Number)
	var c io.Closer
	var err error
	if p.Protocol == "udp" {
		c, err = net.ListenPacket("udp4", address)
	} else {
		c, err = net.Listen("tcp4", address)
	}
	if err == nil {
		_ = c.Close()
	}
	return errors.Is(err, syscall.EADDRINUSE)
}
