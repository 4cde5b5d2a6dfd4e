package bus

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// lookBack is how far before a position there may be the first copy of an event that is published again behind it: the
	// relay repeats what it published in the last 10 minutes before its last publication, the broker folds repetitions
	// together for 15 minutes and thereby lets the first copy be that much older, and the rest is for slow batches.
	lookBack = duplicateWindow + 15*time.Minute
	// maxLookBack bounds the messages read for it, and the ids remembered. It fits a batch of hours on a quiet fleet.
	maxLookBack = 16384
	// lookBackStep is the first stretch tried; each further one is four times as long.
	lookBackStep = 256

	followAhead    = 64 // messages read ahead of a follower
	followIdle     = 30 * time.Second
	followEndLimit = time.Second
)

// Step is what a follower is told: an event and the place behind it, or that the log does not go on where the follower
// was.
type Step struct {
	// At is where to go on after this step.
	At Position
	// Lost means that what was between the last step and At cannot be told: the broker lost it or removed it. Event is
	// empty then, and the follower has to look at the state itself, which includes everything up to At.
	Lost  bool
	Event Envelope
}

// errLogGap ends a session in which a message was lost on the way.
var errLogGap = errors.New("a message was lost on the way")

// Follow calls fn, one step at a time, for every event behind a position that matches one of the patterns (all of one
// stream, none overlapping another), until ctx ends (then it returns nil) or fn returns an error (then it returns that).
// It outlives a lost connection and a lost stream without a gap: where it cannot go on exactly, it says so with a step.
// An event that is stored twice is told once, also when its first copy is some way before the position. It leaves nothing
// behind on the broker. Events that cannot be decoded are logged and skipped. Bad patterns are fault Invalid.
func (b *Bus) Follow(ctx context.Context, patterns []string, behind Position, fn func(Step) error) error {
	name, err := oneStream(patterns)
	if err != nil {
		return err
	}
	f := follower{bus: b, stream: name, filters: patterns, at: behind, known: newRecent(maxLookBack), tell: fn}
	for ctx.Err() == nil {
		err := f.session(ctx)
		if f.refused != nil {
			if ctx.Err() != nil && errors.Is(f.refused, ctx.Err()) {
				return nil
			}
			return f.refused
		}
		if err != nil && ctx.Err() == nil {
			f.complain(ctx, err)
		}
		sleep(ctx, reopenWait)
	}
	return nil
}

type follower struct {
	bus     *Bus
	stream  string
	filters []string
	at      Position
	known   *recent // ids of events that were told, or were there before the first step
	looked  bool    // known holds the ids before the first step
	tell    func(Step) error
	refused error // what tell returned
	silent  bool  // the trouble there is was logged
}

// complain logs the first failure of a row: a broker may be away for long, and followers are many.
func (f *follower) complain(ctx context.Context, err error) {
	if !f.silent {
		f.bus.log.WarnContext(ctx, "bus log is not followed for now", "stream", f.stream, "err", err)
	}
	f.silent = true
	if f.bus.nc.IsConnected() {
		f.bus.poke() // the stream may be gone
	}
}

// session follows until ctx ends, the stream is replaced, or the broker or the connection loses its consumer.
func (f *follower) session(ctx context.Context) error {
	receive, cancel := f.bus.withEpoch(ctx)
	defer cancel()
	st, err := f.bus.look(receive, f.stream)
	if err != nil {
		return err
	}
	if err := f.confirm(receive, st); err != nil {
		return err
	}
	first := f.at.seq + 1
	if !f.looked {
		if first, err = backFrom(receive, st, f.at); err != nil {
			return err
		}
	}
	// Not an ordered consumer: after a reconnect that one goes on by number, whatever the broker has under it by then. In
	// memory: a broker that was restarted must not go on with it either.
	cons, err := st.CreateConsumer(receive, jetstream.ConsumerConfig{
		FilterSubjects: f.filters, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: first,
		AckPolicy: jetstream.AckNonePolicy, MaxDeliver: 1, MemoryStorage: true, Replicas: 1, InactiveThreshold: followIdle,
	})
	if err != nil {
		return err
	}
	f.silent = false
	defer f.drop(ctx, st, cons.CachedInfo().Name)
	return f.read(receive, cons)
}

