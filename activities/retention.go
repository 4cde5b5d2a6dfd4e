package activities

import (
	"context"
	"log/slog"
	"time"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/clock"
	"github.com/decnet/decnet/internal/temporalfault"
)

// Bounds of one TrimRows.
const (
	// trimFor is how long one execution works; what is left is for the next.
	trimFor = 40 * time.Second
	// trimRows is how many rows go in one transaction.
	trimRows      = 2000
	leastTrimRows = 100
	// slowStep is how long a step may take before the next ones are made smaller.
	slowStep = 300 * time.Millisecond
	// longestRest bounds the pause after a step.
	longestRest = 2 * time.Second
)

// Retention removes rows that are older or more than the settings allow. Store and Log are required.
type Retention struct {
	Store *db.Store
	Log   *slog.Logger
	// Rows is how many rows go in one transaction at most; 0 means 2,000.
	Rows int
}

// TrimRowsResult says what a pass over the rows did.
type TrimRowsResult struct {
	Removed int64 `json:"removed,omitempty"`
	// More is set when there was not enough time.
	More bool `json:"more,omitempty"`
	// Hosts are those that have files.
	Hosts []string `json:"hosts,omitempty"`
}

// TrimRows removes rows of every class by age and then by quota, the oldest first, in short transactions with pauses as long
// as they took, all classes in turn. It leaves the rest to the next execution after 40 s.
//
// Idempotency: every step looks for what is too old or too much at its time, and counts what it removed in its own
// transaction; nothing is carried from one execution to the next.
func (r *Retention) TrimRows(ctx context.Context) (TrimRowsResult, error) {
	stop := beat(ctx)
	defer stop()
	settings, err := r.Store.Retention(ctx)
	if err != nil {
		return TrimRowsResult{}, temporalfault.Wrap(err)
	}
	hosts, err := r.hosts(ctx)
	if err != nil {
		return TrimRowsResult{}, temporalfault.Wrap(err)
	}
	out := TrimRowsResult{Hosts: hosts}
	var work []*trimming
	for _, class := range db.RowClasses() {
		for _, s := range settings {
			if s.Class != class {
				continue
			}
			found, err := r.Store.Measure(ctx, s)
			if err != nil {
				return out, temporalfault.Wrap(err)
			}
			work = append(work, &trimming{Retention: s, found: found, aging: !s.Horizon.IsZero()})
		}
	}
	pace := pace{rows: r.Rows}
	if pace.rows == 0 {
		pace.rows = trimRows
	}
	err = r.trim(ctx, work, &pace)
	for _, t := range work {
		out.Removed += t.removed
		out.More = out.More || !t.done
		if err == nil {
			err = r.record(ctx, t)
		}
	}
	if out.Removed > 0 {
		r.Log.InfoContext(ctx, "old rows were removed", "rows", out.Removed, "more", out.More)
	}
	if err != nil && ctx.Err() != nil {
		return out, ctx.Err()
	}
	return out, temporalfault.Wrap(err)
}

// hosts returns the hosts whose decoys are looked after.
func (r *Retention) hosts(ctx context.Context) ([]string, error) {
	roles, err := r.Store.Roles(ctx)
	var hosts []string
	seen := map[string]bool{}
	for _, role := range roles {
		if role.Role == "runtime" && !seen[role.HostID] {
			seen[role.HostID] = true
			hosts = append(hosts, role.HostID)
		}
	}
	return hosts, err
}

// trim makes a step of every class in turn until all are done or the time is up.
func (r *Retention) trim(ctx context.Context, work []*trimming, p *pace) error {
	began := time.Now()
	sweeping := true
	for open := true; open && time.Since(began) < trimFor; {
		open = false
		if sweeping {
			n, err := p.step(ctx, func(limit int) (int64, error) { return r.Store.Sweep(ctx, limit) })
			if err != nil {
				return err
			}
			sweeping = n > 0
			open = open || sweeping
		}
		for _, t := range work {
			if t.done {
				continue
			}
			if err := t.step(ctx, r.Store, p); err != nil {
				return err
			}
			open = open || !t.done
		}
	}
	return nil
}

// record stores what there is now of a class, as far as this execution can tell.
func (r *Retention) record(ctx context.Context, t *trimming) error {
	usage := t.found.Usage
	if t.removed > 0 {
		limits := t.Retention
		limits.RetentionLimits = db.RetentionLimits{} // no quota is asked about, so that nothing large is counted again
		after, err := r.Store.Measure(ctx, limits)
		if err != nil {
			return err
		}
		usage.Bytes, usage.Oldest, usage.Rows = after.Bytes, after.Oldest, max(0, usage.Rows-t.removed)
	}
	return r.Store.RecordUsage(ctx, t.Class, usage)
}

// trimming is the work on one class.
type trimming struct {
	db.Retention
	found   db.Measurement
	aging   bool // what is too old goes first
	mark    db.TrimMark
	removed int64
	done    bool
}

func (t *trimming) step(ctx context.Context, store *db.Store, p *pace) error {
	step := db.TrimStep{Class: t.Class, Before: t.Horizon, After: t.mark}
	excess := t.found.Excess - t.removed
	if !t.aging {
		if excess <= 0 {
			t.done = true
			return nil
		}
		step.Before = time.Time{}
	}
	n, err := p.step(ctx, func(limit int) (n int64, err error) {
		step.Limit = limit
		if !t.aging {
			step.Limit = int(min(int64(limit), excess))
		}
		n, t.mark, err = store.Trim(ctx, step)
		return n, err
	})
	t.removed += n
	switch {
	case err != nil || n > 0:
	case t.aging:
		t.aging = false
	default:
		t.done = true
	}
	return err
}

// pace keeps steps short and rests between them.
type pace struct{ rows int }

// step does a step and rests for as long as it took: half of the time belongs to others.
func (p *pace) step(ctx context.Context, do func(limit int) (int64, error)) (int64, error) {
	began := time.Now()
	n, err := do(p.rows)
	if err != nil || n == 0 {
		return n, err
	}
	took := time.Since(began)
	if took > slowStep {
		p.rows = max(leastTrimRows, p.rows/2)
	}
	clock.Sleep(ctx, min(took, longestRest))
	return n, ctx.Err()
}
