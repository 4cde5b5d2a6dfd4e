package gate

import (
	"bytes"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestMain is the gate when the test starts itself as one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "gate" {
		if Run(os.Args[2:]) != nil {
			os.Exit(1)
		}
		unix.Exit(0) // at once: os.Exit waits for a second under the race detector
	}
	os.Exit(m.Run())
}

func addr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func TestPeers_OnlyWhoSentLatelyIsAnswered(t *testing.T) {
	t.Parallel()
	now := time.Now()
	p := newPeers(2, time.Minute)
	require.False(t, p.answerable(addr("192.0.2.1:1"), now))
	p.heard(addr("192.0.2.1:1"), now)
	require.True(t, p.answerable(addr("192.0.2.1:1"), now.Add(time.Minute)))
	require.False(t, p.answerable(addr("192.0.2.1:1"), now.Add(time.Minute+1)))
	require.False(t, p.answerable(addr("192.0.2.1:2"), now), "another port is another peer")
	p.heard(addr("192.0.2.2:1"), now)
	p.heard(addr("192.0.2.1:1"), now) // heard again: the other one is now the oldest
	p.heard(addr("192.0.2.3:1"), now)
	require.True(t, p.answerable(addr("192.0.2.1:1"), now))
	require.False(t, p.answerable(addr("192.0.2.2:1"), now))
	require.Len(t, p.known, 2)
	require.Equal(t, 2, p.order.Len())
}

func listen(t *testing.T, network string) *net.UDPConn {
	t.Helper()
	c, err := net.ListenPacket(network, "localhost:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c.(*net.UDPConn)
}

func receive(t *testing.T, c net.PacketConn, wait time.Duration) (string, net.Addr) {
	t.Helper()
	buf := make([]byte, 1<<16)
	require.NoError(t, c.SetReadDeadline(time.Now().Add(wait)))
	n, from, err := c.ReadFrom(buf)
	if err != nil {
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		return "", nil
	}
	return string(buf[:n]), from
}

// TestStart_AnswersPassAndNothingElse runs the confined process.
func TestStart_AnswersPassAndNothingElse(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"udp4", "udp6"} {
		if c, err := net.ListenPacket(network, "localhost:0"); err != nil {
			t.Log("NO " + network + " here")
			continue
		} else {
			_ = c.Close()
		}
		client, stranger := listen(t, network), listen(t, network)
		socket := listen(t, network)
		at := socket.LocalAddr()
		c, err := Start(socket, Options{UID: 61234 * isRoot(), GID: 61234 * isRoot()})
		require.NoError(t, err)
		require.Contains(t, c.Layers(), "seccomp")
		for _, size := range []int{1, 1252, 40000} {
			_, err = client.WriteTo(bytes.Repeat([]byte{7}, size), at)
			require.NoError(t, err)
			got, from := receive(t, c, 5*time.Second)
			require.Len(t, got, size)
			require.Equal(t, client.LocalAddr().(*net.UDPAddr).Port, from.(*net.UDPAddr).Port)
			_, err = c.WriteTo([]byte(got), stranger.LocalAddr())
			require.NoError(t, err)
			_, err = c.WriteTo([]byte(got), from)
			require.NoError(t, err)
			back, sender := receive(t, client, 5*time.Second)
			require.Len(t, back, size)
			require.Equal(t, at.(*net.UDPAddr).Port, sender.(*net.UDPAddr).Port)
		}
		got, _ := receive(t, stranger, 300*time.Millisecond)
		require.Empty(t, got, "a stranger got a datagram")
		require.NoError(t, c.Close())
		again, err := Listen(t.Context(), at.String())
		require.NoError(t, err, "the port is free again")
		require.NoError(t, again.Close())
		_, _, err = c.ReadFrom(make([]byte, 9))
		require.Error(t, err)
	}
}

func isRoot() int {
	if os.Geteuid() == 0 {
		return 1
	}
	return 0
}

func TestListen_WaitsForAFormerGateButNotForEver(t *testing.T) {
	t.Parallel()
	taken := listen(t, "udp4")
	_, err := Listen(t.Context(), taken.LocalAddr().String())
	require.ErrorIs(t, err, unix.EADDRINUSE)
	time.AfterFunc(100*time.Millisecond, func() { _ = taken.Close() })
	c, err := Listen(t.Context(), taken.LocalAddr().String())
	require.NoError(t, err)
	require.NoError(t, c.Close())
}

func TestRun_RefusesNonsense(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{nil, {"1", "2"}, {"x", "1", "safe"}, {"0", "0", "safe"}} {
		cmd := exec.Command(os.Args[0], append([]string{"gate"}, args...)...)
		require.Error(t, cmd.Run(), args)
	}
}

// FuzzTakeAddr reads what a decoy that was taken over may write to its gate.
func FuzzTakeAddr(f *testing.F) {
	f.Add([]byte("0123456789abcdef01x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, ok := takeAddr(b)
		if !ok {
			return
		}
		require.True(t, a.IsValid())
		var again [headerBytes]byte
		putAddr(again[:], a)
		require.Equal(t, b[:headerBytes], again[:])
		r := relay{}
		if a.Addr().Is4() {
			require.NotNil(t, r.sockaddr(a))
		}
		r.v6 = true
		require.NotNil(t, r.sockaddr(a))
	})
}
