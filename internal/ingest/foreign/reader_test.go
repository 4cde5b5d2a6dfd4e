package foreign_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/ingest/foreign"
)

// plainMap keeps every object that has a sensor; its text is the field `v`.
func plainMap(o *foreign.Object, d *foreign.Draft) foreign.Reason {
	d.Sensor, d.Service, d.Type = o.Text("sensor"), "ssh", "test"
	d.Time = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if d.Kind = o.String("kind"); d.Kind == "" {
		return foreign.NoKind
	}
	d.Add("v", o.Text("v"))
	return ""
}

func newReader(t testing.TB, r io.Reader, from foreign.Position) *foreign.Reader {
	t.Helper()
	fr, err := foreign.NewReader(r, from, "plain", plainMap)
	require.NoError(t, err)
	return fr
}

func readAll(t testing.TB, fr *foreign.Reader) []foreign.Entry {
	t.Helper()
	var out []foreign.Entry
	for {
		e, err := fr.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		require.NoError(t, err)
		out = append(out, e)
	}
}

func requireAccounted(t testing.TB, r foreign.Report) {
	t.Helper()
	sum := r.Kept
	for _, n := range r.Skipped {
		sum += n
	}
	require.Equal(t, r.Read, sum)
}

const good = `{"kind":"k","sensor":"a","v":"1"}`

func TestReader_SkipsEachLineForOneReason(t *testing.T) {
	t.Parallel()
	members := make([]string, 300)
	for i := range members {
		members[i] = `"m` + strconv.Itoa(i) + `":1`
	}
	for _, c := range []struct {
		name, line string
		why        foreign.Reason
	}{
		{"empty", "", foreign.Blank},
		{"spaces", " \t\r", foreign.Blank},
		{"text", "canary starting", foreign.Malformed},
		{"cut off", `{"kind":"k","sensor":`, foreign.Malformed},
		{"two objects", good + good, foreign.Malformed},
		{"object and text", good + " x", foreign.Malformed},
		{"no value", `{"kind"}`, foreign.Malformed},
		{"not a number", `{"kind":"k","sensor":"a","v":NaN}`, foreign.Malformed},
		{"control character", "{\"kind\":\"k\",\"sensor\":\"a\x01\"}", foreign.Malformed},
		{"too deep", `{"kind":"k","v":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`, foreign.Malformed},
		{"list", "[" + good + "]", foreign.NotObject},
		{"text in quotes", `"x"`, foreign.NotObject},
		{"twice a name", `{"kind":"k","sensor":"a","sensor":"b"}`, foreign.DuplicateKey},
		{"twice a name in other spelling", `{"kind":"k","sensor":"a","senso\u0072":"b"}`, foreign.DuplicateKey},
		{"twice a name inside", `{"kind":"k","sensor":"a","v":{"x":1,"x":2}}`, foreign.DuplicateKey},
		{"undecodable", "{\"kind\":\"k\",\"sensor\":\"\xff\"}", foreign.InvalidUTF8},
		{"many members", "{" + strings.Join(members, ",") + "}", foreign.TooManyMembers},
		{"no kind", `{"sensor":"a"}`, foreign.NoKind},
		{"kind of another type", `{"sensor":"a","kind":7}`, foreign.NoKind},
		{"no sensor", `{"kind":"k"}`, foreign.NoSensor},
		{"too long", `{"kind":"k","sensor":"a","v":"` + strings.Repeat("x", foreign.MaxLineBytes) + `"}`, foreign.TooLong},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			fr := newReader(t, strings.NewReader(good+"\n"+c.line+"\n"+good+"\n"), foreign.Position{})
			require.Len(t, readAll(t, fr), 2, "the lines around it")
			rep := fr.Report()
			require.Equal(t, map[foreign.Reason]int64{c.why: 1}, rep.Skipped)
			require.EqualValues(t, 3, rep.Read)
			require.EqualValues(t, 3, fr.Position().Line)
			requireAccounted(t, rep)
		})
	}
}

func TestReader_LastLine(t *testing.T) {
	t.Parallel()
	for last, want := range map[string]map[foreign.Reason]int64{
		"":                                {},
		good:                              {},
		good[:20]:                         {foreign.Truncated: 1},
		"{\"kind\":\"\xe2\x82":            {foreign.Truncated: 1},
		`{"kind":"k"}`:                    {foreign.NoSensor: 1},
		strings.Repeat("x", 3<<20):        {foreign.TooLong: 1},
		`{"kind":"k","kind":"k","kind":"`: {foreign.DuplicateKey: 1},
	} {
		input := good + "\r\n" + last
		fr := newReader(t, strings.NewReader(input), foreign.Position{})
		readAll(t, fr)
		require.Equal(t, want, fr.Report().Skipped)
		require.EqualValues(t, len(input), fr.Position().Offset)
		requireAccounted(t, fr.Report())
	}
}

