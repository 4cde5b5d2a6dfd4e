package auth_test

import (
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"github.com/decnet/decnet/internal/auth"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/secretbox"
)

var installationKey = []byte(strings.Repeat("k", secretbox.KeyBytes))

func TestRole_Allows(t *testing.T) {
	t.Parallel()
	require.True(t, auth.Admin.Allows(auth.Operator))
	require.True(t, auth.Viewer.Allows(auth.Viewer))
	require.False(t, auth.Viewer.Allows(auth.Operator))
	require.False(t, auth.Role("root").Allows(auth.Viewer))
	require.False(t, auth.Admin.Allows("root"))
	require.Equal(t, auth.Viewer, auth.Admin.Weaker(auth.Viewer))
	require.Equal(t, auth.Viewer, auth.Viewer.Weaker(auth.Admin))
	require.Equal(t, auth.Viewer, auth.APIToken{Role: auth.Admin, OwnerRole: auth.Viewer}.Effective())
}

func TestCheckUsername(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a", "admin", "Ann.B-c_9", strings.Repeat("a", 63)} {
		require.NoError(t, auth.CheckUsername(name), name)
	}
	for _, name := range []string{"", "-a", "a b", "a:b", "token:x", "ü", "a\n", strings.Repeat("a", 64), "system", "SYSTEM", "temporal-cli"} {
		err := auth.CheckUsername(name)
		require.Equal(t, fault.Unprocessable, fault.KindOf(err), name)
	}
}

func TestPassword(t *testing.T) {
	t.Parallel()
	const marker = "short-secret"
	for p, ok := range map[string]bool{
		strings.Repeat("x", 11): false, strings.Repeat("x", 12): true, strings.Repeat("x", 72): true, strings.Repeat("x", 73): false,
		strings.Repeat("ä", 6): true, strings.Repeat("ä", 36): true, strings.Repeat("ä", 37): false, "bad utf-8 \xff\xff": false, "": false,
	} {
		err := auth.CheckPassword("new_password", p)
		require.Equal(t, ok, err == nil, "%q", p)
		if !ok {
			require.Equal(t, "body.new_password", fault.From(err).Fields[0].Location)
			require.NotContains(t, err.Error(), "xxxx")
		}
	}
	hash, err := auth.HashPassword(marker)
	require.NoError(t, err)
	cost, err := bcrypt.Cost([]byte(hash))
	require.NoError(t, err)
	require.Equal(t, 12, cost)
	require.True(t, auth.VerifyPassword(hash, marker))
	require.False(t, auth.VerifyPassword(hash, marker+"x"))
	require.False(t, auth.VerifyPassword(hash, ""))
	require.False(t, auth.VerifyPassword("", marker))
	require.False(t, auth.VerifyPassword("", "nobody has this password"), "the hash of nobody is nobody's")
	require.False(t, auth.VerifyPassword("not a hash", marker))
}

func TestVerifyPassword_BytesBeyondTheLimitCount(t *testing.T) {
	t.Parallel()
	p := strings.Repeat("x", auth.MaxPasswordBytes)
	hash, err := bcrypt.GenerateFromPassword([]byte(p), bcrypt.MinCost)
	require.NoError(t, err)
	require.True(t, auth.VerifyPassword(string(hash), p))
	require.False(t, auth.VerifyPassword(string(hash), p+"y"))
}

// An unknown user must not be told from a wrong password by the time it takes.
func TestVerifyPassword_NobodyCostsAsMuch(t *testing.T) {
	t.Parallel()
	cost, err := bcrypt.Cost([]byte(auth.NobodysHash))
	require.NoError(t, err)
	require.Equal(t, 12, cost)
}

func user() auth.User {
	return auth.User{ID: uuid.New(), Username: "ann", Role: auth.Viewer, TokenGeneration: 3, TokensValidFrom: time.Now().Add(-time.Hour)}
}

