// Package recording keeps what went over an attacker's terminal.
//
// Sessions of one UTC day share a file, transcripts/sessions-YYYY-MM-DD.jsonl, to which every line is one append of less
// than 4096 bytes. Lines are valid UTF-8: an undecodable byte becomes one character, U+0080 to U+00FF of the same
// value, so that counts of characters hold. The format's reader accepts one file name per day only, so a shard does not
// roll over: from MaxShardBytes on new sessions are refused with ReasonShardFull.
package recording

import (
	"errors"
	"io"
	"os"
	"regexp"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"
)

// Limits of a recording.
const (
	MaxSessionBytes = 10 << 20
	MaxShardBytes   = 512 << 20
	MinFreeBytes    = 200 << 20
	maxChunk        = 975
	maxLine         = 4096 - 1
)

// Reasons why a session is not recorded, as in the event `session_skipped`.
const (
	ReasonDiskPressure = "disk_pressure"
	ReasonOpenFailed   = "shard_open_failed"
	ReasonShardFull    = "shard_full"
)

const dir = "transcripts"

// SkipError says that a session will not be recorded.
type SkipError struct {
	Reason string
	Cause  error
}

func (e *SkipError) Error() string { return "recording refused: " + e.Reason }

// Unwrap returns the cause, which may be nil.
func (e *SkipError) Unwrap() error { return e.Cause }

var sidPattern = regexp.MustCompile(`^[a-f0-9-]{36}$`)

// Store writes recordings below a spool directory. It is safe for concurrent use.
type Store struct {
	root *os.Root
	free func() (uint64, error)
	mu   sync.Mutex
}

// NewStore returns a store below root. free reports the bytes left on its disk.
func NewStore(root *os.Root, free func() (uint64, error)) *Store {
	return &Store{root: root, free: free}
}

// Prepare creates the directory for recordings.
func Prepare(root *os.Root) error {
	if err := root.Mkdir(dir, 0o750); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

// Header describes a session. Width and Height are 80x24 when there is no terminal.
type Header struct {
	SID     string
	Width   int
	Height  int
	Shell   string
	Term    string
	Command string
	Start   time.Time
}

// Session is one recording. Its methods are safe for concurrent use and never fail: when the disk does, the recording
// is cut and the session goes on.
type Session struct {
	store   *Store
	file    io.WriteCloser
	sid     string
	start   time.Time
	mu      sync.Mutex
	bytes   int64
	stopped bool
	cut     bool
}

// Summary is what the event `session_recorded` reports.
type Summary struct {
	SID       string
	Bytes     int64
	Truncated bool
	Duration  time.Duration
}

// Start opens the shard of the day and writes the header. It fails with a SkipError.
func (s *Store) Start(h Header) (*Session, error) {
	if !sidPattern.MatchString(h.SID) {
		return nil, &SkipError{Reason: ReasonOpenFailed, Cause: errors.New("malformed session id")}
	}
	if free, err := s.free(); err == nil && free < MinFreeBytes {
		return nil, &SkipError{Reason: ReasonDiskPressure}
	}
	name := dir + "/sessions-" + h.Start.UTC().Format("2006-01-02") + ".jsonl"
	f, err := s.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return nil, &SkipError{Reason: ReasonOpenFailed, Cause: err}
	}
	if st, err := f.Stat(); err == nil && st.Size() > MaxShardBytes {
		_ = f.Close()
		return nil, &SkipError{Reason: ReasonShardFull}
	}
	r := &Session{store: s, file: f, sid: h.SID, start: h.Start}
	r.line(headerLine(h))
	return r, nil
}

func headerLine(h Header) []byte {
	b := []byte(`{"sid":"` + h.SID + `","hdr":{"version":2,"width":` + strconv.Itoa(h.Width) + `,"height":` +
		strconv.Itoa(h.Height) + `,"timestamp":` + strconv.FormatInt(h.Start.Unix(), 10) + `,"env":{"SHELL":`)
	b = appendBounded(b, h.Shell, 256)
	b = append(b, `,"TERM":`...)
	b = appendBounded(b, h.Term, 256)
	b = append(b, '}')
	if h.Command != "" {
		b = append(b, `,"command":`...)
		b = appendBounded(b, h.Command, 1024)
	}
	return append(b, '}', '}', '\n')
}

func appendBounded(b []byte, v string, limit int) []byte {
	out, _ := encode([]byte(v), limit)
	return append(append(append(b, '"'), out...), '"')
}

// Input records bytes that came from the attacker.
func (r *Session) Input(p []byte) { r.data('i', p) }

// Output records bytes that were sent to the attacker.
func (r *Session) Output(p []byte) { r.data('o', p) }

// Resize records a new window size.
func (r *Session) Resize(cols, rows int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.stopped {
		r.event('r', []byte(strconv.Itoa(cols)+"x"+strconv.Itoa(rows)))
	}
}

func (r *Session) data(ch byte, p []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(p) > 0 && !r.stopped {
		n := min(len(p), MaxSessionBytes-int(r.bytes))
		if n == 0 {
			r.truncate()
			return
		}
		used := r.event(ch, p[:n])
		r.bytes += int64(used)
		p = p[used:]
	}
}

// event writes one line with as much of p as fits and returns how many bytes that were.
func (r *Session) event(ch byte, p []byte) int {
	t := strconv.FormatFloat(max(time.Since(r.start).Seconds(), 0), 'f', 6, 64)
	line := []byte(`{"sid":"` + r.sid + `","t":` + t + `,"ch":"` + string(ch) + `","d":"`)
	enc, used := encode(p, maxLine-len(line)-8)
	line = append(append(line, enc...), '"', '}', '\n')
	r.line(line)
	return used
}

// encode renders a prefix of p as the inside of a JSON string of at most room bytes and returns its length in p, which
// is at most maxChunk and at least 1 for non-empty input.
func encode(p []byte, room int) (out []byte, used int) {
	for used < len(p) && used < maxChunk {
		c, n := utf8.DecodeRune(p[used:])
		if c == utf8.RuneError && n <= 1 {
			c, n = rune(p[used]), 1
		}
		if used+n > maxChunk || len(out)+6 > room {
			break
		}
		out = appendRune(out, c)
		used += n
	}
	return out, used
}

func appendRune(out []byte, c rune) []byte {
	const digits = "0123456789abcdef"
	switch {
	case c == '"' || c == '\\':
		return append(out, '\\', byte(c))
	case c == '\n':
		return append(out, '\\', 'n')
	case c == '\r':
		return append(out, '\\', 'r')
	case c == '\t':
		return append(out, '\\', 't')
	case c < 0x20 || c == 0x7f || (c >= 0x80 && c < 0xa0) || c == 0x2028 || c == 0x2029:
		return append(out, '\\', 'u', digits[c>>12&15], digits[c>>8&15], digits[c>>4&15], digits[c&15])
	}
	return utf8.AppendRune(out, c)
}

func (r *Session) line(b []byte) {
	r.store.mu.Lock()
	_, err := r.file.Write(b)
	r.store.mu.Unlock()
	if err != nil {
		r.stopped, r.cut = true, true
	}
}

func (r *Session) truncate() {
	r.line([]byte(`{"sid":"` + r.sid + `","trunc":true}` + "\n"))
	r.stopped, r.cut = true, true
}

// Close ends the recording and returns its summary. Later calls record nothing.
func (r *Session) Close() Summary {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
	_ = r.file.Close()
	return Summary{SID: r.sid, Bytes: r.bytes, Truncated: r.cut, Duration: time.Since(r.start)}
}
