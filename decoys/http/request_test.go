package http

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/decoys/identity"
	"github.com/decnet/decnet/decoys/persona"
)

// FuzzRequest feeds the reader of request heads, whose result must be usable or refused.
func FuzzRequest(f *testing.F) {
	f.Add("GET / HTTP/1.1\r\nHost: x\r\n\r\n", true)
	f.Add("GET http://x/%41/../b?q HTTP/1.0\nA: b\n c\n\n", false)
	f.Add("OPTIONS * HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n", true)
	h := persona.New(persona.Options{Identity: identity.New("fuzz", "i"), Distro: "debian"})
	f.Fuzz(func(t *testing.T, head string, isApache bool) {
		banner := "nginx/1.22.1"
		if isApache {
			banner = "Apache/2.4.62 (Debian)"
		}
		s := &Server{web: newWeb(h, banner)}
		c := &client{s: s, in: bufio.NewReaderSize(strings.NewReader(head), 64)}
		r, err := c.readRequest()
		require.NotNil(t, r)
		if err != nil {
			if f, ok := errors.AsType[*refusal](err); ok {
				require.NotEmpty(t, s.web.page(f.status, r, f.note).body)
			}
			return
		}
		require.True(t, strings.HasPrefix(r.path, "/") || r.path == "*" || r.method == "CONNECT", "%q", r.path)
		require.NotContains(t, r.path+"/", "/../")
		_, _, _ = r.framing(s.web)
		resp := s.web.page(404, r, "")
		_, err = s.write1(io.Discard, r, resp, true)
		require.NoError(t, err)
		require.LessOrEqual(t, len(r.headers), 1000)
	})
}
