package ingest_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/ingest"
)

var extractor = ingest.NewExtractor(nil)

func source(service string) ingest.Source {
	return ingest.Source{DeckyKey: "web", DeckyName: "web", Service: service}
}

func extract(service, kind string, fields ...string) ingest.Extraction {
	return extractor.Extract(source(service), record(kind, 1, 1, fields...))
}

// payloads returns the payloads of one kind, decoded.
func payloads(t *testing.T, x ingest.Extraction, kind string) (out []map[string]any) {
	t.Helper()
	for _, b := range x.Bounties {
		if b.Kind == kind || string(b.Type) == kind {
			var p map[string]any
			require.NoError(t, json.Unmarshal(b.Payload, &p))
			require.Equal(t, netip.MustParseAddr("192.0.2.7"), b.Attacker)
			out = append(out, p)
		}
	}
	return out
}

func one(t *testing.T, x ingest.Extraction, kind string) map[string]any {
	t.Helper()
	p := payloads(t, x, kind)
	require.Len(t, p, 1, kind)
	return p[0]
}

func TestClassify(t *testing.T) {
	t.Parallel()
	for class, types := range map[ingest.Class]string{
		ingest.ClassInteraction: "command exec query input shell_input execute run sql_query redis_command ldap_search mail_from rcpt_to " +
			"rcpt_denied message_accepted file_captured upload download_attempt retr publish subscribe session_recorded",
		ingest.ClassNoise: "startup shutdown config_error parse_error unknown_packet unknown_opcode unknown_command protocol_error",
		ingest.ClassScan:  "connect disconnect auth auth_attempt request session_closed tls_client_hello whatever COMMAND",
	} {
		for kind := range strings.FieldsSeq(types) {
			require.Equal(t, class, ingest.Classify(kind), kind)
		}
	}
	require.Equal(t, ingest.ClassScan, ingest.Classify(""))
}

func TestEvent_ServiceSessionAndKey(t *testing.T) {
	t.Parallel()
	r := record("session_closed", 1, 1, "sid", sid, "service", "telnet")
	require.Equal(t, "ssh", ingest.NewEvent(web, r).Service, "the control plane knows better")
	require.Equal(t, "telnet", ingest.NewEvent(ingest.Source{DeckyKey: "d"}, r).Service)
	r.App = "mysql"
	require.Equal(t, "mysql", ingest.NewEvent(ingest.Source{DeckyKey: "d"}, r).Service)
	require.Equal(t, sid, ingest.NewEvent(web, r).Session)

	key := func(src ingest.Source, r *ingest.Record) ingest.Hash { return ingest.NewEvent(src, r).Key }
	a, again := record("connect", 1, 1), record("connect", 1, 1)
	require.Equal(t, key(web, a), key(web, again))
	require.NotEqual(t, key(web, a), key(relay, a))
	require.NotEqual(t, key(web, a), key(web, record("connect", 2, 1)))
	require.NotEqual(t, key(web, a), key(web, record("connect", 1, 2)), "a restart within a boot")

	imported := ingest.ImportSource("cowrie-1", "ssh")
	moved := *a
	moved.Line, moved.Boot = 7, "other file"
	require.Equal(t, key(imported, a), key(imported, &moved))
	require.NotEqual(t, key(imported, a), key(ingest.ImportSource("cowrie-2", "ssh"), a))
	require.Equal(t, "import:cowrie-1#s1", imported.EvidenceRef("s1"))
	require.Empty(t, web.EvidenceRef("s1"))
	require.Empty(t, imported.EvidenceRef(""))
}

func TestExtract_NobodyHasNothing(t *testing.T) {
	t.Parallel()
	r := record("request", 1, 1, "secret_b64", "eA==", "headers", `{"User-Agent":"x"}`)
	r.Attacker = netip.Addr{}
	x := extractor.Extract(source("http"), r)
	require.Empty(t, append(x.Bounties, ingest.Bounty{})[1:])
	require.Empty(t, x.Credentials)
	require.Equal(t, "request", x.Event.Type)
	r = record("decky_mutated", 1, 1, "secret_b64", "eA==")
	r.App = "mutator"
	require.Empty(t, extractor.Extract(source(""), r).Credentials)
}

