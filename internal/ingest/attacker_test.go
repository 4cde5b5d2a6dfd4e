package ingest_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/decnet/decnet/internal/ingest"
)

func on(decky, service, kind string, second int, fields ...string) *ingest.Event {
	return event(ingest.Source{DeckyKey: decky, DeckyName: decky, Service: service}, record(kind, uint64(second)+1, second, fields...))
}

func TestAttacker_AddsUp(t *testing.T) {
	t.Parallel()
	var a ingest.Attacker
	for _, e := range []*ingest.Event{
		on("b", "ssh", "connect", 5), on("a", "http", "request", 3), on("a", "ssh", "command", 9), on("b", "http", "parse_error", 4),
		on("c", "ftp", "parse_error", 6), on("decnet-prober", "prober", "jarm", 7),
	} {
		a.Add(e)
	}
	stranger := on("z", "ssh", "connect", 1)
	stranger.Attacker = netip.MustParseAddr("192.0.2.99")
	a.Add(stranger)
	imported := event(ingest.ImportSource("cowrie", "ssh"), record("connect", 20, 8))
	a.Add(imported)
	mutated := on("y", "", "decky_mutated", 2)
	mutated.App = "mutator"
	a.Add(mutated)
	require.Equal(t, ingest.Attacker{
		Addr: netip.MustParseAddr("192.0.2.7"), FirstSeen: at(3), LastSeen: at(9), Events: 7,
		Services: []string{"ftp", "http", "prober", "ssh"}, Interacted: []string{"ssh"}, Scanned: []string{"http", "prober"}, Deckies: []string{"b", "a", "c", "cowrie"},
	}, a)
	path, ok := a.Traversal()
	require.True(t, ok)
	require.Equal(t, "b → a → c → cowrie", path)

	var single ingest.Attacker
	single.Add(on("a", "ssh", "connect", 1))
	single.Add(on("decnet-prober", "prober", "jarm", 2))
	_, ok = single.Traversal()
	require.False(t, ok)
}

func TestAttacker_VictimDomains(t *testing.T) {
	t.Parallel()
	var a ingest.Attacker
	for _, e := range []*ingest.Event{
		on("m", "smtp", "rcpt_to", 1, "value", "<Someone@Bank.Example.ORG>"), on("m", "smtp_relay", "rcpt_denied", 2, "value", "x@shop.com"),
		on("m", "smtp", "message_accepted", 3, "rcpt_to", "<a@one.net>,b@bank.example.org,c@x.test"), on("m", "smtp", "rcpt_to", 4, "value", "<u@localhost>"),
		on("m", "smtp", "rcpt_to", 4, "value", "nobody"), on("m", "smtp", "mail_from", 4, "value", "me@from.com"), on("m", "http", "rcpt_to", 4, "value", "x@http.com"),
		on("m", "smtp", "rcpt_to", 4, "value", "x@"+strings.Repeat("a", 300)+".com"),
	} {
		a.Add(e)
	}
	require.Equal(t, []string{"bank.example.org", "one.net", "shop.com"}, a.VictimDomains)
	for i := range 3000 {
		a.Add(on("m", "smtp", "rcpt_to", 5, "value", fmt.Sprintf("x@d%d.com", i)))
	}
	require.LessOrEqual(t, len(a.VictimDomains), 256)
	require.True(t, slices.IsSorted(a.VictimDomains))
}

// However events are cut into batches, the attacker is the same.
func TestAttacker_MergeIsAdd(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var whole, merged, batch ingest.Attacker
		for range rapid.IntRange(1, 40).Draw(t, "events") {
			e := on(rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "decky"), rapid.SampledFrom([]string{"ssh", "http", "ftp"}).Draw(t, "service"),
				rapid.SampledFrom([]string{"connect", "command", "startup"}).Draw(t, "type"), rapid.IntRange(0, 50).Draw(t, "second"))
			whole.Add(e)
			batch.Add(e)
			if rapid.Bool().Draw(t, "flush") {
				merged.Merge(batch)
				batch = ingest.Attacker{}
			}
		}
		merged.Merge(batch)
		for _, a := range []*ingest.Attacker{&whole, &merged} {
			if len(a.Scanned) == 0 {
				a.Scanned = nil
			}
		}
		require.Equal(t, whole, merged)
		for _, s := range whole.Interacted {
			require.NotContains(t, whole.Scanned, s)
		}
	})
}
