package ingest_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/ingest"
)

func TestFingerprints(t *testing.T) {
	t.Parallel()
	hello := []string{"ja3", "j3", "ja4", "j4", "tls_version", "1.3", "sni", "", "alpn", "h2", "dst_port", "443", "raw_ciphers", "1-2", "raw_extensions", "3"}
	helloWant := map[string]any{
		"fingerprint_type": "ja3", "ja3": "j3", "ja3s": nil, "ja4": "j4", "ja4s": nil, "tls_version": "1.3", "sni": nil, "alpn": "h2",
		"dst_port": "443", "raw_ciphers": "1-2", "raw_extensions": "3",
	}
	for name, c := range map[string]struct {
		service, kind string
		fields        []string
		want          map[string]any
	}{
		"vnc":         {"vnc", "version", []string{"client_version", "RFB 003.008"}, map[string]any{"fingerprint_type": "vnc_client_version", "value": "RFB 003.008"}},
		"ja3":         {"sniffer", "tls_session", hello, helloWant},
		"ja3 by us":   {"https", "tls_client_hello", hello, helloWant},
		"ja4l":        {"sniffer", "x", []string{"ja4l_rtt_ms", "1.5", "ja4l_client_ttl", "64"}, map[string]any{"fingerprint_type": "ja4l", "rtt_ms": "1.5", "client_ttl": "64"}},
		"resumption":  {"sniffer", "x", []string{"resumption", "psk"}, map[string]any{"fingerprint_type": "tls_resumption", "mechanisms": "psk"}},
		"certificate": {"sniffer", "x", []string{"subject_cn", "cn", "issuer", "i", "self_signed", "true", "sni", "s"}, map[string]any{"fingerprint_type": "tls_certificate", "subject_cn": "cn", "issuer": "i", "self_signed": "true", "not_before": nil, "not_after": nil, "sans": nil, "sni": "s"}},
		"jarm":        {"prober", "jarm_fingerprint", []string{"target_ip", "192.0.2.7", "target_port", "443", "jarm_hash", "2"}, map[string]any{"fingerprint_type": "jarm", "hash": "2", "target_ip": "192.0.2.7", "target_port": "443"}},
		"probed cert": {"prober", "x", []string{"subject_cn", "cn", "cert_sha256", "c", "target_ip", "192.0.2.7", "sni", "s"}, map[string]any{"fingerprint_type": "tls_certificate", "subject_cn": "cn", "issuer": nil, "self_signed": nil, "not_before": nil, "not_after": nil, "sans": nil, "cert_sha256": "c", "target_ip": "192.0.2.7", "target_port": nil}},
		"hassh":       {"prober", "x", []string{"hassh_server_hash", "h", "ssh_banner", "b"}, map[string]any{"fingerprint_type": "hassh_server", "hash": "h", "target_ip": nil, "target_port": nil, "ssh_banner": "b", "kex_algorithms": nil, "encryption_s2c": nil, "mac_s2c": nil, "compression_s2c": nil}},
		"tcpfp":       {"prober", "x", []string{"tcpfp_hash", "h", "tcpfp_raw", "r", "ttl", "64"}, map[string]any{"fingerprint_type": "tcpfp", "hash": "h", "raw": "r", "target_ip": nil, "target_port": nil, "ttl": "64", "window_size": nil, "df_bit": nil, "mss": nil, "window_scale": nil, "sack_ok": nil, "timestamp": nil, "options_order": nil}},
		"icmp": {"prober", "x", []string{"icmp_fp_hash", "h", "icmp_matrix", "P...", "icmp_port_unreach", "1", "icmp_port_unreach_rtt_ms", "2.000", "icmp_time_exceeded", "0", "icmp_time_exceeded_hop", "192.0.2.1"}, map[string]any{
			"fingerprint_type": "icmp_error", "fp_hash": "h", "matrix": "P...", "target_ip": nil, "target_port": nil, "errors": map[string]any{
				"port_unreachable": map[string]any{"returned": true, "rtt_ms": "2.000"}, "time_exceeded": map[string]any{"returned": false, "src_ip": "192.0.2.1"},
				"frag_needed": map[string]any{"returned": false}, "param_problem": map[string]any{"returned": false},
			},
		}},
		"icmp6": {"prober", "x", []string{"icmp6_fp_hash", "h", "icmp6_bad_dest_option", "1"}, map[string]any{
			"fingerprint_type": "icmp6_error", "fp_hash": "h", "matrix": nil, "target_ip": nil, "target_port": nil, "errors": map[string]any{
				"port_unreachable_v6": map[string]any{"returned": false}, "hop_limit_exceeded": map[string]any{"returned": false},
				"unknown_next_header": map[string]any{"returned": false}, "bad_dest_option": map[string]any{"returned": true},
			},
		}},
		"ja4h":       {"http", "http_request_fingerprint", []string{"ja4h", "g", "proto", "h2", "protocol", "x", "method", "GET", "path", "/", "remote_port", "5"}, map[string]any{"fingerprint_type": "ja4h", "ja4h": "g", "protocol": "h2", "method": "GET", "path": "/", "remote_port": "5"}},
		"ja4h plain": {"http", "http_request_fingerprint", []string{"ja4h", "g"}, map[string]any{"fingerprint_type": "ja4h", "ja4h": "g", "protocol": "h1", "method": nil, "path": nil, "remote_port": nil}},
		"h2":         {"https", "http2_settings", []string{"settings", "1:2", "frame_order", "S"}, map[string]any{"fingerprint_type": "http2_settings", "settings": "1:2", "frame_order": "S", "protocol": "h2", "remote_port": nil}},
		"h3":         {"https", "http3_settings", []string{"settings", "1:2", "remote_port", "9"}, map[string]any{"fingerprint_type": "http3_settings", "settings": "1:2", "frame_order": nil, "protocol": "h3", "remote_port": "9"}},
		"quic":       {"https", "quic_client_hello", []string{"ja4_quic", "q", "sni", "s", "alpn", "", "raw_ciphers", "1"}, map[string]any{"fingerprint_type": "ja4_quic", "ja4_quic": "q", "sni": "s", "alpn": nil, "raw_ciphers": "1"}},
	} {
		x := extract(c.service, c.kind, c.fields...)
		require.Len(t, x.Bounties, 1, name)
		require.Equal(t, c.want, one(t, x, "fingerprint"), name)
		require.Equal(t, ingest.BountyFingerprint, x.Bounties[0].Type)
		require.Equal(t, c.want["fingerprint_type"], x.Bounties[0].Kind, name)
	}
}