func TestCredential(t *testing.T) {
	t.Parallel()
	sum := func(secret string) string {
		s := sha256.Sum256([]byte(secret))
		return hex.EncodeToString(s[:])
	}
	x := extract("ssh", "auth_attempt", "username", "ignored", "principal", "root", "secret_printable", "p?", "secret_b64",
		base64.StdEncoding.EncodeToString([]byte("p\xff")), "outcome", "failure")
	require.Len(t, x.Credentials, 1)
	c := x.Credentials[0]
	require.NotZero(t, c.Key)
	c.Key = ingest.Hash{}
	require.Equal(t, ingest.Credential{
		Attacker: netip.MustParseAddr("192.0.2.7"), DeckyKey: "web", DeckyName: "web", Service: "ssh", Principal: "root", SecretKind: "plaintext",
		SecretPrintable: "p?", SecretB64: "cP8=", SecretSHA256: sum("p\xff"), Outcome: "failure",
	}, c)

	for name, fields := range map[string][]string{
		"no secret":          {"username", "root", "password", "toor"},
		"no base64":          {"secret_b64", "!"},
		"three equals signs": {"secret_b64", "ab==="},
		"unpadded":           {"secret_b64", "cP8"},
		"trailing bits":      {"secret_b64", "cP9="},
		"line feed":          {"secret_b64", "cP8=\n"},
		"URL alphabet":       {"secret_b64", "_-8="},
	} {
		x := extract("ssh", "auth_attempt", fields...)
		require.Empty(t, x.Credentials, name)
		require.Equal(t, name != "no secret", len(x.Problems) == 1, name)
	}

	empty := extract("redis", "auth", "secret_b64", "").Credentials[0]
	require.Equal(t, sum(""), empty.SecretSHA256)
	require.Empty(t, empty.Principal)
	require.Equal(t, "root", extract("ssh", "auth", "username", "root", "secret_b64", "eA==").Credentials[0].Principal)
	require.Empty(t, extract("ssh", "auth", "username", "root", "principal", "", "secret_b64", "eA==").Credentials[0].Principal)

	long := strings.Repeat("é", 3000)
	cut := extract("ssh", "auth", "principal", long, "secret_printable", long, "secret_b64", base64.StdEncoding.EncodeToString([]byte(long)), "secret_kind", "k").Credentials[0]
	require.Equal(t, strings.Repeat("é", 256), cut.Principal)
	require.Equal(t, strings.Repeat("é", 512), cut.SecretPrintable)
	require.Len(t, cut.SecretB64, 2048)
	require.Equal(t, sum(long), cut.SecretSHA256, "over the uncut bytes")
}

func TestCredential_KeyIsTheUniqueKey(t *testing.T) {
	t.Parallel()
	key := func(service string, fields ...string) ingest.Hash {
		return extract(service, "auth", fields...).Credentials[0].Key
	}
	base := key("ssh", "principal", "root", "secret_b64", "eA==")
	require.Equal(t, base, key("ssh", "username", "root", "secret_b64", "eA==", "outcome", "success", "secret_printable", "x"))
	require.Equal(t, key("ssh", "secret_b64", "eA=="), key("ssh", "principal", "", "secret_b64", "eA=="), "null and empty are one")
	for _, other := range []ingest.Hash{
		key("telnet", "principal", "root", "secret_b64", "eA=="), key("ssh", "principal", "admin", "secret_b64", "eA=="),
		key("ssh", "principal", "root", "secret_b64", "eQ=="), key("ssh", "principal", "root", "secret_b64", "eA==", "secret_kind", "http_bearer"),
		key("ssh", "src_ip", "192.0.2.8", "principal", "", "secret_b64", "eA=="),
	} {
		require.NotEqual(t, base, other)
	}
}

