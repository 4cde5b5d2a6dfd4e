package recording_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	decoy "github.com/decnet/decnet/decoys/recording"
	"github.com/decnet/decnet/internal/recording"
)

const (
	sid   = "5a0e6b1c-1f7e-4a6c-9b3e-1b2f1c2d3e4f"
	other = "00000000-1f7e-4a6c-9b3e-1b2f1c2d3e4f"
)

var noon = time.Date(2026, 5, 8, 12, 0, 0, 0, time.UTC)

func place() recording.Place {
	return recording.Place{DeckyKey: "web-01", Service: "ssh", SID: sid, Started: noon, Ended: noon.Add(time.Minute)}
}

// write makes the shard of a day and returns the artifacts root.
func write(t testing.TB, root, day string, lines ...string) {
	t.Helper()
	dir := filepath.Join(root, "web-01", "ssh", "transcripts")
	require.NoError(t, os.MkdirAll(dir, 0o750))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "sessions-"+day+".jsonl"), []byte(strings.Join(lines, "\n")+"\n"), 0o600))
}

func in(session, rest string) string { return `{"sid":"` + session + `",` + rest + `}` }

func read(t testing.TB, root string, p recording.Place) (recording.Header, []recording.Event) {
	t.Helper()
	r, err := recording.Open(t.Context(), root, p)
	require.NoError(t, err)
	defer r.Close()
	var events []recording.Event
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return r.Header(), events
		}
		require.NoError(t, err)
		events = append(events, e)
	}
}

func TestReader_ReadsOneSessionAmongOthers(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write(t, root, "2026-05-08",
		in(other, `"hdr":{"version":2,"width":1,"height":1,"timestamp":1,"env":{}}`),
		in(sid, `"hdr":{"version":2,"width":132,"height":50,"timestamp":1778241600,"env":{"SHELL":"/bin/bash","TERM":"xterm"},"command":"top"}`),
		in(other, `"t":0.5,"ch":"o","d":"not mine `+sid+`"`),
		in(sid, `"t":0.25,"ch":"o","d":"$ \u001b[0m"`),
		in(sid, `"t":1.5,"ch":"i","d":"ls\r"`),
		in(sid, `"t":1.25,"ch":"o","d":"earlier"`),
		in(sid, `"t":2,"ch":"r","d":"120x99999"`),
		in(sid, `"trunc":true`),
		in(sid, `"t":3,"ch":"o","d":"after the end"`),
	)
	h, events := read(t, root, place())
	require.Equal(t, recording.Header{Width: 132, Height: 50, Timestamp: 1778241600, Shell: "/bin/bash", Term: "xterm", Command: "top"}, h)
	require.Equal(t, []recording.Event{
		{T: 0.25, Channel: 'o', Data: "$ \x1b[0m"}, {T: 1.5, Channel: 'i', Data: "ls\r"}, {T: 1.5, Channel: 'o', Data: "earlier"},
		{T: 2, Channel: 'r', Data: "120x1000"}, {T: 2, Channel: 'm', Data: recording.Truncated},
	}, events)
}

func TestReader_PassesOverWhatIsMalformed(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	var lines []string
	for _, rest := range []string{
		`"t":"1","ch":"o","d":"x"`, `"t":true,"ch":"o","d":"x"`, `"t":null,"ch":"o","d":"x"`, `"ch":"o","d":"x"`, `"t":-1,"ch":"o","d":"x"`,
		`"t":1e999,"ch":"o","d":"x"`, `"t":1e300,"ch":"o","d":"x"`, `"t":1,"ch":"x","d":"x"`, `"t":1,"ch":"oo","d":"x"`, `"t":1,"d":"x"`,
		`"t":1,"ch":"o","d":null`, `"t":1,"ch":"o","d":7`, `"t":1,"ch":"o","d":["x"]`, `"t":1,"ch":"r","d":"wide"`, `"t":1,"ch":"r","d":"1x2\n"`,
		`"hdr":"none"`, `"hdr":{"width":"wide"}`, `"t":1,"ch":"o"`, `"t":1,"ch":"o","d":"` + strings.Repeat("x", 70<<10) + `"`,
	} {
		lines = append(lines, in(sid, rest))
	}
	lines = append(lines, `["`+sid+`"]`, `null`, ``, `{"sid":"`+sid+`"`, in(sid, `"t":2,"ch":"o","d":"good"`))
	write(t, root, "2026-05-08", lines...)
	h, events := read(t, root, place())
	require.Equal(t, recording.Header{Width: 80, Height: 24, Timestamp: noon.Unix()}, h)
	require.Equal(t, []recording.Event{{T: 2, Channel: 'o', Data: "good"}}, events)
}

