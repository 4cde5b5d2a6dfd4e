package http_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	nethttp "net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/decoys/config"
	"github.com/decnet/decnet/decoys/decoytest"
)

func (b *bundle) client3(t *testing.T) *nethttp.Client {
	t.Helper()
	tr := &http3.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: "www.example.org"}}
	t.Cleanup(func() { _ = tr.Close() })
	return &nethttp.Client{Transport: tr, Timeout: 20 * time.Second, CheckRedirect: func(*nethttp.Request, []*nethttp.Request) error { return nethttp.ErrUseLastResponse }}
}

func body(t *testing.T, resp *nethttp.Response) string {
	t.Helper()
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(out)
}

func TestHTTP3_SameSiteAndEvents(t *testing.T) {
	t.Parallel()
	b := secure(t, "debian", web(nginxBanner, config.HTTP1, config.HTTP3))
	c := b.client3(t)
	resp, err := c.Get(b.url + "/nope")
	require.NoError(t, err)
	require.Equal(t, 404, resp.StatusCode)
	require.Equal(t, "HTTP/3.0", resp.Proto)
	require.Equal(t, nginxBanner, resp.Header.Get("Server"))
	require.Contains(t, body(t, resp), "<hr><center>nginx/1.22.1</center>")
	req, err := nethttp.NewRequestWithContext(t.Context(), "POST", b.url+"/login?x=y", strings.NewReader("log=admin&pwd=s3cret"))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("User-Agent", "probe/1.0")
	resp, err = c.Do(req)
	require.NoError(t, err)
	require.Equal(t, 405, resp.StatusCode)
	_ = body(t, resp)
	line := b.log.Wait(t, ` https - request .*method="POST"`)
	require.Equal(t, "HTTP/3.0", decoytest.Field(line, "protocol"))
	require.Equal(t, "/login?x=y", decoytest.Field(line, "path"))
	require.Equal(t, "s3cret", decoytest.Field(line, "secret_printable"))
	require.Equal(t, "127.0.0.1", decoytest.Field(line, "src_ip"))
	require.Equal(t, "probe/1.0", decoytest.Field(line, "user_agent"))
	fp := b.log.Wait(t, ` http_request_fingerprint .*proto="h3"`)
	require.Regexp(t, `^ge30nn\d\d0000_[0-9a-f]{12}_`, decoytest.Field(fp, "ja4h"))
	settings := b.log.Wait(t, " http3_settings ")
	require.NotEmpty(t, decoytest.Field(settings, "remote_port"))
	require.Contains(t, decoytest.Field(settings, "frame_order"), "SETTINGS")
	require.Len(t, strings.Split(decoytest.Field(settings, "pseudo_headers"), ","), 4)
	hello := b.log.Wait(t, " quic_client_hello ")
	require.Regexp(t, `^q13d\d{4}h3_[0-9a-f]{12}_[0-9a-f]{12}$`, decoytest.Field(hello, "ja4_quic"))
	require.Equal(t, "www.example.org", decoytest.Field(hello, "sni"))
	require.Equal(t, "h3", decoytest.Field(hello, "alpn"))
	require.Contains(t, b.log.Wait(t, ` connect .*transport="udp"`), "src_ip")
	require.Equal(t, 1, strings.Count(b.log.String(), " http3_settings "))
	c.CloseIdleConnections()
	b.log.Wait(t, " disconnect ")
	require.Contains(t, b.curl(t, "/", "-k", "-i"), "\r\nAlt-Svc: h3=\":443\"; ma=86400\r\n", "announced where a browser looks first")
	require.NotContains(t, b.curl(t, "/nope", "-k", "-i"), "Alt-Svc", "nginx adds headers to successes only")
	require.NotContains(t, secure(t, "debian", web(nginxBanner)).curl(t, "/", "-k", "-i"), "Alt-Svc")
}

