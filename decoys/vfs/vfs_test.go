package vfs_test

import (
	"io/fs"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/decoys/vfs"
)

var root, user = vfs.Cred{}, vfs.Cred{UID: 1000, GID: 1000}

func setup() *vfs.FS {
	f := vfs.New(time.Now, 1<<20, 20)
	f.Put("/etc/passwd", vfs.Entry{Mode: 0o644, Data: []byte("base")})
	f.Put("/tmp", vfs.Entry{Mode: fs.ModeDir | fs.ModeSticky | 0o777})
	f.Put("/loop", vfs.Entry{Mode: fs.ModeSymlink | 0o777, Target: "/loop"})
	f.Put("/link", vfs.Entry{Mode: fs.ModeSymlink | 0o777, Target: "etc/passwd"})
	f.Seal()
	return f
}

func TestWrite_CopiesTheBaseImage(t *testing.T) {
	t.Parallel()
	f := setup()
	h, err := f.Open(root, "/link", os.O_WRONLY|os.O_APPEND, 0)
	require.NoError(t, err)
	_, err = h.Write([]byte("+new"))
	require.NoError(t, err)
	require.NoError(t, h.Close())
	b, err := f.ReadFile(root, "/etc/passwd")
	require.NoError(t, err)
	require.Equal(t, "base+new", string(b))
}

func TestErrors_AreThoseOfASystem(t *testing.T) {
	t.Parallel()
	f := setup()
	for _, c := range []struct {
		err  error
		want syscall.Errno
	}{
		{f.Mkdir(user, "/x", 0o755), syscall.EACCES},
		{f.Mkdir(root, "/no/x", 0o755), syscall.ENOENT},
		{f.Remove(root, "/etc"), syscall.ENOTEMPTY},
		{f.Remove(root, "/"), syscall.EBUSY},
		{f.Rename(root, "/etc", "/etc/in"), syscall.EINVAL},
		{f.Chmod(user, "/etc/passwd", 0o777), syscall.EPERM},
		{second(f.Open(user, "/etc/passwd", os.O_WRONLY, 0)), syscall.EACCES},
		{second(f.Open(root, "/loop", 0, 0)), syscall.ELOOP},
		{second(f.Open(root, "/etc/passwd/x", 0, 0)), syscall.ENOTDIR},
		{second(f.Open(root, "/etc", os.O_WRONLY, 0)), syscall.EISDIR},
	} {
		require.ErrorIs(t, c.err, c.want)
	}
}

func second(_ *vfs.File, err error) error { return err }

func TestQuota_EndsInENOSPC(t *testing.T) {
	t.Parallel()
	f := setup()
	h, err := f.Open(user, "/tmp/big", os.O_WRONLY|os.O_CREATE, 0o644)
	require.NoError(t, err)
	_, err = h.WriteAt(make([]byte, 10), 1<<20)
	require.ErrorIs(t, err, syscall.ENOSPC)
	_, err = h.Write(make([]byte, 1<<19))
	require.NoError(t, err)
	require.NoError(t, f.Remove(user, "/tmp/big"))
	used, _ := f.Used()
	require.Zero(t, used)
	for i := range 40 {
		err = f.Mkdir(user, "/tmp/"+string(rune('a'+i)), 0o755)
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
}