func TestReader_MendsTornCharacters(t *testing.T) {
	t.Parallel()
	output := func(data string) string { return in(sid, `"t":1,"ch":"o","d":"`+data+`"`) }
	for name, c := range map[string]struct {
		lines []string
		want  []string
	}{
		"two bytes":                       {[]string{output(`caf\u00c3`), output(`\u00a9!`)}, []string{"café", "!"}},
		"input between":                   {[]string{output(`\u00c3`), in(sid, `"t":1,"ch":"i","d":"\u00a9"`), output(`\u00a9`)}, []string{"é", "\u00a9"}},
		"four bytes in three events":      {[]string{output(`x\u00f0\u009f`), output(`\u0098`), output(`\u0080y`)}, []string{"x😀", "y"}},
		"not completed":                   {[]string{output(`voil\u00e0`), output(`!`)}, []string{"voilà", "!"}},
		"a letter at the end":             {[]string{output(`voil\u00e0`)}, []string{"voilà"}},
		"completed to no character":       {[]string{output(`\u00ed`), output(`\u00a0\u0080`)}, []string{"\u00ed", "\u00a0\u0080"}},
		"raw bytes":                       {[]string{output("caf\xc3"), output("\xa9 \xff")}, []string{"café", " \u00ff"}},
		"whole characters stay":           {[]string{output("é"), output("日本")}, []string{"é", "日本"}},
		"only continuation":               {[]string{output(`\u0080\u0080\u0080\u0080`), output(`\u0080`)}, []string{"\u0080\u0080\u0080\u0080", "\u0080"}},
		"unfinished and nothing after it": {[]string{output(`\u00e2\u0082`)}, []string{"\u00e2\u0082"}},
	} {
		root := t.TempDir()
		write(t, root, "2026-05-08", c.lines...)
		_, events := read(t, root, place())
		var got []string
		for _, e := range events {
			got = append(got, e.Data)
		}
		require.Equal(t, c.want, got, name)
	}
}

func TestOpen_FindsTheShard(t *testing.T) {
	t.Parallel()
	line := in(sid, `"t":1,"ch":"o","d":"x"`)
	for day, found := range map[string]bool{"2026-05-08": true, "2026-05-07": true, "2026-05-09": false, "2026-05-06": false} {
		root := t.TempDir()
		write(t, root, day, line)
		_, err := recording.Open(t.Context(), root, place())
		require.Equal(t, found, err == nil, day)
	}
	late := place()
	late.Ended = noon.Add(20 * time.Hour)
	root := t.TempDir()
	write(t, root, "2026-05-08", in(other, `"t":1,"ch":"o","d":"x"`))
	write(t, root, "2026-05-09", line)
	_, events := read(t, root, late)
	require.Len(t, events, 1)

	for _, change := range []func(*recording.Place){
		func(p *recording.Place) { p.SID = other[:35] }, func(p *recording.Place) { p.SID = strings.ToUpper(sid) },
		func(p *recording.Place) { p.Service = "smtp" }, func(p *recording.Place) { p.DeckyKey = "../web-01" },
		func(p *recording.Place) { p.DeckyKey = "import:x" }, func(p *recording.Place) { p.DeckyKey = "" },
	} {
		p := late
		change(&p)
		_, err := recording.Open(t.Context(), root, p)
		require.ErrorIs(t, err, recording.ErrNotFound)
	}
	_, err := recording.Open(t.Context(), filepath.Join(root, "nowhere"), late)
	require.ErrorIs(t, err, recording.ErrNotFound)
}

