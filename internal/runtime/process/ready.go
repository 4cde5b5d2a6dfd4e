package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/decnet/decnet/internal/runtime/boot"
)

const (
	maxStartBytes = 1 << 20 // read of a boot's log in search of its outcome
	readyPoll     = 15 * time.Millisecond
)

// awaitReady waits until the decoy reports the outcome of its start or ends or the time is over.
func (r *Runtime) awaitReady(ctx context.Context, u *unit) (boot.Outcome, error) {
	f, err := os.Open(r.dirs.log(u.ref))
	if err != nil {
		return boot.Outcome{}, fmt.Errorf("follow log of service %s: %w", u.ref.Service, err)
	}
	defer f.Close()
	limit := time.NewTimer(r.opts.ReadyTimeout)
	defer limit.Stop()
	poll := time.NewTicker(readyPoll)
	defer poll.Stop()
	t := tail{file: f, offset: u.rec.LogOffset}
	for {
		gone := u.proc.gone() // before reading: its last words are in the log by then
		if out, done := t.outcome(u.rec); done {
			return out, nil
		}
		if gone {
			return boot.Outcome{Failure: "it ended (" + u.proc.exit + ")"}, nil
		}
		select {
		case <-poll.C:
		case <-u.proc.done:
		case <-limit.C:
			return boot.Outcome{Failure: "it did not become ready in time"}, nil
		case <-ctx.Done():
			return boot.Outcome{}, fmt.Errorf("start service %s: %w", u.ref.Service, context.Cause(ctx))
		}
	}
}

// reported returns what the decoy of a record has said so far, without waiting.
func (l layout) reported(r boot.Ref, rec record) boot.Outcome {
	f, err := os.Open(l.log(r))
	if err != nil {
		return boot.Outcome{}
	}
	defer f.Close()
	t := tail{file: f, offset: rec.LogOffset}
	out, _ := t.outcome(rec)
	return out
}

// tail reads complete lines of one boot.
type tail struct {
	file   *os.File
	offset int64
	read   int
	rest   []byte
}

// outcome reads on until a line tells how the start went; done is false when none did yet.
func (t *tail) outcome(rec record) (out boot.Outcome, done bool) {
	chunk := make([]byte, 16<<10)
	for t.read < maxStartBytes {
		n, err := t.file.ReadAt(chunk, t.offset)
		t.offset += int64(n)
		t.read += n
		t.rest = append(t.rest, chunk[:n]...)
		for {
			line, rest, ok := bytes.Cut(t.rest, []byte{'\n'})
			if !ok {
				break
			}
			t.rest = rest
			if out, done := boot.ParseOutcome(string(line), rec.expected()); done {
				return out, true
			}
		}
		if n == 0 || (err != nil && !errors.Is(err, io.EOF)) {
			return boot.Outcome{}, false
		}
	}
	return boot.Outcome{Failure: "its log is not understood"}, true
}
