package ingester

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Of a log that only grows, what is stored is given back to the file system in whole steps. The beginning stays, because the
// first line is what the file is known by, and so does what is near the cursor.
const (
	freeFrom   = 64 << 10
	freeStep   = 1 << 20
	freeMargin = 64 << 10
)

// free gives back what lies before a stored position, as far as the runtime does not need it.
func (f *file) free(position int64) error {
	from := max(freeFrom, f.freed)
	to := min(position-freeMargin, f.out.Spare)
	to -= (to - freeFrom) % freeStep
	if to <= from || f.first > freeFrom {
		return nil
	}
	o, id, err := openSafely(f.path, unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer o.Close()
	if id != f.id {
		return nil // renamed; the next listing tells
	}
	err = unix.Fallocate(int(o.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, from, to-from)
	if err == nil {
		f.freed = to
	}
	return err
}

// unsupported reports that a file system cannot give parts of files back, or that this process may not.
func unsupported(err error) bool {
	for _, e := range []unix.Errno{unix.EOPNOTSUPP, unix.ENOSYS, unix.EPERM, unix.EACCES, unix.EROFS} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
