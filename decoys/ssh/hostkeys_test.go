package ssh

import (
	"crypto/rand"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

func TestHostKeys_RSAIsMadeAtFirstUseAndKept(t *testing.T) {
	t.Parallel()
	state, err := os.OpenRoot(t.TempDir())
	require.NoError(t, err)
	keys, _, err := hostKeys(state)
	require.NoError(t, err)
	require.Contains(t, keys, ssh.KeyAlgoED25519)
	require.Contains(t, keys, ssh.KeyAlgoRSA)
	_, err = state.Stat(rsaKeyFile)
	require.ErrorIs(t, err, os.ErrNotExist, "starting does not wait for it")

	first := keys[ssh.KeyAlgoRSA].PublicKey().Marshal()
	require.NotEmpty(t, first)
	sig, err := keys[ssh.KeyAlgoRSA].SignWithAlgorithm(rand.Reader, []byte("data"), ssh.KeyAlgoRSASHA512)
	require.NoError(t, err)
	again, _, err := hostKeys(state)
	require.NoError(t, err)
	require.Equal(t, first, again[ssh.KeyAlgoRSA].PublicKey().Marshal(), "the next start has the same key")
	require.NoError(t, again[ssh.KeyAlgoRSA].PublicKey().Verify([]byte("data"), sig))
}
