package session

import (
	"bytes"
	"encoding/base64"

	"github.com/decnet/decnet/decoys/eventlog"
)

// Limits of what a login attempt leaves in an event.
const (
	maxUserText    = 255
	maxSecretBytes = 1024
)

// Attempt reports a login attempt by other means than a password. It is an event of the hook that the pretended host calls before it
// looks at the secret.
func Attempt(log *eventlog.Log, c Client, method string, more ...eventlog.Field) {
	user := c.User[:min(len(c.User), maxUserText)]
	fields := []eventlog.Field{
		eventlog.F("username", user), eventlog.F("principal", user), eventlog.F("src_ip", c.Src), eventlog.F("src_port", c.Port), eventlog.F("method", method),
	}
	log.Emit(eventlog.Event{App: "auth-helper", MsgID: "auth_attempt", Fields: append(fields, more...)})
}

// PasswordAttempt reports a login attempt with a password. What follows a NUL byte or exceeds 1 KiB is left out, and so are the
// fields of an empty password, which is no credential.
func PasswordAttempt(log *eventlog.Log, c Client, method string, password []byte, ok bool) {
	secret, _, _ := bytes.Cut(password, []byte{0})
	secret = secret[:min(len(secret), maxSecretBytes)]
	var fields []eventlog.Field
	if len(secret) > 0 {
		fields = append(fields, eventlog.F("secret_printable", printable(secret)), eventlog.F("secret_b64", base64.StdEncoding.EncodeToString(secret)))
	}
	outcome := "failure"
	if ok {
		outcome = "success"
	}
	Attempt(log, c, method, append(fields, eventlog.F("outcome", outcome))...)
}

// printable shows bytes outside the printable range as question marks.
func printable(b []byte) string {
	out := bytes.Clone(b)
	for i, v := range out {
		if v < 0x20 || v > 0x7e {
			out[i] = '?'
		}
	}
	return string(out)
}
