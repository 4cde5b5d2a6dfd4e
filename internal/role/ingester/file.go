package ingester

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/ingest"
	"github.com/decnet/decnet/internal/runtime"
)

// identity tells files apart for as long as one of them is open.
type identity struct{ dev, ino uint64 }

// stamp changes when a file is written to.
type stamp struct {
	size int64
	at   time.Time
}

// file is one file of a decoy's output. Its key, the hash of its first line, is known once that line is complete.
type file struct {
	path  string
	id    identity
	seen  stamp // when it was listed
	out   runtime.Output
	group string // of files that continue each other
	over  bool   // nothing will be appended
	gone  bool   // no longer listed

	done bool // read to its end, as it was at doneAt
	at   stamp

	f      *os.File // nil while it is not open
	sum    hash.Hash
	head   int64  // bytes of the first line hashed so far
	first  int64  // length of the first line, its line feed included
	key    string // "" until the first line is complete
	offset int64  // of what is read next
	freed  int64
	lines  *ingest.Splitter
	// tooLong and malformed are what the splitter left out that is counted.
	tooLong, malformed uint64
	repeats            bool // the last line with a number was read before
	// before is the file before a rotated one, until its end is put into a batch.
	before    db.IngestFile
	beforeEnd int64
}

// openSafely opens what may have been replaced by anything: it follows no link, waits for nobody, and takes regular files
// only.
func openSafely(path string, flags int) (*os.File, identity, error) {
	fd, err := unix.Open(path, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, identity{}, &os.PathError{Op: "open", Path: path, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, identity{}, errors.Join(err, unix.Close(fd))
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, identity{}, errors.Join(fmt.Errorf("%s is no regular file", path), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), path), identity{dev: st.Dev, ino: st.Ino}, nil
}

// open begins a file anew. One that was replaced since it was listed is an error.
func (f *file) open() error {
	o, id, err := openSafely(f.path, unix.O_RDONLY)
	if err != nil {
		return err
	}
	if id != f.id {
		return errors.Join(fmt.Errorf("%s was replaced", f.path), o.Close())
	}
	f.begin()
	f.f = o
	return nil
}

// begin forgets what was read.
func (f *file) begin() {
	f.sum, f.head, f.first, f.key, f.offset, f.freed = sha256.New(), 0, 0, "", 0, 0
	f.lines, f.tooLong, f.malformed, f.repeats, f.done = nil, 0, 0, false, false
	f.before, f.beforeEnd = db.IngestFile{}, 0
}

func (f *file) close() {
	if f.f != nil {
		_ = f.f.Close()
		f.f = nil
	}
}

// finish closes a file that was read to its end.
func (f *file) finish() {
	f.close()
	f.done, f.at, f.sum = true, f.seen, nil
}

func (f *file) format() ingest.Format {
	if f.out.Format == runtime.OutputJSONFile {
		return ingest.FormatJSONFile
	}
	return ingest.FormatLines
}

// identify reads on until the first line is complete; it costs at most one buffer per call. n is 0 at the end of the file.
func (f *file) identify(buf []byte) (n int, err error) {
	n, err = f.f.ReadAt(buf, f.head)
	if n == 0 {
		return 0, ignoreEOF(err)
	}
	line, _, whole := bytes.Cut(buf[:n], []byte{'\n'})
	_, _ = f.sum.Write(line)
	f.head += int64(len(line))
	if whole {
		f.first, f.key = f.head+1, hex.EncodeToString(f.sum.Sum(nil))
	}
	return n, nil
}

// resume sets where reading begins: at a position that was stored for the file, if it is the end of a line there. It is not
// when a decoy has shortened its log, or two files begin with the same line: then everything is read, and the numbers of the
// lines say what was read before.
func (f *file) resume(position int64) (int64, error) {
	if position > 0 {
		last := []byte{0}
		info, err := f.f.Stat()
		if err == nil {
			_, err = f.f.ReadAt(last, position-1)
		}
		if ignoreEOF(err) != nil {
			return 0, err
		}
		if position > info.Size() || last[0] != '\n' {
			position = 0
		}
	}
	f.offset, f.lines = position, ingest.NewSplitter(f.format(), position)
	return position, nil
}

// read takes the next bytes; n is 0 at the end.
func (f *file) read(buf []byte) (n int, err error) {
	n, err = f.f.ReadAt(buf, f.offset)
	f.offset += int64(n)
	if n > 0 {
		return n, nil
	}
	return 0, ignoreEOF(err)
}

// cut reports whether the file is shorter than what was read of it.
func (f *file) cut() bool {
	if f.f == nil {
		return false
	}
	info, err := f.f.Stat()
	return err == nil && info.Size() < max(f.offset, f.head)
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
