package spool_test

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/spool"
)

func TestOpen(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	ssh := filepath.Join(root, "web-01", "ssh")
	require.NoError(t, os.MkdirAll(ssh, 0o750))
	require.NoError(t, os.WriteFile(filepath.Join(ssh, "file"), []byte("content"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(root, "secret"), []byte("not theirs"), 0o600))
	require.NoError(t, os.Symlink("file", filepath.Join(ssh, "link")))
	require.NoError(t, os.Symlink("../../secret", filepath.Join(ssh, "up")))
	require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(ssh, "out")))
	require.NoError(t, os.Symlink("ssh", filepath.Join(root, "web-01", "telnet")))
	require.NoError(t, os.Symlink("web-01", filepath.Join(root, "web-02")))
	require.NoError(t, os.Mkdir(filepath.Join(ssh, "folder"), 0o750))
	require.NoError(t, syscall.Mkfifo(filepath.Join(ssh, "pipe"), 0o600))

	f, err := spool.Open(root, "web-01", "ssh", "file")
	require.NoError(t, err)
	defer f.Close()
	content, err := io.ReadAll(f)
	require.NoError(t, err)
	require.Equal(t, "content", string(content))

	for _, path := range [][]string{
		{"web-01", "ssh", "none"}, {"web-01", "ssh", "link"}, {"web-01", "ssh", "up"}, {"web-01", "ssh", "out"},
		{"web-01", "ssh", "folder"}, {"web-01", "ssh", "pipe"}, {"web-01", "telnet", "file"}, {"web-02", "ssh", "file"},
		{"web-01", "ssh", "..", "ssh", "file"}, {"..", "secret"}, {"web-01/ssh", "file"}, {"web-01", "ssh/file"}, {"web-01", "", "file"},
		{"web-01", "ssh", "file\x00"}, {"web-01", "ssh", "."}, {"nobody", "ssh", "file"}, {"secret", "ssh", "file"}, {},
	} {
		_, err := spool.Open(root, path...)
		require.ErrorIs(t, err, fs.ErrNotExist, "%q", path)
	}
	_, err = spool.Open("", "web-01", "ssh", "file")
	require.ErrorIs(t, err, fs.ErrNotExist)
}
