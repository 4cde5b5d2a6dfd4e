package bus

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

// tailBuffer bounds the system events that may wait for a slow reader of Tail; more are lost, as core NATS is.
const tailBuffer = 256

// Tail calls fn for every event that matches a pattern, one at a time, until ctx ends (then it returns nil) or fn
// returns an error (then it returns that). A zero from means new events only, otherwise stored ones from that time on
// come first. Order is kept within a stream. It uses ephemeral ordered consumers: it leaves nothing behind and
// acknowledges nothing. Events that cannot be decoded are logged and skipped. A bad pattern is fault Invalid.
func (b *Bus) Tail(ctx context.Context, patterns []string, from time.Time, fn func(Envelope) error) error {
	for _, p := range patterns {
		if err := ValidatePattern(p); err != nil {
			return err
		}
	}
	wanted := func(subject string) bool {
		return slices.ContainsFunc(patterns, func(p string) bool { return Match(p, subject) })
	}
	events := make(chan Envelope)
	deliver := func(ctx context.Context, subject string, data []byte, at time.Time) {
		if !wanted(subject) {
			return
		}
		e, err := Decode(subject, data, Defaults{Now: func() time.Time { return at }})
		if err != nil {
			b.log.WarnContext(ctx, "bus event cannot be decoded", "subject", subject, "err", err)
			return
		}
		select {
		case events <- e:
		case <-ctx.Done():
		}
	}

	g, gctx := errgroup.WithContext(ctx)
	for _, s := range streams() {
		if filters := touched(patterns, s.roots); len(filters) > 0 {
			g.Go(func() error { return b.tailStream(gctx, s.name, filters, from, deliver) })
		}
	}
	if len(touched(patterns, []string{RootSystem})) > 0 {
		g.Go(func() error { return b.tailSystem(gctx, deliver) })
	}
	g.Go(func() error {
		for {
			select {
			case <-gctx.Done():
				return nil
			case e := <-events:
				if err := fn(e); err != nil {
					return err
				}
			}
		}
	})
	err := g.Wait()
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return nil
	}
	return err
}

type deliverFunc func(ctx context.Context, subject string, data []byte, at time.Time)

// tailStream survives lost connections without a gap, and starts again from the first message when the stream was
// replaced: everything in the new one is new.
func (b *Bus) tailStream(ctx context.Context, name string, filters []string, from time.Time, deliver deliverFunc) error {
	cfg := jetstream.OrderedConsumerConfig{FilterSubjects: filters, InactiveThreshold: time.Minute}
	if from.IsZero() {
		st, err := b.js.Stream(ctx, name)
		if err != nil {
			return unavailable("tail stream "+name, err)
		}
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, st.CachedInfo().State.LastSeq+1
	} else {
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &from
	}
	for ctx.Err() == nil {
		last, err := b.tailSession(ctx, name, cfg, deliver)
		switch {
		case err == nil:
			cfg.DeliverPolicy, cfg.OptStartSeq, cfg.OptStartTime = jetstream.DeliverAllPolicy, 0, nil
			continue
		case last > 0:
			cfg.DeliverPolicy, cfg.OptStartSeq, cfg.OptStartTime = jetstream.DeliverByStartSequencePolicy, last+1, nil
		}
		if ctx.Err() == nil {
			b.log.WarnContext(ctx, "bus tail interrupted", "stream", name, "err", err)
			b.poke()
		}
		sleep(ctx, reopenWait)
	}
	return nil
}

// tailSession returns the last sequence it delivered, and no error when the stream was replaced or ctx ended.
func (b *Bus) tailSession(ctx context.Context, name string, cfg jetstream.OrderedConsumerConfig, deliver deliverFunc) (last uint64, err error) {
	receive, cancel := b.withEpoch(ctx)
	defer cancel()
	cons, err := b.js.OrderedConsumer(receive, name, cfg)
	if err != nil {
		return 0, err
	}
	iter, err := cons.Messages(jetstream.PullHeartbeat(pullHeartbeat))
	if err != nil {
		return 0, err
	}
	defer iter.Stop()
	for {
		msg, err := iter.Next(jetstream.NextContext(receive))
		if err != nil {
			if receive.Err() != nil {
				return last, nil
			}
			return last, err
		}
		at := b.now()
		if meta, err := msg.Metadata(); err == nil {
			at, last = meta.Timestamp, meta.Sequence.Stream
		}
		deliver(receive, msg.Subject(), msg.Data(), at)
	}
}

func (b *Bus) tailSystem(ctx context.Context, deliver deliverFunc) error {
	msgs := make(chan *nats.Msg, tailBuffer)
	sub, err := b.nc.ChanSubscribe(RootSystem+".>", msgs)
	if err != nil {
		return unavailable("subscribe", err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	for {
		select {
		case <-ctx.Done():
			return nil
		case m := <-msgs:
			deliver(ctx, m.Subject, m.Data, b.now())
		}
	}
}

// touched returns root.> for every root that some pattern can match.
func touched(patterns, roots []string) []string {
	var out []string
	for _, r := range roots {
		if slices.ContainsFunc(patterns, func(p string) bool {
			first, _, _ := strings.Cut(p, ".")
			return first == r || first == anyToken || first == anySuffix
		}) {
			out = append(out, r+".>")
		}
	}
	return out
}
