package ingest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strconv"
	"strings"

	"github.com/decnet/decnet/decoys/eventlog"
)

// ErrNotRecord is wrapped by every error of Parse. Such a line may be kept as it is, it never becomes an event.
var ErrNotRecord = errors.New("not a record")

type parseError string

func (e parseError) Error() string { return "not a record: " + string(e) }
func (e parseError) Unwrap() error { return ErrNotRecord }

// What makes a line no record.
const (
	ErrTooLong  parseError = "line too long"
	ErrControl  parseError = "control character"
	ErrHeader   parseError = "malformed header"
	ErrTime     parseError = "malformed timestamp"
	ErrData     parseError = "malformed structured data"
	ErrNumber   parseError = "malformed line number"
	ErrTooMany  parseError = "too many parameters"
	ErrNoRecord parseError = "empty message"
)

const (
	bom     = "\ufeff"
	elemID  = "relay@55555"
	nilText = "-"
	maxPRI  = 191
)

// Parse reads one line of RFC 5424, with or without its line feed. Deviations from the RFC, all of the bus sheet 5.2:
//
//   - PROCID is checked and dropped; of structured data only the element relay@55555 counts;
//   - what follows the header and is no structured data at all is message;
//   - a timestamp without zone is UTC;
//   - a line with no MSGID and no structured data whose message is itself a header plus rest (a shell's line wrapped by the
//     container's syslog) takes application, type and rest from that inner header. Host and time stay the outer ones, for
//     the inner ones are the fake host's; and such a line has no number.
//
// Control characters are refused: our writer spells them, so whatever holds one was not written by it. The spelling is kept,
// because it is not reversible (an attacker's backslash and n look the same as a line feed); exact bytes travel in base64.
// What a writer would have spelled and this one did not (direction marks, say) is spelled here.
//
// The record does not refer to line.
func Parse(line []byte) (Record, error) {
	var r Record
	err := ParseInto(&r, line)
	return r, err
}

// ParseInto is Parse into an existing record, whose fields' array it reuses. After an error r is empty.
func ParseInto(r *Record, line []byte) error {
	fields := r.Fields[:0]
	*r = Record{Fields: fields}
	line = bytes.TrimSuffix(line, []byte("\n"))
	line = bytes.TrimPrefix(bytes.TrimSuffix(line, []byte("\r")), []byte(bom))
	if len(line) > MaxLineBytes {
		return ErrTooLong
	}
	ascii, ok := inspect(line)
	if !ok {
		return ErrControl
	}
	p := parser{r: r, ascii: ascii}
	if ascii {
		p.s = string(line)
	} else {
		p.s = strings.ToValidUTF8(string(line), "\ufffd")
	}
	if err := p.line(); err != nil {
		*r = Record{Fields: fields}
		return err
	}
	r.Raw = p.s
	r.Resolve()
	return nil
}

// inspect reports whether line is ASCII, and whether it is free of control characters.
func inspect(line []byte) (ascii, ok bool) {
	const (
		high  = 0x8080808080808080
		ones  = 0x0101010101010101
		space = 0x2020202020202020
	)
	rest := line
	for len(rest) >= 8 {
		w := binary.LittleEndian.Uint64(rest)
		// In a word of ASCII, a byte below space borrows and DEL carries into the high bit.
		if w&high != 0 || ((w-space)|(w+ones))&high != 0 {
			break
		}
		rest = rest[8:]
	}
	ascii = true
	for _, c := range rest {
		if c < ' ' || c == 0x7f {
			return false, false
		}
		ascii = ascii && c < 0x80
	}
	return ascii, true
}

type parser struct {
	r     *Record
	s     string
	ascii bool
}

func (p *parser) line() error {
	i, err := p.priority()
	if err != nil {
		return err
	}
	stamp, i, ok := p.token(i, maxTimeBytes)
	if !ok {
		return ErrHeader
	}
	if p.r.Time, ok = parseTime(stamp); !ok {
		return ErrTime
	}
	if p.r.Host, i, ok = p.name(i, maxHostBytes); !ok {
		return ErrHeader
	}
	i, ok = p.identity(i)
	if !ok {
		return ErrHeader
	}
	if i >= len(p.s) {
		return ErrNoRecord
	}
	if p.r.Type == "" && strings.HasPrefix(p.s[i:], "- ") && p.unwrap(i+2) {
		return nil
	}
	return p.rest(i, true)
}

// priority reads `<PRI>1 ` and returns where it ends.
func (p *parser) priority() (int, error) {
	s := p.s
	end := strings.IndexByte(s[:min(len(s), 5)], '>')
	if end < 2 || s[0] != '<' || end > 2 && s[1] == '0' {
		return 0, ErrHeader
	}
	n := 0
	for i := 1; i < end; i++ {
		if !isDigit(s[i]) {
			return 0, ErrHeader
		}
		n = n*10 + int(s[i]-'0')
	}
	if n > maxPRI || !strings.HasPrefix(s[end+1:], "1 ") {
		return 0, ErrHeader
	}
	p.r.PRI = uint8(n)
	return end + 3, nil
}

// identity reads APP-NAME, PROCID and MSGID.
func (p *parser) identity(i int) (int, bool) {
	var ok bool
	if p.r.App, i, ok = p.name(i, maxAppBytes); !ok {
		return 0, false
	}
	if _, i, ok = p.token(i, maxProcIDBytes); !ok {
		return 0, false
	}
	p.r.Type, i, ok = p.name(i, maxMsgIDBytes)
	return i, ok
}

