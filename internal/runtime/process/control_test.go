package process_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/runtime"
	"github.com/decnet/decnet/internal/runtime/process"
)

// controlArgs is what a control plane in a process of its own is told.
type controlArgs struct {
	Decoys, Artifacts, Decoy string
	Decky                    runtime.Decky
}

// controlPlane converges one decky and waits to be killed.
func controlPlane(args string) {
	var a controlArgs
	if err := json.Unmarshal([]byte(args), &a); err != nil {
		panic(err)
	}
	rt, err := process.New(process.Options{DataDir: a.Decoys, ArtifactsRoot: a.Artifacts, DecoyBinary: a.Decoy})
	if err != nil {
		panic(err)
	}
	fmt.Println("begin")
	if _, err := rt.Converge(context.Background(), a.Decky, hooks()); err != nil {
		panic(err)
	}
	fmt.Println("converged")
	time.Sleep(time.Hour)
}

// startControlPlane runs one until it printed the line.
func (b *bundle) startControlPlane(t *testing.T, d runtime.Decky, until string) *exec.Cmd {
	t.Helper()
	args, err := json.Marshal(controlArgs{b.opts.DataDir, b.opts.ArtifactsRoot, fakeDecoy, d})
	require.NoError(t, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "PROCESS_TEST_CONTROL_PLANE="+string(args))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if lines.Text() == until {
			return cmd
		}
	}
	t.Fatal("control plane ended early")
	return nil
}

func kill9(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
}

func TestNew_AdoptsDecoysOfAKilledControlPlane(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := newDecky("adopt")
	d.Services = []runtime.Service{service("ssh", 22, "ok"), service("http", 80, "ok")}
	kill9(t, b.startControlPlane(t, d, "converged"))
	ssh, http := b.pid(t, d, "ssh"), b.pid(t, d, "http")

	b.reopen(t)
	seen, err := b.Observe(t.Context())
	require.NoError(t, err)
	require.Len(t, seen.Decoys, 2)
	require.True(t, seen.Decoys[0].Ready && seen.Decoys[1].Ready)
	_, err = b.Converge(t.Context(), d, hooks())
	require.NoError(t, err)
	require.Equal(t, ssh, b.pid(t, d, "ssh"))
	require.Equal(t, http, b.pid(t, d, "http"))

	// Not a child of this runtime, it is watched nevertheless.
	killPID(t, ssh)
	select {
	case <-b.Exits():
	case <-time.After(5 * time.Second):
		t.Fatal("the exit of an adopted decoy is not reported")
	}
	d.Removed = true
	_, err = b.Converge(t.Context(), d, hooks())
	require.NoError(t, err)
	require.Empty(t, decoyPIDs(t, b.opts.DataDir))
}

func TestConverge_RepairsWhateverInstantTheControlPlaneWasKilledAt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := newDecky("instant")
	for round := range 15 {
		d.Services = []runtime.Service{service("ssh", 22, "ok"), service("http", 80, "ok"), service("ftp", 21, "ok")}
		for i := range d.Services {
			d.Services[i].Revision = int64(round + 1)
		}
		cmd := b.startControlPlane(t, d, "begin")
		time.Sleep(rand.N(60 * time.Millisecond)) // the instant is the point of the test
		kill9(t, cmd)

		b.reopen(t)
		d.Services = d.Services[:2]
		_, err := b.Converge(t.Context(), d, hooks())
		require.NoError(t, err)
		require.Len(t, decoyPIDs(t, b.opts.DataDir), 2)
		seen, err := b.Observe(t.Context())
		require.NoError(t, err)
		require.Len(t, seen.Decoys, 2)
		for _, s := range seen.Decoys {
			require.True(t, s.Running && s.Ready && s.Detail == "", s.Detail)
			require.Equal(t, int64(round+1), s.Revision)
		}
	}
}
