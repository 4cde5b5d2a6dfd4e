package http

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// JA4H returns the fingerprint of an HTTP client by its public definition (FoxIO, JA4H): method, version, presence of Cookie and Referer,
// number of headers, language; then hashes of the header names as sent, of the sorted cookie names, and of the cookies sorted by name.
// headers are name and value in the order and spelling of the wire.
func JA4H(method, version string, headers [][2]string) string {
	var names, cookies []string
	cookie, referer, lang := "n", "n", "0000"
	for _, h := range headers {
		switch low := strings.ToLower(h[0]); {
		case low == "cookie":
			cookie = "c"
			cookies = append(cookies, splitCookies(h[1])...)
			continue
		case low == "referer":
			referer = "r"
			continue
		case low == "accept-language":
			lang = language(h[1])
		case strings.HasPrefix(low, "cookie"), strings.HasPrefix(low, ":"):
			continue
		}
		names = append(names, h[0])
	}
	slices.SortStableFunc(cookies, func(a, b string) int { return strings.Compare(cookieName(a), cookieName(b)) })
	fields := make([]string, len(cookies))
	for i, c := range cookies {
		fields[i] = cookieName(c)
	}
	return fmt.Sprintf("%s%s%s%s%02d%s_%s_%s_%s", methodCode(method), version, cookie, referer, min(len(names), 99), lang,
		short(names), short(fields), short(cookies))
}

// methodCode is the first two letters of the method, lower case.
func methodCode(method string) string {
	b := []byte(method + "00")[:2]
	for i, c := range b {
		switch {
		case c >= 'A' && c <= 'Z':
			b[i] = c + 'a' - 'A'
		case c <= ' ' || c > '~':
			b[i] = '0'
		}
	}
	return string(b)
}

func splitCookies(value string) []string {
	var out []string
	for c := range strings.SplitSeq(value, ";") {
		out = append(out, strings.TrimSpace(c))
	}
	return out
}

func cookieName(c string) string {
	name, _, _ := strings.Cut(c, "=")
	return strings.TrimSpace(name)
}

// language is the first language of the list, without hyphens, four characters.
func language(value string) string {
	value = strings.ToLower(strings.NewReplacer("-", "", ";", ",").Replace(value))
	first, _, _ := strings.Cut(value, ",")
	return (strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return -1
		}
		return r
	}, first) + "0000")[:4]
}

// short is the first 12 hex digits of SHA-256 over the list joined by commas, zeros for an empty list.
func short(list []string) string {
	if len(list) == 0 {
		return "000000000000"
	}
	sum := sha256.Sum256([]byte(strings.Join(list, ",")))
	return hex.EncodeToString(sum[:6])
}
