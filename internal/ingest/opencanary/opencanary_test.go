package opencanary_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/ingest"
	"github.com/decnet/decnet/internal/ingest/foreign"
	"github.com/decnet/decnet/internal/ingest/opencanary"
)

type obj = map[string]any

type want = map[string]string

func drain(t testing.TB, r io.Reader) ([]foreign.Entry, foreign.Report) {
	t.Helper()
	fr, err := opencanary.NewReader(r, foreign.Position{})
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

// line is an event as OpenCanary writes it; members of more replace those, nil removes one.
func line(t testing.TB, logtype, logdata any, more obj) string {
	t.Helper()
	m := obj{
		"dst_host": "198.51.100.1", "dst_port": 22, "local_time": "2026-01-02 03:04:05.678901", "local_time_adjusted": "2026-01-02 05:04:05.678901",
		"logdata": logdata, "logtype": logtype, "node_id": "canary-1", "src_host": "192.0.2.7", "src_port": 40022, "utc_time": "2026-01-02 03:04:05.678901",
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

var kinds = []struct {
	logtype int
	data    any
	service string
	typ     string
	want    want
}{
	{
		2000,
		obj{"USERNAME": "ftp", "PASSWORD": "a@b"},
		"ftp", "auth_attempt",
		want{"username": "ftp", "principal": "ftp", "secret_printable": "a@b", "secret_b64": "YUBi", "outcome": "failure"},
	},
	{2001, obj{"USERNAME": "ftp"}, "ftp", "auth_started", want{"username": "ftp"}},
	{
		3000,
		obj{"PATH": "/index.html", "USERAGENT": "curl/8", "HOSTNAME": "h", "SKIN": "nas"},
		"http", "request",
		want{"method": "GET", "path": "/index.html", "user_agent": "curl/8", "host": "h", "skin": "nas"},
	},
	{
		3001,
		obj{"PATH": "/index.html", "USERNAME": "admin", "PASSWORD": "<not supplied>", "USERAGENT": "<not supplied>"},
		"http", "request",
		want{"method": "POST", "path": "/index.html", "username": "admin", "principal": "admin", "outcome": "failure"},
	},
	{3002, obj{"PATH": "/", "REQUEST_TYPE": "TRACE"}, "http", "request", want{"method": "TRACE", "path": "/"}},
	{3003, obj{"PATH": "/"}, "http", "request", want{"method": "GET", "path": "/"}},
	{4000, obj{"SESSION": "3"}, "ssh", "connect", want{}},
	{4001, obj{"REMOTEVERSION": "SSH-2.0-Go", "LOCALVERSION": "SSH-2.0-OpenSSH_5.1p1"}, "ssh", "client_banner", want{"client_version": "SSH-2.0-Go"}},
	{4002, obj{"USERNAME": "root", "PASSWORD": "x", "REMOTEVERSION": "SSH-2.0-Go"}, "ssh", "auth_attempt", want{
		"username": "root", "principal": "root", "client_version": "SSH-2.0-Go", "method": "password", "secret_printable": "x", "secret_b64": "eA==", "outcome": "failure",
	}},
	{
		4002,
		obj{"USERNAME": "root", "KEY": "ssh-rsa AAAA"},
		"ssh", "auth_attempt",
		want{"username": "root", "principal": "root", "method": "publickey", "key_type": "ssh-rsa", "key": "ssh-rsa AAAA", "outcome": "failure"},
	},
	{
		5000,
		obj{"USER": "anonymous", "SHARENAME": "docs", "FILENAME": "a.docx", "AUDITACTION": "pread", "STATUS": "ok", "DOMAIN": "W", "SMBVER": "SMB3_11", "SMBARCH": "Win", "REMOTENAME": "pc", "LOCALNAME": "nas"},
		"smb", "file_open",
		want{"username": "anonymous", "share": "docs", "path": "a.docx", "action": "pread", "status": "ok", "domain": "W", "smb_version": "SMB3_11", "client_os": "Win", "client_name": "pc", "server_name": "nas"},
	},
	{5001, obj{"PROTO": "TCP", "TTL": "52", "SYN": "", "WINDOW": "1024"}, "portscan", "port_scan", want{"scan": "syn", "transport": "TCP", "ttl": "52", "window": "1024"}},
	{5002, obj{}, "portscan", "port_scan", want{"scan": "nmap_os"}},
	{5003, obj{}, "portscan", "port_scan", want{"scan": "null"}},
	{5004, obj{}, "portscan", "port_scan", want{"scan": "xmas"}},
	{5005, obj{}, "portscan", "port_scan", want{"scan": "fin"}},
	{6001, obj{"USERNAME": "admin", "PASSWORD": ""}, "telnet", "auth_attempt", want{"username": "admin", "principal": "admin", "outcome": "failure"}},
	{6002, obj{}, "telnet", "connect", want{}},
	{
		7001,
		obj{"USERNAME": "u", "PASSWORD": "p"},
		"httpproxy", "auth_attempt",
		want{"username": "u", "principal": "u", "secret_printable": "p", "secret_b64": "cA==", "outcome": "failure"},
	},
	{8001, obj{"USERNAME": "root", "PASSWORD": strings.Repeat("0A", 20)}, "mysql", "auth", want{
		"username": "root", "principal": "root", "secret_kind": "mysql_native_password", "secret_printable": strings.Repeat("0a", 20),
		"secret_b64": "CgoKCgoKCgoKCgoKCgoKCgoKCgo=", "outcome": "failure",
	}},
	{8001, obj{"USERNAME": "root", "PASSWORD": nil}, "mysql", "auth", want{"username": "root", "principal": "root", "outcome": "failure"}},
	{8001, obj{"USERNAME": "root", "PASSWORD": "no hex"}, "mysql", "auth", want{"username": "root", "principal": "root", "outcome": "failure"}},
	{9001, obj{"UserName": "sa", "Password": "p", "AppName": "OSQL-32", "HostName": "PC", "Database": "master", "CltIntName": "ODBC"}, "mssql", "auth", want{
		"username": "sa", "principal": "sa", "secret_printable": "p", "secret_b64": "cA==", "outcome": "failure",
		"application_name": "OSQL-32", "client_name": "PC", "database": "master", "client_library": "ODBC",
	}},
	{
		9002,
		obj{"USERNAME": "adm", "PASSWORD": nil, "HOSTNAME": "PC", "DOMAINNAME": "CORP"},
		"mssql", "auth",
		want{"username": "adm", "principal": "adm", "outcome": "failure", "domain": "CORP", "client_name": "PC"},
	},
	{9003, obj{}, "mysql", "connect", want{}},
	{10001, obj{"OPCODE": "READ", "FILENAME": "running-config", "MODE": "octet"}, "tftp", "request", want{"opcode": "READ", "path": "running-config", "mode": "octet"}},
	{11001, obj{"NTP CMD": "monlist"}, "ntp", "request", want{"operation": "monlist"}},
	{
		12001,
		obj{"VNC Server Challenge": "00ff", "VNC Client Response": "0a0b", "VNC Password": "<Password was not in the common list>"},
		"vnc", "auth",
		want{"salt": "00ff", "secret_kind": "vnc_des_response", "secret_printable": "0a0b", "secret_b64": "Cgs=", "outcome": "failure"},
	},
	{
		12001,
		obj{"VNC Server Challenge": "00ff", "VNC Client Response": "0a0b", "VNC Password": "1234"},
		"vnc", "auth",
		want{"salt": "00ff", "response": "0a0b", "secret_printable": "1234", "secret_b64": "MTIzNA==", "outcome": "failure"},
	},
	{13001, obj{"COMMUNITY_STRING": "public", "REQUESTS": []string{"1.3.6.1.2.1.1.1.0", "1.3.6"}}, "snmp", "request", want{"community": "public", "oids": "1.3.6.1.2.1.1.1.0,1.3.6"}},
	{14001, obj{"USERNAME": nil}, "rdp", "auth", want{"outcome": "failure"}},
	{14001, obj{"USERNAME": "administr"}, "rdp", "auth", want{"username": "administr", "principal": "administr", "outcome": "failure"}},
	{
		15001,
		obj{"HEADERS": obj{"user-agent": []string{"friendly-scanner"}, "cseq": []string{"1 OPTIONS"}}},
		"sip", "request",
		want{"user_agent": "friendly-scanner", "sip_headers": `{"cseq":["1 OPTIONS"],"user-agent":["friendly-scanner"]}`},
	},
	{16001, obj{"REPO": "/x.git", "HOST": "h"}, "git", "request", want{"path": "/x.git", "host": "h"}},
	{17001, obj{"CMD": "CONFIG", "ARGS": "SET dir /root"}, "redis", "command", want{"cmd": "CONFIG", "args": "SET dir /root", "command": "CONFIG SET dir /root"}},
	{17001, obj{"CMD": "auth", "ARGS": "p"}, "redis", "auth", want{"secret_printable": "p", "secret_b64": "cA==", "outcome": "failure"}},
	{
		17001,
		obj{"CMD": "AUTH", "ARGS": "xxx(and 7 more bytes)"},
		"redis", "command",
		want{"cmd": "AUTH", "args": "xxx(and 7 more bytes)", "command": "AUTH xxx(and 7 more bytes)"},
	},
	{18001, obj{"FUNCTION": "CONNECTION_MADE", "DATA": "hi", "BANNER_ID": "1"}, "tcpbanner", "connect", want{"data": "hi", "banner_id": "1"}},
	{18002, obj{"BANNER_ID": "1"}, "tcpbanner", "connect", want{"banner_id": "1"}},
	{18003, obj{"SECRET_STRING": "s"}, "tcpbanner", "data", want{"keep_alive_secret": "s"}},
	{18004, obj{"DATA": "x"}, "tcpbanner", "data", want{"data": "x"}},
	{18005, obj{"DATA": "x\r\n", "ALERT_STRING": "x"}, "tcpbanner", "data", want{"data": `x\r\n`, "alert_string": "x"}},
	{19001, obj{"query_hostname": "DC03", "response": "r"}, "llmnr", "response", want{"name": "DC03", "response": "r"}},
	{20001, obj{"action": "mongodb.connection"}, "mongodb", "connect", want{}},
	{20001, obj{"action": "mongodb.disconnect"}, "mongodb", "disconnect", want{}},
	{
		20001,
		obj{"action": "mongodb.auth_attempt", "username": "u", "mechanism": "SCRAM-SHA-1", "auth_data": "{}"},
		"mongodb", "auth",
		want{"username": "u", "principal": "u", "mechanism": "SCRAM-SHA-1", "auth_data": "{}", "outcome": "failure"},
	},
	{20001, obj{"action": "mongodb.command", "command": "listDatabases", "query": "{}"}, "mongodb", "query", want{"operation": "listDatabases", "query": "{}"}},
	{20001, obj{"action": "mongodb.error", "error": "Invalid BSON"}, "mongodb", "protocol_error", want{"error": "Invalid BSON"}},
	{20001, obj{}, "mongodb", "request", want{}},
	{99003, obj{"stored_as": "x"}, "user", "user_event", want{}},
	{31337, obj{"secret_b64": "AAAA"}, "other", "logtype_31337", want{}},
	{6002, "no object", "telnet", "connect", want{}},
}

func TestReader_MapsEveryLogType(t *testing.T) {
	t.Parallel()
	for _, c := range kinds {
		t.Run(strconv.Itoa(c.logtype), func(t *testing.T) {
			t.Parallel()
			all, rep := drain(t, strings.NewReader(line(t, c.logtype, c.data, nil)+"\n"))
			require.Len(t, all, 1, "%v", rep)
			r := all[0].Record
			got := r.Fields.Map()
			for k, v := range (want{"src_ip": "192.0.2.7", "src_port": "40022", "dst_ip": "198.51.100.1", "dst_port": "22"}) {
				require.Equal(t, v, got[k])
				delete(got, k)
			}
			require.Equal(t, c.want, got)
			require.Equal(t, c.typ, r.Type)
			require.Equal(t, c.service, r.App)
			require.Equal(t, "192.0.2.7:40022", r.Peer().String())
			require.Equal(t, time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC), r.Time)
			require.Equal(t, ingest.ImportSource("canary-1", c.service), all[0].Source)
			require.Empty(t, all[0].Source.EvidenceRef(r.Fields.Get("sid")))
			kind := strconv.Itoa(c.logtype)
			if c.service == "other" {
				kind = foreign.OtherKind
			}
			require.Equal(t, map[string]int64{kind: 1}, rep.Kinds)
		})
	}
}

func TestReader_HTTPSIsToldByThePort(t *testing.T) {
	t.Parallel()
	all, _ := drain(t, strings.NewReader(line(t, 3000, obj{"PATH": "/"}, obj{"dst_port": 443})))
	require.Equal(t, "https", all[0].Record.App)
	require.Equal(t, "https", all[0].Source.Service)
}

func TestReader_ReadsNumbersThatAreTexts(t *testing.T) {
	t.Parallel()
	all, _ := drain(t, strings.NewReader(line(t, "5001", obj{}, obj{"src_port": "51000", "dst_port": "-1"})))
	require.EqualValues(t, 51000, all[0].Record.Port)
	require.Empty(t, all[0].Record.Fields.Get("dst_port"))
}

func TestReader_SkipsForAReason(t *testing.T) {
	t.Parallel()
	msg := obj{"msg": obj{"logdata": "Added service from class CanarySSH in opencanary.modules.ssh to fake"}}
	for _, c := range []struct {
		text, kind string
		why        foreign.Reason
	}{
		{line(t, 1001, msg, obj{"src_host": "", "src_port": -1}), "1001", foreign.Operational},
		{line(t, 1000, msg, nil), "1000", foreign.Operational},
		{line(t, 1006, msg, nil), "1006", foreign.Operational},
		{line(t, 1500, msg, nil), foreign.OtherKind, foreign.Operational},
		{line(t, 4002, obj{}, obj{"src_host": ""}), "4002", foreign.NoSource},
		{line(t, 4002, obj{}, obj{"src_host": nil}), "4002", foreign.NoSource},
		{line(t, 4002, obj{}, obj{"src_host": "unknown"}), "4002", foreign.BadSource},
		{line(t, 4002, obj{}, obj{"node_id": nil}), "4002", foreign.NoSensor},
		{line(t, 4002, obj{}, obj{"utc_time": nil, "local_time": nil}), "4002", foreign.BadTime},
		{line(t, 4002, obj{}, obj{"utc_time": 5, "local_time": "x"}), "4002", foreign.BadTime},
		{line(t, nil, obj{}, obj{"logtype": nil}), "", foreign.NoKind},
		{line(t, "ssh", obj{}, nil), "", foreign.NoKind},
		{line(t, 4002.5, obj{}, nil), "", foreign.NoKind},
		{line(t, -4002, obj{}, nil), "", foreign.NoKind},
		{line(t, json.Number("1e400"), obj{}, nil), "", foreign.NoKind},
		{`[ERR] '{"local_time": "2026-01-02 03:04:05.678901"}'`, "", foreign.Malformed},
	} {
		all, rep := drain(t, strings.NewReader(c.text+"\n"))
		require.Empty(t, all, c.text)
		require.Equal(t, map[foreign.Reason]int64{c.why: 1}, rep.Skipped, c.text)
		if c.kind != "" {
			require.Equal(t, map[string]int64{c.kind: 1}, rep.Kinds, c.text)
		} else {
			require.Empty(t, rep.Kinds)
		}
	}
}

func TestReader_OldReleasesHaveLocalTimeOnlyAndItIsUTC(t *testing.T) {
	t.Parallel()
	all, _ := drain(t, strings.NewReader(line(t, 6001, obj{}, obj{"utc_time": nil, "local_time_adjusted": nil})))
	require.Equal(t, "2026-01-02T03:04:05.678901Z", all[0].Record.Time.Format(time.RFC3339Nano))
}

func TestReader_TwiceIsOnceWhateverTheSpelling(t *testing.T) {
	t.Parallel()
	text := line(t, 4002, obj{"USERNAME": "é", "PASSWORD": "x", "L": []int{1, 2}}, nil)
	var spaced bytes.Buffer
	require.NoError(t, json.Indent(&spaced, []byte(text), "", " "))
	other := strings.ReplaceAll(spaced.String(), "\n", " ")
	all, _ := drain(t, strings.NewReader(text+"\n"+other+"\n"))
	require.Len(t, all, 2)
	require.Equal(t, all[0].Record.Boot, all[1].Record.Boot)
	require.Equal(t, all[0].Record.Line, all[1].Record.Line)
}

// TestReader_AnyTypeAnywhere gives every member every type. Nothing may fail; what is kept stays well-formed.
func TestReader_AnyTypeAnywhere(t *testing.T) {
	t.Parallel()
	values := []any{
		nil, true, 0, -1, json.Number("1e999"), json.Number(strings.Repeat("9", 500)), "", "\x00\x1b[2J\u202e", strings.Repeat("x", 70000),
		[]any{},
		[]any{1, nil},
		obj{},
		obj{"a": obj{"user-agent": []int{1}}},
		"<not supplied>", "\r\n<134>1 - - - - - -",
	}
	for _, c := range kinds {
		data, _ := c.data.(obj)
		for name := range data {
			for _, v := range values {
				m := obj{}
				for k, x := range data {
					m[k] = x
				}
				m[name] = v
				all, _ := drain(t, strings.NewReader(line(t, c.logtype, m, nil)+"\n"))
				require.Len(t, all, 1)
				checkRecord(t, all[0])
			}
		}
	}
	for _, name := range []string{"dst_host", "dst_port", "src_host", "src_port", "node_id", "utc_time", "local_time", "logtype", "logdata"} {
		for _, v := range values {
			all, _ := drain(t, strings.NewReader(line(t, 4002, obj{"USERNAME": "u"}, obj{name: v})+"\n"))
			for _, e := range all {
				checkRecord(t, e)
			}
		}
	}
}

// checkRecord asserts what every consumer relies on.
func checkRecord(t testing.TB, e foreign.Entry) {
	t.Helper()
	r := e.Record
	require.Regexp(t, `^[a-z0-9_]{1,32}$`, r.Type)
	require.Regexp(t, `^[a-z0-9_]{1,32}$`, r.App)
	require.True(t, r.Attacker.IsValid())
	require.Regexp(t, `^[a-z0-9][a-z0-9-]{0,62}$`, e.Source.Sensor)
	require.Regexp(t, `^[0-9a-f]{32}$`, r.Boot)
	require.NotZero(t, r.Line)
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

func FuzzReader(f *testing.F) {
	for _, c := range kinds {
		f.Add([]byte(line(f, c.logtype, c.data, nil) + "\n"))
	}
	f.Add([]byte(line(f, 1001, obj{"msg": "x"}, nil)))
	f.Fuzz(func(t *testing.T, data []byte) {
		read := func() ([]foreign.Entry, foreign.Report, error) {
			fr, err := opencanary.NewReader(bytes.NewReader(data), foreign.Position{})
			if err != nil {
				return nil, foreign.Report{}, err
			}
			var out []foreign.Entry
			for {
				e, err := fr.Next()
				if err != nil {
					return out, fr.Report(), err
				}
				checkRecord(t, e)
				out = append(out, e)
			}
		}
		all, rep, _ := read()
		again, repAgain, _ := read()
		require.Equal(t, all, again)
		require.Equal(t, rep, repAgain)
	})
}
