package docker_test

import (
	"io"
	"os"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/ingest"
	"github.com/decnet/decnet/internal/runtime"
	"github.com/decnet/decnet/internal/runtime/docker"
)

// numbers reads an output as ingest does and returns the numbers of its lines, and how many were left out.
func numbers(t *testing.T, out runtime.Output) (numbers []uint64, dropped uint64) {
	t.Helper()
	format := ingest.FormatLines
	if out.Format == runtime.OutputJSONFile {
		format = ingest.FormatJSONFile
	}
	s := ingest.NewSplitter(format, 0)
	for i, path := range out.Files {
		if i > 0 {
			s.Rotate()
		}
		f, err := os.Open(path)
		require.NoError(t, err)
		b, err := io.ReadAll(f)
		require.NoError(t, err)
		_ = f.Close()
		require.NoError(t, s.Feed(b, func(l ingest.Line) error {
			r, err := ingest.Parse(l.Text)
			require.NoError(t, err)
			if r.Type == "talk" {
				numbers = append(numbers, r.Line)
			}
			return nil
		}))
	}
	return numbers, s.Dropped()
}

func TestOutputs_RotatedLogIsWholeAndKeptWhenItsContainerGoes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	outputs, err := docker.NewOutputs(b.opts)
	require.NoError(t, err)
	t.Cleanup(func() { _ = outputs.Close() })
	list := func() []runtime.Output {
		all, err := outputs.Outputs(t.Context())
		require.NoError(t, err)
		return all
	}
	require.Empty(t, list())
	d := b.converged(t, "web", service("docker_api", 2375, "talk"))
	var want []uint64
	for n := range 1500 {
		want = append(want, uint64(n)+2)
	}
	var live runtime.Output
	require.Eventually(t, func() bool {
		all := list()
		require.Len(t, all, 1)
		live = all[0]
		n, _ := numbers(t, live)
		return len(n) == len(want)
	}, 30*time.Second, 200*time.Millisecond)
	require.Equal(t, []any{d.ID, d.Key, "docker_api", false}, []any{live.DeckyID, live.DeckyKey, live.Service, live.Ended})
	require.Greater(t, len(live.Files), 2, "24 MB are in several files of 10 MB")
	got, dropped := numbers(t, live)
	require.Equal(t, want, got, "lines longer than the engine's pieces are rejoined, also across files")
	require.Zero(t, dropped)

	d.Services = nil
	b.converge(t, d)
	all := list()
	require.Len(t, all, 1)
	require.True(t, all[0].Ended)
	require.Equal(t, []any{d.ID, d.Key, "docker_api", runtime.OutputLines}, []any{all[0].DeckyID, all[0].DeckyKey, all[0].Service, all[0].Format})
	got, _ = numbers(t, all[0])
	require.Equal(t, want, got)

	other, err := docker.NewOutputs(docker.Options{Installation: uuid.New(), DataDir: t.TempDir(), ArtifactsRoot: t.TempDir()})
	require.NoError(t, err)
	defer func() { _ = other.Close() }()
	none, err := other.Outputs(t.Context())
	require.NoError(t, err)
	require.Empty(t, none, "of another installation")
}
