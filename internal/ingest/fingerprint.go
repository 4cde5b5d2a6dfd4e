package ingest

import "regexp"

var md5Pattern = regexp.MustCompile(`\A[a-f0-9]{32}\z`)

// fingerprints is rules 6 to 16 and 19 to 21. What a decoy says itself of a ClientHello counts like the sniffer's word.
func (e *extraction) fingerprints() {
	t := e.Event.Type
	switch e.Event.Service {
	case serviceSniffer:
		e.sniffed()
	case serviceProber:
		e.probed()
	default:
		if t == TypeTLSClientHello {
			e.clientHello()
		}
	}
	switch {
	case t == TypeVersion && e.has("client_version"):
		e.fingerprint("vnc_client_version", payload{"value": e.fields.Get("client_version")})
	case t == TypeHTTPFingerprint && e.has("ja4h"):
		p := e.set(payload{}, "ja4h", "method", "path", "remote_port")
		p["protocol"] = "h1"
		for _, k := range []string{"protocol", "proto"} {
			if e.has(k) {
				p["protocol"] = e.fields.Get(k)
			}
		}
		e.fingerprint("ja4h", p)
	case t == TypeHTTP2Settings || t == TypeHTTP3Settings:
		p := e.set(payload{}, "settings", "frame_order", "remote_port")
		p["protocol"] = map[string]string{TypeHTTP2Settings: "h2", TypeHTTP3Settings: "h3"}[t]
		e.fingerprint(t, p)
	case t == TypeQUICClientHello && e.has("ja4_quic"):
		e.fingerprint("ja4_quic", e.setSome(e.set(payload{}, "ja4_quic", "raw_ciphers"), "sni", "alpn"))
	}
}

func (e *extraction) clientHello() {
	if e.has("ja3") {
		e.fingerprint("ja3", e.setSome(
			e.set(payload{}, "ja3", "ja3s", "ja4", "ja4s", "tls_version", "dst_port", "raw_ciphers", "raw_extensions"), "sni", "alpn"))
	}
}

func (e *extraction) sniffed() {
	e.clientHello()
	if e.has("ja4l_rtt_ms") {
		p := payload{"rtt_ms": e.fields.Get("ja4l_rtt_ms"), "client_ttl": nil}
		if v, ok := e.fields.Lookup("ja4l_client_ttl"); ok {
			p["client_ttl"] = v
		}
		e.fingerprint("ja4l", p)
	}
	if e.has("resumption") {
		e.fingerprint("tls_resumption", payload{"mechanisms": e.fields.Get("resumption")})
	}
	if e.has("subject_cn") {
		e.fingerprint("tls_certificate", e.setSome(e.set(payload{}, certificateKeys...), "sni"))
	}
}

var certificateKeys = []string{"subject_cn", "issuer", "self_signed", "not_before", "not_after", "sans"}

func (e *extraction) probed() {
	target := func(keys ...string) payload { return e.set(payload{}, append(keys, "target_ip", "target_port")...) }
	if e.has("jarm_hash") {
		p := target()
		p["hash"] = e.fields.Get("jarm_hash")
		e.fingerprint("jarm", p)
	}
	if e.has("subject_cn") {
		e.fingerprint("tls_certificate", e.set(target(certificateKeys...), "cert_sha256"))
	}
	if e.has("hassh_server_hash") {
		p := target("ssh_banner", "kex_algorithms", "encryption_s2c", "mac_s2c", "compression_s2c")
		p["hash"] = e.fields.Get("hassh_server_hash")
		e.fingerprint("hassh_server", p)
	}
	if e.has("tcpfp_hash") {
		p := target("ttl", "window_size", "df_bit", "mss", "window_scale", "sack_ok", "timestamp", "options_order")
		p["hash"] = e.fields.Get("tcpfp_hash")
		p["raw"] = e.orNull("tcpfp_raw")
		e.fingerprint("tcpfp", p)
	}
	e.icmp("icmp", "icmp_error", map[string]string{
		"port_unreachable": "port_unreach", "time_exceeded": "time_exceeded", "frag_needed": "frag_needed", "param_problem": "param_problem",
	})
	e.icmp("icmp6", "icmp6_error", map[string]string{
		"port_unreachable_v6": "port_unreach", "hop_limit_exceeded": "hop_limit_exceeded",
		"unknown_next_header": "unknown_next_header", "bad_dest_option": "bad_dest_option",
	})
}

// icmp reads the fields <prefix>_<name>, ..._rtt_ms and, of the expired hop, ..._hop (fingerprint sheet section 7).
func (e *extraction) icmp(prefix, kind string, names map[string]string) {
	if !e.has(prefix + "_fp_hash") {
		return
	}
	p := e.set(payload{}, "target_ip", "target_port")
	p["fp_hash"], p["matrix"] = e.fields.Get(prefix+"_fp_hash"), e.orNull(prefix+"_matrix")
	errors := map[string]any{}
	for name, field := range names {
		field = prefix + "_" + field
		entry := payload{"returned": e.fields.Get(field) == "1"}
		if e.has(field + "_rtt_ms") {
			entry["rtt_ms"] = e.fields.Get(field + "_rtt_ms")
		}
		if e.has(field + "_hop") {
			entry["src_ip"] = e.fields.Get(field + "_hop")
		}
		errors[name] = entry
	}
	p["errors"] = errors
	e.fingerprint(kind, p)
}

// probe is the HASSH of an SSH client, which no prober sees (contracts section 4).
func (e *extraction) probe() {
	if hash := e.fields.Get("hassh"); e.Event.Type == TypeClientBanner && md5Pattern.MatchString(hash) {
		e.Probes = append(e.Probes, Probe{Attacker: e.Event.Attacker, Type: ProbeClientHASSH, Hash: hash})
	}
}
