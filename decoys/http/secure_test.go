package http_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/decoys/certificate"
	"github.com/decnet/decnet/decoys/config"
	"github.com/decnet/decnet/decoys/decoytest"
	"github.com/decnet/decnet/decoys/eventlog"
	"github.com/decnet/decnet/decoys/http"
	"github.com/decnet/decnet/decoys/identity"
	"github.com/decnet/decnet/decoys/persona"
)

// secure starts a server on TLS, and on UDP when the configuration has HTTP/3.
func secure(t *testing.T, distro string, cfg config.HTTPS) *bundle {
	t.Helper()
	raw, err := json.Marshal(cfg)
	require.NoError(t, err)
	decoded, err := config.Config{ServiceConfig: json.RawMessage(strings.ReplaceAll(string(raw), `"http_versions":null`, `"http_versions":[]`))}.DecodeHTTPS()
	require.NoError(t, err)
	b := &bundle{log: &decoytest.Log{}}
	host := persona.New(persona.Options{Identity: identity.New("web-01", "i"), Distro: distro, Hostname: "SRV-WEB-31", Local: netip.MustParseAddr("127.66.0.2")})
	state, err := os.OpenRoot(t.TempDir())
	require.NoError(t, err)
	o := http.CertificateOptions(host, decoded.TLSName)
	o.State = state
	cert := certificate.Kept(o)
	if decoded.TLSCert != "" {
		cert, err = certificate.Given(decoded.TLSCert, decoded.TLSKey)
		require.NoError(t, err)
	}
	s := http.New(http.Options{Log: eventlog.New(b.log, "web-01", "https", "boot", 1, nil), Config: decoded.HTTP, Host: host, Certificate: cert})
	l, pc := both(t)
	b.addr = l.Addr().String()
	b.url = "https://" + b.addr
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- s.Serve(ctx, l) }()
	go func() { done <- s.ServePackets(ctx, pc) }()
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
		s.Close(5 * time.Second)
		for range 2 {
			<-done
		}
		_ = pc.Close()
		_ = state.Close()
	})
	return b
}

// both listens on one port of TCP and UDP; what is free on one may be taken on the other.
func both(t *testing.T) (net.Listener, net.PacketConn) {
	t.Helper()
	for range 20 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		if pc, err := net.ListenPacket("udp", l.Addr().String()); err == nil {
			return l, pc
		}
		_ = l.Close()
	}
	t.Fatal("no port is free")
	return nil, nil
}

func web(banner string, versions ...string) config.HTTPS {
	return config.HTTPS{HTTP: config.HTTP{ServerHeader: banner, HTTPVersions: versions}}
}

// connect makes a TLS connection of the standard library's client.
func (b *bundle) connect(t *testing.T, c *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	c.InsecureSkipVerify = true
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", b.addr, c)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer conn.Close()
	return conn.ConnectionState(), nil
}

