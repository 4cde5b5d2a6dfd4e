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

	"golang.org/x/crypto/ssh"
)

const rsaBits = 3072

// hostKeys loads the keys of this decky from its state directory, making those that are missing.
func hostKeys(state *os.Root) (map[string]ssh.AlgorithmSigner, error) {
	out := map[string]ssh.AlgorithmSigner{}
	for name, make := range map[string]func() (crypto.Signer, error){
		"rsa":     func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, rsaBits) },
		"ecdsa":   func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) },
		"ed25519": func() (crypto.Signer, error) { _, k, err := ed25519.GenerateKey(rand.Reader); return k, err },
	} {
		s, err := hostKey(state, "host_"+name+"_key", make)
		if err != nil {
			return nil, fmt.Errorf("host key %s: %w", name, err)
		}
		out[s.PublicKey().Type()] = s
	}
	return out, nil
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
