// Package eventlog writes a decoy's events as RFC 5424 lines.
//
// It is the only way out of a decoy, and what it writes is fed by attackers. The invariant: one event is exactly one
// line, shorter than 16 KiB, written by one write, valid UTF-8 without control characters, whatever the fields hold.
// Control characters and undecodable bytes are spelled out (`\n`, `\r`, `\t`, `\xHH`) before RFC 5424 escaping, so a
// parser sees text and a record cannot be forged. Exact bytes travel in base64 fields.
package eventlog

import (
	"io"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

// Limits of a line. MaxValueBytes is per field value, after spelling out control characters and before escaping.
const (
	MaxLineBytes  = 16<<10 - 1
	MaxValueBytes = 4096
	maxHost       = 255
	maxApp        = 48
	maxMsgID      = 32
)

// Severities of RFC 5424 that decoys use, with facility local0 already added.
const (
	Warning = 132
	Info    = 134
)

const sdID = "relay@55555"

// Field is one parameter of the structured data. Keys are constants of our code, never attacker text.
type Field struct {
	Key   string
	Value string
}

// F returns the field key = value.
func F(key, value string) Field { return Field{Key: key, Value: value} }

// Int returns a field with a decimal value.
func Int[T ~int | ~int64 | ~uint16 | ~uint32 | ~uint64](key string, v T) Field {
	return Field{Key: key, Value: strconv.FormatInt(int64(v), 10)}
}

// Event is one line to be written. App defaults to the log's service and PRI to Info.
type Event struct {
	PRI    int
	App    string
	MsgID  string
	Fields []Field
	Msg    string
}

// Log writes events. It is safe for concurrent use. Write errors are counted and otherwise ignored: a full disk must
// not bring a decoy down.
type Log struct {
	mu     sync.Mutex
	w      io.Writer
	host   string
	app    string
	boot   string
	next   uint64
	now    func() time.Time
	failed uint64
}

// New returns a log that writes to w, numbering its lines from lineStart (0 counts as 1) under the given boot id.
// now may be nil.
func New(w io.Writer, host, app, boot string, lineStart uint64, now func() time.Time) *Log {
	if now == nil {
		now = time.Now
	}
	return &Log{w: w, host: host, app: app, boot: boot, next: max(lineStart, 1), now: now}
}

// Emit writes one event. Boot id and line number are its first two fields. A number is used up even when the write
// fails, so that a reader sees the gap.
func (l *Log) Emit(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	line := l.format(e)
	l.next++
	if n, err := l.w.Write(line); err != nil || n != len(line) {
		l.failed++
	}
}

// Failed returns how many lines could not be written.
func (l *Log) Failed() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

func (l *Log) format(e Event) []byte {
	if e.PRI == 0 {
		e.PRI = Info
	}
	if e.App == "" {
		e.App = l.app
	}
	var b strings.Builder
	b.WriteString("<" + strconv.Itoa(e.PRI) + ">1 ")
	b.WriteString(l.now().UTC().Format("2006-01-02T15:04:05.000000-07:00"))
	b.WriteString(" " + header(l.host, maxHost) + " " + header(e.App, maxApp) + " - " + header(e.MsgID, maxMsgID))
	b.WriteString(" [" + sdID)
	writeField(&b, F("boot", l.boot))
	writeField(&b, F("n", strconv.FormatUint(l.next, 10)))
	l.writeFields(&b, e.Fields)
	b.WriteString("]")
	if e.Msg != "" {
		b.WriteString(" " + clip(Spell(e.Msg), min(MaxValueBytes, MaxLineBytes-1-b.Len()-1)))
	}
	b.WriteString("\n")
	return []byte(b.String())
}

// writeFields keeps the line within its limit by shortening the values that no longer fit.
func (l *Log) writeFields(b *strings.Builder, fields []Field) {
	const reserve = 64 // room for `truncated`, the bracket and the line feed
	cut := false
	for _, f := range fields {
		room := MaxLineBytes - reserve - b.Len() - len(f.Key) - 4
		if room < 16 {
			cut = true
			continue
		}
		v := clip(Spell(f.Value), MaxValueBytes)
		for len(Escape(v)) > room {
			v, cut = clip(v, len(v)*3/4), true
		}
		cut = cut || len(f.Value) > MaxValueBytes
		writeField(b, F(f.Key, v))
	}
	if cut {
		writeField(b, F("truncated", "true"))
	}
}

func writeField(b *strings.Builder, f Field) {
	b.WriteString(` ` + f.Key + `="` + Escape(Spell(f.Value)) + `"`)
}

var sdEscaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`, `]`, `\]`)

// Escape quotes the three characters RFC 5424 section 6.3.3 names.
func Escape(v string) string { return sdEscaper.Replace(v) }

// Spell returns v with control characters, line and paragraph separators and undecodable bytes spelled out, so that
// the result is printable UTF-8 on one line. It is the identity on printable text and idempotent.
func Spell(v string) string {
	clean := true
	for _, r := range v {
		if r == utf8.RuneError || unsafeRune(r) {
			clean = false
			break
		}
	}
	if clean {
		return v
	}
	var b strings.Builder
	for i := 0; i < len(v); {
		r, n := utf8.DecodeRuneInString(v[i:])
		b.WriteString(spellRune(r, n, v[i:i+n]))
		i += n
	}
	return b.String()
}

func unsafeRune(r rune) bool {
	return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || unicode.Is(unicode.Cf, r)
}

func spellRune(r rune, n int, raw string) string {
	switch {
	case r == '\n':
		return `\n`
	case r == '\r':
		return `\r`
	case r == '\t':
		return `\t`
	case (r == utf8.RuneError && n == 1) || unsafeRune(r):
		const digits = "0123456789abcdef"
		var out []byte
		for _, c := range []byte(raw) {
			out = append(out, '\\', 'x', digits[c>>4], digits[c&15])
		}
		return string(out)
	}
	return raw
}

// clip cuts v to at most n bytes without splitting a character.
func clip(v string, n int) string {
	if len(v) <= n {
		return v
	}
	n = max(n, 0)
	for n > 0 && !utf8.RuneStart(v[n]) {
		n--
	}
	return v[:n]
}

// header makes v a legal header field: printable ASCII without spaces, at most n bytes, `-` when nothing is left.
func header(v string, n int) string {
	v = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return -1
		}
		return r
	}, v)
	if v = clip(v, n); v == "" {
		return "-"
	}
	return v
}
