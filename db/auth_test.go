package db_test

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/auth"
	"github.com/decnet/decnet/internal/embedded/embeddedtest"
	"github.com/decnet/decnet/internal/fault"
)

func authStore(t *testing.T) *db.Store {
	t.Helper()
	store, err := db.Open(t.Context(), embeddedtest.EmptyDatabase(t))
	require.NoError(t, err)
	t.Cleanup(store.Close)
	require.NoError(t, store.Migrate(context.WithoutCancel(t.Context())))
	return store
}

func person(name string, role auth.Role) auth.User {
	return auth.User{ID: uuid.New(), Username: name, PasswordHash: "hash", Role: role}
}

func TestCreateFirstUser_OnlyOneOfMany(t *testing.T) {
	t.Parallel()
	store := authStore(t)
	var created atomic.Int32
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if ok, err := store.CreateFirstUser(t.Context(), person("admin"+strconv.Itoa(i), auth.Admin)); err == nil && ok {
				created.Add(1)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 1, created.Load())
}

// Two admins who take each other away at once: one stays.
func TestLastAdmin_Stays(t *testing.T) {
	t.Parallel()
	store := authStore(t)
	a, err := store.CreateUser(t.Context(), person("a", auth.Admin))
	require.NoError(t, err)
	b, err := store.CreateUser(t.Context(), person("b", auth.Admin))
	require.NoError(t, err)
	var wg sync.WaitGroup
	var refused atomic.Int32
	wg.Go(func() {
		if fault.KindOf(store.DeleteUser(t.Context(), a.ID)) == fault.Conflict {
			refused.Add(1)
		}
	})
	wg.Go(func() {
		if _, err := store.SetRole(t.Context(), b.ID, auth.Viewer); fault.KindOf(err) == fault.Conflict {
			refused.Add(1)
		}
	})
	wg.Wait()
	require.EqualValues(t, 1, refused.Load())
	users, err := store.Users(t.Context(), "", 10)
	require.NoError(t, err)
	admins := 0
	for _, u := range users {
		if u.Role == auth.Admin {
			admins++
		}
	}
	require.Equal(t, 1, admins)
}

func TestHit_LetsExactlyTheLimitThrough(t *testing.T) {
	t.Parallel()
	store := authStore(t)
	var through atomic.Int32
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			after, err := store.Hit(t.Context(), "key", 10, time.Minute)
			if err == nil && after == 0 {
				through.Add(1)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 10, through.Load())
	after, err := store.Hit(t.Context(), "key", 10, time.Minute)
	require.NoError(t, err)
	require.InDelta(t, 60, after.Seconds(), 30)
	after, err = store.Hit(t.Context(), "other", 10, time.Minute)
	require.NoError(t, err)
	require.Zero(t, after)
	// A window that is over counts no more.
	after, err = store.Hit(t.Context(), "key", 10, time.Nanosecond)
	require.NoError(t, err)
	require.Zero(t, after)
}

func TestChangePassword_OnlyFromTheVerifiedHash(t *testing.T) {
	t.Parallel()
	store := authStore(t)
	u, err := store.CreateUser(t.Context(), person("ann", auth.Viewer))
	require.NoError(t, err)
	_, err = store.ChangePassword(t.Context(), u.ID, "another hash", "new")
	require.Equal(t, fault.NotFound, fault.KindOf(err))
	changed, err := store.ChangePassword(t.Context(), u.ID, "hash", "new")
	require.NoError(t, err)
	require.Equal(t, u.TokenGeneration+1, changed.TokenGeneration)
	require.False(t, changed.TokensValidFrom.Before(u.TokensValidFrom))
	session, err := store.Session(t.Context(), u.ID, uuid.New())
	require.NoError(t, err)
	require.False(t, session.Revoked)
	require.WithinDuration(t, time.Now(), session.At, time.Minute)
}

func TestAPIToken_ExpiresAndDiesWithItsOwner(t *testing.T) {
	t.Parallel()
	store := authStore(t)
	_, err := store.CreateUser(t.Context(), person("admin", auth.Admin))
	require.NoError(t, err)
	owner, err := store.CreateUser(t.Context(), person("ann", auth.Operator))
	require.NoError(t, err)
	past := time.Now().Add(-time.Minute)
	for name, expires := range map[string]*time.Time{"old": &past, "ever": nil} {
		_, err := store.CreateAPIToken(t.Context(), auth.APIToken{
			ID: uuid.New(), Name: name, Role: auth.Admin, Hash: []byte(name), CreatedBy: owner.ID, ExpiresAt: expires,
		})
		require.NoError(t, err)
	}
	_, err = store.APITokenByHash(t.Context(), []byte("old"))
	require.Equal(t, fault.NotFound, fault.KindOf(err))
	token, err := store.APITokenByHash(t.Context(), []byte("ever"))
	require.NoError(t, err)
	require.Equal(t, auth.Operator, token.Effective())
	tokens, err := store.APITokens(t.Context(), "", 10)
	require.NoError(t, err)
	require.NotNil(t, tokens[0].LastUsedAt)
	require.NoError(t, store.DeleteUser(t.Context(), owner.ID))
	_, err = store.APITokenByHash(t.Context(), []byte("ever"))
	require.Equal(t, fault.NotFound, fault.KindOf(err))
}
