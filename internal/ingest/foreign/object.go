package foreign

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Object is a JSON object whose members are looked up by name. Lookups tolerate any type: what is not of the wanted form is
// absent.
type Object struct {
	members []member // sorted by name
	dec     jsontext.Decoder
	buf     bytes.Buffer
	scratch []byte
}

type member struct {
	name string
	raw  string // the value as it is written
}

// parse reads text, which must be one object and nothing else. Strings of o share text.
func (o *Object) parse(text string) Reason {
	o.members = o.members[:0]
	o.buf.Reset()
	o.buf.WriteString(text)
	// Half of a surrogate pair is how Python spells an undecodable byte; it is read as U+FFFD. Bytes are checked by the caller.
	o.dec.Reset(&o.buf, jsontext.AllowInvalidUTF8(true))
	if o.dec.PeekKind() != '{' {
		if _, err := o.dec.ReadValue(); err != nil {
			return parseReason(err)
		}
		return NotObject
	}
	if _, err := o.dec.ReadToken(); err != nil {
		return parseReason(err)
	}
	tooMany := false
	for o.dec.PeekKind() != '}' {
		name, err := o.value(text)
		if err != nil {
			return parseReason(err)
		}
		raw, err := o.value(text)
		if err != nil {
			return parseReason(err)
		}
		if tooMany = tooMany || len(o.members) == maxMembers; !tooMany {
			o.members = append(o.members, member{unquote(name), raw})
		}
	}
	if _, err := o.dec.ReadToken(); err != nil {
		return parseReason(err)
	}
	if _, err := o.dec.ReadToken(); !errors.Is(err, io.EOF) {
		return Malformed
	}
	if tooMany {
		return TooManyMembers
	}
	slices.SortFunc(o.members, func(a, b member) int { return cmp.Compare(a.name, b.name) })
	return ""
}

// value returns the next value as a part of text.
func (o *Object) value(text string) (string, error) {
	v, err := o.dec.ReadValue()
	if err != nil {
		return "", err
	}
	end := int(o.dec.InputOffset())
	return text[end-len(v) : end], nil
}

func parseReason(err error) Reason {
	if errors.Is(err, jsontext.ErrDuplicateName) {
		return DuplicateKey
	}
	return Malformed
}

func unquote(raw string) string {
	if strings.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1]
	}
	text, _ := jsontext.AppendUnquote([]byte(nil), raw) // what it refuses it has replaced by U+FFFD
	return string(text)
}

// digest hashes the members in order of their names, so that writing an object in another order, with other white space or
// other escapes gives the same.
func (o *Object) digest(format string) [32]byte {
	b := append(o.scratch[:0], format...)
	for _, m := range o.members {
		b = appendPart(b, m.name)
		switch m.raw[0] {
		case '"':
			b = appendPart(append(b, '"'), unquote(m.raw))
		case '{', '[':
			b = appendPart(append(b, m.raw[0]), compact(m.raw))
		default:
			b = appendPart(append(b, '0'), m.raw)
		}
	}
	o.scratch = b
	return sha256.Sum256(b)
}

func appendPart(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// compact drops white space between the parts of a well-formed value.
func compact(raw string) string {
	if !strings.ContainsAny(raw, " \t\r\n") {
		return raw
	}
	v := jsontext.Value(raw)
	if err := v.Compact(jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true)); err != nil {
		return raw
	}
	return string(v)
}

func (o *Object) raw(name string) string {
	i, ok := slices.BinarySearchFunc(o.members, name, func(m member, name string) int { return cmp.Compare(m.name, name) })
	if !ok {
		return "null"
	}
	return o.members[i].raw
}

// String returns a member that is a string, else "".
func (o *Object) String(name string) string {
	if raw := o.raw(name); raw[0] == '"' {
		return unquote(raw)
	}
	return ""
}

