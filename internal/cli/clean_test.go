package cli_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/cli"
)

func TestClean_ReplacesWhatSteersATerminal(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain text äöü 漢字 🙂": "plain text äöü 漢字 🙂",
		"":                    "",
		"\x1b[31mred\x1b[0m":  `\x1b[31mred\x1b[0m`,
		"\x1b]0;title\x07":    `\x1b]0;title\x07`,
		"a\nb\rc\td":          `a\nb\x0dc\td`,
		"csi \u009b31m":       `csi \u009b31m`,
		"\u202egnp.exe":       `\u202egnp.exe`,
		"zero\u200bwidth":     `zero\u200bwidth`,
		"bad \xff utf":        `bad \xff utf`,
		"line\u2028separator": `line\u2028separator`,
		"tag \U000e0041":      `tag \U000e0041`,
		"del \x7f":            `del \x7f`,
	} {
		require.Equal(t, want, cli.Clean(in), "%q", in)
	}
}

func FuzzClean(f *testing.F) {
	for _, seed := range []string{"", "abc", "\x1b[2J", "\u009b", "\xf0\x28", "a\u202eb", "\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := cli.Clean(s)
		require.True(t, utf8.ValidString(got))
		require.False(t, strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }), "%q", got)
		require.Equal(t, got, cli.Clean(got))
	})
}

func TestTable_ServerTextCannotSteerTheTerminal(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	evil, err := json.Marshal("\x1b[2Jowned\u202e\u009b1A")
	require.NoError(t, err)
	api.answer("GET /deckies", 200, `{"items":[{"name":`+string(evil)+`,"state":"running","services":[{"name":`+string(evil)+`}]}],"next_cursor":`+string(evil)+`}`)
	api.answer("GET /deckies/x", 404, problem("x\x1b", 404, "\x1b[31mgone"))
	b := setup(t, api)
	b.terminals = "in out err"

	out, errOut, err := b.run("deckies", "list")
	require.NoError(t, err)
	requireHarmless(t, out+errOut)
	require.Contains(t, out, `\x1b[2Jowned\u202e\u009b1A`)

	_, _, err = b.run("deckies", "show", "x")
	require.Error(t, err)
	requireHarmless(t, err.Error())

	out, _, err = b.run("deckies", "list", "-o", "json")
	require.NoError(t, err)
	requireHarmless(t, out)
	var l struct {
		Items []struct{ Name string } `json:"items"`
	}
	require.NoError(t, json.Unmarshal([]byte(out), &l))
	require.Equal(t, "\x1b[2Jowned\u202e\u009b1A", l.Items[0].Name)
}

func requireHarmless(t *testing.T, s string) {
	t.Helper()
	for _, r := range s {
		require.True(t, r == '\n' || unicode.IsPrint(r), "%q in %q", r, s)
	}
}

func TestJSON_IsVerbatimWhenNobodyWatches(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	body := "{ \"items\": [ ],\"x\":\"\u202e\",\n\t\"next_cursor\":null }"
	api.answer("GET /deckies", 200, body+"\n")
	out, _, err := setup(t, api).run("deckies", "list")
	require.NoError(t, err)
	require.Equal(t, body+"\n", out)
}
