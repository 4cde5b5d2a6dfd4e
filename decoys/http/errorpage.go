package http

import (
	"fmt"
	"html"
	"net/http"
	"strconv"
	"strings"
)

// nginxTexts and apacheTexts are reason phrases that differ from the registered ones.
var (
	nginxTexts = map[int]string{
		302: "Moved Temporarily", 405: "Not Allowed", 408: "Request Time-out", 413: "Request Entity Too Large", 414: "Request-URI Too Large",
		416: "Requested Range Not Satisfiable", 503: "Service Temporarily Unavailable", 504: "Gateway Time-out",
	}
	apacheTexts = map[int]string{
		413: "Request Entity Too Large", 414: "Request-URI Too Long", 416: "Requested Range Not Satisfiable", 422: "Unprocessable Entity",
	}
)

// reason returns the phrase of a status; unknown ones have none.
func (w *web) reason(status int) string {
	texts := apacheTexts
	if w.kind == nginx {
		texts = nginxTexts
	}
	if t, ok := texts[status]; ok {
		return t
	}
	return http.StatusText(status)
}

// page returns the server's own page for a status. note is a detail some pages show; it may be the attacker's.
func (w *web) page(status int, r *request, note string) *response {
	resp := &response{status: status, own: true}
	switch w.kind {
	case nginx:
		resp.ctype, resp.body = "text/html", w.nginxPage(status, note)
	case apache:
		resp.ctype, resp.body = "text/html; charset=iso-8859-1", w.apachePage(status, r, note)
	case iis:
		resp.ctype, resp.body = "text/html; charset=us-ascii", w.iisPage(status)
	case other:
		text := strings.TrimSpace(strconv.Itoa(status) + " " + w.reason(status))
		resp.ctype, resp.body = "text/html", fmt.Appendf(nil, "<html>\n<head><title>%s</title></head>\n<body><h1>%s</h1></body>\n</html>\n", text, text)
	}
	return resp
}

func (w *web) nginxPage(status int, note string) []byte {
	text := strings.TrimSpace(strconv.Itoa(status) + " " + w.reason(status))
	title, extra := text, ""
	if note != "" {
		title, extra = strconv.Itoa(status)+" "+note, "<center>"+note+"</center>\r\n"
	}
	return fmt.Appendf(nil, "<html>\r\n<head><title>%s</title></head>\r\n<body>\r\n<center><h1>%s</h1></center>\r\n%s<hr><center>%s</center>\r\n</body>\r\n</html>\r\n",
		title, text, extra, html.EscapeString(w.banner))
}

// apacheDetails are the sentences of Apache's pages.
var apacheDetails = map[int]string{
	400: "<p>Your browser sent a request that this server could not understand.<br />\n%s</p>\n",
	401: "<p>This server could not verify that you\nare authorized to access the document\nrequested.  Either you supplied the wrong\ncredentials (e.g., bad password), or your\nbrowser doesn't understand how to supply\nthe credentials required.</p>\n",
	403: "<p>You don't have permission to access this resource.</p>\n",
	404: "<p>The requested URL was not found on this server.</p>\n",
	408: "<p>Server timeout waiting for the HTTP request from the client.</p>\n",
	413: "The requested resource does not allow request data with %s requests, or the amount of data provided in\nthe request exceeds the capacity limit.\n",
	414: "<p>The requested URL's length exceeds the capacity\nlimit for this server.<br />\n</p>\n",
	416: "<p>None of the range-specifier values in the Range\nrequest-header field overlap the current extent\nof the selected resource.</p>\n",
	417: "<p>The expectation given in the Expect request-header\nfield could not be met by this server.\nThe client sent<pre>\n    Expect: %s\n</pre>\n</p><p>Only the 100-continue expectation is supported.</p>\n",
	500: "<p>The server encountered an internal error or\nmisconfiguration and was unable to complete\nyour request.</p>\n",
	503: "<p>The server is temporarily unable to service your\nrequest due to maintenance downtime or capacity\nproblems. Please try again later.</p>\n",
}

// What the servers say of a request in the clear on a port of TLS.
const (
	apachePlainHTTP = "Reason: You're speaking plain HTTP to an SSL-enabled server port.<br />\n Instead use the HTTPS scheme to access this URL, please.<br />\n"
	nginxPlainHTTP  = "The plain HTTP request was sent to HTTPS port"
)

// apacheEscape escapes what Apache does; it leaves quotes alone.
var apacheEscape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace

func (w *web) apachePage(status int, r *request, note string) []byte {
	detail := apacheDetails[status]
	switch status {
	case 400, 417:
		if note != apachePlainHTTP {
			note = apacheEscape(note)
		}
		detail = fmt.Sprintf(detail, note)
	case 413:
		detail = fmt.Sprintf(detail, apacheEscape(r.method))
	case 405:
		detail = "<p>The requested method " + apacheEscape(r.method) + " is not allowed for this URL.</p>\n"
	case 501:
		detail = "<p>" + apacheEscape(r.method) + " not supported for current URL.<br />\n</p>\n"
	case 301, 302, 303, 307, 308:
		detail = "<p>The document has moved <a href=\"" + apacheEscape(note) + "\">here</a>.</p>\n"
	}
	if w.old() { // before 2.4.39 the pages name the path
		path := apacheEscape(r.path[:min(len(r.path), 1024)])
		detail = strings.Replace(detail, "to access this resource.", "to access "+path+"\non this server.<br />\n", 1)
		detail = strings.Replace(detail, "The requested URL was", "The requested URL "+path+" was", 1)
		detail = strings.Replace(detail, "allowed for this URL", "allowed for the URL "+path, 1)
	}
	title := w.reason(status)
	doctype := `<!DOCTYPE HTML PUBLIC "-//IETF//DTD HTML 2.0//EN">`
	if w.minorPatch() >= 70 {
		doctype = `<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 4.01//EN" "http://www.w3.org/TR/html4/strict.dtd">`
	}
	return fmt.Appendf(nil, "%s\n<html><head>\n<title>%d %s</title>\n</head><body>\n<h1>%s</h1>\n%s%s</body></html>\n",
		doctype, status, title, title, detail, w.signature(r))
}

// old reports whether the banner names an Apache before 2.4.39.
func (w *web) old() bool { v := w.minorPatch(); return v >= 0 && v < 39 }

// signature is the last line of Apache's pages, where distributions switch it on.
func (w *web) signature(r *request) string {
	if !strings.Contains(w.banner, "Debian") && !strings.Contains(w.banner, "Ubuntu") {
		return ""
	}
	return "<hr>\n<address>" + html.EscapeString(w.banner) + " Server at " + html.EscapeString(r.hostName(w.name)) + " Port " + strconv.Itoa(w.port()) + "</address>\n"
}

func (w *web) iisPage(status int) []byte {
	text := w.reason(status)
	return fmt.Appendf(nil, "<!DOCTYPE HTML PUBLIC \"-//W3C//DTD HTML 4.01//EN\"\"http://www.w3.org/TR/html4/strict.dtd\">\r\n<HTML><HEAD><TITLE>%s</TITLE>\r\n"+
		"<META HTTP-EQUIV=\"Content-Type\" Content=\"text/html; charset=us-ascii\"></HEAD>\r\n<BODY><h2>%s</h2>\r\n<hr><p>HTTP Error %d. %s</p>\r\n</BODY></HTML>\r\n",
		text, text, status, iisSentence(status, text))
}

func iisSentence(status int, text string) string {
	switch status {
	case 400:
		return "The request is badly formed."
	case 404:
		return "The requested resource is not found."
	}
	return "The request ended with: " + text + "."
}
