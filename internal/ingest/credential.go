package ingest

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"unicode/utf8"
)

// Cuts of a credential, in characters (bus sheet 5.7).
const (
	maxPrincipal       = 256
	maxSecretB64       = 2048
	maxSecretPrintable = 512
	maxSecretKind      = 64
	maxOutcome         = 32
	defaultSecretKind  = "plaintext"
)

// credential is rule 1. An empty secret is a secret; `username` and `password` alone are none.
func (e *extraction) credential() {
	b64, ok := e.fields.Lookup("secret_b64")
	if !ok {
		return
	}
	secret, ok := decodeSecret(b64)
	if !ok {
		e.problem("credential", "secret_b64 is no base64")
		return
	}
	sum := sha256.Sum256(secret)
	principal, ok := e.fields.Lookup("principal")
	if !ok {
		principal = e.fields.Get("username")
	}
	kind := e.fields.Get("secret_kind")
	if kind == "" {
		kind = defaultSecretKind
	}
	c := Credential{
		Attacker: e.Event.Attacker, DeckyKey: e.Event.Source.DeckyKey, DeckyName: e.Event.Source.DeckyName, Service: e.Event.Service,
		Principal: cutRunes(principal, maxPrincipal), SecretKind: cutRunes(kind, maxSecretKind),
		SecretPrintable: cutRunes(e.fields.Get("secret_printable"), maxSecretPrintable),
		SecretB64:       b64[:min(len(b64), maxSecretB64)], SecretSHA256: hex.EncodeToString(sum[:]),
		Outcome: cutRunes(e.fields.Get("outcome"), maxOutcome),
	}
	c.Key = keyOf(c.Attacker.String(), c.DeckyKey, c.Service, c.SecretKind, c.SecretSHA256, c.Principal)
	e.Credentials = append(e.Credentials, c)
}

func decodeSecret(b64 string) ([]byte, bool) {
	if strings.ContainsAny(b64, "\r\n") { // which the decoder would skip
		return nil, false
	}
	secret, err := base64.StdEncoding.Strict().DecodeString(b64)
	return secret, err == nil
}

// cutRunes cuts s after n characters.
func cutRunes(s string, n int) string {
	if len(s) <= n || utf8.RuneCountInString(s) <= n {
		return s
	}
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}
