package retention

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/decnet/decnet/internal/ingest"
)

// Outcome is what became of a file that was to be removed.
type Outcome string

// Outcomes.
const (
	Removed Outcome = "removed"
	// Missing files are gone already.
	Missing Outcome = "missing"
	// Foreign is what is not one of our files, or not any more; it is left alone.
	Foreign Outcome = "foreign"
)

// Remove removes a file. Only an error means that it may be there tomorrow.
func (t Tree) Remove(f File) (Outcome, error) {
	if !f.ours() {
		return Foreign, nil
	}
	outcome := Missing
	err := t.in(f.Kind == Log, f.folder(), func(dir *os.Root) error {
		info, err := dir.Lstat(f.Name)
		if err != nil {
			return err
		}
		if _, _, ok := regular(info); !ok {
			return errForeign
		}
		outcome = Removed
		return dir.Remove(f.Name)
	})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Missing, nil
	case errors.Is(err, errForeign):
		return Foreign, nil
	}
	return outcome, err
}

// ours reports whether the names of a file are of our patterns.
func (f File) ours() bool {
	if !servicePattern.MatchString(f.Service) {
		return false
	}
	switch f.Kind {
	case Artifact:
		return keyPattern.MatchString(f.Owner) && ingest.ValidStoredAs(f.Name)
	case Recording:
		_, ok := f.Day()
		return ok && keyPattern.MatchString(f.Owner) && Recorded(f.Service)
	case Log:
		return idPattern.MatchString(f.Owner) && keyPattern.MatchString(f.key) && logPattern.MatchString(f.Name)
	}
	return false
}

func (f File) folder() string {
	switch f.Kind {
	case Recording:
		return path.Join(f.Owner, f.Service, transcripts)
	case Log:
		return path.Join(f.Owner, f.key, f.Service)
	case Artifact:
	}
	return path.Join(f.Owner, f.Service)
}

// RemoveFolder removes a folder if it is empty still, and reports whether it did.
func (t Tree) RemoveFolder(f Folder) bool {
	parent, name := path.Split(f.path)
	return t.in(f.kept, strings.TrimSuffix(parent, "/"), func(dir *os.Root) error {
		info, err := dir.Lstat(name)
		if err == nil && !info.IsDir() {
			err = errForeign
		}
		if err != nil {
			return err
		}
		return dir.Remove(name)
	}) == nil
}

// in calls do with a folder below a root, reached without following a link.
func (t Tree) in(kept bool, folder string, do func(*os.Root) error) error {
	root, err := t.open(kept)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	return within(root, folder, do)
}

func within(dir *os.Root, folder string, do func(*os.Root) error) error {
	if folder == "" {
		return do(dir)
	}
	name, rest, _ := strings.Cut(folder, "/")
	info, err := dir.Lstat(name)
	if err != nil {
		return err
	}
	next, err := open(dir, name, info)
	if err != nil {
		return err
	}
	defer func() { _ = next.Close() }()
	return within(next, rest, do)
}
