package replay_test

import (
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/replay"
)

func TestFilter_PassesWhatDraws(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"root@web-01:~# ls\r\n", "tab\tback\b \b", "äöü 漢字 🙂 e\u0301",
		"\x1b[31mred\x1b[0m", "\x1b[1;38;5;208mx\x1b[m", "\x1b[38:2::10:20:30mx", "\x1b[;1H", "\x1b[12;40H", "\x1b[2J\x1b[H", "\x1b[K", "\x1b[1K",
		"\x1b[3A\x1b[B\x1b[10C\x1b[D", "\x1b7\x1b[5;10r\x1b8", "\x1b[s\x1b[u", "\x1b[4P\x1b[2@\x1b[3X\x1b[L\x1b[M", "\x1bM\x1bD\x1bE",
		"\x1b[?25l\x1b[?25h", "\x1b[?7l", "\x1b[?1049hvim\x1b[?1049l", "-\x1b[79b",
	} {
		require.Equal(t, s, replay.NewFilter().Rewrite(s), "%q", s)
	}
}

func TestFilter_StopsWhatHarms(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ in, want string }{
		"clipboard":                     {"a\x1b]52;c;cm0gLXJmIH4K\x07b", "ab"},
		"clipboard, other end":          {"a\x1b]52;c;cm0gLXJmIH4K\x1b\\b", "ab"},
		"clipboard, cut by a new line":  {"a\x1b]52;c;cm0g\x1b[31mb", "a\x1b[31mb"},
		"title":                         {"\x1b]0;owned\x07\x1b]2;owned\x07", ""},
		"link":                          {"\x1b]8;;file:///etc/passwd\x1b\\click\x1b]8;;\x1b\\", "click"},
		"notification and palette":      {"\x1b]9;hi\x07\x1b]777;notify;a;b\x07\x1b]4;1;?\x07\x1b]10;?\x07\x1b]1337;File=x:AA\x07", ""},
		"device attributes":             {"\x1b[c\x1b[0c\x1b[>c\x1b[=c\x1bZ", ""},
		"status and position":           {"\x1b[5n\x1b[6n\x1b[?6n\x1b[?15n", ""},
		"settings asked for":            {"\x1bP$qm\x1b\\\x1b[?2004$p\x1b[4$p\x1b[>q\x1b[1x\x1b[?u", ""},
		"termcap and macros":            {"\x1bP+q544e\x1b\\\x1bP1;0;0!zAA\x1b\\\x1b[1*z", ""},
		"sixel":                         {"\x1bPq#0;2;0;0;0~-\x1b\\after", "after"},
		"window":                        {"\x1b[3;0;0t\x1b[8;1;1t\x1b[21t\x1b[22;0t\x1b[2t", ""},
		"APC, PM and SOS":               {"\x1b_Gi=1;AA\x1b\\a\x1b^x\x1b\\b\x1bXy\x1b\\c", "abc"},
		"control characters of eight":   {"\u009b31mx\u009d52;c;AA\u009cy\u0090z", "31mx52;c;AAyz"},
		"characters sets":               {"\x1b(0lqk\x0ex\x0f\x1b)0\x1b*A\x1bN\x1bO\x1bn\x1bo\x1b%@\x1b%G\x1b F\x1b G", "lqkx"},
		"pasting, mouse, focus":         {"\x1b[?2004h\x1b[?1000h\x1b[?1006h\x1b[?1004h\x1b[?9h", ""},
		"keyboard":                      {"\x1b[?1h\x1b=\x1b>\x1b[>4;2m\x1b[>1u\x1b[=1u\x1b[<u\x1b[2h\x1b[4h\x1b[20h\x1b[?67h", ""},
		"only some of several modes":    {"\x1b[?25;2004;7l", "\x1b[?25l\x1b[?7l"},
		"columns, colours, origin":      {"\x1b[?3h\x1b[?5h\x1b[?6h\x1b[?40h\x1b[?1002;1003h", ""},
		"what scrolled away":            {"\x1b[3J\x1b[J", "\x1b[J"},
		"margins and tabulators":        {"\x1b[1;5s\x1bH\x1b[g\x1b[3g", ""},
		"printer and lights":            {"\x1b[i\x1b[5i\x1b[?5i\x1b[1q\x1b[ q\x1b[!p\x1b[61\"p", ""},
		"mouse by another name":         {"\x1b[1;1;1;1;1T", ""},
		"screen of E":                   {"\x1b#8", ""},
		"bell, enquiry, others":         {"\x07\x05\x00\x7f\x11\x13", ""},
		"direction of text":             {"a\u202eb\u2066c\u200fd\u2028e\ufeff", "abcde"},
		"unknown shapes":                {"\ue0b0\U000f0000", "\ufffd\ufffd"},
		"a reset is an empty screen":    {"\x1b[?1049hx\x1bc", "\x1b[?1049hx\x1b[?1049l\x1b[m\x1b[r\x1b[?7h\x1b[?25h\x1b[H\x1b[2J"},
		"the other screen once":         {"\x1b[?47h\x1b[?1047h\x1b[?1049h\x1b[?47l\x1b[?1049l", "\x1b[?1049h\x1b[?1049l"},
		"large numbers":                 {"\x1b[99999A\x1b[9999b\x1b[99999999999999999999A", "\x1b[9999A"},
		"many numbers":                  {"\x1b[" + strings.Repeat("1;", 100) + "1H", ""},
		"a sequence within a sequence":  {"\x1b[3\x1b[1mx\x1b\x1b[2mx", "\x1b[1mx\x1b[2mx"},
		"a control within a sequence":   {"\x1b[3\n1mx", "\n\x1b[31mx"},
		"cancelled":                     {"\x1b]0;a\x18b\x1b[3\x1ac", "bc"},
		"a sequence at the end":         {"a\x1b[", "a"},
		"characters within a string":    {"\x1b]0;✜✛\x07after", "after"},
		"characters within a device's":  {"\x1bPq✛\x1b\\after", "after"},
		"invalid bytes":                 {"\xff\xc3", "\ufffd\ufffd"},
		"private use of a final letter": {"\x1b[<0;1;1M\x1b[>1M\x1b[=5l", ""},
	} {
		require.Equal(t, c.want, replay.NewFilter().Rewrite(c.in), name)
	}
}

