package bus_test

import (
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats-server/v2/server/gsl"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/decnet/decnet/internal/bus"
	"github.com/decnet/decnet/internal/fault"
)

func TestMatch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, subject string
		want             bool
	}{
		{"ttp.tagged", "ttp.tagged", true},
		{"ttp.tagged", "ttp.Tagged", false},
		{"ttp.tagged", "ttp.tagged.x", false},
		{"ttp.tagged.x", "ttp.tagged", false},
		{"ttp.>", "ttp", false},
		{"ttp.>", "ttp.a", true},
		{"ttp.>", "ttp.a.b.c", true},
		{">", "a", true},
		{"*", "a", true},
		{"*", "a.b", false},
		{"decky.*.state", "decky.web.state", true},
		{"decky.*.state", "decky.web.x.state", false},
		{"decky.*.state", "decky..state", false},
		{"a.>.c", "a.b.c", false},
		{"a*", "ab", false},
		{"a*", "a*", true},
		{"a.*", "a.*", false}, // a wildcard is no literal subject
		{"", "", false},
		{"a.", "a.", false},
		{".a", ".a", false},
		{"a b", "a b", false},
	} {
		require.Equal(t, c.want, bus.Match(c.pattern, c.subject), "Match(%q, %q)", c.pattern, c.subject)
	}
}

func TestValidatePattern(t *testing.T) {
	t.Parallel()
	for _, p := range []string{">", "*", "ttp.>", "decky.*.state", "*.*", "a.b:c/d_e-F"} {
		require.NoError(t, bus.ValidatePattern(p), p)
	}
	for _, p := range []string{"", ".", "a.", ".a", "a..b", "a.>.b", ">.a", "a*", "a>", "**", "a b", "a.\n", "a.\xff"} {
		require.Equal(t, fault.Invalid, fault.KindOf(bus.ValidatePattern(p)), "%q", p)
	}
}

// sameAsBroker compares Match with the broker's own subscription list.
func sameAsBroker(t require.TestingT, pattern, subject string) {
	want := false
	if server.IsValidSubject(pattern) && server.IsValidSubject(subject) && server.IsValidLiteralSubject(subject) {
		list := gsl.NewSublist[int]()
		require.NoError(t, list.Insert(pattern, 1))
		want = list.HasInterest(subject)
	}
	require.Equal(t, want, bus.Match(pattern, subject), "Match(%q, %q)", pattern, subject)
	if bus.ValidatePattern(pattern) == nil {
		require.True(t, server.IsValidSubject(pattern), "%q", pattern)
	}
}

func TestMatch_AgreesWithBroker(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		token := rapid.SampledFrom([]string{"a", "b", "*", ">", "a*", "", "é", " "})
		pattern := strings.Join(rapid.SliceOfN(token, 0, 5).Draw(t, "pattern"), ".")
		subject := strings.Join(rapid.SliceOfN(token, 0, 5).Draw(t, "subject"), ".")
		sameAsBroker(t, pattern, subject)
	})
}

func FuzzMatch(f *testing.F) {
	f.Add("ttp.>", "ttp.a.b")
	f.Add("decky.*.state", "decky.web.state")
	f.Add("*.>", "a")
	f.Add("a..b", "a..b")
	f.Fuzz(func(t *testing.T, pattern, subject string) { sameAsBroker(t, pattern, subject) })
}
