package embedded

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/gofrs/flock"

	"github.com/decnet/decnet/internal/fault"
)

// secretKeyBytes is the size of the installation key (AES-256 and HMAC-SHA-256 keys are derived from it).
const secretKeyBytes = 32

const lockName = "decnet.lock"

// DataDir is a locked data directory. Its methods may be called from several goroutines.
type DataDir struct {
	path string
	lock *flock.Flock
}

// held keeps the locks of this process reachable: a collected one would close its file and so release the directory.
var held sync.Map

// Lock creates dir with the layout of the contracts page where it is missing, takes its lock and creates the
// installation key once. Everything is private to this user; started by root, the directories on the way to what an
// unprivileged child needs can be traversed but not listed. It refuses, with a fault.Conflict, a directory that
// another process holds, and one that is neither empty nor decnet's.
func Lock(dir string) (*DataDir, error) {
	path, err := claimDir(dir)
	if err != nil {
		return nil, err
	}
	d := &DataDir{path: path}
	if err := d.acquire(); err != nil {
		return nil, err
	}
	if err := d.layout(); err != nil {
		return nil, errors.Join(err, d.Unlock())
	}
	return d, nil
}

// claimDir creates dir if needed and returns its absolute path without symbolic links. A directory full of foreign
// files is refused before anything in it changes its mode.
func claimDir(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("create data directory: %w", err)
	}
	path, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("resolve data directory: %w", err)
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return "", fmt.Errorf("resolve data directory: %w", err)
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return "", fmt.Errorf("read data directory: %w", err)
	}
	foreign := false
	for _, e := range entries {
		if e.Name() == lockName {
			return path, nil
		}
		foreign = foreign || e.Name() != "lost+found"
	}
	if foreign {
		return "", fault.New(fault.Conflict, "data_dir_foreign", "%s is not empty and no decnet data directory: choose another --data-dir", path)
	}
	return path, nil
}

func (d *DataDir) acquire() error {
	d.lock = flock.New(filepath.Join(d.path, lockName), flock.SetFlag(os.O_CREATE|os.O_RDWR), flock.SetPermissions(0o600))
	free, err := d.lock.TryLock()
	if err != nil {
		return fmt.Errorf("lock data directory: %w", err)
	}
	if !free {
		return fault.New(fault.Conflict, "data_dir_locked", "%s is in use by another decnet process (%s)", d.path, d.holder())
	}
	// For the refusal above only: the lock itself is what counts.
	if err := os.WriteFile(d.lock.Path(), []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600); err != nil {
		return errors.Join(fmt.Errorf("write lock file: %w", err), d.lock.Unlock())
	}
	held.Store(d, struct{}{})
	return nil
}

func (d *DataDir) holder() string {
	text, err := os.ReadFile(d.lock.Path())
	pid, convErr := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || convErr != nil {
		return "pid unknown"
	}
	return "pid " + strconv.Itoa(pid)
}

// Unlock releases the directory; the DataDir must not be used afterwards.
func (d *DataDir) Unlock() error {
	held.Delete(d)
	if err := d.lock.Unlock(); err != nil {
		return fmt.Errorf("unlock data directory: %w", err)
	}
	return nil
}

func (d *DataDir) layout() error {
	for name, mode := range map[string]fs.FileMode{
		"": traversable(), "postgres": traversable(), "run": traversable(), "decoys": traversable(),
		"nats": 0o700, "temporal": 0o700, "artifacts": 0o700,
	} {
		path := filepath.Join(d.path, name)
		if err := os.MkdirAll(path, 0o700); err != nil {
			return fmt.Errorf("create data directory: %w", err)
		}
		if err := os.Chmod(path, mode); err != nil {
			return fmt.Errorf("set mode of data directory: %w", err)
		}
	}
	_, err := d.SecretKey()
	return err
}

// traversable is the mode of a directory on the way to something that an unprivileged child uses.
func traversable() fs.FileMode {
	if os.Geteuid() == 0 {
		return 0o711
	}
	return 0o700
}

// Path returns the absolute path of the directory, without symbolic links.
func (d *DataDir) Path() string { return d.path }

// Join returns the path of an entry of the directory.
func (d *DataDir) Join(elem ...string) string {
	return filepath.Join(append([]string{d.path}, elem...)...)
}

// SecretKeyFile returns the file of the installation key.
func (d *DataDir) SecretKeyFile() string { return d.Join("secret.key") }

// SecretKey returns the installation key, creating it on first use. A key of the wrong size is a fault.Conflict: a
// new one would make everything sealed with the old one unreadable.
func (d *DataDir) SecretKey() ([]byte, error) {
	key, err := os.ReadFile(d.SecretKeyFile())
	if errors.Is(err, fs.ErrNotExist) {
		key = make([]byte, secretKeyBytes)
		_, _ = rand.Read(key) // never fails since Go 1.24
		err = writeAtomic(d.SecretKeyFile(), key, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("installation key: %w", err)
	}
	if len(key) != secretKeyBytes {
		return nil, fault.New(fault.Conflict, "secret_key_damaged",
			"%s has %d bytes instead of %d: restore it from a backup", d.SecretKeyFile(), len(key), secretKeyBytes)
	}
	return key, nil
}

// AdminPasswordFile returns the file of the generated admin password; it exists once AdminPassword was called.
func (d *DataDir) AdminPasswordFile() string { return d.Join("admin-password") }

// AdminPassword returns the generated password of the bootstrap admin and whether this call created it.
func (d *DataDir) AdminPassword() (password string, created bool, err error) {
	text, created, err := d.textOnce(d.AdminPasswordFile(), rand.Text)
	if err != nil {
		return "", false, fmt.Errorf("admin password: %w", err)
	}
	return text, created, nil
}

// hostIDPattern is what can be a part of a task queue and of a subject.
var hostIDPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`)

// HostID returns override when it is not empty, else the id stored in the directory, made at first use from the host's
// name and chance so that two hosts of one name differ.
func (d *DataDir) HostID(override string) (string, error) {
	if override != "" {
		return override, nil
	}
	id, _, err := d.textOnce(d.Join("host-id"), newHostID)
	if err != nil {
		return "", fmt.Errorf("host id: %w", err)
	}
	if !hostIDPattern.MatchString(id) {
		return "", fault.New(fault.Conflict, "host_id_damaged", "%s holds no host id", d.Join("host-id"))
	}
	return id, nil
}

func newHostID() string {
	name, _ := os.Hostname()
	name, _, _ = strings.Cut(name, ".")
	name = strings.Map(func(r rune) rune {
		if r < 0x80 && hostIDPattern.MatchString(string(r)) {
			return r
		}
		return -1
	}, strings.ToLower(name))
	if name == "" {
		name = "host"
	}
	return name[:min(len(name), 40)] + "-" + strings.ToLower(rand.Text()[:8])
}

// textOnce returns the trimmed content of a 0600 file, creating it from generate when it is missing or empty.
func (d *DataDir) textOnce(path string, generate func() string) (text string, created bool, err error) {
	content, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", false, err
	}
	if text = strings.TrimSpace(string(content)); text != "" {
		return text, false, nil
	}
	text = generate()
	return text, true, writeAtomic(path, []byte(text+"\n"), 0o600)
}

// writeAtomic replaces path by a file with content, complete or not at all, on disk when it returns.
func writeAtomic(path string, content []byte, mode fs.FileMode) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // gone already when the rename succeeded
	_, err = f.Write(content)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
