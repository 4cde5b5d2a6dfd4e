// Package boot is what a runtime and a decoy agree on about one start of the decoy: the configuration file it reads, the
// line that tells how the start went, the user it runs as and where its log is kept when it is gone. It starts nothing.
package boot

import (
	"net/netip"

	"github.com/google/uuid"

	"github.com/decnet/decnet/internal/runtime"
)

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
	Address  string `json:"address"`
}

// User is the account the decoy becomes when it is started by root.
type User struct {
	UID int `json:"uid"`
	GID int `json:"gid"`
}

// NewConfig returns the configuration of a boot of a service. alternatives says where a port may be served, the best
// first. Spool and State are the caller's to set, as the decoy sees them.
func NewConfig(d runtime.Decky, s runtime.Service, boot uuid.UUID, who User, alternatives func(netip.Addr, uint16) []string) Config {
	c := Config{
		DeckyKey: d.Key, NodeName: d.Key, InstanceID: d.ID, Service: s.Name,
		Listen:        make([]Listen, 0, len(s.Ports)),
		Persona:       Persona{Hostname: d.Hostname, Distro: d.Distro, NmapOS: d.NmapOS, Address: d.IP.String()},
		ServiceConfig: s.Config, BootID: boot, LineStart: 1, Revision: s.Revision, User: who,
	}
	if c.ServiceConfig == nil {
		c.ServiceConfig = map[string]any{}
	}
	for _, p := range s.Ports {
		c.Listen = append(c.Listen, Listen{Protocol: p.Protocol, Port: p.Number, Addresses: alternatives(d.IP, p.Number)})
	}
	return c
}
