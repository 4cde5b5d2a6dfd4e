package process_test

import (
	"crypto/tls"
	"net/http"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/decnet/decnet/internal/runtime"
)

// TestConverge_DatagramsOfTheRealDecoy runs the program itself, whose UDP port is held by a second process: it must neither be
// taken for a decoy nor keep the port from a decoy that takes the place of one that was killed.
func TestConverge_DatagramsOfTheRealDecoy(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, b.Close())
	b.opts.DecoyBinary = filepath.Join(t.TempDir(), "decoy")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", b.opts.DecoyBinary, "github.com/decnet/decnet/cmd/decoy")
	build.Env = append(build.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))
	b.open(t)
	d := newDecky("quic")
	d.Services = []runtime.Service{
		{Name: "http", Revision: 1, Ports: []runtime.Port{{Protocol: "tcp", Number: 80}}},
		{
			Name: "https", Revision: 1, Ports: []runtime.Port{{Protocol: "tcp", Number: 443}, {Protocol: "udp", Number: 443}},
			Config: map[string]any{"http_versions": []string{"http/1.1", "http/3"}},
		},
	}
	first, err := b.Converge(t.Context(), d, hooks())
	require.NoError(t, err)
	require.Len(t, first, 3)
	for n := range 4 {
		require.Equal(t, "udp", first[2].Protocol)
		require.Equal(t, uint16(443), first[2].Port)
		requireHTTP3(t, "https://"+first[2].Listen.String())
		list, err := b.Observe(t.Context())
		require.NoError(t, err)
		require.Len(t, list.Decoys, 2, "the gate is no decoy")
		pid := b.pid(t, d, "https")
		if n%2 == 0 {
			require.NoError(t, unix.Kill(pid, unix.SIGKILL))
			waitGone(t, pid)
		} else {
			d.Services[1].Revision++
		}
		again, err := b.Converge(t.Context(), d, hooks())
		require.NoError(t, err)
		require.Equal(t, first, again)
	}
}

func requireHTTP3(t *testing.T, url string) {
	t.Helper()
	tr := &http3.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer func() { require.NoError(t, tr.Close()) }()
	c := http.Client{Transport: tr, Timeout: 20 * time.Second}
	resp, err := c.Get(url)
	require.NoError(t, err)
	require.Equal(t, 200, resp.StatusCode)
	require.NoError(t, resp.Body.Close())
}