func TestReader_PassesOverAByteOrderMark(t *testing.T) {
	t.Parallel()
	fr := newReader(t, strings.NewReader("\ufeff"+good+"\n"+good), foreign.Position{})
	require.Len(t, readAll(t, fr), 2)
}

// mixed is a log with lines of every kind and of many lengths around the size of the reader's buffer.
func mixed() []byte {
	var b bytes.Buffer
	b.WriteString("\ufeff")
	for i := range 60 {
		switch i % 6 {
		case 0:
			b.WriteString("no json")
		case 1:
			b.WriteString(strings.Repeat("x", i*40000))
		case 2:
			b.WriteString("\r")
		default:
			b.WriteString(`{"kind":"k","sensor":"a","n":` + strconv.Itoa(i) + `,"v":"` + strings.Repeat("é", i*600) + `"}`)
		}
		b.WriteString("\n")
	}
	b.WriteString(good)
	return b.Bytes()
}

func compressed(t testing.TB, parts ...[]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, p := range parts {
		z := gzip.NewWriter(&b)
		_, err := z.Write(p)
		require.NoError(t, err)
		require.NoError(t, z.Close())
	}
	return b.Bytes()
}

func TestReader_GoesOnFromEveryPosition(t *testing.T) {
	t.Parallel()
	log := mixed()
	for name, input := range map[string][]byte{"plain": log, "gzip": compressed(t, log)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			whole := newReader(t, bytes.NewReader(input), foreign.Position{})
			all := readAll(t, whole)
			require.Len(t, all, 31)
			for n := range len(all) + 1 {
				first := newReader(t, bytes.NewReader(input), foreign.Position{})
				got := []foreign.Entry{}
				for range n {
					e, err := first.Next()
					require.NoError(t, err)
					require.Equal(t, first.Position(), e.After)
					got = append(got, e)
				}
				second := newReader(t, bytes.NewReader(input), first.Position())
				got = append(got, readAll(t, second)...)
				require.Equal(t, all, got)
				require.Equal(t, whole.Position(), second.Position())
				require.Equal(t, whole.Report(), first.Report().Plus(second.Report()))
			}
		})
	}
}

func TestReader_RefusesThePositionOfAnotherLog(t *testing.T) {
	t.Parallel()
	for _, p := range []foreign.Position{{Offset: 5, Line: 1}, {Offset: 1000, Line: 1}, {Offset: -1, Line: 1}, {Offset: 0, Line: 3}, {Offset: int64(len(good)), Line: 1}} {
		_, err := foreign.NewReader(strings.NewReader(good+"\n"+good+"\n"), p, "plain", plainMap)
		require.ErrorIs(t, err, foreign.ErrPosition, "%+v", p)
	}
}

func TestReader_ReadsPartsOfAnArchiveAsOne(t *testing.T) {
	t.Parallel()
	log := mixed()
	want := readAll(t, newReader(t, bytes.NewReader(log), foreign.Position{}))
	got := readAll(t, newReader(t, bytes.NewReader(compressed(t, log[:1000], nil, log[1000:])), foreign.Position{}))
	require.Equal(t, want, got)
}

func TestReader_KeepsWhatCameBeforeADamage(t *testing.T) {
	t.Parallel()
	var lines bytes.Buffer
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		lines.WriteString(`{"kind":"k","sensor":"a","v":"` + strconv.FormatUint(rng.Uint64(), 36) + "\"}\n")
	}
	whole := compressed(t, lines.Bytes())
	flipped := bytes.Clone(whole)
	flipped[len(flipped)/2] ^= 0xff
	for name, input := range map[string][]byte{"cut": whole[:len(whole)/2], "flipped": flipped, "no checksum": whole[:len(whole)-8]} {
		fr := newReader(t, bytes.NewReader(input), foreign.Position{})
		n := 0
		var err error
		for err == nil {
			if _, err = fr.Next(); err == nil {
				n++
			}
		}
		require.NotErrorIs(t, err, io.EOF, name)
		require.Positive(t, n, name)
		require.EqualValues(t, n, fr.Report().Kept)
		requireAccounted(t, fr.Report())
		_, again := fr.Next()
		require.Equal(t, err, again, "the error stays")
	}
	_, err := foreign.NewReader(bytes.NewReader([]byte{0x1f, 0x8b, 0, 0}), foreign.Position{}, "plain", plainMap)
	require.Error(t, err)
}

