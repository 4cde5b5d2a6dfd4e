package boot

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
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
