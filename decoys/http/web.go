package http

import (
	"strconv"
	"strings"
	"time"

	"github.com/decnet/decnet/decoys/identity"
	"github.com/decnet/decnet/decoys/persona"
)

// kind is the family of the imitated server.
type kind int

const (
	apache kind = iota
	nginx
	iis
	other
)

// web is the imitated server: its banner and the habits that follow from it.
type web struct {
	id     identity.Identity
	kind   kind
	banner string
	secure bool   // behind TLS
	trace  bool   // TRACE is answered
	name   string // ServerName, for pages without a Host
	allow  string // order of methods in Allow
}

type release struct {
	banner string
	weight int
}

// releases are the packaged web servers of a distribution; the first is its default.
var releases = map[string][]release{
	"debian":   {{"Apache/2.4.57 (Debian)", 2}, {"Apache/2.4.59 (Debian)", 2}, {"Apache/2.4.62 (Debian)", 4}, {"nginx/1.22.1", 5}},
	"ubuntu22": {{"Apache/2.4.52 (Ubuntu)", 5}, {"nginx/1.18.0 (Ubuntu)", 5}, {"nginx/1.24.0", 1}},
	"ubuntu20": {{"Apache/2.4.41 (Ubuntu)", 5}, {"nginx/1.18.0 (Ubuntu)", 4}},
	"rocky9":   {{"Apache/2.4.57 (Rocky Linux)", 4}, {"Apache/2.4.53 (Rocky Linux)", 2}, {"nginx/1.20.1", 4}},
	"centos7":  {{"Apache/2.4.6 (CentOS)", 5}, {"nginx/1.20.1", 3}},
	"alpine":   {{"nginx", 5}, {"Apache/2.4.58 (Unix)", 2}},
	"fedora":   {{"Apache/2.4.58 (Fedora Linux)", 3}, {"nginx/1.24.0", 3}},
	"kali":     {{"Apache/2.4.62 (Debian)", 4}, {"nginx/1.26.0", 1}},
	"arch":     {{"nginx/1.26.2", 3}, {"Apache/2.4.62 (Unix)", 2}},
}

func newWeb(h *persona.Host, banner string) *web {
	w := &web{id: h.ID, name: h.Addr.String()}
	if banner == "" {
		list := releases[distroOf(h)]
		choices := make([]identity.Weighted[string], 0, len(list))
		for _, r := range list {
			choices = append(choices, identity.Weighted[string]{Value: r.banner, Weight: r.weight})
		}
		banner = identity.PickWeighted(h.ID, "http-server", choices)
	}
	w.setBanner(banner)
	return w
}

func distroOf(h *persona.Host) string {
	switch h.Release.ID {
	case "ubuntu":
		if h.VersionID == "20.04" {
			return "ubuntu20"
		}
		return "ubuntu22"
	case "rocky":
		return "rocky9"
	case "centos":
		return "centos7"
	default:
		return h.Release.ID
	}
}

// setBanner changes the server to the one a banner names.
func (w *web) setBanner(banner string) {
	w.banner, w.kind = banner, other
	low := strings.ToLower(banner)
	for prefix, k := range map[string]kind{"apache": apache, "nginx": nginx, "openresty": nginx, "microsoft-iis": iis} {
		if strings.HasPrefix(low, prefix) && !strings.HasPrefix(low, "apache-coyote") {
			w.kind = k
		}
	}
	w.trace = w.kind == apache && !strings.Contains(low, "debian") && !strings.Contains(low, "ubuntu")
	w.allow = "GET,POST,OPTIONS,HEAD"
	switch v := w.minorPatch(); {
	case v >= 46:
		w.allow = "OPTIONS,HEAD,GET,POST"
	case v >= 41:
		w.allow = "POST,OPTIONS,HEAD,GET"
	}
	if w.trace {
		w.allow += ",TRACE"
	}
}

// port is the server's own port, which pages name.
func (w *web) port() int {
	if w.secure {
		return 443
	}
	return 80
}

// minorPatch returns the last number of an Apache 2.4 version, or -1.
func (w *web) minorPatch() int {
	_, v, _ := strings.Cut(w.banner, "/2.4.")
	v, _, _ = strings.Cut(v, " ")
	if n, err := strconv.Atoi(v); err == nil {
		return n
	}
	return -1
}

func (w *web) headerTimeout() time.Duration {
	if w.kind == apache {
		return 20 * time.Second // mod_reqtimeout
	}
	return 60 * time.Second
}

func (w *web) keepAlive() time.Duration {
	switch w.kind {
	case apache:
		return 5 * time.Second
	case nginx:
		return 65 * time.Second
	default:
		return 30 * time.Second
	}
}