func TestReader_IdentityIsThatOfTheContent(t *testing.T) {
	t.Parallel()
	one := readAll(t, newReader(t, strings.NewReader(`{"kind":"k","sensor":"a","v":["é",{"x":1}]}`), foreign.Position{}))[0]
	other := readAll(t, newReader(t, strings.NewReader("\n\n"+` { "v" : [ "é", { "x" : 1 } ],"sensor":"\u0061", "kind":"k"} `+"\n"), foreign.Position{}))[0]
	require.Equal(t, one.Record.Boot, other.Record.Boot)
	require.Equal(t, one.Record.Line, other.Record.Line)
	seen := map[uint64]string{one.Record.Line: ""}
	for _, l := range []string{
		`{"kind":"k","sensor":"a","v":["é",{"x":"1"}]}`, `{"kind":"k","sensor":"a","v":["é",{"x":2}]}`, `{"kind":"k","sensor":"a","v":"1"}`,
		`{"kind":"k","sensor":"a","v":1}`, `{"kind":"k","sensor":"b","v":1}`, `{"kind":"k","sensor":"a","v1":""}`, `{"kind":"k","sensor":"a","v":null}`,
	} {
		e := readAll(t, newReader(t, strings.NewReader(l), foreign.Position{}))[0]
		require.NotContains(t, seen, e.Record.Line, l)
		require.NotContains(t, seen[e.Record.Line], e.Record.Boot)
		require.Len(t, e.Record.Boot, 32)
		require.Less(t, e.Record.Line, uint64(1)<<63, "a number of ours fits a bigint")
		seen[e.Record.Line] = e.Record.Boot
	}
}

func TestReader_BoundsAndSpellsValues(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 40000)
	e := readAll(t, newReader(t, strings.NewReader(`{"kind":"k","sensor":"a","v":"`+long+`"}`), foreign.Position{}))[0]
	require.Equal(t, long[:4096], e.Record.Fields.Get("v"))
	require.Equal(t, "true", e.Record.Fields.Get("truncated"))
	require.LessOrEqual(t, len(e.Record.Raw), 16<<10)
	require.True(t, utf8.ValidString(e.Record.Raw))
	other := readAll(t, newReader(t, strings.NewReader(`{"kind":"k","sensor":"a","v":"`+long+`!"}`), foreign.Position{}))[0]
	require.NotEqual(t, e.Record.Raw, other.Record.Raw, "lines that differ behind the cut")
	e = readAll(t, newReader(t, strings.NewReader(`{"kind":"k","sensor":"a","v":"a\nb\u0000\u202e\ud800\u007f"}`), foreign.Position{}))[0]
	require.Equal(t, `a\nb\x00\xe2\x80\xae`+"\ufffd"+`\x7f`, e.Record.Fields.Get("v"))
}

// noise makes n random bytes, with a line feed about every gap bytes.
type noise struct {
	rng    *rand.Rand
	n, gap int
}

func (g *noise) Read(p []byte) (int, error) {
	if g.n == 0 {
		return 0, io.EOF
	}
	p = p[:min(len(p), g.n)]
	for i := range p {
		if p[i] = byte(g.rng.Uint32()); g.gap == 0 && p[i] == '\n' {
			p[i] = ' '
		}
	}
	if g.gap > 0 && g.rng.IntN(g.gap) < len(p) {
		p[g.rng.IntN(len(p))] = '\n'
	}
	g.n -= len(p)
	return len(p), nil
}

func TestReader_RandomBytesInBoundedMemory(t *testing.T) {
	const size, limit = 100 << 20, 24 << 20
	for _, gap := range []int{0, 300, 1 << 20} {
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		fr := newReader(t, &noise{rng: rand.New(rand.NewPCG(7, uint64(gap))), n: size, gap: gap}, foreign.Position{})
		require.Empty(t, readAll(t, fr))
		runtime.ReadMemStats(&after)
		require.Less(t, int64(after.HeapSys)-int64(before.HeapSys), int64(limit), "gap %d", gap)
		require.EqualValues(t, size, fr.Position().Offset)
		requireAccounted(t, fr.Report())
		if gap == 0 {
			require.Equal(t, map[foreign.Reason]int64{foreign.TooLong: 1}, fr.Report().Skipped)
		}
	}
}

func TestSensorKey_IsLegalAndTellsSensorsApart(t *testing.T) {
	t.Parallel()
	for _, kept := range []string{"a", "svr-1", "d77dbf85c0b8", strings.Repeat("a", 63), "9"} {
		require.Equal(t, kept, foreign.SensorKey(kept))
	}
	require.Empty(t, foreign.SensorKey(""))
	seen := map[string]string{}
	for _, name := range []string{
		"svr-1", "SVR-1", "svr_1", "svr.1", "-svr-1", "svr 1", "svr\n1", "événement", "蜜罐", "\xff", "-", "...", "events", "Deploy", "0badcafe-x",
		"0BADCAFE-x", "0badcafe", "0badcafe.", "../../etc", strings.Repeat("a", 64), strings.Repeat("a", 65), strings.Repeat("-", 200) + "a",
		strings.Repeat("A", 1<<20), "a#b", "a:b", "a/b", "import:x",
	} {
		key := foreign.SensorKey(name)
		require.Regexp(t, `^[a-z0-9][a-z0-9-]{0,62}$`, key)
		require.NotRegexp(t, `^[0-9a-f]{8}-`, key)
		require.NotContains(t, seen, key, "%q and %q", seen[key], name)
		require.Equal(t, key, foreign.SensorKey(name))
		seen[key] = name
	}
}
