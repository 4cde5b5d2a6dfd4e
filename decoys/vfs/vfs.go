// Package vfs is the file system an intruder sees: a tree in memory that has nothing to do with the real one.
//
// Contents of the base image are shared byte slices or generators and are copied when first written. The tree is bounded
// in bytes and in nodes; beyond that writes fail with ENOSPC as on a full disk. Errors are *fs.PathError values holding
// a syscall.Errno, so that callers can print what a real system prints. An FS is safe for concurrent use.
package vfs

import (
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Limits of a tree. MaxFileBytes is per file.
const (
	MaxFileBytes  = 50 << 20
	maxLinks      = 40
	maxNameBytes  = 255
	maxPathBytes  = 4096
	dirApparentSz = 4096
)

// Cred is who asks. UID 0 may do everything.
type Cred struct {
	UID, GID int
	Groups   []int
}

// Node is one file, directory, link or device. Its fields are guarded by the FS it belongs to.
type Node struct {
	mode   fs.FileMode
	uid    int
	gid    int
	mtime  time.Time
	data   []byte
	gen    func() []byte
	size   int64 // apparent size of generated content, when it is not worth generating
	target string
	kids   map[string]*Node
	links  int
	ino    uint64
	shared bool // data belongs to the base image
}

// FS is a tree. Create it with New.
type FS struct {
	mu       sync.RWMutex
	root     *Node
	now      func() time.Time
	used     int64
	nodes    int
	maxBytes int64
	maxNodes int
	nextIno  uint64
	sealed   bool
}

// New returns an empty tree whose writes after Seal may add at most maxBytes and maxNodes.
func New(now func() time.Time, maxBytes int64, maxNodes int) *FS {
	f := &FS{now: now, maxBytes: maxBytes, maxNodes: maxNodes, nextIno: 2}
	f.root = f.node(fs.ModeDir|0o755, Cred{})
	return f
}

// Seal ends the building of the base image: from now on quotas count.
func (f *FS) Seal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sealed, f.used, f.nodes = true, 0, 0
}

// Used returns the bytes and nodes added since Seal.
func (f *FS) Used() (bytes int64, nodes int) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.used, f.nodes
}

func (f *FS) node(mode fs.FileMode, c Cred) *Node {
	f.nextIno++
	n := &Node{mode: mode, uid: c.UID, gid: c.GID, mtime: f.now(), links: 1, ino: f.nextIno}
	if mode.IsDir() {
		n.kids = map[string]*Node{}
	}
	return n
}

// Info is a snapshot of a node. It implements fs.FileInfo; Sys returns a *syscall.Stat_t.
type Info struct {
	name   string
	size   int64
	mode   fs.FileMode
	mtime  time.Time
	Target string
	Ino    uint64
	Links  int
	UID    int
	GID    int
}

// Name returns the base name the node was asked for under.
func (i Info) Name() string { return i.name }

// Size returns the length in bytes.
func (i Info) Size() int64 { return i.size }

// Mode returns type and permission bits.
func (i Info) Mode() fs.FileMode { return i.mode }

// ModTime returns the last change.
func (i Info) ModTime() time.Time { return i.mtime }

// IsDir reports whether the node is a directory.
func (i Info) IsDir() bool { return i.mode.IsDir() }

// Sys returns a *syscall.Stat_t holding inode, links, owner and size.
func (i Info) Sys() any {
	st := &syscall.Stat_t{Ino: i.Ino, Uid: uint32(i.UID), Gid: uint32(i.GID), Size: i.size}
	st.Nlink += nlink(i.Links)
	st.Mtim = syscall.NsecToTimespec(i.mtime.UnixNano())
	st.Atim, st.Ctim = st.Mtim, st.Mtim
	return st
}

func (f *FS) info(name string, n *Node) Info {
	i := Info{name: name, mode: n.mode, mtime: n.mtime, Target: n.target, Ino: n.ino, Links: n.links, UID: n.uid, GID: n.gid}
	switch {
	case n.mode.IsDir():
		i.size = dirApparentSz
		i.Links = 2
		for _, k := range n.kids {
			if k.mode.IsDir() {
				i.Links++
			}
		}
	case n.mode&fs.ModeSymlink != 0:
		i.size = int64(len(n.target))
	case n.size > 0 && n.gen != nil:
		i.size = n.size
	case n.gen == nil:
		i.size = int64(len(n.data))
	}
	return i
}

func fail(op, p string, e syscall.Errno) error { return &fs.PathError{Op: op, Path: p, Err: e} }

// Clean returns p as an absolute path, taken relative to dir when it is not one.
func Clean(dir, p string) string {
	if !strings.HasPrefix(p, "/") {
		p = dir + "/" + p
	}
	return path.Clean("/" + p)
}

