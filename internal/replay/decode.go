package replay

import (
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
	"github.com/charmbracelet/x/ansi/parser"
)

// screen is told what a recording does to a terminal, in terms that cannot hold anything else.
type screen interface {
	// print gets characters that are visible, or combine with such.
	print(r rune)
	control(b byte)
	escape(final byte)
	// csi gets sequences without intermediate bytes; prefix is 0, or one of < = > ?.
	csi(prefix, final byte, params params)
}

// params are the numbers of a control sequence.
type params []param

// param is a number, -1 when it is left out. more says that a colon follows.
type param struct {
	value int
	more  bool
}

// at returns a number, def when it is left out or zero.
func (p params) at(i, def int) int {
	if i >= len(p) || p[i].value < 1 {
		return def
	}
	return p[i].value
}

// maxString bounds a string for the terminal (a title, say): from there on it is taken for text, so that a beginning
// without an end does not hide the rest of a recording.
const maxString = 64 << 10

// decoder reads terminal output piece by piece.
type decoder struct {
	p       *ansi.Parser
	out     screen
	ignored int  // characters of the string that is open
	last    byte // read
}

func newDecoder(out screen) *decoder {
	d := &decoder{p: &ansi.Parser{}, out: out}
	d.p.SetParamsSize(parser.MaxParamsSize)
	d.p.SetDataSize(1)           // strings are not looked at; 0 would be without bounds
	d.p.SetHandler(ansi.Handler{ // a control character within a sequence spoils what the parser says its last byte is
		Print:   d.print,
		Execute: out.control,
		HandleEsc: func(cmd ansi.Cmd) {
			if cmd.Intermediate() == 0 {
				out.escape(d.last)
			}
		},
		HandleCsi: func(cmd ansi.Cmd, given ansi.Params) {
			if cmd.Intermediate() == 0 {
				out.csi(cmd.Prefix(), d.last, paramsOf(given))
			}
		},
	})
	return d
}

// maxParam is more than any terminal has rows or columns.
const maxParam = 9999

func paramsOf(given ansi.Params) params {
	list := make(params, len(given))
	given.ForEach(-1, func(i, value int, more bool) {
		list[i] = param{value: min(value, maxParam), more: more}
	})
	return list
}

// write reads a piece. Invalid UTF-8 counts as U+FFFD. The control characters U+0080 to U+009F are left out: in a recording they
// stand for bytes that were no text.
func (d *decoder) write(text string) {
	for _, r := range text {
		switch {
		case r < utf8.RuneSelf:
			d.advance(byte(r))
		case r <= 0x9f || d.inString():
		default:
			var b [utf8.UTFMax]byte
			for _, c := range b[:utf8.EncodeRune(b[:], r)] {
				d.advance(c)
			}
		}
		d.bound()
	}
}

func (d *decoder) advance(b byte) {
	d.last = b
	d.p.Advance(b)
}

func (d *decoder) inString() bool {
	switch d.p.State() {
	case parser.DcsEntryState, parser.DcsParamState, parser.DcsIntermediateState, parser.DcsStringState,
		parser.OscStringState, parser.SosStringState, parser.PmStringState, parser.ApcStringState:
		return true
	}
	return false
}

func (d *decoder) bound() {
	if !d.inString() {
		d.ignored = 0
		return
	}
	if d.ignored++; d.ignored > maxString {
		d.p.Reset()
		d.ignored = 0
	}
}

// print leaves out what has no place on a screen, such as marks that turn the direction of text; what has a place but no known
// shape becomes U+FFFD.
func (d *decoder) print(r rune) {
	switch {
	case unicode.IsGraphic(r):
		d.out.print(r)
	case unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp):
	default:
		d.out.print(utf8.RuneError)
	}
}
