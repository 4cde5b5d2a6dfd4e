package bench_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/db/dbtest"
	"github.com/decnet/decnet/internal/ingest"
	"github.com/decnet/decnet/internal/role/ingester"
	"github.com/decnet/decnet/internal/runtime"
)

// ingestLines are what eight decoys have printed when ingest begins.
const (
	ingestLines  = 100_000
	ingestDecoys = 8
)

// mix is what decoys write: connections, logins, requests, commands, mails; some 290 bytes on average. It is that of
// internal/ingest, from many addresses, with sessions that come and go.
func mix(boot string, n int) string {
	at := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC).Add(time.Duration(n) * 7 * time.Millisecond)
	head := func(app, typ string) string {
		return fmt.Sprintf(`<134>1 %s web-01 %s - %s [relay@55555 boot="%s" n="%d"`, at.Format("2006-01-02T15:04:05.000000+00:00"), app, typ, boot, n)
	}
	visit := n / 7
	ip, port := fmt.Sprintf("192.0.%d.%d", visit/200%20, 1+visit%200), 1024+visit%60000
	src := fmt.Sprintf(` src_ip="%s" src_port="%d"`, ip, port)
	sid := fmt.Sprintf(` sid="%s-%08x"`, boot[:23], visit)
	switch n % 7 {
	case 0:
		return head("ssh", "connect") + src + "]"
	case 1:
		return head("ssh", "session_opened") + src + sid + ` user="root"]`
	case 2:
		return head("auth-helper", "auth_attempt") + src + fmt.Sprintf(` username="root" principal="root" method="password" secret_printable="pw%d" secret_b64="cHcxMjM0NTY=" outcome="failure"]`, visit%500)
	case 3:
		return head("http", "request") + src + ` remote_addr="` + ip + `" method="GET" path="/wp-login.php" headers="{\"Host\":\"192.0.2.1\",\"User-Agent\":\"curl/8.5.0\",\"Accept\":\"*/*\"}" protocol="HTTP/1.1" user_agent="curl/8.5.0"]`
	case 4:
		return head("ssh", "command") + src + sid + fmt.Sprintf(` command="uname -a %d" uid="0" user="root" pwd="/root"] CMD uid=0 user=root src=%s pwd=/root cmd=uname -a %d`, visit, ip, visit)
	case 5:
		return head("smtp", "message_stored") + src + fmt.Sprintf(` msg_id="4QxYz%d" stored_as="2026-02-03T04:05:06Z_0123456789ab_4QxYz%d.eml" sha256="e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" size="1204" subject="Invoice" attachments_json="[{\"filename\":\"a.zip\"}\]" urls_json="[\"http://example.org/a\"\]"]`, visit, visit)
	}
	return head("ssh", "session_closed") + src + sid + ` duration_s="12.034" commands="1"]`
}

type printed []runtime.Output

func (p printed) Outputs(context.Context) ([]runtime.Output, error) { return p, nil }

// BenchmarkIngest measures files to committed rows: one ingester and a Postgres on the cores of this machine.
func BenchmarkIngest(b *testing.B) {
	dir := b.TempDir()
	var outputs printed
	var size int64
	for d := range ingestDecoys {
		boot := uuid.NewString()
		var text strings.Builder
		for n := 1; n <= ingestLines/ingestDecoys; n++ {
			text.WriteString(mix(boot, n) + "\n")
		}
		path := filepath.Join(dir, fmt.Sprint(d))
		require.NoError(b, os.WriteFile(path, []byte(text.String()), 0o600))
		size += int64(text.Len())
		outputs = append(outputs, runtime.Output{
			DeckyID: uuid.New(), DeckyKey: fmt.Sprintf("web-%02d", d), Service: "ssh", Format: runtime.OutputLines, Files: []string{path},
		})
	}
	require.InDelta(b, 290, float64(size)/ingestLines, 40)
	var took time.Duration
	for range b.N {
		took += ingestOnce(b, outputs)
	}
	rate := float64(b.N*ingestLines) / took.Seconds()
	report(b, "lines ingested, files to rows", "lines/s", rate, ">= 10000 lines/s")
}

// ingestOnce ingests everything into an empty database.
func ingestOnce(b *testing.B, outputs runtime.Outputs) time.Duration {
	b.Helper()
	url := dbtest.URL(b)
	store, err := db.Open(b.Context(), url)
	require.NoError(b, err)
	defer store.Close()
	c, err := pgx.Connect(b.Context(), url)
	require.NoError(b, err)
	defer func() { _ = c.Close(b.Context()) }()
	in := &ingester.Ingester{
		Store: store, Outputs: outputs, HostID: "h1", Gate: ingest.DefaultGate(), Log: slog.New(slog.DiscardHandler),
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	began := time.Now()
	go func() { done <- in.Run(ctx) }()
	for n := int64(0); n < ingestLines; time.Sleep(20 * time.Millisecond) {
		require.NoError(b, c.QueryRow(ctx, "SELECT coalesce(sum(lines), 0) FROM ingest_outcomes").Scan(&n))
	}
	took := time.Since(began)
	cancel()
	require.NoError(b, <-done)
	var stored int
	require.NoError(b, c.QueryRow(b.Context(), "SELECT sum(lines) FROM ingest_outcomes WHERE outcome = 'stored'").Scan(&stored))
	require.Greater(b, stored, ingestLines*9/10, "the gate has not made it easy")
	return took
}
