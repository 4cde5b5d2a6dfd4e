package auth

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"unicode/utf8"

	"golang.org/x/crypto/bcrypt"
)

const (
	// bcryptCost makes one guess take a quarter of a second on a server of 2025.
	bcryptCost = 12
	// MinPasswordBytes is the least a new password may have.
	MinPasswordBytes = 12
	// MaxPasswordBytes is what bcrypt looks at; more would be ignored silently, so it is refused.
	MaxPasswordBytes = 72
	// generatedBytes of randomness make 24 characters.
	generatedBytes = 18
)

// nobodysHash is compared with when there is no user, so that the answer takes as long as for one who exists.
const nobodysHash = "$2a$12$dxSrpJ/LS8FSBXBT//d0TuVAg2dbqIqL5wYHno2CrC0oWaKS22CNe"

// CheckPassword returns an Unprocessable fault (password_invalid) that names field unless p may become a password.
func CheckPassword(field, p string) error {
	switch {
	case !utf8.ValidString(p):
		return refuse(field, "password_invalid", "must be valid UTF-8")
	case len(p) < MinPasswordBytes:
		return refuse(field, "password_invalid", fmt.Sprintf("must have at least %d bytes", MinPasswordBytes))
	case len(p) > MaxPasswordBytes:
		return refuse(field, "password_invalid", fmt.Sprintf("must have at most %d bytes", MaxPasswordBytes))
	}
	return nil
}

// HashPassword returns the bcrypt hash of a password that passed CheckPassword.
func HashPassword(p string) (string, error) {
	h, err := bcrypt.GenerateFromPassword([]byte(p), bcryptCost)
	if err != nil {
		return "", fmt.Errorf("hash password: %w", err)
	}
	return string(h), nil
}

// VerifyPassword reports whether p belongs to hash. An empty hash stands for a user who does not exist: it takes as long
// and is never right.
func VerifyPassword(hash, p string) bool {
	known := hash != ""
	if !known {
		hash = nobodysHash
	}
	fits := len(p) <= MaxPasswordBytes
	if !fits {
		p = p[:MaxPasswordBytes]
	}
	return bcrypt.CompareHashAndPassword([]byte(hash), []byte(p)) == nil && known && fits
}

// GeneratePassword returns a random password of 24 characters.
func GeneratePassword() (string, error) { return randomText(generatedBytes) }

func randomText(n int) (string, error) {
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		return "", fmt.Errorf("read randomness: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(b), nil
}
