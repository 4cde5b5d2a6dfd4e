package cli

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/jedib0t/go-pretty/v6/text"
)

// maxCellRunes bounds one cell of a table: text of attackers can be long.
const maxCellRunes = 160

// Clean returns s fit for a terminal: every control character, escape, invalid byte, invisible or direction-changing
// character is replaced by a visible escape such as \x1b or \u202e. Printable text stays as it is. The result has no
// line breaks.
func Clean(s string) string {
	if !strings.ContainsFunc(s, hostile) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case !hostile(r):
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < utf8.RuneSelf:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
		s = s[size:]
	}
	return b.String()
}

// hostile takes U+FFFD, which stands for invalid bytes while ranging over a string, for suspicious too.
func hostile(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }

// cell is Clean within the bounds of a table cell.
func cell(s string) string { return clip(Clean(s), maxCellRunes) }

// clip shortens cleaned text to at most width columns.
func clip(s string, width int) string {
	if text.StringWidthWithoutEscSequences(s) <= width {
		return s
	}
	if width < 1 {
		return ""
	}
	return text.Trim(s, width-1) + "…"
}

// writeBody writes a body of the API as it came, with a line break at its end. For a terminal, characters that could
// steer it become JSON escapes, which mean the same.
func (a *app) writeBody(body []byte) error {
	s := strings.TrimRight(string(body), "\r\n") + "\n"
	if a.env.isTerminal(a.env.Stdout) {
		s = escapeJSON(s)
	}
	_, err := io.WriteString(a.env.Stdout, s)
	return err
}

func escapeJSON(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n' || !hostile(r):
			b.WriteRune(r)
		case r == '\t':
			b.WriteByte(' ') // between tokens; inside a string JSON does not allow it
		case r > 0xffff:
			hi, lo := surrogates(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, hi, lo)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// surrogates is how RFC 8259 section 7 writes what does not fit four digits.
func surrogates(r rune) (hi, lo rune) {
	r -= 0x10000
	return 0xd800 + r>>10, 0xdc00 + r&0x3ff
}
