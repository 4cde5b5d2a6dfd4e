package ingest_test

import (
	"bytes"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/decoys/eventlog"
	"github.com/decnet/decnet/internal/ingest"
)

const head = `<134>1 2026-02-03T04:05:06.000007+00:00 web-01 ssh - `

func parse(t testing.TB, line string) ingest.Record {
	t.Helper()
	r, err := ingest.Parse([]byte(line))
	require.NoError(t, err, line)
	return r
}

func TestParse_ReadsEveryPartOfALine(t *testing.T) {
	t.Parallel()
	line := head + `command [relay@55555 boot="b-1" n="42" sid="s" src_ip="192.0.2.7" src_port="4242" command="echo \"a\\nb\" \]"] CMD uid=0 cmd=x`
	r := parse(t, line+"\n")
	require.Equal(t, ingest.Record{
		Time: time.Date(2026, 2, 3, 4, 5, 6, 7000, time.UTC), PRI: 134, Host: "web-01", App: "ssh", Type: "command",
		Boot: "b-1", Line: 42,
		Fields: ingest.Fields{
			{Key: "sid", Value: "s"},
			{Key: "src_ip", Value: "192.0.2.7"},
			{Key: "src_port", Value: "4242"},
			{Key: "command", Value: `echo "a\nb" ]`},
		},
		Msg: "CMD uid=0 cmd=x", Attacker: netip.MustParseAddr("192.0.2.7"), Port: 4242, Raw: line,
	}, r)
	require.Equal(t, netip.MustParseAddrPort("192.0.2.7:4242"), r.Peer())
}

func TestParse_DoesNotKeepTheBuffer(t *testing.T) {
	t.Parallel()
	buf := []byte(head + `e [relay@55555 boot="b" n="1" k="v\]"] msg`)
	r, err := ingest.Parse(buf)
	require.NoError(t, err)
	clear(buf)
	require.Equal(t, "v]", r.Fields.Get("k"))
	require.Equal(t, "msg", r.Msg)
	require.Equal(t, "web-01", r.Host)
}

