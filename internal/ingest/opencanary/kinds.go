package opencanary

import (
	"strings"

	"github.com/decnet/decnet/internal/ingest"
	"github.com/decnet/decnet/internal/ingest/foreign"
)

const (
	serviceHTTP   = "http"
	serviceSSH    = "ssh"
	serviceTelnet = "telnet"
	serviceBanner = "tcpbanner"
	typeData      = "data"
	typePortScan  = "port_scan"
)

var (
	web    = []attr{{"PATH", "path"}, {"HOSTNAME", "host"}, {"USERAGENT", "user_agent"}, {"SKIN", "skin"}, {"REDIRECT_LOCATION", "location"}}
	packet = []attr{
		{"PROTO", "transport"}, {"TTL", "ttl"}, {"LEN", "length"}, {"WINDOW", "window"}, {"TOS", "tos"}, {"ID", "ip_id"}, {"IN", "interface"},
	}
	banner = []attr{{"BANNER_ID", "banner_id"}, {"DATA", "data"}, {"SECRET_STRING", "keep_alive_secret"}, {"ALERT_STRING", "alert_string"}}
)

// kinds are the log types of OpenCanary (opencanary/logger.py), of releases up to 2026.
var kinds = map[int]kind{
	2000: {service: "ftp", typ: ingest.TypeAuthAttempt, fill: password},
	2001: {service: "ftp", typ: "auth_started", attrs: []attr{{"USERNAME", "username"}}},
	3000: {service: serviceHTTP, typ: ingest.TypeRequest, fill: method("GET"), attrs: web},
	3001: {service: serviceHTTP, typ: ingest.TypeRequest, fill: form, attrs: web},
	3002: {service: serviceHTTP, typ: ingest.TypeRequest, attrs: append([]attr{{"REQUEST_TYPE", "method"}}, web...)},
	3003: {service: serviceHTTP, typ: ingest.TypeRequest, fill: method("GET"), attrs: web},
	4000: {service: serviceSSH, typ: ingest.TypeConnect},
	4001: {service: serviceSSH, typ: ingest.TypeClientBanner, attrs: []attr{{"REMOTEVERSION", "client_version"}}},
	4002: {service: serviceSSH, typ: ingest.TypeAuthAttempt, fill: sshLogin},
	5000: {service: "smb", typ: "file_open", attrs: []attr{
		{"USER", "username"},
		{"DOMAIN", "domain"},
		{"SHARENAME", "share"},
		{"FILENAME", "path"},
		{"AUDITACTION", "action"},
		{"STATUS", "status"},
		{"REMOTENAME", "client_name"},
		{"LOCALNAME", "server_name"},
		{"SMBVER", "smb_version"},
		{"SMBARCH", "client_os"},
	}},
	5001: {service: "portscan", typ: typePortScan, fill: scan("syn"), attrs: packet},
	5002: {service: "portscan", typ: typePortScan, fill: scan("nmap_os"), attrs: packet},
	5003: {service: "portscan", typ: typePortScan, fill: scan("null"), attrs: packet},
	5004: {service: "portscan", typ: typePortScan, fill: scan("xmas"), attrs: packet},
	5005: {service: "portscan", typ: typePortScan, fill: scan("fin"), attrs: packet},
	6001: {service: serviceTelnet, typ: ingest.TypeAuthAttempt, fill: password},
	6002: {service: serviceTelnet, typ: ingest.TypeConnect},
	7001: {service: "httpproxy", typ: ingest.TypeAuthAttempt, fill: password},
	8001: {service: "mysql", typ: ingest.TypeAuth, fill: mysqlLogin},
	9001: {service: "mssql", typ: ingest.TypeAuth, fill: password, attrs: []attr{
		{"AppName", "application_name"},
		{"HostName", "client_name"},
		{"Database", "database"},
		{"CltIntName", "client_library"},
		{"Language", "language"},
		{"ServerName", "server_name"},
	}},
	9002:  {service: "mssql", typ: ingest.TypeAuth, fill: password, attrs: []attr{{"DOMAINNAME", "domain"}, {"HOSTNAME", "client_name"}}},
	9003:  {service: "mysql", typ: ingest.TypeConnect},
	10001: {service: "tftp", typ: ingest.TypeRequest, attrs: []attr{{"OPCODE", "opcode"}, {"FILENAME", "path"}, {"MODE", "mode"}}},
	11001: {service: "ntp", typ: ingest.TypeRequest, attrs: []attr{{"NTP CMD", "operation"}}},
	12001: {service: "vnc", typ: ingest.TypeAuth, fill: vncLogin},
	13001: {service: "snmp", typ: ingest.TypeRequest, attrs: []attr{{"COMMUNITY_STRING", "community"}, {"REQUESTS", "oids"}}},
	14001: {service: "rdp", typ: ingest.TypeAuth, fill: password},
	15001: {service: "sip", typ: ingest.TypeRequest, fill: sipRequest, attrs: []attr{{"HEADERS", "sip_headers"}, {"ERROR", "error"}}},
	16001: {service: "git", typ: ingest.TypeRequest, attrs: []attr{{"REPO", "path"}, {"HOST", "host"}}},
	17001: {service: "redis", typ: ingest.TypeCommand, fill: redisCommand},
	18001: {service: serviceBanner, typ: ingest.TypeConnect, attrs: banner},
	18002: {service: serviceBanner, typ: ingest.TypeConnect, attrs: banner},
	18003: {service: serviceBanner, typ: typeData, attrs: banner},
	18004: {service: serviceBanner, typ: typeData, attrs: banner},
	18005: {service: serviceBanner, typ: typeData, attrs: banner},
	19001: {service: "llmnr", typ: "response", attrs: []attr{{"query_hostname", "name"}, {"response", "response"}}},
	20001: {service: "mongodb", typ: ingest.TypeRequest, fill: mongoAction},
}

