package passive_test

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/decoys/passive"
)

func dial(addr string, port uint16) (net.Conn, error) {
	return net.DialTimeout("tcp", net.JoinHostPort(addr, fmt.Sprint(port)), 2*time.Second)
}

func TestPort_IsOpenOnlyWhileAwaited(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{"127.66.0.31", "::1", "0.0.0.0"} {
		pool, err := passive.Bind(netip.MustParseAddr(addr), 1)
		if addr == "::1" && err != nil {
			t.Log("NO IPV6: ::1 is not tested")
			continue
		}
		require.NoError(t, err)
		to := map[string]string{"0.0.0.0": "127.66.0.32"}[addr]
		if to == "" {
			to = addr
		}
		var first uint16
		for round := range 20 {
			port, err := pool.Open()
			require.NoError(t, err)
			if round == 0 {
				first = port.Number()
			}
			require.Equal(t, first, port.Number(), "the port stays bound")
			c, err := dial(to, first)
			require.NoError(t, err)
			got, err := port.Accept(t.Context(), time.Now().Add(2*time.Second))
			require.NoError(t, err)
			port.Release()
			port.Release()
			_, err = dial(to, first)
			require.ErrorIs(t, err, syscall.ECONNREFUSED)
			_, err = io.WriteString(got, "x") // what was accepted lives on
			require.NoError(t, err)
			require.NoError(t, got.Close())
			b, err := io.ReadAll(c)
			require.NoError(t, err)
			require.Equal(t, "x", string(b))
			require.NoError(t, c.Close())
		}
		pool.Close()
		_, err = pool.Open()
		require.ErrorIs(t, err, passive.ErrNone)
	}
}

func TestPort_NobodyComes(t *testing.T) {
	t.Parallel()
	pool, err := passive.Bind(netip.MustParseAddr("127.66.0.33"), 2)
	require.NoError(t, err)
	defer pool.Close()
	for range 3 {
		port, err := pool.Open()
		require.NoError(t, err)
		_, err = port.Accept(t.Context(), time.Now().Add(20*time.Millisecond))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		port.Release()
		_, err = dial("127.66.0.33", port.Number())
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
	}
}

func TestPort_PendingConnectionsAreReset(t *testing.T) {
	t.Parallel()
	pool, err := passive.Bind(netip.MustParseAddr("127.66.0.34"), 1)
	require.NoError(t, err)
	defer pool.Close()
	port, err := pool.Open()
	require.NoError(t, err)
	_, err = pool.Open()
	require.ErrorIs(t, err, passive.ErrNone)
	c, err := dial("127.66.0.34", port.Number())
	require.NoError(t, err)
	defer c.Close()
	port.Release()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	_, err = c.Read(make([]byte, 1))
	require.ErrorIs(t, err, syscall.ECONNRESET)
	port, err = pool.Open()
	require.NoError(t, err)
	_, err = port.Accept(t.Context(), time.Now().Add(20*time.Millisecond))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded, "the next one does not get it")
	port.Release()
}

func TestOpen_PassesOverPortsSomebodyTook(t *testing.T) {
	t.Parallel()
	addr := "127.66.0.35"
	pool, err := passive.Bind(netip.MustParseAddr(addr), 2)
	require.NoError(t, err)
	defer pool.Close()
	port, err := pool.Open()
	require.NoError(t, err)
	taken := port.Number()
	port.Release()
	l, err := net.Listen("tcp", net.JoinHostPort(addr, fmt.Sprint(taken)))
	require.NoError(t, err)
	defer l.Close()
	for range 8 {
		port, err := pool.Open()
		require.NoError(t, err)
		require.NotEqual(t, taken, port.Number())
		port.Release()
	}
}
