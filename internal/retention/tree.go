// Package retention finds and removes the files that decoys leave behind: artifacts, shards of recordings and kept logs. It
// knows names and files, not which of them may go.
//
// Decoys can write below the artifacts root. The invariant: nothing is opened but folders, no symbolic link is followed, and
// only regular files with names of our patterns and one name are counted or removed, in the folder they were found in.
// Everything else is foreign: counted as such and left alone.
package retention

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// Kind is what a file is.
type Kind string

// Kinds.
const (
	Artifact  Kind = "artifact"
	Recording Kind = "recording"
	Log       Kind = "log"
)

// Kinds returns all kinds.
func Kinds() []Kind { return []Kind{Artifact, Recording, Log} }

// File is a file of one of our kinds.
type File struct {
	Kind Kind
	// Owner is the key of a decky, or the id of one whose logs are kept outside of its folder.
	Owner string
	// Service is the folder of the service: a slug with "-" for "_".
	Service string
	Name    string
	// Bytes is the room the file takes, whatever size it claims.
	Bytes int64
	// At is when it was written last. A time that was set ahead does not count.
	At time.Time

	kept bool // below the root of kept logs
}

// Day returns the day of a recording, its midnight in UTC; ok is false for what is none of ours.
func (f File) Day() (day time.Time, ok bool) {
	if f.Kind != Recording || !shardPattern.MatchString(f.Name) {
		return time.Time{}, false
	}
	day, err := time.Parse(time.DateOnly, strings.TrimSuffix(strings.TrimPrefix(f.Name, "sessions-"), ".jsonl"))
	return day, err == nil
}

// Names of bus sheet section 6; \z and not $, so that a trailing line feed does not pass.
var (
	ownerPattern   = regexp.MustCompile(`\A[a-z0-9][a-z0-9-]{0,62}\z`)
	servicePattern = regexp.MustCompile(`\A[a-z0-9][a-z0-9-]{0,31}\z`)
	storedPattern  = regexp.MustCompile(`\A\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z_[a-f0-9]{12}_[A-Za-z0-9._-]{1,255}\z`)
	shardPattern   = regexp.MustCompile(`\Asessions-\d{4}-\d{2}-\d{2}\.jsonl\z`)
	logPattern     = regexp.MustCompile(`\A[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.log\z`)
	keptPattern    = regexp.MustCompile(`\A[A-Za-z0-9][A-Za-z0-9_-]{0,127}\.log\z`)
)

const (
	transcripts = "transcripts"
	logs        = "log"
)

// Recorded reports whether a service, as a folder, has recordings.
func Recorded(service string) bool { return service == "ssh" || service == "telnet" }

// maxEntries bounds how many entries of one folder are looked at: a decoy can make as many as the disk holds.
const maxEntries = 1_000_000

const readBatch = 512

// Tree is where the files of one host are. A folder that does not exist has no files.
type Tree struct {
	// Artifacts has `<decky key>/<service>/`, which decoys can write to: artifacts, "transcripts/" and "log/".
	Artifacts string
	// Kept has logs of decoys that ended as `<decky id>/<service>/*.log`; "" for none.
	Kept string
}

// Found is what a walk found.
type Found struct {
	// Foreign counts what is not ours.
	Foreign int
	// Idle are empty folders that nobody changed for an hour, as paths `<owner>` and `<owner>/<service>...`, deepest first.
	Idle []Folder
}

// Folder is an empty folder.
type Folder struct {
	Owner string
	path  string
	kept  bool
}

// walk is one walk over a tree.
type walk struct {
	*Found
	ctx   context.Context
	tree  Tree
	idle  time.Time
	kept  bool
	visit func(File)
}

// Walk calls visit for every file of ours, in no order. Folders that cannot be read are errors only at the top.
func (t Tree) Walk(ctx context.Context, now time.Time, visit func(File)) (Found, error) {
	var found Found
	for _, kept := range []bool{false, true} {
		dir := t.dir(kept)
		if dir == "" {
			continue
		}
		root, err := os.OpenRoot(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return found, err
		}
		w := &walk{Found: &found, ctx: ctx, tree: t, idle: now.Add(-idleAfter), kept: kept, visit: visit}
		err = w.owners(root)
		_ = root.Close()
		if err != nil {
			return found, err
		}
	}
	return found, ctx.Err()
}

// idleAfter is how long an empty folder must have been left alone: one that was just made is about to be used.
const idleAfter = time.Hour

func (t Tree) dir(kept bool) string {
	if kept {
		return t.Kept
	}
	return t.Artifacts
}