// Text returns a member of any type as text: a list of strings joined by commas, anything else nested as its JSON, and "" for
// null.
func (o *Object) Text(name string) string {
	raw := o.raw(name)
	switch raw[0] {
	case '"':
		return unquote(raw)
	case 'n':
		return ""
	case '[':
		return joined(raw)
	case '{':
		return compact(raw)
	}
	return raw
}

// joined returns the strings of a list, or its JSON when it holds anything else or a comma.
func joined(raw string) string {
	var out strings.Builder
	for rest := strings.Trim(raw, "[] \t"); rest != ""; {
		if rest[0] != '"' || strings.IndexByte(rest, '\\') >= 0 {
			return compact(raw)
		}
		item, after, _ := strings.Cut(rest[1:], `"`)
		if strings.IndexByte(item, ',') >= 0 {
			return compact(raw)
		}
		if out.Len() > 0 {
			out.WriteByte(',')
		}
		out.WriteString(item)
		rest = strings.TrimLeft(after, ", \t")
	}
	return out.String()
}

// Object reads a member that is an object into sub; sub is empty otherwise.
func (o *Object) Object(name string, sub *Object) {
	sub.members = sub.members[:0]
	if raw := o.raw(name); raw[0] == '{' && sub.parse(raw) != "" {
		sub.members = sub.members[:0]
	}
}

// number returns a member that is a number or a string holding one.
func (o *Object) number(name string) (float64, bool) {
	n, err := strconv.ParseFloat(o.Text(name), 64)
	return n, err == nil && !math.IsNaN(n) && !math.IsInf(n, 0)
}

// Int returns a member that is a whole number between 0 and limit.
func (o *Object) Int(name string, limit int) (int, bool) {
	n, ok := o.number(name)
	if !ok || n < 0 || n > float64(limit) || n != math.Trunc(n) {
		return 0, false
	}
	return int(n), true
}

// Port returns a member that is a port, else 0.
func (o *Object) Port(name string) uint16 {
	n, _ := o.Int(name, math.MaxUint16)
	return uint16(n)
}

// Duration returns a member that counts units, at most a year of them.
func (o *Object) Duration(name string, unit time.Duration) (time.Duration, bool) {
	const limit = 366 * 24 * time.Hour
	n, ok := o.number(name)
	if d := n * float64(unit); ok && d >= 0 && d <= float64(limit) {
		return time.Duration(d), true
	}
	return 0, false
}

// Addr returns an address without zone and unmapped. Reason is NoSource when the member is absent or empty.
func (o *Object) Addr(name string) (netip.Addr, Reason) {
	if o.Text(name) == "" {
		return netip.Addr{}, NoSource
	}
	a, err := netip.ParseAddr(o.String(name))
	if err != nil || a.IsUnspecified() {
		return netip.Addr{}, BadSource
	}
	return a.Unmap().WithZone(""), ""
}

// firstTime bounds times from below: honeypots of before have no such logs, and clocks that were never set start at 1970.
var firstTime = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// Time returns the first of the named members that is a time, in UTC and cut to microseconds. A time without zone is UTC.
func (o *Object) Time(names ...string) (time.Time, bool) {
	for _, name := range names {
		text := o.String(name)
		for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05-0700", "2006-01-02 15:04:05", "2006-01-02T15:04:05"} {
			if t, err := time.Parse(layout, text); err == nil && !t.Before(firstTime) {
				return t.UTC().Truncate(time.Microsecond), true
			}
		}
	}
	return time.Time{}, false
}

// decode is parse for a line of unchecked bytes.
func (o *Object) decode(l line) (string, Reason) {
	switch {
	case l.tooLong:
		return "", TooLong
	case len(l.text) == 0:
		return "", Blank
	case !utf8.Valid(l.text):
		return "", openReason(l, InvalidUTF8)
	}
	text := string(l.text)
	return text, openReason(l, o.parse(text))
}

// openReason tells a line that was cut off from one that was written like this.
func openReason(l line, why Reason) Reason {
	if l.open && (why == Malformed || why == InvalidUTF8) {
		return Truncated
	}
	return why
}
