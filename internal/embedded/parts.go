package embedded

import (
	"context"
	"log/slog"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/decnet/decnet/internal/fault"
)

// Options configures Start. A part with an external address is not started.
type Options struct {
	// Dir is the locked data directory.
	Dir *DataDir
	// DatabaseURL, NATSURL and TemporalAddress name external parts; empty means the embedded one.
	DatabaseURL, NATSURL, TemporalAddress string
	// TemporalNamespace is the namespace to create in the embedded server.
	TemporalNamespace string
	// PostgresBinDirs may hold the server's binaries, best first; nil means where Debian's packages put them.
	PostgresBinDirs []string
	// TemporalBinary is the path of the temporal command; it may be empty when TemporalAddress is set.
	TemporalBinary string
	// Logger gets state changes.
	Logger *slog.Logger
}

// Parts are the running parts around decnet, embedded or external.
type Parts struct {
	// DatabaseURL, NATSURL and TemporalAddress are where clients connect. The NATS one carries its token.
	DatabaseURL, NATSURL, TemporalAddress string
	// TemporalUIURL is empty for an external Temporal.
	TemporalUIURL string
	// TemporalNamespace is the namespace of the options.
	TemporalNamespace string

	postgres *Postgres
	nats     *NATS
	temporal *Temporal
	failed   chan error
	stopOnce sync.Once
}

// Start starts what is not external, all at once, and returns when everything serves. When one part fails, the others
// are stopped again. A fault.Error tells the operator what to do.
func Start(ctx context.Context, o Options) (*Parts, error) {
	p := &Parts{
		DatabaseURL: o.DatabaseURL, NATSURL: o.NATSURL, TemporalAddress: o.TemporalAddress,
		TemporalNamespace: o.TemporalNamespace, failed: make(chan error, 1),
	}
	ports, err := settlePorts(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := p.start(ctx, o, ports); err != nil {
		p.Stop(context.WithoutCancel(ctx))
		return nil, err
	}
	return p, nil
}

// settlePorts stops survivors first: a port of our own is not a taken one.
func settlePorts(ctx context.Context, o Options) (Ports, error) {
	if err := o.Dir.StopSurvivors(ctx, o.Logger); err != nil {
		return Ports{}, err
	}
	return o.Dir.Ports(ctx, o.Logger)
}

func (p *Parts) start(ctx context.Context, o Options, ports Ports) error {
	g, ctx := errgroup.WithContext(ctx)
	if o.DatabaseURL == "" {
		g.Go(func() error { return p.startPostgres(ctx, o) })
	}
	if o.NATSURL == "" {
		g.Go(func() error { return p.startNATS(ctx, o, ports) })
	}
	if o.TemporalAddress == "" {
		g.Go(func() error { return p.startTemporal(ctx, o, ports) })
	}
	return g.Wait()
}

func (p *Parts) startPostgres(ctx context.Context, o Options) (err error) {
	p.postgres, err = StartPostgres(ctx, PostgresOptions{Dir: o.Dir, BinDirs: o.PostgresBinDirs, Logger: o.Logger}, p.fail)
	if err != nil {
		return err
	}
	p.DatabaseURL = p.postgres.URL()
	return nil
}

func (p *Parts) startNATS(ctx context.Context, o Options, ports Ports) error {
	token, err := natsToken(o.Dir)
	if err != nil {
		return err
	}
	p.nats, err = StartNATS(ctx, NATSOptions{StoreDir: natsStore(o.Dir), Token: token, Port: ports.NATS, Logger: o.Logger})
	if err != nil {
		return err
	}
	p.NATSURL = p.nats.URL()
	return nil
}

func (p *Parts) startTemporal(ctx context.Context, o Options, ports Ports) (err error) {
	if o.TemporalBinary == "" {
		return fault.New(fault.Unavailable, "temporal_missing", "no temporal command: set DECNET_TEMPORAL_BINARY or DECNET_TEMPORAL_ADDRESS")
	}
	p.temporal, err = StartTemporal(ctx, TemporalOptions{
		Dir: o.Dir, Binary: o.TemporalBinary, Namespace: o.TemporalNamespace, Ports: ports, Logger: o.Logger,
	}, p.fail)
	if err != nil {
		return err
	}
	p.TemporalAddress, p.TemporalUIURL = p.temporal.Address(), p.temporal.UIURL()
	return nil
}

// fail keeps the first unrecoverable failure for Err.
func (p *Parts) fail(err error) {
	select {
	case p.failed <- err:
	default:
	}
}

// Err delivers at most one error: a part that served cannot be kept running. The owner is expected to end the process.
func (p *Parts) Err() <-chan error { return p.failed }

// Child returns the process of "postgres" or "temporal", nil when it is external.
func (p *Parts) Child(name string) *Child {
	switch {
	case name == "postgres" && p.postgres != nil:
		return p.postgres.Child()
	case name == "temporal" && p.temporal != nil:
		return p.temporal.Child()
	}
	return nil
}

// Stop ends the embedded parts, Postgres last. It returns when they are gone; when ctx ends, what is left is killed.
// It may be called more than once.
func (p *Parts) Stop(ctx context.Context) {
	p.stopOnce.Do(func() {
		if p.temporal != nil {
			p.temporal.Stop(ctx)
		}
		if p.nats != nil {
			p.nats.Stop()
		}
		if p.postgres != nil {
			p.postgres.Stop(ctx)
		}
	})
}

// StopSurvivors ends recorded child processes of an earlier run. Start does it too; it is for who clears the directory.
func (d *DataDir) StopSurvivors(ctx context.Context, log *slog.Logger) error {
	if err := stopPostgresSurvivor(ctx, d, log); err != nil {
		return err
	}
	return stopTemporalSurvivor(ctx, d, log)
}
