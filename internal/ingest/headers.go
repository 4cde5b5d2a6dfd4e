package ingest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"

	"github.com/decnet/decnet/decoys/eventlog"
)

// maxHeaders bounds what is looked at; a line of ours cannot hold more.
const maxHeaders = 1000

// header is a header as sent: a JSON escape may have brought back what the line cannot hold, so both go through spell before
// they are stored.
type header struct{ name, value string }

func spell(s string) string { return eventlog.Spell(s) }

// parseHeaders reads a JSON object, or a JSON string of one, in its order. Anything else is no header at all.
func parseHeaders(text string) []header {
	if strings.HasPrefix(text, `"`) {
		var inner string
		if json.Unmarshal([]byte(text), &inner) != nil {
			return nil
		}
		text = inner
	}
	if !strings.HasPrefix(text, "{") || !json.Valid([]byte(text)) {
		return nil
	}
	d := json.NewDecoder(strings.NewReader(text))
	_, _ = d.Token() // the brace
	var out []header
	for d.More() && len(out) < maxHeaders {
		name, _ := d.Token()
		var raw json.RawMessage
		if d.Decode(&raw) != nil {
			return nil
		}
		out = append(out, header{name.(string), headerValue(raw)})
	}
	return out
}

// headerValue is the text of a value, of a list its first text, else the JSON itself.
func headerValue(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	var list []string
	if json.Unmarshal(raw, &list) == nil && len(list) > 0 {
		return list[0]
	}
	return string(raw)
}

// findHeader returns the value under the exact name, else under its lower-case form, else in any case.
func findHeader(headers []header, name string) (string, bool) {
	for _, same := range []func(string) bool{
		func(n string) bool { return n == name },
		func(n string) bool { return n == strings.ToLower(name) },
		func(n string) bool { return strings.EqualFold(n, name) },
	} {
		if i := slices.IndexFunc(headers, func(h header) bool { return same(h.name) }); i >= 0 {
			return headers[i].value, true
		}
	}
	return "", false
}

// headers is rules 2 to 5.
func (e *extraction) headers(trusted []netip.Prefix) {
	text, ok := e.fields.Lookup("headers")
	if !ok {
		return
	}
	headers := parseHeaders(text)
	if ua, ok := findHeader(headers, "User-Agent"); ok {
		e.userAgent(ua)
	}
	if e.Event.Service != serviceHTTP && e.Event.Service != serviceHTTPS {
		return
	}
	e.proxied(headers, trusted)
	if len(headers) > 0 {
		e.quirks(headers)
	}
}

func (e *extraction) userAgent(ua string) {
	a := classifyAgent(ua)
	p := e.set(payload{"value": spell(ua), "category": a.category, "tool": nil, "signals": nil}, "method", "path")
	if a.tool != "" {
		p["tool"] = a.tool
	}
	if a.signals != nil {
		p["signals"] = a.signals
	}
	e.fingerprint("http_useragent", p)
}

// volatile headers vary with request and path to us; quirks are about the program.
var volatile = wordSet("content-length cookie authorization x-forwarded-for forwarded x-real-ip true-client-ip cf-connecting-ip " +
	"x-request-id x-correlation-id x-amzn-trace-id")

var headerTools = []struct{ tool, prefix string }{
	{"curl", "host,user-agent,accept"},
	{"python-requests", "host,user-agent,accept-encoding,accept,connection"},
	{"go-http-client", "host,user-agent,accept-encoding"},
	{"nmap-nse", "host,user-agent"},
}

func (e *extraction) quirks(headers []header) {
	order, casing := []string{}, []string{}
	for _, h := range headers {
		if lower := strings.ToLower(h.name); !volatile[lower] {
			order, casing = append(order, spell(lower)), append(casing, casingOf(h.name))
		}
	}
	p := payload{
		"order_hash": shortHash(order), "order": order, "casing_hash": shortHash(casing), "casing_category": "empty",
		"stable_count": len(order), "tool_guess": nil,
	}
	if len(casing) > 0 {
		p["casing_category"] = casing[0]
		if slices.ContainsFunc(casing, func(c string) bool { return c != casing[0] }) {
			p["casing_category"] = casingMixed
		}
	}
	names := strings.Join(order, ",") + ","
	for _, t := range headerTools {
		if strings.HasPrefix(names, t.prefix+",") {
			p["tool_guess"] = t.tool
			break
		}
	}
	e.fingerprint("http_quirks", p)
}

const casingMixed = "mixed"

func casingOf(name string) string {
	switch name {
	case strings.ToUpper(name):
		return "upper"
	case strings.ToLower(name):
		return "lower"
	}
	for _, part := range strings.Split(name, "-") {
		if part != "" && part != strings.ToUpper(part[:1])+strings.ToLower(part[1:]) {
			return casingMixed
		}
	}
	return "title"
}

// shortHash is the first 16 hex digits of the SHA-256 of the lines.
func shortHash(lines []string) string {
	sum := sha256.Sum256([]byte(strings.Join(lines, "\n")))
	return hex.EncodeToString(sum[:8])
}
