package bus

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/decnet/decnet/internal/fault"
)

// Position is a place in the log of one stream: right behind a stored message. Besides the number of the message it
// knows when the stream was created and when the message was stored: a broker that lost its store, or only the last
// second of it, gives the same numbers to other messages. The zero value is no place.
type Position struct {
	created int64 // Unix nanoseconds
	seq     uint64
	stored  int64 // Unix nanoseconds; 0 while the stream has stored nothing
}

const (
	positionBase = 36
	// maxPositionBytes is three numbers of 64 bits in that base, and what separates them.
	maxPositionBytes = 3*13 + 2
)

// String returns the position as text of at most 41 letters, digits and dashes, "" for the zero value.
func (p Position) String() string {
	if p.IsZero() {
		return ""
	}
	return strconv.FormatInt(p.created, positionBase) + "-" + strconv.FormatUint(p.seq, positionBase) + "-" +
		strconv.FormatInt(p.stored, positionBase)
}

// IsZero reports whether p is no place.
func (p Position) IsZero() bool { return p == Position{} }

// ParsePosition reads what String returned, and nothing else; ok is false for any other text. Whether the place is still
// there is for Locate to find out.
func ParsePosition(text string) (p Position, ok bool) {
	parts := strings.Split(text[:min(len(text), maxPositionBytes+1)], "-")
	if len(parts) != 3 {
		return Position{}, false
	}
	created, createdErr := strconv.ParseInt(parts[0], positionBase, 64)
	seq, seqErr := strconv.ParseUint(parts[1], positionBase, 64)
	stored, storedErr := strconv.ParseInt(parts[2], positionBase, 64)
	p = Position{created: created, seq: seq, stored: stored}
	if errors.Join(createdErr, seqErr, storedErr) != nil || p.String() != text {
		return Position{}, false
	}
	return p, true
}

// newest returns the place behind everything a stream holds.
func newest(info *jetstream.StreamInfo) Position {
	p := Position{created: info.Created.UnixNano(), seq: info.State.LastSeq}
	if p.seq > 0 {
		p.stored = info.State.LastTime.UnixNano()
	}
	return p
}

// holds reports whether the stream still has the message of p, and with it everything behind.
func holds(ctx context.Context, st jetstream.Stream, p Position) (bool, error) {
	info := st.CachedInfo()
	switch {
	case p.created != info.Created.UnixNano(), p.seq > info.State.LastSeq:
		return false, nil
	case p.seq == info.State.LastSeq:
		return p == newest(info), nil
	case p.seq == 0:
		return p.stored == 0 && info.State.FirstSeq <= 1, nil
	}
	at, found, err := storedAt(ctx, st, p.seq)
	return found && at.UnixNano() == p.stored, err
}

// storedAt returns when a message was stored.
func storedAt(ctx context.Context, st jetstream.Stream, seq uint64) (at time.Time, found bool, err error) {
	msg, err := st.GetMsg(ctx, seq)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return time.Time{}, false, nil
	case err != nil:
		return time.Time{}, false, err
	}
	return msg.Time, true, nil
}

// Locate finds where somebody who follows patterns goes on: at after, when everything behind it is still there (then held
// is true), otherwise behind the newest event. When the broker does not answer, the error is fault Unavailable and at is
// the place to try: after itself, or where the log ended when it was last seen; nothing behind it is missed. Patterns
// that are bad, or of several streams, are fault Invalid.
func (b *Bus) Locate(ctx context.Context, patterns []string, after Position) (at Position, held bool, err error) {
	name, err := oneStream(patterns)
	if err != nil {
		return Position{}, false, err
	}
	st, err := b.look(ctx, name)
	if err == nil {
		held, err = holds(ctx, st, after)
	}
	switch {
	case err != nil:
		return b.lastSeen(name, after), false, unavailable("locate in stream "+name, err)
	case held:
		return after, true, nil
	}
	return newest(st.CachedInfo()), false, nil
}

func (b *Bus) look(ctx context.Context, name string) (jetstream.Stream, error) {
	if !b.nc.IsConnected() {
		return nil, nats.ErrDisconnected
	}
	return b.js.Stream(ctx, name)
}

// lastSeen returns after unless it is known to be of another stream.
func (b *Bus) lastSeen(name string, after Position) Position {
	b.mu.Lock()
	defer b.mu.Unlock()
	seen := b.seen[name]
	if !after.IsZero() && (seen.IsZero() || seen.created == after.created) {
		return after
	}
	return seen
}

// oneStream returns the stream all patterns are of.
func oneStream(patterns []string) (string, error) {
	name := ""
	for _, p := range patterns {
		if err := ValidatePattern(p); err != nil {
			return "", err
		}
		root, _, _ := strings.Cut(p, ".")
		s, stored := streamOf(root)
		if !stored || name != "" && s.name != name {
			name = ""
			break
		}
		name = s.name
	}
	if name == "" {
		return "", fault.New(fault.Invalid, "invalid_pattern", "what is followed must be of one stored stream")
	}
	return name, nil
}
