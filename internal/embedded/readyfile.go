package embedded

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/decnet/decnet/internal/fault"
)

// ReadyFile is what `decnet up` writes when every role serves; the fields are those of the contracts page. It holds
// secrets (the token in NATSURL), so its file is private.
type ReadyFile struct {
	// APIURL ends in /api/v1.
	APIURL            string `json:"api_url"`
	TemporalAddress   string `json:"temporal_address"`
	TemporalUIURL     string `json:"temporal_ui_url"`
	TemporalNamespace string `json:"temporal_namespace"`
	NATSURL           string `json:"nats_url"`
	DatabaseURL       string `json:"database_url"`
	Runtime           string `json:"runtime"`
	AdminUser         string `json:"admin_user"`
	// AdminPasswordFile is empty when the password was configured.
	AdminPasswordFile string `json:"admin_password_file"`
	DataDir           string `json:"data_dir"`
	PID               int    `json:"pid"`
}

// Write replaces path by the file, mode 0600, complete or not at all.
func (r ReadyFile) Write(path string) error {
	if err := r.check(); err != nil {
		return err
	}
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := writeAtomic(path, append(content, '\n'), 0o600); err != nil {
		return fmt.Errorf("write ready file: %w", err)
	}
	return nil
}

// RemoveReadyFile removes path if it speaks of this process; another process may have replaced it meanwhile.
func RemoveReadyFile(path string) error {
	r, err := parseReadyFile(path)
	if errors.Is(err, os.ErrNotExist) || err == nil && r.PID != os.Getpid() {
		return nil
	}
	return removeIfExists(path)
}

// ReadReadyFile returns the file at path. A missing one and one whose process is gone are fault.Unavailable
// (not_running, ready_file_stale), a damaged one is fault.Invalid.
func ReadReadyFile(path string) (ReadyFile, error) {
	r, err := parseReadyFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return ReadyFile{}, fault.New(fault.Unavailable, "not_running", "no ready file at %s: is decnet up?", path).Wrap(err)
	case err != nil:
		return ReadyFile{}, err
	}
	// EPERM: it lives, as another user.
	if err := syscall.Kill(r.PID, 0); err != nil && !errors.Is(err, syscall.EPERM) {
		return ReadyFile{}, fault.New(fault.Unavailable, "ready_file_stale", "%s was left by process %d, which is gone", path, r.PID).Wrap(err)
	}
	return r, nil
}

func parseReadyFile(path string) (ReadyFile, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return ReadyFile{}, fmt.Errorf("read ready file: %w", err)
	}
	var r ReadyFile
	dec := json.NewDecoder(bytes.NewReader(content))
	if err := dec.Decode(&r); err != nil {
		return ReadyFile{}, fault.New(fault.Invalid, "ready_file_damaged", "%s is no ready file", path).Wrap(err)
	}
	return r, r.check()
}

// check refuses a file that a client could not use.
func (r ReadyFile) check() error {
	for name, value := range map[string]string{
		"api_url": r.APIURL, "temporal_address": r.TemporalAddress, "temporal_namespace": r.TemporalNamespace,
		"nats_url": r.NATSURL, "database_url": r.DatabaseURL, "runtime": r.Runtime, "data_dir": r.DataDir,
	} {
		if value == "" {
			return fault.New(fault.Invalid, "ready_file_damaged", "the ready file has no %s", name)
		}
	}
	if r.PID <= 0 {
		return fault.New(fault.Invalid, "ready_file_damaged", "the ready file has no pid")
	}
	return nil
}