func TestHTTP3_BodiesBothWaysAtOnce(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("0123456789", 12000)
	cfg := web(apacheBanner, config.HTTP3)
	cfg.CustomBody = big[:16000]
	b := secure(t, "debian", cfg)
	c := b.client3(t)
	var wg sync.WaitGroup
	for range 60 {
		wg.Go(func() {
			resp, err := c.Post(b.url+"/up", "text/plain", strings.NewReader(big))
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			if got, err := io.ReadAll(resp.Body); err != nil || string(got) != cfg.CustomBody {
				t.Error("body differs", err, len(got))
			}
		})
	}
	wg.Wait()
	require.Contains(t, b.log.Wait(t, ` request .*body_size=`), `body_size="120000"`)
	resp, err := c.Post(b.url+"/huge", "application/octet-stream", io.LimitReader(zeros{}, 9<<20))
	if err == nil {
		require.Equal(t, 413, resp.StatusCode)
		_ = resp.Body.Close()
	}
	b.log.Wait(t, ` request .*path="/huge"`)
	resp, err = c.Head(b.url + "/")
	require.NoError(t, err)
	require.Empty(t, body(t, resp))
	require.Contains(t, b.curl(t, "/", "-k", "-i"), "HTTP/1.1 200", "alone it would never be found")
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// dial3 makes a connection without HTTP on it.
func (b *bundle) dial3(t *testing.T, alpn string) (*quic.Conn, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return quic.DialAddr(ctx, b.addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{alpn}}, &quic.Config{})
}

func TestHTTP3_HostileConnections(t *testing.T) {
	t.Parallel()
	b := secure(t, "debian", web(nginxBanner, config.HTTP3))
	var bomb bytes.Buffer
	bomb.Write([]byte{0, 0})
	for range 30000 {
		bomb.WriteByte(0xd1) // :method GET of the static table
	}
	frame := func(kind byte, payload []byte) []byte {
		n := len(payload)
		return append([]byte{kind, byte(n>>24) | 0x80, byte(n >> 16), byte(n >> 8), byte(n)}, payload...)
	}
	uni := map[string]struct {
		send []byte
		code uint64
	}{
		"no settings":    {[]byte{0, 7, 1, 0}, 0x10a},
		"settings twice": {[]byte{0, 4, 0, 4, 0}, 0x105},
		"same setting":   {[]byte{0, 4, 4, 6, 1, 6, 1}, 0x109},
		"of HTTP/2":      {[]byte{0, 4, 2, 3, 1}, 0x109},
		"cut short":      {[]byte{0, 4, 9, 6}, 0x106},
		"huge settings":  {[]byte{0, 4, 0x80, 1, 0, 0}, 0x107},
		"data":           {[]byte{0, 4, 0, 0, 0}, 0x105},
		"push":           {[]byte{1, 0}, 0x103},
		"closed":         {[]byte{0, 4, 0}, 0x104},
	}
	for name, c := range uni {
		conn, err := b.dial3(t, "h3")
		require.NoError(t, err)
		st, err := conn.OpenUniStream()
		require.NoError(t, err)
		_, _ = st.Write(c.send)
		_ = st.Close()
		requireClosed(t, conn, c.code, name)
	}
	for name, c := range map[string]struct {
		send []byte
		code uint64
	}{
		"data first":    {frame(0, []byte("x")), 0x105},
		"settings":      {frame(4, nil), 0x105},
		"dynamic table": {frame(1, []byte{0, 0, 0x80}), 0x200},
		"big head":      {frame(1, make([]byte, 40<<10)), 0x107},
		"cut short":     {[]byte{1, 9, 0}, 0x106},
		"half a frame":  {[]byte{1}, 0x106},
		"big unknown":   {frame(0x21, make([]byte, 70<<10)), 0x107},
	} {
		conn, err := b.dial3(t, "h3")
		require.NoError(t, err)
		st, err := conn.OpenStreamSync(t.Context())
		require.NoError(t, err)
		_, _ = st.Write(c.send)
		_ = st.Close()
		requireClosed(t, conn, c.code, name)
	}
	conn, err := b.dial3(t, "h3")
	require.NoError(t, err)
	defer func() { _ = conn.CloseWithError(0x100, "") }()
	for name, send := range map[string][]byte{"bomb": frame(1, bomb.Bytes()), "no method": frame(1, []byte{0, 0, 0xc1}), "control": frame(1, append([]byte{0, 0, 0xd1, 0x51, 2}, "/\n"...))} {
		st, err := conn.OpenStreamSync(t.Context())
		require.NoError(t, err)
		_, _ = st.Write(send)
		_ = st.Close()
		_ = st.SetReadDeadline(time.Now().Add(10 * time.Second))
		out, err := io.ReadAll(st)
		require.NoError(t, err, name)
		require.Contains(t, string(out), "400 Bad Request", name)
	}
	require.NotContains(t, b.log.String(), "panic")
	resp, err := b.client3(t).Get(b.url)
	require.NoError(t, err)
	require.Equal(t, 200, resp.StatusCode)
	_ = resp.Body.Close()
}

