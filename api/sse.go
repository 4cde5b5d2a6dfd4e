package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/decnet/decnet/internal/bus"
	"github.com/decnet/decnet/internal/fault"
)

const (
	// frameChunk is how much of a frame a reader must take within writeLimit.
	frameChunk = 32 << 10
	writeLimit = 5 * time.Second
	// locateLimit is how long a broker that hangs may delay the snapshot.
	locateLimit = 2 * time.Second

	snapshotEvent = "snapshot"
	failureEvent  = "error"
)

// keepAlive is the sign of life: a comment, which clients ignore.
var keepAlive = []byte(": keepalive\n\n")

var streamHeaders = map[string]string{
	"Content-Type":      "text/event-stream",
	"Cache-Control":     "no-cache",
	"X-Accel-Buffering": "no", // nginx would hold events back
}

// errStreamOver ends a stream that has no reason to go on.
var errStreamOver = errors.New("the stream is over")

// stream is one open event stream.
type stream struct {
	*server
	feed     feed
	who      principal
	lease    uuid.UUID
	lastSeen string // what the client says, hostile
	out      *frames
}

// serveStream serves a stream until its reader goes, may not read any more or is too slow, or the process stops.
func (s *server) serveStream(hc huma.Context, st stream) {
	c := humagin.Unwrap(hc)
	s.streams.Inc()
	defer s.streams.Dec()
	ctx, cancel := context.WithCancel(c.Request.Context())
	defer cancel()
	for name, value := range streamHeaders {
		c.Header(name, value)
	}
	c.Status(http.StatusOK)
	g, gctx := errgroup.WithContext(ctx)
	st.out = newFrames(gctx, c.Writer)
	defer st.out.close()
	// Whoever ends first ends the others, also a write that is under way.
	g.Go(func() error {
		<-gctx.Done()
		st.out.interrupt()
		return nil
	})
	g.Go(func() error { return over(st.stopping(gctx)) })
	g.Go(func() error { return over(st.guard(gctx)) })
	g.Go(func() error { return over(st.tell(gctx)) })
	err := g.Wait()
	if !errors.Is(err, errStreamOver) && ctx.Err() == nil {
		s.deps.Log.WarnContext(ctx, "event stream ended early", "actor", st.who.actor, "request_id", requestIDOf(ctx), "err", err)
	}
}

// over makes the end of one part the end of all.
func over(err error) error {
	if err == nil {
		return errStreamOver
	}
	return err
}

func (st *stream) stopping(ctx context.Context) error {
	select {
	case <-ctx.Done():
	case <-st.deps.Stopping:
	}
	return nil
}

// guard returns when the reader may not read any more, or that could not be found out for too long. It also keeps the
// stream counted.
func (st *stream) guard(ctx context.Context) error {
	tick := time.NewTicker(st.opts.SSEKeepAlive / 3)
	defer tick.Stop()
	for good := time.Now(); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		err := st.allowed(ctx)
		definite := fault.KindOf(err) == fault.Unauthorized || fault.KindOf(err) == fault.Forbidden
		switch {
		case err == nil:
			good = time.Now()
		case definite, time.Since(good) >= st.opts.SSEKeepAlive:
			return err
		}
	}
}

func (st *stream) allowed(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, authLimit)
	defer cancel()
	now, err := st.identifyAgain(ctx, st.who)
	if err != nil {
		return err
	}
	if now.role != st.who.role {
		return errRole()
	}
	if err := now.may(viewer); err != nil {
		return err
	}
	held, err := st.deps.Store.ExtendStreamLease(ctx, st.lease, leaseLife)
	if err == nil && !held {
		err = fault.New(fault.Forbidden, "stream_not_counted", "the stream was given up")
	}
	return err
}

// tell sends the snapshot, unless the client can go on where it was, and then what happens.
func (st *stream) tell(ctx context.Context) error {
	if err := st.out.write(keepAlive); err != nil {
		return err
	}
	// The place comes first: what happens while the snapshot is read is told behind it.
	at, held := st.place(ctx)
	if !held {
		if err := st.snapshot(ctx, at); err != nil {
			return err
		}
	}
	steps := make(chan bus.Step)
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return over(st.follow(gctx, at, steps)) })
	g.Go(func() error { return over(st.pump(gctx, steps)) })
	return g.Wait()
}

