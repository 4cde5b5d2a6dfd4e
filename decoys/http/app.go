package http

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"html/template"
	"time"

	"github.com/decnet/decnet/decoys/identity"
)

var templates = template.Must(template.ParseFS(pages, "pages/*.tmpl"))

// base is what every application needs: the server in front of it, the decky's identity, the configured status.
type base struct {
	w         *web
	id        identity.Identity
	status    int
	installed time.Time
	static    map[string]file
}

// add puts a file at a path, with a time of its own close to the installation.
func (b *base) add(name, body string) {
	if b.static == nil {
		b.static = map[string]file{}
	}
	b.static[name] = b.w.newFile(name, []byte(body), b.installed.Add(-time.Duration(len(name)%7)*time.Second))
}

// file answers a path that is a file, or nil.
func (b *base) file(r *request) *response {
	f, ok := b.static[r.path]
	if !ok || (r.method != "GET" && r.method != "HEAD") {
		return nil
	}
	return b.w.serve(r, f)
}

// html answers with a template. A page that would say 200 says the configured status.
func (b *base) html(status int, name string, data any, headers ...header) *response {
	var out bytes.Buffer
	if err := templates.ExecuteTemplate(&out, name, data); err != nil {
		return &response{status: 500, ctype: "text/html; charset=UTF-8", chunked: true}
	}
	return b.text(status, "text/html; charset=UTF-8", out.String(), headers...)
}

func (b *base) text(status int, ctype, body string, headers ...header) *response {
	if status == 200 {
		status = b.status
	}
	return &response{status: status, ctype: ctype, body: []byte(body), headers: headers, chunked: true}
}

// redirect answers 302 as a program does, with an empty page.
func (b *base) redirect(status int, to string, headers ...header) *response {
	return &response{status: status, ctype: "text/html; charset=UTF-8", headers: append(headers, header{"Location", to}), chunked: true}
}

// fresh returns n random bytes in hex: session identifiers and tokens, which never repeat.
func fresh(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}

// bounded keeps what a page repeats of a form short.
func bounded(s string) string { return cut(s, 256) }

// form returns the fields of a URL-encoded body; keys are lower case.
func (r *request) form() map[string]string { return formValues(string(r.body)) }
