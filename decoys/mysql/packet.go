package mysql

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"time"

	"github.com/decnet/decnet/decoys/tcp"
)

const (
	readTimeout  = 10 * time.Second
	writeTimeout = 10 * time.Second
	maxPacket    = 1 << 20
	maxKept      = 64 << 10 // of a packet; the rest is read and dropped
	maxEmpty     = 64       // packets without content before the login
)

var (
	errOrder  = errors.New("packets out of order")
	errLength = errors.New("packet too large")
	errEmpty  = errors.New("too many empty packets")
)

// client is one connection.
type client struct {
	*tcp.Conn
	s      *Server
	rw     net.Conn // the connection, or the TLS session in it
	in     *bufio.Reader
	id     uint32
	seq    byte
	loose  bool // an empty packet was seen: numbers no longer matter
	secure bool
	old    bool // the client speaks a protocol before 4.1, which knows no SQL states
}

// read returns the content of the next packet.
func (c *client) read() ([]byte, error) {
	_ = c.rw.SetReadDeadline(time.Now().Add(readTimeout))
	var head [4]byte
	if _, err := io.ReadFull(c.in, head[:]); err != nil {
		return nil, err
	}
	if head[3] != c.seq && !c.loose {
		return nil, errOrder
	}
	c.seq = head[3] + 1
	n := int64(head[0]) | int64(head[1])<<8 | int64(head[2])<<16
	if n > maxPacket {
		return nil, errLength
	}
	var kept bytes.Buffer
	if _, err := io.CopyN(&kept, c.in, min(n, maxKept)); err != nil {
		return nil, err
	}
	_, err := io.CopyN(io.Discard, c.in, max(n-maxKept, 0))
	return kept.Bytes(), err
}

// readLogin is read for the time before the login, in which empty packets mean nothing.
func (c *client) readLogin() ([]byte, error) {
	for range maxEmpty {
		p, err := c.read()
		if err != nil || len(p) > 0 {
			return p, err
		}
		c.loose = true
	}
	return nil, errEmpty
}

func (c *client) write(payload []byte) error {
	n := len(payload)
	p := append([]byte{byte(n), byte(n >> 8), byte(n >> 16), c.seq}, payload...)
	c.seq++
	_ = c.rw.SetWriteDeadline(time.Now().Add(writeTimeout))
	_, err := c.rw.Write(p)
	return err
}

// failure is an error as the server numbers it.
type failure struct {
	code  uint16
	state string
	text  string
}

var (
	badHandshake = failure{1043, "08S01", "Bad handshake"}
	outOfOrder   = failure{1156, "08S01", "Got packets out of order"}
	tooMany      = failure{1040, "08004", "Too many connections"}
)

func (f failure) payload(withState bool) []byte {
	p := []byte{0xff, byte(f.code), byte(f.code >> 8)}
	if withState {
		p = append(append(p, '#'), f.state...)
	}
	return append(p, f.text...)
}

// fail sends an error; the connection ends after it.
func (c *client) fail(ctx context.Context, f failure) {
	tcp.Pause(ctx, 2*time.Millisecond, 6*time.Millisecond)
	_ = c.write(f.payload(!c.old))
}

// buffered is a connection of which the beginning was read already.
type buffered struct {
	net.Conn
	r io.Reader
}

func (b buffered) Read(p []byte) (int, error) { return b.r.Read(p) }
