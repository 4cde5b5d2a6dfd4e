package ingest_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/ingest"
)

type collected struct {
	text string
	end  int64
}

// split feeds data in pieces of n bytes.
func split(t testing.TB, s *ingest.Splitter, data []byte, n int) (out []collected) {
	t.Helper()
	for p := range slices.Chunk(data, n) {
		require.NoError(t, s.Feed(p, func(l ingest.Line) error {
			out = append(out, collected{string(l.Text), l.End})
			return nil
		}))
	}
	return out
}

// jsonFile writes lines as the engine does, splitting them into pieces of size bytes.
func jsonFile(size int, lines ...string) []byte {
	var b bytes.Buffer
	for _, l := range lines {
		for piece := range slices.Chunk([]byte(l+"\n"), size) {
			object(&b, string(piece), "stdout")
		}
	}
	return b.Bytes()
}

func object(b *bytes.Buffer, text, stream string) {
	raw, _ := json.Marshal(map[string]string{"log": text, "stream": stream, "time": "2026-02-03T04:05:06.7Z"})
	b.Write(append(raw, '\n'))
}

func TestSplitter_Lines(t *testing.T) {
	t.Parallel()
	data := []byte("one\n\ntwo\r\nthree\nunfinished")
	want := []collected{{"one", 104}, {"", 105}, {"two\r", 110}, {"three", 116}}
	for n := 1; n <= len(data); n++ {
		s := ingest.NewSplitter(ingest.FormatLines, 100)
		require.Equal(t, want, split(t, s, data, n))
		require.Zero(t, s.Dropped())
	}
}

func TestSplitter_RejoinsWhatTheEngineSplit(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é<&>\x1b", 2500)
	data := jsonFile(996, "short", long, "", "end")
	for _, n := range []int{1, 7, 1000, len(data)} {
		got := split(t, ingest.NewSplitter(ingest.FormatJSONFile, 0), data, n)
		require.Len(t, got, 4)
		require.Equal(t, []string{"short", long, "", "end"}, []string{got[0].text, got[1].text, got[2].text, got[3].text})
		require.EqualValues(t, len(data), got[3].end)
	}
}

func TestSplitter_RejoinsAcrossCharactersCutInHalf(t *testing.T) {
	t.Parallel()
	// The engine cuts at bytes; half a character is written as U+FFFD, on both sides.
	got := split(t, ingest.NewSplitter(ingest.FormatJSONFile, 0), jsonFile(2, "aéb"), 64)
	require.Len(t, got, 1)
	require.True(t, strings.HasPrefix(got[0].text, "a\ufffd"))
	require.True(t, strings.HasSuffix(got[0].text, "b"))
}

func TestSplitter_ACursorGoesOnWithTheNextLine(t *testing.T) {
	t.Parallel()
	for format, data := range map[ingest.Format][]byte{
		ingest.FormatLines:    []byte("one\ntwo two\nthree\n"),
		ingest.FormatJSONFile: jsonFile(3, "one", "two two", "three"),
	} {
		all := split(t, ingest.NewSplitter(format, 0), data, 5)
		require.Len(t, all, 3)
		for i, l := range all {
			rest := split(t, ingest.NewSplitter(format, l.end), data[l.end:], 4)
			require.Equal(t, all[i+1:], append([]collected{}, rest...), "after line %d", i)
		}
	}
}

func TestSplitter_OnlyStandardOutputCounts(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	object(&b, "first ", "stdout")
	object(&b, "noise", "stderr")
	object(&b, "noise\n", "stderr")
	object(&b, "second\n", "stdout")
	got := split(t, ingest.NewSplitter(ingest.FormatJSONFile, 0), b.Bytes(), 10)
	require.Equal(t, []collected{{"first second", int64(b.Len())}}, got)
}

func TestSplitter_LeavesOutWhatIsTooLongAndGoesOn(t *testing.T) {
	t.Parallel()
	fits, tooLong := strings.Repeat("x", ingest.MaxLineBytes), strings.Repeat("y", ingest.MaxLineBytes+1)
	for format, data := range map[ingest.Format][]byte{
		ingest.FormatLines:    []byte(fits + "\n" + tooLong + "\n" + strings.Repeat("z", 1<<20) + "\nnext\n"),
		ingest.FormatJSONFile: jsonFile(16<<10, fits, tooLong, strings.Repeat("z", 1<<20), "next"),
	} {
		for _, n := range []int{1000, 1 << 22} {
			s := ingest.NewSplitter(format, 0)
			got := split(t, s, data, n)
			require.Len(t, got, 2)
			require.Equal(t, []string{fits, "next"}, []string{got[0].text, got[1].text})
			require.EqualValues(t, 2, s.Dropped())
		}
	}
}

