package http

import (
	"encoding/base64"
	"net/url"
	"slices"
	"strings"
)

const maxFormBytes = 4096

// Credential is what a request tries to log in with. A nil Principal means that the scheme names none.
type Credential struct {
	Principal *string
	Kind      string
	Secret    string
}

var (
	secretKeys = []string{"password", "pass", "pwd", "passwd", "passwort", "mot_de_passe", "user_password", "pma_password", "j_password"}
	userKeys   = []string{"username", "user", "email", "login", "userid", "account", "log", "user_login", "uname", "pma_username", "j_username"}
)

// credential looks at the Authorization header, then at a form.
func (r *request) credential() (Credential, bool) {
	if a := r.get("Authorization"); a != "" {
		if c, ok := FromAuthorization(a); ok {
			return c, true
		}
	}
	mime, _, _ := strings.Cut(r.get("Content-Type"), ";")
	if !strings.EqualFold(strings.TrimSpace(mime), "application/x-www-form-urlencoded") {
		return Credential{}, false
	}
	return FromForm(string(r.body[:min(len(r.body), maxFormBytes)]))
}

// FromAuthorization reads an Authorization header of the schemes Basic, Bearer, Token and Digest.
func FromAuthorization(value string) (Credential, bool) {
	scheme, rest, _ := strings.Cut(strings.TrimSpace(value), " ")
	rest = strings.TrimSpace(rest)
	switch strings.ToLower(scheme) {
	case "basic":
		raw, err := base64.StdEncoding.Strict().DecodeString(rest)
		user, secret, ok := strings.Cut(string(raw), ":")
		if err != nil || !ok || strings.ContainsAny(rest, "\r\n") {
			return Credential{}, false
		}
		return Credential{Principal: &user, Kind: "plaintext", Secret: secret}, true
	case "bearer", "token":
		return Credential{Kind: "http_bearer", Secret: rest}, rest != ""
	case "digest":
		p := digestParams(rest)
		user := p["username"]
		return Credential{Principal: &user, Kind: "http_digest_md5", Secret: p["response"]}, p["response"] != ""
	}
	return Credential{}, false
}

// digestParams reads comma-separated name=value pairs whose values may be quoted.
func digestParams(s string) map[string]string {
	out := map[string]string{}
	for s != "" && len(out) < 32 {
		name, rest, ok := strings.Cut(s, "=")
		if !ok {
			break
		}
		name = strings.ToLower(strings.Trim(name, ", \t"))
		var value string
		if rest = strings.TrimLeft(rest, " \t"); strings.HasPrefix(rest, `"`) {
			value, rest = quoted(rest[1:])
		} else {
			value, rest, _ = strings.Cut(rest, ",")
			value = strings.TrimSpace(value)
		}
		if _, seen := out[name]; !seen {
			out[name] = value
		}
		s = strings.TrimLeft(rest, ", \t")
	}
	return out
}

// quoted reads up to the closing quote.
func quoted(s string) (value, rest string) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		case s[i] == '"':
			return b.String(), s[i+1:]
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), ""
}

// FromForm reads a URL-encoded form: keys in any case, the first value wins. Without a secret there is no credential.
func FromForm(body string) (Credential, bool) {
	values := formValues(body)
	i := slices.IndexFunc(secretKeys, func(k string) bool { _, ok := values[k]; return ok })
	if i < 0 {
		return Credential{}, false
	}
	c := Credential{Kind: "plaintext", Secret: values[secretKeys[i]]}
	for _, k := range userKeys {
		if user, ok := values[k]; ok {
			c.Principal = &user
			break
		}
	}
	return c, true
}

// formValues decodes leniently: what cannot be unescaped stays as it is.
func formValues(body string) map[string]string {
	values := map[string]string{}
	for pair := range strings.SplitSeq(body, "&") {
		k, v, _ := strings.Cut(pair, "=")
		k = strings.ToLower(unescape(k))
		if _, seen := values[k]; !seen {
			values[k] = unescape(v)
		}
	}
	return values
}

func unescape(s string) string {
	if u, err := url.QueryUnescape(s); err == nil {
		return u
	}
	return s
}
