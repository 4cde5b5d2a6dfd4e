package ssh

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"math/rand/v2"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/decnet/decnet/decoys/eventlog"
)

var errDenied = errors.New("permission denied")

// config is made per connection, because the callbacks need its context.
func (c *conn) config(ctx context.Context) *ssh.ServerConfig {
	p := c.s.profile
	sc := &ssh.ServerConfig{
		Config:                  ssh.Config{KeyExchanges: p.kex, Ciphers: p.ciphers, MACs: p.macs},
		PublicKeyAuthAlgorithms: publicKeyAlgorithms,
		MaxAuthTries:            maxAuthTries,
		ServerVersion:           c.s.o.Machine.Host.SSH.Banner,
		PasswordCallback: func(m ssh.ConnMetadata, pw []byte) (*ssh.Permissions, error) {
			return c.password(ctx, m.User(), pw, "password")
		},
		KeyboardInteractiveCallback: func(m ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
			a, err := ask("", "", []string{"Password: "}, []bool{false})
			if err != nil || len(a) != 1 {
				return nil, errDenied
			}
			return c.password(ctx, m.User(), []byte(a[0]), "keyboard-interactive")
		},
		PublicKeyCallback: func(m ssh.ConnMetadata, k ssh.PublicKey) (*ssh.Permissions, error) {
			user := bound(m.User())
			c.attempt(user, eventlog.F("method", "publickey"), eventlog.F("fingerprint", ssh.FingerprintSHA256(k)), eventlog.F("key_type", k.Type()))
			return nil, errDenied
		},
	}
	addHostKeys(sc, c.s.keys, p.hostKeys)
	return sc
}

func bound(user string) string { return user[:min(len(user), 255)] }

// attempt writes the event of a login attempt.
func (c *conn) attempt(user string, more ...eventlog.Field) {
	fields := append([]eventlog.Field{
		eventlog.F("username", user), eventlog.F("principal", user), eventlog.F("src_ip", c.src), eventlog.F("src_port", c.port),
	}, more...)
	c.s.o.Log.Emit(eventlog.Event{App: "auth-helper", MsgID: "auth_attempt", Fields: fields})
}

// password reports the attempt first and then decides, slowly when the answer is no.
func (c *conn) password(ctx context.Context, user string, pw []byte, method string) (*ssh.Permissions, error) {
	secret := pw
	if i := bytes.IndexByte(secret, 0); i >= 0 {
		secret = secret[:i]
	}
	secret = secret[:min(len(secret), maxSecretBytes)]
	ok := c.s.accepts(user, pw)
	fields := []eventlog.Field{eventlog.F("method", method)}
	if len(secret) > 0 {
		fields = append(fields, eventlog.F("secret_printable", printable(secret)), eventlog.F("secret_b64", base64.StdEncoding.EncodeToString(secret)))
	}
	outcome := "failure"
	if ok {
		outcome = "success"
	}
	c.attempt(bound(user), append(fields, eventlog.F("outcome", outcome))...)
	delay := c.s.o.FailDelay()
	if ok {
		delay = 20*time.Millisecond + rand.N(60*time.Millisecond)
	}
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if !ok {
		return nil, errDenied
	}
	return &ssh.Permissions{}, nil
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

// accepts knows two accounts. An empty configured password never matches.
func (s *Server) accepts(user string, pw []byte) bool {
	want := ""
	switch {
	case user == "root":
		want = s.o.Config.Password
	case user == s.o.Config.User && user != "":
		want = s.o.Config.UserPassword
	}
	return want != "" && subtle.ConstantTimeCompare([]byte(want), pw) == 1
}
