package http_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/decnet/decnet/decoys/config"
	"github.com/decnet/decnet/decoys/decoytest"
	"github.com/decnet/decnet/decoys/eventlog"
	"github.com/decnet/decnet/decoys/http"
	"github.com/decnet/decnet/decoys/identity"
	"github.com/decnet/decnet/decoys/persona"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type bundle struct {
	addr string
	url  string
	log  *decoytest.Log
}

const apacheBanner, nginxBanner = "Apache/2.4.62 (Debian)", "nginx/1.22.1"

func setup(t *testing.T, cfg config.HTTP) *bundle { return setupAs(t, "web-01", "debian", cfg, 0) }

func setupAs(t *testing.T, node, distro string, cfg config.HTTP, header time.Duration) *bundle {
	t.Helper()
	raw, err := json.Marshal(cfg)
	require.NoError(t, err)
	raw = bytes.ReplaceAll(raw, []byte(`"http_versions":null`), []byte(`"http_versions":[]`))
	decoded, err := config.Config{ServiceConfig: raw}.DecodeHTTP()
	require.NoError(t, err)
	b := &bundle{log: &decoytest.Log{}}
	host := persona.New(persona.Options{Identity: identity.New(node, "i"), Distro: distro, Hostname: "SRV-WEB-31", Local: netip.MustParseAddr("127.66.0.2")})
	s := http.New(http.Options{Log: eventlog.New(b.log, node, "http", "boot", 1, nil), Config: decoded, Host: host, HeaderTimeout: header})
	b.addr, _ = decoytest.Serve(t, s)
	b.url = "http://" + b.addr
	return b
}

// curl runs the stock client and returns its output, with headers when asked with -i or -I.
func (b *bundle) curl(t *testing.T, path string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is not installed: the stock client is not tested")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "curl", append([]string{"-q", "-s", "-S", "--path-as-is", "--max-time", "15", b.url + path}, args...)...).CombinedOutput()
	require.NoError(t, err, string(out))
	return string(out)
}

// raw sends bytes and returns what comes back until the end of the connection or a short silence.
func (b *bundle) raw(t *testing.T, send string) string {
	t.Helper()
	c, err := net.Dial("tcp", b.addr)
	require.NoError(t, err)
	defer c.Close()
	go func() { _, _ = io.WriteString(c, send); _ = c.(*net.TCPConn).CloseWrite() }()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	out, err := io.ReadAll(c)
	if err != nil {
		var n net.Error
		require.False(t, errors.As(err, &n) && n.Timeout(), "the connection stays open")
	}
	return string(out)
}

func names(head string) []string {
	head, _, _ = strings.Cut(head, "\r\n\r\n")
	var out []string
	for _, line := range strings.Split(head, "\r\n")[1:] {
		name, _, _ := strings.Cut(line, ":")
		out = append(out, name)
	}
	return out
}

