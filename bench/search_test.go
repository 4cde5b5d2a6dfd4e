package bench_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/db/dbtest"
	"github.com/decnet/decnet/internal/ingest"
)

const (
	logEvents    = 1_000_000
	logAttackers = 50_000
	// burst is how many events one attacker made at once, longer ago than what a search looks at one by one.
	burst        = 100_000
	searchTarget = "p99 < 50 ms"
	searchPage   = 50
	// searchWalks walks of searchPages pages make the samples of a figure.
	searchWalks = 20
	searchPages = 5
)

var (
	logServices = []string{"ssh", "telnet", "http", "https", "ftp", "smtp", "smtp_relay", "redis", "mysql", "postgres"}
	logTypes    = []string{"connect", "disconnect", "auth_attempt", "command", "request", "session_opened", "session_closed", "startup", "query", "tls_client_hello"}
)

// shares of events that hold a word, one in so many.
var logWords = map[string]int{"common": 2, "frequent": 10, "middling": 100, "seldom": 1000, "rare": 100_000}

// bigLog is a database with a long log.
type bigLog struct {
	store  *db.Store
	source ingest.Source
	rnd    *rand.Rand
	begin  time.Time
	ids    []uuid.UUID
	// place counts events, so that times are in order.
	place int
}

func attackerAddr(i int) netip.Addr { return netip.AddrFrom4([4]byte{45, byte(i >> 16), byte(i >> 8), byte(i)}) }

// attackerOf is a power law: few attackers make most of the noise.
func (l *bigLog) attackerOf() int {
	f := l.rnd.Float64()
	return int(f * f * f * (logAttackers - 1))
}

func (l *bigLog) event() ingest.Event {
	service, kind := logServices[l.rnd.IntN(len(logServices))], logTypes[l.rnd.IntN(len(logTypes))]
	who := l.attackerOf()
	if i := l.place - 700_000; i >= 0 && i < burst {
		who, service, kind = 7, "ssh", "auth_attempt"
	}
	r := &ingest.Record{Time: l.begin.Add(time.Duration(l.place) * time.Second), App: service, Type: kind, Attacker: attackerAddr(who), Port: 4711}
	text := fmt.Sprintf("path /admin/%d.php agent Mozilla %d", l.rnd.IntN(500_000), l.rnd.IntN(100))
	for w, share := range logWords {
		if l.rnd.IntN(share) == 0 {
			text += " " + w
		}
	}
	r.Fields = ingest.Fields{
		{Key: "src_ip", Value: r.Attacker.String()}, {Key: "sid", Value: uuid.NewSHA1(uuid.Nil, []byte{byte(l.place >> 12), byte(l.place >> 4)}).String()},
		{Key: "text", Value: text}, {Key: "username", Value: fmt.Sprintf("user%d", l.rnd.IntN(2000))},
	}
	r.Raw = "<134>1 " + r.Time.Format(time.RFC3339Nano) + " srv " + service + " - " + kind + " " + text
	source := l.source
	source.DeckyKey = fmt.Sprintf("web-%02d", l.rnd.IntN(20))
	source.DeckyName, source.Service = source.DeckyKey, service
	l.place++
	return ingest.NewEvent(source, r)
}

func vector(lexemes []ingest.Lexeme) pgtype.TSVector {
	v := pgtype.TSVector{Valid: true}
	for _, x := range lexemes {
		w := pgtype.TSVectorLexeme{Word: x.Text}
		for _, p := range x.Positions {
			w.Positions = append(w.Positions, pgtype.TSVectorPosition{Position: p, Weight: pgtype.TSVectorWeightD})
		}
		v.Lexemes = append(v.Lexemes, w)
	}
	return v
}

func (l *bigLog) row(int) ([]any, error) {
	e := l.event()
	who := int(e.Attacker.As4()[1])<<16 | int(e.Attacker.As4()[2])<<8 | int(e.Attacker.As4()[3])
	return []any{
		e.Time, e.Source.DeckyKey, e.Source.DeckyName, e.Service, e.Type, string(e.Class), l.ids[who], e.Attacker, e.Session, "boot",
		int64(l.place), e.Fields.Map(), e.Msg, e.Raw, vector(ingest.Document(&e)),
	}, nil
}

