// Package dbtest gives tests a migrated database of their own on a real Postgres.
package dbtest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/embedded/embeddedtest"
)

// Open returns a store on a new migrated database that goes away with the test.
func Open(t testing.TB) *db.Store {
	t.Helper()
	store, err := db.Open(t.Context(), URL(t))
	require.NoError(t, err)
	t.Cleanup(store.Close)
	return store
}

// URL returns a new migrated database that goes away with the test.
func URL(t testing.TB) string {
	t.Helper()
	return embeddedtest.TemplateDatabase(t, "decnet", hash(t), migrate)
}

func migrate(url string) error {
	ctx := context.Background() //nolint:forbidigo // the template outlives the test that makes it
	store, err := db.Open(ctx, url)
	if err != nil {
		return err
	}
	defer store.Close()
	return store.Migrate(ctx)
}

// hash changes with every change of a migration.
func hash(t testing.TB) string {
	t.Helper()
	files := db.Migrations()
	names, err := fs.Glob(files, "*.sql")
	require.NoError(t, err)
	require.NotEmpty(t, names)
	h := sha256.New()
	for _, name := range names {
		b, err := fs.ReadFile(files, name)
		require.NoError(t, err)
		h.Write(b)
	}
	return hex.EncodeToString(h.Sum(nil))
}
