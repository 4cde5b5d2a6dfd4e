package mysql

import (
	"bufio"
	"bytes"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzReadLogin feeds a connection's bytes to the framing.
func FuzzReadLogin(f *testing.F) {
	f.Add([]byte("\x03\x00\x00\x01abc"))
	f.Add([]byte("\x00\x00\x00\x01\x01\x00\x00\x09x"))
	f.Add([]byte("\xff\xff\xff\x01"))
	f.Add(bytes.Repeat([]byte("\x00\x00\x00\x01"), 100))
	f.Fuzz(func(t *testing.T, b []byte) {
		here, there := net.Pipe()
		defer here.Close()
		defer there.Close()
		c := &client{rw: here, in: bufio.NewReader(bytes.NewReader(b)), seq: 1}
		for range 10 {
			p, err := c.readLogin()
			if err != nil {
				return
			}
			require.NotEmpty(t, p)
			require.LessOrEqual(t, len(p), min(len(b), maxKept))
		}
	})
}
