package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "d")
	if err != nil {
		panic(err)
	}
	_ = os.Chmod(dir, 0o755)
	binary = filepath.Join(dir, "decoy")
	cmd := exec.Command("go", "build", "-tags", "probe", "-o", binary, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		panic(string(out))
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

type process struct {
	cmd  *exec.Cmd
	log  string
	addr string
	cfg  map[string]any
	dir  string
}

// start runs the real program with a configuration; edit may change it first.
func start(t *testing.T, edit func(map[string]any)) *process {
	t.Helper()
	p := &process{dir: t.TempDir()}
	for _, d := range []string{"spool", "state"} {
		require.NoError(t, os.Mkdir(filepath.Join(p.dir, d), 0o755))
	}
	p.cfg = map[string]any{
		"decky_key": "web-01", "node_name": "web-01", "instance_id": "5a0e6b1c-1f7e-4a6c-9b3e-1b2f1c2d3e4f", "service": "ssh",
		"listen":         []any{map[string]any{"protocol": "tcp", "port": 22, "addresses": []string{"127.66.0.9:0"}}},
		"persona":        map[string]any{"hostname": "SRV", "distro": "debian", "nmap_os": "linux"},
		"service_config": map[string]any{"password": "toor"}, "spool": filepath.Join(p.dir, "spool"), "state": filepath.Join(p.dir, "state"),
		"boot_id": "5a0e6b1c-1f7e-4a6c-9b3e-1b2f1c2d3e40", "line_start": 41, "revision": 7, "unsafe": false,
	}
	if os.Geteuid() == 0 {
		p.cfg["user"] = map[string]any{"uid": 61234, "gid": 61234}
	}
	if edit != nil {
		edit(p.cfg)
	}
	raw, err := json.Marshal(p.cfg)
	require.NoError(t, err)
	file := filepath.Join(p.dir, "config.json")
	require.NoError(t, os.WriteFile(file, raw, 0o400))
	p.log = filepath.Join(p.dir, "log")
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	defer out.Close()
	p.cmd = exec.Command(binary, "run", "--config", file)
	p.cmd.Stdout, p.cmd.Env = out, []string{}
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() { _ = p.cmd.Process.Kill(); _ = p.cmd.Wait() })
	return p
}

func (p *process) lines(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(p.log)
	require.NoError(t, err)
	return string(b)
}

func (p *process) ready(t *testing.T) string {
	t.Helper()
	require.Eventually(t, func() bool { return strings.Contains(p.lines(t), " ready ") }, 20*time.Second, 10*time.Millisecond)
	line, _, _ := strings.Cut(p.lines(t), "\n")
	_, rest, _ := strings.Cut(line, `listen="tcp/`)
	_, rest, _ = strings.Cut(rest, "=")
	p.addr = rest[:strings.IndexAny(rest, `" `)]
	return line
}

func (p *process) run(t *testing.T, line string) string {
	t.Helper()
	c, err := ssh.Dial("tcp", p.addr, &ssh.ClientConfig{User: "root", Auth: []ssh.AuthMethod{ssh.Password("toor")}, HostKeyCallback: ssh.InsecureIgnoreHostKey()})
	require.NoError(t, err)
	defer c.Close()
	s, err := c.NewSession()
	require.NoError(t, err)
	out, err := s.CombinedOutput(line)
	require.NoError(t, err, string(out))
	return string(out)
}

func TestRun_ReadyIsTheFirstEvent(t *testing.T) {
	t.Parallel()
	p := start(t, nil)
	line := p.ready(t)
	require.Contains(t, line, `n="41" revision="7" listen="tcp/22=127.66.0.9:`)
	require.Contains(t, line, "seccomp")
	if os.Geteuid() == 0 {
		require.Contains(t, line, "user")
		status, err := os.ReadFile("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/status")
		require.NoError(t, err)
		require.Contains(t, string(status), "Uid:\t61234\t61234\t61234\t61234")
		require.Contains(t, string(status), "CapEff:\t0000000000000000")
		require.Contains(t, string(status), "NoNewPrivs:\t1")
		require.Contains(t, string(status), "Seccomp:\t2")
	} else {
		t.Log("NOT ROOT: the change of user is not tested")
	}
}

