package telnet_test

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/decoys/telnet"
)

// run runs a stock client and returns what it printed.
func run(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(args[0]); err != nil {
		t.Skip(args[0] + " is not installed: the stock client is not tested")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdin, cmd.Dir = strings.NewReader(stdin), t.TempDir()
	out, err := cmd.CombinedOutput()
	require.NoError(t, ctx.Err(), string(out))
	if err != nil {
		t.Logf("%v: %s", args, err)
	}
	return string(out)
}

func TestClient_Telnet(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("telnet"); err != nil {
		t.Skip("telnet is not installed: the stock client is not tested")
	}
	b := setup(t, "ubuntu20", nil)
	host, port, _ := net.SplitHostPort(b.addr)
	out := run(t, `
set timeout 10
match_max 100000
spawn -noecho telnet `+host+` `+port+`
proc want {pattern} {
  expect {
    -re $pattern {}
    timeout { puts "MISSED $pattern"; flush stdout; exec kill [exp_pid]; exit 1 }
    eof { puts "EOF before $pattern"; exit 1 }
  }
}
stty rows 41 columns 111 < $spawn_out(slave,name)
want {login: $}
send "root\r"
want {Password: $}
send "wrong\r"
want {Login incorrect\r\n.*login: $}
send "root\r"
want {Password: $}
send "toor\r"
want {root@gw-31:~# $}
send "ls -d /et\tpasswd /bin\r"
want {/etc/passwd.*root@gw-31:~# $}
send "sleep 100\r"
want {sleep 100\r\n}
send "\003"
want {\^C.*root@gw-31:~# $}
stty rows 33 columns 99 < $spawn_out(slave,name)
send "stty size; echo \$COLUMNS\r"
want {root@gw-31:~# $}
send "exit\r"
want {logout\r\nConnection closed by foreign host.}
puts DONE
`, "expect", "-f", "-")
	require.Contains(t, out, "DONE", out)
	require.NotContains(t, out, "MISSED")
	require.Equal(t, 1, strings.Count(out, "sleep 100"), "the server echoes, the client does not: %s", out)
	b.log.wait(t, `client_options [^\n]*options="[^"]*fb1f[^"]*fa1f[0-9a-f]{8}`)
	b.log.wait(t, `session_closed `)
	require.Contains(t, b.recorded(t), `"ch":"r","d":"99x33"`)
}

// TestClient_Hydra gives every task one password: where a server asks again after a refusal, this client counts wrong.
func TestClient_Hydra(t *testing.T) {
	t.Parallel()
	b := setup(t, "debian", func(o *telnet.Options) { o.FailDelay = func() time.Duration { return 200 * time.Millisecond } })
	host, port, _ := net.SplitHostPort(b.addr)
	words := filepath.Join(t.TempDir(), "words")
	require.NoError(t, os.WriteFile(words, []byte("123456\npassword\nletmein\ntoor\n"), 0o600))
	out := run(t, "", "hydra", "-t", "4", "-l", "root", "-P", words, "-s", port, host, "telnet")
	require.Contains(t, out, "["+port+"][telnet] host: "+host+"   login: root   password: toor", out)
	require.Contains(t, out, "1 of 1 target successfully completed, 1 valid password found")
	b.log.wait(t, `secret_printable="letmein"[^\n]*outcome="failure"`)
}

func TestClient_CurlAndNetcat(t *testing.T) {
	t.Parallel()
	b := setup(t, "debian", nil)
	host, port, _ := net.SplitHostPort(b.addr)
	script := "root\ntoor\nuname -s; id -un\nexit\n"
	out := run(t, script, "curl", "-q", "-sS", "--max-time", "20", "telnet://"+b.addr)
	require.Regexp(t, `Linux\r\nroot\r\n`, out)
	out = run(t, script, "nc", "-q", "3", host, port)
	require.Regexp(t, `Linux\r\nroot\r\n`, out)
}
