package ingest_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/ingest"
)

func TestParseQuery(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text, document string
		fields         map[string]string
	}{
		{"", "", nil},
		{"  \t", "", nil},
		{"Curl", "'curl':*", nil},
		{"/etc/passwd", "('etc' <-> 'passwd':*)", nil},
		{`"uname -a" wget`, "('uname' <-> 'a':*) & 'wget':*", nil},
		{`uname "-a`, "'uname':* & 'a':*", nil},
		{"service:ssh event:auth_attempt", "':service:ssh' & ':event:auth_attempt'", nil},
		{"attacker-ip:192.0.2.7 ip:2001:DB8::1", "':attacker:192.0.2.7' & ':attacker:2001:db8::1'", nil},
		{"ip:::ffff:192.0.2.7", "':attacker:192.0.2.7'", nil},
		{"decky:o'neil\\", `':decky:o''neil\\'`, nil},
		{"username:root", "'root'", map[string]string{"username": "root"}},
		{`path:"/a b"`, "('a' <-> 'b')", map[string]string{"path": "/a b"}},
		{"pwd:/", "", map[string]string{"pwd": "/"}},
		{"http://evil.example/x", "('http' <-> 'evil' <-> 'example' <-> 'x':*)", nil},
		{"2001:db8::1", "('2001' <-> 'db8' <-> '1':*)", nil},
		{"22:22", "('22' <-> '22':*)", nil},
		{"key:", "'key':*", nil},
		{"меч", "'меч':*", nil},
		{"a\xff\x00b", "'a':* & 'b':*", nil},
	} {
		q, err := ingest.ParseQuery(strings.ReplaceAll(tt.text, "\x00", ""))
		require.NoError(t, err, tt.text)
		require.Equal(t, tt.document, q.Document, tt.text)
		if tt.fields == nil {
			tt.fields = map[string]string{}
		}
		require.Equal(t, tt.fields, q.Fields, tt.text)
	}
	for _, bad := range []string{
		strings.Repeat("a", ingest.MaxQueryBytes+1), strings.Repeat("a ", 40), "secret_printable:x", "secret_b64:eA==", "--", "ip:nobody",
	} {
		_, err := ingest.ParseQuery(bad)
		var refused ingest.QueryError
		require.ErrorAs(t, err, &refused, bad)
	}
}

func TestParseWords(t *testing.T) {
	t.Parallel()
	for text, document := range map[string]string{
		"": "", "wget http://x/y": "'wget':* & ('http' <-> 'x' <-> 'y':*)", "service:ssh": "('service' <-> 'ssh':*)",
		`"rm -rf" secret_b64:x`: "('rm' <-> 'rf':*) & ('secret' <-> 'b64' <-> 'x':*)",
	} {
		q, err := ingest.ParseWords(text)
		require.NoError(t, err)
		require.Equal(t, document, q.Document, text)
		require.Empty(t, q.Fields)
	}
	for _, bad := range []string{strings.Repeat("a", ingest.MaxQueryBytes+1), strings.Repeat("a ", 40), "--"} {
		_, err := ingest.ParseWords(bad)
		var refused ingest.QueryError
		require.ErrorAs(t, err, &refused, bad)
	}
}

func TestQuery_With(t *testing.T) {
	t.Parallel()
	q, err := ingest.ParseQuery("curl username:root")
	require.NoError(t, err)
	n := q.With(ingest.ColumnService, "SSH").With(ingest.ColumnAttacker, "::ffff:192.0.2.7").With(ingest.ColumnDecky, "o'neil")
	require.Equal(t, "'curl':* & 'root' & ':service:ssh' & ':attacker:192.0.2.7' & ':decky:o''neil'", n.Document)
	require.Equal(t, netip.MustParseAddr("192.0.2.7"), n.Attacker)
	require.Equal(t, []ingest.Part{{"'curl':*", true}, {"'root'", false}}, n.Parts[:2])
	require.Len(t, q.Parts, 2)
	require.False(t, q.Attacker.IsValid())
	require.Equal(t, "':type:x'", ingest.Query{}.With("type", "x").Document)
}

func TestQuery_RepeatsSecret(t *testing.T) {
	t.Parallel()
	for text, repeats := range map[string]bool{"body:x": true, "body": false, "username:root": false, "headers:{}x command:ls": true} {
		q, err := ingest.ParseQuery(text)
		require.NoError(t, err)
		require.Equal(t, repeats, q.RepeatsSecret(), text)
	}
}

func FuzzParseQuery(f *testing.F) {
	f.Add(`"uname -a" service:ssh user:'root' \ ' & | ! <-> :*`)
	f.Fuzz(func(t *testing.T, text string) {
		q, err := ingest.ParseQuery(text)
		if err != nil {
			return
		}
		outside := strings.NewReplacer(`\\`, "", `''`, "").Replace(q.Document)
		require.Zero(t, strings.Count(outside, "'")%2, "every quote is closed")
		for i, piece := range strings.Split(outside, "'") {
			if i%2 == 0 {
				require.Empty(t, strings.Trim(piece, " &()<->:*"), "nothing of the text is outside quotes")
			}
		}
	})
}

func texts(lexemes []ingest.Lexeme) []string {
	list := make([]string, len(lexemes))
	for i, l := range lexemes {
		list[i] = l.Text
	}
	return list
}

func TestDocument_HoldsNoSecret(t *testing.T) {
	t.Parallel()
	e := eventOf(t, `<134>1 2026-01-02T03:04:05Z web-01 http - request [relay@55555 boot="b" n="1" src_ip="192.0.2.7" method="POST" path="/login.php" user_agent="curl/8" principal="bob" secret_printable="hunter2" secret_b64="aHVudGVyMg==" body="log=bob&pwd=hunter2" headers="{}"] POST hunter2`)
	got := texts(ingest.Document(&e))
	require.Subset(t, got, []string{"bob", "post", "login", "php", "curl", ":event:request", ":attacker:192.0.2.7"})
	require.NotContains(t, got, "hunter2")

	e = eventOf(t, `<134>1 2026-01-02T03:04:05Z web-01 http - request [relay@55555 boot="b" n="2" src_ip="192.0.2.7" body="q=hunter2"] hello`)
	require.Subset(t, texts(ingest.Document(&e)), []string{"hunter2", "hello"}, "without a credential a body is text")
}

func TestDocument_IsBounded(t *testing.T) {
	t.Parallel()
	lexemes := ingest.TextDocument(strings.Repeat("ä"+strings.Repeat("x", 100)+" same ", 4000))
	words := 0
	for _, l := range lexemes {
		require.LessOrEqual(t, len(l.Text), 64)
		require.LessOrEqual(t, len(l.Positions), 255)
		words += len(l.Positions)
	}
	require.LessOrEqual(t, words, 1024)
}

func eventOf(t *testing.T, line string) ingest.Event {
	t.Helper()
	r := parse(t, line)
	return ingest.NewEvent(ingest.Source{DeckyKey: "web-01", DeckyName: "web-01", Service: "http"}, &r)
}

func TestShown(t *testing.T) {
	t.Parallel()
	require.True(t, ingest.CarriesSecret(func(k string) bool { return k == "secret_b64" }))
	require.False(t, ingest.CarriesSecret(func(k string) bool { return k == "body" }))
	for key, want := range map[string][2]bool{ // without a secret beside it, and with one
		"principal": {true, true}, "body": {true, false}, "response": {true, false}, "secret_printable": {false, false},
	} {
		require.Equal(t, want, [2]bool{ingest.Shown(key, false), ingest.Shown(key, true)}, key)
	}
}
