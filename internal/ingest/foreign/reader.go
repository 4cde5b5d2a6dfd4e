package foreign

import (
	"fmt"
	"io"

	"github.com/decnet/decnet/internal/ingest"
)

// maxSensors bounds how many names of sensors are remembered with their keys.
const maxSensors = 256

// MapFunc tells what a line means: it fills d and returns "", or why the line is skipped. It depends on o alone. Kind is set as
// soon as it is known.
type MapFunc func(o *Object, d *Draft) Reason

// Entry is a line that was kept.
type Entry struct {
	// Record is the caller's to keep.
	Record *ingest.Record
	// Source names the sensor of this line; one log may hold several.
	Source ingest.Source
	// After is where to go on once this entry is stored.
	After Position
}

// Reader reads the entries of one log. It is for one goroutine.
type Reader struct {
	format string
	lines  *lines
	mapTo  MapFunc
	object Object
	draft  Draft
	report Report
	keys   map[string]string
	failed error
}

// NewReader returns a reader of r, plain or gzip-compressed, from a position on. Format names the log's format and is part of
// what tells records apart. Errors are ErrPosition and those of reading.
func NewReader(r io.Reader, from Position, format string, m MapFunc) (*Reader, error) {
	l, err := newLines(r, from)
	if err != nil {
		return nil, err
	}
	return &Reader{
		format: format, lines: l, mapTo: m, keys: map[string]string{},
		report: Report{Skipped: map[Reason]int64{}, Kinds: map[string]int64{}},
	}, nil
}

// Next returns the next line that is kept and io.EOF behind the last line. Any other error is one of reading (a damaged
// archive, say): what was returned before stands, and Position and Report include the line it broke off in.
func (r *Reader) Next() (Entry, error) {
	for r.failed == nil {
		l, err := r.lines.next()
		if err != nil {
			if err != io.EOF { //nolint:errorlint // io.EOF is returned bare by contract; a wrapped one is damage
				err = fmt.Errorf("read line %d: %w", r.lines.at.Line+1, err)
			}
			r.failed = err
			break
		}
		if e, ok := r.entry(l); ok {
			return e, nil
		}
	}
	return Entry{}, r.failed
}

// Position is where to go on reading: behind the last line that was read, kept or not, a truncated one included. When a line was
// truncated because the log was still being written, the log is to be read again from its beginning; what is known is known.
func (r *Reader) Position() Position { return r.lines.at }

// Report accounts for the lines between the position the reader began at and Position.
func (r *Reader) Report() Report { return r.report.clone() }

func (r *Reader) entry(l line) (Entry, bool) {
	r.report.Read++
	text, why := r.object.decode(l)
	r.draft.reset()
	if why == "" {
		if why = r.mapTo(&r.object, &r.draft); why == "" && r.draft.Sensor == "" {
			why = NoSensor
		}
	}
	if r.draft.Kind != "" {
		r.report.Kinds[r.draft.Kind]++
	}
	if why != "" {
		r.report.Skipped[why]++
		return Entry{}, false
	}
	r.report.Kept++
	d := &r.draft
	d.Sensor = r.sensorKey(d.Sensor)
	d.Service = d.Service[:min(len(d.Service), maxServiceLen)]
	return Entry{
		Record: d.record(text, r.object.digest(r.format)),
		Source: ingest.ImportSource(d.Sensor, d.Service),
		After:  r.lines.at,
	}, true
}

func (r *Reader) sensorKey(name string) string {
	if key, ok := r.keys[name]; ok {
		return key
	}
	key := SensorKey(name)
	if len(r.keys) < maxSensors && len(name) <= ingest.MaxLineBytes>>4 {
		r.keys[name] = key
	}
	return key
}
