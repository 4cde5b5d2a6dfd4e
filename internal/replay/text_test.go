package replay_test

import (
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/replay"
)

func textOf(pieces ...string) string {
	x := replay.NewText()
	var b strings.Builder
	for _, p := range pieces {
		b.WriteString(x.Rewrite(p))
	}
	return b.String() + x.Reset()
}

func TestText_IsWhatWasLeftOnTheLines(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		in   []string
		want string
	}{
		"lines":               {[]string{"a\r\n", "b\r\n\r\n", "c"}, "a\nb\n\nc\n"},
		"colours":             {[]string{"\x1b[31mred\x1b[0m\r\n"}, "red\n"},
		"corrected":           {[]string{"lss\b \b -la\r\n"}, "ls -la\n"},
		"written over":        {[]string{"50%\r100%\r\n"}, "100%\n"},
		"erased":              {[]string{"secret\r\x1b[Kshown\r\n", "all\x1b[2K\r\n", "abc\x1b[2D\x1b[1K\r\n"}, "shown\n\n  c\n"},
		"moved":               {[]string{"abcdef\x1b[3D\x1b[PX\x1b[2@\x1b[1GY\x1b[2XZ\r\n"}, "YZ X  f\n"},
		"tabulators":          {[]string{"a\tb\x1b[3Cc\r\n"}, "a       b   c\n"},
		"another line":        {[]string{"top\x1b[5;3Hbottom"}, "top\n  bottom\n"},
		"repeated":            {[]string{"-\x1b[4b\r\n"}, "-----\n"},
		"clipboard and title": {[]string{"\x1b]52;c;AA\x07\x1b]0;t\x07x\x1b[?2004h\x1b[6n\r\n"}, "x\n"},
		"nothing":             {nil, ""},
		"without an end":      {[]string{strings.Repeat("x", 5000)}, strings.Repeat("x", 4096) + "\n" + strings.Repeat("x", 904) + "\n"},
		"far away":            {[]string{"\x1b[9999C\x1b[9999Cx"}, "\nx\n"},
	} {
		require.Equal(t, c.want, textOf(c.in...), name)
	}
}

func FuzzText(f *testing.F) {
	for _, s := range []string{"a\r\nb", "lss\b \b", "\x1b[9999C\x1b[9999@x\x1b[1K", "\x1b[5;5Hx\x1b[2X", "\x1b[9999b", "\x1b]0;x", "x\x1b[P\x1b[2K\x1b[J\x1b[1J"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		out := textOf(s)
		for _, r := range out {
			require.True(t, r == '\n' || unicode.IsGraphic(r), "%q in %q", r, out)
		}
		for line := range strings.Lines(out) {
			require.LessOrEqual(t, len([]rune(line)), 4097)
		}
	})
}