// walk resolves p, which must be absolute. It returns the parent directory, the last name and the node, nil when only
// the last element is missing.
func (f *FS) walk(c Cred, p string, follow bool) (parent *Node, name string, n *Node, err syscall.Errno) {
	if len(p) > maxPathBytes {
		return nil, "", nil, syscall.ENAMETOOLONG
	}
	trail := []*Node{f.root}
	names := []string{""}
	rest := strings.Split(strings.Trim(path.Clean(p), "/"), "/")
	for hops := 0; len(rest) > 0; {
		el := rest[0]
		rest = rest[1:]
		cur := trail[len(trail)-1]
		switch {
		case el == "" || el == ".":
			continue
		case len(el) > maxNameBytes:
			return nil, "", nil, syscall.ENAMETOOLONG
		case cur == nil:
			return nil, "", nil, syscall.ENOENT
		case !cur.mode.IsDir():
			return nil, "", nil, syscall.ENOTDIR
		case !allowed(cur, c, 1):
			return nil, "", nil, syscall.EACCES
		case el == "..":
			if len(trail) > 1 {
				trail, names = trail[:len(trail)-1], names[:len(names)-1]
			}
			continue
		}
		k := cur.kids[el]
		if k != nil && k.mode&fs.ModeSymlink != 0 && (follow || len(rest) > 0) {
			if hops++; hops > maxLinks {
				return nil, "", nil, syscall.ELOOP
			}
			if strings.HasPrefix(k.target, "/") {
				trail, names = trail[:1], names[:1]
			}
			rest = append(strings.Split(strings.Trim(k.target, "/"), "/"), rest...)
			continue
		}
		trail, names = append(trail, k), append(names, el)
	}
	if len(trail) == 1 {
		return f.root, "/", f.root, 0
	}
	return trail[len(trail)-2], names[len(names)-1], trail[len(trail)-1], 0
}

// allowed checks one permission bit: 4 read, 2 write, 1 execute or search.
func allowed(n *Node, c Cred, bit fs.FileMode) bool {
	if c.UID == 0 {
		return bit != 1 || n.mode.IsDir() || n.mode&0o111 != 0
	}
	switch {
	case n.uid == c.UID:
		return n.mode&(bit<<6) != 0
	case n.gid == c.GID || slices.Contains(c.Groups, n.gid):
		return n.mode&(bit<<3) != 0
	}
	return n.mode&bit != 0
}

func (f *FS) get(c Cred, op, p string, follow bool) (*Node, error) {
	_, _, n, e := f.walk(c, p, follow)
	if e == 0 && n == nil {
		e = syscall.ENOENT
	}
	if e != 0 {
		return nil, fail(op, p, e)
	}
	return n, nil
}

// Stat returns the node at the absolute path p.
func (f *FS) Stat(c Cred, p string, follow bool) (Info, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	n, err := f.get(c, "stat", p, follow)
	if err != nil {
		return Info{}, err
	}
	return f.info(path.Base(p), n), nil
}

// Access checks permission bits (4 read, 2 write, 1 execute) on p.
func (f *FS) Access(c Cred, p string, bits fs.FileMode) error {
	f.mu.RLock()
	defer f.mu.RUnlock()
	n, err := f.get(c, "access", p, true)
	if err != nil {
		return err
	}
	for _, b := range []fs.FileMode{4, 2, 1} {
		if bits&b != 0 && !allowed(n, c, b) {
			return fail("access", p, syscall.EACCES)
		}
	}
	return nil
}

// ReadDir lists a directory, sorted by name.
func (f *FS) ReadDir(c Cred, p string) ([]Info, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	n, err := f.get(c, "open", p, true)
	switch {
	case err != nil:
		return nil, err
	case !n.mode.IsDir():
		return nil, fail("open", p, syscall.ENOTDIR)
	case !allowed(n, c, 4):
		return nil, fail("open", p, syscall.EACCES)
	}
	var out []Info
	for _, name := range slices.Sorted(maps.Keys(n.kids)) {
		out = append(out, f.info(name, n.kids[name]))
	}
	return out, nil
}

// Real returns p with all symbolic links resolved.
func (f *FS) Real(c Cred, p string) (string, error) {
	for range maxLinks {
		i, err := f.Stat(c, p, false)
		if err != nil {
			return "", err
		}
		if i.mode&fs.ModeSymlink == 0 {
			if p == "/" {
				return p, nil
			}
			dir, err := f.Real(c, path.Dir(p))
			return Clean(dir, path.Base(p)), err
		}
		p = Clean(path.Dir(p), i.Target)
	}
	return "", fail("stat", p, syscall.ELOOP)
}