func (w *walk) owners(root *os.Root) error {
	_, err := w.entries(root, func(name string, info fs.FileInfo) {
		if !ownerPattern.MatchString(name) || !info.IsDir() {
			w.Foreign++
			return
		}
		w.folder(root, name, info, name, name, func(owner *os.Root, service string, info fs.FileInfo) {
			if !servicePattern.MatchString(service) || !info.IsDir() {
				w.Foreign++
				return
			}
			w.folder(owner, service, info, name, path.Join(name, service), func(spool *os.Root, entry string, info fs.FileInfo) {
				w.spoolEntry(spool, entry, info, File{Owner: name, Service: service, Name: entry, kept: w.kept})
			})
		})
	})
	return err
}

// spoolEntry is for what lies in the folder of a service.
func (w *walk) spoolEntry(spool *os.Root, name string, info fs.FileInfo, f File) {
	at := path.Join(f.Owner, f.Service, name)
	switch {
	case w.kept && keptPattern.MatchString(name):
		w.file(info, Log, f)
	case w.kept:
		w.Foreign++
	case info.IsDir() && name == transcripts && Recorded(f.Service):
		w.folder(spool, name, info, f.Owner, at, func(_ *os.Root, name string, info fs.FileInfo) {
			f.Name = name
			if _, ok := (File{Kind: Recording, Name: name}).Day(); !ok {
				w.Foreign++
				return
			}
			w.file(info, Recording, f)
		})
	case info.IsDir() && name == logs:
		w.folder(spool, name, info, f.Owner, at, func(_ *os.Root, name string, info fs.FileInfo) {
			f.Name = name
			if !logPattern.MatchString(name) {
				w.Foreign++
				return
			}
			w.file(info, Log, f)
		})
	case storedPattern.MatchString(name):
		w.file(info, Artifact, f)
	default:
		w.Foreign++
	}
}

func (w *walk) file(info fs.FileInfo, kind Kind, f File) {
	bytes, at, ok := regular(info)
	if !ok {
		w.Foreign++
		return
	}
	f.Kind, f.Bytes, f.At = kind, bytes, at
	w.visit(f)
}

// regular tells of a regular file what counts. A file with several names is none: it would count several times, and
// removing one name frees nothing.
func regular(info fs.FileInfo) (bytes int64, at time.Time, ok bool) {
	st, known := info.Sys().(*syscall.Stat_t)
	if !known || !info.Mode().IsRegular() || st.Nlink != 1 {
		return 0, time.Time{}, false
	}
	at = info.ModTime()
	if changed := time.Unix(st.Ctim.Unix()); changed.Before(at) {
		at = changed
	}
	return st.Blocks * 512, at, true
}

// folder visits the entries of a folder in another, which was just looked at.
func (w *walk) folder(
	parent *os.Root, name string, info fs.FileInfo, owner, at string, visit func(dir *os.Root, name string, info fs.FileInfo),
) {
	dir, err := open(parent, name, info)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		w.Foreign++
		return
	}
	defer func() { _ = dir.Close() }()
	n, err := w.entries(dir, func(name string, info fs.FileInfo) { visit(dir, name, info) })
	if n == 0 && err == nil && info.ModTime().Before(w.idle) {
		w.Idle = append(w.Idle, Folder{Owner: owner, path: at, kept: w.kept})
	}
}

// entries calls visit for what is in a folder, and returns how much that is.
func (w *walk) entries(dir *os.Root, visit func(name string, info fs.FileInfo)) (n int, err error) {
	f, err := dir.Open(".")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for n < maxEntries && w.ctx.Err() == nil {
		names, err := f.Readdirnames(readBatch)
		for _, name := range names {
			n++
			if info, err := dir.Lstat(name); err == nil {
				visit(name, info)
			}
		}
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
	return n, w.ctx.Err()
}

// errForeign is for something that is not what it was a moment ago, or never was ours.
var errForeign = errors.New("not a file of ours")

// open opens a folder that was looked at as info says. os.Root stays below the parent but follows links inside it; what is
// behind one is not what was looked at.
func open(parent *os.Root, name string, info fs.FileInfo) (*os.Root, error) {
	if !info.IsDir() {
		return nil, errForeign
	}
	dir, err := parent.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	opened, err := dir.Stat(".")
	if err == nil && !os.SameFile(opened, info) {
		err = errForeign
	}
	if err != nil {
		_ = dir.Close()
		return nil, err
	}
	return dir, nil
}
