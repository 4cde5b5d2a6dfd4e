package ingest_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/ingest"
)

// sample is a mix of what decoys write: connections, logins, requests, commands, mails; some 290 bytes on average.
func sample() []string {
	const host = `2026-02-03T04:05:06.123456+00:00 web-01 `
	return []string{
		`<134>1 ` + host + `ssh - connect [relay@55555 boot="5a0e6b1c-1f7e-4a6c-9b3e-1b2f1c2d3e4f" n="101" src_ip="192.0.2.17" src_port="51514"]`,
		`<134>1 ` + host + `ssh - disconnect [relay@55555 boot="5a0e6b1c-1f7e-4a6c-9b3e-1b2f1c2d3e4f" n="102" src_ip="2001:db8::17" src_port="51514" duration_s="12.034"]`,
		`<134>1 ` + host + `auth-helper - auth_attempt [relay@55555 boot="5a0e6b1c-1f7e-4a6c-9b3e-1b2f1c2d3e4f" n="103" username="root" principal="root" src_ip="192.0.2.17" src_port="51514" method="password" secret_printable="hunter2" secret_b64="aHVudGVyMg==" outcome="failure"]`,
		`<134>1 ` + host + `http - request [relay@55555 boot="5a0e6b1c-1f7e-4a6c-9b3e-1b2f1c2d3e4f" n="104" src_ip="198.51.100.4" src_port="40112" remote_addr="198.51.100.4" method="GET" path="/wp-login.php" headers="{\"Host\":\"192.0.2.1\",\"User-Agent\":\"curl/8.5.0\",\"Accept\":\"*/*\"}" protocol="HTTP/1.1" user_agent="curl/8.5.0"]`,
		`<134>1 ` + host + `ssh - command [relay@55555 boot="5a0e6b1c-1f7e-4a6c-9b3e-1b2f1c2d3e4f" n="105" sid="0b8f9c7e-6a5d-4c3b-8a19-001122334455" src_ip="192.0.2.17" command="uname -a" uid="0" user="root" pwd="/root"] CMD uid=0 user=root src=192.0.2.17 pwd=/root cmd=uname -a`,
		`<134>1 ` + host + `smtp - rcpt_to [relay@55555 boot="5a0e6b1c-1f7e-4a6c-9b3e-1b2f1c2d3e4f" n="106" src="203.0.113.9" value="<someone@example.org>"]`,
		`<134>1 ` + host + `smtp - message_stored [relay@55555 boot="5a0e6b1c-1f7e-4a6c-9b3e-1b2f1c2d3e4f" n="107" src="203.0.113.9" msg_id="4QxYz1" stored_as="2026-02-03T04:05:06Z_0123456789ab_4QxYz1.eml" sha256="e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" size="1204" subject="Invoice" attachments_json="[{\"filename\":\"a.zip\"}\]" urls_json="[\"http://example.org/a\"\]"]`,
	}
}

func benchmark(b *testing.B, parse func(line []byte) error) {
	b.Helper()
	var lines [][]byte
	total := 0
	for _, s := range sample() {
		lines = append(lines, []byte(s))
		total += len(s)
	}
	mean := int64(total / len(lines))
	require.InDelta(b, 290, mean, 30)
	b.SetBytes(mean)
	b.ReportAllocs()
	i, before := 0, processorTime(b)
	for b.Loop() {
		if err := parse(lines[i]); err != nil {
			b.Fatal(err)
		}
		if i++; i == len(lines) {
			i = 0
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lines/s")
	b.ReportMetric(float64(b.N)/(processorTime(b)-before).Seconds(), "lines/cpu-s")
}

// processorTime is what the process used of all cores, the collector's share included: on a busy machine it tells more than
// the clock.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkParse(b *testing.B) {
	benchmark(b, func(line []byte) error {
		_, err := ingest.Parse(line)
		return err
	})
}

func BenchmarkParseInto(b *testing.B) {
	var r ingest.Record
	benchmark(b, func(line []byte) error { return ingest.ParseInto(&r, line) })
}

func BenchmarkParseAndExtract(b *testing.B) {
	var r ingest.Record
	src := ingest.Source{DeckyKey: "web-01", DeckyName: "web-01"}
	benchmark(b, func(line []byte) error {
		err := ingest.ParseInto(&r, line)
		extractor.Extract(src, &r)
		return err
	})
}

func BenchmarkSplitter(b *testing.B) {
	for name, format := range map[string]ingest.Format{"lines": ingest.FormatLines, "json-file": ingest.FormatJSONFile} {
		b.Run(name, func(b *testing.B) {
			s := ingest.NewSplitter(format, 0)
			benchmark(b, func(line []byte) error {
				if format == ingest.FormatJSONFile {
					line = engineForm[string(line)]
				} else {
					line = append(line[:len(line):len(line)], '\n')
				}
				return s.Feed(line, func(ingest.Line) error { return nil })
			})
		})
	}
}

var engineForm = func() map[string][]byte {
	m := map[string][]byte{}
	for _, l := range sample() {
		m[l] = jsonFile(ingest.MaxLineBytes, l)
	}
	return m
}()
