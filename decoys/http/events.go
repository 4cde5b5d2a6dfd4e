package http

import (
	"fmt"
	"strings"

	"github.com/decnet/decnet/decoys/eventlog"
	"github.com/decnet/decnet/decoys/tcp"
)

// Bounds of attacker text in events, chosen so that a line fits whole.
const (
	maxPath    = 768
	maxHeaders = 3000
	maxShort   = 300
	maxBody    = 512
)

// observe writes the events of one request: what it asked, and the fingerprint of who asked.
func (c *client) observe(r *request) {
	// What must arrive whole comes first: a line that grows too long is cut from its end.
	fields := []eventlog.Field{eventlog.F("src_port", c.Port), eventlog.F("remote_addr", c.Src), eventlog.F("method", cut(r.method, 32))}
	if cred, ok := r.credential(); ok {
		if cred.Principal != nil && *cred.Principal != "" {
			fields = append(fields, eventlog.F("principal", cut(*cred.Principal, 256)))
		}
		fields = append(fields, tcp.Secret(cred.Kind, cred.Secret)...)
	}
	fields = append(fields, eventlog.F("path", cut(r.target, maxPath)), eventlog.F("headers", jsonObject(r.headers, maxHeaders)),
		eventlog.F("protocol", cut(r.proto, 16)))
	if ua := r.get("User-Agent"); ua != "" {
		fields = append(fields, eventlog.F("user_agent", cut(ua, maxShort)))
	}
	if len(r.body) > 0 {
		fields = append(fields, eventlog.Int("body_size", r.bodyLen), eventlog.F("body", cut(string(r.body), maxBody)))
	}
	c.Emit("request", fields...)
	c.fingerprint(r)
}

func (c *client) fingerprint(r *request) {
	proto, version := "h1", fmt.Sprintf("%d%d", r.major, r.minor)
	switch {
	case r.framed:
		proto, version = fmt.Sprintf("h%d", r.major), fmt.Sprintf("%d0", r.major)
	case r.major == 0:
		version = "09"
	}
	c.Emit("http_request_fingerprint", eventlog.F("remote_addr", c.Src), eventlog.F("remote_port", c.Port), eventlog.F("proto", proto),
		eventlog.F("method", cut(r.method, 32)), eventlog.F("path", cut(r.target, maxPath)), eventlog.F("ja4h", JA4H(r.method, version, pairs(r.headers))),
		eventlog.F("headers_ordered", jsonNames(r.headers, maxHeaders)), eventlog.F("cookie", cut(r.get("Cookie"), maxShort)),
		eventlog.F("accept_language", cut(r.get("Accept-Language"), maxShort)))
}

func pairs(headers []header) [][2]string {
	out := make([][2]string, len(headers))
	for i, h := range headers {
		out[i] = [2]string{h.name, h.value}
	}
	return out
}

func cut(s string, n int) string { return s[:min(len(s), n)] }

// jsonObject spells headers as one JSON object in ASCII, in order, repeated names joined; it stays valid when it is cut.
func jsonObject(headers []header, limit int) string {
	items, seen := eventlog.NewItems(limit), map[string]bool{}
	for i, h := range headers {
		if seen[strings.ToLower(h.name)] {
			continue
		}
		seen[strings.ToLower(h.name)] = true
		value := h.value
		for _, again := range headers[i+1:] {
			if strings.EqualFold(again.name, h.name) && len(value) < limit {
				value += ", " + again.value
			}
		}
		if !items.Add(eventlog.Quote(h.name, 128) + ":" + eventlog.Quote(value, 2*maxShort)) {
			break
		}
	}
	return items.Object()
}

// jsonNames spells the names as a JSON list.
func jsonNames(headers []header, limit int) string {
	items := eventlog.NewItems(limit)
	for _, h := range headers {
		if !items.Add(eventlog.Quote(h.name, 128)) {
			break
		}
	}
	return items.List()
}
