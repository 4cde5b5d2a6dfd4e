package recording_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/decoys/recording"
)

const sid = "5a0e6b1c-1f7e-4a6c-9b3e-1b2f1c2d3e4f"

func plenty() (uint64, error) { return 1 << 40, nil }

func setup(t testing.TB) (string, *recording.Store) {
	t.Helper()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	t.Cleanup(func() { _ = root.Close() })
	require.NoError(t, recording.Prepare(root))
	return dir, recording.NewStore(root, plenty)
}

func header() recording.Header {
	return recording.Header{SID: sid, Width: 80, Height: 24, Shell: "/bin/bash", Term: "x\"\xff", Start: time.Now()}
}

// read returns the recorded characters of a channel and checks every line.
func read(t testing.TB, dir, ch string) (data []rune, lines []string) {
	t.Helper()
	files, err := filepath.Glob(dir + "/transcripts/sessions-*.jsonl")
	require.NoError(t, err)
	require.Len(t, files, 1)
	raw, err := os.ReadFile(files[0])
	require.NoError(t, err)
	for _, l := range bytes.SplitAfter(raw, []byte("\n")) {
		if len(l) == 0 {
			continue
		}
		require.Less(t, len(l), 4096)
		require.True(t, utf8.Valid(l))
		var e struct {
			SID, Ch, D string
			T          float64
		}
		require.NoError(t, json.Unmarshal(l, &e), string(l))
		require.Equal(t, sid, e.SID)
		if e.Ch == ch {
			data = append(data, []rune(e.D)...)
		}
		lines = append(lines, string(l))
	}
	return data, lines
}

func TestSession_RecordsAndSummarises(t *testing.T) {
	t.Parallel()
	dir, s := setup(t)
	r, err := s.Start(header())
	require.NoError(t, err)
	r.Input([]byte("ls\r"))
	r.Output([]byte("é \xff\x1b[0m"))
	r.Resize(120, 40)
	sum := r.Close()
	r.Output([]byte("late"))
	require.EqualValues(t, 11, sum.Bytes)
	require.False(t, sum.Truncated)
	in, lines := read(t, dir, "i")
	require.Equal(t, "ls\r", string(in))
	out, _ := read(t, dir, "o")
	require.Equal(t, "é \u00ff\x1b[0m", string(out))
	require.Contains(t, lines[0], `"hdr":{"version":2,"width":80,"height":24`)
	require.Contains(t, strings.Join(lines, ""), `"ch":"r","d":"120x40"`)
	require.NotContains(t, strings.Join(lines, ""), "late")
}

func TestSession_IsCutAtTheLimit(t *testing.T) {
	t.Parallel()
	dir, s := setup(t)
	r, err := s.Start(header())
	require.NoError(t, err)
	chunk := bytes.Repeat([]byte("x"), 1<<20)
	for range 12 {
		r.Output(chunk)
	}
	sum := r.Close()
	require.True(t, sum.Truncated)
	require.EqualValues(t, recording.MaxSessionBytes, sum.Bytes)
	_, lines := read(t, dir, "o")
	require.Contains(t, lines[len(lines)-1], `"trunc":true`)
}

func TestStart_RefusesOnDiskPressure(t *testing.T) {
	t.Parallel()
	root, err := os.OpenRoot(t.TempDir())
	require.NoError(t, err)
	_, err = recording.NewStore(root, func() (uint64, error) { return 1, nil }).Start(header())
	var skip *recording.SkipError
	require.ErrorAs(t, err, &skip)
	require.Equal(t, recording.ReasonDiskPressure, skip.Reason)
	_, err = recording.NewStore(root, plenty).Start(header())
	require.ErrorAs(t, err, &skip)
	require.Equal(t, recording.ReasonOpenFailed, skip.Reason)
}

func FuzzOutput(f *testing.F) {
	f.Add([]byte("plain"))
	f.Add([]byte{0xff, 0, 0xe2, 0x82, '"', '\\'})
	f.Add(bytes.Repeat([]byte{1}, 5000))
	f.Fuzz(func(t *testing.T, p []byte) {
		dir, s := setup(t)
		r, err := s.Start(header())
		require.NoError(t, err)
		r.Output(p)
		require.EqualValues(t, len(p), r.Close().Bytes)
		out, _ := read(t, dir, "o")
		require.LessOrEqual(t, len(out), len(p))
		require.GreaterOrEqual(t, len(out), utf8.RuneCount(p))
	})
}
