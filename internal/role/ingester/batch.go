package ingester

import (
	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/ingest"
)

// A batch is handed over when it has so many lines, or so many bytes were read for it; what was read last may take it a
// little over.
const (
	maxLines = 2000
	maxBytes = 4 << 20
)

// entry is one line that is a record, or what else a file holds up to an offset.
type entry struct {
	source *ingest.Source
	file   db.IngestFile
	end    int64
	record *ingest.Record // nil when there is none
	// outcome is that of the record. tooLong and malformed count the lines before it that are none.
	outcome            db.Outcome
	tooLong, malformed int64
	// rows are the event of a gap before the line, and that of the line; missing are the lines of the gap.
	rows    []ingest.Extraction
	missing int64
}

// output names whose line it is.
func (e *entry) output() db.DeckyOutput {
	return db.DeckyOutput{DeckyID: e.file.DeckyID, Service: e.file.Service}
}

// batch is what is stored in one transaction.
type batch struct {
	entries []entry
	bytes   int
	// from is where the cursors of its files are before it, sequences what is known of its decoys before it.
	from      map[db.IngestFile]int64
	sequences map[db.DeckyOutput]ingest.Sequence
	files     map[db.IngestFile]*file

	records []*ingest.Record
	used    int
}

func newBatch() *batch {
	return &batch{
		from: map[db.IngestFile]int64{}, sequences: map[db.DeckyOutput]ingest.Sequence{}, files: map[db.IngestFile]*file{},
	}
}

// reset empties a batch, whose records are used again.
func (b *batch) reset() {
	clear(b.entries)
	clear(b.files)
	clear(b.from)
	clear(b.sequences)
	b.entries, b.bytes, b.used = b.entries[:0], 0, 0
}

func (b *batch) empty() bool { return len(b.entries) == 0 }

func (b *batch) full() bool { return len(b.entries) >= maxLines || b.bytes >= maxBytes }

// record returns an unused record.
func (b *batch) record() *ingest.Record {
	if b.used == len(b.records) {
		b.records = append(b.records, new(ingest.Record))
	}
	b.used++
	return b.records[b.used-1]
}

// add appends an entry. Those without a record are joined.
func (b *batch) add(e entry) {
	if n := len(b.entries); n > 0 && e.record == nil {
		if last := &b.entries[n-1]; last.record == nil && last.file == e.file {
			last.end, last.tooLong, last.malformed = e.end, last.tooLong+e.tooLong, last.malformed+e.malformed
			return
		}
	}
	b.entries = append(b.entries, e)
}

// counts returns how many lines of an entry have which outcome.
func (e *entry) counts(count func(db.Outcome, int64)) {
	if e.record != nil {
		count(e.outcome, 1)
	}
	for _, more := range []struct {
		outcome db.Outcome
		lines   int64
	}{{db.OutcomeTooLong, e.tooLong}, {db.OutcomeMalformed, e.malformed}, {db.OutcomeMissing, e.missing}} {
		if more.lines > 0 {
			count(more.outcome, more.lines)
		}
	}
}

// part returns what stores a range of the batch, and the sequences after it.
func (b *batch) part(hostID string, entries []entry) (db.IngestBatch, map[db.DeckyOutput]ingest.Sequence) {
	type counter struct {
		decky, service string
		outcome        db.Outcome
	}
	var out db.IngestBatch
	to := map[db.IngestFile]int64{}
	counts := map[counter]int64{}
	sequences := map[db.DeckyOutput]ingest.Sequence{}
	for i := range entries {
		e := &entries[i]
		to[e.file] = e.end
		out.Extractions = append(out.Extractions, e.rows...)
		e.counts(func(o db.Outcome, n int64) { counts[counter{e.source.DeckyKey, e.source.Service, o}] += n })
		if e.record != nil && e.record.Line > 0 {
			k := e.output()
			seq, ok := sequences[k]
			if !ok {
				seq = clone(b.sequences[k])
			}
			seq.Next(e.record)
			sequences[k] = seq
		}
	}
	for f, end := range to {
		out.Cursors = append(out.Cursors, db.IngestCursor{
			HostID: hostID, DeckyID: f.DeckyID, Service: f.Service, File: f.File, From: b.from[f], To: end,
		})
	}
	for c, n := range counts {
		out.Outcomes = append(out.Outcomes, db.IngestOutcome{DeckyKey: c.decky, Service: c.service, Outcome: c.outcome, Lines: n})
	}
	for k, seq := range sequences {
		out.Sequences = append(out.Sequences, db.IngestSequence{DeckyID: k.DeckyID, Service: k.Service, Sequence: seq})
	}
	return out, sequences
}

// stored notes that a part of the batch is: what follows begins there.
func (b *batch) stored(part db.IngestBatch, sequences map[db.DeckyOutput]ingest.Sequence) {
	for _, c := range part.Cursors {
		b.from[db.IngestFile{DeckyID: c.DeckyID, Service: c.Service, File: c.File}] = c.To
	}
	for k, seq := range sequences {
		b.sequences[k] = seq
	}
}
