package embedded

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMountPoint_IsTheLongestThatHoldsThePath(t *testing.T) {
	t.Parallel()
	const table = `22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:25 / /tmp rw shared:5 - tmpfs tmpfs rw
31 30 0:26 / /tmp/inner rw - tmpfs tmpfs rw
`
	for path, want := range map[string]string{
		"/tmp/x": "/tmp", "/tmp": "/tmp", "/tmpfoo": "/", "/root/data": "/", "/tmp/inner/x": "/tmp/inner", "/tmp/inner2": "/tmp",
	} {
		require.Equal(t, want, mountPoint(table, path), path)
	}
	require.Empty(t, mountPoint("30 22 0:25 / /tmp rw - tmpfs tmpfs rw\n", "/root/data"))
}