func requireClosed(t *testing.T, conn *quic.Conn, code uint64, name string) {
	t.Helper()
	select {
	case <-conn.Context().Done():
	case <-time.After(10 * time.Second):
		t.Fatal(name, ": the connection stays open")
	}
	var e *quic.ApplicationError
	require.ErrorAs(t, context.Cause(conn.Context()), &e, name)
	require.Equal(t, quic.ApplicationErrorCode(code), e.ErrorCode, name)
	require.Empty(t, e.ErrorMessage, "nginx gives no reasons")
}

func TestHTTP3_UnfinishedHandshakes(t *testing.T) {
	t.Parallel()
	b := secure(t, "debian", web(nginxBanner, config.HTTP3))
	_, err := b.dial3(t, "foo")
	require.Error(t, err)
	line := b.log.Wait(t, ` tls_handshake_failed `)
	require.Equal(t, "no common parameters", decoytest.Field(line, "error"))
	require.Equal(t, "unproven", decoytest.Field(line, "source"))
	require.Regexp(t, `^q13i\d{4}fo_`, decoytest.Field(b.log.Wait(t, " quic_client_hello "), "ja4_quic"))
	require.NotContains(t, b.log.String(), " connect ")
	noise, err := net.Dial("udp", b.addr)
	require.NoError(t, err)
	defer noise.Close()
	for _, n := range []int{1, 21, 1200, 1400} {
		for _, first := range []byte{0x00, 0x40, 0xc0, 0xff} {
			_, _ = noise.Write(append([]byte{first, 0, 0, 0, 1, 8}, make([]byte, n)...))
		}
	}
	resp, err := b.client3(t).Get(b.url)
	require.NoError(t, err)
	_ = resp.Body.Close()
}

// TestHTTP3_NoAmplifier replays the first packets of a client from an address that never answers, as one that was forged would.
func TestHTTP3_NoAmplifier(t *testing.T) {
	t.Parallel()
	b := secure(t, "debian", web(nginxBanner, config.HTTP3))
	recorder, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer recorder.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	go func() {
		_, _ = quic.DialAddr(ctx, recorder.LocalAddr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h3"}}, &quic.Config{})
	}()
	forged, err := net.Dial("udp", b.addr)
	require.NoError(t, err)
	defer forged.Close()
	buf := make([]byte, 2048)
	sent, got := 0, 0
	for range 2 {
		require.NoError(t, recorder.SetReadDeadline(time.Now().Add(5*time.Second)))
		n, _, err := recorder.ReadFrom(buf)
		require.NoError(t, err)
		_, err = forged.Write(buf[:n])
		require.NoError(t, err)
		sent += n
	}
	require.NoError(t, forged.SetReadDeadline(time.Now().Add(3*time.Second)))
	for {
		n, err := forged.Read(buf)
		if err != nil {
			break
		}
		got += n
	}
	require.Positive(t, got, "the packets were answered")
	require.LessOrEqual(t, got, 3*sent+1280, "three times, and the rest of a packet that was begun within it")
}
