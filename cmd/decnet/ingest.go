package main

import (
	"context"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/decnet/decnet/internal/config"
	"github.com/decnet/decnet/internal/ingest"
	"github.com/decnet/decnet/internal/role/ingester"
	"github.com/decnet/decnet/internal/runtime"
	dockerruntime "github.com/decnet/decnet/internal/runtime/docker"
	processruntime "github.com/decnet/decnet/internal/runtime/process"
)

// ingestRole reads what the decoys of this host print. Only one process per host does, whoever holds the host's lock.
func (p *process) ingestRole() role {
	metrics := ingester.NewMetrics(p.metrics)
	return role{name: roleIngest, run: func(ctx context.Context, _ uuid.UUID, ready func()) error {
		lock, err := p.store.WaitLock(ctx, "ingest/"+p.hostID)
		if err != nil {
			return err
		}
		defer lock.Release()
		outputs := &hostOutputs{p: p}
		defer outputs.close()
		in := &ingester.Ingester{
			Store: p.store, Outputs: outputs, HostID: p.hostID, Gate: gateOf(p.cfg),
			TrustedProxies: ingest.TrustedProxies(p.cfg.TrustedProxies), Log: p.log, Metrics: metrics,
		}
		ready()
		g, gctx := errgroup.WithContext(ctx)
		g.Go(func() error { return in.Run(gctx) })
		g.Go(func() error { return lock.Keep(gctx) })
		return g.Wait()
	}}
}

func gateOf(cfg config.Config) ingest.GateConfig {
	return ingest.GateConfig{
		DropApps: words(cfg.CollectorDropApps), Limited: words(cfg.CollectorRLEventTypes), Window: ingest.GateWindow(cfg.CollectorRLWindowSec),
	}
}

// words returns the parts of a list that is separated by commas.
func words(list string) []string {
	var all []string
	for word := range strings.SplitSeq(list, ",") {
		if word = strings.TrimSpace(word); word != "" {
			all = append(all, word)
		}
	}
	return all
}

// lookAgain is how often it is asked which runtime the installation has; it can change while there are no deckies.
const lookAgain = 30 * time.Second

// hostOutputs is the output of the runtime this installation has, whichever process runs it. Before there is one there is no
// output.
type hostOutputs struct {
	p     *process
	name  string
	of    runtime.Outputs
	asked time.Time
}

// Outputs implements runtime.Outputs.
func (o *hostOutputs) Outputs(ctx context.Context) ([]runtime.Output, error) {
	if o.of == nil || time.Since(o.asked) > lookAgain {
		if err := o.choose(ctx); err != nil && o.of == nil {
			return nil, err
		}
	}
	if o.of == nil {
		return nil, nil
	}
	return o.of.Outputs(ctx)
}

func (o *hostOutputs) choose(ctx context.Context) error {
	installation, err := o.p.store.Installation(ctx)
	if err != nil {
		return err
	}
	o.asked = time.Now()
	if installation.Runtime == o.name {
		return nil
	}
	o.close()
	cfg := o.p.cfg
	decoys := filepath.Join(cfg.DataDir, "decoys")
	var of runtime.Outputs
	if installation.Runtime == runtimeDocker {
		of, err = dockerruntime.NewOutputs(dockerruntime.Options{
			Installation: installation.ID, Host: cfg.DockerHost, DataDir: decoys, ArtifactsRoot: cfg.ArtifactsRoot,
		})
	} else {
		of, err = processruntime.NewOutputs(decoys, cfg.ArtifactsRoot)
	}
	if err == nil {
		o.of, o.name = of, installation.Runtime
	}
	return err
}

// close ends what choose began.
func (o *hostOutputs) close() {
	if c, ok := o.of.(io.Closer); ok {
		_ = c.Close()
	}
	o.of, o.name = nil, ""
}
