// Package imports knows what an import of another honeypot's log is: its formats and states, how far it is, and how it ends.
//
// It is pure: it stores nothing, and what it reads is given to it. The invariant: how far an import is and the report of the
// lines before that place are one value, so that an import which was interrupted anywhere counts every line once.
package imports

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"

	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/ingest/cowrie"
	"github.com/decnet/decnet/internal/ingest/foreign"
	"github.com/decnet/decnet/internal/ingest/opencanary"
)

// Format is whose log it is.
type Format string

// Formats.
const (
	Cowrie     Format = "cowrie"
	OpenCanary Format = "opencanary"
)

// State is where an import is in its life.
type State string

// States. The first two are open.
const (
	Uploading State = "uploading"
	Running   State = "running"
	Succeeded State = "succeeded"
	Failed    State = "failed"
	Cancelled State = "cancelled"
)

// Open reports whether an import in this state has not ended.
func (s State) Open() bool { return s == Uploading || s == Running }

// Import is one log that is, or was, read in.
type Import struct {
	ID     uuid.UUID
	Format Format
	// Name is what the operator called the log, bounded and without control characters; it is no path of this host.
	Name  string
	Actor string
	State State
	// Fault says why a failed import failed; nil otherwise.
	Fault *fault.Error
	// BytesTotal are those that were uploaded, BytesRead those that the reader has taken of them.
	BytesTotal, BytesRead int64
	Position              Position
	Report                foreign.Report
	// Stored are events, Duplicates those that were known already.
	Stored, Duplicates int64
	CreatedAt          time.Time
	StartedAt, EndedAt *time.Time
}

// Position is where the reader goes on. The zero value is the beginning.
type Position struct {
	foreign.Position
	// End is set once there is nothing more to read.
	End End `json:"end,omitempty"`
}

// End says how the input ended.
type End string

// Ends.
const (
	EndComplete End = "complete"
	EndDamaged  End = "damaged" // an archive that is not what it was when it was made
)

// NotFound returns the fault of an import that is not there.
func NotFound() *fault.Error {
	return fault.New(fault.NotFound, "import_not_found", "there is no such import")
}

// Final returns the fault of a request for an import that has ended.
func Final() *fault.Error { return fault.New(fault.Conflict, "import_final", "the import has ended") }

// Interrupted returns the fault of an import whose upload broke off.
func Interrupted() *fault.Error {
	return fault.New(fault.Invalid, "upload_interrupted", "the upload broke off; nothing of it was imported")
}

// Outcome returns how an import ends that was read to its end.
func (p Position) Outcome(r foreign.Report) (State, *fault.Error) {
	switch {
	case p.End == EndDamaged:
		return Failed, fault.New(fault.Unprocessable, "import_damaged",
			"the archive is damaged behind line %d; what comes before is imported", r.Read)
	case r.Kept == 0 && r.Read > 0:
		return Failed, fault.New(fault.Unprocessable, "import_nothing_kept",
			"none of its lines tells what an attacker did; the report says why")
	}
	return Succeeded, nil
}

// Reader reads the entries of an import from where it stopped.
type Reader struct {
	input   *Input
	entries *foreign.Reader
	before  foreign.Report
	from    Position
	end     End
}

// Open returns a reader of an import over the whole of its input. Errors of the input itself come back as they are; that an
// archive cannot even be opened is no error but the reader's end.
func Open(im Import, input *Input) (*Reader, error) {
	r := &Reader{input: input, before: im.Report, from: im.Position, end: im.Position.End}
	if r.end != "" {
		return r, nil
	}
	open := cowrie.NewReader
	switch im.Format {
	case Cowrie:
	case OpenCanary:
		open = opencanary.NewReader
	default:
		return nil, fmt.Errorf("read an import of format %q", im.Format)
	}
	entries, err := open(input, im.Position.Position)
	switch {
	case input.Err() != nil:
		return nil, input.Err()
	case errors.Is(err, foreign.ErrPosition):
		return nil, fmt.Errorf("go on with import %s: %w", im.ID, err)
	case err != nil:
		r.end = EndDamaged
		return r, nil
	}
	r.entries = entries
	return r, nil
}

// Batch returns the next entries, at most n and about so many bytes of text; none, once, at the end. Errors are those of the
// input: what was read since the last batch is to be read again then.
func (r *Reader) Batch(n, bytes int) ([]foreign.Entry, error) {
	var batch []foreign.Entry
	for size := 0; r.end == "" && len(batch) < n && size < bytes; {
		e, err := r.entries.Next()
		switch {
		case err == nil:
			batch = append(batch, e)
			size += len(e.Record.Raw)
		case r.input.Err() != nil:
			return nil, r.input.Err()
		case err == io.EOF: //nolint:errorlint // bare at the end by contract; a wrapped one is damage
			r.end = EndComplete
		default:
			r.end = EndDamaged
		}
	}
	return batch, nil
}

// Position is where to go on behind the last batch.
func (r *Reader) Position() Position {
	if r.entries == nil {
		return Position{Position: r.from.Position, End: r.end}
	}
	return Position{Position: r.entries.Position(), End: r.end}
}

// Report accounts for all lines before Position, those that were read before an interruption included.
func (r *Reader) Report() foreign.Report {
	if r.entries == nil {
		return r.before.Plus(foreign.Report{})
	}
	return r.before.Plus(r.entries.Report())
}

// Input is what was uploaded, with the error that kept it from being read: a reader above takes any error for damage.
type Input struct {
	next func() ([]byte, error)
	rest []byte
	left int64
	read int64
	err  error
}

// NewInput returns the input of size bytes whose parts next returns in order, an empty one behind the last.
func NewInput(size int64, next func() ([]byte, error)) *Input { return &Input{next: next, left: size} }

// Read implements io.Reader.
func (i *Input) Read(p []byte) (int, error) {
	if i.err != nil {
		return 0, i.err
	}
	if len(i.rest) == 0 && i.left > 0 {
		if i.rest, i.err = i.next(); i.err != nil {
			return 0, i.err
		}
		if len(i.rest) == 0 || int64(len(i.rest)) > i.left {
			i.err = errors.New("the parts of an import are not of its size")
			return 0, i.err
		}
		i.left -= int64(len(i.rest))
	}
	if len(i.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, i.rest)
	i.rest, i.read = i.rest[n:], i.read+int64(n)
	return n, nil
}

// Err returns why the input could not be read, nil while it can and at its end.
func (i *Input) Err() error { return i.err }

// BytesRead is how much of the input was taken; what was passed over to go on behind an interruption counts too.
func (r *Reader) BytesRead() int64 { return r.input.read }

// Encode returns the stored form of a position or a report.
func Encode(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // numbers and names of ours
	}
	return b
}