func TestSplitter_BrokenObjectsCostTheirLineOnly(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{
		"not json", "{", `{"log":5,"stream":"stdout"}`, `{"stream":"stdout"}`, "", strings.Repeat(" ", 200_000), "[]", "null",
	} {
		var b bytes.Buffer
		object(&b, "before\n", "stdout")
		object(&b, "begun ", "stdout")
		b.WriteString(bad + "\n")
		object(&b, "rest\n", "stdout")
		object(&b, "after\n", "stdout")
		s := ingest.NewSplitter(ingest.FormatJSONFile, 0)
		got := split(t, s, b.Bytes(), 100)
		require.Len(t, got, 2, bad)
		require.Equal(t, []string{"before", "after"}, []string{got[0].text, got[1].text})
		require.EqualValues(t, 1, s.Dropped())
	}
}

func TestSplitter_Rotate(t *testing.T) {
	t.Parallel()
	a, b := jsonFile(4, "split in two"), jsonFile(100, "next")
	at := bytes.IndexByte(a, '\n') + 1
	s := ingest.NewSplitter(ingest.FormatJSONFile, 0)
	require.Empty(t, split(t, s, a[:at], 9))
	s.Rotate()
	got := split(t, s, append(a[at:], b...), 9)
	require.Equal(t, []string{"split in two", "next"}, []string{got[0].text, got[1].text})
	require.EqualValues(t, len(a)-at, got[0].end)

	s = ingest.NewSplitter(ingest.FormatLines, 0)
	require.Empty(t, split(t, s, []byte("half"), 9))
	s.Rotate()
	require.Equal(t, []collected{{"whole", 6}}, split(t, s, []byte("whole\n"), 9))
	require.EqualValues(t, 1, s.Dropped())
}

func TestSplitter_StopsAtAnError(t *testing.T) {
	t.Parallel()
	stop := errors.New("stop")
	n := 0
	err := ingest.NewSplitter(ingest.FormatLines, 0).Feed([]byte("a\nb\n"), func(ingest.Line) error {
		n++
		return stop
	})
	require.ErrorIs(t, err, stop)
	require.Equal(t, 1, n)
}

func FuzzSplitter(f *testing.F) {
	f.Add(jsonFile(5, "hello", "wörld"), 3, true)
	f.Add([]byte("a\nb\n\nc"), 1, false)
	f.Fuzz(func(t *testing.T, data []byte, n int, engine bool) {
		format := ingest.FormatLines
		if engine {
			format = ingest.FormatJSONFile
		}
		whole, pieces := ingest.NewSplitter(format, 0), ingest.NewSplitter(format, 0)
		want := split(t, whole, data, len(data)+1)
		got := split(t, pieces, data, 1+max(n, 0)%64)
		require.Equal(t, want, got)
		require.Equal(t, whole.Dropped(), pieces.Dropped())
		for _, l := range want {
			require.LessOrEqual(t, len(l.text), ingest.MaxLineBytes)
			require.Equal(t, byte('\n'), data[l.end-1])
		}
		if !engine {
			lines := bytes.Split(data, []byte("\n"))
			require.Len(t, want, len(lines)-1-int(whole.Dropped()))
		}
	})
}

func TestSplitter_EndIsAlsoAfterWhatIsLeftOut(t *testing.T) {
	t.Parallel()
	none := func(ingest.Line) error { return nil }
	long := strings.Repeat("x", ingest.MaxLineBytes+1) + "\n"
	s := ingest.NewSplitter(ingest.FormatLines, 5)
	require.Equal(t, int64(5), s.End())
	require.NoError(t, s.Feed([]byte(long+"begun"), none))
	require.Equal(t, int64(5+len(long)), s.End())

	object := func(stream, log string) string {
		return `{"log":"` + log + `","stream":"` + stream + `","time":"2026-02-03T04:05:06Z"}` + "\n"
	}
	s = ingest.NewSplitter(ingest.FormatJSONFile, 0)
	read := 0
	for _, step := range []struct {
		text string
		over bool
	}{
		{object("stderr", `oops\n`), true},
		{object("stdout", `half`), false},
		{object("stderr", `oops\n`), false},
		{object("stdout", ` and half\n`), true},
		{"nothing of the engine\n", false},
		{object("stdout", `the rest of it\n`), true},
	} {
		require.NoError(t, s.Feed([]byte(step.text), none))
		read += len(step.text)
		require.Equal(t, step.over, s.End() == int64(read), step.text)
	}
	require.Equal(t, []uint64{1, 1}, []uint64{s.Dropped(), s.Malformed()})
}