func (st *stream) place(ctx context.Context) (at bus.Position, held bool) {
	if st.deps.Events == nil {
		return bus.Position{}, false
	}
	limited, cancel := context.WithTimeout(ctx, locateLimit)
	defer cancel()
	after, _ := bus.ParsePosition(st.lastSeen) // what is not one of ours is as good as none
	at, held, err := st.deps.Events.Locate(limited, st.feed.patterns, after)
	if err != nil && ctx.Err() == nil {
		st.deps.Log.WarnContext(ctx, "event stream begins without the bus", "request_id", requestIDOf(ctx), "err", err)
	}
	return at, held
}

func (st *stream) follow(ctx context.Context, behind bus.Position, steps chan<- bus.Step) error {
	if st.deps.Events == nil {
		<-ctx.Done()
		return nil
	}
	return st.deps.Events.Follow(ctx, st.feed.patterns, behind, func(s bus.Step) error {
		select {
		case steps <- s:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}

// pump sends steps, and a sign of life after each silence.
func (st *stream) pump(ctx context.Context, steps <-chan bus.Step) error {
	silence := time.NewTimer(st.opts.SSEKeepAlive)
	defer silence.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-silence.C:
			err = st.out.write(keepAlive)
		case step := <-steps:
			if !step.Lost && !st.feed.wants(step.Event) {
				continue
			}
			err = st.step(ctx, step)
		}
		if err != nil {
			return err
		}
		silence.Reset(st.opts.SSEKeepAlive)
	}
}

func (st *stream) step(ctx context.Context, step bus.Step) error {
	if step.Lost {
		return st.snapshot(ctx, step.At)
	}
	e := step.Event
	return st.out.event(step.At.String(), eventName(string(e.Topic)),
		EventBody{Topic: string(e.Topic), Type: e.Type, TS: e.TS, Payload: e.Payload})
}

// snapshot sends the state, which includes everything up to a place.
func (st *stream) snapshot(ctx context.Context, at bus.Position) error {
	limited, cancel := context.WithTimeout(ctx, snapshotLimit)
	defer cancel()
	body, err := st.feed.snapshot(limited)
	if err == nil {
		return st.out.event(at.String(), snapshotEvent, body)
	}
	if ctx.Err() != nil {
		return nil
	}
	// The client keeps its id, so that it misses nothing when it comes back.
	return errors.Join(err, st.out.event("", failureEvent, StreamErrorBody{Message: "Stream interrupted"}))
}

// frames writes a stream. A reader who does not take what is written in time is given up: the write fails.
type frames struct {
	ctx     context.Context //nolint:containedctx // the life of the stream, which interrupt may end during a write
	w       http.ResponseWriter
	control *http.ResponseController
}

func newFrames(ctx context.Context, w http.ResponseWriter) *frames {
	return &frames{ctx: ctx, w: w, control: http.NewResponseController(w)}
}

// event sends one frame. The data is one line: JSON has none of the two line breaks there are.
func (f *frames) event(id, name string, data any) error {
	var b bytes.Buffer
	if id != "" {
		b.WriteString("id: " + id + "\n")
	}
	b.WriteString("event: " + name + "\ndata: ")
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(data); err != nil { // ends the line
		return err
	}
	b.WriteByte('\n')
	return f.write(b.Bytes())
}

func (f *frames) write(frame []byte) error {
	for chunk := range slices.Chunk(frame, frameChunk) {
		_ = f.control.SetWriteDeadline(time.Now().Add(writeLimit)) // not every writer has deadlines
		if f.ctx.Err() != nil {
			f.interrupt() // it may have come before the deadline above
		}
		if _, err := f.w.Write(chunk); err != nil {
			return err
		}
	}
	return f.control.Flush()
}

// interrupt fails a write that is under way.
func (f *frames) interrupt() { _ = f.control.SetWriteDeadline(time.Now()) }

// close leaves the connection fit for another request.
func (f *frames) close() { _ = f.control.SetWriteDeadline(time.Time{}) }
