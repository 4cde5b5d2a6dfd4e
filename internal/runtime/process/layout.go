package process

import (
	"os"
	"path/filepath"

	"github.com/google/uuid"

	"github.com/decnet/decnet/internal/runtime/boot"
)

// layout adds the logs to where things lie. That its roots are free of symbolic links matters here: the configuration's
// path in a decoy's arguments identifies it.
type layout struct{ boot.Layout }

func (l layout) log(r boot.Ref) string { return filepath.Join(l.Decoy(r), "log") }

// parseConfig returns the decoy whose configuration path is, if it is one of this installation.
func (l layout) parseConfig(path string) (boot.Ref, bool) {
	r, ok := l.Parse(filepath.Dir(path))
	return r, ok && l.Config(r) == path
}

func (l layout) readRecord(r boot.Ref) record { return boot.ReadRecord[record](l.Layout, r) }

// keepLog moves the log of an ended decoy to the kept ones. Doing it again does nothing.
func (l layout) keepLog(r boot.Ref, key string, bootID uuid.UUID) error {
	src := l.log(r)
	if info, err := os.Lstat(src); err != nil || info.Size() == 0 {
		return boot.IgnoreMissing(err)
	}
	return l.MoveLog(src, r, key, bootID)
}
