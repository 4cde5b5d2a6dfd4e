// Package auth holds the rules of who may act: user names, roles, passwords, access tokens (JWT) and API tokens, and the
// first admin of an installation. It stores nothing itself and knows nothing of HTTP.
//
// The invariant: a password or a token is never part of an error, a log line or a stored value, only its hash is.
package auth

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/decnet/decnet/internal/fault"
)

// Role says what an account may do. Each role may do what the ones before it may.
type Role string

// The roles, weakest first.
const (
	Viewer   Role = "viewer"
	Operator Role = "operator"
	Admin    Role = "admin"
)

// Roles returns every role, weakest first.
func Roles() []Role { return []Role{Viewer, Operator, Admin} }

// Allows reports whether r may do what needs the given role. An unknown role allows nothing.
func (r Role) Allows(needed Role) bool {
	have, want := slices.Index(Roles(), r), slices.Index(Roles(), needed)
	return want >= 0 && have >= want
}

// Weaker returns the role that may do less.
func (r Role) Weaker(other Role) Role {
	if r.Allows(other) {
		return other
	}
	return r
}

// User is an account with a password.
type User struct {
	ID                 uuid.UUID
	Username           string
	PasswordHash       string
	Role               Role
	MustChangePassword bool
	// TokensValidFrom and TokenGeneration change together whenever older access tokens must die.
	TokensValidFrom time.Time
	TokenGeneration int
	CreatedAt       time.Time
}

// APIToken is a long-lived credential of a program. It dies with the user who made it.
type APIToken struct {
	ID         uuid.UUID
	Name       string
	Role       Role
	Hash       []byte
	CreatedBy  uuid.UUID
	Owner      string // user name of CreatedBy, set when read
	OwnerRole  Role   // role of CreatedBy, set when read
	CreatedAt  time.Time
	ExpiresAt  *time.Time
	LastUsedAt *time.Time
}

// Effective returns the role the token has now: never more than its owner's.
func (t APIToken) Effective() Role { return t.Role.Weaker(t.OwnerRole) }

// tokenActor precedes the name of an API token where an actor is recorded; no user name contains a colon.
const tokenActor = "token:"

// Actor returns the name under which the token's doings are recorded.
func (t APIToken) Actor() string { return tokenActor + t.Name }

// NamePattern is what user and token names look like.
const NamePattern = `^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`

var (
	namePattern = regexp.MustCompile(NamePattern)
	// reserved are the actors of changes that no user asked for.
	reserved = []string{"system", "observer", "recovery", "expiry", "temporal-cli"}
)

// ValidName reports whether s has the form of a user or token name.
func ValidName(s string) bool { return namePattern.MatchString(s) }

// CheckUsername returns an Unprocessable fault (username_invalid) unless name may be given to a user.
func CheckUsername(name string) error {
	switch {
	case !ValidName(name):
		return refuse("username", "username_invalid", "must start with a letter or digit and hold only those and . _ -, at most 63")
	case slices.Contains(reserved, strings.ToLower(name)):
		return refuse("username", "username_invalid", "is reserved")
	}
	return nil
}

func refuse(field, code, why string) error {
	return fault.New(fault.Unprocessable, code, "the %s %s", strings.ReplaceAll(field, "_", " "), why).
		With(fault.Field{Location: "body." + field, Message: why})
}