// newBigLog fills a database, indexes last.
func newBigLog(b *testing.B) *bigLog {
	b.Helper()
	url := dbtest.URL(b)
	l := &bigLog{rnd: rand.New(rand.NewPCG(1, 2)), begin: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), ids: make([]uuid.UUID, logAttackers)}
	conn, err := pgx.Connect(b.Context(), url)
	require.NoError(b, err)
	defer func() { _ = conn.Close(context.WithoutCancel(b.Context())) }()
	exec := func(statement string) {
		_, err := conn.Exec(b.Context(), statement)
		require.NoError(b, err)
	}
	for i := range l.ids {
		l.ids[i] = uuid.New()
	}
	began := time.Now()
	exec("DROP INDEX events_document")
	_, err = conn.CopyFrom(b.Context(), pgx.Identifier{"events"}, []string{
		"time", "decky_key", "decky_name", "service", "type", "class", "attacker_id", "attacker_ip", "session", "boot", "line", "fields",
		"msg", "raw", "document",
	}, pgx.CopyFromSlice(logEvents, l.row))
	require.NoError(b, err)
	exec("CREATE INDEX events_document ON events USING gin (document)")
	_, err = conn.CopyFrom(b.Context(), pgx.Identifier{"attackers"}, []string{
		"id", "ip", "first_seen", "last_seen", "event_count", "services", "interacted", "scanned", "victim_domains", "deckies",
	}, pgx.CopyFromSlice(logAttackers, func(i int) ([]any, error) {
		deckies := []string{}
		for range l.rnd.IntN(4) {
			deckies = append(deckies, fmt.Sprintf("web-%02d", l.rnd.IntN(20)))
		}
		seen := l.begin.Add(time.Duration(l.rnd.IntN(logEvents)) * time.Second)
		return []any{
			l.ids[i], attackerAddr(i), l.begin, seen, int64(l.rnd.IntN(10_000)), []string{logServices[l.rnd.IntN(10)]}, []string{}, []string{},
			[]string{}, deckies,
		}, nil
	}))
	require.NoError(b, err)
	exec("VACUUM ANALYZE events")
	exec("VACUUM ANALYZE attackers")
	b.Logf("%d events after %s", logEvents, time.Since(began).Round(time.Second))
	l.store, err = db.Open(b.Context(), url)
	require.NoError(b, err)
	b.Cleanup(l.store.Close)
	return l
}

// pages walks the first pages of a search and returns how long each took.
func (l *bigLog) pages(b *testing.B, f db.EventFilter) (took samples, found int) {
	b.Helper()
	f.Limit = searchPage + 1
	for range searchPages {
		var events []db.LogEvent
		began := time.Now()
		err := l.store.View(b.Context(), func(v *db.View) (err error) {
			events, err = v.Events(b.Context(), f)
			return err
		})
		took = append(took, time.Since(began))
		require.NoError(b, err)
		found += len(events)
		if len(events) <= searchPage {
			break
		}
		f.BeforeTime, f.BeforeID = events[searchPage-1].Time, events[searchPage-1].ID
	}
	return took, found
}

func (l *bigLog) attackers(b *testing.B, f db.AttackerFilter) (took samples, found int) {
	b.Helper()
	f.Limit = searchPage + 1
	for range searchPages {
		var rows []db.Attacker
		began := time.Now()
		err := l.store.View(b.Context(), func(v *db.View) (err error) {
			rows, err = v.Attackers(b.Context(), f)
			return err
		})
		took = append(took, time.Since(began))
		require.NoError(b, err)
		found += len(rows)
		if len(rows) <= searchPage {
			break
		}
		last := rows[searchPage-1]
		f.Before = db.AttackerPlace{LastSeen: last.LastSeen, Count: last.Events, ID: last.ID}
		if f.Sort == db.AttackersByTraversal {
			f.Before.Count = int64(len(last.Deckies))
		}
	}
	return took, found
}

// percentile returns the p-th hundredth in milliseconds.
func (s samples) percentile(p int) float64 {
	sorted := slices.Sorted(slices.Values(s))
	return milliseconds(sorted[min(len(sorted)-1, len(sorted)*p/100)])
}