func TestSandbox_NothingGetsOut(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	u, err := net.ListenPacket("udp", l.Addr().String())
	require.NoError(t, err)
	defer u.Close()
	var arrived atomic.Int64
	go func() {
		for {
			if _, err := l.Accept(); err != nil {
				return
			}
			arrived.Add(1)
		}
	}()
	go func() {
		if _, _, err := u.ReadFrom(make([]byte, 64)); err == nil {
			arrived.Add(1)
		}
	}()
	p := start(t, nil)
	p.ready(t)
	secret := filepath.Join(p.dir, "outside")
	require.NoError(t, os.WriteFile(secret, []byte("x"), 0o644))
	out := p.run(t, "decnet-probe "+l.Addr().String()+" "+secret)
	if strings.Contains(p.lines(t), "landlock") {
		require.NotContains(t, out, "OPENED")
	} else {
		t.Log("NO LANDLOCK: opening by absolute path below a descriptor is not tested")
	}
	for _, what := range []string{"tcp", "udp", "unix", "listen", "raw", "execve", "fork", "read /etc/shadow", "read " + secret, "unshare", "ptrace", "mount", "kill"} {
		require.Contains(t, out, what+": denied: ")
	}
	require.Zero(t, arrived.Load())
	require.Contains(t, p.run(t, "echo dropped > /tmp/x; cat /tmp/x"), "dropped")
	files, err := filepath.Glob(filepath.Join(p.dir, "spool", "*_x"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
}

func TestRun_TerminateClosesSessionsAndSaysSo(t *testing.T) {
	t.Parallel()
	p := start(t, nil)
	p.ready(t)
	c, err := ssh.Dial("tcp", p.addr, &ssh.ClientConfig{User: "root", Auth: []ssh.AuthMethod{ssh.Password("toor")}, HostKeyCallback: ssh.InsecureIgnoreHostKey()})
	require.NoError(t, err)
	s, err := c.NewSession()
	require.NoError(t, err)
	require.NoError(t, s.Start("sleep 1000"))
	require.Eventually(t, func() bool { return strings.Contains(p.lines(t), " command ") }, 5*time.Second, 10*time.Millisecond)
	began := time.Now()
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, p.cmd.Wait())
	require.Less(t, time.Since(began), 2*time.Second)
	log := p.lines(t)
	require.Contains(t, log, " session_closed ")
	last := strings.Split(strings.TrimSpace(log), "\n")
	require.Contains(t, last[len(last)-1], " shutdown ")
}

func TestRun_HostKeysStayAndDiffer(t *testing.T) {
	t.Parallel()
	fingerprint := func(p *process) string {
		var fp string
		_, _ = ssh.Dial("tcp", p.addr, &ssh.ClientConfig{User: "x", HostKeyCallback: func(_ string, _ net.Addr, k ssh.PublicKey) error { fp = ssh.FingerprintSHA256(k); return nil }})
		return fp
	}
	a, b := start(t, nil), start(t, nil)
	a.ready(t)
	b.ready(t)
	first := fingerprint(a)
	require.NotEmpty(t, first)
	require.NotEqual(t, first, fingerprint(b))
	require.NoError(t, a.cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, a.cmd.Wait())
	again := start(t, func(c map[string]any) { c["state"] = a.cfg["state"] })
	again.ready(t)
	require.Equal(t, first, fingerprint(again))
	st, err := os.Stat(filepath.Join(a.dir, "state", "host_ed25519_key"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), st.Mode().Perm())
}

func TestRun_GivesUpWithOneLine(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.66.0.9:0")
	require.NoError(t, err)
	defer taken.Close()
	for _, c := range []struct {
		name, id string
		status   int
		edit     func(map[string]any)
	}{
		{"unknown field", "config_error", 2, func(c map[string]any) { c["surprise"] = "hunter2" }},
		{"no spool", "config_error", 2, func(c map[string]any) { c["spool"] = "/nonexistent" }},
		{"taken", "bind_error", 3, func(c map[string]any) {
			c["listen"] = []any{map[string]any{"protocol": "tcp", "port": 22, "addresses": []string{taken.Addr().String()}}}
		}},
	} {
		p := start(t, c.edit)
		require.Error(t, p.cmd.Wait())
		require.Equal(t, c.status, p.cmd.ProcessState.ExitCode(), c.name)
		log := p.lines(t)
		require.Equal(t, 1, strings.Count(log, "\n"), c.name)
		require.Contains(t, log, " "+c.id+" ")
		require.NotContains(t, log, "hunter2")
	}
}

func TestRun_TakesTheNextAddressWhenOneIsTaken(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.66.0.9:0")
	require.NoError(t, err)
	defer taken.Close()
	p := start(t, func(c map[string]any) {
		c["listen"] = []any{map[string]any{"protocol": "tcp", "port": 22, "addresses": []string{taken.Addr().String(), "127.66.0.10:0"}}}
	})
	require.Contains(t, p.ready(t), "tcp/22=127.66.0.10:")
}

func TestPauseAndUsage(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var stderr bytes.Buffer
	bad := exec.CommandContext(ctx, binary, "nonsense")
	bad.Stderr = &stderr
	require.Error(t, bad.Run())
	require.Contains(t, stderr.String(), "usage: ")
	pause := exec.CommandContext(ctx, binary, "pause")
	require.NoError(t, pause.Start())
	// The program ignores these signals just before it waits; a shell's background job ignores others as well.
	const ignores = 1<<(syscall.SIGHUP-1) | 1<<(syscall.SIGPIPE-1) | 1<<(syscall.SIGXFSZ-1)
	require.Eventually(t, func() bool { return ignored(pause.Process.Pid)&ignores == ignores }, 8*time.Second, 10*time.Millisecond)
	require.NoError(t, pause.Process.Signal(syscall.SIGTERM))
	require.NoError(t, pause.Wait())
}

// ignored returns the mask of signals a process ignores.
func ignored(pid int) uint64 {
	status, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	for line := range strings.Lines(string(status)) {
		if text, ok := strings.CutPrefix(line, "SigIgn:"); ok {
			mask, _ := strconv.ParseUint(strings.TrimSpace(text), 16, 64)
			return mask
		}
	}
	return 0
}

// TestRun_EveryServiceWorksConfined drives each service with its stock client while seccomp and Landlock are in force.
func TestRun_EveryServiceWorksConfined(t *testing.T) {
	t.Parallel()
	service := func(name string, port int, config map[string]any) *process {
		p := start(t, func(c map[string]any) {
			c["service"], c["service_config"] = name, config
			c["listen"] = []any{map[string]any{"protocol": "tcp", "port": port, "addresses": []string{"127.66.0.9:0"}}}
		})
		require.Contains(t, p.ready(t), "seccomp")
		return p
	}
	client := func(args ...string) string {
		if _, err := exec.LookPath(args[0]); err != nil {
			t.Skip(args[0] + " is not installed: the stock client is not tested")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
		require.NoError(t, err, string(out))
		return string(out)
	}
	for _, app := range []string{"none", "wordpress", "phpmyadmin", "tomcat", "jenkins"} {
		p := service("http", 80, map[string]any{"fake_app": app, "response_code": 200, "http_versions": []string{"http/1.1", "http/2"}})
		for _, path := range []string{"/", "/login", "/wp-login.php", "/manager/html", "/nope.png"} {
			require.Contains(t, client("curl", "-q", "-s", "-i", "--max-time", "10", "-d", "log=a&pwd=b", "http://"+p.addr+path), "HTTP/1.1 ")
			require.Contains(t, client("curl", "-q", "-s", "-i", "--max-time", "10", "--http2-prior-knowledge", "http://"+p.addr+path), "HTTP/2 ")
		}
		require.Contains(t, p.lines(t), " request ")
	}
	p := service("redis", 6379, map[string]any{"version": "5.0.7"})
	host, port, err := net.SplitHostPort(p.addr)
	require.NoError(t, err)
	for _, line := range []string{"INFO", "CONFIG GET *", "CONFIG SET dir /root/.ssh", "SET a b", "BGSAVE", "SLAVEOF 198.51.100.7 6379", "KEYS *", "SLAVEOF NO ONE"} {
		require.NotContains(t, client(append([]string{"redis-cli", "-h", host, "-p", port}, strings.Fields(line)...)...), "ERR")
	}
	require.Contains(t, p.lines(t), " command ")
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, p.cmd.Wait())
}

func TestRun_RefusesServiceConfigsWithoutQuotingThem(t *testing.T) {
	t.Parallel()
	for service, config := range map[string]map[string]any{
		"http":     {"fake_app": "hunter2"},
		"mysql":    {"version": "hunter2"},
		"postgres": {"hunter2": "hunter2"},
		"redis":    {"version": "hunter2"},
		"gopher":   {},
	} {
		p := start(t, func(c map[string]any) { c["service"], c["service_config"] = service, config })
		require.Error(t, p.cmd.Wait())
		require.Equal(t, 2, p.cmd.ProcessState.ExitCode(), service)
		require.NotContains(t, p.lines(t), "hunter2")
	}
}

func TestRun_SaysTheAddressItIsGiven(t *testing.T) {
	t.Parallel()
	p := start(t, func(cfg map[string]any) {
		cfg["listen"] = []any{map[string]any{"protocol": "tcp", "port": 22, "addresses": []string{"0.0.0.0:0"}}}
		cfg["persona"] = map[string]any{"hostname": "SRV", "distro": "debian", "nmap_os": "linux", "address": "198.51.100.23"}
	})
	p.ready(t)
	_, port, err := net.SplitHostPort(p.addr)
	require.NoError(t, err)
	p.addr = net.JoinHostPort("127.0.0.1", port)
	require.Contains(t, p.run(t, "ip a"), "inet 198.51.100.23/24", "it listens on every address and cannot tell from that")
}
