package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/decnet/decnet/internal/fault"
)

// Streams and durable consumers are declared in this file and nowhere else.

const (
	// duplicateWindow makes a publish that is repeated after an unclear answer harmless. Consumers are idempotent by
	// event id anyway.
	duplicateWindow = 15 * time.Minute
	// maxAge outlives any outage of a consumer worth waiting for; after it recovery works from Postgres.
	maxAge = 30 * 24 * time.Hour
	// maxMsgSize is an envelope and its headers.
	maxMsgSize = MaxBytes + 4<<10
	// trimAbove is the fill, in percent, from which messages that every durable consumer has handled are removed.
	trimAbove = 50
	// settleTime is far longer than the broker needs to note a message as delivered.
	settleTime = 200 * time.Millisecond
)

// stream is one declaration. A full stream refuses new messages instead of losing old ones: the outbox keeps them until
// upkeep has trimmed what was handled.
type stream struct {
	name     string
	roots    []string
	maxBytes int64
}

// streams lists every stored root once. system.> is core NATS on purpose: heartbeats and control are worthless later.
// The limits are reserved on the broker's disk, 448 MiB together.
func streams() []stream {
	return []stream{
		{"FLEET", []string{RootTopology, RootDecky, RootOrchestrator, RootSMTP}, 64 << 20},
		{"ATTACKER", []string{RootAttacker, RootAttribution, RootIdentity, RootCampaign, RootCredential}, 256 << 20},
		{"TTP", []string{RootTTP, RootEmail, RootCanary}, 128 << 20},
	}
}

// durables lists the consumers that must exist before the first event is published. Each role that works off the bus
// adds its own.
func durables() []Durable { return nil }

// Durable declares one durable pull consumer. Every field but Backoff is required; MaxAttempts 0 means unlimited.
type Durable struct {
	Stream  string
	Name    string
	Filters []string // patterns that do not overlap
	// AckWait is how long a consumer may be silent about a message before another gets it. Run extends it while the
	// handler works, so it bounds the delay after a crash and not the work.
	AckWait time.Duration
	// MaxAttempts is counted by Run, which dead-letters what exceeds it. The broker's own limit is not used: it would
	// drop the message silently.
	MaxAttempts uint64
	// Backoff holds the delays after the first, second, ... transient failure; the last one repeats. Default 1 s.
	Backoff       []time.Duration
	MaxAckPending int
	// Parallel is the number of handlers at work in one process. With 1 and MaxAckPending 1 messages are handled in order.
	Parallel int
}

func (d Durable) validate() error {
	known := slices.ContainsFunc(streams(), func(s stream) bool { return s.name == d.Stream })
	if !known || d.Name == "" || len(d.Filters) == 0 || d.AckWait <= 0 || d.MaxAckPending < 1 || d.Parallel < 1 {
		return fault.New(fault.Invalid, "invalid_consumer", "a consumer needs a known stream, a name, filters, AckWait, MaxAckPending and Parallel")
	}
	for _, f := range d.Filters {
		if err := ValidatePattern(f); err != nil {
			return fmt.Errorf("consumer %s: %w", d.Name, err)
		}
	}
	return nil
}

func (d Durable) config() jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:        d.Name,
		FilterSubjects: d.Filters,
		DeliverPolicy:  jetstream.DeliverAllPolicy,
		AckPolicy:      jetstream.AckExplicitPolicy,
		AckWait:        d.AckWait,
		MaxDeliver:     -1,
		MaxAckPending:  d.MaxAckPending,
	}
}

func (s stream) subjects() []string {
	out := make([]string, len(s.roots))
	for i, r := range s.roots {
		out[i] = r + ".>"
	}
	return out
}

// overlay writes what we decide into cfg and leaves what an operator of a shared broker decides (replicas, placement).
func (s stream) overlay(cfg jetstream.StreamConfig) jetstream.StreamConfig {
	cfg.Name = s.name
	cfg.Description = "decnet events"
	cfg.Subjects = s.subjects()
	cfg.Retention = jetstream.LimitsPolicy
	cfg.Discard = jetstream.DiscardNew
	cfg.Storage = jetstream.FileStorage
	cfg.MaxBytes = s.maxBytes
	cfg.MaxAge = maxAge
	cfg.MaxMsgs = -1
	cfg.MaxMsgsPerSubject = -1
	cfg.MaxMsgSize = maxMsgSize
	cfg.MaxConsumers = -1
	cfg.Duplicates = duplicateWindow
	return cfg
}