func TestConfig_EveryFieldIsObservable(t *testing.T) {
	t.Parallel()
	require.Contains(t, setup(t, config.HTTP{ServerHeader: "nginx/1.9.9"}).curl(t, "/", "-i"), "\r\nServer: nginx/1.9.9\r\n")
	for _, code := range []int{100, 204, 299, 302, 401, 403, 418, 503, 599} {
		out := setup(t, config.HTTP{ResponseCode: code, ServerHeader: apacheBanner}).raw(t, "GET /any HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		require.True(t, strings.HasPrefix(out, "HTTP/1.1 "+strconv.Itoa(code)+" "), "%d: %.60s", code, out)
	}
	custom := setup(t, config.HTTP{CustomBody: "<p>maintenance</p>", ResponseCode: 503, FakeApp: "tomcat"})
	out := custom.curl(t, "/some/path", "-i")
	require.Contains(t, out, "HTTP/1.1 503 ")
	require.True(t, strings.HasSuffix(out, "\r\n\r\n<p>maintenance</p>"))
	for app, marker := range map[string]string{"wordpress": "wp-json", "phpmyadmin": "pma_username", "tomcat": "Apache Tomcat/", "jenkins": "Authentication required"} {
		require.Contains(t, setup(t, config.HTTP{FakeApp: app}).curl(t, "/"), marker)
		if app != "jenkins" {
			require.Contains(t, setup(t, config.HTTP{FakeApp: app, ResponseCode: 503}).curl(t, "/", "-i"), "HTTP/1.1 503 ")
		}
	}
	require.Contains(t, setup(t, config.HTTP{FakeApp: "jenkins", ResponseCode: 503}).curl(t, "/login", "-i"), "HTTP/1.1 503 ")
	h2 := setup(t, config.HTTP{HTTPVersions: []string{"http/2"}})
	require.Contains(t, h2.curl(t, "/", "-i", "--http2-prior-knowledge"), "HTTP/2 200")
	require.NotContains(t, h2.raw(t, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"), "HTTP/1.1", "http/1.1 is not among the versions")
}

func TestExtraHeaders_BothFormsAndExactlyOneServer(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`{"X-One": "1", "Server": "Caddy", "X-Two": 2, "Content-Length": "9", "bad name": "x", "Content-Type": "text/plain"}`,
		"X-One: 1\r\nServer: Caddy\nX-Two: 2\nContent-Length: 9\nbad name: x\nno colon\nContent-Type: text/plain\n",
	} {
		out := setup(t, config.HTTP{ExtraHeaders: text, ServerHeader: "other", CustomBody: "hi"}).curl(t, "/", "-i")
		require.Equal(t, 1, strings.Count(out, "Server: "), out)
		for _, want := range []string{"Server: Caddy\r\n", "X-One: 1\r\n", "X-Two: 2\r\n", "Content-Length: 2\r\n", "Content-Type: text/plain\r\n"} {
			require.Contains(t, out, want)
		}
		require.NotContains(t, out, "bad name")
		require.Less(t, strings.Index(out, "X-One"), strings.Index(out, "X-Two"))
	}
	require.Contains(t, setup(t, config.HTTP{ExtraHeaders: "{broken"}).curl(t, "/", "-i"), "200 OK")
}

func TestPersona_HeaderOrderAndPages(t *testing.T) {
	t.Parallel()
	a, n := setup(t, config.HTTP{ServerHeader: apacheBanner}), setup(t, config.HTTP{ServerHeader: nginxBanner})
	require.Equal(t, []string{"Date", "Server", "Last-Modified", "ETag", "Accept-Ranges", "Content-Length", "Content-Type"}, names(a.curl(t, "/", "-i")))
	require.Equal(t, []string{"Server", "Date", "Content-Type", "Content-Length", "Last-Modified", "Connection", "ETag", "Accept-Ranges"}, names(n.curl(t, "/", "-i")))
	require.Equal(t, []string{"Date", "Server", "Content-Type"}, names(a.curl(t, "/nope", "-I")))
	require.Equal(t, []string{"Server", "Date", "Content-Type", "Content-Length", "Connection"}, names(n.curl(t, "/nope", "-I")))
	host, _, _ := net.SplitHostPort(a.addr)
	require.Contains(t, a.curl(t, "/nope"), "<address>"+apacheBanner+" Server at "+host+" Port 80</address>")
	require.Contains(t, n.curl(t, "/nope"), "<hr><center>nginx/1.22.1</center>\r\n")
	require.Contains(t, a.curl(t, "/", "-i", "-X", "OPTIONS"), "Allow: OPTIONS,HEAD,GET,POST\r\n")
	require.Contains(t, n.curl(t, "/", "-i", "-X", "OPTIONS"), "405 Not Allowed\r\n")
	require.Contains(t, a.curl(t, "/", "-i", "-X", "BREW"), "501 Not Implemented\r\n")
	require.Contains(t, a.curl(t, "/", "-i", "-X", "TRACE"), "405 Method Not Allowed\r\n")
	require.Contains(t, a.curl(t, "/", "-i", "-H", "Connection: keep-alive"), "Keep-Alive: timeout=5, max=100\r\nConnection: Keep-Alive\r\n")
	require.Contains(t, a.curl(t, "/.htaccess", "-i"), "403 Forbidden")
	require.Contains(t, setup(t, config.HTTP{ServerHeader: "Microsoft-IIS/10.0"}).curl(t, "/nope"), "HTTP Error 404. The requested resource is not found.")
	require.Contains(t, setup(t, config.HTTP{ServerHeader: "Apache/2.4.57 (Rocky Linux)"}).curl(t, "/x", "-X", "TRACE", "-H", "X-A: b"), "TRACE /x HTTP/1.1\r\n")
}

func TestPersona_Complaints(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 9000)
	for _, c := range []struct{ name, send, apache, nginx string }{
		{"no host", "GET / HTTP/1.1\r\n\r\n", "400 Bad Request", "400 Bad Request"},
		{"two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400 Bad Request", "400 Bad Request"},
		{"garbage", "\x16\x03\x01\x02\x00\r\n\r\n", "400 Bad Request", "400 Bad Request"},
		{"words", "hello there\r\n\r\n", "400 Bad Request", "400 Bad Request"},
		{"long target", "GET /" + long + " HTTP/1.1\r\nHost: x\r\n\r\n", "414 Request-URI Too Long", "414 Request-URI Too Large"},
		{"long header", "GET / HTTP/1.1\r\nHost: x\r\nX: " + long + "\r\n\r\n", "400 Bad Request", "400 Bad Request"},
		{"version", "GET / HTTP/3.7\r\nHost: x\r\nConnection: close\r\n\r\n", "200 OK", "505 HTTP Version Not Supported"},
		{"lower case", "get / HTTP/1.1\r\nHost: x\r\n\r\n", "501 Not Implemented", "400 Bad Request"},
		{"negative length", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", "400 Bad Request", "400 Bad Request"},
		{"huge length", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n", "413 Request Entity Too Large", "413 Request Entity Too Large"},
		{"unknown coding", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: foo\r\n\r\n", "400 Bad Request", "501 Not Implemented"},
		{"bad chunk", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "400 Bad Request", "400 Bad Request"},
		{"above the root", "GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", "400 Bad Request", "400 Bad Request"},
		{"bad escape", "GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", "400 Bad Request", "400 Bad Request"},
		{"folding", "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nA: b\r\n c\r\n\r\n", "200 OK", "400 Bad Request"},
		{"expectation", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nExpect: foo\r\n\r\na", "417 Expectation Failed", "405 Not Allowed"},
		{"many headers", "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + strings.Repeat("A: b\r\n", 150) + "\r\n", "400 Bad Request", "200 OK"},
		{"any server", "OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "200 OK", "400 Bad Request"},
		{"upgrade not offered", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400 Bad Request", "400 Bad Request"},
	} {
		for banner, want := range map[string]string{apacheBanner: c.apache, nginxBanner: c.nginx} {
			got := setup(t, config.HTTP{ServerHeader: banner}).raw(t, c.send)
			line, _, _ := strings.Cut(got, "\r\n")
			require.Equal(t, "HTTP/1.1 "+want, line, "%s to %s", c.name, banner)
			require.Equal(t, 1, strings.Count(got, "\r\nServer: "), c.name)
			require.NotContains(t, strings.ToLower(got), "missing required", c.name)
		}
	}
	require.True(t, strings.HasPrefix(setup(t, config.HTTP{}).raw(t, "GET /\r\n"), "<"), "HTTP/0.9 has no head")
}

func TestStatic_ConditionsAndRanges(t *testing.T) {
	t.Parallel()
	b := setup(t, config.HTTP{ServerHeader: nginxBanner})
	head := b.curl(t, "/", "-I")
	etag, modified := regexp.MustCompile(`ETag: (\S+)`).FindStringSubmatch(head)[1], regexp.MustCompile(`Last-Modified: ([^\r]+)`).FindStringSubmatch(head)[1]
	require.Equal(t, head, regexp.MustCompile(`Date: [^\r]+`).ReplaceAllString(b.curl(t, "/", "-I"), regexp.MustCompile(`Date: [^\r]+`).FindString(head)))
	require.Contains(t, b.curl(t, "/", "-i", "-H", "If-None-Match: "+etag), "304 Not Modified")
	require.Contains(t, b.curl(t, "/", "-i", "-H", "If-Modified-Since: "+modified), "304 Not Modified")
	require.Contains(t, b.curl(t, "/", "-i", "-r", "0-3"), "Content-Range: bytes 0-3/615\r\n")
	require.True(t, strings.HasSuffix(b.curl(t, "/", "-i", "-r", "-8"), "</html>\n"))
	require.Contains(t, b.curl(t, "/", "-i", "-r", "9000-"), "416 Requested Range Not Satisfiable")
}

func TestKeepAlive_SeveralRequestsOnOneConnection(t *testing.T) {
	t.Parallel()
	b := setup(t, config.HTTP{ServerHeader: apacheBanner})
	out := b.raw(t, "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na=b\r\n0\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	require.Equal(t, 2, strings.Count(out, "HTTP/1.1 404 Not Found"))
	require.Equal(t, "a=b", decoytest.Field(b.log.Wait(t, ` request .*method="POST"`), "body"))
	require.Contains(t, b.curl(t, "/", "-i", "-H", "Expect: 100-continue", "-d", strings.Repeat("x", 2000)), "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")
}

func TestEvents_RequestIsWholeAndCannotBeForged(t *testing.T) {
	t.Parallel()
	b := setup(t, config.HTTP{ServerHeader: nginxBanner})
	b.curl(t, "/a?b=c", "-H", "User-Agent: Mozilla/5.0", "-H", `X-Evil: "] <14>1 forged`, "-H", "x-UniCode: é\u200b", "-H", "Cookie: b=2; a=1", "-H", "Accept-Language: en-US,en;q=0.9", "-u", "admin:s3cr:et")
	line := b.log.Wait(t, " request ")
	require.Equal(t, "/a?b=c", decoytest.Field(line, "path"))
	require.Equal(t, "127.0.0.1", decoytest.Field(line, "src_ip"))
	require.Equal(t, "127.0.0.1", decoytest.Field(line, "remote_addr"))
	require.Equal(t, "admin", decoytest.Field(line, "principal"))
	require.Equal(t, base64.StdEncoding.EncodeToString([]byte("s3cr:et")), decoytest.Field(line, "secret_b64"))
	var headers map[string]string
	require.NoError(t, json.Unmarshal([]byte(decoytest.Field(line, "headers")), &headers))
	require.Equal(t, `"] <14>1 forged`, headers["X-Evil"])
	require.Equal(t, "é\u200b", headers["x-UniCode"])
	fp := b.log.Wait(t, " http_request_fingerprint ")
	require.Regexp(t, `^ge11cn07enus_[0-9a-f]{12}_[0-9a-f]{12}_[0-9a-f]{12}$`, decoytest.Field(fp, "ja4h"))
	require.JSONEq(t, `["Host","Authorization","Accept","User-Agent","X-Evil","x-UniCode","Cookie","Accept-Language"]`, decoytest.Field(fp, "headers_ordered"))
	require.Equal(t, "b=2; a=1", decoytest.Field(fp, "cookie"))
	require.NotContains(t, b.log.String(), "secret_b64=\"\"")
	hostile := "POST /\xff\xfe HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 70000\r\n" + strings.Repeat("X\xff: \"\\]\r\n", 90) + "\r\n" + strings.Repeat("\x01]\"", 30000)
	b.raw(t, hostile)
	b.raw(t, strings.ReplaceAll(hostile, "X\xff", "Xf"))
	b.log.Wait(t, ` request .*method="POST"`)
	for l := range strings.Lines(b.log.String()) {
		require.Less(t, len(l), 16<<10)
		require.Regexp(t, `^<13[24]>1 \S+ web-01 http - \w+ \[relay@55555 boot="boot" n="\d+" `, l)
	}
}

func TestHostileInput_IsBounded(t *testing.T) {
	t.Parallel()
	b := setupAs(t, "web-01", "debian", config.HTTP{ServerHeader: apacheBanner, HTTPVersions: []string{"http/1.1", "http/2"}}, 300*time.Millisecond)
	began := time.Now()
	c, err := net.Dial("tcp", b.addr)
	require.NoError(t, err)
	defer c.Close()
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nX-a: ")
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	out, _ := io.ReadAll(c)
	require.Contains(t, string(out), "408 Request Timeout")
	require.Less(t, time.Since(began), 5*time.Second)
	for _, junk := range []string{
		strings.Repeat("A", 1<<20), strings.Repeat("GET / HTTP/1.1\r\n", 5000), "\r\n\r\n\r\n", "\x00", strings.Repeat("\r\n", 100000),
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + strings.Repeat("\xff", 1<<16), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x01\x01\x05\x00\x00\x00\x01\x82", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;" + strings.Repeat("x", 1<<16) + "\r\n",
	} {
		b.raw(t, junk)
	}
	require.Contains(t, b.curl(t, "/", "-i"), "200 OK")
	require.NotContains(t, b.log.String(), `error="panic"`)
}

func TestDeckies_DifferAndStay(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for i := range 24 {
		node := "web-" + strconv.Itoa(i)
		server := regexp.MustCompile(`Server: ([^\r]+)`)
		first := server.FindStringSubmatch(setupAs(t, node, "debian", config.HTTP{}, 0).curl(t, "/", "-i"))[1]
		seen[first] = true
		require.Equal(t, first, server.FindStringSubmatch(setupAs(t, node, "debian", config.HTTP{FakeApp: "jenkins"}, 0).curl(t, "/", "-i"))[1])
	}
	require.Greater(t, len(seen), 2)
	for _, distro := range persona.Distros() {
		require.Contains(t, setupAs(t, "x", distro, config.HTTP{}, 0).curl(t, "/", "-i"), "\r\nServer: ", distro)
	}
	for _, app := range []string{"wordpress", "tomcat", "jenkins", "phpmyadmin"} {
		pages := map[string]bool{}
		for i := range 6 {
			pages[regexp.MustCompile(`[0-9a-f]{26,32}|Date: .*|\d{10}`).ReplaceAllString(setupAs(t, "n"+strconv.Itoa(i), "debian", config.HTTP{FakeApp: app, ServerHeader: "x"}, 0).curl(t, "/", "-i"), "")] = true
		}
		require.Greater(t, len(pages), 1, app)
	}
}

func TestNoProductName(t *testing.T) {
	t.Parallel()
	for _, app := range config.FakeApps() {
		b := setup(t, config.HTTP{FakeApp: app, HTTPVersions: config.HTTPVersions()})
		for _, p := range []string{"/", "/nope", "/robots.txt", "/login", "/wp-login.php", "/manager/html"} {
			for _, args := range [][]string{{"-i"}, {"-i", "--http2-prior-knowledge"}, {"-i", "-X", "FOO"}} {
				out := strings.ToLower(b.curl(t, p, args...))
				for _, bad := range []string{"decnet", "decky", "decoy", "honeypot", "golang", "go-http", "web-01"} {
					require.NotContains(t, out, bad, "%s %s", app, p)
				}
			}
		}
	}
}
