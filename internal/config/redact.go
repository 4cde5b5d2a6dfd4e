package config

import (
	"net/url"
	"strings"
)

// redactURLs masks what grants access in a comma-separated list of URLs: a password, a user without a password (a
// NATS token) and every query value whose name speaks of a secret. What cannot be parsed is masked whole.
func redactURLs(list string) string {
	if list == "" {
		return ""
	}
	parts := strings.Split(list, ",")
	for i, p := range parts {
		parts[i] = redactURL(strings.TrimSpace(p))
	}
	return strings.Join(parts, ",")
}

func redactURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme == "" || u.Opaque != "" {
		return mask
	}
	u.User = redactUser(u)
	u.Fragment = ""
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return mask
	}
	for name := range q {
		if secretName(name) {
			q.Set(name, mask)
		}
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// redactUser keeps the name of a Postgres role; everywhere else a lone user is a token.
func redactUser(u *url.URL) *url.Userinfo {
	if u.User == nil {
		return nil
	}
	_, hasPassword := u.User.Password()
	switch {
	case hasPassword:
		return url.UserPassword(u.User.Username(), mask)
	case strings.HasPrefix(u.Scheme, "postgres"):
		return u.User
	default:
		return url.User(mask)
	}
}

func secretName(name string) bool {
	name = strings.ToLower(name)
	for _, word := range []string{"pass", "token", "secret", "key"} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}
