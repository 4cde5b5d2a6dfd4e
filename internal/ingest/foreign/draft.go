package foreign

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/decnet/decnet/decoys/eventlog"
	"github.com/decnet/decnet/internal/ingest"
)

const (
	// maxTextBytes bounds the values of one record together. Our decoys' lines are bounded by their length, which this stays below.
	maxTextBytes   = 15 << 10
	maxSecretBytes = 1 << 10
	maxServiceLen  = 32
	maxTypeLen     = 32
	priInfo        = 134
)

// Draft is the record a line is to become. Kind, Time, Service, Type and Source must be set when a line is kept. Keys of fields
// are constants of the caller, never names of a line; values are bounded and spelled like those of our decoys' lines.
type Draft struct {
	// Kind is what the log itself calls the line: a name of the caller's table or OtherKind. It is set for skipped lines too.
	Kind string
	// Sensor is the sensor's name as the log has it.
	Sensor  string
	Time    time.Time
	Service string
	Type    string
	fields  ingest.Fields
	left    int
	cut     bool
}

func (d *Draft) reset() {
	*d = Draft{left: maxTextBytes}
}

// Add appends a field unless its value is empty.
func (d *Draft) Add(key, value string) {
	if value == "" {
		return
	}
	if d.fields == nil {
		d.fields = make(ingest.Fields, 0, 12)
	}
	room := min(eventlog.MaxValueBytes, d.left)
	if len(d.fields) >= ingest.MaxFields-1 || room <= 0 {
		d.cut = true
		return
	}
	if len(value) > room {
		value, d.cut = clip(value, room), true
	}
	if !plain(value) {
		if value = eventlog.Spell(value); len(value) > room {
			value, d.cut = clip(value, room), true
		}
	}
	d.left -= len(value)
	d.fields = append(d.fields, ingest.Field{Key: key, Value: value})
}

// Int appends a field with a decimal value.
func (d *Draft) Int(key string, n int) { d.Add(key, strconv.Itoa(n)) }

// Seconds appends a duration as our lines have it.
func (d *Draft) Seconds(key string, v time.Duration) {
	d.Add(key, strconv.FormatFloat(v.Seconds(), 'f', 3, 64))
}

// Source appends the attacker's address and, unless it is 0, port.
func (d *Draft) Source(addr netip.Addr, port uint16) {
	d.Add("src_ip", addr.String())
	if port != 0 {
		d.Int("src_port", int(port))
	}
}

// Principal appends the name somebody logs in with.
func (d *Draft) Principal(name string) {
	d.Add("username", name)
	d.Add("principal", name)
}

// Secret appends a captured secret: its kind, its printable form and its exact bytes, as our decoys do. An empty secret has no
// fields, because it is no credential.
func (d *Draft) Secret(kind, secret string) {
	if secret == "" {
		return
	}
	secret = secret[:min(len(secret), maxSecretBytes)]
	d.Add("secret_kind", kind)
	d.Add("secret_printable", printable(secret))
	d.Add("secret_b64", base64.StdEncoding.EncodeToString([]byte(secret)))
}

// Digest is Secret for what only a program can read, given in hex.
func (d *Draft) Digest(kind, hexText string) {
	raw, err := hex.DecodeString(hexText)
	if err != nil || len(raw) == 0 || len(raw) > maxSecretBytes {
		return
	}
	d.Add("secret_kind", kind)
	d.Add("secret_printable", strings.ToLower(hexText))
	d.Add("secret_b64", base64.StdEncoding.EncodeToString(raw))
}

// SHA256 appends a checksum if it is one.
func (d *Draft) SHA256(key, sum string) {
	if IsHex(sum, 64) {
		d.Add(key, strings.ToLower(sum))
	}
}

// IsHex reports whether s is n hexadecimal digits.
func IsHex(s string, n int) bool {
	if len(s) != n {
		return false
	}
	for i := range len(s) {
		if c := s[i] | 0x20; (s[i] < '0' || s[i] > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// Slug makes a name of a foreign log one of ours: lower-case letters, digits and `_`, at most 32.
func Slug(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r + ('a' - 'A')
		}
		return '_'
	}, s[:min(len(s), maxTypeLen)])
}

// record makes the record of a line. Boot and Line are taken from the hash of the line's content: a line has the same ones
// wherever and however often it is read, and two lines of one session differ in Line.
func (d *Draft) record(text string, sum [32]byte) *ingest.Record {
	if d.cut {
		d.Add("truncated", "true")
	}
	r := &ingest.Record{
		Time: d.Time, PRI: priInfo, Host: d.Sensor, App: d.Service, Type: d.Type,
		Boot: hex.EncodeToString(sum[:16]), Line: binary.BigEndian.Uint64(sum[16:])>>1 | 1,
		Fields: d.fields, Raw: text,
	}
	if len(text) > ingest.MaxLineBytes {
		// Consumers may tell lines apart by their text, so what is cut off is replaced by a hash.
		rest := " [cut, sha256 " + hex.EncodeToString(sum[:]) + "]"
		r.Raw = clip(text, ingest.MaxLineBytes-len(rest)) + rest
		for i := range r.Fields { // a short value must not keep a long line in memory
			r.Fields[i].Value = strings.Clone(r.Fields[i].Value)
		}
	}
	r.Resolve()
	return r
}

// plain reports whether s is printable ASCII, which needs no spelling.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

func printable(s string) string {
	if plain(s) {
		return s
	}
	b := []byte(s)
	for i, c := range b {
		if c < ' ' || c > '~' {
			b[i] = '?'
		}
	}
	return string(b)
}

// clip cuts s to at most n bytes without splitting a character.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
