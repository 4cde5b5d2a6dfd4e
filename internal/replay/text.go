package replay

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// Text turns terminal output into lines of text: what was written over, erased or moved within a line is as it was left,
// and going to another line, wherever it is, begins a new one. It is not safe for concurrent use.
type Text struct {
	decoder *decoder
	out     strings.Builder
	line    []rune
	column  int
	last    rune
}

// maxColumns is where a line without an end is cut.
const maxColumns = 4096

// NewText returns a writer of text for one recording.
func NewText() *Text {
	t := &Text{}
	t.decoder = newDecoder(t)
	return t
}

// Rewrite returns the lines that a piece of output finished. They hold visible characters, spaces and line breaks only.
func (t *Text) Rewrite(text string) string {
	t.out.Reset()
	t.decoder.write(text)
	return t.out.String()
}

// Reset returns the line that was not finished.
func (t *Text) Reset() string {
	t.out.Reset()
	t.flush()
	return t.out.String()
}

func (t *Text) flush() {
	if len(t.line) > 0 {
		t.end()
	}
}

func (t *Text) end() {
	t.out.WriteString(strings.TrimRight(string(t.line), " ") + "\n")
	t.line, t.column = t.line[:0], 0
}

func (t *Text) print(r rune) {
	t.last = r
	if t.column >= maxColumns {
		t.end()
	}
	for len(t.line) < t.column {
		t.line = append(t.line, ' ')
	}
	if t.column == len(t.line) {
		t.line = append(t.line, r)
	} else {
		t.line[t.column] = r
	}
	t.column++
}

func (t *Text) control(b byte) {
	switch b {
	case '\n', '\v', '\f':
		t.end()
	case '\r':
		t.column = 0
	case '\b':
		t.column = max(t.column-1, 0)
	case '\t':
		t.column += 8 - t.column%8
	}
}

func (t *Text) escape(final byte) {
	switch final {
	case 'D', 'E', 'M', 'c':
		t.flush()
	}
}

func (t *Text) csi(prefix, final byte, p params) {
	if prefix != 0 {
		return
	}
	n := p.at(0, 1)
	here := min(t.column, len(t.line))
	switch final {
	case 'C', 'a':
		t.column = min(t.column+n, maxColumns)
	case 'D':
		t.column = max(t.column-n, 0)
	case 'G', '`':
		t.column = min(n-1, maxColumns)
	case 'H', 'f':
		t.flush()
		t.column = min(p.at(1, 1)-1, maxColumns)
	case 'A', 'B', 'E', 'F', 'd', 'e':
		t.flush()
	case 'K', 'J':
		t.erase(p.at(0, 0), here)
	case 'P':
		t.line = slices.Delete(t.line, here, min(here+n, len(t.line)))
	case '@':
		if room := min(n, maxColumns-len(t.line)); room > 0 {
			t.line = slices.Insert(t.line, here, spaces(room)...)
		}
	case 'X':
		copy(t.line[here:min(here+n, len(t.line))], spaces(n))
	case 'b':
		for range min(n, maxRepeated) {
			if t.last != 0 {
				t.print(t.last)
			}
		}
	}
}

// erase empties the line behind the cursor (0), before it (1), or all of it (2).
func (t *Text) erase(what, here int) {
	switch what {
	case 0:
		t.line = t.line[:here]
	case 1:
		copy(t.line[:min(here+1, len(t.line))], spaces(here+1))
	case 2:
		t.line = t.line[:0]
	}
}

func spaces(n int) []rune {
	return []rune(strings.Repeat(" ", min(n, maxColumns+utf8.UTFMax)))
}
