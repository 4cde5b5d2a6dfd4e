package main_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

var lastAddress atomic.Uint32

// freeAddress is one that nobody else uses, on TCP or on UDP.
func freeAddress() string {
	return fmt.Sprintf("127.67.%d.%d:20443", os.Getpid()%250, lastAddress.Add(1))
}

// web starts the https decoy; with HTTP/3 it listens on UDP too.
func web(t *testing.T, config map[string]any, edit func(map[string]any)) *process {
	t.Helper()
	at := freeAddress()
	p := start(t, func(c map[string]any) {
		c["service"], c["service_config"] = "https", config
		listen := []any{map[string]any{"protocol": "tcp", "port": 443, "addresses": []string{at}}}
		if versions, _ := config["http_versions"].([]string); len(versions) > 0 && versions[len(versions)-1] == "http/3" {
			listen = append(listen, map[string]any{"protocol": "udp", "port": 443, "addresses": []string{at}})
		}
		c["listen"] = listen
		if edit != nil {
			edit(c)
		}
	})
	p.ready(t)
	return p
}

var everyVersion = []string{"http/1.1", "http/2", "http/3"}

// run gives the output of a stock client.
func run(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(args[0]); err != nil {
		t.Skip(args[0] + " is not installed: the stock client is not tested")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	return string(out)
}

func client3(t *testing.T) *http.Client {
	t.Helper()
	tr := &http3.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(func() { _ = tr.Close() })
	return &http.Client{Transport: tr, Timeout: 20 * time.Second}
}

func get(t *testing.T, c *http.Client, url string) string {
	t.Helper()
	resp, err := c.Get(url)
	require.NoError(t, err)
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.Proto + " " + resp.Status + "\n" + string(out)
}

func TestHTTPS_StockClientsConfined(t *testing.T) {
	t.Parallel()
	p := web(t, map[string]any{"fake_app": "wordpress", "http_versions": everyVersion}, nil)
	line, _, _ := strings.Cut(p.lines(t), "\n")
	require.Contains(t, line, " udp/443="+p.addr)
	require.Regexp(t, `sandbox="[^"]*seccomp" gate="[^"]*seccomp"`, line)
	url := "https://" + p.addr
	curl := func(args ...string) string {
		return run(t, "", append([]string{"curl", "-q", "-s", "-i", "-k", "--max-time", "15"}, args...)...)
	}
	require.Contains(t, curl("--http1.1", "-d", "log=a&pwd=b", url+"/wp-login.php"), "HTTP/1.1 200 OK")
	require.Contains(t, curl("--http2", url+"/"), "HTTP/2 200")
	require.Contains(t, curl("--tlsv1.2", "--tls-max", "1.2", url+"/"), "HTTP/2 200")
	require.Contains(t, curl(strings.Replace(url, "https", "http", 1)), " 400 Bad Request")
	require.Contains(t, run(t, "GET / HTTP/1.0\r\n\r\n", "openssl", "s_client", "-quiet", "-ign_eof", "-connect", p.addr), "CN = SRV")
	require.Contains(t, get(t, client3(t), url+"/wp-login.php"), "HTTP/3.0 200 OK")
	host, port, err := net.SplitHostPort(p.addr)
	require.NoError(t, err)
	require.Contains(t, run(t, "", "nmap", "-Pn", "-n", "-p", port, "--script", "+ssl-cert", host), "Subject: commonName=SRV\n")
	for _, event := range []string{"request", "http_request_fingerprint", "http2_settings", "http3_settings", "tls_client_hello", "quic_client_hello", "tls_handshake_failed"} {
		require.Contains(t, p.lines(t), " https - "+event+" ")
	}
	require.Contains(t, p.lines(t), `secret_b64="Yg=="`)
	require.NotContains(t, strings.ToLower(run(t, "", "openssl", "x509", "-noout", "-text", "-in", filepath.Join(p.dir, "state", "tls.pem"))), "decnet")
	began := time.Now() // the client of HTTP/3 is still connected
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, p.cmd.Wait())
	require.Less(t, time.Since(began), 2*time.Second)
	require.NotContains(t, p.lines(t), "buffer size")
}

func leaf(t *testing.T, p *process) *x509.Certificate {
	t.Helper()
	c, err := tls.Dial("tcp", p.addr, &tls.Config{InsecureSkipVerify: true})
	require.NoError(t, err)
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0]
}

