package ingester

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/ingest"
)

// checksBefore is how long before the oldest line of a batch a connection of our own may have been made that it tells of.
const checksBefore = 2 * time.Minute

// maxMissing bounds what one line may count as missing: a decoy that is no longer ours can number its lines as it likes.
const maxMissing = 1 << 30

// priority of a gap: local0, warning.
const gapPRI = 132

// judge decides what becomes of the lines of a batch.
func (c *collector) judge(ctx context.Context, b *batch) error {
	checks, err := c.selfChecks(ctx, b)
	if err != nil {
		return err
	}
	touched := map[db.DeckyOutput]bool{}
	for i := range b.entries {
		e := &b.entries[i]
		if e.record == nil {
			continue
		}
		touched[e.output()] = true
		if c.follow(b, e) {
			e.outcome = db.OutcomeRepeated
			continue
		}
		c.decide(ctx, checks, e)
	}
	for k := range touched {
		c.sequences[k] = own(c.sequences[k])
	}
	return nil
}

// selfChecks loads the connections of our own that lines of the batch may tell of. They were recorded before they were made,
// so it is enough to look after the lines were read.
func (c *collector) selfChecks(ctx context.Context, b *batch) (checks ingest.SelfChecks, err error) {
	var oldest time.Time
	for i := range b.entries {
		r := b.entries[i].record
		if r != nil && r.Peer().IsValid() && (oldest.IsZero() || r.Time.Before(oldest)) {
			oldest = r.Time
		}
	}
	if oldest.IsZero() {
		return nil, nil
	}
	err = c.in.persist(ctx, func(ctx context.Context) error {
		list, err := c.in.Store.RecentSelfChecks(ctx, oldest.Add(-checksBefore))
		checks = ingest.NewSelfChecks(list)
		return err
	})
	return checks, err
}

// follow takes the number of a line, makes an event of what is missing before it, and reports whether it was read before. A
// line without a number was if the last one with a number was.
func (c *collector) follow(b *batch, e *entry) (repeated bool) {
	f := b.files[e.file]
	if e.record.Line == 0 {
		return f.repeats
	}
	k := e.output()
	seq := c.sequences[k]
	if _, ok := b.sequences[k]; !ok {
		b.sequences[k] = clone(seq)
	}
	gap := seq.Next(e.record)
	c.sequences[k] = seq
	f.repeats = gap.Kind == ingest.GapRepeated
	if n := gap.Missing(); n > 0 {
		e.missing = int64(min(n, maxMissing))
		e.rows = append(e.rows, ingest.Extraction{Event: ingest.NewEvent(*e.source, gapRecord(e, gap))})
	}
	return f.repeats
}

func (c *collector) decide(ctx context.Context, checks ingest.SelfChecks, e *entry) {
	event := ingest.NewEvent(*e.source, e.record)
	if checks.Match(&event) {
		e.outcome = db.OutcomeSelfCheck
		return
	}
	switch c.gate.Judge(&event) {
	case ingest.DroppedApp:
		e.outcome = db.OutcomeDroppedApp
	case ingest.DroppedRate:
		e.outcome = db.OutcomeDroppedRate
	case ingest.Admitted:
		e.outcome = db.OutcomeStored
		x := c.extractor.Extract(*e.source, e.record)
		for _, p := range x.Problems {
			c.in.Log.DebugContext(ctx, "part of a line was refused",
				"decky_id", e.file.DeckyID, "service", e.file.Service, "part", p.Part, "reason", p.Reason)
		}
		e.rows = append(e.rows, x)
	}
}

// escape spells a parameter of structured data (RFC 5424, section 6.3.3).
var escape = strings.NewReplacer(`\`, `\\`, `"`, `\"`, `]`, `\]`)

// gapRecord returns the record of missing lines, at the time of the line after them.
func gapRecord(e *entry, g ingest.Gap) *ingest.Record {
	r := &ingest.Record{
		Time: e.record.Time, PRI: gapPRI, Host: e.record.Host, App: e.source.Service, Type: ingest.TypeLogGap, Boot: g.Boot,
		Fields: ingest.Fields{
			{Key: "boot", Value: g.Boot},
			{Key: "from", Value: strconv.FormatUint(g.From, 10)},
			{Key: "to", Value: strconv.FormatUint(g.To, 10)},
			{Key: "missing", Value: strconv.FormatUint(g.Missing(), 10)},
		},
	}
	var raw strings.Builder
	raw.WriteString("<132>1 " + r.Time.Format("2006-01-02T15:04:05.000000-07:00") + " " + orNil(r.Host) + " " + r.App + " - " + r.Type + " [relay@55555")
	for _, f := range r.Fields {
		raw.WriteString(" " + f.Key + `="` + escape.Replace(f.Value) + `"`)
	}
	raw.WriteString("]")
	r.Raw = raw.String()
	return r
}

func orNil(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// clone returns a sequence that shares nothing which Next changes.
func clone(s ingest.Sequence) ingest.Sequence {
	return ingest.Sequence{Boots: slices.Clone(s.Boots)}
}

// own returns a sequence that does not hold on to the lines it was told of.
func own(s ingest.Sequence) ingest.Sequence {
	s = clone(s)
	for i := range s.Boots {
		s.Boots[i].Boot = strings.Clone(s.Boots[i].Boot)
	}
	return s
}