func TestCommand(t *testing.T) {
	t.Parallel()
	shell := "CMD uid=0 user=root src=192.0.2.9 pwd=/tmp/a b cmd=echo cmd=x  user=y"
	for name, c := range map[string]struct {
		msg    string
		fields []string
		want   ingest.Command
	}{
		"fields win": {shell, []string{"sid", sid, "command", "id", "uid", "1", "user", "u", "pwd", "/"}, ingest.Command{ID: sid + "#9", Session: sid, Text: "id", UID: "1", User: "u", Dir: "/", Src: "192.0.2.9"}},
		"the order":  {"", []string{"cmd", "z", "sql", "y", "query", "x"}, ingest.Command{Text: "x"}},
		"redis":      {"", []string{"cmd", "SET", "args", `["a","b"]`, "command", "SET a b"}, ingest.Command{Text: "SET a b"}},
		"message":    {shell, nil, ingest.Command{Text: "echo cmd=x  user=y", UID: "0", User: "root", Dir: "/tmp/a b", Src: "192.0.2.9"}},
		"bare":       {"rm -rf /", nil, ingest.Command{Text: "rm -rf /"}},
		"part":       {"CMD user=root cmd=", nil, ingest.Command{Text: "", User: "root"}},
		"no cmd":     {"CMD user=root", nil, ingest.Command{Text: "CMD user=root", User: "root"}},
	} {
		r := record("command", 9, 1, c.fields...)
		r.Msg = c.msg
		x := extractor.Extract(source("ssh"), r)
		require.Len(t, x.Commands, 1, name)
		if c.want.ID == "" {
			c.want.ID = "192.0.2.7-" + at(1).Format("2006-01-02T15:04:05Z07:00") + "#9"
		}
		c.want.Attacker, c.want.Service, c.want.Time = r.Attacker, "ssh", at(1)
		require.Equal(t, c.want, x.Commands[0], name)
	}
	unnumbered := extractor.Extract(source("ssh"), record("exec", 0, 1, "cmd", "id"))
	require.Equal(t, "192.0.2.7-"+at(1).Format("2006-01-02T15:04:05Z07:00"), unnumbered.Commands[0].ID)
	for _, kind := range []string{"command", "exec", "query", "input", "shell_input", "execute", "run", "sql_query", "redis_command"} {
		require.Len(t, extract("x", kind, "line", "l").Commands, 1, kind)
	}
	require.Empty(t, extract("x", "request", "line", "l").Commands)
}

const stored = "2026-02-03T04:05:06Z_0123456789ab_drop.sh"

func TestArtifact_File(t *testing.T) {
	t.Parallel()
	sum := strings.Repeat("ab", 32)
	x := extract("ssh", "file_captured", "stored_as", stored, "sha256", sum, "size", "12", "orig_path", "/tmp/x", "writer_comm", "cat", "sid", sid)
	require.Equal(t, map[string]any{
		"kind": "file", "stored_as": stored, "sha256": sum, "size": "12", "orig_path": "/tmp/x", "attribution": nil, "writer_comm": "cat",
	}, one(t, x, "artifact"))
	require.Equal(t, &ingest.Artifact{
		Kind: "file", Attacker: netip.MustParseAddr("192.0.2.7"), Folder: "ssh", StoredAs: stored, SHA256: sum, Size: 12, OrigPath: "/tmp/x", Session: sid,
	}, x.Artifact)

	for _, bad := range []string{"../" + stored, stored + "/x", strings.ToLower(stored), stored[:34], "x", stored + " y", stored + `\n`} {
		x := extract("ssh", "file_captured", "stored_as", bad)
		require.Nil(t, x.Artifact, bad)
		require.Empty(t, x.Bounties, bad)
		require.Len(t, x.Problems, 1, bad)
	}
	require.Nil(t, extract("ssh", "file_captured").Artifact)
	require.Nil(t, extract("ssh", "file_skipped", "stored_as", stored).Artifact)
	odd := extract("ssh", "file_captured", "stored_as", stored, "sha256", "../x", "size", "-4").Artifact
	require.Empty(t, odd.SHA256)
	require.EqualValues(t, -1, odd.Size)
}

