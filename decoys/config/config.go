// Package config reads the one file a decoy process gets.
//
// The file is JSON, written by whoever starts the decoy, and decoded strictly: an unknown field is an error, so that a
// typing mistake never silently weakens a decoy. The package knows nothing of the control plane, and its errors never
// quote values, because the file holds the decoy's fake credentials.
package config

import (
	"bytes"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/google/uuid"
)

// MaxFileBytes is the largest configuration file that is read.
const MaxFileBytes = 1 << 20

var (
	keyPattern     = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,71}$`)
	servicePattern = regexp.MustCompile(`^[a-z0-9_]{1,32}$`)
	hostPattern    = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,61}[A-Za-z0-9])?$`)
)

// Config is the whole input of one decoy process. It is immutable after Decode.
type Config struct {
	DeckyKey      string          `json:"decky_key"`
	NodeName      string          `json:"node_name"`
	InstanceID    string          `json:"instance_id"`
	Service       string          `json:"service"`
	Listen        []Listen        `json:"listen"`
	Persona       Persona         `json:"persona"`
	ServiceConfig json.RawMessage `json:"service_config"`
	Spool         string          `json:"spool"`
	State         string          `json:"state"`
	BootID        string          `json:"boot_id"`
	LineStart     uint64          `json:"line_start"`
	Revision      int64           `json:"revision"`
	User          *User           `json:"user,omitempty"`
	Unsafe        bool            `json:"unsafe"`
}

// Listen is one port of the service. Addresses are alternatives, tried in order until one binds.
type Listen struct {
	Protocol  string   `json:"protocol"`
	Port      uint16   `json:"port"`
	Addresses []string `json:"addresses"`
}

// Persona is what the decoy pretends to be.
type Persona struct {
	Hostname string `json:"hostname"`
	Distro   string `json:"distro"`
	NmapOS   string `json:"nmap_os"`
	// Address is what the machine says its address is when the service listens on all of them.
	Address string `json:"address"`
}

// User is the unprivileged account a decoy started by root becomes.
type User struct {
	UID int `json:"uid"`
	GID int `json:"gid"`
}

// SSH is the service configuration of the decoys that let two accounts in, ssh and telnet.
type SSH struct {
	Password     string `json:"password"`
	User         string `json:"user"`
	UserPassword string `json:"user_password"`
	Hostname     string `json:"hostname"`
}

// Load reads and decodes the file at path.
func Load(path string) (Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return Config{}, fmt.Errorf("open configuration: %w", err)
	}
	defer f.Close()
	return Decode(f)
}

// Decode reads exactly one JSON document from r and validates it. Nothing but white space may follow it.
func Decode(r io.Reader) (Config, error) {
	raw, err := io.ReadAll(io.LimitReader(r, MaxFileBytes+1))
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	if len(raw) > MaxFileBytes {
		return Config{}, errors.New("configuration is too large")
	}
	var c Config
	if err := decodeStrict(raw, &c); err != nil {
		return Config{}, err
	}
	return c, c.validate()
}

// Accepts reports whether an account may log in. An empty configured password never matches.
func (s SSH) Accepts(user string, password []byte) bool {
	want := ""
	switch {
	case user == "root":
		want = s.Password
	case user == s.User && user != "":
		want = s.UserPassword
	}
	return want != "" && subtle.ConstantTimeCompare([]byte(want), password) == 1
}

// DecodeSSH returns the service configuration of an ssh or telnet decoy. A missing document yields the zero value.
func (c Config) DecodeSSH() (SSH, error) {
	var s SSH
	if err := c.decodeService(&s); err != nil {
		return SSH{}, err
	}
	if s.Hostname != "" && !hostPattern.MatchString(s.Hostname) {
		return SSH{}, errors.New("service_config: hostname is malformed")
	}
	if len(s.User) > 32 || strings.ContainsAny(s.User, ":/\x00\n\r ") {
		return SSH{}, errors.New("service_config: user is malformed")
	}
	return s, nil
}

func decodeStrict(raw []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return safeError(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("configuration has trailing data")
	}
	return nil
}

// safeError keeps the place of a JSON error and drops what might quote a value.
func safeError(err error) error {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("configuration field %q has the wrong type", e.Field)
	}
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("configuration is not JSON at byte %d", e.Offset)
	}
	if strings.HasPrefix(err.Error(), "json: unknown field") {
		return errors.New("configuration has an unknown field")
	}
	return errors.New("configuration is not valid JSON")
}

func (c Config) validate() error {
	switch {
	case !keyPattern.MatchString(c.DeckyKey):
		return errors.New("decky_key is malformed")
	case c.NodeName == "" || len(c.NodeName) > 255:
		return errors.New("node_name is missing or too long")
	case !servicePattern.MatchString(c.Service):
		return errors.New("service is malformed")
	case len(c.Listen) == 0 || len(c.Listen) > 16:
		return errors.New("listen needs 1 to 16 entries")
	case c.Persona.Hostname != "" && !hostPattern.MatchString(c.Persona.Hostname):
		return errors.New("persona.hostname is malformed")
	case !filepath.IsAbs(c.Spool) || !filepath.IsAbs(c.State):
		return errors.New("spool and state must be absolute paths")
	}
	if err := c.validateIDs(); err != nil {
		return err
	}
	for i, l := range c.Listen {
		if err := l.validate(); err != nil {
			return fmt.Errorf("listen[%d]: %w", i, err)
		}
	}
	return nil
}

func (c Config) validateIDs() error {
	if _, err := uuid.Parse(c.InstanceID); err != nil {
		return errors.New("instance_id is not a uuid")
	}
	if _, err := uuid.Parse(c.BootID); err != nil {
		return errors.New("boot_id is not a uuid")
	}
	if c.User != nil && (c.User.UID <= 0 || c.User.GID <= 0) {
		return errors.New("user must name an unprivileged uid and gid")
	}
	return nil
}

func (l Listen) validate() error {
	if l.Protocol != "tcp" && l.Protocol != "udp" {
		return errors.New("protocol must be tcp or udp")
	}
	if len(l.Addresses) == 0 || len(l.Addresses) > 16 {
		return errors.New("1 to 16 addresses are needed")
	}
	for _, a := range l.Addresses {
		if _, err := netip.ParseAddrPort(a); err != nil {
			return errors.New("an address is not ip:port")
		}
	}
	return nil
}
