package artifact_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/decoys/artifact"
)

var storedAs = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z_[a-f0-9]{12}_[A-Za-z0-9._-]{1,255}$`)

func TestCapture_NamesAreSafeAndContentIsKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	s := artifact.NewStore(root, func() (uint64, error) { return 1 << 40, nil }, nil)
	for _, p := range []string{"/tmp/a b", "/tmp/../..", "/x/é\n", "/" + strings.Repeat("n", 400), "", "/tmp/.x"} {
		f, err := s.Capture(p, []byte("data"))
		require.NoError(t, err)
		require.Regexp(t, storedAs, f.StoredAs)
		b, err := os.ReadFile(dir + "/" + f.StoredAs)
		require.NoError(t, err)
		require.Equal(t, "data", string(b))
		e := f.Event(p, artifact.Writer{SrcIP: "1.2.3.4", User: "root", ModTime: time.Unix(1, 0)})
		require.Equal(t, "file_captured", e.MsgID)
	}
}

func TestCapture_RefusesWhatIsTooLargeOrDoesNotFit(t *testing.T) {
	t.Parallel()
	root, err := os.OpenRoot(t.TempDir())
	require.NoError(t, err)
	_, err = artifact.NewStore(root, func() (uint64, error) { return 1 << 40, nil }, nil).Capture("/a", make([]byte, artifact.MaxFileBytes+1))
	require.ErrorIs(t, err, artifact.ErrSkipped)
	require.Equal(t, artifact.ReasonTooLarge, artifact.SkipReason(err))
	_, err = artifact.NewStore(root, func() (uint64, error) { return 1, nil }, nil).Capture("/a", nil)
	require.Equal(t, artifact.ReasonDiskPressure, artifact.SkipReason(err))
}