func TestArtifact_Mail(t *testing.T) {
	t.Parallel()
	a, b := strings.Repeat("0a", 32), strings.Repeat("1B", 32)
	fields := []string{
		"msg_id", "4Q", "stored_as", stored, "sha256", a, "size", "9", "subject", "Hi ]", "from_hdr", "Boss <boss@Corp.Example.COM.>",
		"to_hdr", "x", "mail_from", "<m@bad.example>", "return_path", "none", "rcpt_to", "<a@One.org>, <b@one.org> <c@two.org>,,nobody",
		"x_mailer", "", "dkim_signed", "1", "spf_pass", "0", "html_smuggling", "True", "urls_json", `["http://a","\u0000",5]`,
		"attachment_count", "2", "body_simhash", "ff", "body_base64_bytes", "x", "content_type", "text/plain",
		"attachments_json", `[{"filename":"A.tar.GZ","sha256":"` + a + `","encrypted":true},{"filename":"b.gz","sha256":"` + b + `"},{"filename":"dot.","sha256":""},{"filename":"none","macro_indicator":1},7]`,
	}
	x := extract("smtp_relay", "message_stored", fields...)
	require.Equal(t, "mail", one(t, x, "artifact")["kind"])
	require.Equal(t, "smtp", x.Artifact.Folder, "both mail services share a folder")
	require.Equal(t, &ingest.Mail{
		SourceID: "4Q", Subject: "Hi ]", FromDomain: "corp.example.com", MailFromDomain: "bad.example", RcptCount: 4,
		RcptDomains: []string{"one.org", "two.org"}, DKIMSigned: true, HTMLSmuggling: true, URLs: []string{"http://a", `\x00`}, AttachmentCount: "2",
		AttachmentSHA256s: []string{a, strings.ToLower(b)}, AttachmentExts: []string{".gz"}, BodySimhash: "ff", AttachmentMacros: true,
		AttachmentPassword: true, StoredAs: stored, BodySHA256: a, Relay: true, MailFrom: "<m@bad.example>",
		RcptTo: "<a@One.org>, <b@one.org> <c@two.org>,,nobody",
	}, x.Mail)

	plain := extract("smtp", "message_stored", "stored_as", stored, "urls_json", "{", "attachments_json", "null", "body_base64_bytes", "77").Mail
	require.Equal(t, stored, plain.SourceID)
	require.False(t, plain.Relay)
	require.Equal(t, []string{}, plain.URLs)
	require.EqualValues(t, 77, plain.BodyBase64Bytes)
	require.Nil(t, extract("smtp", "message_stored").Mail)
}

func TestProbe_ClientHASSH(t *testing.T) {
	t.Parallel()
	hash := strings.Repeat("0f", 16)
	x := extract("ssh", "client_banner", "client_version", "SSH-2.0-Go", "hassh", hash)
	require.Equal(t, []ingest.Probe{{Attacker: netip.MustParseAddr("192.0.2.7"), Type: "hassh_client", Port: 0, Hash: hash}}, x.Probes)
	require.Empty(t, x.Bounties)
	for _, bad := range []string{"", "zz", strings.ToUpper(hash), hash + "0"} {
		require.Empty(t, extract("ssh", "client_banner", "hassh", bad).Probes, bad)
	}
	require.Empty(t, extract("ssh", "other", "hassh", hash).Probes)
}

func TestBounty_KeyIgnoresCircumstancesAndDecky(t *testing.T) {
	t.Parallel()
	key := func(x ingest.Extraction, kind string) ingest.Hash {
		i := slices.IndexFunc(x.Bounties, func(b ingest.Bounty) bool { return b.Kind == kind })
		require.GreaterOrEqual(t, i, 0)
		return x.Bounties[i].Key
	}
	ua := func(service, path, ip, agent string) ingest.Hash {
		r := record("request", 1, 1, "method", "GET", "path", path, "headers", `{"User-Agent":"`+agent+`"}`)
		r.Attacker = netip.MustParseAddr(ip)
		return key(extractor.Extract(source(service), r), "http_useragent")
	}
	base := ua("http", "/", "192.0.2.1", "curl/8")
	require.Equal(t, base, ua("https", "/wp-login.php", "192.0.2.1", "curl/8"))
	require.NotEqual(t, base, ua("http", "/", "192.0.2.2", "curl/8"))
	require.NotEqual(t, base, ua("http", "/", "192.0.2.1", "curl/9"))

	h2 := func(port, settings string) ingest.Hash {
		return key(extract("http", "http2_settings", "remote_port", port, "settings", settings), "http2_settings")
	}
	require.Equal(t, h2("1", "a"), h2("2", "a"))
	require.NotEqual(t, h2("1", "a"), h2("1", "b"))
}
