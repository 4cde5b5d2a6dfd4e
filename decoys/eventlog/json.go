package eventlog

import (
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Quote spells the first n bytes of s as a JSON string in ASCII, so that nothing is left for Spell to change.
func Quote(s string, n int) string {
	var b strings.Builder
	b.WriteByte('"')
	for s = s[:min(len(s), n)]; s != ""; {
		r, size := utf8.DecodeRuneInString(s)
		s = s[size:]
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r >= ' ' && r < 0x7f:
			b.WriteRune(r)
		case r > 0xffff:
			hi, lo := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, hi, lo)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// Items is a JSON list or object under construction that never grows beyond a limit: what does not fit is left out, so that the
// text stays valid JSON. Its parts are spelled by Quote.
type Items struct {
	b     strings.Builder
	limit int
	full  bool
}

// NewItems returns an empty list of at most limit bytes, brackets included.
func NewItems(limit int) *Items { return &Items{limit: limit - 2} }

// Add appends an item and reports whether it fitted. After the first that does not fit, nothing is added any more.
func (l *Items) Add(item string) bool {
	if l.full || l.b.Len()+len(item)+1 > l.limit {
		l.full = true
		return false
	}
	if l.b.Len() > 0 {
		l.b.WriteByte(',')
	}
	l.b.WriteString(item)
	return true
}

// List returns the items as a JSON list.
func (l *Items) List() string { return "[" + l.b.String() + "]" }

// Object returns the items, which must be `"name":value`, as a JSON object.
func (l *Items) Object() string { return "{" + l.b.String() + "}" }