func TestSigner_RoundTrip(t *testing.T) {
	t.Parallel()
	u, now := user(), time.Now()
	signer := auth.NewSigner(installationKey, 0)
	token, err := signer.Issue(u, now)
	require.NoError(t, err)
	claims, err := signer.Parse(token)
	require.NoError(t, err)
	require.Equal(t, u.ID, claims.UserID)
	require.Equal(t, 240*time.Minute, claims.ExpiresAt.Sub(claims.IssuedAt))
	require.NoError(t, claims.Check(u, now))

	for name, change := range map[string]func(*auth.User, *time.Time){
		"expired":            func(_ *auth.User, now *time.Time) { *now = now.Add(241 * time.Minute) },
		"from the future":    func(_ *auth.User, now *time.Time) { *now = now.Add(-time.Minute) },
		"older than cut-off": func(u *auth.User, now *time.Time) { u.TokensValidFrom = now.Add(2 * time.Second) },
		"other generation":   func(u *auth.User, _ *time.Time) { u.TokenGeneration++ },
	} {
		u, now := u, now
		change(&u, &now)
		require.Equal(t, fault.Unauthorized, fault.KindOf(claims.Check(u, now)), name)
	}
	u.TokensValidFrom = claims.IssuedAt.Add(900 * time.Millisecond)
	require.NoError(t, claims.Check(u, now), "issued in the second of the cut-off, with its generation")
}

func TestSigner_RefusesEveryOtherToken(t *testing.T) {
	t.Parallel()
	key := secretbox.Derive(installationKey, "jwt")
	id, jti := uuid.NewString(), uuid.NewString()
	good := func() jwt.MapClaims {
		return jwt.MapClaims{
			"uuid": id, "sub": id, "jti": jti, "iss": "decnet", "aud": "decnet-dashboard", "typ": "access", "gen": 3,
			"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
		}
	}
	signer := auth.NewSigner(installationKey, 0)
	sign := func(method jwt.SigningMethod, key any, claims jwt.MapClaims) string {
		token, err := jwt.NewWithClaims(method, claims).SignedString(key)
		require.NoError(t, err)
		return token
	}
	_, err := signer.Parse(sign(jwt.SigningMethodHS256, key, good()))
	require.NoError(t, err)

	for _, claim := range []string{"uuid", "sub", "jti", "iss", "aud", "typ", "iat", "exp"} {
		for _, wrong := range []any{nil, "", "other", -1, []string{"decnet-dashboard", "other"}} {
			if n, isNumber := wrong.(int); isNumber && (claim == "iat" || claim == "exp") && n < 0 {
				continue // Check looks at the times
			}
			claims := good()
			claims[claim] = wrong
			if wrong == nil {
				delete(claims, claim)
			}
			_, err := signer.Parse(sign(jwt.SigningMethodHS256, key, claims))
			require.Equal(t, fault.Unauthorized, fault.KindOf(err), "%s = %v", claim, wrong)
		}
	}
	for name, token := range map[string]string{
		"other key": sign(jwt.SigningMethodHS256, []byte("other"), good()),
		"HS512":     sign(jwt.SigningMethodHS512, key, good()),
		"none":      sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, good()),
		"empty":     "", "text": "hunter2", "dots": "..",
	} {
		_, err := signer.Parse(token)
		require.Equal(t, fault.Unauthorized, fault.KindOf(err), name)
	}
}

func TestAPIToken_IsRandomAndFoundByItsHash(t *testing.T) {
	t.Parallel()
	one, hash, err := auth.NewAPIToken()
	require.NoError(t, err)
	other, _, err := auth.NewAPIToken()
	require.NoError(t, err)
	require.NotEqual(t, one, other)
	require.True(t, auth.IsAPIToken(one))
	require.GreaterOrEqual(t, len(one), 48)
	require.Equal(t, hash, auth.HashAPIToken(one))
	require.Equal(t, "token:ci", auth.APIToken{Name: "ci"}.Actor())
}

func FuzzSigner_Parse(f *testing.F) {
	signer := auth.NewSigner(installationKey, 0)
	token, err := signer.Issue(user(), time.Now())
	require.NoError(f, err)
	f.Add(token)
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, s string) {
		if _, err := signer.Parse(s); err != nil {
			require.Equal(t, fault.Unauthorized, fault.KindOf(err))
		}
	})
}
