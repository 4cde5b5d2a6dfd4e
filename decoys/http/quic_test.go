package http

import (
	"context"
	"net"
	"testing"
	"testing/synctest"

	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/decoys/eventlog"
	"github.com/decnet/decnet/decoys/tcp"
)

func TestHandshakes_AreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &Server{Server: tcp.New(eventlog.New(t.Output(), "h", "https", "b", 1, nil), nil)}
		p := &handshakes{s: s, by: map[string]int{}}
		var ends []context.CancelFunc
		begin := func(host byte) error {
			ctx, cancel := context.WithCancel(t.Context())
			ends = append(ends, cancel)
			_, err := p.begin(ctx, &quic.ClientInfo{RemoteAddr: &net.UDPAddr{IP: net.IPv4(192, 0, 2, host), Port: len(ends)}})
			return err
		}
		for range maxHandshakesPerSource {
			require.NoError(t, begin(1))
		}
		require.ErrorIs(t, begin(1), errRefused)
		require.GreaterOrEqual(t, p.count(), retryFrom, "from here on sources must prove themselves")
		for host := byte(2); p.count() < maxHandshakes; host++ {
			require.NoError(t, begin(host))
		}
		require.ErrorIs(t, begin(200), errRefused)
		for _, end := range ends {
			end()
		}
		synctest.Wait()
		require.Zero(t, p.count())
		require.Empty(t, p.by)
	})
}