func TestFingerprints_NearMisses(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]ingest.Extraction{
		"version of another event": extract("vnc", "connect", "client_version", "x"),
		"empty version":            extract("vnc", "version", "client_version", ""),
		"ja3 of another service":   extract("ftp", "x", "ja3", "j"),
		"empty ja3":                extract("sniffer", "x", "ja3", ""),
		"jarm not by the prober":   extract("sniffer", "x", "jarm_hash", "j"),
		"ja4h of another event":    extract("http", "request", "ja4h", "j"),
		"quic without fingerprint": extract("https", "quic_client_hello", "sni", "s"),
		"no headers":               extract("http", "request"),
		"headers no object":        extract("http", "request", "headers", `["User-Agent"]`),
		"headers broken":           extract("http", "request", "headers", `{"User-Agent":"x"`),
		"headers doubled":          extract("http", "request", "headers", `{"User-Agent":"x"} {}`),
	} {
		require.Empty(t, x.Bounties, name)
	}
}

func TestProber_RowsBelongToTheTarget(t *testing.T) {
	t.Parallel()
	r := &ingest.Record{Time: at(1), App: "prober", Type: "jarm_fingerprint", Fields: ingest.Fields{{Key: "target_ip", Value: "192.0.2.7"}, {Key: "jarm_hash", Value: "x"}}}
	r.Resolve()
	require.Equal(t, "192.0.2.7", one(t, extractor.Extract(ingest.Source{}, r), "jarm")["target_ip"])
}