func TestFilter_AStringWithoutAnEndHidesNothingForEver(t *testing.T) {
	t.Parallel()
	f := replay.NewFilter()
	require.Empty(t, f.Rewrite("\x1b]0;"+strings.Repeat("x", 60<<10)))
	got := f.Rewrite(strings.Repeat("✛", 4<<10) + "\r\nwhoami\r\n")
	require.True(t, strings.HasSuffix(got, "✛\r\nwhoami\r\n"))
	require.Less(t, len(got), 64)
}

func TestFilter_PutsTheTerminalInOrder(t *testing.T) {
	t.Parallel()
	const always = "\x1b[m\x1b[?7h\x1b[?25h\r\n"
	f := replay.NewFilter()
	require.Equal(t, always, f.Reset())
	f.Rewrite("\x1b[?1049h\x1b[2;5r\x1b[?25l")
	require.Equal(t, "\x1b[?1049l\x1b7\x1b[r\x1b8"+always, f.Reset())
	require.Equal(t, always, f.Reset())
}

func TestFilter_KeepsItsPlaceBetweenPieces(t *testing.T) {
	t.Parallel()
	const in = "a\x1b[38;5;1mb\x1b]52;c;AAAA\x07c\x1b[?1049h漢\x1b[?2004h\x1b[6nd"
	whole := replay.NewFilter().Rewrite(in)
	f := replay.NewFilter()
	var parts strings.Builder
	for _, r := range in {
		parts.WriteString(f.Rewrite(string(r)))
	}
	require.Equal(t, "a\x1b[38;5;1mbc\x1b[?1049h漢d", whole)
	require.Equal(t, whole, parts.String())
}

// allowed is everything that may come out, written down once more without the code that writes it.
var allowed = regexp.MustCompile(`^(?:[^\x00-\x1f\x7f-\x{9f}]|[\x08-\x0d]|\x1b[78DEM]|\x1b\[\?(?:7|25|1049)[hl]` +
	`|\x1b\[[0-9]{0,4}[A-FGIKLMPSTXZ@` + "`" + `abde]|\x1b\[[012]?J|\x1b\[(?:[0-9]{0,4};)?[0-9]{0,4}[Hfr]|\x1b\[[su]|\x1b\[[0-9;:]*m)*$`)

func requireAllowed(t *testing.T, out string) {
	t.Helper()
	require.True(t, utf8.ValidString(out))
	require.Regexp(t, allowed, out)
	for _, forbidden := range []string{"\x1b]", "\x1bP", "\x1b_", "\x1b^", "\x1bX", "\x1bc", "\x1b(", "\x1b)", "\x1bZ", "\x1b=", "\x1b>", "\x07", "\x0e", "\x1b[?2004", "\x1b[?1000", "\x1b[?1h"} {
		require.NotContains(t, out, forbidden)
	}
	require.False(t, strings.ContainsFunc(out, func(r rune) bool {
		return r == 0x7f || r >= 0x80 && r <= 0x9f || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp)
	}))
	require.NotRegexp(t, `\x1b\[[0-9;:?<=>]*[cntpqxyz{|}~ghlioQRVWjkvw]`, strings.NewReplacer(
		"\x1b[?7h", "", "\x1b[?7l", "", "\x1b[?25h", "", "\x1b[?25l", "", "\x1b[?1049h", "", "\x1b[?1049l", "").Replace(out))
}

func FuzzFilter(f *testing.F) {
	for _, s := range []string{
		"plain\r\n", "\x1b]52;c;AA\x07", "\x1b[31m\x1b[?2004h", "\x1bP$qm\x1b\\", "\u009b6n", "\x1b[?1049h\x1bc\x1b[3J", "\x1b(0", "\x1b[1;1;1;1;1T",
		"\x1b[4:3m\x1b[38:2::1:2:3m", "\x1b_x\x1b\\", "\x1b[21t", "\x1b\x1b[c", "\x1b[\x1b]0;x\x1b[5n", "\xc2\x9b6n", "\xe2\x9c", "\x1b[99999999999999999999m",
	} {
		f.Add(s, 3)
	}
	f.Fuzz(func(t *testing.T, s string, at int) {
		filter := replay.NewFilter()
		out := filter.Rewrite(s)
		requireAllowed(t, replaceResets(out))
		requireAllowed(t, filter.Reset())

		s = strings.ToValidUTF8(s, "\ufffd")
		at = boundary(s, at)
		parts := replay.NewFilter()
		joined := parts.Rewrite(s[:at])
		joined += parts.Rewrite(s[at:])
		require.Equal(t, replay.NewFilter().Rewrite(s), joined)
		require.Equal(t, out, replay.NewFilter().Rewrite(out), "what passed passes again")
	})
}

// replaceResets is for what an empty screen is made of; every part of it is allowed.
func replaceResets(out string) string { return strings.ReplaceAll(out, "\x1b[m\x1b[r", "") }

func boundary(s string, at int) int {
	if at < 0 || at > len(s) {
		return len(s)
	}
	for at < len(s) && !utf8.RuneStart(s[at]) {
		at++
	}
	return at
}
