package auth_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/auth"
	"github.com/decnet/decnet/internal/embedded/embeddedtest"
	"github.com/decnet/decnet/internal/fault"
)

const envPassword = "from the environment"

func openStore(t *testing.T) *db.Store {
	t.Helper()
	store, err := db.Open(t.Context(), embeddedtest.EmptyDatabase(t))
	require.NoError(t, err)
	t.Cleanup(store.Close)
	require.NoError(t, store.Migrate(context.WithoutCancel(t.Context())))
	return store
}

func TestBootstrap_Generates(t *testing.T) {
	t.Parallel()
	store, file := openStore(t), filepath.Join(t.TempDir(), "admin-password")
	generated, err := auth.Bootstrap(t.Context(), store, "admin", "", file)
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(generated), 20)
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, generated, strings.TrimSpace(string(content)))
	admin, err := store.UserByName(t.Context(), "admin")
	require.NoError(t, err)
	require.True(t, admin.MustChangePassword)
	require.Equal(t, auth.Admin, admin.Role)
	require.True(t, auth.VerifyPassword(admin.PasswordHash, generated))

	again, err := auth.Bootstrap(t.Context(), store, "admin", "", file)
	require.NoError(t, err)
	require.Empty(t, again, "it is shown once")

	// Not changed yet: the environment wins.
	_, err = auth.Bootstrap(t.Context(), store, "admin", envPassword, file)
	require.NoError(t, err)
	admin, err = store.UserByName(t.Context(), "admin")
	require.NoError(t, err)
	require.False(t, admin.MustChangePassword)
	require.True(t, auth.VerifyPassword(admin.PasswordHash, envPassword))
	require.NoFileExists(t, file)

	// The admin's own by now: it stays.
	_, err = auth.Bootstrap(t.Context(), store, "admin", "another from the environment", file)
	require.NoError(t, err)
	same, err := store.UserByName(t.Context(), "admin")
	require.NoError(t, err)
	require.Equal(t, admin.PasswordHash, same.PasswordHash)
}

func TestBootstrap_FromTheEnvironment(t *testing.T) {
	t.Parallel()
	store, file := openStore(t), filepath.Join(t.TempDir(), "admin-password")
	for _, bad := range []string{"short", strings.Repeat("x", 73)} {
		_, err := auth.Bootstrap(t.Context(), store, "admin", bad, file)
		require.Equal(t, fault.Unprocessable, fault.KindOf(err))
		require.NotContains(t, err.Error(), bad)
	}
	_, err := auth.Bootstrap(t.Context(), store, "not a name", envPassword, file)
	require.Error(t, err)

	generated, err := auth.Bootstrap(t.Context(), store, "root", envPassword, file)
	require.NoError(t, err)
	require.Empty(t, generated)
	require.NoFileExists(t, file)
	admin, err := store.UserByName(t.Context(), "root")
	require.NoError(t, err)
	require.False(t, admin.MustChangePassword)

	// Another name later on makes no second admin.
	_, err = auth.Bootstrap(t.Context(), store, "admin", envPassword, file)
	require.NoError(t, err)
	n, err := store.CountUsers(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
}

func TestBootstrap_UnwritableFileMakesNoUser(t *testing.T) {
	t.Parallel()
	store := openStore(t)
	_, err := auth.Bootstrap(t.Context(), store, "admin", "", filepath.Join(t.TempDir(), "no", "such", "directory"))
	require.Error(t, err)
	n, err := store.CountUsers(t.Context())
	require.NoError(t, err)
	require.Zero(t, n)
}
