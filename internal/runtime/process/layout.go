package process

import (
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

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

// keepLog moves the log of an ended decoy to its spool. Doing it again does nothing. The spool was the decoy's to
// write, so every step stays inside it whatever links it holds.
func (l layout) keepLog(r boot.Ref, key string, bootID uuid.UUID) error {
	src := l.log(r)
	if info, err := os.Lstat(src); err != nil || info.Size() == 0 {
		return boot.IgnoreMissing(err)
	}
	spool := l.Spool(key, r.Service)
	if err := os.MkdirAll(spool, 0o750); err != nil {
		return err
	}
	root, err := os.OpenRoot(spool)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	dir, err := boot.LogFolder(root)
	if err != nil {
		return err
	}
	defer dir.Close()
	name := bootID.String() + ".log"
	err = unix.Renameat2(unix.AT_FDCWD, src, int(dir.Fd()), name, 0)
	if errors.Is(err, unix.EXDEV) {
		return copyLog(src, root, "log/"+name)
	}
	return err
}

func copyLog(src string, root *os.Root, name string) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	part := name + ".part"
	_ = root.Remove(part)
	out, err := root.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Close()); err != nil {
		return err
	}
	return errors.Join(root.Rename(part, name), os.Remove(src))
}
