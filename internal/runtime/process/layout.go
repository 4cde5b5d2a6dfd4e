package process

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/decnet/decnet/internal/runtime"
	"github.com/decnet/decnet/internal/runtime/boot"
)

var (
	slugPattern = regexp.MustCompile(`^[a-z0-9_]{1,32}$`)
	keyPattern  = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,71}$`)
)

// ref names one decoy: a service of a decky.
type ref struct {
	decky   uuid.UUID
	service string
}

// layout is where things lie. Both roots are absolute and free of symbolic links, because the configuration's path in
// a decoy's arguments identifies it.
type layout struct {
	decoys    string
	artifacts string
}

func newLayout(decoys, artifacts string) (layout, error) {
	var l layout
	var err error
	if l.decoys, err = ownRoot(decoys, 0o711); err != nil {
		return l, err
	}
	l.artifacts, err = ownRoot(artifacts, 0o755)
	return l, err
}

func ownRoot(path string, perm fs.FileMode) (string, error) {
	if path == "" {
		return "", errors.New("runtime folder is not set")
	}
	if err := os.MkdirAll(path, perm); err != nil {
		return "", fmt.Errorf("make runtime folder: %w", err)
	}
	abs, err := filepath.Abs(path)
	if err == nil {
		abs, err = filepath.EvalSymlinks(abs)
	}
	if err != nil {
		return "", fmt.Errorf("locate runtime folder: %w", err)
	}
	return abs, nil
}

func (l layout) decky(id uuid.UUID) string { return filepath.Join(l.decoys, id.String()) }

func (l layout) service(r ref) string {
	return filepath.Join(l.decky(r.decky), runtime.ServiceFileName(r.service))
}
func (l layout) config(r ref) string { return filepath.Join(l.service(r), "config.json") }
func (l layout) record(r ref) string { return filepath.Join(l.service(r), "state.json") }
func (l layout) log(r ref) string    { return filepath.Join(l.service(r), "log") }
func (l layout) state(r ref) string  { return filepath.Join(l.service(r), "state") }

func (l layout) spool(key, service string) string {
	return filepath.Join(l.artifacts, key, runtime.SpoolName(service))
}

// parseConfig returns the decoy whose configuration path is, if it is one of this installation.
func (l layout) parseConfig(path string) (ref, bool) {
	rest, ok := strings.CutPrefix(path, l.decoys+"/")
	if !ok {
		return ref{}, false
	}
	parts := strings.Split(rest, "/")
	if len(parts) != 3 {
		return ref{}, false
	}
	id, err := uuid.Parse(parts[0])
	if err != nil {
		return ref{}, false
	}
	r := ref{id, runtime.ServiceFromFileName(parts[1])}
	return r, slugPattern.MatchString(r.service) && l.config(r) == path
}

// onDisk lists the decoys of a decky that have a folder. A missing decky has none.
func (l layout) onDisk(id uuid.UUID) ([]ref, error) {
	entries, err := os.ReadDir(l.decky(id))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list decoys of decky %s: %w", id, err)
	}
	var refs []ref
	for _, e := range entries {
		if r, ok := l.parseConfig(filepath.Join(l.decky(id), e.Name(), "config.json")); ok {
			refs = append(refs, r)
		}
	}
	return refs, nil
}

// deckies lists the deckies that have a folder.
func (l layout) deckies() ([]uuid.UUID, error) {
	entries, err := os.ReadDir(l.decoys)
	if err != nil {
		return nil, fmt.Errorf("list deckies: %w", err)
	}
	var ids []uuid.UUID
	for _, e := range entries {
		if id, err := uuid.Parse(e.Name()); err == nil && id.String() == e.Name() {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// prepare makes the folders of one decoy. Only state and spool belong to the decoy's user: what lies beside them
// (configuration, record, log) cannot be replaced by it.
func (l layout) prepare(r ref, key string, uid, gid int) error {
	for _, dir := range []string{l.decky(r.decky), l.service(r)} {
		if err := os.MkdirAll(dir, 0o711); err != nil { //nolint:gosec // the decoy's user passes through to its state
			return fmt.Errorf("make decoy folder: %w", err)
		}
	}
	if err := os.MkdirAll(filepath.Join(l.artifacts, key), 0o711); err != nil { //nolint:gosec // passes through to its spool
		return fmt.Errorf("make artifact folder: %w", err)
	}
	for _, dir := range []string{l.state(r), l.spool(key, r.service)} {
		if err := boot.OwnDir(dir, uid, gid); err != nil {
			return fmt.Errorf("make decoy folder: %w", err)
		}
	}
	return nil
}

// keepLog moves the log of an ended decoy to its spool. Doing it again does nothing. The spool was the decoy's to
// write, so every step stays inside it whatever links it holds.
func (l layout) keepLog(r ref, key string, bootID uuid.UUID) error {
	src := l.log(r)
	if info, err := os.Lstat(src); err != nil || info.Size() == 0 {
		return boot.IgnoreMissing(err)
	}
	spool := l.spool(key, r.service)
	if err := os.MkdirAll(spool, 0o750); err != nil {
		return err
	}
	root, err := os.OpenRoot(spool)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	dir, err := boot.LogFolder(root)
	if err != nil {
		return err
	}
	defer dir.Close()
	name := bootID.String() + ".log"
	err = unix.Renameat2(unix.AT_FDCWD, src, int(dir.Fd()), name, 0)
	if errors.Is(err, unix.EXDEV) {
		return copyLog(src, root, "log/"+name)
	}
	return err
}

func copyLog(src string, root *os.Root, name string) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	part := name + ".part"
	_ = root.Remove(part)
	out, err := root.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Close()); err != nil {
		return err
	}
	return errors.Join(root.Rename(part, name), os.Remove(src))
}
