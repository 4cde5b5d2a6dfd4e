package cowrie

import (
	"strings"
	"time"

	"github.com/decnet/decnet/internal/ingest"
	"github.com/decnet/decnet/internal/ingest/foreign"
)

const (
	typeShellInput    = "shell_input"
	typeProtocolError = "protocol_error"
	hasshDigits       = 32
	sha256Digits      = 64
)

// attr names an attribute of Cowrie's and the field it becomes.
type attr struct{ from, to string }

type fillFunc func(o *foreign.Object, d *foreign.Draft)

// kind says what an event id becomes. No typ: it tells of the honeypot itself.
type kind struct {
	typ        string
	attrs      []attr
	more       fillFunc
	forwarding bool
}

// same are attributes that keep their names.
func same(names ...string) []attr {
	var out []attr
	for _, n := range names {
		out = append(out, attr{n, n})
	}
	return out
}

var (
	input   = same("input", "realm")
	command = []attr{{"input", "command"}, {"realm", "realm"}}
	cve     = same("cve", "name", "value", "username", "original_username", "attempted_command")
	none    = kind{}
)

// kinds are the event ids of Cowrie's reference (docs/OUTPUT.rst), of releases up to 2026.
var kinds = map[string]kind{
	"cowrie.session.connect":              {typ: ingest.TypeConnect, attrs: same("dst_ip", "dst_port")},
	"cowrie.session.closed":               {typ: ingest.TypeSessionClosed, more: sessionClosed},
	"cowrie.session.params":               {typ: "session_params", attrs: same("arch")},
	"cowrie.session.input":                {typ: typeShellInput, attrs: input},
	"cowrie.session.file_download":        {typ: ingest.TypeFileCaptured, more: fileDownload},
	"cowrie.session.file_download.failed": {typ: ingest.TypeDownloadAttempt, attrs: same("url", "error")},
	"cowrie.session.file_upload":          {typ: ingest.TypeFileCaptured, more: fileUpload},

	"cowrie.client.version":          {typ: ingest.TypeClientBanner, more: clientVersion},
	"cowrie.client.kex":              {typ: ingest.TypeClientBanner, more: clientKex},
	"cowrie.client.size":             {typ: "client_size", attrs: same("width", "height")},
	"cowrie.client.var":              {typ: "client_var", attrs: same("name", "value")},
	"cowrie.client.fingerprint":      {typ: ingest.TypeAuthAttempt, more: login("")},
	"cowrie.client.malformed_packet": {typ: typeProtocolError, attrs: same("messagenum", "data")},
	"cowrie.login.success":           {typ: ingest.TypeAuthAttempt, more: login("success")},
	"cowrie.login.failed":            {typ: ingest.TypeAuthAttempt, more: login("failure")},

	"cowrie.command.input":    {typ: ingest.TypeCommand, more: commandInput},
	"cowrie.command.failed":   {typ: "command_failed", attrs: command},
	"cowrie.command.success":  {typ: "command_success", attrs: command},
	"cowrie.command.chpasswd": {typ: "command_chpasswd", attrs: same("username")},
	"cowrie.log.open":         {typ: "tty_log_opened", attrs: []attr{{"ttylog", "tty_log"}}},
	"cowrie.log.closed":       {typ: "tty_log_closed", more: logClosed},

	"cowrie.direct-tcpip.request":   {typ: ingest.TypeForwardRequest, more: forward, forwarding: true},
	"cowrie.direct-tcpip.redirect":  {typ: "direct_tcpip_redirect", attrs: same("new_ip", "new_port"), more: forward, forwarding: true},
	"cowrie.direct-tcpip.tunnel":    {typ: "direct_tcpip_tunnel", attrs: same("new_ip", "new_port"), more: forward, forwarding: true},
	"cowrie.direct-tcpip.data":      {typ: "direct_tcpip_data", attrs: same("data"), more: forward, forwarding: true},
	"cowrie.direct-tcpip.ja4":       {typ: "direct_tcpip_ja4", attrs: same("ja4"), more: forward, forwarding: true},
	"cowrie.direct-tcpip.ja4h":      {typ: "direct_tcpip_ja4h", attrs: same("ja4h"), more: forward, forwarding: true},
	"cowrie.tunnelproxy-tcpip.data": {typ: "tunnelproxy_tcpip_data", attrs: same("data"), forwarding: true},

	"cowrie.telnet.error":           {typ: typeProtocolError, attrs: same("error")},
	"cowrie.telnet.exploit_attempt": {typ: "telnet_exploit_attempt", attrs: cve},
	"cowrie.telnet.exploit_success": {typ: "telnet_exploit_success", attrs: cve},
	"cowrie.telnet.option": {
		typ: "telnet_option", attrs: []attr{{"command", "negotiation"}, {"option_name", "option_name"}, {"option_byte", "option_byte"}},
	},

	"cowrie.abuseipdb.ratelimited":       none,
	"cowrie.abuseipdb.reportedip":        none,
	"cowrie.abuseipdb.reportfail":        none,
	"cowrie.abuseipdb.started":           none,
	"cowrie.abuseipdb.wakeup":            none,
	"cowrie.greynoise.result":            none,
	"cowrie.pool_client":                 none,
	"cowrie.proxy.backend_connect_error": none,
	"cowrie.proxy.backend_connected":     none,
	"cowrie.proxy.backend_disconnected":  none,
	"cowrie.proxy.client_disconnect":     none,
	"cowrie.proxy.ssh":                   none,
	"cowrie.reversedns.connect":          none,
	"cowrie.reversedns.forward":          none,
	"cowrie.urlhaus.submitted":           none,
	"cowrie.virustotal.scanfile":         none,
	"cowrie.virustotal.scanurl":          none,
}

