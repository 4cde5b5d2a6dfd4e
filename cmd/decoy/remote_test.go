package main_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// confined starts a service and requires that it is confined.
func confined(t *testing.T, name string, port int, address string, config map[string]any) *process {
	t.Helper()
	p := start(t, func(c map[string]any) {
		c["service"], c["service_config"] = name, config
		c["listen"] = []any{map[string]any{"protocol": "tcp", "port": port, "addresses": []string{address}}}
	})
	require.Contains(t, p.ready(t), "seccomp")
	return p
}

// stock runs a stock client in a directory and returns what it printed.
func stock(t *testing.T, dir, stdin string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(args[0]); err != nil {
		t.Skip(args[0] + " is not installed: the stock client is not tested")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdin, cmd.Dir, cmd.Env = strings.NewReader(stdin), dir, append(os.Environ(), "HOME="+dir)
	out, err := cmd.CombinedOutput()
	require.NoError(t, ctx.Err(), string(out))
	if err != nil {
		t.Logf("%v: %s", args, err)
	}
	return string(out)
}

// goodLogin finds a password that the decoy accepts for backup, as an intruder would.
func goodLogin(t *testing.T, p *process) string {
	t.Helper()
	for i := range 20 {
		pw := fmt.Sprintf("pw-%d", i)
		if strings.Contains(stock(t, p.dir, "", "curl", "-q", "-sS", "-v", "--max-time", "20", "-u", "backup:"+pw, "ftp://"+p.addr+"/", "-l"), "< 230") {
			return pw
		}
	}
	require.Fail(t, "no password works")
	return ""
}

func TestFTP_StockClientsAgainstTheConfinedProgram(t *testing.T) {
	t.Parallel()
	p := confined(t, "ftp", 21, "127.66.0.41:0", nil)
	host, port, err := net.SplitHostPort(p.addr)
	require.NoError(t, err)
	pw := goodLogin(t, p)
	up := filepath.Join(p.dir, "drop.sh")
	require.NoError(t, os.WriteFile(up, []byte("#!/bin/sh\nid\n"), 0o600))
	url := "ftp://" + p.addr

	listing := stock(t, p.dir, "", "curl", "-q", "-sS", "--max-time", "20", "-u", "backup:"+pw, url+"/")
	require.Regexp(t, `(?m)^d[rwxt-]{9} .*\r?$`, listing)
	readme := regexp.MustCompile(`(?i)(\S*(readme|info|welcome)\S*)\r?\n`).FindStringSubmatch(listing)
	require.NotNil(t, readme, listing)
	text := stock(t, p.dir, "", "curl", "-q", "-sS", "--max-time", "20", "-u", "backup:"+pw, url+"/"+readme[1])
	require.Contains(t, text, "file exchange")
	require.Equal(t, text[10:], stock(t, p.dir, "", "curl", "-q", "-sS", "--max-time", "20", "-C", "10", "-u", "backup:"+pw, url+"/"+readme[1]))
	require.Equal(t, text, stock(t, p.dir, "", "curl", "-q", "-sS", "--max-time", "20", "--disable-epsv", "-u", "backup:"+pw, url+"/"+readme[1]))
	out := stock(t, p.dir, "", "curl", "-q", "-sS", "-w", "%{response_code}", "--max-time", "20", "-T", up, "-u", "backup:"+pw, url+"/curl.sh")
	require.Equal(t, "226", out)
	out = stock(t, p.dir, "", "curl", "-q", "-sS", "--max-time", "20", "--ftp-port", "-", "-u", "backup:"+pw, url+"/")
	require.Contains(t, out, "curl: (30)", "active mode is refused")

	out = stock(t, p.dir, fmt.Sprintf("open %s %s\nuser backup %s\nbinary\nls\nput drop.sh tn.sh\nls tn.sh\nget tn.sh back.sh\ncd %s\npwd\nbye\n", host, port, pw, "/"), "tnftp", "-n", "-v")
	require.Contains(t, out, "230", out)
	require.Regexp(t, `(?s)drwx.*226.*tn\.sh.*226`, out)
	back, err := os.ReadFile(filepath.Join(p.dir, "back.sh"))
	require.NoError(t, err, out)
	require.Equal(t, "#!/bin/sh\nid\n", string(back))

	out = stock(t, p.dir, "", "lftp", "-c", fmt.Sprintf("set net:timeout 10; set net:max-retries 1; set ftp:ssl-allow no; open -u backup,%s -p %s %s; ls; put drop.sh -o lf.sh; cat lf.sh; find / ; mirror / mirrored; mkdir made; rmdir made; bye", pw, port, host))
	require.Contains(t, out, "#!/bin/sh\nid\n", out)
	require.Contains(t, out, readme[1])
	mirrored, err := os.ReadFile(filepath.Join(p.dir, "mirrored", readme[1]))
	require.NoError(t, err, out)
	require.Equal(t, text, string(mirrored))

	words := filepath.Join(p.dir, "words")
	require.NoError(t, os.WriteFile(words, []byte(pw+"\n"), 0o600))
	out = stock(t, p.dir, "", "hydra", "-t", "1", "-l", "backup", "-P", words, "-s", port, host, "ftp")
	require.Contains(t, out, "[ftp] host: "+host+"   login: backup   password: "+pw)

	for _, name := range []string{"curl.sh", "tn.sh", "lf.sh"} {
		stored, err := filepath.Glob(filepath.Join(p.dir, "spool", "*_"+name))
		require.NoError(t, err)
		require.NotEmpty(t, stored, name)
	}
	log := p.lines(t)
	require.Regexp(t, `port_request \[[^\n]*src_ip="127\.\d+\.\d+\.\d+"[^\n]* dest="127\.`, log)
	require.Regexp(t, `file_captured \[[^\n]*orig_path="/curl.sh" src_ip="127\.`, log)
	require.NotContains(t, log, "panic")
	requireNoOtherListeners(t, p)
}

// requireNoOtherListeners reads what the kernel knows of the process's sockets: nothing but its own port may be open.
func requireNoOtherListeners(t *testing.T, p *process) {
	t.Helper()
	fds, err := filepath.Glob("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/fd/*")
	require.NoError(t, err)
	own := map[string]bool{}
	for _, fd := range fds {
		if link, err := os.Readlink(fd); err == nil && strings.HasPrefix(link, "socket:[") {
			own[strings.Trim(link[len("socket:"):], "[]")] = true
		}
	}
	if len(own) == 0 {
		t.Log("NOT PERMITTED: the sockets of the process are not examined")
		return
	}
	require.Greater(t, len(own), 50, "the pool is bound")
	table, err := os.ReadFile("/proc/net/tcp")
	require.NoError(t, err)
	open := 0
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > 9 && f[3] == "0A" && own[f[9]] {
			open++
		}
	}
	require.Equal(t, 1, open, "only the control port is open")
}

