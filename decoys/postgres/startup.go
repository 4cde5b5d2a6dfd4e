package postgres

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
)

// Limits of a startup packet: its length field counts itself.
const (
	minStartup = 8
	maxStartup = 10_000
	maxName    = 63 // longer names are cut, as the server cuts identifiers
	maxParams  = 64 // kept for events; more are read and dropped
)

// Request codes in place of a protocol version.
const (
	codeCancel = 80877102
	codeSSL    = 80877103
	codeGSS    = 80877104
)

var (
	errLength      = errors.New("length out of bounds")
	errLayout      = errors.New("expected terminator as last byte")
	errReplication = errors.New("bad replication value")
)

// readStartup reads one packet of the first phase and returns what follows its length: four bytes of version and the rest.
func readStartup(r io.Reader) (uint32, []byte, error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:4]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[:4])
	if n < minStartup || n > maxStartup {
		return 0, nil, errLength
	}
	if _, err := io.ReadFull(r, head[4:]); err != nil {
		return 0, nil, err
	}
	body := make([]byte, n-minStartup)
	_, err := io.ReadFull(r, body)
	return binary.BigEndian.Uint32(head[4:]), body, err
}

type param struct{ name, value string }

// startup is what a client asks for. Names are cut to what the server keeps.
type startup struct {
	protocol    uint32
	user        string
	database    string // the user's name when the client named none
	replication string // as sent
	physical    bool   // a replication connection without database
	unknown     []string
	params      []param
}

// parseStartup reads the parameters of protocol 3. An error comes with what was read before it.
func parseStartup(protocol uint32, body []byte) (startup, error) {
	s := startup{protocol: protocol}
	rest := body
	for {
		name, after, ok := bytes.Cut(rest, []byte{0})
		if !ok || len(name) == 0 {
			break
		}
		value, next, ok := bytes.Cut(after, []byte{0})
		if !ok {
			if len(after) == 0 {
				return s.finish(), errLayout
			}
			next = nil
		}
		rest = next
		if err := s.set(string(name), string(value)); err != nil {
			return s.finish(), err
		}
		if !ok {
			return s.finish(), errLayout
		}
	}
	if len(rest) != 1 || rest[0] != 0 {
		return s.finish(), errLayout
	}
	return s.finish(), nil
}

func (s *startup) set(name, value string) error {
	switch {
	case name == "user":
		s.user = value
	case name == "database":
		s.database = value
	case name == "replication":
		s.replication = value
		if value == "database" {
			return nil
		}
		on, ok := parseBool(value)
		if !ok {
			return errReplication
		}
		s.physical = on
	case strings.HasPrefix(name, "_pq_."):
		s.unknown = append(s.unknown, name)
	case len(s.params) < maxParams:
		s.params = append(s.params, param{name, value})
	}
	return nil
}

func (s startup) finish() startup {
	s.user = s.user[:min(len(s.user), maxName)]
	s.database = s.database[:min(len(s.database), maxName)]
	if s.database == "" {
		s.database = s.user
	}
	return s
}

func (s startup) param(name string) string {
	i := slices.IndexFunc(s.params, func(p param) bool { return p.name == name })
	if i < 0 {
		return ""
	}
	return s.params[i].value
}

// parseOldStartup reads the fixed fields of protocol 2: 64 bytes database, 32 bytes user.
func parseOldStartup(protocol uint32, body []byte) startup {
	field := func(from, to int) string {
		b := body[min(from, len(body)):min(to, len(body))]
		b, _, _ = bytes.Cut(b, []byte{0})
		return string(b)
	}
	s := startup{protocol: protocol, database: field(0, 64), user: field(64, 96)}
	return s.finish()
}

// parseBool accepts unambiguous beginnings of the words for a boolean, in any case.
func parseBool(v string) (value, ok bool) {
	v = strings.ToLower(v)
	switch {
	case v == "":
		return false, false
	case strings.HasPrefix("true", v), strings.HasPrefix("yes", v), v == "on", v == "1":
		return true, true
	case strings.HasPrefix("false", v), strings.HasPrefix("no", v), strings.HasPrefix("off", v) && len(v) > 1, v == "0":
		return false, true
	}
	return false, false
}
