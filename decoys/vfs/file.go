package vfs

import (
	"crypto/rand"
	"io"
	"io/fs"
	"os"
	"sync"
	"syscall"
)

// File is an open file. Its methods are safe for concurrent use.
type File struct {
	fs      *FS
	node    *Node
	name    string
	flag    int
	mu      sync.Mutex
	off     int64
	snap    []byte // content of a generated file
	gen     bool
	dev     string
	written bool
	closed  bool
}

// Open opens the absolute path p with the flags of the os package.
func (f *FS) Open(c Cred, p string, flag int, perm fs.FileMode) (*File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, _, n, e := f.walk(c, p, true)
	if e != 0 {
		return nil, fail("open", p, e)
	}
	if n == nil {
		if flag&os.O_CREATE == 0 {
			return nil, fail("open", p, syscall.ENOENT)
		}
		n = f.node(perm&0o777, c)
		if err := f.place("open", c, f.target(c, p), n); err != nil {
			return nil, err
		}
	} else if e := openable(n, c, flag); e != 0 {
		return nil, fail("open", p, e)
	}
	h := &File{fs: f, node: n, name: p, flag: flag}
	if n.mode&fs.ModeDevice != 0 {
		h.dev = n.target
	} else if n.gen != nil {
		h.gen, h.snap = true, n.gen()
	}
	if flag&os.O_TRUNC != 0 && h.dev == "" && flag&(os.O_WRONLY|os.O_RDWR) != 0 {
		f.resize(n, 0)
		h.gen, h.written = false, true
	}
	return h, nil
}

// target follows a dangling link so that creation happens where it points.
func (f *FS) target(c Cred, p string) string {
	for range maxLinks {
		_, _, n, e := f.walk(c, p, false)
		if e != 0 || n == nil || n.mode&fs.ModeSymlink == 0 {
			return p
		}
		p = Clean(p+"/..", n.target)
	}
	return p
}

func openable(n *Node, c Cred, flag int) syscall.Errno {
	writes := flag&(os.O_WRONLY|os.O_RDWR) != 0
	switch {
	case flag&os.O_EXCL != 0 && flag&os.O_CREATE != 0:
		return syscall.EEXIST
	case n.mode.IsDir() && writes:
		return syscall.EISDIR
	case writes && !allowed(n, c, 2), flag&os.O_WRONLY == 0 && !allowed(n, c, 4):
		return syscall.EACCES
	case writes && n.gen != nil && n.mode&0o222 == 0:
		return syscall.EACCES
	}
	return 0
}

// resize sets the length of a regular file, copying shared content and accounting for the change.
func (f *FS) resize(n *Node, size int64) bool {
	old := int64(len(n.data))
	if n.shared || n.gen != nil {
		old = 0
	}
	if size > MaxFileBytes || (f.sealed && f.used-old+size > f.maxBytes) {
		return false
	}
	if n.gen != nil {
		n.data, n.gen = n.gen(), nil
		n.shared = true
	}
	if n.shared {
		n.data = append([]byte(nil), n.data...)
		n.shared = false
		old = 0
	}
	for int64(len(n.data)) < size {
		n.data = append(n.data, make([]byte, size-int64(len(n.data)))...)
	}
	n.data = n.data[:size]
	f.used += size - old
	n.mtime = f.now()
	return true
}

// Name returns the path the file was opened under.
func (h *File) Name() string { return h.name }

// Device returns the name of the device, empty for other files.
func (h *File) Device() string { return h.dev }

// Written reports whether the content was changed through this handle.
func (h *File) Written() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.written
}

// Bytes returns a copy of the whole content.
func (h *File) Bytes() []byte {
	h.fs.mu.RLock()
	defer h.fs.mu.RUnlock()
	return append([]byte(nil), h.content()...)
}

func (h *File) content() []byte {
	if h.gen {
		return h.snap
	}
	return h.node.data
}

// Info returns a snapshot of the node.
func (h *File) Info() Info {
	h.fs.mu.RLock()
	defer h.fs.mu.RUnlock()
	return h.fs.info(h.name, h.node)
}

// Read implements io.Reader.
func (h *File) Read(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n, err := h.readAt(p, h.off)
	h.off += int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}

// ReadAt implements io.ReaderAt.
func (h *File) ReadAt(p []byte, off int64) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.readAt(p, off)
}

func (h *File) readAt(p []byte, off int64) (int, error) {
	switch h.dev {
	case "null", "tty":
		return 0, io.EOF
	case "zero", "full":
		clear(p)
		return len(p), nil
	case "random":
		return rand.Read(p)
	}
	h.fs.mu.RLock()
	defer h.fs.mu.RUnlock()
	if h.node.mode.IsDir() {
		return 0, fail("read", h.name, syscall.EISDIR)
	}
	c := h.content()
	if off < 0 || off >= int64(len(c)) {
		return 0, io.EOF
	}
	n := copy(p, c[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Write implements io.Writer.
func (h *File) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	off := h.off
	if h.flag&os.O_APPEND != 0 && h.dev == "" {
		h.fs.mu.RLock()
		off = int64(len(h.content()))
		h.fs.mu.RUnlock()
	}
	n, err := h.writeAt(p, off)
	h.off = off + int64(n)
	return n, err
}

// WriteAt implements io.WriterAt.
func (h *File) WriteAt(p []byte, off int64) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.writeAt(p, off)
}

func (h *File) writeAt(p []byte, off int64) (int, error) {
	switch {
	case h.dev == "full":
		return 0, fail("write", h.name, syscall.ENOSPC)
	case h.dev != "":
		return len(p), nil
	case h.flag&(os.O_WRONLY|os.O_RDWR) == 0:
		return 0, fail("write", h.name, syscall.EBADF)
	case off < 0 || off > MaxFileBytes:
		return 0, fail("write", h.name, syscall.EFBIG)
	}
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	h.gen = false
	size := max(int64(len(h.node.data)), off+int64(len(p)))
	if !h.fs.resize(h.node, size) {
		return 0, fail("write", h.name, syscall.ENOSPC)
	}
	h.written = true
	return copy(h.node.data[off:], p), nil
}

// Truncate sets the length.
func (h *File) Truncate(size int64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if h.dev == "" && (size < 0 || !h.fs.resize(h.node, size)) {
		return fail("truncate", h.name, syscall.ENOSPC)
	}
	h.written, h.gen = true, false
	return nil
}

// Close releases the handle. A second call fails with fs.ErrClosed.
func (h *File) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return fs.ErrClosed
	}
	h.closed = true
	return nil
}

// ReadFile returns the content of p, bounded by MaxFileBytes.
func (f *FS) ReadFile(c Cred, p string) ([]byte, error) {
	h, err := f.Open(c, p, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	if h.node.mode.IsDir() {
		return nil, fail("read", p, syscall.EISDIR)
	}
	return h.Bytes(), nil
}
