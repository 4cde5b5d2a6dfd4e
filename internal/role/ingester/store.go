package ingester

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/clock"
	"github.com/decnet/decnet/internal/fault"
)

// handOver has the batch stored when it is time to, as soon as the one before is. more is that there is more to read now.
func (c *collector) handOver(ctx context.Context, more bool) error {
	b := c.filling
	ripe := b.full() || !b.empty() && (!more || time.Since(c.began) >= gatherFor)
	if !ripe || c.storing != nil && !b.full() {
		return nil
	}
	if err := c.judge(ctx, b); err != nil {
		return err
	}
	if c.storing != nil {
		if err := c.received(ctx, <-c.result); err != nil {
			return err
		}
	}
	c.storing, c.filling, c.spare = b, c.spare, nil
	go func() { c.result <- c.in.store(ctx, b) }()
	return nil
}

// received deals with the outcome of storing a batch.
func (c *collector) received(ctx context.Context, err error) error {
	b := c.storing
	c.storing = nil
	if err != nil {
		return err
	}
	c.giveBack(ctx, b)
	b.reset()
	c.spare = b
	return nil
}

// giveBack frees what is stored.
func (c *collector) giveBack(ctx context.Context, b *batch) {
	if c.noHoles {
		return
	}
	for key, f := range b.files {
		err := f.free(b.from[key])
		if err == nil {
			continue
		}
		if unsupported(err) {
			c.noHoles = true
			c.in.Log.WarnContext(ctx, "what is stored of logs cannot be given back to their file system", "err", err)
			return
		}
		c.in.Log.DebugContext(ctx, "part of a log was not given back", "err", err)
	}
}

// store stores a batch, in parts where a line stands in the way. The error is that ctx ended or that the batch does not fit
// what is stored.
func (in *Ingester) store(ctx context.Context, b *batch) error {
	began := time.Now()
	err := in.storePart(ctx, b, b.entries)
	in.Metrics.stored(time.Since(began), b, err)
	return err
}

func (in *Ingester) storePart(ctx context.Context, b *batch, entries []entry) error {
	err := in.try(ctx, b, entries)
	if err == nil || !blamesLine(err) || ctx.Err() != nil {
		return err
	}
	if len(entries) > 1 {
		half := len(entries) / 2
		if err := in.storePart(ctx, b, entries[:half]); err != nil {
			return err
		}
		return in.storePart(ctx, b, entries[half:])
	}
	e := &entries[0]
	if e.record == nil {
		return err
	}
	in.Log.ErrorContext(ctx, "a line could not be stored and is left out",
		"decky_id", e.file.DeckyID, "service", e.file.Service, "boot", e.record.Boot, "line", e.record.Line, "err", err)
	e.outcome, e.rows = db.OutcomeMalformed, nil
	return in.try(ctx, b, entries)
}

// try stores one part of a batch, waiting for a database that is away. That is safe to repeat: if an attempt whose answer was
// lost did store it, the cursors have moved.
func (in *Ingester) try(ctx context.Context, b *batch, entries []entry) error {
	part, sequences := b.part(in.HostID, entries)
	wait := newPause()
	for {
		err := in.persist(ctx, func(ctx context.Context) error {
			_, err := in.Store.Ingest(ctx, part)
			return err
		})
		if err == nil {
			b.stored(part, sequences)
			return nil
		}
		if moved(err) || blamesLine(err) || ctx.Err() != nil {
			return err
		}
		in.Log.ErrorContext(ctx, "the database refuses what is ingested, it is tried again", "err", err)
		clock.Sleep(ctx, wait.NextBackOff())
	}
}

// moved reports that the cursors are not where this run takes them to be.
func moved(err error) bool {
	f, ok := fault.As(err)
	return ok && f.Code == "cursor_moved"
}

// blamesLine reports whether an error may be the fault of a single line: data that Postgres does not take (classes 21, 22, 23
// and 54 of its appendix A), or that could not be sent to it at all. All others are the database's own.
func blamesLine(err error) bool {
	if moved(err) || fault.KindOf(err) == fault.Unavailable || errors.Is(err, context.Canceled) {
		return false
	}
	var state interface {
		error
		SQLState() string
	}
	if !errors.As(err, &state) {
		return true
	}
	code := state.SQLState()
	return slices.Contains([]string{"21", "22", "23", "54"}, code[:min(2, len(code))])
}

// forgetAfter is how long a file must be gone before its cursor is.
const forgetAfter = time.Hour

// sweep forgets the cursors of files that are gone for good.
func (c *collector) sweep(ctx context.Context) error {
	now := time.Now()
	here := map[db.IngestFile]bool{}
	unsure := map[db.DeckyOutput]bool{}
	for k, s := range c.streams {
		for _, f := range s.files {
			if f.key == "" {
				unsure[k] = true
			}
			here[s.file(f)] = true
		}
	}
	var gone []db.IngestFile
	for f := range c.positions {
		since, missed := c.unseen[f]
		switch {
		case here[f] || unsure[db.DeckyOutput{DeckyID: f.DeckyID, Service: f.Service}]:
			delete(c.unseen, f)
		case !missed:
			c.unseen[f] = now
		case now.Sub(since) >= forgetAfter:
			gone = append(gone, f)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	err := c.in.persist(ctx, func(ctx context.Context) error { return c.in.Store.DeleteIngestCursors(ctx, c.in.HostID, gone) })
	if err != nil {
		return err
	}
	for _, f := range gone {
		delete(c.positions, f)
		delete(c.unseen, f)
	}
	return nil
}
