package ingester

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/ingest"
	"github.com/decnet/decnet/internal/runtime"
)

// stream is everything one service of a decky has printed and prints: its files are read one after the other, so that the
// numbers of its lines are met in their order.
type stream struct {
	key    db.DeckyOutput
	source *ingest.Source // replaced, never changed
	known  bool           // source is that of the database
	files  []*file
	idle   bool // nothing was left to read when it was last looked at
}

// list takes over what is there now. Files that are read or wait to be, and are there no longer, come first: they are older.
func (s *stream) list(outputs []runtime.Output) {
	before := s.files
	s.files = nil
	listed := map[identity]bool{}
	for _, out := range outputs {
		for _, path := range out.Files {
			if f := look(path, out, before); f != nil && !listed[f.id] {
				listed[f.id] = true
				s.files = append(s.files, f)
			}
		}
	}
	var gone []*file
	for _, f := range before {
		switch {
		case listed[f.id]:
		case f.f != nil && !f.done:
			f.gone = true
			gone = append(gone, f)
		default:
			f.close()
		}
	}
	s.files = append(gone, s.files...)
	for i, f := range s.files {
		f.over = f.gone || i < len(s.files)-1 || f.out.Ended
	}
}

// look returns the file at a path, one of before if it is one of them, and nil for what is no regular file.
func look(path string, out runtime.Output, before []*file) *file {
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil
	}
	id := identity{dev: st.Dev, ino: st.Ino}
	seen := stamp{size: st.Size, at: time.Unix(st.Mtim.Unix())}
	i := slices.IndexFunc(before, func(f *file) bool { return f.id == id })
	var f *file
	if i >= 0 {
		f = before[i]
	} else {
		f = &file{id: id}
	}
	f.path, f.seen, f.out, f.gone = path, seen, out, false
	f.group = out.Files[len(out.Files)-1]
	if f.done && f.at != seen {
		f.done = false
	}
	// The engine deletes the oldest file of several while it goes on writing.
	if f.f == nil && !f.done && len(out.Files) > 1 {
		_ = f.open()
	}
	return f
}

// current returns the file to be read, nil when everything was.
func (s *stream) current() *file {
	for _, f := range s.files {
		if !f.done {
			return f
		}
	}
	return nil
}

// next returns the file after f.
func (s *stream) next(f *file) *file {
	if i := slices.Index(s.files, f); i >= 0 && i+1 < len(s.files) {
		return s.files[i+1]
	}
	return nil
}

// file names a file in the database.
func (s *stream) file(f *file) db.IngestFile {
	return db.IngestFile{DeckyID: s.key.DeckyID, Service: s.key.Service, File: f.key}
}

func (s *stream) close() {
	for _, f := range s.files {
		f.close()
	}
}