func TestTelnet_StockClientsAgainstTheConfinedProgram(t *testing.T) {
	t.Parallel()
	p := confined(t, "telnet", 23, "127.66.0.42:0", map[string]any{"password": "toor", "user": "ubuntu", "user_password": "upw", "hostname": "gate-7"})
	host, port, err := net.SplitHostPort(p.addr)
	require.NoError(t, err)
	script := "ubuntu\nupw\necho dropped > /tmp/x; cat /tmp/x; hostname\nexit\n"
	require.Regexp(t, `gate-7 login: (.|\n)*dropped\r\ngate-7\r\n`, stock(t, p.dir, script, "curl", "-q", "-sS", "--max-time", "30", "telnet://"+p.addr))
	require.Regexp(t, `dropped\r\ngate-7\r\n`, stock(t, p.dir, script, "nc", "-q", "3", host, port))
	out := stock(t, p.dir, fmt.Sprintf("set timeout 20\nspawn telnet %s %s\nexpect \"login: \"\nsend \"root\\r\"\nexpect \"Password: \"\nsend \"toor\\r\"\nexpect \"# \"\nsend \"id; exit\\r\"\nexpect eof\n", host, port), "expect", "-f", "-")
	require.Contains(t, out, "uid=0(root)")
	require.Contains(t, out, "Connection closed by foreign host.")
	words := filepath.Join(p.dir, "words")
	require.NoError(t, os.WriteFile(words, []byte("toor\n"), 0o600))
	require.Contains(t, stock(t, p.dir, "", "hydra", "-t", "1", "-l", "root", "-P", words, "-s", port, host, "telnet"), "login: root   password: toor")
	log := p.lines(t)
	require.Regexp(t, `file_captured \[[^\n]*orig_path="/tmp/x" src_ip="127\.`, log)
	require.Regexp(t, `session_recorded \[[^\n]*service="telnet"`, log)
	recordings, err := filepath.Glob(filepath.Join(p.dir, "spool", "transcripts", "sessions-*.jsonl"))
	require.NoError(t, err)
	require.NotEmpty(t, recordings)
}

func TestRun_FTPHasNothingToConfigure(t *testing.T) {
	t.Parallel()
	p := start(t, func(c map[string]any) { c["service"], c["service_config"] = "ftp", map[string]any{"mode": "hunter2"} })
	require.Error(t, p.cmd.Wait())
	require.Equal(t, 2, p.cmd.ProcessState.ExitCode())
	require.NotContains(t, p.lines(t), "hunter2")
}
