// Package foreign reads logs of honeypots that are not decnet's, one JSON object a line, and accounts for every line.
//
// It knows lines, JSON, names of sensors and the form of our records; what a line means is told by the packages that know a
// honeypot (cowrie, opencanary). It is pure: a reader is given to it, and it opens, starts and remembers nothing. The
// invariants: every line is either kept or skipped with one reason; memory is bounded whatever the input; what a line becomes
// depends on that line alone, so that a log read twice, in parts, or overlapping with another gives the same records.
package foreign

import (
	"errors"
	"maps"
)

// MaxLineBytes bounds a line. The rest of a longer one is passed over without being kept.
const MaxLineBytes = 1 << 20

// maxMembers bounds the members of an object.
const maxMembers = 256

// ErrPosition says that a position does not belong to this input: the input is shorter, or no line begins there.
var ErrPosition = errors.New("the position is not the beginning of a line of this log")

// Reason says why a line was skipped. Reasons are constants of ours, never text of a line.
type Reason string

// Reasons, in the order in which they are looked for. Truncated is a last line without line feed that is not well-formed.
const (
	Blank          Reason = "blank"
	TooLong        Reason = "too_long"
	InvalidUTF8    Reason = "invalid_utf8"
	DuplicateKey   Reason = "duplicate_key"
	Truncated      Reason = "truncated"
	Malformed      Reason = "malformed"
	NotObject      Reason = "not_an_object"
	TooManyMembers Reason = "too_many_members"
	NoKind         Reason = "no_kind"
	// Operational lines tell of the honeypot itself: its start, its look-ups, its reports to others.
	Operational Reason = "operational"
	BadTime     Reason = "bad_time"
	NoSensor    Reason = "no_sensor"
	NoSource    Reason = "no_source"
	BadSource   Reason = "bad_source"
	BadSession  Reason = "bad_session"
)

// OtherKind counts the kinds a reader does not know by name.
const OtherKind = "other"

// Position is a place between two lines of the decompressed input. The zero value is the beginning.
type Position struct {
	// Offset counts bytes, Line counts lines that end before it.
	Offset int64 `json:"offset"`
	Line   int64 `json:"line"`
}

// Report accounts for lines: Read = Kept + the sum of Skipped.
type Report struct {
	Read    int64            `json:"read"`
	Kept    int64            `json:"kept"`
	Skipped map[Reason]int64 `json:"skipped"`
	// Kinds counts the lines that name their kind, kept or not. Its keys are names of ours or OtherKind, so it is bounded.
	Kinds map[string]int64 `json:"kinds"`
}

// Plus returns the sum of two reports, such as those before and after an interruption. Neither is changed.
func (r Report) Plus(o Report) Report {
	sum := Report{Read: r.Read + o.Read, Kept: r.Kept + o.Kept, Skipped: map[Reason]int64{}, Kinds: map[string]int64{}}
	for _, part := range []Report{r, o} {
		for k, n := range part.Skipped {
			sum.Skipped[k] += n
		}
		for k, n := range part.Kinds {
			sum.Kinds[k] += n
		}
	}
	return sum
}

func (r Report) clone() Report {
	r.Skipped, r.Kinds = maps.Clone(r.Skipped), maps.Clone(r.Kinds)
	return r
}
