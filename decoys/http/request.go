package http

import (
	"bufio"
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// header is one line of a head, with the client's spelling.
type header struct{ name, value string }

// request is one request as it was sent. line is the raw request line, even of what is no request.
type request struct {
	line                  string
	method, target, proto string
	major, minor          int
	headers               []header
	path, query           string // path is decoded and clean, query is raw
	host                  string
	body                  []byte // the first keptBodyBytes
	bodyLen               int64
	keepAlive             bool
	serial                int
	framed                bool // by HTTP/2 or HTTP/3
}

// refusal is a request that the imitated server answers with an error and closes.
type refusal struct {
	status int
	note   string
}

func (r *refusal) Error() string { return "request refused with status " + strconv.Itoa(r.status) }

var (
	errLineTooLong = errors.New("line too long")
	errBareLF      = errors.New("line ends in a bare line feed")
)

// get returns the first value of a header, or an empty text.
func (r *request) get(name string) string {
	for _, h := range r.headers {
		if strings.EqualFold(h.name, name) {
			return h.value
		}
	}
	return ""
}

// lists reports whether a comma-separated header contains a token.
func (r *request) lists(name, token string) bool {
	for _, h := range r.headers {
		if !strings.EqualFold(h.name, name) {
			continue
		}
		for part := range strings.SplitSeq(h.value, ",") {
			if strings.EqualFold(strings.TrimSpace(part), token) {
				return true
			}
		}
	}
	return false
}

func (r *request) count(name string) int {
	n := 0
	for _, h := range r.headers {
		if strings.EqualFold(h.name, name) {
			n++
		}
	}
	return n
}

// readLine takes one line of at most limit bytes and returns it without its end.
func (c *client) readLine(limit int) (string, error) {
	var line []byte
	for {
		part, err := c.in.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > limit+2:
			return string(line[:limit]), errLineTooLong
		case err == nil:
			text, crlf := strings.CutSuffix(string(line[:len(line)-1]), "\r")
			if !crlf {
				return text, errBareLF
			}
			return text, nil
		case !isFull(err):
			return string(line), err
		}
	}
}

// readRequest reads a request head. On an error the request holds what was understood.
func (c *client) readRequest() (*request, error) {
	r := &request{}
	var err error
	for range 10 { // empty lines before a request are skipped (RFC 9112 section 2.2)
		r.line, err = c.readLine(c.s.web.maxLine())
		if r.line != "" || (err != nil && !errors.Is(err, errBareLF)) {
			break
		}
	}
	if errors.Is(err, errLineTooLong) {
		r.method, r.target, _ = strings.Cut(r.line, " ")
		return r, &refusal{status: 414}
	}
	if err != nil && (!errors.Is(err, errBareLF) || c.s.web.strictLines()) {
		if errors.Is(err, errBareLF) {
			return r, &refusal{status: 400}
		}
		return r, err
	}
	if err := r.parseLine(c.s.web); err != nil {
		return r, err
	}
	if r.major == 0 {
		return r, r.locate(c.s.web)
	}
	if err := c.readHeaders(r); err != nil {
		return r, err
	}
	return r, r.check(c.s.web)
}

func (r *request) parseLine(w *web) error {
	parts := strings.Split(r.line, " ")
	r.method = parts[0]
	if !token(r.method) || len(parts) < 2 || len(parts) > 3 || strings.ContainsFunc(r.line, controlRune) {
		r.method = ""
		return &refusal{status: 400}
	}
	r.target = parts[1]
	if len(parts) == 2 {
		if r.method != "GET" {
			return &refusal{status: 400}
		}
		r.proto = "HTTP/0.9"
		return nil
	}
	r.proto = parts[2]
	v, ok := strings.CutPrefix(r.proto, "HTTP/")
	if !ok || len(v) != 3 || v[1] != '.' || !digit(v[0]) || !digit(v[2]) || v[0] == '0' {
		return &refusal{status: 400}
	}
	r.major, r.minor = int(v[0]-'0'), int(v[2]-'0')
	return w.checkLine(r)
}

func (c *client) readHeaders(r *request) error {
	w, total := c.s.web, len(r.line)
	for {
		line, err := c.readLine(w.maxField())
		total += len(line)
		switch {
		case errors.Is(err, errLineTooLong) || total > w.maxHead():
			return &refusal{status: 400, note: w.tooLarge()}
		case errors.Is(err, errBareLF) && w.strictLines():
			return &refusal{status: 400}
		case err != nil && !errors.Is(err, errBareLF):
			return err
		case line == "":
			return nil
		}
		if err := r.addHeader(line, w); err != nil {
			return err
		}
	}
}

