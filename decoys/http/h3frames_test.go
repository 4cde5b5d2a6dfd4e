package http

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/quic-go/qpack"
	"github.com/quic-go/quic-go/quicvarint"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/decoys/eventlog"
	"github.com/decnet/decnet/decoys/identity"
	"github.com/decnet/decnet/decoys/persona"
	"github.com/decnet/decnet/decoys/tcp"
)

// FuzzHTTP3 feeds both kinds of streams a client of HTTP/3 sends frames on.
func FuzzHTTP3(f *testing.F) {
	var block bytes.Buffer
	enc := qpack.NewEncoder(&block)
	for _, h := range [][2]string{{":method", "POST"}, {":path", "/a?b"}, {":authority", "x"}, {"cookie", "a=b"}} {
		require.NoError(f, enc.WriteField(qpack.HeaderField{Name: h[0], Value: h[1]}))
	}
	message := quicvarint.Append([]byte{frameHeaders}, uint64(block.Len()))
	message = append(append(message, block.Bytes()...), 0, 3, 'a', '=', 'b')
	f.Add(message, true)
	f.Add([]byte{4, 4, 1, 0x40, 0x40, 6, 0x21, 0, 0x0d, 1, 0}, false)
	host := persona.New(persona.Options{Identity: identity.New("fuzz", "i"), Distro: "debian"})
	f.Fuzz(func(t *testing.T, stream []byte, isMessage bool) {
		s := &Server{web: newWeb(host, "nginx/1.22.1")}
		s.Server = tcp.New(eventlog.New(io.Discard, "h", "https", "b", 1, nil), nil)
		h := &h3{client: &client{Conn: s.Peer(&net.UDPAddr{IP: net.IPv4zero, Port: 1}), s: s}}
		in := bufio.NewReaderSize(bytes.NewReader(stream), 16)
		if !isMessage {
			require.Error(t, h.control(in), "the stream ended")
			require.LessOrEqual(t, len(h.settings), maxSettings)
			require.LessOrEqual(t, len(h.order), maxSettings)
			return
		}
		r, err := h.readMessage(in, func() {})
		if err != nil && !errors.Is(err, h3MessageError) {
			return
		}
		require.NotNil(t, r)
		require.LessOrEqual(t, len(r.body), keptBodyBytes)
		require.Len(t, r.body, h.kept)
		if r.complete(s.web) == nil {
			require.NotEmpty(t, r.path)
		}
		require.NotEmpty(t, s.response3(r, s.web.page(404, r, "")))
	})
}
