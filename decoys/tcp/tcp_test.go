package tcp_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/decnet/decnet/decoys/eventlog"
	"github.com/decnet/decnet/decoys/tcp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) { l.mu.Lock(); defer l.mu.Unlock(); return l.b.Write(p) }

func (l *logged) String() string { l.mu.Lock(); defer l.mu.Unlock(); return l.b.String() }

func serve(t *testing.T, handle func(context.Context, *tcp.Conn)) (addr string, s *tcp.Server, log *logged) {
	t.Helper()
	log = &logged{}
	s = tcp.New(eventlog.New(log, "a", "x", "boot", 1, nil), handle)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(ctx, l) }()
	t.Cleanup(func() { cancel(); _ = l.Close(); <-done; s.Close(5 * time.Second) })
	return l.Addr().String(), s, log
}

func TestServer_CapsPerSourceAndEndsEverythingOnClose(t *testing.T) {
	t.Parallel()
	entered := make(chan struct{}, 2*tcp.MaxConnsPerSource)
	addr, s, log := serve(t, func(_ context.Context, c *tcp.Conn) {
		entered <- struct{}{}
		_, _ = io.Copy(io.Discard, c)
	})
	for range tcp.MaxConnsPerSource {
		c, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		defer c.Close()
		<-entered
	}
	c, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	_, err = c.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF, "one too many is closed at once")
	s.Close(5 * time.Second)
	require.Equal(t, tcp.MaxConnsPerSource, strings.Count(log.String(), " connect "))
	require.Equal(t, tcp.MaxConnsPerSource, strings.Count(log.String(), " disconnect "))
}

func TestServer_PanicEndsOneConnection(t *testing.T) {
	t.Parallel()
	addr, _, log := serve(t, func(context.Context, *tcp.Conn) { panic("boom") })
	for range 2 {
		c, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		_, _ = io.Copy(io.Discard, c)
		_ = c.Close()
	}
	require.Eventually(t, func() bool { return strings.Count(log.String(), " disconnect ") == 2 }, 5*time.Second, time.Millisecond)
	require.Contains(t, log.String(), `parse_error [relay@55555 boot="boot" n="2" src_ip="127.0.0.1" error="panic"]`)
	require.NotContains(t, log.String(), "boom")
}

func TestSecret(t *testing.T) {
	t.Parallel()
	require.Empty(t, tcp.Secret("plaintext", ""))
	f := tcp.Secret("plaintext", "a\x00é")
	require.Equal(t, "a???", f[1].Value)
	require.Equal(t, "YQDDqQ==", f[2].Value)
	require.Len(t, tcp.Secret("plaintext", strings.Repeat("x", 5000))[1].Value, 1024)
}

func TestDigest(t *testing.T) {
	t.Parallel()
	require.Empty(t, tcp.Digest("mysql_native_password", nil))
	f := tcp.Digest("mysql_native_password", []byte{0, 0xff})
	require.Equal(t, "00ff", f[1].Value)
	require.Equal(t, "AP8=", f[2].Value)
	require.Len(t, tcp.Digest("x", make([]byte, 5000))[1].Value, 2048)
}

func TestServer_DescribesAndNumbersConnections(t *testing.T) {
	t.Parallel()
	log := &logged{}
	s := tcp.NewDescribed(eventlog.New(log, "a", "x", "boot", 1, nil), func(context.Context, *tcp.Conn) {}, func(c *tcp.Conn) []eventlog.Field {
		return []eventlog.Field{eventlog.Int("connection_id", 40+c.N)}
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(t.Context(), l) }()
	for range 2 {
		c, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		_, _ = io.Copy(io.Discard, c)
		_ = c.Close()
	}
	_ = l.Close()
	<-done
	s.Close(5 * time.Second)
	require.Regexp(t, `(?s) connect .* src_port="\d+" connection_id="41"\].* connect .* connection_id="42"\]`, log.String())
}

func TestPause_EndsWithTheContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	began := time.Now()
	tcp.Pause(ctx, time.Minute, time.Hour)
	require.Less(t, time.Since(began), 30*time.Second)
}
