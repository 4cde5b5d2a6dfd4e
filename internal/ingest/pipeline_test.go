package ingest_test

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/decoys/artifact"
	"github.com/decnet/decnet/decoys/eventlog"
	"github.com/decnet/decnet/decoys/tcp"
	"github.com/decnet/decnet/internal/ingest"
)

// What the decoys' own packages write arrives whole, through either runtime's kind of file.
func TestPipeline_FromTheDecoysWriterToFacts(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := eventlog.New(&out, "web-01", "ssh", "boot-1", 1, func() time.Time { return at(7) })
	emit := func(app, kind string, fields ...eventlog.Field) {
		log.Emit(eventlog.Event{App: app, MsgID: kind, Fields: append([]eventlog.Field{
			eventlog.F("src_ip", "2001:db8::66"), eventlog.F("src_port", "4242"), eventlog.F("sid", sid),
		}, fields...)})
	}
	log.Emit(eventlog.Event{MsgID: "startup", Fields: []eventlog.Field{eventlog.F("msg", "service started")}})
	emit("", "connect")
	emit("auth-helper", "auth_attempt", append(tcp.Secret("plaintext", "a\"]\n\xff"), eventlog.F("principal", "ro\not"))...)
	emit("", "command", eventlog.F("command", "echo '] x=\"1\"' \\\n\x1b[31m | sh"))
	emit("", "request", eventlog.F("headers", "{"+eventlog.Quote("User-Agent", 99)+":"+eventlog.Quote("a\x00]\"", 99)+"}"))

	root, err := os.OpenRoot(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, root.Close()) })
	file, err := artifact.NewStore(root, func() (uint64, error) { return 1 << 40, nil }, func() time.Time { return at(7) }).
		Capture("/tmp/x ]\".sh", []byte("#!/bin/sh"))
	require.NoError(t, err)
	log.Emit(file.Event("/tmp/x ]\".sh", artifact.Writer{SrcIP: "2001:db8::66", SrcPort: "4242", SessionID: sid, Cmdline: "a\nb", ModTime: at(6)}))
	emit("sessrec", "session_closed", eventlog.F("duration_s", "2.000"), eventlog.F("command_count", "1"), eventlog.F("has_recording", "false"))

	plain := out.Bytes()
	lines := strings.Split(strings.TrimSuffix(string(plain), "\n"), "\n")
	for format, data := range map[ingest.Format][]byte{ingest.FormatLines: plain, ingest.FormatJSONFile: jsonFile(200, lines...)} {
		var seq ingest.Sequence
		var session ingest.Session
		var got []ingest.Extraction
		var ends []ingest.SessionEnd
		for _, l := range split(t, ingest.NewSplitter(format, 0), data, 100) {
			r := parse(t, l.text)
			require.Equal(t, ingest.Gap{Boot: "boot-1"}, seq.Next(&r))
			x := extractor.Extract(web, &r)
			require.Empty(t, x.Problems)
			got = append(got, x)
			var end *ingest.SessionEnd
			if session, end = session.Apply(&x.Event); end != nil {
				ends = append(ends, *end)
			}
		}
		require.Len(t, got, 7)
		require.Equal(t, ingest.ClassNoise, got[0].Event.Class)
		require.Equal(t, "[2001:db8::66]:4242", got[1].Event.Peer().String())
		require.Equal(t, []string{`ro\not`, "YSJdCv8=", `a"]??`}, []string{got[2].Credentials[0].Principal, got[2].Credentials[0].SecretB64, got[2].Credentials[0].SecretPrintable})
		require.Equal(t, `echo '] x="1"' \\n\x1b[31m | sh`, got[3].Commands[0].Text)
		require.Contains(t, string(got[4].Bounties[0].Payload), `"value":"a\\x00]\""`)
		require.Equal(t, file.StoredAs, got[5].Artifact.StoredAs)
		require.Equal(t, "/tmp/x ]\".sh", got[5].Artifact.OrigPath)
		require.Equal(t, file.SHA256, got[5].Artifact.SHA256)
		require.Len(t, ends, 1)
		require.Equal(t, 1, ends[0].CommandCount)
		require.Equal(t, at(5), session.StartedAt.Add(-0))
	}
}

func FuzzExtract(f *testing.F) {
	f.Add("http", "request", "headers", `{"User-Agent":"curl/8","X-Forwarded-For":"10.0.0.1"}`, "secret_b64", "eA==")
	f.Add("smtp_relay", "message_stored", "attachments_json", `[{"filename":"a.b","sha256":1}]`, "stored_as", stored)
	f.Add("ssh", "command", "command", "x", "sid", sid)
	f.Add("prober", "x", "icmp_fp_hash", "h", "target_ip", "::1")
	f.Add("smtp", "message_accepted", "rcpt_to", "a@b,c@d", "mail_from", "@")
	f.Add("https", "request", "headers", `"{\"forwarded\":\"for=\\\"[::1]:1\\\"\"}"`, "path", "/")
	f.Fuzz(func(t *testing.T, service, kind, k1, v1, k2, v2 string) {
		r := record(kind, 1, 1)
		r.Fields = append(r.Fields, ingest.Field{Key: k1, Value: eventlog.Spell(v1)}, ingest.Field{Key: k2, Value: eventlog.Spell(v2)})
		r.Msg = eventlog.Spell(v2)
		x := extractor.Extract(source(service), r)
		again := extractor.Extract(source(service), r)
		require.Equal(t, x, again)
		seen := map[ingest.Hash]bool{}
		for _, b := range x.Bounties {
			var p map[string]any
			require.NoError(t, json.Unmarshal(b.Payload, &p))
			require.NotContains(t, string(b.Payload), `\u0000`)
			require.Less(t, len(b.Payload), 12*(len(v1)+len(v2))+4096)
			require.False(t, seen[b.Key])
			seen[b.Key] = true
			canonical, err := json.Marshal(p)
			require.NoError(t, err)
			require.JSONEq(t, string(canonical), string(b.Payload))
		}
		if a := x.Artifact; a != nil {
			require.NotContains(t, a.StoredAs, "/")
		}
		var attacker ingest.Attacker
		attacker.Add(&x.Event)
		_, end := ingest.Session{}.Apply(&x.Event)
		require.True(t, end == nil || kind == "session_closed")
	})
}
