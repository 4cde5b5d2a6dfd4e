package vfs

import (
	"io/fs"
	"path"
	"strings"
	"syscall"
	"time"
)

// place adds a new node at p, whose parent must be writable for c.
func (f *FS) place(op string, c Cred, p string, n *Node) error {
	parent, name, old, e := f.walk(c, p, false)
	switch {
	case e != 0:
		return fail(op, p, e)
	case old != nil:
		return fail(op, p, syscall.EEXIST)
	case parent == nil:
		return fail(op, p, syscall.ENOENT)
	case !parent.mode.IsDir():
		return fail(op, p, syscall.ENOTDIR)
	case !allowed(parent, c, 2):
		return fail(op, p, syscall.EACCES)
	case f.sealed && f.nodes >= f.maxNodes:
		return fail(op, p, syscall.ENOSPC)
	}
	parent.kids[name] = n
	parent.mtime = f.now()
	f.nodes++
	return nil
}

// Mkdir creates one directory.
func (f *FS) Mkdir(c Cred, p string, perm fs.FileMode) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.place("mkdir", c, p, f.node(fs.ModeDir|perm&0o7777, c))
}

// Symlink creates a symbolic link at p.
func (f *FS) Symlink(c Cred, target, p string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.node(fs.ModeSymlink|0o777, c)
	n.target = target[:min(len(target), maxPathBytes)]
	return f.place("symlink", c, p, n)
}

// Link creates a hard link at p to the file old.
func (f *FS) Link(c Cred, old, p string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.get(c, "link", old, false)
	if err != nil {
		return err
	}
	if n.mode.IsDir() {
		return fail("link", old, syscall.EPERM)
	}
	if err := f.place("link", c, p, n); err != nil {
		return err
	}
	n.links++
	return nil
}

// Remove deletes a file or an empty directory.
func (f *FS) Remove(c Cred, p string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	parent, name, n, e := f.walk(c, p, false)
	switch {
	case e != 0:
		return fail("remove", p, e)
	case n == nil:
		return fail("remove", p, syscall.ENOENT)
	case n == f.root:
		return fail("remove", p, syscall.EBUSY)
	case !allowed(parent, c, 2) || !stickyOK(parent, n, c):
		return fail("remove", p, syscall.EACCES)
	case len(n.kids) > 0:
		return fail("remove", p, syscall.ENOTEMPTY)
	}
	f.drop(parent, name, n)
	return nil
}

func stickyOK(parent, n *Node, c Cred) bool {
	return parent.mode&fs.ModeSticky == 0 || c.UID == 0 || n.uid == c.UID || parent.uid == c.UID
}

func (f *FS) drop(parent *Node, name string, n *Node) {
	delete(parent.kids, name)
	parent.mtime = f.now()
	n.links--
	if f.nodes > 0 {
		f.nodes--
	}
	if n.links <= 0 && !n.shared {
		f.used = max(f.used-int64(len(n.data)), 0)
	}
}

// Rename moves a node. An existing file at the destination is replaced.
func (f *FS) Rename(c Cred, from, to string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	fp, fn, n, e := f.walk(c, from, false)
	if e != 0 || n == nil || n == f.root {
		return fail("rename", from, orErrno(e, syscall.ENOENT))
	}
	tp, tn, old, e := f.walk(c, to, false)
	switch {
	case e != 0 || tp == nil:
		return fail("rename", to, orErrno(e, syscall.ENOENT))
	case !tp.mode.IsDir():
		return fail("rename", to, syscall.ENOTDIR)
	case !allowed(fp, c, 2) || !allowed(tp, c, 2) || !stickyOK(fp, n, c):
		return fail("rename", from, syscall.EACCES)
	case n.mode.IsDir() && (to == from || strings.HasPrefix(to+"/", from+"/") || inside(n, tp)):
		return fail("rename", from, syscall.EINVAL)
	case old != nil && old != n && old.mode.IsDir() && (len(old.kids) > 0 || !n.mode.IsDir()):
		return fail("rename", to, syscall.ENOTEMPTY)
	case old == n:
		return nil
	}
	if old != nil {
		f.drop(tp, tn, old)
	}
	delete(fp.kids, fn)
	tp.kids[tn] = n
	fp.mtime, tp.mtime = f.now(), f.now()
	return nil
}

// inside reports whether dir is top or below it.
func inside(top, dir *Node) bool {
	if top == dir {
		return true
	}
	for _, k := range top.kids {
		if k.mode.IsDir() && inside(k, dir) {
			return true
		}
	}
	return false
}

func orErrno(e, other syscall.Errno) syscall.Errno {
	if e != 0 {
		return e
	}
	return other
}

// change applies do to the node at p when c owns it.
func (f *FS) change(op string, c Cred, p string, follow bool, do func(*Node) syscall.Errno) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.get(c, op, p, follow)
	if err != nil {
		return err
	}
	if c.UID != 0 && c.UID != n.uid {
		return fail(op, p, syscall.EPERM)
	}
	if e := do(n); e != 0 {
		return fail(op, p, e)
	}
	return nil
}

// Chmod sets the permission bits of p; type bits of perm are ignored.
func (f *FS) Chmod(c Cred, p string, perm fs.FileMode) error {
	const bits = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky
	return f.change("chmod", c, p, true, func(n *Node) syscall.Errno {
		n.mode = n.mode&^bits | perm&bits
		return 0
	})
}

// Chown sets owner and group; -1 keeps one.
func (f *FS) Chown(c Cred, p string, uid, gid int) error {
	return f.change("chown", c, p, true, func(n *Node) syscall.Errno {
		if uid >= 0 && uid != n.uid && c.UID != 0 {
			return syscall.EPERM
		}
		if uid >= 0 {
			n.uid = uid
		}
		if gid >= 0 {
			n.gid = gid
		}
		return 0
	})
}

// Chtimes sets the modification time.
func (f *FS) Chtimes(c Cred, p string, t time.Time) error {
	return f.change("utimes", c, p, true, func(n *Node) syscall.Errno {
		n.mtime = t
		return 0
	})
}

// Put adds a node to the base image, with missing parents, replacing what is there. It is for building a tree, not for
// intruders: quotas and permissions do not apply.
func (f *FS) Put(p string, o Entry) {
	f.mu.Lock()
	defer f.mu.Unlock()
	dir := f.root
	parts := strings.Split(strings.Trim(path.Clean(p), "/"), "/")
	for _, el := range parts[:len(parts)-1] {
		k := dir.kids[el]
		if k == nil {
			k = f.node(fs.ModeDir|0o755, Cred{})
			k.mtime = o.MTime
			dir.kids[el] = k
		}
		for k.mode&fs.ModeSymlink != 0 {
			_, _, k, _ = f.walk(Cred{}, Clean("/", k.target), true)
		}
		dir = k
	}
	n := f.node(o.Mode, Cred{UID: o.UID, GID: o.GID})
	n.mtime, n.data, n.gen, n.target, n.size, n.shared = o.MTime, o.Data, o.Gen, o.Target, o.Size, true
	name := parts[len(parts)-1]
	if old := dir.kids[name]; old != nil && old.mode.IsDir() && n.mode.IsDir() {
		n.kids = old.kids
	}
	dir.kids[name] = n
}

// Entry describes a node of the base image. Gen, when set, yields the content anew at every opening.
type Entry struct {
	Mode     fs.FileMode
	UID, GID int
	MTime    time.Time
	Data     []byte
	Gen      func() []byte
	Size     int64
	Target   string
}
