package secretbox_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/secretbox"
)

func box(t *testing.T, fill byte) *secretbox.Box {
	t.Helper()
	b, err := secretbox.New(bytes.Repeat([]byte{fill}, secretbox.KeyBytes))
	require.NoError(t, err)
	return b
}

func TestOpen_ReturnsWhatWasSealedAndNothingElse(t *testing.T) {
	t.Parallel()
	b := box(t, 1)
	for _, plain := range [][]byte{{}, []byte("x"), bytes.Repeat([]byte("long "), 10_000)} {
		sealed, err := b.Seal(plain, "row 1")
		require.NoError(t, err)
		require.False(t, len(plain) > 4 && bytes.Contains(sealed, plain[:5]))
		got, err := b.Open(sealed, "row 1")
		require.NoError(t, err)
		require.Equal(t, string(plain), string(got))
		_, err = b.Open(sealed, "row 2")
		require.Error(t, err, "moved to another row")
		_, err = box(t, 2).Open(sealed, "row 1")
		require.Error(t, err, "another key")
		for i := range min(len(sealed), 64) {
			damaged := bytes.Clone(sealed)
			damaged[i] ^= 1
			_, err = b.Open(damaged, "row 1")
			require.Error(t, err)
		}
	}
	again, err := b.Seal([]byte("same"), "c")
	require.NoError(t, err)
	other, err := b.Seal([]byte("same"), "c")
	require.NoError(t, err)
	require.NotEqual(t, again, other)
}

func TestNew_RefusesKeysOfAnotherLength(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 16, 31, 33} {
		_, err := secretbox.New(make([]byte, n))
		require.Error(t, err)
	}
}

func TestHash_DependsOnTheKey(t *testing.T) {
	t.Parallel()
	first, again := box(t, 1).Hash([]byte("x")), box(t, 1).Hash([]byte("x"))
	require.Equal(t, first, again)
	require.NotEqual(t, box(t, 1).Hash([]byte("x")), box(t, 2).Hash([]byte("x")))
	key := make([]byte, secretbox.KeyBytes)
	require.NotEqual(t, secretbox.Derive(key, "jwt"), secretbox.Derive(key, "other"))
}

func FuzzOpen(f *testing.F) {
	b, err := secretbox.New(make([]byte, secretbox.KeyBytes))
	require.NoError(f, err)
	sealed, err := b.Seal([]byte("x"), "c")
	require.NoError(f, err)
	f.Add(sealed)
	f.Fuzz(func(t *testing.T, value []byte) {
		plain, err := b.Open(value, "c")
		if err == nil {
			require.Equal(t, "x", string(plain), "only what was sealed opens")
		}
	})
}
