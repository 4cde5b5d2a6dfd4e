// Package boot is what a runtime and a decoy agree on about one start of the decoy: the configuration file it reads, the
// line that tells how the start went, the user it runs as and where its log is kept when it is gone. It starts nothing.
package boot

import "github.com/google/uuid"

// Config is the configuration file of one boot of a decoy.
type Config struct {
	DeckyKey      string         `json:"decky_key"`
	NodeName      string         `json:"node_name"`
	InstanceID    uuid.UUID      `json:"instance_id"`
	Service       string         `json:"service"`
	Listen        []Listen       `json:"listen"`
	Persona       Persona        `json:"persona"`
	ServiceConfig map[string]any `json:"service_config"`
	Spool         string         `json:"spool"`
	State         string         `json:"state"`
	BootID        uuid.UUID      `json:"boot_id"`
	LineStart     int            `json:"line_start"`
	Revision      int64          `json:"revision"`
	User          User           `json:"user"`
	Unsafe        bool           `json:"unsafe"`
}

// Listen is one port of the service.
type Listen struct {
	Protocol  string   `json:"protocol"`
	Port      uint16   `json:"port"`
	Addresses []string `json:"addresses"` // alternatives, tried in order
}

// Persona is what the decoy pretends to be.
type Persona struct {
	Hostname string `json:"hostname"`
	Distro   string `json:"distro"`
	NmapOS   string `json:"nmap_os"`
}

// User is the account the decoy becomes when it is started by root.
type User struct {
	UID int `json:"uid"`
	GID int `json:"gid"`
}
