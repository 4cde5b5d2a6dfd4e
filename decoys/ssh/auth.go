package ssh

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/decnet/decnet/decoys/eventlog"
	"github.com/decnet/decnet/decoys/session"
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
			session.Attempt(c.s.o.Log, c.client(m.User()), "publickey", eventlog.F("fingerprint", ssh.FingerprintSHA256(k)), eventlog.F("key_type", k.Type()))
			return nil, errDenied
		},
	}
	addHostKeys(sc, c.s.keys, p.hostKeys)
	return sc
}

func (c *conn) client(user string) session.Client {
	return session.Client{Src: c.src, Port: c.port, User: user, PID: c.pid}
}

// password reports the attempt first and then decides, slowly when the answer is no.
func (c *conn) password(ctx context.Context, user string, pw []byte, method string) (*ssh.Permissions, error) {
	ok := c.s.o.Config.Accepts(user, pw)
	session.PasswordAttempt(c.s.o.Log, c.client(user), method, pw, ok)
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
