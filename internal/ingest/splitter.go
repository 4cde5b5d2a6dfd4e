package ingest

import (
	"bytes"
	"encoding/json"
)

// Format is how a runtime keeps the output of a decoy.
type Format int

// Formats. FormatLines is the process runtime's file, a line being a line. FormatJSONFile is the container engine's json-file
// driver: one JSON object per piece of at most 16 KiB, a piece that does not end in a line feed being continued by the next.
const (
	FormatLines Format = iota
	FormatJSONFile
)

// maxEntryBytes bounds one object of json-file: a piece whose every byte is written as \u00XX, and what is around it.
const maxEntryBytes = 6*MaxLineBytes + 4096

// Line is one complete line of output, its line feed left out.
type Line struct {
	// Text is valid during the call only.
	Text []byte
	// End is the offset after the line in its file: a splitter that starts there goes on with the next line.
	End int64
}

// Splitter cuts the stream of one output file into lines. It holds at most one line and one object, whatever it is fed.
// Lines longer than MaxLineBytes are left out and counted, as is what is no object of the engine; the line after it is read.
type Splitter struct {
	format Format
	offset int64
	// buf is the unfinished unit of the file: a line, or an object.
	buf []byte
	// line is what the objects so far gave of an unfinished line.
	line    []byte
	discard bool // until the end of the unit
	broken  bool // the line is to be left out
	// end is the offset after the last line that is over.
	end       int64
	tooLong   uint64
	malformed uint64
}

// NewSplitter returns a splitter for a file that will be fed from offset on, 0 or the End of a line.
func NewSplitter(format Format, offset int64) *Splitter {
	return &Splitter{format: format, offset: offset, end: offset}
}

// Dropped returns how many lines and objects were left out for being too long or malformed.
func (s *Splitter) Dropped() uint64 { return s.tooLong + s.malformed }

// Malformed returns how many of those were no objects of the engine.
func (s *Splitter) Malformed() uint64 { return s.malformed }

// End returns the offset after the last line that is over, left out or not: a splitter that starts there goes on likewise.
func (s *Splitter) End() int64 { return s.end }

// Rotate says that the file has ended and that what is fed next is the beginning of another. A line that the engine split
// across the two is rejoined. An unfinished unit of the old file is left out: files are rotated between units.
func (s *Splitter) Rotate() {
	if len(s.buf) > 0 || s.discard {
		s.tooLong++
		s.broken = s.format == FormatJSONFile
	}
	s.buf, s.discard, s.offset, s.end = s.buf[:0], false, 0, 0
}

// Feed takes the next bytes of the file and calls emit for each line that is complete. It stops at the first error of emit
// and returns it; then the splitter is of no more use: start another at the End of the last line that was dealt with.
func (s *Splitter) Feed(p []byte, emit func(Line) error) error {
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			s.keep(p)
			s.offset += int64(len(p))
			return nil
		}
		unit := p[:i]
		if len(s.buf) > 0 || s.discard {
			s.keep(unit)
			unit = s.buf
		}
		s.offset += int64(i) + 1
		p = p[i+1:]
		if err := s.unit(unit, emit); err != nil {
			return err
		}
	}
	return nil
}

// keep appends to the unfinished unit, unless that is too long already.
func (s *Splitter) keep(p []byte) {
	limit := MaxLineBytes
	if s.format == FormatJSONFile {
		limit = maxEntryBytes
	}
	if s.discard || len(s.buf)+len(p) > limit {
		s.buf, s.discard = s.buf[:0], true
		return
	}
	s.buf = append(s.buf, p...)
}

// unit deals with a complete line of the file.
func (s *Splitter) unit(unit []byte, emit func(Line) error) error {
	discarded := s.discard
	s.buf, s.discard = s.buf[:0], false
	if s.format == FormatLines {
		s.end = s.offset
		if discarded || len(unit) > MaxLineBytes {
			s.tooLong++
			return nil
		}
		return s.emit(unit, emit)
	}
	if discarded || len(unit) > maxEntryBytes {
		s.tooLong++
		s.line, s.broken = s.line[:0], true
		return nil
	}
	return s.object(unit, emit)
}

// object adds one piece to the line. Only standard output is read.
func (s *Splitter) object(unit []byte, emit func(Line) error) error {
	var e struct {
		Log    *string `json:"log"`
		Stream string  `json:"stream"`
	}
	if err := json.Unmarshal(unit, &e); err != nil || e.Log == nil {
		s.malformed++
		s.line, s.broken = s.line[:0], true
		return nil
	}
	if e.Stream != "stdout" {
		if len(s.line) == 0 && !s.broken {
			s.end = s.offset
		}
		return nil
	}
	text, ended := bytes.CutSuffix([]byte(*e.Log), []byte("\n"))
	if !s.broken && len(s.line)+len(text) > MaxLineBytes {
		s.tooLong++
		s.line, s.broken = s.line[:0], true
	}
	if !s.broken {
		s.line = append(s.line, text...)
	}
	if !ended {
		return nil
	}
	line, broken := s.line, s.broken
	s.line, s.broken, s.end = s.line[:0], false, s.offset
	if broken {
		return nil
	}
	return s.emit(line, emit)
}

func (s *Splitter) emit(text []byte, emit func(Line) error) error {
	return emit(Line{Text: text, End: s.offset})
}
