package embedded_test

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/embedded"
	"github.com/decnet/decnet/internal/fault"
)

func requireFault(t *testing.T, err error, kind fault.Kind, code string) *fault.Error {
	t.Helper()
	f, ok := fault.As(err)
	require.True(t, ok, "want a fault, have %v", err)
	require.Equal(t, kind, f.Kind)
	require.Equal(t, code, f.Code)
	return f
}

func TestLock_MakesLayoutAndKeepsSecrets(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	d := lock(t, dir)
	key, err := d.SecretKey()
	require.NoError(t, err)
	require.Len(t, key, 32)
	password, created, err := d.AdminPassword()
	require.NoError(t, err)
	require.True(t, created)
	require.GreaterOrEqual(t, len(password), 12)
	for name, mode := range map[string]fs.FileMode{
		"secret.key": 0o600, "admin-password": 0o600, "decnet.lock": 0o600, "nats": 0o700, "temporal": 0o700, "artifacts": 0o700,
	} {
		info, err := os.Stat(d.Join(name))
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode().Perm(), name)
	}
	for _, name := range []string{"postgres", "run", "decoys"} {
		info, err := os.Stat(d.Join(name))
		require.NoError(t, err)
		require.Zero(t, info.Mode().Perm()&0o066, name)
	}
	id, err := d.HostID("")
	require.NoError(t, err)
	require.NoError(t, d.Unlock())

	again := lock(t, dir)
	sameKey, err := again.SecretKey()
	require.NoError(t, err)
	require.Equal(t, key, sameKey)
	samePassword, created, err := again.AdminPassword()
	require.NoError(t, err)
	require.False(t, created)
	require.Equal(t, password, samePassword)
	sameID, err := again.HostID("")
	require.NoError(t, err)
	require.Equal(t, id, sameID)
	override, err := again.HostID("other")
	require.NoError(t, err)
	require.Equal(t, "other", override)
}

func TestLock_SecondIsRefusedWithPID(t *testing.T) {
	t.Parallel()
	d := lock(t, filepath.Join(t.TempDir(), "data"))
	_, err := embedded.Lock(d.Path())
	f := requireFault(t, err, fault.Conflict, "data_dir_locked")
	require.Contains(t, f.Message, "pid "+strconv.Itoa(os.Getpid()))
	require.NoError(t, d.Unlock())
	lock(t, d.Path())
}

func TestLock_ForeignDirectoryIsLeftAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	touch(t, filepath.Join(dir, "letters", "mine.txt"))
	require.NoError(t, os.Chmod(dir, 0o755))
	_, err := embedded.Lock(dir)
	requireFault(t, err, fault.Conflict, "data_dir_foreign")
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o755), info.Mode().Perm())
}

func TestLock_DamagedKeyIsRefused(t *testing.T) {
	t.Parallel()
	d := lock(t, filepath.Join(t.TempDir(), "data"))
	require.NoError(t, d.Unlock())
	require.NoError(t, os.WriteFile(d.SecretKeyFile(), []byte("short"), 0o600))
	_, err := embedded.Lock(d.Path())
	requireFault(t, err, fault.Conflict, "secret_key_damaged")
}

func TestPorts_AreKeptAndTakenOnesReplaced(t *testing.T) {
	t.Parallel()
	var log logBook
	d := lock(t, filepath.Join(t.TempDir(), "data"))
	first, err := d.Ports(t.Context(), log.logger())
	require.NoError(t, err)
	again, err := d.Ports(t.Context(), log.logger())
	require.NoError(t, err)
	require.Equal(t, first, again)
	require.Empty(t, log.String())

	squatter, err := net.Listen("tcp", "0.0.0.0:"+strconv.Itoa(first.TemporalUI))
	require.NoError(t, err)
	defer func() { _ = squatter.Close() }()
	moved, err := d.Ports(t.Context(), log.logger())
	require.NoError(t, err)
	require.NotEqual(t, first.TemporalUI, moved.TemporalUI)
	require.Contains(t, log.String(), "part=temporal_ui")
	moved.TemporalUI = first.TemporalUI
	require.Equal(t, first, moved, "only the taken port changes")

	require.NoError(t, os.WriteFile(d.Join("ports.json"), []byte("{"), 0o600))
	_, err = d.Ports(t.Context(), log.logger())
	require.NoError(t, err)
}