func (w *web) maxRequests() int {
	if w.kind == apache {
		return 100
	}
	return 1000
}

func (w *web) maxLine() int {
	if w.kind == apache {
		return 8190
	}
	return 8190 - 2
}

func (w *web) maxField() int { return 8190 }

func (w *web) maxFields() int {
	if w.kind == apache {
		return 100
	}
	return 1000
}

func (w *web) maxHead() int {
	if w.kind == nginx {
		return 4 * 8 << 10
	}
	return maxHeadBytes
}

func (w *web) maxBody() int64 {
	if w.kind == nginx {
		return 1 << 20
	}
	return 1 << 30
}

// tooLarge and tooMany are what a 400 says about big heads.
func (w *web) tooLarge() string {
	if w.kind == nginx {
		return "Request Header Or Cookie Too Large"
	}
	return "Size of a request header field exceeds server limit."
}

func (w *web) tooMany() string {
	if w.kind == nginx {
		return w.tooLarge()
	}
	return "The number of request header fields exceeds this server's limit."
}

func (w *web) strictLines() bool  { return w.kind == apache && w.minorPatch() >= 50 }
func (w *web) strictValues() bool { return w.kind == apache }
func (w *web) folds() bool        { return w.kind == apache }

// checkLine refuses what the server refuses before it reads headers.
func (w *web) checkLine(r *request) error {
	if w.kind == apache {
		return nil
	}
	if w.kind == nginx && strings.ContainsFunc(r.method, func(c rune) bool { return (c < 'A' || c > 'Z') && c != '_' && c != '-' }) {
		return &refusal{status: 400}
	}
	if w.kind == nginx && !strings.HasPrefix(r.target, "/") && !strings.Contains(r.target, "://") {
		return &refusal{status: 400}
	}
	if r.major != 1 {
		return &refusal{status: 505}
	}
	return nil
}

// checkTarget judges targets that are no path: `*` and authorities.
func (w *web) checkTarget(r *request) error {
	r.path = "*"
	switch {
	case w.kind == apache && r.method == "OPTIONS" && r.target == "*":
		return nil
	case w.kind == apache && r.method == "CONNECT" && validHost(r.target):
		r.host = r.target
		return nil
	}
	return &refusal{status: 400}
}

var knownMethods = map[string]bool{
	"GET": true, "HEAD": true, "POST": true, "PUT": true, "DELETE": true, "OPTIONS": true, "TRACE": true, "CONNECT": true, "PATCH": true,
	"PROPFIND": true, "PROPPATCH": true, "MKCOL": true, "COPY": true, "MOVE": true, "LOCK": true, "UNLOCK": true, "REPORT": true,
	"VERSION-CONTROL": true, "CHECKOUT": true, "UNCHECKOUT": true, "CHECKIN": true, "UPDATE": true, "LABEL": true, "MKWORKSPACE": true,
	"MKACTIVITY": true, "BASELINE-CONTROL": true, "MERGE": true, "SEARCH": true, "INVALID": false,
}

// intercept answers what never reaches a site: TRACE, OPTIONS and the methods a server of files does not know.
func (w *web) intercept(r *request, dynamic bool) *response {
	switch {
	case r.method == "GET" || r.method == "HEAD":
		return nil
	case r.method == "TRACE" && w.trace:
		return w.echo(r)
	case r.method == "TRACE" || r.method == "CONNECT":
		resp := w.refuseMethod(r)
		resp.close = w.kind == nginx
		return resp
	case r.path == "*":
		return &response{status: 200}
	case w.kind == apache && !knownMethods[r.method]:
		resp := w.page(501, r, "")
		resp.headers, resp.close = []header{{"Allow", w.allow}}, true
		return resp
	case dynamic, r.method == "POST" && w.kind != nginx:
		return nil
	case r.method == "OPTIONS" && w.kind != nginx:
		return &response{status: 200, headers: []header{{"Allow", w.allow}}, ctype: "text/html"}
	}
	return w.refuseMethod(r)
}

func (w *web) refuseMethod(r *request) *response {
	resp := w.page(405, r, "")
	if w.kind != nginx {
		resp.headers = append(resp.headers, header{"Allow", w.allow})
	}
	return resp
}

// echo is the answer to TRACE.
func (w *web) echo(r *request) *response {
	var b strings.Builder
	b.WriteString(r.line + "\r\n")
	for _, h := range r.headers {
		b.WriteString(h.name + ": " + h.value + "\r\n")
	}
	b.WriteString("\r\n")
	return &response{status: 200, ctype: "message/http", body: []byte(b.String()), chunked: true}
}
