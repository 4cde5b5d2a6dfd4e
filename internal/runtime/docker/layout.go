package docker

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/google/uuid"

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

// layout is where things lie. Both roots are absolute.
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
func (l layout) state(r ref) string  { return filepath.Join(l.service(r), "state") }

func (l layout) spool(key, service string) string {
	return filepath.Join(l.artifacts, key, runtime.SpoolName(service))
}

// composeFile is where the document of a scope lies, for people.
func (l layout) composeFile(scope string) string {
	return filepath.Join(l.decoys, "compose", strings.ReplaceAll(scope, "/", "-")+".yml")
}

// onDisk lists the decoys that have a folder, of one decky or of all for uuid.Nil.
func (l layout) onDisk(id uuid.UUID) ([]ref, error) {
	pattern := "*"
	if id != uuid.Nil {
		pattern = id.String()
	}
	dirs, err := filepath.Glob(filepath.Join(l.decoys, pattern, "*"))
	if err != nil {
		return nil, fmt.Errorf("list decoys: %w", err)
	}
	var refs []ref
	for _, dir := range dirs {
		owner, err := uuid.Parse(filepath.Base(filepath.Dir(dir)))
		r := ref{owner, runtime.ServiceFromFileName(filepath.Base(dir))}
		if err == nil && slugPattern.MatchString(r.service) && l.service(r) == dir {
			refs = append(refs, r)
		}
	}
	return refs, nil
}

// prepare makes the folders of one decoy. Only state and spool belong to the decoy's user.
func (l layout) prepare(r ref, key string, uid, gid int) error {
	for _, dir := range []string{l.service(r), filepath.Join(l.artifacts, key)} {
		if err := os.MkdirAll(dir, 0o711); err != nil { //nolint:gosec // as the process runtime leaves it
			return fmt.Errorf("make decoy folder: %w", err)
		}
	}
	for _, dir := range []string{l.state(r), l.spool(key, r.service)} {
		if err := boot.OwnDir(dir, uid, gid); err != nil {
			return fmt.Errorf("make decoy folder: %w", err)
		}
	}
	return nil
}

// record is state.json: what the engine cannot tell about a container. It is written before the container is made,
// without its id, and counts for the first container that is found with the decoy's labels.
type record struct {
	DeckyKey  string             `json:"decky_key"`
	Service   string             `json:"service"`
	Revision  int64              `json:"revision"`
	BootID    uuid.UUID          `json:"boot_id"`
	Container string             `json:"container,omitempty"`
	Ready     bool               `json:"ready,omitempty"`
	Verified  bool               `json:"verified,omitempty"`
	Endpoints []runtime.Endpoint `json:"endpoints,omitempty"`
	Failure   string             `json:"failure,omitempty"`
	Address   netip.Addr         `json:"address,omitzero"` // of a decoy that listens everywhere
}

// located returns endpoints of a decoy that listens on every address at the one it is known by.
func (rec record) located(eps []runtime.Endpoint) []runtime.Endpoint {
	if rec.Address.IsValid() {
		for i, e := range eps {
			if e.Listen.Addr().IsUnspecified() {
				eps[i].Listen = netip.AddrPortFrom(rec.Address, e.Listen.Port())
			}
		}
	}
	return eps
}

// of reports whether the record is about a container.
func (rec record) of(id string) bool {
	return rec.BootID != uuid.Nil && (rec.Container == id || rec.Container == "")
}

func (rec record) expected() boot.Expected {
	return boot.Expected{Service: rec.Service, BootID: rec.BootID, Revision: rec.Revision}
}

// readRecord returns an empty record when there is none or it cannot be understood: such a decoy is replaced.
func (l layout) readRecord(r ref) record {
	var rec record
	b, err := os.ReadFile(l.record(r))
	if err != nil || json.Unmarshal(b, &rec) != nil {
		return record{}
	}
	return rec
}

func (l layout) writeRecord(r ref, rec record) error {
	b, err := json.Marshal(rec)
	if err == nil {
		err = boot.WriteAtomic(l.record(r), b, 0o600)
	}
	if err != nil {
		return fmt.Errorf("write record of service %s: %w", r.service, err)
	}
	return nil
}

// writeConfig writes the file a decoy reads, for its user only. A running container keeps the one it was started with.
func (l layout) writeConfig(r ref, cfg boot.Config) error {
	b, err := json.Marshal(cfg)
	if err != nil {
		return fmt.Errorf("encode configuration of service %s: %w", r.service, err)
	}
	if err := boot.WriteAtomic(l.config(r), b, 0o400); err != nil {
		return fmt.Errorf("write configuration of service %s: %w", r.service, err)
	}
	if os.Geteuid() != 0 {
		return nil
	}
	if err := os.Lchown(l.config(r), cfg.User.UID, cfg.User.GID); err != nil {
		return fmt.Errorf("hand over configuration of service %s: %w", r.service, err)
	}
	return nil
}