func TestUserAgent(t *testing.T) {
	t.Parallel()
	for ua, want := range map[string][3]string{
		"": {"empty", "", "suspicious_short"},
		"Mozilla/5.0 (compatible; Nmap Scripting Engine)": {"scanner", "nmap", ""},
		"sqlmap/1.7#stable":         {"scanner", "sqlmap", ""},
		"Mozilla/5.0 zgrab/0.x":     {"scanner", "zgrab", ""},
		"curl/8.5.0 nuclei":         {"scanner", "nuclei", ""},
		"nucleic acid":              {"nonstandard", "", ""},
		"curl/8.5.0":                {"cli", "curl", ""},
		"Wget/1.21":                 {"cli", "wget", ""},
		"HTTPie/3.2":                {"cli", "httpie", ""},
		"xh/0.18.0":                 {"cli", "xh", ""},
		"wget/1.21":                 {"nonstandard", "", ""},
		"python-requests/2.31":      {"library", "python-requests", ""},
		"Python-urllib/3.11":        {"library", "python-urllib", ""},
		"Python/3.11 aiohttp/3.9":   {"library", "python-stdlib", ""},
		"Go-http-client/1.1":        {"library", "go-stdlib", ""},
		"Java/17.0.1":               {"library", "java-stdlib", ""},
		"Java/x.y.z":                {"nonstandard", "", ""},
		"PHP/8.2.0":                 {"library", "php-stdlib", ""},
		"MyApp/1 GuzzleHttp/7":      {"library", "guzzle", ""},
		"got (https://example.org)": {"library", "got", ""},
		"gotham city":               {"nonstandard", "", ""},
		"undici":                    {"library", "undici", "suspicious_short"},
		"Ruby":                      {"library", "ruby-stdlib", "suspicious_short"},
		"System.Net.Http 6":         {"library", "dotnet", ""},
		"RestSharp/110":             {"library", "dotnet", ""},
		"PostmanRuntime/7":          {"library", "postman", ""},
		"Insomnia/8.0":              {"library", "insomnia", ""},
		"Mozilla/5.0 (compatible; Googlebot/2.1)": {"bot", "", ""},
		"UptimeMonitor": {"bot", "", ""},
		"Mozilla/5.0 (X11; Linux x86_64) Firefox/": {"browser", "", ""},
		"Mozilla/ five":              {"nonstandard", "", ""},
		"() { :; }; cat /etc/passwd": {"nonstandard", "", "injection_like"},
		"${JNDI:ldap://x}":           {"nonstandard", "", "injection_like"},
		"a\nb":                       {"nonstandard", "", "suspicious_short nonprintable"},
		"tab\tis printable":          {"nonstandard", "", ""},
		strings.Repeat("x", 513):     {"nonstandard", "", "suspicious_long"},
		strings.Repeat("x", 512):     {"nonstandard", "", ""},
		"' or 1":                     {"nonstandard", "", "suspicious_short injection_like"},
	} {
		quoted := strings.NewReplacer("\n", `\n`, "\t", `\t`).Replace(ua)
		p := one(t, extract("ftp", "x", "headers", `{"User-Agent":"`+quoted+`"}`), "http_useragent")
		require.Equal(t, want[0], p["category"], ua)
		if want[1] == "" {
			require.Nil(t, p["tool"], ua)
		} else {
			require.Equal(t, want[1], p["tool"], ua)
		}
		if want[2] == "" {
			require.Nil(t, p["signals"], ua)
			continue
		}
		var signals []string
		for _, s := range p["signals"].([]any) {
			signals = append(signals, s.(string))
		}
		require.Equal(t, want[2], strings.Join(signals, " "), ua)
	}
}

