// Package service is the registry of fake services a decky can offer, with the schema of their configuration.
//
// A service that no decoy implements is not here: the registry is the promise that it can be run.
package service

import (
	"regexp"
	"slices"
	"sort"

	"github.com/decnet/decnet/internal/fault"
)

// Type is how a configuration value is read and shown.
type Type string

// The field types of the configuration forms.
const (
	String    Type = "string"
	Password  Type = "password"
	Int       Type = "int"
	Bool      Type = "bool"
	Textarea  Type = "textarea"
	Enum      Type = "enum"
	MultiEnum Type = "multi_enum"
)

// Field describes one configuration key. Every field is optional; Default is applied when the decoy is started, not
// when the configuration is stored.
type Field struct {
	Key         string   `json:"key"`
	Label       string   `json:"label"`
	Type        Type     `json:"type"`
	Default     any      `json:"default"`
	Secret      bool     `json:"secret"`
	Help        string   `json:"help"`
	Enum        []string `json:"enum,omitempty"`
	Placeholder string   `json:"placeholder"`

	// Pattern, when set, must match the whole text; PatternHelp says it in words.
	Pattern     *regexp.Regexp `json:"-"`
	PatternHelp string         `json:"-"`
	// Min and Max bound an Int when Max > 0.
	Min, Max int64 `json:"-"`
}

// Port is one port a service listens on, as attackers expect it.
type Port struct {
	Protocol string `json:"protocol"` // "tcp" or "udp"
	Number   uint16 `json:"port"`
}

// Definition is one service of the registry. Values are shared: do not modify them.
type Definition struct {
	Name  string
	Title string
	// Ports are served whatever the configuration.
	Ports []Port
	// PortsOf, when set, names the ports that a complete configuration adds.
	PortsOf func(Config) []Port
	// Check, when set, judges an accepted configuration as a whole. It names the field an error is about, and its errors do
	// not quote values.
	Check func(Config) (key string, err error)
	// Singleton services run once per installation and never on a decky.
	Singleton bool
	Fields    []Field
}

// ServedPorts returns every port the service listens on with the given configuration, defaults included.
func (d Definition) ServedPorts(config Config) []Port {
	ports := slices.Clone(d.Ports)
	if d.PortsOf != nil {
		ports = append(ports, d.PortsOf(d.Complete(config))...)
	}
	return ports
}

var slugPattern = regexp.MustCompile(`^[a-z0-9_]{1,32}$`)

// ValidSlug reports whether name has the form of a service slug; it need not be in the registry.
func ValidSlug(name string) bool { return slugPattern.MatchString(name) }

// Lookup returns the definition of a service.
func Lookup(name string) (Definition, bool) {
	d, ok := definitions[name]
	return d, ok
}

// All returns every definition, sorted by name.
func All() []Definition {
	all := make([]Definition, 0, len(definitions))
	for _, d := range definitions {
		all = append(all, d)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Name < all[j].Name })
	return all
}

// ForDecky returns the definition of a service that may be placed on a decky, or an Unprocessable fault
// (unknown_service, singleton_service).
func ForDecky(name string) (Definition, error) {
	d, ok := definitions[name]
	if !ok {
		return Definition{}, fault.New(fault.Unprocessable, "unknown_service", "there is no such service")
	}
	if d.Singleton {
		return Definition{}, fault.New(fault.Unprocessable, "singleton_service", "%s runs once per installation, not on a decky", name)
	}
	return d, nil
}

var (
	// The portable subset of useradd(8) names.
	userPattern    = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)
	headerPattern  = regexp.MustCompile(`^[ -~]{1,200}$`)
	versionPattern = regexp.MustCompile(`^[0-9]{1,3}(\.[0-9]{1,4}){1,3}$`)
	// RFC 1123 host names, one or more labels.
	hostPattern = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$`)
)
