package embeddedtest

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// ownShared returns a place for keepers of this test alone; what it started is ended with the test.
func ownShared(t *testing.T) shared {
	t.Helper()
	root, err := os.MkdirTemp("", "decnet-keeper-")
	require.NoError(t, err)
	s := shared{dir: filepath.Join(root, kindPostgres)}
	require.NoError(t, privateDir(s.dir))
	users := s.users()
	require.NoError(t, users.RLock())
	t.Cleanup(func() {
		if st, ok, _ := s.read(); ok {
			_ = syscall.Kill(st.PID, syscall.SIGKILL)
			waitGone(t, st.PID)
		}
		require.NoError(t, users.Unlock())
		require.Eventually(t, func() bool { return os.RemoveAll(root) == nil }, 10*time.Second, 50*time.Millisecond)
	})
	return s
}

func waitGone(t *testing.T, pid int) {
	t.Helper()
	require.Eventually(t, func() bool { return syscall.Kill(pid, 0) != nil }, 10*time.Second, 10*time.Millisecond)
}

func TestKeeper_KilledOneIsReplaced(t *testing.T) {
	t.Parallel()
	s := ownShared(t)
	first, err := s.find(kindPostgres, "")
	require.NoError(t, err)
	require.NoError(t, execAdmin(t.Context(), first.Addr, "CREATE DATABASE left_behind"))
	same, err := s.find(kindPostgres, "")
	require.NoError(t, err)
	require.Equal(t, first, same)

	require.NoError(t, syscall.Kill(first.PID, syscall.SIGKILL))
	waitGone(t, first.PID)
	second, err := s.find(kindPostgres, "")
	require.NoError(t, err)
	require.NotEqual(t, first.PID, second.PID)
	require.NoError(t, execAdmin(t.Context(), second.Addr, "CREATE DATABASE left_behind"), "a keeper starts with an empty server")
}

func TestKeeper_FailureIsReported(t *testing.T) {
	t.Parallel()
	s := ownShared(t)
	_, err := s.find(kindTemporal, "/nonexistent/temporal")
	require.ErrorContains(t, err, "cannot run /nonexistent/temporal")
}
