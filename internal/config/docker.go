package config

import (
	"net/netip"
	"strings"
)

// Subnet of a container network: smaller ones have no room for deckies, larger ones are a mistake.
const (
	widestSubnet    = 8
	narrowestSubnet = 29
)

// DockerNet is the parsed network of containers.
type DockerNet struct {
	Subnet  netip.Prefix
	Pool    netip.Prefix // part of Subnet
	Gateway netip.Addr   // in Subnet
}

// DockerNet returns the network of containers. The settings of a loaded Config are valid.
func (c Config) DockerNet() DockerNet {
	var n DockerNet
	n.Subnet, _ = netip.ParsePrefix(c.DockerSubnet) // checked by Load
	n.Subnet = n.Subnet.Masked()
	n.Pool, n.Gateway = n.Subnet, n.Subnet.Addr().Next()
	if p, err := netip.ParsePrefix(c.DockerPool); err == nil {
		n.Pool = p.Masked()
	}
	if a, err := netip.ParseAddr(c.DockerGateway); err == nil {
		n.Gateway = a
	}
	return n
}

func (c Config) checkDocker(bad *problems) {
	if !strings.HasPrefix(c.DockerHost, "unix:///") && !strings.HasPrefix(c.DockerHost, "tcp://") {
		bad.add("docker_host", "must be unix:///path or tcp://host:port")
	}
	if c.DockerNetwork == "macvlan" && c.DockerParent == "" {
		bad.add("docker_parent", "is required with a macvlan network")
	}
	subnet, err := netip.ParsePrefix(c.DockerSubnet)
	if err != nil || !subnet.Addr().Is4() || subnet.Bits() < widestSubnet || subnet.Bits() > narrowestSubnet {
		bad.add("docker_subnet", "must be an IPv4 subnet, /8 to /29")
		return
	}
	if c.DockerPool != "" {
		pool, err := netip.ParsePrefix(c.DockerPool)
		if err != nil || !subnet.Contains(pool.Addr()) || pool.Bits() < subnet.Bits() {
			bad.add("docker_pool", "must be a part of docker_subnet")
		}
	}
	if c.DockerGateway != "" {
		if gateway, err := netip.ParseAddr(c.DockerGateway); err != nil || !subnet.Contains(gateway) {
			bad.add("docker_gateway", "must be an address of docker_subnet")
		}
	}
}