// streamOf returns the stream that stores root, false for core NATS.
func streamOf(root string) (stream, bool) {
	for _, s := range streams() {
		if slices.Contains(s.roots, root) {
			return s, true
		}
	}
	return stream{}, false
}

// Apply creates or updates every stream and durable consumer. It is idempotent and may run in many processes at once.
func Apply(ctx context.Context, js jetstream.JetStream) error {
	_, err := apply(ctx, js)
	return err
}

// apply also returns where each stream ends, by name.
func apply(ctx context.Context, js jetstream.JetStream) (map[string]Position, error) {
	ends := make(map[string]Position)
	for _, s := range streams() {
		at, err := s.apply(ctx, js)
		if err != nil {
			return nil, fmt.Errorf("apply stream %s: %w", s.name, err)
		}
		ends[s.name] = at
	}
	for _, d := range durables() {
		if err := d.validate(); err != nil {
			return nil, err
		}
		if _, err := js.CreateOrUpdateConsumer(ctx, d.Stream, d.config()); err != nil {
			return nil, fmt.Errorf("apply consumer %s of %s: %w", d.Name, d.Stream, err)
		}
	}
	return ends, nil
}

// look returns where each stream that is there ends, and changes nothing.
func look(ctx context.Context, js jetstream.JetStream) (map[string]Position, error) {
	ends := make(map[string]Position)
	for _, s := range streams() {
		st, err := js.Stream(ctx, s.name)
		switch {
		case err == nil:
			ends[s.name] = newest(st.CachedInfo())
		case !errors.Is(err, jetstream.ErrStreamNotFound):
			return nil, fmt.Errorf("look at stream %s: %w", s.name, err)
		}
	}
	return ends, nil
}

func (s stream) apply(ctx context.Context, js jetstream.JetStream) (Position, error) {
	var cfg jetstream.StreamConfig
	have, err := js.Stream(ctx, s.name)
	switch {
	case err == nil:
		cfg = have.CachedInfo().Config
	case !errors.Is(err, jetstream.ErrStreamNotFound):
		return Position{}, err
	}
	st, err := js.CreateOrUpdateStream(ctx, s.overlay(cfg))
	if err != nil {
		return Position{}, err
	}
	return newest(st.CachedInfo()), nil
}

// trim removes the older half of each stream that is filling up, but nothing a durable consumer still needs.
func trim(ctx context.Context, js jetstream.JetStream) error {
	for _, s := range streams() {
		if err := s.trim(ctx, js); err != nil {
			return fmt.Errorf("trim stream %s: %w", s.name, err)
		}
	}
	return nil
}

func (s stream) trim(ctx context.Context, js jetstream.JetStream) error {
	st, err := js.Stream(ctx, s.name)
	if err != nil {
		return err
	}
	// State first: a consumer without pending messages below has handled everything up to LastSeq of this answer.
	state := st.CachedInfo().State
	if state.Bytes*100 < uint64(s.maxBytes)*trimAbove {
		return nil
	}
	upTo := min(state.FirstSeq+state.Msgs/2, state.LastSeq)
	// Twice: for an instant a message that is on its way to a consumer counts neither as pending nor as unacknowledged.
	for range 2 {
		floor, err := handledUpTo(ctx, st, upTo)
		if err != nil {
			return err
		}
		upTo = min(upTo, floor)
		if !sleep(ctx, settleTime) {
			return ctx.Err()
		}
	}
	if upTo < state.FirstSeq {
		return nil
	}
	return st.Purge(ctx, jetstream.WithPurgeSequence(upTo+1))
}

// handledUpTo returns the highest sequence, at most limit, up to which every durable consumer is done.
func handledUpTo(ctx context.Context, st jetstream.Stream, limit uint64) (uint64, error) {
	list := st.ListConsumers(ctx)
	for c := range list.Info() {
		idle := c.NumPending == 0 && c.NumAckPending == 0
		if c.Config.Durable != "" && !idle {
			limit = min(limit, c.AckFloor.Stream)
		}
	}
	return limit, list.Err()
}