func addAll(o *foreign.Object, d *foreign.Draft, attrs []attr) {
	for _, a := range attrs {
		d.Add(a.to, o.Text(a.from))
	}
}

// duration reads the forms of several releases: seconds as a number or a text, and milliseconds.
func duration(o *foreign.Object, d *foreign.Draft) {
	v, ok := o.Duration("duration_ms", time.Millisecond)
	if !ok {
		v, ok = o.Duration("duration", time.Second)
	}
	if ok {
		d.Seconds("duration_s", v)
	}
}

func sessionClosed(o *foreign.Object, d *foreign.Draft) {
	d.Add("service", service(o))
	duration(o, d)
	d.Add("has_recording", "false")
}

// clientVersion takes off the quotes in which old releases wrapped the banner.
func clientVersion(o *foreign.Object, d *foreign.Draft) {
	v := o.Text("version")
	q := strings.TrimPrefix(v, "b")
	if n := len(q); n >= 2 && (q[0] == '\'' || q[0] == '"') && q[n-1] == q[0] {
		v = q[1 : n-1]
	}
	d.Add("client_version", v)
}

func clientKex(o *foreign.Object, d *foreign.Draft) {
	if h := o.String("hassh"); foreign.IsHex(h, hasshDigits) {
		d.Add("hassh", strings.ToLower(h))
	}
	d.Add("hassh_algorithms", o.Text("hasshAlgorithms"))
	d.Add("host_key_algorithms", o.Text("keyAlgs"))
}

func login(outcome string) fillFunc {
	return func(o *foreign.Object, d *foreign.Draft) {
		d.Principal(o.Text("username"))
		if f := o.Text("fingerprint"); f != "" {
			d.Add("method", "publickey")
			d.Add("fingerprint", f)
			d.Add("key_type", o.Text("type"))
		} else {
			d.Add("method", "password")
			d.Secret("", o.Text("password"))
		}
		d.Add("outcome", outcome)
	}
}

// commandInput tells what was typed at a prompt from what a program read.
func commandInput(o *foreign.Object, d *foreign.Draft) {
	if o.Text("realm") != "" {
		d.Type = typeShellInput
		addAll(o, d, input)
		return
	}
	d.Add("command", o.Text("input"))
}

// fileDownload also reads what Cowrie logs under this id without a file: a download that brought nothing, and a line typed into a
// program that was to receive one.
func fileDownload(o *foreign.Object, d *foreign.Draft) {
	if !foreign.IsHex(o.String("shasum"), sha256Digits) {
		d.Type = ingest.TypeDownloadAttempt
		if o.Text("url") == "" && o.Text("input") != "" {
			d.Type = typeShellInput
			addAll(o, d, input)
			return
		}
	}
	file(o, d, "download")
}

func fileUpload(o *foreign.Object, d *foreign.Draft) {
	if !foreign.IsHex(o.String("shasum"), sha256Digits) {
		d.Type = "upload"
	}
	file(o, d, "upload")
}

func file(o *foreign.Object, d *foreign.Draft, how string) {
	d.SHA256("sha256", o.String("shasum"))
	path := o.Text("destfile")
	if path == "" {
		path = o.Text("filename")
	}
	d.Add("orig_path", path)
	d.Add("url", o.Text("url"))
	d.Add("outfile", o.Text("outfile"))
	d.Add("duplicate", o.Text("duplicate"))
	d.Add("attribution", how)
}

func logClosed(o *foreign.Object, d *foreign.Draft) {
	duration(o, d)
	d.Add("tty_log", o.Text("ttylog"))
	d.SHA256("sha256", o.String("shasum"))
	d.Add("bytes", o.Text("size"))
	d.Add("duplicate", o.Text("duplicate"))
}

func forward(o *foreign.Object, d *foreign.Draft) {
	d.Add("kind", "direct-tcpip")
	d.Add("dest", hostPort(o, "dst_ip", "dst_port"))
	d.Add("dest_port", o.Text("dst_port"))
	d.Add("origin", hostPort(o, "orig_ip", "orig_port"))
}

func hostPort(o *foreign.Object, host, port string) string {
	if h := o.Text(host); h != "" {
		return h + ":" + o.Text(port)
	}
	return ""
}