func BenchmarkSearch(b *testing.B) {
	l := newBigLog(b)
	column := func(q ingest.Query, pairs ...string) ingest.Query {
		for i := 0; i < len(pairs); i += 2 {
			q = q.With(pairs[i], pairs[i+1])
		}
		return q
	}
	parse := func(text string) ingest.Query {
		q, err := ingest.ParseQuery(text)
		require.NoError(b, err)
		return q
	}
	loud, quiet := attackerAddr(3).String(), attackerAddr(logAttackers-9).String()
	session := uuid.NewSHA1(uuid.Nil, []byte{9, 9}).String()
	day := 24 * time.Hour
	searches := []struct {
		name string
		f    db.EventFilter
	}{
		{"everything", db.EventFilter{}},
		{"one day", db.EventFilter{From: l.begin.Add(3 * day), To: l.begin.Add(4 * day)}},
		{"common word", db.EventFilter{Query: parse("common")}},
		{"1 in 10", db.EventFilter{Query: parse("frequent")}},
		{"1 in 100", db.EventFilter{Query: parse("middling")}},
		{"1 in 100 of an old day", db.EventFilter{Query: parse("middling"), From: l.begin.Add(3 * day), To: l.begin.Add(4 * day)}},
		{"1 in 1000", db.EventFilter{Query: parse("seldom")}},
		{"rare word", db.EventFilter{Query: parse("rare")}},
		{"no hit", db.EventFilter{Query: parse("nothing")}},
		{"phrase", db.EventFilter{Query: parse(`"agent mozilla 42"`)}},
		{"prefix", db.EventFilter{Query: parse("user17")}},
		{"field", db.EventFilter{Query: parse("username:user17")}},
		{"service", db.EventFilter{Query: column(ingest.Query{}, "service", "ssh")}},
		{"service and type", db.EventFilter{Query: column(ingest.Query{}, "service", "ssh", "event", "command")}},
		{"service, type, decky", db.EventFilter{Query: column(ingest.Query{}, "service", "ssh", "event", "command", "decky", "web-03")}},
		{"service, type, decky, word", db.EventFilter{Query: column(parse("frequent"), "service", "ssh", "event", "command", "decky", "web-03")}},
		{"two common words, one rare", db.EventFilter{Query: parse("common frequent rare")}},
		{"loud attacker", db.EventFilter{Query: column(ingest.Query{}, "attacker", loud)}},
		{"quiet attacker", db.EventFilter{Query: column(ingest.Query{}, "attacker", quiet)}},
		{"attacker of a burst", db.EventFilter{Query: column(ingest.Query{}, "attacker", attackerAddr(7).String())}},
		{"attacker of a burst, word", db.EventFilter{Query: column(parse("middling"), "attacker", attackerAddr(7).String())}},
		{"session", db.EventFilter{Query: column(ingest.Query{}, "session", session)}},
		{"session and type", db.EventFilter{Query: column(ingest.Query{}, "session", session, "event", "command")}},
	}
	for _, s := range searches {
		b.Run(s.name, func(b *testing.B) {
			l.measure(b, "search: "+s.name, func() (samples, int) { return l.pages(b, s.f) })
		})
	}
	lists := []struct {
		name string
		f    db.AttackerFilter
	}{
		{"recent", db.AttackerFilter{Sort: db.AttackersRecent}},
		{"active", db.AttackerFilter{Sort: db.AttackersActive}},
		{"traversals", db.AttackerFilter{Sort: db.AttackersByTraversal}},
		{"network", db.AttackerFilter{Sort: db.AttackersRecent, Network: netip.MustParsePrefix("45.0.7.0/24")}},
		{"active, service and decky", db.AttackerFilter{Sort: db.AttackersActive, Service: "ssh", Decky: "web-03"}},
		{"no such decky", db.AttackerFilter{Sort: db.AttackersRecent, Decky: "nowhere"}},
		{"no such service", db.AttackerFilter{Sort: db.AttackersActive, Service: "gopher"}},
	}
	for _, s := range lists {
		b.Run("attackers/"+s.name, func(b *testing.B) {
			l.measure(b, "attackers: "+s.name, func() (samples, int) { return l.attackers(b, s.f) })
		})
	}
}

func (l *bigLog) measure(b *testing.B, name string, walk func() (samples, int)) {
	b.Helper()
	var took samples
	found := 0
	_, _ = walk() // what is read for the first time is not what is measured
	b.ResetTimer()
	for range searchWalks {
		var more samples
		more, found = walk()
		took = append(took, more...)
	}
	b.StopTimer()
	b.Logf("%s: %d found, p50 %.1f ms, p99 %.1f ms", name, found, took.percentile(50), took.percentile(99))
	report(b, name+", p99", "p99-ms", took.percentile(99), searchTarget)
}