// TestWriteCast_OfARealRecording reads what the decoys' own recorder wrote.
func TestWriteCast_OfARealRecording(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	dir := filepath.Join(base, "web-01", "ssh")
	require.NoError(t, os.MkdirAll(dir, 0o750))
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	t.Cleanup(func() { _ = root.Close() })
	require.NoError(t, decoy.Prepare(root))
	now := time.Now()
	s, err := decoy.NewStore(root, func() (uint64, error) { return 1 << 40, nil }).
		Start(decoy.Header{SID: sid, Width: 100, Height: 30, Shell: "/bin/bash", Term: "xterm-256color", Start: now})
	require.NoError(t, err)
	text := "<b>& é 日本 😀\r\n"
	for i := range len(text) {
		s.Output([]byte(text[i : i+1]))
	}
	s.Input([]byte("exit\r"))
	s.Resize(90, 20)
	s.Close()

	p := place()
	p.Started, p.Ended = now, now
	r, err := recording.Open(t.Context(), base, p)
	require.NoError(t, err)
	defer r.Close()
	var cast bytes.Buffer
	require.NoError(t, recording.WriteCast(&cast, r))
	require.Contains(t, cast.String(), "<")
	lines := strings.Split(strings.TrimSuffix(cast.String(), "\n"), "\n")
	require.JSONEq(t, `{"version":2,"width":100,"height":30,"timestamp":`+strconv.FormatInt(now.Unix(), 10)+
		`,"env":{"SHELL":"/bin/bash","TERM":"xterm-256color"}}`, lines[0])
	all := map[string]string{}
	for _, l := range lines[1:] {
		var e []any
		require.NoError(t, json.Unmarshal([]byte(l), &e))
		require.Len(t, e, 3)
		require.IsType(t, 0.0, e[0])
		all[e[1].(string)] += e[2].(string)
	}
	require.Equal(t, map[string]string{"o": text, "i": "exit\r", "r": "90x20"}, all)
}

func FuzzReader(f *testing.F) {
	f.Add([]byte(in(sid, `"hdr":{"width":80,"height":24,"timestamp":1}`) + "\n" + in(sid, `"t":1,"ch":"o","d":"\u00c3"`) + "\n" + in(sid, `"t":2,"ch":"o","d":"\u00a9"`)))
	f.Add([]byte(in(sid, `"t":1,"ch":"o","d":"`+"\xf0\x9f") + "\n"))
	f.Add([]byte(in(sid, `"trunc":true`) + "\n" + in(sid, `"t":0,"ch":"i"`)))
	root := f.TempDir()
	dir := filepath.Join(root, "web-01", "ssh", "transcripts")
	require.NoError(f, os.MkdirAll(dir, 0o750))
	f.Fuzz(func(t *testing.T, shard []byte) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "sessions-2026-05-08.jsonl"), shard, 0o600))
		r, err := recording.Open(t.Context(), root, place())
		if err != nil {
			require.ErrorIs(t, err, recording.ErrNotFound)
			return
		}
		defer r.Close()
		var cast bytes.Buffer
		require.NoError(t, recording.WriteCast(&cast, r))
		require.True(t, utf8.Valid(cast.Bytes()))
		last := 0.0
		for i, l := range bytes.Split(bytes.TrimSuffix(cast.Bytes(), []byte("\n")), []byte("\n")) {
			if i == 0 {
				continue
			}
			var e []any
			require.NoError(t, json.Unmarshal(l, &e), "%q", l)
			at, ok := e[0].(float64)
			require.True(t, ok)
			require.GreaterOrEqual(t, at, last)
			last = at
		}
	})
}
