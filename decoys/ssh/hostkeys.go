package ssh

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/crypto/ssh"
)

const rsaBits = 3072

// hostKeys loads the keys of this decky from its state directory, making those that are missing. The RSA key, which takes
// long to make, is offered at once and made when a client first picks it, or when Server.Serve finds the time.
func hostKeys(state *os.Root) (map[string]ssh.AlgorithmSigner, *lateKey, error) {
	late := &lateKey{state: state}
	out := map[string]ssh.AlgorithmSigner{ssh.KeyAlgoRSA: late}
	for name, make := range map[string]func() (crypto.Signer, error){
		"ecdsa":   func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) },
		"ed25519": func() (crypto.Signer, error) { _, k, err := ed25519.GenerateKey(rand.Reader); return k, err },
	} {
		s, err := hostKey(state, "host_"+name+"_key", make)
		if err != nil {
			return nil, nil, fmt.Errorf("host key %s: %w", name, err)
		}
		out[s.PublicKey().Type()] = s
	}
	if _, err := state.Stat(rsaKeyFile); err == nil {
		if _, err := late.signer(); err != nil {
			return nil, nil, fmt.Errorf("host key rsa: %w", err)
		}
	}
	return out, late, nil
}

const rsaKeyFile = "host_rsa_key"

// lateKey is the RSA key, loaded or made at its first use. It is safe for concurrent use.
type lateKey struct {
	state *os.Root
	once  sync.Once
	key   ssh.AlgorithmSigner
	err   error
}

func (l *lateKey) signer() (ssh.AlgorithmSigner, error) {
	l.once.Do(func() {
		l.key, l.err = hostKey(l.state, rsaKeyFile, func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, rsaBits) })
	})
	return l.key, l.err
}

// PublicKey implements ssh.Signer; only its Type is to be had without the key.
func (l *lateKey) PublicKey() ssh.PublicKey { return latePublicKey{l} }

// Sign implements ssh.Signer.
func (l *lateKey) Sign(r io.Reader, data []byte) (*ssh.Signature, error) {
	return l.SignWithAlgorithm(r, data, ssh.KeyAlgoRSA)
}

// SignWithAlgorithm implements ssh.AlgorithmSigner.
func (l *lateKey) SignWithAlgorithm(r io.Reader, data []byte, algorithm string) (*ssh.Signature, error) {
	key, err := l.signer()
	if err != nil {
		return nil, err
	}
	return key.SignWithAlgorithm(r, data, algorithm)
}

type latePublicKey struct{ late *lateKey }

func (k latePublicKey) Type() string { return ssh.KeyAlgoRSA }

// Marshal returns nothing when the key cannot be made: the client then ends the exchange.
func (k latePublicKey) Marshal() []byte {
	key, err := k.late.signer()
	if err != nil {
		return nil
	}
	return key.PublicKey().Marshal()
}

func (k latePublicKey) Verify(data []byte, sig *ssh.Signature) error {
	key, err := k.late.signer()
	if err != nil {
		return err
	}
	return key.PublicKey().Verify(data, sig)
}

func hostKey(state *os.Root, name string, generate func() (crypto.Signer, error)) (ssh.AlgorithmSigner, error) {
	raw, err := state.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		raw, err = makeKey(state, name, generate)
	}
	if err != nil {
		return nil, err
	}
	s, err := ssh.ParsePrivateKey(raw)
	if err != nil {
		return nil, err
	}
	as, ok := s.(ssh.AlgorithmSigner)
	if !ok {
		return nil, errors.New("unsupported key type")
	}
	return as, nil
}

// makeKey writes to a temporary name first, so that a crash never leaves half a key.
func makeKey(state *os.Root, name string, generate func() (crypto.Signer, error)) ([]byte, error) {
	k, err := generate()
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(k, "")
	if err != nil {
		return nil, err
	}
	raw := pem.EncodeToMemory(block)
	f, err := state.OpenFile(name+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	if _, err = f.Write(raw); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = state.Rename(name+".new", name)
	}
	return raw, err
}

// oneAlgorithm offers a key under exactly one signature algorithm. The transport lists the algorithms of an RSA key in an
// order of its own; with one signer per algorithm the order is ours.
type oneAlgorithm struct {
	ssh.AlgorithmSigner
	algorithm string
}

func (o oneAlgorithm) PublicKey() ssh.PublicKey {
	return namedKey{o.AlgorithmSigner.PublicKey(), o.algorithm}
}

func (o oneAlgorithm) Sign(r io.Reader, data []byte) (*ssh.Signature, error) {
	return o.SignWithAlgorithm(r, data, o.algorithm)
}

type namedKey struct {
	ssh.PublicKey
	name string
}

func (k namedKey) Type() string { return k.name }

func addHostKeys(c *ssh.ServerConfig, keys map[string]ssh.AlgorithmSigner, algorithms []string) {
	for _, a := range algorithms {
		kind := a
		if a == rsa512 || a == rsa256 {
			kind = ssh.KeyAlgoRSA
		}
		if k, ok := keys[kind]; ok {
			if kind == ssh.KeyAlgoRSA && a == ssh.KeyAlgoRSA {
				c.AddHostKey(onlySHA1{k})
				continue
			}
			c.AddHostKey(oneAlgorithm{k, a})
		}
	}
}

// onlySHA1 is the RSA key under its old name alone.
type onlySHA1 struct{ ssh.AlgorithmSigner }

// Algorithms implements ssh.MultiAlgorithmSigner.
func (onlySHA1) Algorithms() []string { return []string{ssh.KeyAlgoRSA} }