func TestTLS_CurlInEveryVersion(t *testing.T) {
	t.Parallel()
	for _, banner := range []string{apacheBanner, nginxBanner} {
		b := secure(t, "debian", web(banner, config.HTTP1, config.HTTP2))
		require.Contains(t, b.curl(t, "/", "-k", "-i", "--http1.1", "-u", "admin:s3cret", "-H", "Accept-Language: de"), "HTTP/1.1 200 OK\r\n")
		line := b.log.Wait(t, ` https - request .*protocol="HTTP/1.1"`)
		require.Equal(t, "admin", decoytest.Field(line, "principal"))
		require.Equal(t, "czNjcmV0", decoytest.Field(line, "secret_b64"))
		require.Regexp(t, `^ge11nn05de00_`, decoytest.Field(b.log.Wait(t, ` https - http_request_fingerprint .*proto="h1"`), "ja4h"))
		hello := b.log.Wait(t, ` https - tls_client_hello `)
		require.Regexp(t, `^t13i\d{4}h1_[0-9a-f]{12}_[0-9a-f]{12}$`, decoytest.Field(hello, "ja4"))
		require.Regexp(t, `^[0-9a-f]{32}$`, decoytest.Field(hello, "ja3"))
		require.Regexp(t, `^771,\d[\d-]*,\d[\d-]*,\d[\d-]*,\d[\d-]*$`, decoytest.Field(hello, "ja3_raw"))
		require.Equal(t, "127.0.0.1", decoytest.Field(hello, "src_ip"))
		require.Equal(t, "http/1.1", decoytest.Field(hello, "alpn"))
		require.Equal(t, "TLSv1.3", decoytest.Field(hello, "tls_version"))
		require.Contains(t, b.curl(t, "/", "-k", "-i", "--http2", "-d", "user=a&password=b"), "HTTP/2 ")
		require.Equal(t, "m,p,s,a", decoytest.Field(b.log.Wait(t, ` https - http2_settings `), "pseudo_headers"))
		require.Equal(t, "a", decoytest.Field(b.log.Wait(t, ` request .*method="POST" .*protocol="HTTP/2.0"`), "principal"))
		require.Contains(t, b.curl(t, "/", "-k", "-i", "--tlsv1.2", "--tls-max", "1.2"), "200")
		require.Regexp(t, `^t12i`, decoytest.Field(b.log.Wait(t, ` tls_client_hello .*tls_version="TLSv1.2"`), "ja4"))
		require.Contains(t, b.curl(t, "/", "-k", "--resolve", "www.example.org:443:127.0.0.1", "--connect-to", "::"+b.addr, "https://www.example.org/x"), "404")
		require.Regexp(t, `^t13d`, decoytest.Field(b.log.Wait(t, ` tls_client_hello .*sni="www.example.org"`), "ja4"))
		require.NotContains(t, b.log.String(), "parse_error")
		b.log.Wait(t, " disconnect ")
	}
	only1 := secure(t, "debian", web(apacheBanner))
	require.Contains(t, only1.curl(t, "/", "-k", "-i", "--http2"), "HTTP/1.1 200 OK")
	only2 := secure(t, "debian", web(nginxBanner, config.HTTP2))
	require.Contains(t, only2.curl(t, "/", "-k", "-i"), "HTTP/2 200")
	require.Error(t, exec.CommandContext(t.Context(), "curl", "-q", "-s", "-k", "--http1.1", only2.url).Run(), "http/1.1 is not among the versions")
}

func TestTLS_SitesKnowTheyAreSecure(t *testing.T) {
	t.Parallel()
	b := secure(t, "debian", web(apacheBanner))
	require.Contains(t, b.curl(t, "/nope", "-k"), " Port 443</address>")
	for app, want := range map[string]string{"wordpress": "; path=/; secure\r\n", "phpmyadmin": "Set-Cookie: phpMyAdmin_https=", "jenkins": "; Path=/; Secure; HttpOnly\r\n"} {
		cfg := web(nginxBanner)
		cfg.FakeApp = app
		b := secure(t, "debian", cfg)
		for path, at := range map[string]string{"wordpress": "/wp-login.php", "phpmyadmin": "/", "jenkins": "/login"} {
			if path == app {
				require.Contains(t, b.curl(t, at, "-k", "-i"), want)
			}
		}
		if app == "wordpress" {
			require.Contains(t, b.curl(t, "/", "-k", "-i"), "<https://127.0.0.1")
			require.NotContains(t, b.curl(t, "/", "-k"), "http://127.0.0.1")
		}
	}
}

