package cli

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/tmaxmax/go-sse"
)

const (
	// silenceLimit is three signs of life of the API.
	silenceLimit   = 45 * time.Second
	firstRejoin    = 250 * time.Millisecond
	longestRejoin  = 10 * time.Second
	longestBacklog = time.Minute // what a server may ask to wait
)

// stream reads one event stream of the API for as long as its context lasts: through lost connections and restarts of the
// API, without a gap. It is not safe for concurrent use.
type stream struct {
	client *client
	path   string
	// lost is told why the connection broke, once until it is there again, and back that it is.
	lost func(error)
	back func()

	lastID  string
	joined  bool // it was open once
	absent  bool // lost was told
	waiting time.Duration
}

// each calls fn for every event until ctx ends (then it returns nil), fn returns an error (then it returns that), or the
// API refuses the stream. Not reaching the API at all is an unreachableError.
func (s *stream) each(ctx context.Context, fn func(sse.Event) error) error {
	for {
		err := s.join(ctx, fn)
		var refused *refusedByReader
		switch {
		case errors.As(err, &refused):
			return refused.err
		case ctx.Err() != nil:
			return nil
		case !s.joined, final(err):
			return err
		}
		if !s.absent {
			s.absent = true
			s.lost(err)
		}
		if !pause(ctx, s.delay(err)) {
			return nil
		}
	}
}

// refusedByReader is an error of the function that gets the events.
type refusedByReader struct{ err error }

func (e *refusedByReader) Error() string { return e.err.Error() }

// final reports whether trying again cannot help: the credentials or the stream are gone.
func final(err error) bool {
	var p *problemError
	return errors.As(err, &p) && !p.temporary()
}

// delay returns how long to wait before the next try.
func (s *stream) delay(err error) time.Duration {
	s.waiting = min(max(2*s.waiting, firstRejoin), longestRejoin)
	var busy *busyError
	if errors.As(err, &busy) {
		return min(max(busy.after, s.waiting), longestBacklog)
	}
	return s.waiting
}

// busyError is a refusal that says when to come back.
type busyError struct {
	*problemError
	after time.Duration
}

func (e *busyError) Unwrap() error { return e.problemError }

var (
	errStreamEnded = errors.New("the stream ended")
	errSilent      = errors.New("no sign of life came")
)

// join reads one connection to its end, which is always an error.
func (s *stream) join(ctx context.Context, fn func(sse.Event) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req, err := s.client.request(ctx, call{method: http.MethodGet, path: s.path})
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "text/event-stream, application/problem+json")
	if s.lastID != "" {
		req.Header.Set("Last-Event-ID", s.lastID)
	}
	res, err := s.client.http.Do(req)
	if err != nil {
		return s.client.unreachable(ctx, err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return refusalOf(res)
	}
	s.arrived()
	alive := time.AfterFunc(silenceLimit, func() { cancel(errSilent) })
	defer alive.Stop()
	for e, err := range sse.Read(watched{res.Body, alive}, &sse.ReadConfig{MaxEventSize: maxBodyBytes}) {
		if err != nil && context.Cause(ctx) != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return s.client.unreachable(ctx, err)
		}
		if e.LastEventID != "" {
			s.lastID = e.LastEventID
		}
		if err := fn(e); err != nil {
			return &refusedByReader{err: err}
		}
		s.waiting = 0
	}
	return errStreamEnded
}

func (s *stream) arrived() {
	s.joined = true
	if s.absent {
		s.absent = false
		s.back()
	}
}

func refusalOf(res *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(res.Body, maxInputBytes))
	if err != nil {
		body = nil // the status says enough
	}
	p := newProblem(reply{status: res.StatusCode, header: res.Header, body: body})
	seconds, err := strconv.ParseUint(res.Header.Get("Retry-After"), 10, 16)
	if err != nil || !p.temporary() {
		return p
	}
	return &busyError{problemError: p, after: time.Duration(seconds) * time.Second}
}

// watched puts off the end of a connection for as long as something comes.
type watched struct {
	io.Reader
	alive *time.Timer
}

func (w watched) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	if n > 0 {
		w.alive.Reset(silenceLimit)
	}
	return n, err
}
