package ingest

import (
	"encoding/json"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// maxMailItems bounds lists of a mail; a line of ours cannot hold more.
const maxMailItems = 512

// mail is what `email.received` says of a stored message.
func (e *extraction) mail(stored string) {
	f := e.fields.Get
	m := &Mail{
		SourceID: f("msg_id"), Subject: f("subject"), FromDomain: domainOf(f("from_hdr")), MailFromDomain: domainOf(f("mail_from")),
		ReturnPathDomain: domainOf(f("return_path")), XMailer: f("x_mailer"), DKIMSigned: truth(f("dkim_signed")), SPFPass: truth(f("spf_pass")),
		HTMLSmuggling: truth(f("html_smuggling")), URLs: texts(f("urls_json")), AttachmentCount: f("attachment_count"), BodySimhash: f("body_simhash"),
		StoredAs: stored, BodySHA256: f("sha256"), Relay: e.Event.Service == serviceSMTPRelay, MailFrom: f("mail_from"), RcptTo: f("rcpt_to"),
	}
	if m.SourceID == "" {
		m.SourceID = stored
	}
	m.BodyBase64Bytes, _ = strconv.ParseInt(f("body_base64_bytes"), 10, 64)
	m.BodyBase64Bytes = max(m.BodyBase64Bytes, 0)
	rcpts := splitRecipients(m.RcptTo)
	m.RcptCount, m.RcptDomains = len(rcpts), []string{}
	for _, r := range rcpts {
		if d := domainOf(r); d != "" && !slices.Contains(m.RcptDomains, d) && len(m.RcptDomains) < maxMailItems {
			m.RcptDomains = append(m.RcptDomains, d)
		}
	}
	m.attachments(f("attachments_json"))
	e.Mail = m
}

func splitRecipients(v string) []string {
	return strings.FieldsFunc(v, func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
}

// domainOf returns what follows the first `@` and can be a domain, in lower case; "" if nothing does.
func domainOf(v string) string {
	_, rest, ok := strings.Cut(v, "@")
	if !ok {
		return ""
	}
	n := 0
	for n < len(rest) && (isLetter(rest[n]) || isDigit(rest[n]) || rest[n] == '.' || rest[n] == '-') {
		n++
	}
	return strings.ToLower(strings.Trim(rest[:n], "."))
}

// truth is true for a number that is not 0 and for true, True and yes.
func truth(v string) bool {
	switch v {
	case "true", "True", "yes":
		return true
	}
	n, err := strconv.ParseFloat(v, 64)
	return err == nil && n != 0 && n == n
}

// texts returns the strings of a JSON list, never nil.
func texts(v string) []string {
	out := []string{}
	for _, item := range list(v) {
		var s string
		if json.Unmarshal(item, &s) == nil {
			out = append(out, spell(s))
		}
	}
	return out
}

func list(v string) []json.RawMessage {
	var items []json.RawMessage
	if json.Unmarshal([]byte(v), &items) != nil {
		return nil
	}
	return items[:min(len(items), maxMailItems)]
}

func (m *Mail) attachments(manifest string) {
	m.AttachmentSHA256s, m.AttachmentExts = []string{}, []string{}
	for _, item := range list(manifest) {
		var a map[string]any
		if json.Unmarshal(item, &a) != nil {
			continue
		}
		if sum, _ := a["sha256"].(string); sha256Pattern.MatchString(strings.ToLower(sum)) {
			m.AttachmentSHA256s = append(m.AttachmentSHA256s, strings.ToLower(sum))
		}
		name, _ := a["filename"].(string)
		if ext := extension(name); ext != "" && !slices.Contains(m.AttachmentExts, ext) {
			m.AttachmentExts = append(m.AttachmentExts, ext)
		}
		m.AttachmentMacros = m.AttachmentMacros || isTrue(a["macro_indicator"])
		m.AttachmentPassword = m.AttachmentPassword || isTrue(a["encrypted"])
	}
}

func isTrue(v any) bool {
	switch v := v.(type) {
	case bool:
		return v
	case float64:
		return v != 0
	case string:
		return truth(v)
	}
	return false
}

// extension returns the text from the last dot on, in lower case; "" without one, or if nothing follows.
func extension(name string) string {
	ext := strings.ToLower(path.Ext(name))
	if ext == "." {
		return ""
	}
	return spell(ext)
}
