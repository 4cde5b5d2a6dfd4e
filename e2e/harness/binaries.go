// Package harness runs the real programs for end-to-end tests: it builds them, starts `decnet up` or one process per role
// on a directory of its own, and speaks to the API as a client does. It is for tests only.
package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/embedded"
	"github.com/decnet/decnet/internal/embedded/embeddedtest"
)

// Root returns the root of the repository.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// Binaries are the programs under test.
type Binaries struct {
	Decnet, Decoy, Temporal string
	// ProbeDecoy is the decoy with a command inside that tries to break out.
	ProbeDecoy string
	// GatedDecoy is a decoy that misbehaves on demand; see NewGate.
	GatedDecoy string
}

// Main is the TestMain of packages that use the harness: it runs the tests, removes what Build made and returns the exit
// code.
func Main(m *testing.M) int {
	embedded.RunShim(os.Args)
	defer func() {
		if built.Load() {
			b, _ := build()
			_ = os.RemoveAll(filepath.Dir(b.Decnet))
		}
	}()
	return m.Run()
}

var built atomic.Bool

var build = sync.OnceValues(func() (Binaries, error) {
	dir, err := os.MkdirTemp("", "decnet-e2e-bin-")
	if err != nil {
		return Binaries{}, err
	}
	b := Binaries{
		Decnet: filepath.Join(dir, "decnet"), Decoy: filepath.Join(dir, "decoy"), ProbeDecoy: filepath.Join(dir, "probe", "decoy"),
		GatedDecoy: filepath.Join(dir, "gated", "decoy"),
	}
	for _, args := range [][]string{
		{"-o", b.Decnet, "./cmd/decnet"},
		{"-o", b.Decoy, "./cmd/decoy"},
		{"-tags", "probe", "-o", b.ProbeDecoy, "./cmd/decoy"},
		{"-o", b.GatedDecoy, "./e2e/harness/gateddecoy"},
	} {
		cmd := exec.Command("go", append([]string{"build", "-buildvcs=false"}, args...)...)
		cmd.Dir = Root()
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return Binaries{}, fmt.Errorf("go build %v: %w\n%s", args, err, out)
		}
	}
	return b, nil
})

// Build returns the programs, built once per test process.
func Build(t testing.TB) Binaries {
	t.Helper()
	built.Store(true)
	b, err := build()
	require.NoError(t, err)
	b.Temporal = embeddedtest.TemporalBinary(t)
	return b
}