func TestParse_RefusesWhatIsNoRecord(t *testing.T) {
	t.Parallel()
	ok := `<134>1 2026-02-03T04:05:06Z h a - m -`
	parse(t, ok)
	replace := func(old, new string) string { return strings.Replace(ok, old, new, 1) }
	data := func(sd string) string { return head + "m " + sd }
	tooMany := data("[relay@55555" + strings.Repeat(` a="b"`, ingest.MaxFields+1) + "]")
	for name, c := range map[string]struct {
		line string
		want error
	}{
		"empty":                {"", ingest.ErrHeader},
		"free text":            {"hello world", ingest.ErrHeader},
		"no priority":          {replace("<134>", ""), ingest.ErrHeader},
		"empty priority":       {replace("<134>", "<>"), ingest.ErrHeader},
		"priority 192":         {replace("134", "192"), ingest.ErrHeader},
		"priority with sign":   {replace("134", "+34"), ingest.ErrHeader},
		"leading zero":         {replace("134", "034"), ingest.ErrHeader},
		"four digits":          {replace("134", "1340"), ingest.ErrHeader},
		"version 2":            {replace(">1 ", ">2 "), ingest.ErrHeader},
		"version 11":           {replace(">1 ", ">11 "), ingest.ErrHeader},
		"no version":           {replace(">1 ", "> "), ingest.ErrHeader},
		"two spaces":           {replace(" h ", "  h "), ingest.ErrHeader},
		"nil time":             {replace("2026-02-03T04:05:06Z", "-"), ingest.ErrTime},
		"host of 256":          {replace(" h ", " "+strings.Repeat("h", 256)+" "), ingest.ErrHeader},
		"application of 49":    {replace(" a ", " "+strings.Repeat("a", 49)+" "), ingest.ErrHeader},
		"process id of 129":    {replace(" - m", " "+strings.Repeat("1", 129)+" m"), ingest.ErrHeader},
		"type of 33":           {replace(" m ", " "+strings.Repeat("m", 33)+" "), ingest.ErrHeader},
		"host not ASCII":       {replace(" h ", " hé "), ingest.ErrHeader},
		"no remainder":         {strings.TrimSuffix(ok, " -"), ingest.ErrHeader},
		"empty remainder":      {strings.TrimSuffix(ok, "-"), ingest.ErrNoRecord},
		"line feed inside":     {replace(" m -", " m - a\n<134>1 x"), ingest.ErrControl},
		"carriage return":      {ok + " a\rb", ingest.ErrControl},
		"NUL":                  {ok + " \x00", ingest.ErrControl},
		"tab":                  {ok + " \t", ingest.ErrControl},
		"escape":               {ok + " \x1b[2J", ingest.ErrControl},
		"DEL":                  {ok + " \x7f", ingest.ErrControl},
		"too long":             {ok + " " + strings.Repeat("x", ingest.MaxLineBytes), ingest.ErrTooLong},
		"element not closed":   {data(`[relay@55555 a="b"`), ingest.ErrData},
		"value not closed":     {data(`[relay@55555 a="b]`), ingest.ErrData},
		"escaped quote at end": {data(`[relay@55555 a="b\"]`), ingest.ErrData},
		"backslash at end":     {data(`[relay@55555 a="b\`), ingest.ErrData},
		"no quotes":            {data(`[relay@55555 a=b]`), ingest.ErrData},
		"no space":             {data(`[relay@55555a="b"c="d"]`), ingest.ErrData},
		"no name":              {data(`[relay@55555 ="b"]`), ingest.ErrData},
		"name of 33":           {data(`[relay@55555 ` + strings.Repeat("k", 33) + `="b"]`), ingest.ErrData},
		"name not ASCII":       {data(`[relay@55555 é="b"]`), ingest.ErrData},
		"no id":                {data(`[ a="b"]`), ingest.ErrData},
		"text after element":   {data(`[relay@55555 a="b"]x`), ingest.ErrData},
		"our element twice":    {data(`[relay@55555 a="b"][relay@55555 a="c"]`), ingest.ErrData},
		"two spaces in data":   {data(`[relay@55555  a="b"]`), ingest.ErrData},
		"too many":             {tooMany, ingest.ErrTooMany},
		"number 0":             {data(`[relay@55555 boot="b" n="0"]`), ingest.ErrNumber},
		"number negative":      {data(`[relay@55555 boot="b" n="-1"]`), ingest.ErrNumber},
		"number with sign":     {data(`[relay@55555 boot="b" n="+1"]`), ingest.ErrNumber},
		"number with zero":     {data(`[relay@55555 boot="b" n="01"]`), ingest.ErrNumber},
		"number too large":     {data(`[relay@55555 boot="b" n="9223372036854775808"]`), ingest.ErrNumber},
		"number is text":       {data(`[relay@55555 boot="b" n="x"]`), ingest.ErrNumber},
		"number empty":         {data(`[relay@55555 boot="b" n=""]`), ingest.ErrNumber},
		"boot too long":        {data(`[relay@55555 boot="` + strings.Repeat("b", 65) + `" n="1"]`), ingest.ErrNumber},
	} {
		r, err := ingest.Parse([]byte(c.line))
		require.ErrorIs(t, err, c.want, name)
		require.ErrorIs(t, err, ingest.ErrNotRecord, name)
		require.Empty(t, r, name)
	}
}

func TestParse_Times(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
	for in, want := range map[string]time.Time{
		"2026-02-03T04:05:06Z":                at,
		"2026-02-03T04:05:06":                 at,
		"2026-02-03T04:05:06.1Z":              at.Add(100 * time.Millisecond),
		"2026-02-03T04:05:06.123456789Z":      at.Add(123456 * time.Microsecond),
		"2026-02-03T06:35:06.5+02:30":         at.Add(500 * time.Millisecond),
		"2026-02-02T23:05:06.000001-05:00":    at.Add(time.Microsecond),
		"2024-02-29T00:00:00Z":                time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC),
		"9999-12-31T23:59:59.999999999+00:00": time.Date(9999, 12, 31, 23, 59, 59, 999999000, time.UTC),
		"2026-02-30T00:00:00Z":                {},
		"2025-02-29T00:00:00Z":                {},
		"2026-13-01T00:00:00Z":                {},
		"2026-00-01T00:00:00Z":                {},
		"2026-01-00T00:00:00Z":                {},
		"2026-01-01T24:00:00Z":                {},
		"2026-01-01T23:60:00Z":                {},
		"2026-01-01T23:59:60Z":                {},
		"2026-01-01t23:59:00Z":                {},
		"2026-01-01T23:59:00z":                {},
		"2026-01-01T23:59:00.Z":               {},
		"2026-01-01T23:59:00.1234567890Z":     {},
		"2026-01-01T23:59:00+0000":            {},
		"2026-01-01T23:59:00+24:00":           {},
		"2026-01-01T23:59:00+00:60":           {},
		"1969-12-31T23:59:59Z":                {},
		"1970-01-01T00:00:00+01:00":           {},
		"9999-12-31T23:59:59-01:00":           {},
		"-026-02-03T04:05:06Z":                {},
		"20x6-02-03T04:05:06Z":                {},
		"Feb 13 2026":                         {},
		"2026-02-03":                          {},
	} {
		r, err := ingest.Parse([]byte("<134>1 " + in + " h a - m -"))
		if want.IsZero() {
			require.ErrorIs(t, err, ingest.ErrNotRecord, in)
			continue
		}
		require.NoError(t, err, in)
		require.Equal(t, want, r.Time, in)
	}
}

func TestParse_Remainder(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rest, msg string
		fields    ingest.Fields
	}{
		{`-`, "", nil},
		{`- text`, "text", nil},
		{`-  two spaces`, " two spaces", nil},
		{`-text`, "-text", nil},
		{`plain text`, "plain text", nil},
		{"- \ufeffmarked", "marked", nil},
		{"[relay@55555 a=\"b\"] \ufeffmarked", "marked", ingest.Fields{{Key: "a", Value: "b"}}},
		{`[relay@55555]`, "", nil},
		{`[relay@55555] msg`, "msg", nil},
		{`[relay@55555 a=""]`, "", ingest.Fields{{Key: "a", Value: ""}}},
		{`[other@1 a="b"] msg`, "msg", nil},
		{`[other@1 a="]"][relay@55555 a="c"][x] msg`, "msg", ingest.Fields{{Key: "a", Value: "c"}}},
		{`[relay@55555 a="1" a="2"]`, "", ingest.Fields{{Key: "a", Value: "1"}, {Key: "a", Value: "2"}}},
		{`[relay@55555 a="x]y" b="\]\\\""]`, "", ingest.Fields{{Key: "a", Value: "x]y"}, {Key: "b", Value: `]\"`}}},
		{`[relay@55555 a="C:\new\\x"]`, "", ingest.Fields{{Key: "a", Value: `C:\new\x`}}},
		{`[relay@55555 a="v\\xff\\n"]`, "", ingest.Fields{{Key: "a", Value: `v\xff\n`}}},
		{`[relay@55555 n="5" boot="b"]`, "", ingest.Fields{{Key: "n", Value: "5"}, {Key: "boot", Value: "b"}}},
		{`[relay@55555 boot="b"]`, "", ingest.Fields{{Key: "boot", Value: "b"}}},
		{"[relay@55555 a=\"é\xff\u202e\"] \u2028", "\\xe2\\x80\\xa8", ingest.Fields{{Key: "a", Value: "é\ufffd\\xe2\\x80\\xae"}}},
	} {
		r := parse(t, head+"m "+c.rest)
		require.Equal(t, c.msg, r.Msg, c.rest)
		require.ElementsMatch(t, c.fields, r.Fields, c.rest)
		require.Zero(t, r.Line)
	}
}

func TestParse_HeaderIsWhatTheWriterMeans(t *testing.T) {
	t.Parallel()
	r := parse(t, "\ufeff<0>1 2026-02-03T04:05:06Z - - 812 - -\r\n")
	require.Equal(t, []string{"", "", ""}, []string{r.Host, r.App, r.Type})
	require.Zero(t, r.PRI)
	require.Equal(t, "<0>1 2026-02-03T04:05:06Z - - 812 - -", r.Raw)
	require.Equal(t, ingest.Unknown, r.AttackerText())

	longest := strings.Repeat("h", 255) + " " + strings.Repeat("a", 48) + " " + strings.Repeat("9", 128) + " " + strings.Repeat("m", 32)
	parse(t, "<191>1 2026-02-03T04:05:06Z "+longest+" -")
}

func TestParse_UnwrapsAShellsLine(t *testing.T) {
	t.Parallel()
	inner := `2026-02-03T09:00:00Z fakehost bash 812 command [relay@55555 boot="x" n="9" src_ip="192.0.2.1"] CMD cmd=id`
	outer := func(host, msgID string) string { return "<14>1 2026-02-03T04:05:06Z " + host + " 1 - " + msgID + " - " }

	r := parse(t, outer("web-01", "-")+inner)
	require.Equal(t, []string{"web-01", "bash", "command", "CMD cmd=id"}, []string{r.Host, r.App, r.Type, r.Msg})
	require.Equal(t, 4, r.Time.Hour(), "the outer time counts")
	require.Zero(t, r.Line, "a wrapped line has no number of ours")
	require.Equal(t, "192.0.2.1", r.AttackerText())

	require.Equal(t, "fakehost", parse(t, outer("-", "-")+inner).Host)

	r = parse(t, outer("web-01", "set")+inner)
	require.Equal(t, []string{"web-01", "1", "set", inner}, []string{r.Host, r.App, r.Type, r.Msg}, "never when the type is set")

	for _, msg := range []string{
		"plain text of some words", "2026-02-03T09:00:00Z h a - m ", "yesterday h a - m -", `2026-02-03T09:00:00Z h a - m [x`,
		"2026-02-03T09:00:00Z " + strings.Repeat("h", 256) + " a - m -",
	} {
		r = parse(t, outer("web-01", "-")+msg)
		require.Equal(t, []string{"1", "", msg}, []string{r.App, r.Type, r.Msg}, msg)
		require.Empty(t, r.Fields)
	}

	twice := parse(t, outer("web-01", "-")+"2026-02-03T09:00:00Z h a - - - "+inner)
	require.Equal(t, inner, twice.Msg, "once only")
}

func TestParse_CommandWithoutType(t *testing.T) {
	t.Parallel()
	line := "<14>1 2026-02-03T04:05:06Z h bash - - - CMD uid=0 user=root src=192.0.2.9 pwd=/ cmd=id"
	r := parse(t, line)
	require.Equal(t, "command", r.Type)
	require.Empty(t, r.Fields)
	require.Equal(t, "192.0.2.9", r.AttackerText())
	require.Empty(t, parse(t, strings.Replace(line, "CMD ", "CMDx ", 1)).Type)
}

// emit writes a record as a decoy would.
func emit(r *ingest.Record) []byte {
	var b bytes.Buffer
	e := eventlog.Event{PRI: int(r.PRI), App: r.App, MsgID: r.Type, Msg: r.Msg}
	for _, f := range r.Fields {
		e.Fields = append(e.Fields, eventlog.F(f.Key, f.Value))
	}
	eventlog.New(&b, r.Host, r.App, r.Boot, r.Line, func() time.Time { return r.Time }).Emit(e)
	return b.Bytes()
}

// fits reports whether the writer would shorten nothing.
func fits(r *ingest.Record) bool {
	size, count := 400+2*len(r.Msg), len(r.Fields)
	for _, f := range r.Fields {
		if len(f.Value) > eventlog.MaxValueBytes {
			return false
		}
		size += len(f.Key) + 2*len(f.Value) + 4
	}
	return size < ingest.MaxLineBytes-1000 && len(r.Msg) <= eventlog.MaxValueBytes && count <= ingest.MaxFields-2 && r.PRI != 0
}

func roundTrip(t testing.TB, r ingest.Record) {
	t.Helper()
	if !fits(&r) {
		return
	}
	line := emit(&r)
	require.Equal(t, 1, bytes.Count(line, []byte("\n")))
	again, err := ingest.Parse(line)
	require.NoError(t, err, string(line))
	again.Raw, again.Line = r.Raw, r.Line
	if len(r.Fields) == 0 {
		again.Fields = r.Fields
	}
	require.Equal(t, r, again, string(line))
}

func FuzzParse(f *testing.F) {
	for _, s := range append(sample(),
		head+`m [relay@55555 boot="b" n="1" a="\]\"\\" src_ip="[2001:db8::1]:80"] m`, head+"m - \ufeffx", head+"m -x", "",
		"<14>1 2026-02-03T04:05:06Z h 1 - - - 2026-02-03T04:05:06Z h a - m [relay@55555 a=\"b\"] x",
		head+"m [relay@55555 remote_addr=\"::ffff:192.0.2.1\"]", head+"m - sshd from 192.0.2.3 port 5", head+"m [x a=\"\xff\u200b\"]",
	) {
		f.Add([]byte(s))
	}
	var reused ingest.Record
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := ingest.Parse(line)
		errInto := ingest.ParseInto(&reused, line)
		require.Equal(t, err, errInto)
		if err != nil {
			require.ErrorIs(t, err, ingest.ErrNotRecord)
			return
		}
		require.Equal(t, r.Raw, reused.Raw)
		require.Equal(t, r.Type, reused.Type)
		require.NotContains(t, r.Raw+r.Msg, "\n")
		require.LessOrEqual(t, len(r.Host), 255)
		require.LessOrEqual(t, len(r.Fields), ingest.MaxFields+1)
		for _, fd := range r.Fields {
			require.Equal(t, fd.Value, eventlog.Spell(fd.Value))
		}
		if again, err := ingest.Parse([]byte(r.Raw)); err != nil {
			t.Fatal(err)
		} else {
			require.Equal(t, r, again)
		}
		roundTrip(t, r)
	})
}

