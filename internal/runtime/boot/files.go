package boot

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/decnet/decnet/internal/runtime"
)

// OwnDir makes a folder that belongs to the decoy. It never follows a symbolic link put in its place.
func OwnDir(dir string, uid, gid int) error {
	if err := os.Mkdir(dir, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if os.Geteuid() != 0 {
		return nil
	}
	return f.Chown(uid, gid)
}

// KeptLog returns where the log of a removed decoy is kept, named after its last boot:
// `<artifacts root>/<decky key>/<spool name>/log/<boot id>.log`.
func KeptLog(artifactsRoot, deckyKey, service string, boot uuid.UUID) string {
	return filepath.Join(artifactsRoot, deckyKey, runtime.SpoolName(service), "log", boot.String()+".log")
}

// LogFolder opens the folder "log" of a spool, replacing whatever a decoy put in its place.
func LogFolder(root *os.Root) (*os.File, error) {
	if info, err := root.Lstat("log"); err == nil && !info.IsDir() {
		if err := root.RemoveAll("log"); err != nil {
			return nil, err
		}
	}
	if err := root.Mkdir("log", 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return root.Open("log")
}

// KeepLog writes the log of an ended decoy to its spool as KeptLog says, whatever links the decoy put there. Doing it
// again replaces the file.
func KeepLog(spool string, bootID uuid.UUID, write func(io.Writer) error) error {
	if err := os.MkdirAll(spool, 0o750); err != nil {
		return err
	}
	root, err := os.OpenRoot(spool)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	dir, err := LogFolder(root)
	if err != nil {
		return err
	}
	defer dir.Close()
	name := "log/" + bootID.String() + ".log"
	part := name + ".part"
	_ = root.Remove(part)
	f, err := root.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return err
	}
	if err = errors.Join(write(f), f.Close()); err != nil {
		return errors.Join(err, root.Remove(part))
	}
	return root.Rename(part, name)
}

// WriteAtomic replaces a file in one step. The kernel's crash is not guarded against: it ends every decoy too.
func WriteAtomic(path string, content []byte, perm fs.FileMode) error {
	tmp := path + ".tmp"
	if err := os.Remove(tmp); IgnoreMissing(err) != nil {
		return err
	}
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// IgnoreMissing returns nil for an error that says that a file does not exist, and err otherwise.
func IgnoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
