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
	"slices"
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
	// Owner is the key of the decky; of logs its id, since keys are used again.
	Owner string
	// Service is the folder of the service: a slug with "-" for "_".
	Service string
	Name    string
	// Bytes is the room the file takes, whatever size it claims.
	Bytes int64
	// At is when it was written last. A time that was set ahead does not count.
	At time.Time

	key string // of logs, the folder between owner and service
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
	keyPattern     = regexp.MustCompile(`\A[a-z0-9][a-z0-9-]{0,71}\z`)
	servicePattern = regexp.MustCompile(`\A[a-z0-9][a-z0-9-]{0,31}\z`)
	shardPattern   = regexp.MustCompile(`\Asessions-\d{4}-\d{2}-\d{2}\.jsonl\z`)
	logPattern     = regexp.MustCompile(`\A[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.log\z`)
	idPattern      = regexp.MustCompile(`\A[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\z`)
)

const transcripts = "transcripts"

// Recorded reports whether a service, as a folder, has recordings.
func Recorded(service string) bool { return service == "ssh" || service == "telnet" }

// maxEntries bounds how many entries of one folder are looked at: a decoy can make as many as the disk holds.
const maxEntries = 1_000_000

const readBatch = 512

// Tree is where the files of one host are. A folder that does not exist has no files.
type Tree struct {
	// Artifacts has `<decky key>/<service>/` with artifacts and "transcripts/", where decoys can write.
	Artifacts string
	// Kept has the logs of decoys that ended as `<decky id>/<decky key>/<service>/<boot>.log`; "" for none.
	Kept string
}

// Found is what a walk found.
type Found struct {
	// Foreign counts what is not ours.
	Foreign int
	// Idle are empty folders that nobody changed for an hour.
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
	idle  time.Time
	kept  bool
	visit func(File)
}

// Walk calls visit for every file of ours, in no order. Folders that cannot be read are errors only at the top.
func (t Tree) Walk(ctx context.Context, now time.Time, visit func(File)) (Found, error) {
	var found Found
	for _, kept := range []bool{false, true} {
		root, err := t.open(kept)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return found, err
		}
		w := &walk{Found: &found, ctx: ctx, idle: now.Add(-idleAfter), kept: kept, visit: visit}
		if kept {
			_, err = w.below(root, []*regexp.Regexp{idPattern, keyPattern, servicePattern}, nil, w.log)
		} else {
			_, err = w.below(root, []*regexp.Regexp{keyPattern, servicePattern}, nil, w.spoolEntry)
		}
		_ = root.Close()
		if err != nil {
			return found, err
		}
	}
	return found, ctx.Err()
}

// idleAfter is how long an empty folder must have been left alone: one that was just made is about to be used.
const idleAfter = time.Hour

func (t Tree) open(kept bool) (*os.Root, error) {
	dir := t.Artifacts
	if kept {
		dir = t.Kept
	}
	if dir == "" {
		return nil, fs.ErrNotExist
	}
	return os.OpenRoot(dir)
}

// entry is called for something at a place below a root, in the folder it is in.
type entry func(dir *os.Root, at []string, info fs.FileInfo)

// below visits what is in the folders whose names are of the patterns, one for each level. n is how much is in the first.
func (w *walk) below(dir *os.Root, levels []*regexp.Regexp, at []string, visit entry) (n int, err error) {
	return w.entries(dir, func(name string, info fs.FileInfo) {
		here := append(slices.Clone(at), name)
		switch {
		case len(levels) == 0:
			visit(dir, here, info)
		case !levels[0].MatchString(name) || !info.IsDir():
			w.Foreign++
		default:
			w.folder(dir, here, info, levels[1:], visit)
		}
	})
}

// folder is below for a folder that was just looked at.
func (w *walk) folder(parent *os.Root, at []string, info fs.FileInfo, levels []*regexp.Regexp, visit entry) {
	dir, err := open(parent, at[len(at)-1], info)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		w.Foreign++
		return
	}
	defer func() { _ = dir.Close() }()
	n, err := w.below(dir, levels, at, visit)
	if n == 0 && err == nil && info.ModTime().Before(w.idle) {
		w.Idle = append(w.Idle, Folder{Owner: at[0], path: path.Join(at...), kept: w.kept})
	}
}

// spoolEntry is for what lies in the folder of a service.
func (w *walk) spoolEntry(dir *os.Root, at []string, info fs.FileInfo) {
	if at[2] == transcripts && info.IsDir() && Recorded(at[1]) {
		w.folder(dir, at, info, nil, func(_ *os.Root, at []string, info fs.FileInfo) {
			w.file(info, File{Kind: Recording, Owner: at[0], Service: at[1], Name: at[3]})
		})
		return
	}
	w.file(info, File{Kind: Artifact, Owner: at[0], Service: at[1], Name: at[2]})
}

func (w *walk) log(_ *os.Root, at []string, info fs.FileInfo) {
	w.file(info, File{Kind: Log, Owner: at[0], key: at[1], Service: at[2], Name: at[3]})
}

func (w *walk) file(info fs.FileInfo, f File) {
	bytes, at, ok := regular(info)
	if !ok || !f.ours() {
		w.Foreign++
		return
	}
	f.Bytes, f.At = bytes, at
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
