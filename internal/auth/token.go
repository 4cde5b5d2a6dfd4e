package auth

import (
	"crypto/sha256"
	"errors"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/secretbox"
)

const (
	issuer    = "decnet"
	audience  = "decnet-dashboard"
	tokenType = "access"

	// DefaultTokenLife is how long an access token lasts unless configured.
	DefaultTokenLife = 240 * time.Minute

	// apiTokenPrefix tells API tokens from access tokens, and secret scanners what they found.
	apiTokenPrefix = "decnet_"
	// apiTokenBytes of randomness cannot be guessed, so one SHA-256 is hash enough.
	apiTokenBytes = 32
)

// Claims are what an access token says.
type Claims struct {
	UserID     uuid.UUID
	ID         uuid.UUID // jti
	IssuedAt   time.Time
	ExpiresAt  time.Time
	Generation int
}

// wireClaims is the JSON form. The user's id is in both sub and uuid, for clients of either convention.
type wireClaims struct {
	UUID       string `json:"uuid"`
	Type       string `json:"typ"`
	Generation int    `json:"gen"`
	jwt.RegisteredClaims
}

// Signer makes and reads access tokens: JWT with HS256 (RFC 7518 section 3.2) and no other algorithm.
type Signer struct {
	key  []byte
	life time.Duration
}

// NewSigner returns a signer whose secret is derived from the installation key. A life of 0 means DefaultTokenLife.
func NewSigner(installationKey []byte, life time.Duration) *Signer {
	if life <= 0 {
		life = DefaultTokenLife
	}
	return &Signer{key: secretbox.Derive(installationKey, "jwt"), life: life}
}

// Issue returns a token for the user as the user is now. now should be the database's clock, by which it is judged.
func (s *Signer) Issue(u User, now time.Time) (string, error) {
	claims := wireClaims{
		UUID: u.ID.String(), Type: tokenType, Generation: u.TokenGeneration,
		RegisteredClaims: jwt.RegisteredClaims{
			Subject: u.ID.String(), ID: uuid.NewString(), Issuer: issuer, Audience: jwt.ClaimStrings{audience},
			IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(s.life)),
		},
	}
	return jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(s.key)
}

// Parse returns what a token of this installation says. It does not look at the clock: Claims.Check does. Every failure
// is the same Unauthorized fault.
func (s *Signer) Parse(token string) (Claims, error) {
	var wire wireClaims
	parser := jwt.NewParser(jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}), jwt.WithoutClaimsValidation())
	_, err := parser.ParseWithClaims(token, &wire, func(*jwt.Token) (any, error) { return s.key, nil })
	if err != nil {
		return Claims{}, BadToken().Wrap(err)
	}
	return wire.check()
}

var errClaims = errors.New("a required claim is missing or wrong")

func (w wireClaims) check() (Claims, error) {
	user, userErr := uuid.Parse(w.UUID)
	id, idErr := uuid.Parse(w.ID)
	complete := userErr == nil && idErr == nil && w.Subject == w.UUID && w.Issuer == issuer && w.Type == tokenType &&
		len(w.Audience) == 1 && w.Audience[0] == audience && w.IssuedAt != nil && w.ExpiresAt != nil
	if !complete {
		return Claims{}, BadToken().Wrap(errClaims)
	}
	return Claims{UserID: user, ID: id, IssuedAt: w.IssuedAt.Time, ExpiresAt: w.ExpiresAt.Time, Generation: w.Generation}, nil
}

// clockSkew is by how much a token may come from the future.
const clockSkew = 5 * time.Second

// Check returns an Unauthorized fault unless the token is good for the user now. A token of the very second in which
// older ones were invalidated lives when its generation is the user's.
func (c Claims) Check(u User, now time.Time) error {
	switch {
	case !now.Before(c.ExpiresAt),
		c.IssuedAt.After(now.Add(clockSkew)),
		c.IssuedAt.Before(u.TokensValidFrom.Truncate(time.Second)),
		c.Generation != u.TokenGeneration:
		return BadToken()
	}
	return nil
}

// BadToken is the fault for every credential that does not let its bearer in; it does not say why.
func BadToken() *fault.Error {
	return fault.New(fault.Unauthorized, "unauthorized", "the credentials are missing, wrong or no longer valid")
}

// NewAPIToken returns a random API token, to be shown once, and the hash to store.
func NewAPIToken() (token string, hash []byte, err error) {
	text, err := randomText(apiTokenBytes)
	if err != nil {
		return "", nil, err
	}
	token = apiTokenPrefix + text
	return token, HashAPIToken(token), nil
}

// IsAPIToken reports whether a bearer credential has the form of an API token.
func IsAPIToken(s string) bool { return strings.HasPrefix(s, apiTokenPrefix) }

// HashAPIToken returns the digest by which a token is found.
func HashAPIToken(token string) []byte {
	h := sha256.Sum256([]byte(token))
	return h[:]
}
