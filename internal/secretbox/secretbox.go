// Package secretbox seals values that must not be readable in the database with the installation's key.
//
// XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03) with a random nonce in front; the context a value belongs to is
// authenticated, so a sealed value cannot be moved to another row.
package secretbox

import (
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"
)

// KeyBytes is the length of an installation key.
const KeyBytes = chacha20poly1305.KeySize

// Box seals and opens values. It is safe for concurrent use.
type Box struct {
	aead cipher.AEAD
	mac  []byte
}

// New returns a box for a key of exactly KeyBytes bytes.
func New(key []byte) (*Box, error) {
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return nil, fmt.Errorf("installation key: %w", err)
	}
	return &Box{aead: aead, mac: derive(key, "request hash")}, nil
}

// Derive returns a 32-byte key for another purpose, made from the installation key (HMAC-SHA-256 of the label).
func Derive(key []byte, label string) []byte { return derive(key, label) }

func derive(key []byte, label string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(label))
	return h.Sum(nil)
}

// Seal returns plain encrypted and bound to context.
func (b *Box) Seal(plain []byte, context string) ([]byte, error) {
	nonce := make([]byte, b.aead.NonceSize(), b.aead.NonceSize()+len(plain)+b.aead.Overhead())
	if _, err := rand.Read(nonce); err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return b.aead.Seal(nonce, nonce, plain, []byte(context)), nil
}

// Open returns what Seal was given, or an error when the value, the context or the key is another one.
func (b *Box) Open(sealed []byte, context string) ([]byte, error) {
	n := b.aead.NonceSize()
	if len(sealed) < n {
		return nil, fmt.Errorf("open: %d bytes are too short for a sealed value", len(sealed))
	}
	plain, err := b.aead.Open(nil, sealed[:n], sealed[n:], []byte(context))
	if err != nil {
		return nil, fmt.Errorf("open: wrong installation key or damaged value: %w", err)
	}
	return plain, nil
}

// Hash returns a keyed digest (HMAC-SHA-256) of data, so that equal requests can be told without revealing guessable ones.
func (b *Box) Hash(data []byte) []byte {
	h := hmac.New(sha256.New, b.mac)
	h.Write(data)
	return h.Sum(nil)
}
