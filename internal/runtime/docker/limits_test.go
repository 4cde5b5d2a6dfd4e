package docker_test

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/runtime"
)

// ask sends a question to a decoy that probes what its container lets it do.
func ask(t *testing.T, at netip.AddrPort, question string) string {
	t.Helper()
	conn, err := net.DialTimeout("tcp", at.String(), 5*time.Second)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	_, err = fmt.Fprintln(conn, question)
	require.NoError(t, err)
	answer, err := io.ReadAll(conn)
	require.NoError(t, err)
	return strings.TrimSpace(string(answer))
}

// The program inside has no sandbox of its own: what stops it is the container. Memory and threads are taken in
// TestConverge_DecoyThatCannotComeUpSaysWhy.
func TestLimits_AreInForceInside(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := b.newDecky("web")
	d.Services = []runtime.Service{service("ssh", 22, "probe")}
	at := b.converge(t, d)[0].Listen

	require.Equal(t, "<nil>", ask(t, at, "spool"), "what is its own can be written")
	const readOnly = "read-only file system"
	require.Equal(t, readOnly, ask(t, at, "root"))
	require.Equal(t, readOnly, ask(t, at, "config"))
	require.Equal(t, "[]", ask(t, at, "capabilities"))
	require.Equal(t, "operation not permitted", ask(t, at, "namespace"))

	var n int
	var why string
	scan := func(question string) {
		n, why = 0, ""
		answer := ask(t, at, question)
		number, text, _ := strings.Cut(answer, " ")
		_, err := fmt.Sscan(number, &n)
		require.NoError(t, err, answer)
		why = text
	}
	scan("processes")
	require.Equal(t, "resource temporarily unavailable", why)
	require.Less(t, n, 256)
	scan("files")
	require.Equal(t, "too many open files", why)
	require.Less(t, n, 1024)
	scan("file size")
	require.Equal(t, "file too large", why)
	require.Equal(t, 1024, n, "in MiB")
}

// A program that belongs to root and has the set-user-ID bit is what no-new-privileges is there for.
func TestLimits_NobodyGainsPrivileges(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := b.newDecky("web")
	d.Services = []runtime.Service{service("ssh", 22, "probe")}
	at := b.converge(t, d)[0].Listen
	program, err := os.ReadFile(fakeDecoy)
	require.NoError(t, err)
	path := filepath.Join(b.opts.ArtifactsRoot, d.Key, "ssh", "setuid")
	require.NoError(t, os.WriteFile(path, program, 0o755))
	require.NoError(t, os.Chmod(path, 0o755|os.ModeSetuid))
	user, _, _ := strings.Cut(b.inspect(t, d, "ssh").Config.User, ":")
	require.Equal(t, user+" <nil>", ask(t, at, "privileges"))
}

func TestLimits_OfABase(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := b.converged(t, "web")
	pid := b.pid(t, d, "")
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	require.NoError(t, err)
	for name, value := range map[string]string{"Max open files": "1024", "Max file size": "1073741824", "Max core file size": "0"} {
		_, rest, found := strings.Cut(string(limits), name+" ")
		require.True(t, found, name)
		require.Equal(t, []string{value, value}, strings.Fields(rest)[:2], name)
	}
	c := b.inspect(t, d, "")
	require.EqualValues(t, 32, *c.HostConfig.PidsLimit)
	require.EqualValues(t, 32<<20, c.HostConfig.Memory)
	require.EqualValues(t, 32<<20, c.HostConfig.MemorySwap)
}
