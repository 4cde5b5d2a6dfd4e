package boot

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/google/uuid"

	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/runtime"
)

var (
	slugPattern = regexp.MustCompile(`^[a-z0-9_]{1,32}$`)
	keyPattern  = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,71}$`)
)

// ValidSlug reports whether a service name may name files and containers.
func ValidSlug(name string) bool { return slugPattern.MatchString(name) }

// ValidKey reports whether a decky key may name files and containers.
func ValidKey(key string) bool { return keyPattern.MatchString(key) }

// Check refuses, with an Invalid fault, a decky whose names or ports no runtime can take. It is the last guard before names
// become those of files. A decky that is to be removed may come without a key.
func Check(d runtime.Decky) error {
	if !ValidKey(d.Key) && (d.Key != "" || !d.Removed) {
		return fault.New(fault.Invalid, "decky_key_invalid", "the decky key is not valid")
	}
	if d.Removed {
		return nil
	}
	seen := map[string]bool{}
	for _, s := range d.Services {
		if !ValidSlug(s.Name) || seen[s.Name] {
			return fault.New(fault.Invalid, "service_invalid", "a service name is not valid or given twice")
		}
		seen[s.Name] = true
		for _, p := range s.Ports {
			if (p.Protocol != "tcp" && p.Protocol != "udp") || p.Number == 0 {
				return fault.New(fault.Invalid, "service_invalid", "a port of service %s is not valid", s.Name)
			}
		}
	}
	return nil
}

// Ref names one decoy: a service of a decky.
type Ref struct {
	Decky   uuid.UUID
	Service string
}

// Layout is where the files of decoys lie on the host. Both roots are absolute and free of symbolic links.
type Layout struct {
	Root      string // the folder "decoys" of the data directory
	Artifacts string
}

// NewLayout makes the roots where they are missing.
func NewLayout(decoys, artifacts string) (Layout, error) {
	if decoys == "" || artifacts == "" {
		return Layout{}, errors.New("runtime folder is not set")
	}
	for root, perm := range map[string]fs.FileMode{decoys: 0o711, artifacts: 0o755} {
		if err := os.MkdirAll(root, perm); err != nil {
			return Layout{}, fmt.Errorf("make runtime folder: %w", err)
		}
	}
	return FindLayout(decoys, artifacts)
}

// FindLayout is NewLayout for somebody who only wants to know: it makes nothing.
func FindLayout(decoys, artifacts string) (l Layout, err error) {
	if l.Root, err = resolve(decoys); err == nil {
		l.Artifacts, err = resolve(artifacts)
	}
	return l, err
}

func resolve(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("locate runtime folder: %w", err)
	}
	direct, err := filepath.EvalSymlinks(abs)
	if errors.Is(err, fs.ErrNotExist) {
		return abs, nil
	}
	if err != nil {
		return "", fmt.Errorf("locate runtime folder: %w", err)
	}
	return direct, nil
}

// Decky returns the folder of a decky.
func (l Layout) Decky(id uuid.UUID) string { return filepath.Join(l.Root, id.String()) }

// Decoy returns the folder of a decoy.
func (l Layout) Decoy(r Ref) string {
	return filepath.Join(l.Decky(r.Decky), runtime.ServiceFileName(r.Service))
}

// Config returns the file a decoy reads.
func (l Layout) Config(r Ref) string { return filepath.Join(l.Decoy(r), "config.json") }

// State returns the folder a decoy keeps its keys in.
func (l Layout) State(r Ref) string { return filepath.Join(l.Decoy(r), "state") }

// Spool returns the folder of a service's recordings and mail.
func (l Layout) Spool(key, service string) string {
	return filepath.Join(l.Artifacts, key, runtime.SpoolName(service))
}

func (l Layout) record(r Ref) string { return filepath.Join(l.Decoy(r), "state.json") }

// Parse returns the decoy whose folder path is, if it is spelled exactly as Decoy spells it.
func (l Layout) Parse(path string) (Ref, bool) {
	rest, ok := strings.CutPrefix(path, l.Root+"/")
	owner, name, two := strings.Cut(rest, "/")
	id, err := uuid.Parse(owner)
	if !ok || !two || err != nil {
		return Ref{}, false
	}
	r := Ref{Decky: id, Service: runtime.ServiceFromFileName(name)}
	return r, ValidSlug(r.Service) && l.Decoy(r) == path
}

// OnDisk lists the decoys that have a folder, of one decky or of all for uuid.Nil, in the order of their folders' names.
func (l Layout) OnDisk(id uuid.UUID) ([]Ref, error) {
	pattern := "*"
	if id != uuid.Nil {
		pattern = id.String()
	}
	folders, err := fs.Glob(os.DirFS(l.Root), pattern+"/*")
	if err != nil {
		return nil, fmt.Errorf("list decoys: %w", err)
	}
	var refs []Ref
	for _, folder := range folders {
		if r, ok := l.Parse(filepath.Join(l.Root, folder)); ok {
			refs = append(refs, r)
		}
	}
	return refs, nil
}

// Prepare makes the folders of one decoy. Only state and spool belong to the decoy's user: what lies beside them
// (configuration, record, log) cannot be replaced by it.
func (l Layout) Prepare(r Ref, key string, uid, gid int) error {
	for _, dir := range []string{l.Decoy(r), filepath.Join(l.Artifacts, key)} {
		if err := os.MkdirAll(dir, 0o711); err != nil { //nolint:gosec // the decoy's user passes through to what is its own
			return fmt.Errorf("make decoy folder: %w", err)
		}
	}
	for _, dir := range []string{l.State(r), l.Spool(key, r.Service)} {
		if err := OwnDir(dir, uid, gid); err != nil {
			return fmt.Errorf("make decoy folder: %w", err)
		}
	}
	return nil
}

// ReadRecord reads what a runtime notes about a decoy (state.json). A file that is missing or cannot be understood gives
// the zero value: such a decoy has no known revision and is replaced.
func ReadRecord[T any](l Layout, r Ref) T {
	var record, none T
	b, err := os.ReadFile(l.record(r))
	if err != nil || json.Unmarshal(b, &record) != nil {
		return none
	}
	return record
}

// WriteRecord replaces what ReadRecord reads.
func (l Layout) WriteRecord(r Ref, record any) error {
	b, err := json.Marshal(record)
	if err == nil {
		err = WriteAtomic(l.record(r), b, 0o600)
	}
	if err != nil {
		return fmt.Errorf("write record of service %s: %w", r.Service, err)
	}
	return nil
}

// WriteConfig writes the file a decoy reads. A running decoy keeps the one it was started with.
func (l Layout) WriteConfig(r Ref, cfg Config) error {
	b, err := json.Marshal(cfg)
	if err != nil {
		return fault.New(fault.Invalid, "decoy_config_invalid", "the configuration of service %s cannot be written", r.Service).Wrap(err)
	}
	if err := WriteAtomic(l.Config(r), b, 0o400); err != nil {
		return fmt.Errorf("write configuration of service %s: %w", r.Service, err)
	}
	return nil
}
