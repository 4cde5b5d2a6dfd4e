package docker

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"

	"github.com/decnet/decnet/internal/runtime"
	"github.com/decnet/decnet/internal/runtime/boot"
)

// layout adds the compose files to where things lie.
type layout struct{ boot.Layout }

// composeFile is where the document of a scope lies, for people.
func (l layout) composeFile(scope string) string {
	return filepath.Join(l.Root, "compose", strings.ReplaceAll(scope, "/", "-")+".yml")
}

func (l layout) readRecord(r boot.Ref) record { return boot.ReadRecord[record](l.Layout, r) }

// writeConfig writes the file a decoy reads, for its user only.
func (l layout) writeConfig(r boot.Ref, cfg boot.Config) error {
	if err := l.WriteConfig(r, cfg); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return nil
	}
	if err := os.Lchown(l.Config(r), cfg.User.UID, cfg.User.GID); err != nil {
		return fmt.Errorf("hand over configuration of service %s: %w", r.Service, err)
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