// TestTLS_PlainHTTP compares with what Debian's packages were seen to answer.
func TestTLS_PlainHTTP(t *testing.T) {
	t.Parallel()
	ask := "GET /secret HTTP/1.1\r\nHost: x.y\r\nAuthorization: Basic YTpi\r\n\r\n"
	n := secure(t, "debian", web(nginxBanner))
	head, body, _ := strings.Cut(n.raw(t, ask), "\r\n\r\n")
	require.Equal(t, []string{"Server", "Date", "Content-Type", "Content-Length", "Connection"}, names(head))
	require.Equal(t, "<html>\r\n<head><title>400 The plain HTTP request was sent to HTTPS port</title></head>\r\n<body>\r\n<center><h1>400 Bad Request</h1></center>\r\n"+
		"<center>The plain HTTP request was sent to HTTPS port</center>\r\n<hr><center>nginx/1.22.1</center>\r\n</body>\r\n</html>\r\n", body)
	require.Contains(t, head, "Content-Length: 255")
	require.Equal(t, "plain HTTP", decoytest.Field(n.log.Wait(t, " tls_handshake_failed "), "error"))
	require.Equal(t, "Yg==", decoytest.Field(n.log.Wait(t, " request "), "secret_b64"))
	require.Contains(t, n.raw(t, "hello there\r\n\r\n"), "400 Bad Request")
	a := secure(t, "debian", web("Apache/2.4.71 (Debian)"))
	head, body, _ = strings.Cut(a.raw(t, ask), "\r\n\r\n")
	require.Equal(t, []string{"Date", "Server", "Content-Length", "Connection", "Content-Type"}, names(head))
	require.Contains(t, body, "<p>Your browser sent a request that this server could not understand.<br />\nReason: You're speaking plain HTTP to an SSL-enabled server port.<br />\n"+
		" Instead use the HTTPS scheme to access this URL, please.<br />\n</p>\n<hr>\n<address>Apache/2.4.71 (Debian) Server at 172.18.93.159 Port 443</address>\n</body></html>\n")
	a.log.Wait(t, ` request .*path="/secret"`)
	for _, silent := range []string{"hello there\r\n\r\n", "OPTIONS / HTTP/1.1\r\nHost: x\r\n\r\n"} {
		require.Empty(t, a.raw(t, silent))
	}
	require.Empty(t, secure(t, "debian", web("Microsoft-IIS/10.0")).raw(t, ask))
}

