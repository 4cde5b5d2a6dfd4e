package http_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/decoys/http"
)

func TestFromAuthorization(t *testing.T) {
	t.Parallel()
	basic := func(s string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(s)) }
	for in, want := range map[string][3]string{
		basic("a:b:c"): {"a", "plaintext", "b:c"}, basic(":x"): {"", "plaintext", "x"}, "bearer abc": {"-", "http_bearer", "abc"}, "Token t": {"-", "http_bearer", "t"},
		`Digest username="a\"b", realm="x, y", response="0123", uri=/`: {`a"b`, "http_digest_md5", "0123"},
	} {
		c, ok := http.FromAuthorization(in)
		require.True(t, ok, in)
		user := "-"
		if c.Principal != nil {
			user = *c.Principal
		}
		require.Equal(t, want, [3]string{user, c.Kind, c.Secret}, in)
	}
	for _, in := range []string{"", "Basic", "Basic !!!", basic("nocolon"), "Basic YTpi ", "Digest username=a", "Bearer ", "NTLM TlRM", "Basic YTpi=="} {
		if c, ok := http.FromAuthorization(in); ok {
			require.Equal(t, "Basic YTpi ", in, c)
		}
	}
}

func TestFromForm(t *testing.T) {
	t.Parallel()
	c, ok := http.FromForm("LOG=one&log=two&PWD=a%26b&pass=first")
	require.True(t, ok)
	require.Equal(t, "one", *c.Principal)
	require.Equal(t, "first", c.Secret, "pass comes before pwd")
	c, ok = http.FromForm("password=x")
	require.True(t, ok)
	require.Nil(t, c.Principal)
	_, ok = http.FromForm("user=x&token=y")
	require.False(t, ok)
}

func sum(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])[:12]
}

func TestJA4H(t *testing.T) {
	t.Parallel()
	require.Equal(t, "ge11nn000000_000000000000_000000000000_000000000000", http.JA4H("GET", "11", nil))
	got := http.JA4H("POST", "20", [][2]string{{"Host", "x"}, {"Cookie", "x=1; a=2"}, {"Referer", "/"}, {"Accept-Language", "de-DE;q=1"}})
	require.Equal(t, "po20cr02dede_"+sum("Host,Accept-Language")+"_"+sum("a,x")+"_"+sum("a=2,x=1"), got)
	many := make([][2]string, 150)
	for i := range many {
		many[i] = [2]string{"A", "b"}
	}
	require.True(t, strings.HasPrefix(http.JA4H("G", "10", many), "g010nn990000_"))
	a := http.JA4H("GET", "11", [][2]string{{"Cookie", "b=2; a=1"}})
	require.Equal(t, a, http.JA4H("GET", "11", [][2]string{{"Cookie", "a=1; b=2"}}), "cookies are sorted")
	require.NotEqual(t, http.JA4H("GET", "11", [][2]string{{"A", ""}, {"B", ""}}), http.JA4H("GET", "11", [][2]string{{"B", ""}, {"A", ""}}), "headers are not")
}

func FuzzFromForm(f *testing.F) {
	f.Add("user=a&password=b")
	f.Add("%zz=%&pass")
	f.Fuzz(func(t *testing.T, s string) {
		if c, ok := http.FromForm(s); ok {
			require.LessOrEqual(t, len(c.Secret), len(s))
		}
	})
}

func FuzzFromAuthorization(f *testing.F) {
	f.Add("Basic YTpi")
	f.Add(`Digest username="a\`)
	f.Fuzz(func(t *testing.T, s string) {
		if c, ok := http.FromAuthorization(s); ok {
			require.NotEmpty(t, c.Kind)
		}
	})
}

func FuzzJA4H(f *testing.F) {
	f.Add("GET", "Cookie", "a=b; c", "Accept-Language", "en-US")
	f.Fuzz(func(t *testing.T, method, n1, v1, n2, v2 string) {
		require.Regexp(t, `^.{2}11[cn][rn]\d\d.{4}_[0-9a-f]{12}_[0-9a-f]{12}_[0-9a-f]{12}$`, http.JA4H(method, "11", [][2]string{{n1, v1}, {n2, v2}}))
	})
}
