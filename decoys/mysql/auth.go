package mysql

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"encoding/hex"
	"fmt"

	"github.com/decnet/decnet/decoys/eventlog"
	"github.com/decnet/decnet/decoys/tcp"
)

const (
	nativeBytes = 20
	sha2Bytes   = 32
	maxUser     = 48 // of a name in an error
	maxLogged   = 256
	maxAttr     = 128

	moreData      = 0x01
	requestKey    = 0x02
	fullAuth      = 0x04
	switchRequest = 0xfe
)

// attempt is one login, with the best that is known of its secret so far: a password is better than a response to a challenge.
type attempt struct {
	login  login
	plugin string
	kind   string
	secret []byte
	salt   []byte // of a response
}

// keep remembers a response, when there is one.
func (a *attempt) keep(plugin string, response, salt []byte) {
	switch {
	case plugin == pluginNative && len(response) == nativeBytes, plugin == pluginSHA2 && len(response) == sha2Bytes:
		a.kind, a.secret, a.salt = plugin, response, salt
	case plugin == pluginClear:
		a.clear(response)
	}
}

func (a *attempt) clear(password []byte) {
	if password = bytes.TrimSuffix(password, []byte{0}); len(password) > 0 {
		a.kind, a.secret, a.salt = "plaintext", password, nil
	}
}

// authenticate goes through what the account's plugin asks for, and refuses. Whatever way it ends, the login is reported, and before
// the client hears of it.
func (c *client) authenticate(ctx context.Context, l login, salt []byte) {
	a := &attempt{login: l, plugin: c.s.release.plugin()}
	f, err := c.exchange(a, salt)
	c.report(a)
	if err != nil {
		c.broken(ctx, err)
		return
	}
	c.fail(ctx, f)
}

func (c *client) exchange(a *attempt, salt []byte) (failure, error) {
	offered, response := a.login.plugin, a.login.response
	if a.login.caps&capPluginAuth == 0 {
		offered = pluginNative
	}
	a.keep(offered, response, salt)
	if offered != a.plugin {
		if a.login.caps&capPluginAuth == 0 {
			return c.s.unsupported(), nil
		}
		salt = c.s.release.newSalt()
		p := append(append([]byte{switchRequest}, a.plugin...), 0)
		if err := c.write(append(append(p, salt...), 0)); err != nil {
			return failure{}, err
		}
		var err error
		if response, err = c.read(); err != nil {
			return failure{}, err
		}
		a.keep(a.plugin, response, salt)
	}
	if a.plugin == pluginSHA2 {
		return c.sha2(a, response, salt)
	}
	if n := len(response); n != 0 && n != nativeBytes {
		return badHandshake, nil
	}
	return c.denied(a.login.user, len(response) > 0), nil
}

// sha2 is the full exchange of an account whose password is not in the server's cache, which yields the password itself.
func (c *client) sha2(a *attempt, response, salt []byte) (failure, error) {
	denied := c.denied(a.login.user, true)
	switch {
	case len(response) == 0, len(response) == 1 && response[0] == 0:
		return c.denied(a.login.user, false), nil
	case len(response) != sha2Bytes:
		return denied, nil
	}
	if err := c.write([]byte{moreData, fullAuth}); err != nil {
		return failure{}, err
	}
	answer, err := c.read()
	if err == nil && !c.secure && bytes.Equal(answer, []byte{requestKey}) {
		answer, err = c.sendKey()
	}
	if err != nil {
		return failure{}, err
	}
	if c.secure {
		a.clear(answer)
	} else if password, ok := c.decrypt(answer, salt); ok {
		a.clear(password)
	}
	return denied, nil
}

// sendKey answers a request for the public key and returns what the client encrypted with it.
func (c *client) sendKey() ([]byte, error) {
	k, err := c.s.keys.password()
	if err != nil {
		return nil, err
	}
	if err := c.write(append([]byte{moreData}, k.public...)); err != nil {
		return nil, err
	}
	return c.read()
}

// decrypt recovers a password, which the client mixed with the salt.
func (c *client) decrypt(answer, salt []byte) ([]byte, bool) {
	k, err := c.s.keys.password()
	if err != nil || len(answer) != k.private.Size() {
		return nil, false
	}
	p, err := rsa.DecryptOAEP(sha1.New(), rand.Reader, k.private, answer, nil)
	if err != nil {
		return nil, false
	}
	for i := range p {
		p[i] ^= salt[i%saltBytes]
	}
	return p, true
}

func (c *client) denied(user string, withPassword bool) failure {
	using := map[bool]string{true: "YES", false: "NO"}[withPassword]
	return failure{1045, "28000", fmt.Sprintf("Access denied for user '%s'@'%s' (using password: %s)", user[:min(len(user), maxUser)], c.Src, using)}
}

func (c *client) report(a *attempt) {
	l := a.login
	fields := []eventlog.Field{eventlog.F("src_port", c.Port), eventlog.Int("connection_id", c.id), eventlog.F("username", cut(l.user, maxLogged))}
	if l.user != "" {
		fields = append(fields, eventlog.F("principal", cut(l.user, maxLogged)))
	}
	fields = append(fields, eventlog.F("plugin", a.plugin), eventlog.F("tls", map[bool]string{true: "true", false: "false"}[c.secure]))
	for _, f := range []eventlog.Field{
		eventlog.F("client_plugin", l.plugin), eventlog.F("database", l.database),
		eventlog.F("program_name", l.attr("program_name")), eventlog.F("client_name", l.attr("_client_name")), eventlog.F("client_version", l.attr("_client_version")),
		eventlog.F("client_os", l.attr("_os")), eventlog.F("client_platform", l.attr("_platform")),
	} {
		if f.Value != "" {
			fields = append(fields, eventlog.F(f.Key, cut(f.Value, maxAttr)))
		}
	}
	if a.salt != nil {
		fields = append(fields, eventlog.F("salt", hex.EncodeToString(a.salt)))
	}
	if a.kind == "plaintext" {
		fields = append(fields, tcp.Secret(a.kind, string(a.secret))...)
	} else {
		fields = append(fields, tcp.Digest(a.kind, a.secret)...)
	}
	c.Emit("auth", fields...)
}

func cut(s string, n int) string { return s[:min(len(s), n)] }