func TestTLS_FailuresAreNamed(t *testing.T) {
	t.Parallel()
	b := secure(t, "debian", web(nginxBanner))
	for class, send := range map[string]string{
		"malformed record":  "\x16\x03\x01\xff\xff" + strings.Repeat("a", 100),
		"malformed hello":   "\x16\x03\x01\x00\x08\x01\x00\x00\x04\x03\x03aa",
		"connection closed": "\x16\x03\x01\x02\x00",
	} {
		_, _ = b.try(send)
		b.log.Wait(t, ` tls_handshake_failed .*error="`+class+`"`)
	}
	_, err := b.connect(t, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
	require.Error(t, err)
	b.log.Wait(t, ` tls_handshake_failed .*error="no common version"`)
	require.Regexp(t, `^t11i`, decoytest.Field(b.log.Wait(t, ` tls_client_hello .*tls_version="TLSv1.1"`), "ja4"))
	_, err = b.connect(t, &tls.Config{NextProtos: []string{"foo"}})
	require.Error(t, err)
	b.log.Wait(t, ` tls_handshake_failed .*error="no common parameters"`)
	if _, err := exec.LookPath("curl"); err == nil {
		require.Error(t, exec.CommandContext(t.Context(), "curl", "-q", "-s", b.url).Run(), "nobody vouches for the certificate")
		require.Contains(t, decoytest.Field(b.log.Wait(t, ` tls_handshake_failed .*error="client alert"`), "alert"), "unknown certificate authority")
	}
	a := secure(t, "debian", web(apacheBanner))
	st, err := a.connect(t, &tls.Config{NextProtos: []string{"foo"}})
	require.NoError(t, err, "Apache goes on")
	require.Empty(t, st.NegotiatedProtocol)
	require.NotContains(t, b.log.String()+a.log.String(), "panic")
}

// try sends bytes and returns whatever comes back.
func (b *bundle) try(send string) (string, error) {
	c, err := net.Dial("tcp", b.addr)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_, _ = io.WriteString(c, send)
	_ = c.(*net.TCPConn).CloseWrite()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	out, err := io.ReadAll(c)
	return string(out), err
}

func TestTLS_VersionsOfTheDistribution(t *testing.T) {
	t.Parallel()
	for distro, want := range map[string][2]uint16{"debian": {tls.VersionTLS12, tls.VersionTLS13}, "centos7": {tls.VersionTLS10, tls.VersionTLS12}} {
		b := secure(t, distro, web(apacheBanner))
		for v := uint16(tls.VersionTLS10); v <= tls.VersionTLS13; v++ {
			st, err := b.connect(t, &tls.Config{MinVersion: v, MaxVersion: v})
			if v < want[0] || v > want[1] {
				require.Error(t, err, "%s %x", distro, v)
				continue
			}
			require.NoError(t, err, "%s %x", distro, v)
			require.Equal(t, v, st.Version)
			require.Contains(t, []tls.CurveID{tls.X25519, tls.CurveP256}, st.CurveID, "no group OpenSSL did not have")
		}
	}
}

func TestTLS_Certificate(t *testing.T) {
	t.Parallel()
	leaf := func(b *bundle) *x509.Certificate {
		st, err := b.connect(t, &tls.Config{})
		require.NoError(t, err)
		require.Len(t, st.PeerCertificates, 1)
		return st.PeerCertificates[0]
	}
	c := leaf(secure(t, "debian", web(nginxBanner)))
	require.Equal(t, "CN=SRV-WEB-31", c.Subject.String(), "the cosmetic name")
	require.Equal(t, []string{"SRV-WEB-31"}, c.DNSNames)
	require.True(t, c.NotBefore.Before(time.Now().Add(-10*24*time.Hour)), "made when the machine was set up")
	named := web(nginxBanner)
	named.TLSName = "www.example.org"
	require.Equal(t, "CN=www.example.org", leaf(secure(t, "debian", named)).Subject.String())
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	defer root.Close()
	_, err = certificate.Kept(certificate.Options{State: root, Name: "given.example", Distro: "rocky9", From: time.Now()}).Get()
	require.NoError(t, err)
	pem, err := root.ReadFile(certificate.File)
	require.NoError(t, err)
	given := web(nginxBanner)
	given.TLSName, given.TLSCert, given.TLSKey = "ignored.example", string(pem), string(pem)
	require.Equal(t, "CN=given.example", leaf(secure(t, "debian", given)).Subject.String())
}

func TestTLS_OpenSSLsClient(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not installed: the stock client is not tested")
	}
	b := secure(t, "debian", web(apacheBanner, config.HTTP1, config.HTTP2))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "openssl", "s_client", "-connect", b.addr, "-servername", "a.example", "-alpn", "h2,http/1.1", "-quiet", "-no_ign_eof", "-ign_eof", "-alpn", "http/1.1")
	cmd.Stdin = strings.NewReader("GET / HTTP/1.0\r\n\r\n")
	out, err := cmd.CombinedOutput()
	require.True(t, err == nil || errors.As(err, new(*exec.ExitError)), err)
	require.Contains(t, string(out), "CN = SRV-WEB-31")
	require.Contains(t, string(out), "HTTP/1.1 200 OK")
	require.Equal(t, "a.example", decoytest.Field(b.log.Wait(t, " tls_client_hello "), "sni"))
}

func TestTLS_HostileHandshakes(t *testing.T) {
	t.Parallel()
	b := secure(t, "debian", web(apacheBanner, config.HTTP1, config.HTTP2))
	long := "\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03" + strings.Repeat("\x00", 16384)
	for _, send := range []string{"", "\x16", "\x80", "\x80\x2e\x01\x00\x02", "\x16\x03", long, "\xff" + strings.Repeat("\xff", 70000), strings.Repeat("\x16\x03\x01\x00\x01\x01", 3000)} {
		_, _ = b.try(send)
	}
	require.Contains(t, b.curl(t, "/", "-k", "-i"), "200")
	require.NotContains(t, b.log.String(), "panic")
	for line := range strings.Lines(b.log.String()) {
		require.Less(t, len(line), 16<<10)
		require.NotContains(t, line, "decnet")
	}
}
