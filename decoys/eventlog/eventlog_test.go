package eventlog_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/decoys/eventlog"
)

func fixed() time.Time { return time.Date(2026, 2, 3, 4, 5, 6, 7000, time.UTC) }

func TestEmit_WritesBootAndLineNumberFirst(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	l := eventlog.New(&b, "web-01", "ssh", "b1", 5, fixed)
	l.Emit(eventlog.Event{MsgID: "ready", Fields: []eventlog.Field{eventlog.Int("revision", 7)}})
	l.Emit(eventlog.Event{App: "sessrec", PRI: eventlog.Warning, MsgID: "x", Msg: "CMD a"})
	require.Equal(t, `<134>1 2026-02-03T04:05:06.000007+00:00 web-01 ssh - ready [relay@55555 boot="b1" n="5" revision="7"]
<132>1 2026-02-03T04:05:06.000007+00:00 web-01 sessrec - x [relay@55555 boot="b1" n="6"] CMD a
`, b.String())
}

func TestEmit_CannotBeForged(t *testing.T) {
	t.Parallel()
	for _, evil := range []string{"a\n<134>1 x", `"] forged [`, "a]b\\", "\x00\x1b\u2028", "\xff\xfe", strings.Repeat("]", 60000)} {
		var b bytes.Buffer
		l := eventlog.New(&b, "h"+evil, "ssh", "b", 1, fixed)
		l.Emit(eventlog.Event{MsgID: "e", Fields: []eventlog.Field{eventlog.F("a", evil), eventlog.F("b", evil), eventlog.F("c", "z")}, Msg: evil})
		checkLine(t, b.Bytes())
	}
}

func TestLog_CountsFailedWritesAndGoesOn(t *testing.T) {
	t.Parallel()
	l := eventlog.New(broken{}, "h", "ssh", "b", 1, nil)
	l.Emit(eventlog.Event{MsgID: "e"})
	require.EqualValues(t, 1, l.Failed())
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("disk full") }

var headLine = regexp.MustCompile(`^<\d+>1 \S+ \S+ \S+ - \S+ \[relay@55555 `)

// checkLine asserts the invariant of the package and returns the fields as a parser of RFC 5424 reads them.
func checkLine(t *testing.T, line []byte) map[string]string {
	t.Helper()
	require.Less(t, len(line), 16<<10)
	require.True(t, utf8.Valid(line))
	require.Equal(t, 1, bytes.Count(line, []byte("\n")))
	require.Regexp(t, headLine, string(line))
	s := string(line)
	s = s[strings.Index(s, "[relay@55555")+len("[relay@55555"):]
	out := map[string]string{}
	for s[0] == ' ' {
		eq := strings.Index(s, `="`)
		key := s[1:eq]
		i, v := eq+2, ""
		for s[i] != '"' {
			if s[i] == '\\' {
				i++
			}
			v += s[i : i+1]
			i++
		}
		out[key] = v
		s = s[i+1:]
	}
	require.Equal(t, byte(']'), s[0])
	return out
}

func FuzzEmit(f *testing.F) {
	for _, s := range []string{"", "plain", "a\nb", `\"]`, "\xff", "\u2029", strings.Repeat(`"`, 9000)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, v string) {
		var b bytes.Buffer
		eventlog.New(&b, v, "ssh", "b", 1, fixed).Emit(eventlog.Event{MsgID: "e", Fields: []eventlog.Field{eventlog.F("a", v)}, Msg: v})
		got := checkLine(t, b.Bytes())
		want := eventlog.Spell(v)
		require.True(t, strings.HasPrefix(want, got["a"]))
		if len(want) < 2000 {
			require.Equal(t, want, got["a"])
		}
		require.Equal(t, want, eventlog.Spell(want))
	})
}

func TestItems_StayValidJSONWhenFull(t *testing.T) {
	t.Parallel()
	l := eventlog.NewItems(40)
	for _, s := range []string{"plain", "\"\\\n\u200b\xff", "😀", strings.Repeat("x", 100)} {
		l.Add(eventlog.Quote(s, 50))
	}
	require.LessOrEqual(t, len(l.List()), 40)
	var got []string
	require.NoError(t, json.Unmarshal([]byte(l.List()), &got))
	require.Equal(t, []string{"plain", "\"\\\n\u200b\ufffd"}, got)
	require.Equal(t, l.List(), eventlog.Spell(l.List()))
	require.Equal(t, `"\ud83d\ude00"`, eventlog.Quote("😀", 4))
}
