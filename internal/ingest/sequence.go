package ingest

import (
	"slices"
	"time"
)

// maxBoots bounds what a sequence remembers: a decoy has one boot at a time, and the last lines of the one before may still be
// read when the next begins.
const maxBoots = 4

// GapKind says what the number of a line tells.
type GapKind string

// Kinds of gaps; the empty kind is none.
const (
	// GapMissing: the lines From to To of the boot were never read.
	GapMissing GapKind = "missing"
	// GapRepeated: the line was read before. It is no loss.
	GapRepeated GapKind = "repeated"
	// GapRestarted: the boot numbers its lines anew although its id is the same; From to To are missing if To is not 0.
	GapRestarted GapKind = "restarted"
)

// Gap is a deviation from the numbers a decoy must write.
type Gap struct {
	Kind GapKind
	Boot string
	From uint64
	To   uint64
}

// Missing returns how many lines are lost.
func (g Gap) Missing() uint64 {
	if g.To == 0 || g.Kind == GapRepeated {
		return 0
	}
	return g.To - g.From + 1
}

// Position is the last line seen of a boot.
type Position struct {
	Boot string    `json:"boot"`
	Line uint64    `json:"line"`
	Time time.Time `json:"time"`
}

// Sequence follows the line numbers of one decoy, that is one (decky, service). It is a value to be stored with the cursor of
// the file. The zero Sequence knows nothing, and takes the first line of every boot to be number 1.
type Sequence struct {
	// Boots are the positions, the one that moved last first.
	Boots []Position `json:"boots"`
}

// Next takes the record that was read next. Records without a number tell nothing.
func (s *Sequence) Next(r *Record) Gap {
	if r.Line == 0 {
		return Gap{}
	}
	i := slices.IndexFunc(s.Boots, func(p Position) bool { return p.Boot == r.Boot })
	if i < 0 {
		s.push(Position{Boot: r.Boot, Line: r.Line, Time: r.Time})
		return missing(GapMissing, r.Boot, 1, r.Line)
	}
	p := s.Boots[i]
	if r.Line <= p.Line && !r.Time.After(p.Time) {
		return Gap{Kind: GapRepeated, Boot: r.Boot, From: r.Line, To: r.Line}
	}
	s.Boots = slices.Delete(s.Boots, i, i+1)
	s.push(Position{Boot: r.Boot, Line: r.Line, Time: r.Time})
	if r.Line <= p.Line {
		g := missing(GapRestarted, r.Boot, 1, r.Line)
		g.Kind = GapRestarted
		return g
	}
	return missing(GapMissing, r.Boot, p.Line+1, r.Line)
}

// missing returns the gap of the lines from first to before next.
func missing(kind GapKind, boot string, first, next uint64) Gap {
	if next <= first {
		return Gap{Boot: boot}
	}
	return Gap{Kind: kind, Boot: boot, From: first, To: next - 1}
}

func (s *Sequence) push(p Position) {
	s.Boots = slices.Insert(s.Boots, 0, p)
	s.Boots = s.Boots[:min(len(s.Boots), maxBoots)]
}
