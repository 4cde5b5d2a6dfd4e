package ingest

import (
	"net/netip"
	"time"
)

// Limits of a record. They are those of the decoys' writer where it has one.
const (
	MaxLineBytes   = 16 << 10
	MaxFields      = 64
	maxHostBytes   = 255
	maxAppBytes    = 48
	maxMsgIDBytes  = 32
	maxProcIDBytes = 128
	maxNameBytes   = 32
	maxBootBytes   = 64
)

// Unknown is what is shown instead of the address of an attacker nobody can name.
const Unknown = "Unknown"

// Field is one parameter of a line's structured data. Values are what the decoy meant after its spelling: unescaped per RFC
// 5424, control characters still spelled `\n \r \t \xHH`, so a value is always one line of printable UTF-8.
type Field struct {
	Key   string
	Value string
}

// Fields are the parameters of a line in their order. A key may occur twice (a decoy adds `truncated` to what already has
// one); the first counts.
type Fields []Field

// Lookup returns the first value of key.
func (f Fields) Lookup(key string) (string, bool) {
	for i := range f {
		if f[i].Key == key {
			return f[i].Value, true
		}
	}
	return "", false
}

// Get returns the first value of key, or "".
func (f Fields) Get(key string) string {
	v, _ := f.Lookup(key)
	return v
}

// Map returns the fields as a new map; the first value of a key counts.
func (f Fields) Map() map[string]string {
	m := make(map[string]string, len(f))
	for i := range f {
		if _, dup := m[f[i].Key]; !dup {
			m[f[i].Key] = f[i].Value
		}
	}
	return m
}

// Record is one line as its decoy claims it to be. Nothing in it is proof of where it comes from; that is Source's part.
// Strings share one copy of the line. Importers make records of their own: Time, App, Type, Fields and Raw at least, Boot and
// Line so that a second import of the same line is recognised, and then Resolve.
type Record struct {
	// Time is the line's own, in UTC, cut to microseconds.
	Time time.Time
	// PRI is facility times eight plus severity.
	PRI uint8
	// Host, App and Type are HOSTNAME, APP-NAME and MSGID; "" for the nil value.
	Host string
	App  string
	Type string
	// Boot and Line number the lines of one start of a decoy from 1 on. Line is 0 when the line carries no number.
	Boot string
	Line uint64
	// Fields excludes `boot` and `n`. It includes `remote_port` when the address came with a port.
	Fields Fields
	Msg    string
	// Attacker is the source address, unmapped and without zone; the zero Addr when unknown.
	Attacker netip.Addr
	// Port is the source port, 0 when unknown.
	Port uint16
	// Raw is the line without its line feed, undecodable bytes replaced.
	Raw string
}

// Peer returns the source address and port of the record; it is valid only if both are known.
func (r *Record) Peer() netip.AddrPort {
	if !r.Attacker.IsValid() || r.Port == 0 {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(r.Attacker, r.Port)
}

// AttackerText returns the address as text, Unknown if there is none.
func (r *Record) AttackerText() string {
	if !r.Attacker.IsValid() {
		return Unknown
	}
	return r.Attacker.String()
}
