// Package ingester reads what the decoys of one host print and stores what it tells. It reads files only, decides nothing about
// decoys, and publishes nothing itself.
//
// The invariants: how far a file is dealt with is stored in the transaction of the rows of its lines, so that a line is stored
// once whenever the process or the database ends; every line read is counted in exactly one outcome; and whatever decoys
// print, memory is bounded and no decoy keeps others waiting.
package ingester

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/google/uuid"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/clock"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/ingest"
	"github.com/decnet/decnet/internal/runtime"
)

const (
	listEvery = time.Second
	pollEvery = 200 * time.Millisecond
	// gatherFor is how long lines are gathered for a batch while there are more of them.
	gatherFor = 100 * time.Millisecond

	listLimit = 10 * time.Second
	// answerLimit is for a connection nobody answers on any more.
	answerLimit = time.Minute

	firstPause   = 100 * time.Millisecond
	longestPause = 5 * time.Second
)

// Store is what the ingester needs of the database.
type Store interface {
	Ingest(ctx context.Context, b db.IngestBatch) (db.IngestResult, error)
	IngestCursors(ctx context.Context, hostID string) (map[db.IngestFile]int64, error)
	IngestSequences(ctx context.Context) (map[db.DeckyOutput]ingest.Sequence, error)
	RecentSelfChecks(ctx context.Context, since time.Time) ([]ingest.SelfCheck, error)
	IngestDeckies(ctx context.Context, ids []uuid.UUID) (map[uuid.UUID]db.IngestDecky, error)
	DeleteIngestCursors(ctx context.Context, hostID string, files []db.IngestFile) error
}

var _ Store = (*db.Store)(nil)

// Ingester reads and stores the output of one host. Only one may be at work on a host; a second one does no harm, but both
// begin anew with every batch of the other. Metrics may be nil, all other fields are required.
type Ingester struct {
	Store   Store
	Outputs runtime.Outputs
	HostID  string
	// Gate keeps floods of connections out, headers of TrustedProxies are not taken for leaks of addresses.
	Gate           ingest.GateConfig
	TrustedProxies []netip.Prefix
	Log            *slog.Logger
	Metrics        *Metrics
}

// Run reads and stores until ctx ends. It never gives up: what cannot be stored now is tried again, and what can never be
// stored is set aside.
func (in *Ingester) Run(ctx context.Context) error {
	extractor := ingest.NewExtractor(in.TrustedProxies)
	wait := newPause()
	for ctx.Err() == nil {
		began := time.Now()
		c := newCollector(in, extractor)
		err := c.run(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(began) > longestPause {
			wait.Reset()
		}
		in.Log.WarnContext(ctx, "ingest begins anew at what is stored", "err", err)
		clock.Sleep(ctx, wait.NextBackOff())
	}
	return nil
}

func newPause() *backoff.ExponentialBackOff {
	wait := &backoff.ExponentialBackOff{InitialInterval: firstPause, MaxInterval: longestPause, Multiplier: 2, RandomizationFactor: 0.2}
	wait.Reset()
	return wait
}

// persist calls fn until it gives no Unavailable fault any more. The first failure is logged.
func (in *Ingester) persist(ctx context.Context, fn func(context.Context) error) error {
	wait := newPause()
	for tries := 0; ; tries++ {
		limited, cancel := context.WithTimeout(ctx, answerLimit)
		err := fn(limited)
		cancel()
		if fault.KindOf(err) != fault.Unavailable || ctx.Err() != nil {
			return err
		}
		if tries == 0 {
			in.Log.WarnContext(ctx, "the database is away, ingest waits for it", "err", err)
		}
		clock.Sleep(ctx, wait.NextBackOff())
	}
}
