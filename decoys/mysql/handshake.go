package mysql

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
)

const (
	saltBytes  = 20
	headBytes  = 32 // of a login: capabilities, packet size, character set, filler
	autocommit = 2
	maxAttrs   = 32
)

var errMalformed = errors.New("malformed login")

// newSalt returns fresh bytes in the range the release uses: never NUL, seven bits, without the separator of stored passwords.
func (r release) newSalt() []byte {
	salt := make([]byte, saltBytes)
	_, _ = rand.Read(salt)
	for i, b := range salt {
		if r.maria {
			salt[i] = b%94 + 33
			continue
		}
		if b &= 0x7f; b == 0 || b == '$' {
			b++
		}
		salt[i] = b
	}
	return salt
}

// greeting is the first packet of the server.
func (r release) greeting(id uint32, salt []byte) []byte {
	caps := r.capabilities()
	p := append([]byte{10}, r.text...)
	p = binary.LittleEndian.AppendUint32(append(p, 0), id)
	p = append(append(p, salt[:8]...), 0)
	p = binary.LittleEndian.AppendUint16(p, uint16(caps))
	p = binary.LittleEndian.AppendUint16(append(p, r.charset()), autocommit)
	p = binary.LittleEndian.AppendUint16(p, uint16(caps>>16))
	if caps&capPluginAuth == 0 {
		p = append(append(p, 0), make([]byte, 10)...)
		return append(append(p, salt[8:]...), 0)
	}
	p = append(append(p, saltBytes+1), make([]byte, 6)...)
	p = binary.LittleEndian.AppendUint32(p, r.extended())
	p = append(append(p, salt[8:]...), 0)
	return append(append(p, r.plugin()...), 0)
}

type attr struct{ name, value string }

// login is the answer to the greeting.
type login struct {
	caps     uint32
	charset  byte
	user     string
	response []byte
	database string
	plugin   string
	attrs    []attr
}

func (l login) attr(name string) string {
	for _, a := range l.attrs {
		if a.name == name {
			return a.value
		}
	}
	return ""
}

// parseLogin reads an answer of more than headBytes. An error comes with what was read before it.
func parseLogin(p []byte) (login, error) {
	c := &cursor{rest: p}
	l := login{caps: uint32(binary.LittleEndian.Uint16(p))}
	if l.caps&capProtocol41 == 0 { // two bytes of capabilities, three of packet size
		c.take(5)
		l.user = c.text()
		return l, c.err()
	}
	l.caps = binary.LittleEndian.Uint32(p)
	l.charset = p[8]
	c.take(headBytes)
	l.user = c.text()
	switch {
	case l.caps&capLenencAuth != 0:
		l.response = c.take(c.length())
	case l.caps&capSecure != 0:
		l.response = c.take(c.octet())
	default:
		l.response = []byte(c.text())
	}
	if l.caps&capConnectWithDB != 0 {
		l.database = c.text()
	}
	if l.caps&capPluginAuth != 0 {
		l.plugin = c.lastText()
	}
	if l.caps&capConnectAttrs != 0 && !c.bad && len(c.rest) > 0 {
		l.attrs = parseAttrs(c.take(c.length()))
	}
	return l, c.err()
}

// parseAttrs reads what can be read: attributes decide nothing.
func parseAttrs(p []byte) []attr {
	c := &cursor{rest: p}
	var out []attr
	for len(c.rest) > 0 && len(out) < maxAttrs {
		a := attr{name: string(c.take(c.length()))}
		a.value = string(c.take(c.length()))
		if c.bad {
			break
		}
		out = append(out, a)
	}
	return out
}

// cursor reads fields; after the first that is not there it returns nothing.
type cursor struct {
	rest []byte
	bad  bool
}

func (c *cursor) err() error {
	if c.bad {
		return errMalformed
	}
	return nil
}

func (c *cursor) take(n int) []byte {
	if c.bad || n < 0 || n > len(c.rest) {
		c.bad, c.rest = true, nil
		return nil
	}
	out := c.rest[:n]
	c.rest = c.rest[n:]
	return out
}

func (c *cursor) octet() int {
	if b := c.take(1); b != nil {
		return int(b[0])
	}
	return 0
}

// length reads a length-encoded integer; NULL and what no packet can hold is malformed.
func (c *cursor) length() int {
	first := c.octet()
	size := map[int]int{0xfc: 2, 0xfd: 3, 0xfe: 8}[first]
	switch {
	case first < 0xfb:
		return first
	case size == 0:
		return -1
	}
	var raw [8]byte
	copy(raw[:], c.take(size))
	if n := binary.LittleEndian.Uint64(raw[:]); n <= maxPacket {
		return int(n)
	}
	return -1
}

// text reads up to a NUL, which must be there.
func (c *cursor) text() string {
	i := bytes.IndexByte(c.rest, 0)
	out := c.take(i)
	c.take(1)
	return string(out)
}

// lastText reads up to a NUL or the end.
func (c *cursor) lastText() string {
	if bytes.IndexByte(c.rest, 0) < 0 {
		return string(c.take(len(c.rest)))
	}
	return c.text()
}
