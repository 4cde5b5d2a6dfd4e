package http

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// response is an answer before it gets the spelling of the imitated server.
type response struct {
	status   int
	ctype    string
	headers  []header // beyond the server's own, in order
	body     []byte
	own      bool // the server's own page
	chunked  bool // made by a program, its length is not known beforehand
	modified time.Time
	etag     string
	crange   string
	close    bool
}

const dateFormat = http.TimeFormat

// bodyless reports whether a status never has a body (RFC 9110 section 6.4.1).
func bodyless(status int) bool { return status < 200 || status == 204 || status == 304 }

// framing says how the end of the body is told.
type framing int

const (
	noLength framing = iota
	lengthKnown
	inChunks
)

func (w *web) frame(r *request, resp *response) framing {
	head := r.method == "HEAD"
	switch {
	case bodyless(resp.status):
		return noLength
	case resp.chunked && w.kind == apache && len(resp.body) <= 4096 && resp.ctype != "message/http":
		return lengthKnown // fits the output buffer of a PHP module
	case resp.chunked && (head || r.minor == 0 || r.framed):
		return noLength
	case resp.chunked:
		return inChunks
	case head && resp.own && w.kind == apache:
		return noLength
	}
	return lengthKnown
}

// fields returns the head of a response in the order of the imitated server, without what frames a connection.
func (s *Server) fields(r *request, resp *response, f framing) (before, after []header) {
	date := header{"Date", time.Now().UTC().Format(dateFormat)}
	server := header{"Server", s.web.banner}
	ctype := header{"Content-Type", resp.ctype}
	if s.extra.ctype != "" && !resp.own {
		ctype.value = s.extra.ctype
	}
	length := header{}
	if f == lengthKnown {
		length = header{"Content-Length", strconv.Itoa(len(resp.body))}
	}
	modified, crange := header{}, header{"Content-Range", resp.crange}
	if !resp.modified.IsZero() {
		modified = header{"Last-Modified", resp.modified.UTC().Format(dateFormat)}
	}
	etag, ranges := header{"ETag", resp.etag}, header{}
	if resp.etag != "" && (s.web.kind == apache || (resp.crange == "" && resp.status != 304)) {
		ranges = header{"Accept-Ranges", "bytes"}
	}
	switch s.web.kind {
	case nginx:
		location, rest := splitLocation(resp.headers)
		before = compact(server, date, ctype, length, modified, location)
		after = compact(append(rest, etag, ranges, crange)...)
		after = append(after, s.further(resp)...)
	case apache:
		before = compact(append(append([]header{date, server}, resp.headers...), modified, etag, ranges)...)
		before = compact(append(append(before, s.further(resp)...), length, crange)...)
		after = compact(ctype)
	case iis:
		before = compact(append(append([]header{length, ctype, modified, ranges, etag, server}, resp.headers...), s.further(resp)...)...)
		before = append(before, date)
	case other:
		before = compact(append([]header{ctype, etag, modified, ranges, crange, length, date, server}, append(resp.headers, s.further(resp)...)...)...)
	}
	return before, after
}

// advertised are the statuses to which nginx adds the headers of its configuration.
var advertised = map[int]bool{200: true, 201: true, 204: true, 206: true, 301: true, 302: true, 303: true, 304: true, 307: true, 308: true}

// further are the headers that an administrator would have configured: where HTTP/3 is to be had, and those of the configuration.
func (s *Server) further(resp *response) []header {
	if !s.http3 || !advertised[resp.status] {
		return s.extra.list
	}
	return append([]header{{"Alt-Svc", `h3=":443"; ma=86400`}}, s.extra.list...)
}

func compact(list ...header) []header {
	out := make([]header, 0, len(list))
	for _, h := range list {
		if h.value != "" {
			out = append(out, h)
		}
	}
	return out
}

func splitLocation(list []header) (location header, rest []header) {
	for _, h := range list {
		if h.name == "Location" {
			location = h
			continue
		}
		rest = append(rest, h)
	}
	return location, rest
}

// connection returns the headers that say whether the connection stays.
func (w *web) connection(r *request, more bool) []header {
	asked := r.lists("Connection", "keep-alive")
	switch {
	case w.kind == nginx && more:
		return []header{{"Connection", "keep-alive"}}
	case w.kind == nginx:
		return []header{{"Connection", "close"}}
	case !more:
		return []header{{"Connection", "close"}}
	case w.kind == apache && asked:
		left := w.maxRequests() - r.serial + 1
		return []header{{"Keep-Alive", fmt.Sprintf("timeout=5, max=%d", left)}, {"Connection", "Keep-Alive"}}
	}
	return nil
}

// write1 writes a response of HTTP/1 or earlier with one write. It reports whether another request may follow.
func (s *Server) write1(to io.Writer, r *request, resp *response, more bool) (bool, error) {
	f := s.web.frame(r, resp)
	if (f == noLength && !bodyless(resp.status) && r.method != "HEAD") || resp.status < 200 {
		more = false
	}
	var b bytes.Buffer
	if r.proto != "HTTP/0.9" {
		s.writeHead(&b, r, resp, f, more)
	}
	if r.method != "HEAD" && !bodyless(resp.status) {
		if f == inChunks {
			writeChunks(&b, resp.body)
		} else {
			b.Write(resp.body)
		}
	}
	_, err := to.Write(b.Bytes())
	return more, err
}

func (s *Server) writeHead(b *bytes.Buffer, r *request, resp *response, f framing, more bool) {
	fmt.Fprintf(b, "HTTP/1.1 %d %s\r\n", resp.status, s.web.reason(resp.status))
	before, after := s.fields(r, resp, f)
	var te []header
	if f == inChunks {
		te = []header{{"Transfer-Encoding", "chunked"}}
	}
	conn := s.web.connection(r, more)
	middle := append(te, conn...)
	if s.web.kind == apache {
		middle = append(conn, te...)
	}
	for _, list := range [][]header{before, middle, after} {
		for _, h := range list {
			b.WriteString(h.name + ": " + h.value + "\r\n")
		}
	}
	b.WriteString("\r\n")
}

func writeChunks(b *bytes.Buffer, body []byte) {
	for len(body) > 0 {
		n := min(len(body), 8000)
		fmt.Fprintf(b, "%x\r\n%s\r\n", n, body[:n])
		body = body[n:]
	}
	b.WriteString("0\r\n\r\n")
}

// extraHeaders are the headers of the configuration.
type extraHeaders struct {
	server, ctype string
	list          []header
}

// parseExtraHeaders reads a JSON object, or one header per line. What is no header, and what frames a message, is left out.
func parseExtraHeaders(text string) extraHeaders {
	var e extraHeaders
	if strings.HasPrefix(strings.TrimSpace(text), "{") {
		e.addJSON(text)
		return e
	}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(line, ":")
		e.add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	return e
}

// addJSON keeps the order of the object.
func (e *extraHeaders) addJSON(text string) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if _, err := d.Token(); err != nil {
		return
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return
		}
		var value any
		if d.Decode(&value) != nil {
			return
		}
		switch value.(type) {
		case string, json.Number, bool:
			e.add(fmt.Sprint(name), fmt.Sprint(value))
		}
	}
}

func (e *extraHeaders) add(name, value string) {
	if !token(name) || value == "" || strings.ContainsFunc(value, controlRune) {
		return
	}
	switch strings.ToLower(name) {
	case "server":
		e.server = value
	case "content-type":
		e.ctype = value
	case "content-length", "transfer-encoding", "connection", "keep-alive", "date", "upgrade", "trailer":
	default:
		e.list = append(e.list, header{name, value})
	}
}
