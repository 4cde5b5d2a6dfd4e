package main_test

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"
)

// database starts a service and returns it with its host and port once seccomp is in force.
func database(t *testing.T, name string, port int, config map[string]any) (p *process, host, number string) {
	t.Helper()
	p = confined(t, name, port, "127.66.0.9:0", config)
	host, number, err := net.SplitHostPort(p.addr)
	require.NoError(t, err)
	return p, host, number
}

// client runs a stock client that is expected to be refused, and returns its output.
func client(t *testing.T, env []string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(args[0]); err != nil {
		t.Skip(args[0] + " is not installed: the stock client is not tested")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), env...)
	out, _ := cmd.CombinedOutput()
	return string(out)
}

// TestRun_DatabasesWorkConfined includes what the first client makes the decoy do: write its keys below its state directory.
func TestRun_DatabasesWorkConfined(t *testing.T) {
	t.Parallel()
	p, host, port := database(t, "mysql", 3306, map[string]any{"version": "8.0.36"})
	for user, conf := range map[string]*tls.Config{"rsa": nil, "tls": {InsecureSkipVerify: true}} {
		c := mysql.NewConfig()
		c.Net, c.Addr, c.User, c.Passwd, c.TLS, c.Logger = "tcp", p.addr, user, "hunter2", conf, &mysql.NopLogger{}
		connector, err := mysql.NewConnector(c)
		require.NoError(t, err)
		_, err = connector.Connect(t.Context())
		require.ErrorContains(t, err, "Error 1045 (28000): Access denied for user '"+user+"'@'127.0.0.1'")
		require.Regexp(t, ` auth .*username="`+user+`".* secret_kind="plaintext" secret_printable="hunter2"`, p.lines(t))
	}
	for _, name := range []string{"server.pem", "private_key.pem"} {
		require.FileExists(t, filepath.Join(p.dir, "state", name))
	}
	require.Contains(t, client(t, nil, "mysql", "--no-defaults", "-h", host, "-P", port, "-u", "bob", "-pfirst"), "ERROR 1045 (28000)")
	require.Contains(t, client(t, nil, "hydra", "-I", "-t", "1", "-l", "root", "-p", "second", "-s", port, "mysql://"+host), "0 valid password")
	require.Regexp(t, `(?s) secret_printable="first".* secret_printable="second"`, p.lines(t))
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, p.cmd.Wait())

	p, host, port = database(t, "postgres", 5432, map[string]any{})
	out := client(t, []string{"PGPASSWORD=hunter2"}, "psql", "-h", host, "-p", port, "-U", "bob", "postgres")
	require.Contains(t, out, `FATAL:  password authentication failed for user "bob"`)
	require.Contains(t, client(t, []string{"PGPORT=" + port}, "hydra", "-I", "-t", "1", "-l", "eve", "-p", "x", "-s", port, "postgres://"+host+"/template1"), "0 valid password")
	for _, user := range []string{"bob", "eve"} {
		require.Regexp(t, ` auth .*username="`+user+`".* salt="[0-9a-f]{8}" .*secret_kind="postgres_md5_challenge"`, p.lines(t))
	}
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, p.cmd.Wait())
}