// confirm makes sure that the log goes on where the follower is, or tells that it does not.
func (f *follower) confirm(ctx context.Context, st jetstream.Stream) error {
	held, err := holds(ctx, st, f.at)
	if err != nil || held {
		return err
	}
	f.at = newest(st.CachedInfo())
	return f.step(Step{At: f.at, Lost: true})
}

func (f *follower) step(s Step) error {
	f.refused = f.tell(s)
	return f.refused
}

// backFrom returns the number of the first message whose id matters to somebody who goes on behind p. It is searched by
// number: with several filters the broker can skip messages when asked for a time.
func backFrom(ctx context.Context, st jetstream.Stream, p Position) (uint64, error) {
	from := time.Unix(0, p.stored).Add(-lookBack)
	for stretch := uint64(lookBackStep); stretch <= maxLookBack; stretch *= 4 {
		if p.seq <= stretch {
			return 1, nil
		}
		at, found, err := storedAt(ctx, st, p.seq-stretch)
		if err != nil {
			return 0, err
		}
		if !found || at.Before(from) {
			return p.seq - stretch, nil // a removed one is before the first: the broker moves the start up
		}
	}
	return p.seq - maxLookBack, nil
}

func (f *follower) read(ctx context.Context, cons jetstream.Consumer) error {
	iter, err := cons.Messages(jetstream.PullMaxMessages(followAhead), jetstream.PullHeartbeat(pullHeartbeat))
	if err != nil {
		return err
	}
	defer iter.Stop()
	for next := uint64(1); ; next++ {
		msg, err := iter.Next(jetstream.NextContext(ctx))
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		meta, err := msg.Metadata()
		if err != nil {
			return err
		}
		if meta.Sequence.Consumer != next {
			return errLogGap
		}
		if err := f.one(ctx, msg, meta); err != nil {
			return err
		}
	}
}

func (f *follower) one(ctx context.Context, msg jetstream.Msg, meta *jetstream.MsgMetadata) error {
	before := meta.Sequence.Stream <= f.at.seq
	if !before {
		f.looked = true
		f.at.seq, f.at.stored = meta.Sequence.Stream, meta.Timestamp.UnixNano()
	}
	e, err := Decode(msg.Subject(), msg.Data(), storedDefaults(msg, meta))
	if err == nil {
		_, err = ParseSubject(msg.Subject())
	}
	if err != nil {
		if !before {
			f.bus.log.WarnContext(ctx, "bus event cannot be decoded", "subject", msg.Subject(), "err", err)
		}
		return nil
	}
	if fresh := f.known.add(e.ID); !fresh || before {
		return nil
	}
	return f.step(Step{At: f.at, Event: e})
}

// drop removes the consumer; the broker would do it later.
func (f *follower) drop(ctx context.Context, st jetstream.Stream, name string) {
	if !f.bus.nc.IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), followEndLimit)
	defer cancel()
	_ = st.DeleteConsumer(ctx, name)
}

// recent remembers the newest ids up to a number, as digests: they may be foreign.
type recent struct {
	limit int
	have  map[digest]struct{}
	ring  []digest
	next  int
}

type digest [16]byte

func newRecent(limit int) *recent { return &recent{limit: limit, have: map[digest]struct{}{}} }

// add returns false when id is remembered already.
func (r *recent) add(id string) bool {
	sum := sha256.Sum256([]byte(id))
	d := digest(sum[:16])
	if _, ok := r.have[d]; ok {
		return false
	}
	r.have[d] = struct{}{}
	if len(r.ring) < r.limit {
		r.ring = append(r.ring, d)
		return true
	}
	delete(r.have, r.ring[r.next])
	r.ring[r.next] = d
	r.next = (r.next + 1) % r.limit
	return true
}