func method(name string) fillFunc {
	return func(_ *foreign.Object, d *foreign.Draft) { d.Add("method", name) }
}

// form is a login by POST; like our web decoy's, its credential is part of the request.
func form(data *foreign.Object, d *foreign.Draft) {
	d.Add("method", "POST")
	password(data, d)
}

func sshLogin(data *foreign.Object, d *foreign.Draft) {
	d.Principal(given(data, "USERNAME"))
	d.Add("client_version", given(data, "REMOTEVERSION"))
	if key := given(data, "KEY"); key != "" {
		kind, _, _ := strings.Cut(key, " ")
		d.Add("method", "publickey")
		d.Add("key_type", kind)
		d.Add("key", key)
	} else {
		d.Add("method", "password")
		d.Secret("", given(data, "PASSWORD"))
	}
	failed(d)
}

func scan(how string) fillFunc {
	return func(_ *foreign.Object, d *foreign.Draft) { d.Add("scan", how) }
}

// mysqlLogin has the response to a challenge, and not the challenge. 20 bytes are of mysql_native_password, 32 of its successor.
func mysqlLogin(data *foreign.Object, d *foreign.Draft) {
	d.Principal(given(data, "USERNAME"))
	kind := "mysql_native_password"
	response := given(data, "PASSWORD")
	if foreign.IsHex(response, 64) {
		kind = "caching_sha2_password"
	}
	d.Digest(kind, response)
	failed(d)
}

// vncLogin has the challenge and the response, and the password itself when OpenCanary guessed it.
func vncLogin(data *foreign.Object, d *foreign.Draft) {
	d.Add("salt", given(data, "VNC Server Challenge"))
	response := given(data, "VNC Client Response")
	if p := given(data, "VNC Password"); p != "" && !strings.HasPrefix(p, "<Password was not") {
		d.Add("response", response)
		d.Secret("", p)
	} else {
		d.Digest("vnc_des_response", response)
	}
	failed(d)
}

func sipRequest(data *foreign.Object, d *foreign.Draft) {
	var headers foreign.Object
	data.Object("HEADERS", &headers)
	d.Add("user_agent", headers.Text("user-agent"))
}

// redisCommand tells AUTH from the rest. OpenCanary cuts long arguments and says so; then the secret is not known.
func redisCommand(data *foreign.Object, d *foreign.Draft) {
	cmd, args := given(data, "CMD"), given(data, "ARGS")
	if strings.EqualFold(cmd, "AUTH") && !strings.HasSuffix(args, "more bytes)") {
		d.Type = ingest.TypeAuth
		d.Secret("", args)
		failed(d)
		return
	}
	d.Add("cmd", cmd)
	d.Add("args", args)
	d.Add("command", strings.TrimSpace(cmd+" "+args))
}

// mongoAction reads the one log type whose lines name what happened.
func mongoAction(data *foreign.Object, d *foreign.Draft) {
	switch action := given(data, "action"); strings.TrimPrefix(action, "mongodb.") {
	case "connection":
		d.Type = ingest.TypeConnect
	case "disconnect":
		d.Type = ingest.TypeDisconnect
	case "auth_attempt":
		d.Type = ingest.TypeAuth
		d.Principal(given(data, "username"))
		d.Add("mechanism", given(data, "mechanism"))
		d.Add("auth_data", given(data, "auth_data"))
		failed(d)
	case "command":
		d.Type = ingest.TypeQuery
		d.Add("operation", given(data, "command"))
		d.Add("query", given(data, "query"))
	case "error":
		d.Type = "protocol_error"
		d.Add("error", given(data, "error"))
	}
}
