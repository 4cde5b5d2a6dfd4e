package recording

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Channels of an event, as asciicast names them. A marker is a note of ours.
const (
	ChannelInput  = 'i'
	ChannelOutput = 'o'
	ChannelResize = 'r'
	ChannelMarker = 'm'
)

const (
	// maxLine is far above what decoys write.
	maxLine = 64 << 10
	// maxSeconds is above what any session lasts; maxSide is the widest terminal that is shown.
	maxSeconds = 366 * 24 * 3600
	maxSide    = 1000
)

// Truncated is the text of the marker at which the decoy stopped recording.
const Truncated = "recording was cut here"

// Event is one thing that went over the terminal, T seconds after the beginning.
type Event struct {
	T       float64
	Channel byte
	// Data is hostile; it is valid UTF-8.
	Data string
}

// Header describes the terminal of a session.
type Header struct {
	Width, Height int
	// Timestamp is the beginning in seconds since 1970, 0 when it is not known.
	Timestamp            int64
	Shell, Term, Command string
}

// kind says what a line is to a session.
type kind int

const (
	foreign kind = iota // of another session, or of none
	header
	event
	cut
)

// shardLine is a line of a shard.
type shardLine struct {
	SID   string          `json:"sid"`
	Hdr   json.RawMessage `json:"hdr"`
	T     *float64        `json:"t"`
	Ch    string          `json:"ch"`
	D     json.RawMessage `json:"d"`
	Trunc bool            `json:"trunc"`
}

type shardHeader struct {
	Width     int    `json:"width"`
	Height    int    `json:"height"`
	Timestamp int64  `json:"timestamp"`
	Command   string `json:"command"`
	Env       struct {
		Shell string `json:"SHELL"`
		Term  string `json:"TERM"`
	} `json:"env"`
}

// parseLine reads one line for the session sid. What is malformed is foreign.
func parseLine(line []byte, sid string) (kind, Header, Event) {
	if !bytes.Contains(line, []byte(sid)) { // most lines of a shard are of others
		return foreign, Header{}, Event{}
	}
	var l shardLine
	if err := json.Unmarshal(toUTF8(line), &l); err != nil || l.SID != sid {
		return foreign, Header{}, Event{}
	}
	switch {
	case l.Hdr != nil:
		var h shardHeader
		if err := json.Unmarshal(l.Hdr, &h); err != nil {
			return foreign, Header{}, Event{}
		}
		return header, Header{
			Width: side(h.Width, 80), Height: side(h.Height, 24), Timestamp: max(h.Timestamp, 0), Shell: h.Env.Shell, Term: h.Env.Term,
			Command: h.Command,
		}, Event{}
	case l.Trunc:
		return cut, Header{}, Event{}
	}
	e, ok := l.event()
	if !ok {
		return foreign, Header{}, Event{}
	}
	return event, Header{}, e
}

func (l shardLine) event() (Event, bool) {
	if l.T == nil || *l.T < 0 || *l.T > maxSeconds || len(l.Ch) != 1 {
		return Event{}, false
	}
	e := Event{T: *l.T, Channel: l.Ch[0]}
	if l.D != nil {
		if l.D[0] != '"' || json.Unmarshal(l.D, &e.Data) != nil {
			return Event{}, false
		}
	}
	switch e.Channel {
	case ChannelInput, ChannelOutput:
		return e, true
	case ChannelResize:
		var ok bool
		e.Data, ok = size(e.Data)
		return e, ok
	}
	return Event{}, false
}

var sizePattern = regexp.MustCompile(`\A(\d{1,5})x(\d{1,5})\z`)

// size bounds a window size.
func size(text string) (string, bool) {
	m := sizePattern.FindStringSubmatch(text)
	if m == nil {
		return "", false
	}
	cols, _ := strconv.Atoi(m[1])
	rows, _ := strconv.Atoi(m[2])
	return strconv.Itoa(side(cols, 1)) + "x" + strconv.Itoa(side(rows, 1)), true
}

// side bounds a width or height; otherwise stands for one that is none.
func side(n, otherwise int) int {
	if n <= 0 {
		return otherwise
	}
	return min(n, maxSide)
}

// toUTF8 makes a character of the same value of each byte that is not part of a character, as decoys do.
func toUTF8(line []byte) []byte {
	if utf8.Valid(line) {
		return line
	}
	out := make([]byte, 0, len(line)*2)
	for len(line) > 0 {
		r, n := utf8.DecodeRune(line)
		if r == utf8.RuneError && n == 1 {
			r = rune(line[0])
		}
		out = utf8.AppendRune(out, r)
		line = line[n:]
	}
	return out
}

// torn returns the bytes of an unfinished character at the end of a text, where each stands as the character of its value,
// how many of the character's bytes are missing, and the text before it.
func torn(text string) (before string, part []byte, missing int) {
	rest := text
	for len(part) < 3 {
		r, n := utf8.DecodeLastRuneInString(rest)
		if r < 0x80 || r > 0xf4 || n != 2 {
			return text, nil, 0
		}
		part = append([]byte{byte(r)}, part...)
		rest = rest[:len(rest)-n]
		if r >= 0xc2 {
			if missing = width(byte(r)) - len(part); missing <= 0 {
				return text, nil, 0
			}
			return rest, part, missing
		}
		if r > 0xbf {
			break
		}
	}
	return text, nil, 0
}

// width is how many bytes a character with that first byte has (RFC 3629).
func width(lead byte) int {
	switch {
	case lead >= 0xf0:
		return 4
	case lead >= 0xe0:
		return 3
	}
	return 2
}

// continues takes at most n continuation bytes, spelled as characters, off the beginning of a text.
func continues(text string, n int) (part []byte, rest string) {
	for len(part) < n {
		r, size := utf8.DecodeRuneInString(text)
		if size != 2 || r < 0x80 || r > 0xbf {
			break
		}
		part = append(part, byte(r))
		text = text[size:]
	}
	return part, text
}

// validSID bounds what is searched for; it is the decoys' pattern.
func validSID(sid string) bool {
	return len(sid) == 36 && strings.Trim(sid, "0123456789abcdef-") == ""
}
