package replay

import (
	"strconv"
	"strings"
)

// Filter rewrites terminal output so that it can move the cursor, erase, scroll, colour and use the other screen, and nothing
// else: no clipboard, titles, links, questions that the terminal would answer as if typed, windows, printers, character sets,
// modes of keyboard and mouse, nor strings of any kind. A reset of the terminal becomes an empty screen. It keeps its state from
// piece to piece and is not safe for concurrent use.
type Filter struct {
	decoder *decoder
	out     strings.Builder
	other   bool // the other screen is shown
	region  bool // scrolling is bounded
}

// NewFilter returns a filter for one recording.
func NewFilter() *Filter {
	f := &Filter{}
	f.decoder = newDecoder(f)
	return f
}

// Rewrite returns what is to be written for a piece of output.
func (f *Filter) Rewrite(text string) string {
	f.out.Reset()
	f.decoder.write(text)
	return f.out.String()
}

// Reset returns what puts the terminal in order after all that Rewrite returned, and the cursor on a line of its own.
func (f *Filter) Reset() string {
	f.out.Reset()
	f.leave()
	if f.region {
		f.region = false
		f.out.WriteString("\x1b7\x1b[r\x1b8") // the region's end moves the cursor
	}
	f.out.WriteString("\x1b[m\x1b[?7h\x1b[?25h\r\n")
	return f.out.String()
}

// HardReset ends what output that was not rewritten may have left a terminal in: a string, a character set, and the modes of
// keyboard, mouse and pasting. A title or the clipboard it does not bring back.
const HardReset = "\x18\x1b[!p\x0f\x1b(B\x1b>\x1b[>4m\x1b[=0u" +
	"\x1b[?1;5;6;9;66;1000;1001;1002;1003;1004;1005;1006;1007;1015;1016;2004;2026l"

func (f *Filter) print(r rune) { f.out.WriteRune(r) }

func (f *Filter) control(b byte) {
	if b >= '\b' && b <= '\r' {
		f.out.WriteByte(b)
	}
}

func (f *Filter) escape(final byte) {
	switch final {
	case '7', '8', 'D', 'E', 'M': // keep the cursor, put it back, and to another line
		f.out.WriteString("\x1b" + string(final))
	case 'c':
		f.leave()
		f.region = false
		f.out.WriteString("\x1b[m\x1b[r\x1b[?7h\x1b[?25h\x1b[H\x1b[2J")
	}
}

// bounds says how many parameters a sequence may have, and how large they may be.
type bounds struct{ params, value int }

// harmless are the sequences, by their last byte, that pass. Colours are m; J with 3 would erase what scrolled away, T with
// more parameters follow the mouse, s with parameters set margins.
var harmless = map[byte]bounds{
	'A': {1, maxParam}, 'B': {1, maxParam}, 'C': {1, maxParam}, 'D': {1, maxParam}, 'E': {1, maxParam}, 'F': {1, maxParam},
	'G': {1, maxParam}, 'H': {2, maxParam}, 'I': {1, maxParam}, 'J': {1, 2}, 'K': {1, 2}, 'L': {1, maxParam}, 'M': {1, maxParam},
	'P': {1, maxParam}, 'S': {1, maxParam}, 'T': {1, maxParam}, 'X': {1, maxParam}, 'Z': {1, maxParam}, '@': {1, maxParam},
	'`': {1, maxParam}, 'a': {1, maxParam}, 'b': {1, maxRepeated}, 'd': {1, maxParam}, 'e': {1, maxParam}, 'f': {2, maxParam},
	'm': {32, 255}, 'r': {2, maxParam}, 's': {0, 0}, 'u': {0, 0},
}

// maxRepeated bounds how often one sequence repeats a character.
const maxRepeated = 1000

func (f *Filter) csi(prefix, final byte, p params) {
	if prefix == '?' && (final == 'h' || final == 'l') {
		f.modes(p, final == 'h')
		return
	}
	limit, ok := harmless[final]
	if prefix != 0 || !ok || len(p) > limit.params {
		return
	}
	for _, n := range p {
		if n.value > limit.value || n.more && final != 'm' {
			return
		}
	}
	f.region = f.region || final == 'r'
	f.sequence(final, p)
}

func (f *Filter) sequence(final byte, p params) {
	f.out.WriteString("\x1b[")
	for i, n := range p {
		if n.value >= 0 {
			f.out.WriteString(strconv.Itoa(n.value))
		}
		switch {
		case n.more:
			f.out.WriteByte(':')
		case i < len(p)-1:
			f.out.WriteByte(';')
		}
	}
	f.out.WriteByte(final)
}

// modes passes on lines that go on below (7), the visible cursor (25), and the other screen, of which one kind is enough.
func (f *Filter) modes(p params, on bool) {
	for _, n := range p {
		switch n.value {
		case 7, 25:
			end := "l"
			if on {
				end = "h"
			}
			f.out.WriteString("\x1b[?" + strconv.Itoa(n.value) + end)
		case 47, 1047, 1049:
			if !on {
				f.leave()
			} else if !f.other {
				f.other = true
				f.out.WriteString("\x1b[?1049h")
			}
		}
	}
}

// leave goes back to the first screen. On that one the sequence would move the cursor.
func (f *Filter) leave() {
	if f.other {
		f.other = false
		f.out.WriteString("\x1b[?1049l")
	}
}