// FuzzParse_Forgery puts text of an attacker into every place a decoy lets it reach, and reads the line back.
func FuzzParse_Forgery(f *testing.F) {
	for _, s := range []string{
		`"] x`, `\`, `\"`, `" src_ip="9.9.9.9`, `"][relay@55555 n="7"]`, "\n<134>1 2026-02-03T04:05:06Z h a - session_closed -",
		"\u2028", "\xff\xfe", "from 9.9.9.9", "\ufeff", `]]]]`,
	} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		r := ingest.Record{
			Time: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), PRI: 134, Host: "h", App: "ssh", Type: "command", Boot: "b", Line: 3,
			Fields: ingest.Fields{{Key: "src_ip", Value: "192.0.2.1"}, {Key: "command", Value: a}, {Key: "user", Value: b}}, Msg: a,
		}
		if 4*(len(a)+len(b)) > 4000 {
			return
		}
		got, err := ingest.Parse(emit(&r))
		require.NoError(t, err)
		require.Equal(t, "192.0.2.1", got.AttackerText())
		require.Equal(t, []string{"h", "ssh", "command", "b", "3"}, []string{got.Host, got.App, got.Type, got.Boot, strconv.FormatUint(got.Line, 10)})
		require.Equal(t, ingest.Fields{
			{Key: "src_ip", Value: "192.0.2.1"}, {Key: "command", Value: eventlog.Spell(a)}, {Key: "user", Value: eventlog.Spell(b)},
		}, got.Fields)
	})
}