func TestHeaders_AreReadAsTheyWereSent(t *testing.T) {
	t.Parallel()
	ua := func(headers string) any {
		return one(t, extract("http", "request", "headers", headers, "method", "GET", "path", "/x"), "http_useragent")["value"]
	}
	require.Equal(t, "a", ua(`{"user-agent":"b","User-Agent":"a"}`))
	require.Equal(t, "b", ua(`{"user-agent":"b"}`))
	require.Equal(t, "c", ua(`{"USER-AGENT":"c"}`))
	require.Equal(t, "d", ua(`"{\"User-Agent\":\"d\"}"`), "a JSON string of an object")
	require.Equal(t, "e", ua(`{"User-Agent":["e","f"]}`))
	require.Equal(t, "5", ua(`{"User-Agent":5}`))
	require.Equal(t, `\x00x`, ua(`{"User-Agent":"\u0000x"}`), "a store of JSON takes no NUL")
}

func TestQuirks(t *testing.T) {
	t.Parallel()
	quirks := func(headers string) map[string]any {
		return one(t, extract("https", "request", "headers", headers), "http_quirks")
	}
	p := quirks(`{"Host":"h","User-Agent":"u","Accept":"*/*","Cookie":"c","X-Forwarded-For":"1.1.1.1"}`)
	require.Equal(t, []any{"host", "user-agent", "accept"}, p["order"])
	require.Equal(t, "curl", p["tool_guess"])
	require.Equal(t, "title", p["casing_category"])
	require.InDelta(t, 3, p["stable_count"], 0)
	// printf 'host\nuser-agent\naccept' | sha256sum
	require.Equal(t, "b1c589ad3fbc85b1", p["order_hash"])

	require.Equal(t, p["order_hash"], quirks(`{"HOST":"h","authorization":"x","user-agent":"u","Accept":"*/*"}`)["order_hash"])
	require.Equal(t, "python-requests", quirks(`{"Host":"","User-Agent":"","Accept-Encoding":"","Accept":"","Connection":""}`)["tool_guess"])
	require.Equal(t, "go-http-client", quirks(`{"Host":"","User-Agent":"","Accept-Encoding":""}`)["tool_guess"])
	require.Equal(t, "nmap-nse", quirks(`{"Host":"","User-Agent":"","X":""}`)["tool_guess"])
	require.Equal(t, "nmap-nse", quirks(`{"Host":"","User-Agent":"","Accept-Language":""}`)["tool_guess"])
	require.Nil(t, quirks(`{"User-Agent":"","Host":""}`)["tool_guess"])
	for headers, casing := range map[string]string{
		`{"DNT":""}`: "upper", `{"host":""}`: "lower", `{"X-Api-Key":""}`: "title", `{"X":"","DNT":""}`: "upper", `{"ETag":""}`: "mixed",
		`{"Host":"","accept":""}`: "mixed", `{"cookie":""}`: "empty",
	} {
		require.Equal(t, casing, quirks(headers)["casing_category"], headers)
	}
	empty := quirks(`{"Cookie":"c"}`)
	require.InDelta(t, 0, empty["stable_count"], 0)
	require.Equal(t, []any{}, empty["order"])
	require.Empty(t, payloads(t, extract("http", "request", "headers", `{}`), "http_quirks"))
	require.Empty(t, payloads(t, extract("elasticsearch", "request", "headers", `{"Host":"h"}`), "http_quirks"))
}