// name is a token whose nil value is "".
func (p *parser) name(i, limit int) (string, int, bool) {
	t, next, ok := p.token(i, limit)
	if t == nilText {
		t = ""
	}
	return t, next, ok
}

// token reads 1 to limit printable bytes up to a space and returns the place after it.
func (p *parser) token(i, limit int) (string, int, bool) {
	rest := p.s[i:]
	n := strings.IndexByte(rest[:min(len(rest), limit+1)], ' ')
	if n <= 0 || !p.ascii && !isASCII(rest[:n]) {
		return "", 0, false
	}
	return rest[:n], i + n + 1, true
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// unwrap reads `TIME HOST APP PROCID MSGID rest` at i. If that is not what is there, it changes nothing.
func (p *parser) unwrap(i int) bool {
	outer := *p.r
	ok := func() bool {
		stamp, i, ok := p.token(i, maxTimeBytes)
		if !ok {
			return false
		}
		if _, ok = parseTime(stamp); !ok {
			return false
		}
		host, i, ok := p.name(i, maxHostBytes)
		if !ok {
			return false
		}
		if i, ok = p.identity(i); !ok || i >= len(p.s) {
			return false
		}
		if p.r.Host == "" {
			p.r.Host = host
		}
		return p.rest(i, false) == nil
	}()
	if !ok {
		outer.Fields = p.r.Fields[:0]
		*p.r = outer
	}
	return ok
}

// rest reads structured data and message.
func (p *parser) rest(i int, numbered bool) error {
	switch s := p.s[i:]; {
	case s[0] == '[':
		var err error
		if i, err = p.data(i, numbered); err != nil {
			return err
		}
	case s == nilText || strings.HasPrefix(s, "- "):
		i++
	default:
		p.message(s)
		return nil
	}
	if i == len(p.s) {
		return nil
	}
	if p.s[i] != ' ' {
		return ErrData
	}
	p.message(p.s[i+1:])
	return nil
}

func (p *parser) message(s string) {
	p.r.Msg = p.spell(strings.TrimPrefix(s, bom))
}

func (p *parser) spell(s string) string {
	if p.ascii {
		return s
	}
	return eventlog.Spell(s)
}

// data reads elements of structured data and returns the place after the last.
func (p *parser) data(i int, numbered bool) (int, error) {
	if p.r.Fields == nil {
		// Every value has two quotes; one more field may come from the address.
		p.r.Fields = make(Fields, 0, min(strings.Count(p.s[i:], `"`)/2, MaxFields)+1)
	}
	seen := false
	for i < len(p.s) && p.s[i] == '[' {
		i++
		n := nameLength(p.s[i:])
		if n == 0 {
			return 0, ErrData
		}
		ours := p.s[i:i+n] == elemID
		if ours && seen {
			return 0, ErrData
		}
		seen = seen || ours
		var err error
		if i, err = p.params(i+n, ours, numbered); err != nil {
			return 0, err
		}
	}
	return i, nil
}

// params reads ` name="value"` until the closing bracket and returns the place after it.
func (p *parser) params(i int, keep, numbered bool) (int, error) {
	for count := 0; i < len(p.s); count++ {
		if p.s[i] == ']' {
			return i + 1, nil
		}
		if p.s[i] != ' ' {
			break
		}
		i++
		n := nameLength(p.s[i:])
		if n == 0 || !strings.HasPrefix(p.s[i+n:], `="`) {
			break
		}
		if count == MaxFields {
			return 0, ErrTooMany
		}
		key := p.s[i : i+n]
		value, next, ok := p.value(i + n + 2)
		if !ok {
			break
		}
		if keep {
			p.r.Fields = append(p.r.Fields, Field{Key: key, Value: value})
			if count == 1 && numbered {
				if err := p.number(); err != nil {
					return 0, err
				}
			}
		}
		i = next
	}
	return 0, ErrData
}

// nameLength returns the length of the SD-NAME at the start of s, 0 if there is none or it is too long.
func nameLength(s string) int {
	for n := range min(len(s), maxNameBytes+1) {
		switch c := s[n]; {
		case c == ' ' || c == '=' || c == ']' || c == '"':
			return n
		case c >= 0x80:
			return 0
		}
	}
	return 0
}

// value reads up to the closing quote. A backslash before anything but `"`, `\` and `]` is itself (RFC 5424 section 6.3.3).
func (p *parser) value(i int) (string, int, bool) {
	s := p.s[i:]
	n := strings.IndexByte(s, '"')
	if n < 0 {
		return "", 0, false
	}
	if strings.IndexByte(s[:n], '\\') < 0 {
		return p.spell(s[:n]), i + n + 1, true
	}
	out := make([]byte, 0, n+16)
	for j := 0; j < len(s); j++ {
		switch c := s[j]; {
		case c == '"':
			return p.spell(string(out)), i + j + 1, true
		case c == '\\' && j+1 < len(s) && (s[j+1] == '"' || s[j+1] == '\\' || s[j+1] == ']'):
			j++
			out = append(out, s[j])
		default:
			out = append(out, c)
		}
	}
	return "", 0, false
}

// number takes `boot` and `n` out of the first two fields if they are these, as our writer puts them. Anywhere else they are
// fields like others, which nobody counts lines by.
func (p *parser) number() error {
	f := p.r.Fields
	if f[0].Key != "boot" || f[1].Key != "n" {
		return nil
	}
	v := f[1].Value
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < 1 || v[0] < '1' || len(f[0].Value) > maxBootBytes {
		return ErrNumber
	}
	p.r.Boot, p.r.Line = f[0].Value, uint64(n)
	p.r.Fields = f[:0]
	return nil
}