func (r *request) addHeader(line string, w *web) error {
	if line[0] == ' ' || line[0] == '\t' {
		if !w.folds() || len(r.headers) == 0 {
			return &refusal{status: 400}
		}
		last := &r.headers[len(r.headers)-1]
		last.value += " " + strings.TrimSpace(line)
		return nil
	}
	name, value, ok := strings.Cut(line, ":")
	if !ok || !token(name) || strings.IndexByte(value, 0) >= 0 || (w.strictValues() && strings.ContainsFunc(value, controlRune)) {
		return &refusal{status: 400}
	}
	if len(r.headers) >= w.maxFields() {
		return &refusal{status: 400, note: w.tooMany()}
	}
	r.headers = append(r.headers, header{name, strings.Trim(value, " \t")})
	return nil
}

// check applies the rules about a whole head.
func (r *request) check(w *web) error {
	r.keepAlive = r.lists("Connection", "keep-alive")
	if r.major > 1 || r.minor > 0 {
		r.keepAlive = !r.lists("Connection", "close")
		if r.get("Host") == "" && r.count("Host") == 0 {
			return &refusal{status: 400}
		}
	}
	if r.count("Host") > 1 || !validHost(r.get("Host")) {
		return &refusal{status: 400}
	}
	r.host = strings.ToLower(r.get("Host"))
	return r.locate(w)
}

// locate splits the target into host, path and query.
func (r *request) locate(w *web) error {
	target := r.target
	if scheme, rest, ok := strings.Cut(target, "://"); ok && token(scheme) && !strings.HasPrefix(target, "/") {
		i := strings.IndexAny(rest, "/?")
		if i < 0 {
			rest, i = rest+"/", len(rest)
		}
		if !validHost(rest[:i]) {
			return &refusal{status: 400}
		}
		r.host, target = strings.ToLower(rest[:i]), rest[i:]
	}
	if !strings.HasPrefix(target, "/") {
		return w.checkTarget(r)
	}
	raw, query, _ := strings.Cut(target, "?")
	raw, _, _ = strings.Cut(raw, "#")
	path, err := url.PathUnescape(raw)
	if err != nil || (w.kind == nginx && strings.IndexByte(path, 0) >= 0) {
		return &refusal{status: 400}
	}
	clean, ok := cleanPath(path)
	if !ok {
		return &refusal{status: 400}
	}
	r.path, r.query = clean, query
	return nil
}

// cleanPath resolves dots and repeated slashes; it fails when dots lead out of the root. A final slash stays.
func cleanPath(p string) (string, bool) {
	var out []string
	for part := range strings.SplitSeq(p, "/") {
		switch part {
		case "", ".":
		case "..":
			if len(out) == 0 {
				return "", false
			}
			out = out[:len(out)-1]
		default:
			out = append(out, part)
		}
	}
	clean := "/" + strings.Join(out, "/")
	if clean != "/" && (strings.HasSuffix(p, "/") || strings.HasSuffix(p, "/.") || strings.HasSuffix(p, "/..")) {
		clean += "/"
	}
	return clean, true
}

func digit(b byte) bool { return b >= '0' && b <= '9' }

// pseudo takes a pseudo-header of HTTP/2 or HTTP/3.
func (r *request) pseudo(name, value string) {
	switch name {
	case ":method":
		r.method = value
	case ":path":
		r.target = value
	case ":authority":
		r.host = strings.ToLower(value)
	}
}

// complete checks a framed request whose head was read, and finishes it.
func (r *request) complete(w *web) error {
	if r.method == "" || r.target == "" || !validHost(r.host) {
		return &refusal{status: 400}
	}
	r.line = r.method + " " + r.target + " " + r.proto
	if strings.ContainsFunc(r.target, controlRune) || !token(r.method) {
		return &refusal{status: 400}
	}
	return r.locate(w)
}

func controlRune(r rune) bool { return (r < 0x20 && r != '\t') || r == 0x7f }

// token reports whether s is a token of RFC 9110 section 5.6.2.
func token(s string) bool {
	for _, b := range []byte(s) {
		if b <= ' ' || b >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, b) >= 0 {
			return false
		}
	}
	return s != ""
}

func validHost(h string) bool {
	return len(h) <= 255 && !strings.ContainsFunc(h, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`/\?#<>"`, r) })
}

// hostName returns the name the client used, without port, or fallback.
func (r *request) hostName(fallback string) string {
	name := r.host
	if h, _, err := net.SplitHostPort(name); err == nil {
		name = h
	}
	if name == "" {
		return fallback
	}
	return name
}

func isFull(err error) bool { return errors.Is(err, bufio.ErrBufferFull) }