func TestProxyHeaders(t *testing.T) {
	t.Parallel()
	for headers, want := range map[string][3]string{ // claim, header, category
		`{"X-Forwarded-For":"8.8.8.8"}`:                                                 {"8.8.8.8", "X-Forwarded-For", ""},
		`{"x-forwarded-for":"unknown, 8.8.4.4:99, 1.1.1.1"}`:                            {"8.8.4.4", "X-Forwarded-For", ""},
		`{"Forwarded":"proto=http;for=\"[2001:4860::8888]:80\"","X-Real-IP":"1.1.1.1"}`: {"2001:4860::8888", "Forwarded", ""},
		`{"Forwarded":"for=_hidden, for=1.1.1.1","X-Real-IP":"1.0.0.1"}`:                {"1.0.0.1", "X-Real-IP", ""},
		`{"Forwarded":"by=9.9.9.9","CF-Connecting-IP":"1.0.0.2"}`:                       {"1.0.0.2", "CF-Connecting-IP", ""},
		`{"True-Client-IP":"::ffff:8.8.8.8"}`:                                           {"8.8.8.8", "True-Client-IP", ""},
		`{"X-Forwarded-For":"127.0.0.1"}`:                                               {"127.0.0.1", "X-Forwarded-For", "loopback"},
		`{"X-Forwarded-For":"10.0.0.1"}`:                                                {"10.0.0.1", "X-Forwarded-For", "private"},
		`{"X-Forwarded-For":"100.64.0.1"}`:                                              {"100.64.0.1", "X-Forwarded-For", "private"},
		`{"X-Forwarded-For":"198.51.100.9"}`:                                            {"198.51.100.9", "X-Forwarded-For", "private"},
		`{"X-Forwarded-For":"0.0.0.0"}`:                                                 {"0.0.0.0", "X-Forwarded-For", "unspecified"},
		`{"X-Forwarded-For":"169.254.1.1"}`:                                             {"169.254.1.1", "X-Forwarded-For", "link_local"},
		`{"X-Forwarded-For":"224.0.0.5"}`:                                               {"224.0.0.5", "X-Forwarded-For", "multicast"},
		`{"X-Forwarded-For":"255.255.255.255"}`:                                         {"255.255.255.255", "X-Forwarded-For", "reserved"},
		`{"X-Forwarded-For":"fe80::1"}`:                                                 {"fe80::1", "X-Forwarded-For", "link_local"},
		`{"X-Forwarded-For":"fc00::1"}`:                                                 {"fc00::1", "X-Forwarded-For", "private"},
		`{"X-Forwarded-For":"192.0.2.7"}`:                                               {},
		`{"X-Forwarded-For":"nobody"}`:                                                  {},
		`{"X-Forwarded-For":"fe80::1%eth0"}`:                                            {},
		`{"Host":"8.8.8.8"}`:                                                            {},
	} {
		for _, service := range []string{"http", "https", "ftp"} {
			x := extract(service, "request", "headers", headers)
			leaks, spoofs := payloads(t, x, "ip_leak"), payloads(t, x, "spoofed_source")
			require.Equal(t, want[0] != "" && service != "ftp", len(leaks)+len(spoofs) == 1, headers)
			for _, p := range leaks {
				require.Equal(t, []any{"192.0.2.7", want[0], want[1], ""}, []any{p["source_ip"], p["real_ip_claim"], p["source_header"], want[2]}, headers)
				require.Contains(t, p["headers_seen"], want[1])
			}
			for _, p := range spoofs {
				require.Equal(t, []any{"192.0.2.7", want[0], want[1], want[2]}, []any{p["source_ip"], p["claimed_ip"], p["source_header"], p["claim_category"]}, headers)
			}
		}
	}
}

func TestTrustedProxies(t *testing.T) {
	t.Parallel()
	trusted := ingest.TrustedProxies("10.0.0.0/8, 192.0.2.7, bad, 2001:db8::1, 1.2.3.4/99,, ::ffff:198.51.100.1")
	require.Len(t, trusted, 4)
	require.Equal(t, 128, trusted[2].Bits(), "a bare IPv6 address is itself only")
	r := record("request", 1, 1, "headers", `{"X-Forwarded-For":"8.8.8.8"}`)
	require.Empty(t, payloads(t, ingest.NewExtractor(trusted).Extract(source("http"), r), "ip_leak"))
	require.Len(t, payloads(t, extractor.Extract(source("http"), r), "ip_leak"), 1)
}