func TestHTTPS_CertificateStaysUntilItsNameChanges(t *testing.T) {
	t.Parallel()
	a := web(t, map[string]any{}, nil)
	first := leaf(t, a)
	require.Equal(t, "CN=SRV", first.Subject.String())
	st, err := os.Stat(filepath.Join(a.dir, "state", "tls.pem"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), st.Mode().Perm())
	require.NoError(t, a.cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, a.cmd.Wait())
	again := func(config map[string]any) *x509.Certificate {
		p := web(t, config, func(c map[string]any) { c["state"] = a.cfg["state"] })
		defer func() { _ = p.cmd.Process.Kill() }()
		return leaf(t, p)
	}
	require.Equal(t, first.Raw, again(map[string]any{}).Raw)
	renamed := again(map[string]any{"tls_cn": "www.example.org"})
	require.Equal(t, "CN=www.example.org", renamed.Subject.String())
	require.NotEqual(t, first.Raw, leaf(t, web(t, map[string]any{}, nil)).Raw, "another decky")
	pem, err := os.ReadFile(filepath.Join(a.dir, "state", "tls.pem"))
	require.NoError(t, err)
	given := map[string]any{"tls_cert": string(pem), "tls_key": string(pem), "tls_cn": "unused.example"}
	require.Equal(t, renamed.Raw, leaf(t, web(t, given, nil)).Raw)
	for _, bad := range []map[string]any{{"tls_cert": string(pem)}, {"tls_cert": "hunter2", "tls_key": "hunter2"}, {"tls_cn": "hunter2 hunter2"}} {
		p := start(t, func(c map[string]any) { c["service"], c["service_config"] = "https", bad })
		require.Error(t, p.cmd.Wait())
		require.Equal(t, 2, p.cmd.ProcessState.ExitCode())
		require.NotContains(t, p.lines(t), "hunter2")
		require.NotContains(t, p.lines(t), "BEGIN")
	}
}

// TestGate_NoDatagramLeavesUnasked tries from inside the confined process to reach a listener that never sent anything, by
// every call and through the gate. The same listener is reached once it did, so that the test would see a datagram.
func TestGate_NoDatagramLeavesUnasked(t *testing.T) {
	t.Parallel()
	victim, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer victim.Close()
	receive := func(wait time.Duration) string {
		buf := make([]byte, 2048)
		require.NoError(t, victim.SetReadDeadline(time.Now().Add(wait)))
		n, _, err := victim.ReadFrom(buf)
		if err != nil {
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		}
		return string(buf[:n])
	}
	p := web(t, map[string]any{"http_versions": everyVersion}, nil)
	c := client3(t)
	probe := "https://" + p.addr + "/send-datagram/" + victim.LocalAddr().String()
	for range 3 {
		out := get(t, c, probe)
		require.Contains(t, out, "dial: denied: ")
		require.Contains(t, out, "socket: denied: ")
		require.Contains(t, out, "handed to the gate: <nil>")
		require.NotContains(t, out, "SENT")
	}
	require.Empty(t, receive(time.Second), "a datagram got out")
	to, err := net.ResolveUDPAddr("udp", p.addr)
	require.NoError(t, err)
	_, err = victim.WriteTo([]byte("x"), to)
	require.NoError(t, err)
	require.Eventually(t, func() bool { get(t, c, probe); return receive(200*time.Millisecond) == "escaped" }, 10*time.Second, time.Millisecond)
}

// gateOf returns the gate of a decoy.
func gateOf(t *testing.T, p *process) int {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/stat")
	require.NoError(t, err)
	for _, file := range all {
		stat, _ := os.ReadFile(file)
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(p.cmd.Process.Pid) && fields[0] != "Z" {
			pid, err := strconv.Atoi(strings.Split(file, "/")[2])
			require.NoError(t, err)
			return pid
		}
	}
	t.Fatal("there is no gate")
	return 0
}

func TestGate_IsConfinedAndSharesItsDecoysFate(t *testing.T) {
	t.Parallel()
	p := web(t, map[string]any{"http_versions": everyVersion}, nil)
	pid := gateOf(t, p)
	proc := "/proc/" + strconv.Itoa(pid)
	status, err := os.ReadFile(proc + "/status")
	require.NoError(t, err)
	for _, want := range []string{"CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"} {
		require.Contains(t, string(status), want)
	}
	if os.Geteuid() == 0 {
		require.Contains(t, string(status), "Uid:\t61234\t61234\t61234\t61234")
		log, err := os.Stat(p.log)
		require.NoError(t, err)
		for fd := range 32 {
			st, err := os.Stat(proc + "/fd/" + strconv.Itoa(fd))
			require.False(t, err == nil && os.SameFile(st, log), "the gate holds the decoy's log, and with it its lock")
		}
	}
	require.NoError(t, p.cmd.Process.Kill())
	_ = p.cmd.Wait()
	next := web(t, map[string]any{"http_versions": everyVersion}, func(c map[string]any) { c["listen"] = p.cfg["listen"] })
	require.Equal(t, p.addr, next.addr, "the port was given back")
	require.Contains(t, get(t, client3(t), "https://"+next.addr+"/"), "HTTP/3.0 200 OK")
	require.Eventually(t, func() bool {
		stat, err := os.ReadFile(proc + "/stat")
		return err != nil || strings.Contains(string(stat), ") Z ")
	}, 5*time.Second, 10*time.Millisecond, "the gate outlives its decoy")
	require.NoError(t, unix.Kill(gateOf(t, next), unix.SIGKILL))
	require.Error(t, next.cmd.Wait(), "a decoy without its gate ends, to be started anew")
	require.Contains(t, next.lines(t), " shutdown ")
}

func TestRun_RefusesDatagramsNobodyServes(t *testing.T) {
	t.Parallel()
	p := start(t, func(c map[string]any) {
		c["listen"] = append(c["listen"].([]any), map[string]any{"protocol": "udp", "port": 53, "addresses": []string{"127.66.0.9:0"}})
	})
	require.Error(t, p.cmd.Wait())
	require.Equal(t, 2, p.cmd.ProcessState.ExitCode())
	require.Contains(t, p.lines(t), " config_error ")
}
