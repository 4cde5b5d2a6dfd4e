package harness

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// Gate makes decoys of one system misbehave.
type Gate struct {
	t   testing.TB
	dir string
}

// NewGate returns programs whose decoys do what the gate asks for.
func NewGate(t testing.TB) (Binaries, *Gate) {
	t.Helper()
	bin := Build(t)
	dir := ShortDir(t)
	g := &Gate{t: t, dir: filepath.Join(dir, "ask")}
	require.NoError(t, os.Mkdir(g.dir, 0o755))
	out, err := exec.Command("cp", bin.GatedDecoy, filepath.Join(dir, "decoy")).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NoError(t, os.Symlink(bin.Decoy, filepath.Join(dir, "real")))
	bin.Decoy = filepath.Join(dir, "decoy")
	return bin, g
}

// Crash lets decoys of a decky end as soon as they are started.
func (g *Gate) Crash(decky string) { g.ask(decky, "crash") }

// CrashOn lets decoys of a decky whose configuration contains text end as soon as they are started.
func (g *Gate) CrashOn(decky, text string) { g.ask(decky, "crash "+text) }

// Hold lets decoys of a decky wait before they become ready, until Open.
func (g *Gate) Hold(decky string) { g.ask(decky, "wait") }

// Open lets decoys of a decky behave.
func (g *Gate) Open(decky string) {
	g.t.Helper()
	require.NoError(g.t, os.Remove(filepath.Join(g.dir, decky)))
}

func (g *Gate) ask(decky, what string) {
	g.t.Helper()
	file := filepath.Join(g.dir, decky)
	require.NoError(g.t, os.WriteFile(file+".new", []byte(what), 0o600))
	require.NoError(g.t, os.Rename(file+".new", file))
}
