package http

import (
	"fmt"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/decnet/decnet/decoys/config"
	"github.com/decnet/decnet/decoys/persona"
)

// file is static content with the validators of the imitated server.
type file struct {
	ctype    string
	body     []byte
	modified time.Time
	etag     string
}

// newSite chooses what is behind the server. A custom body wins over an application.
func newSite(cfg config.HTTP, h *persona.Host, w *web) site {
	if cfg.CustomBody == "" {
		b := base{w: w, id: h.ID, status: cfg.ResponseCode, installed: installTime(h)}
		switch cfg.FakeApp {
		case "wordpress":
			return newWordPress(b)
		case "phpmyadmin":
			return newPhpMyAdmin(b)
		case "tomcat":
			return newTomcat(b)
		case "jenkins":
			return newJenkins(b)
		}
	}
	p := &plainSite{w: w, status: cfg.ResponseCode, custom: cfg.CustomBody != ""}
	body := []byte(cfg.CustomBody)
	if !p.custom {
		body = frontPage(w)
	}
	p.front = w.newFile("index.html", body, installTime(h))
	return p
}

// installTime is when the pages were put there: weeks before the machine was booted.
func installTime(h *persona.Host) time.Time {
	r := h.ID.Rand("http-installed")
	return h.Started.Add(-time.Duration(10+r.IntN(300)) * 24 * time.Hour).Add(-time.Duration(r.IntN(86400)) * time.Second).Truncate(time.Second)
}

// newFile gives content the validators the server derives from inode facts: nginx time and size, Apache size and microseconds.
func (w *web) newFile(name string, body []byte, modified time.Time) file {
	f := file{ctype: contentType(name), body: body, modified: modified}
	if w.kind == nginx {
		f.etag = fmt.Sprintf(`"%x-%x"`, modified.Unix(), len(body))
	} else {
		micro := modified.UnixMicro() + int64(w.id.Seed()%999999)
		f.etag = fmt.Sprintf(`"%x-%x"`, len(body), micro)
	}
	return f
}

var contentTypes = map[string]string{
	".html": "text/html", ".php": "text/html", "": "text/html", ".css": "text/css", ".js": "application/javascript", ".txt": "text/plain",
	".ico": "image/x-icon", ".svg": "image/svg+xml", ".png": "image/png", ".xml": "text/xml", ".json": "application/json",
}

func contentType(name string) string {
	if t, ok := contentTypes[path.Ext(name)]; ok {
		return t
	}
	return "application/octet-stream"
}

// plainSite is a server without application: its welcome page, or one body or status for everything.
type plainSite struct {
	w      *web
	status int
	custom bool
	front  file
}

func (p *plainSite) answer(r *request) *response {
	switch {
	case !p.custom && p.status != 200:
		return p.w.page(p.status, r, "")
	case p.custom || r.path == "/" || r.path == "/index.html":
		resp := p.w.serve(r, p.front)
		if p.status != 200 && resp.status == 200 {
			resp.status, resp.modified, resp.etag = p.status, time.Time{}, ""
		}
		return resp
	case p.forbidden(r.path):
		return p.w.page(403, r, "")
	}
	return p.w.page(404, r, "")
}

// forbidden knows the places a packaged Apache protects.
func (p *plainSite) forbidden(name string) bool {
	if p.w.kind != apache {
		return false
	}
	return strings.HasPrefix(path.Base(name), ".ht") || name == "/icons/" || strings.HasPrefix(name, "/server-status") || strings.HasPrefix(name, "/cgi-bin/")
}

// serve answers with a file, honouring conditions and a single range (RFC 9110 sections 13 and 14).
func (w *web) serve(r *request, f file) *response {
	resp := &response{status: 200, ctype: f.ctype, body: f.body, modified: f.modified, etag: f.etag}
	if w.unchanged(r, f) {
		resp.status, resp.body, resp.ctype = 304, nil, ""
		return resp
	}
	from, to, ok := singleRange(r.get("Range"), len(f.body))
	switch {
	case !ok:
		return resp
	case from >= len(f.body):
		bad := w.page(416, r, "")
		bad.crange = "bytes */" + strconv.Itoa(len(f.body))
		bad.chunked = w.kind == apache
		return bad
	}
	resp.status, resp.body = 206, f.body[from:to+1]
	resp.crange = fmt.Sprintf("bytes %d-%d/%d", from, to, len(f.body))
	return resp
}

func (w *web) unchanged(r *request, f file) bool {
	if tags := r.get("If-None-Match"); tags != "" {
		return tags == "*" || strings.Contains(tags, f.etag)
	}
	since, err := time.Parse(dateFormat, r.get("If-Modified-Since"))
	if err != nil {
		return false
	}
	if w.kind == nginx {
		return since.Equal(f.modified)
	}
	return !since.Before(f.modified) && !since.After(time.Now())
}

// singleRange reads `bytes=a-b`. It reports false for anything the whole file answers.
func singleRange(value string, size int) (from, to int, ok bool) {
	spec, isBytes := strings.CutPrefix(value, "bytes=")
	first, last, dash := strings.Cut(spec, "-")
	if !isBytes || !dash || strings.Contains(last, ",") || size == 0 {
		return 0, 0, false
	}
	if first == "" {
		n, err := strconv.Atoi(last)
		return max(size-n, 0), size - 1, err == nil && n > 0
	}
	from, err := strconv.Atoi(first)
	if err != nil || from < 0 {
		return 0, 0, false
	}
	to = size - 1
	if last != "" {
		if to, err = strconv.Atoi(last); err != nil || to < from {
			return 0, 0, false
		}
	}
	return from, min(to, size-1), true
}

// origin is the address of the site as the client wrote it.
func (r *request) origin(w *web) string {
	scheme := "http://"
	if w.secure {
		scheme = "https://"
	}
	if r.host == "" {
		return scheme + w.name
	}
	return scheme + r.host
}

// param returns a value of the query, or an empty text.
func (r *request) param(name string) string {
	v, _ := url.ParseQuery(r.query)
	return v.Get(name)
}

// moved is the server's own redirection to a directory.
func (w *web) moved(r *request, to string) *response {
	location := r.origin(w) + to
	resp := w.page(301, r, location)
	resp.headers = []header{{"Location", location}}
	return resp
}
