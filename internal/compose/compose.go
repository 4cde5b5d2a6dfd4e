// Package compose renders the compose project of a scope: what the container engine is asked to run for its deckies.
//
// It is pure and knows no engine: the same deckies give the same document, byte for byte. One base container per decky
// owns its network namespace and addresses; its services share that namespace. The fleet has one network, a topology one
// for each of its LANs; all are made before, with fixed bridge names, and only referred to here. Nothing that a decoy may keep secret is in
// the document: a decoy reads its configuration from a file, has no environment, and its labels name only what it is.
package compose

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/uuid"

	"github.com/decnet/decnet/internal/runtime"
	"github.com/decnet/decnet/internal/topology"
)

// Labels of containers, networks and images. Those under decnet.fleet mark service containers of the fleet only: log collectors
// select by them. Containers of a topology have those under decnet.topology instead.
const (
	LabelInstallation = "decnet.installation"
	LabelScope        = "decnet.scope"
	LabelRole         = "decnet.role" // RoleBase, RoleService or, of an image, RoleImage
	LabelDeckyID      = "decnet.decky.uuid"
	LabelDeckyKey     = "decnet.decky.key"
	LabelService      = "decnet.service"
	LabelRevision     = "decnet.revision"
	LabelBase         = "decnet.base" // hash of what a base container is made of

	LabelFleetService     = "decnet.fleet.service"
	LabelFleetDecky       = "decnet.fleet.decky"
	LabelFleetServiceName = "decnet.fleet.service_name"

	LabelTopologyID          = "decnet.topology.id"
	LabelTopologyDecky       = "decnet.topology.decky"
	LabelTopologyRole        = "decnet.topology.role"    // RoleBase, on base containers
	LabelTopologyService     = "decnet.topology.service" // "true", on service containers
	LabelTopologyServiceName = "decnet.topology.service_name"
	LabelTopologyForwards    = "decnet.topology.forwards_l3" // "true", on bases of deckies that route
)

// Values of LabelRole.
const (
	RoleBase    = "base"
	RoleService = "service"
	RoleImage   = "decoy"
)

// Paths inside a service container. There is nothing else in it but the program.
const (
	ConfigPath = "/config.json"
	SpoolPath  = "/spool"
	StatePath  = "/state"
)

// Drivers of networks.
const (
	Bridge  = "bridge"
	Macvlan = "macvlan"
)

// BridgePrefix begins the name of every bridge of every installation: containment matches it.
const BridgePrefix = "decnet-"

// networkKey is how services of the document refer to the fleet's network. Those of a topology go by their own names.
const networkKey = "lan"

// Limits of one container. A decoy is a Go program that holds a few hundred connections; a base only waits.
const (
	servicePids   = 256
	serviceMemory = 128 << 20
	serviceFiles  = 1024
	fileBytes     = 1 << 30 // of one file; how much a decoy keeps in all is its own quota
	basePids      = 32
	baseMemory    = 32 << 20
	stopGrace     = 3 * time.Second
)

// Network is the network of a scope.
type Network struct {
	Driver  string // Bridge or Macvlan
	Subnet  netip.Prefix
	Gateway netip.Addr
	Parent  string // interface of the host that a Macvlan network uses
}

// Service is one service of a decky: the account it runs as and where the host keeps its files.
type Service struct {
	Name       string
	Revision   int64
	UID, GID   int
	ConfigFile string
	SpoolDir   string
	StateDir   string
}

// Decky is one desired decky.
type Decky struct {
	ID       uuid.UUID
	Key      string
	Name     string
	Hostname string
	NmapOS   string // chooses a Profile
	IP       netip.Addr
	Services []Service

	// What a decky of a topology has besides, as in runtime.Decky. One of the fleet has no Networks.
	Networks   []runtime.Attachment
	ForwardsL3 bool
	Publish    []runtime.Port
	// HostPorts are the host's ports for those of Publish that are offered under another number; 0 is not at all.
	HostPorts map[runtime.Port]uint16
}

// Scope is everything a document is made of. Removed deckies are not listed.
type Scope struct {
	Installation uuid.UUID
	Name         string // "fleet", or "topology/<uuid>"
	Image        string
	Network      Network // of the fleet; a topology's are those of its deckies
	Deckies      []Decky
}

// ProjectName returns the name of a scope's compose project, which is also the name of the fleet's network.
func ProjectName(installation uuid.UUID, scope string) string {
	return "decnet-" + scopeHash(installation, scope)
}

// BridgeName returns the fixed name of the host's bridge of a scope, 15 characters, the most an interface may have.
func BridgeName(installation uuid.UUID, scope string) string {
	return BridgePrefix + scopeHash(installation, scope)
}

func scopeHash(installation uuid.UUID, scope string) string {
	sum := sha256.Sum256([]byte(installation.String() + "/" + scope))
	return hex.EncodeToString(sum[:4])
}

// ContainerName returns the name of a service's container, `<decky key>-<service>` with "_" spelled "-".
func ContainerName(deckyKey, service string) string {
	return deckyKey + "-" + runtime.ServiceFileName(service)
}

// BaseName returns the name of a decky's base container. Its dot keeps it apart from every service container: the base of
// a decky "web-ssh" is not the service ssh of a decky "web".
func BaseName(deckyKey string) string { return deckyKey + ".base" }

// Render returns the project of a scope. Names of services in the project are those of the containers.
func Render(s Scope) *types.Project {
	p := &types.Project{
		Name:     ProjectName(s.Installation, s.Name),
		Services: types.Services{},
		Networks: types.Networks{},
	}
	if _, ok := topology.IDFromScope(s.Name); !ok {
		p.Networks[networkKey] = types.NetworkConfig{Name: p.Name, External: true}
	}
	for _, d := range s.Deckies {
		for _, n := range d.Networks {
			p.Networks[n.Name] = types.NetworkConfig{Name: n.Name, External: true}
		}
		base := s.base(d)
		p.Services[base.Name] = base
		for _, svc := range d.Services {
			c := s.service(d, svc)
			p.Services[c.Name] = c
		}
	}
	return p
}

// YAML renders the scope as a compose file, sorted and therefore stable.
func YAML(s Scope) ([]byte, error) {
	b, err := Render(s).MarshalYAML()
	if err != nil {
		return nil, fmt.Errorf("render compose project of scope %s: %w", s.Name, err)
	}
	return b, nil
}

// BaseHash identifies what the base container of a decky is made of, its program excepted: a base with another hash is
// replaced, and its services with it. Of the networks of a topology only the home counts: a running container joins and
// leaves the others, and sessions on it go on.
func (s Scope) BaseHash(d Decky) string {
	made := fmt.Appendf(nil, "%s|%s|%s|%s|%s|%s|%v",
		s.Name, d.Key, d.Hostname, d.NmapOS, d.IP, s.Network.Driver, s.Network.Subnet)
	if len(d.Networks) > 0 {
		home := d.Networks[0]
		home.Name = "" // a LAN that is renamed keeps its network
		made = fmt.Appendf(nil, "%s|%s|%s|%s|%s|%v|%v|%v",
			s.Name, d.Key, d.Hostname, d.NmapOS, d.IP, home, d.ForwardsL3, d.Publish)
	}
	sum := sha256.Sum256(made)
	return hex.EncodeToString(sum[:8])
}

func (s Scope) base(d Decky) types.ServiceConfig {
	name := BaseName(d.Key)
	c := s.hardened(name)
	c.Command = types.ShellCommand{"pause", s.Installation.String()} // told apart on the host by that
	c.Hostname = d.Hostname
	c.User = "65534:65534"
	c.Networks = map[string]*types.ServiceNetworkConfig{networkKey: {Ipv4Address: d.IP.String()}}
	// The engine's resolver in the namespace would pass questions on: to nobody, with this.
	c.DNS = types.StringList{"127.0.0.1"}
	c.Sysctls = Profile(d.NmapOS)
	c.Sysctls["net.ipv4.ip_unprivileged_port_start"] = "0" // services bind real ports without any capability
	c.Sysctls["net.ipv6.conf.all.disable_ipv6"] = "1"
	c.Sysctls["net.ipv6.conf.default.disable_ipv6"] = "1"
	c.PidsLimit, c.MemLimit, c.MemSwapLimit = basePids, baseMemory, baseMemory
	c.Labels = s.labels(d, RoleBase)
	c.Labels[LabelBase] = s.BaseHash(d)
	if len(d.Networks) > 0 {
		d.place(&c)
	}
	return c
}

// place puts the base of a topology's decky on its networks. Their priority makes the home the first interface.
func (d Decky) place(c *types.ServiceConfig) {
	c.Networks = make(map[string]*types.ServiceNetworkConfig, len(d.Networks))
	for i, n := range d.Networks {
		c.Networks[n.Name] = &types.ServiceNetworkConfig{Ipv4Address: n.IP.String(), Priority: len(d.Networks) - i}
	}
	// A new namespace may inherit the host's value, so a decky that is no router has to say so.
	c.Sysctls["net.ipv4.ip_forward"] = "0"
	if d.ForwardsL3 {
		c.Sysctls["net.ipv4.ip_forward"] = "1"
	}
	for _, p := range d.Publish {
		host := p.Number
		if moved, ok := d.HostPorts[p]; ok {
			host = moved
		}
		if host == 0 {
			continue
		}
		c.Ports = append(c.Ports, types.ServicePortConfig{
			Mode: "ingress", Protocol: p.Protocol, Target: uint32(p.Number), Published: strconv.Itoa(int(host)),
			HostIP: "0.0.0.0", // on IPv6 the engine's proxy would hide who connects
		})
	}
}

func (s Scope) service(d Decky, svc Service) types.ServiceConfig {
	base := BaseName(d.Key)
	c := s.hardened(ContainerName(d.Key, svc.Name))
	c.Command = types.ShellCommand{"run", "--config", ConfigPath}
	c.User = fmt.Sprintf("%d:%d", svc.UID, svc.GID)
	c.NetworkMode = types.ServicePrefix + base
	c.DependsOn = types.DependsOnConfig{base: {Condition: types.ServiceConditionStarted, Required: true}}
	c.PidsLimit, c.MemLimit, c.MemSwapLimit = servicePids, serviceMemory, serviceMemory
	c.Volumes = []types.ServiceVolumeConfig{
		bind(svc.ConfigFile, ConfigPath, true), bind(svc.SpoolDir, SpoolPath, false), bind(svc.StateDir, StatePath, false),
	}
	c.Labels = s.labels(d, RoleService)
	c.Labels[LabelService] = svc.Name
	c.Labels[LabelRevision] = strconv.FormatInt(svc.Revision, 10)
	if _, ok := topology.IDFromScope(s.Name); ok {
		c.Labels[LabelTopologyService] = "true"
		c.Labels[LabelTopologyServiceName] = svc.Name
		return c
	}
	c.Labels[LabelFleetService] = "true"
	c.Labels[LabelFleetDecky] = d.Name
	c.Labels[LabelFleetServiceName] = svc.Name
	return c
}

func (s Scope) labels(d Decky, role string) types.Labels {
	labels := types.Labels{
		LabelInstallation: s.Installation.String(), LabelScope: s.Name, LabelRole: role,
		LabelDeckyID: d.ID.String(), LabelDeckyKey: d.Key,
	}
	if id, ok := topology.IDFromScope(s.Name); ok {
		labels[LabelTopologyID], labels[LabelTopologyDecky] = id.String(), d.Name
		if role == RoleBase {
			labels[LabelTopologyRole] = role
			if d.ForwardsL3 {
				labels[LabelTopologyForwards] = "true"
			}
		}
	}
	return labels
}

// hardened returns what base and service containers have in common. Nothing restarts by itself: a namespace that did
// would come back before its containment was looked at.
func (s Scope) hardened(name string) types.ServiceConfig {
	grace := types.Duration(stopGrace)
	return types.ServiceConfig{
		Name: name, ContainerName: name, Restart: types.RestartPolicyNo,
		ContainerSpec: types.ContainerSpec{
			Image: s.Image, PullPolicy: types.PullPolicyNever,
			CapDrop: []string{"ALL"}, SecurityOpt: []string{"no-new-privileges:true"}, ReadOnly: true,
			Ipc: "none", // no shared memory, so no writable /dev/shm either
			Ulimits: map[string]*types.UlimitsConfig{
				"nofile": {Soft: serviceFiles, Hard: serviceFiles}, "fsize": {Soft: fileBytes, Hard: fileBytes}, "core": {Single: 0},
			},
			Logging: &types.LoggingConfig{Driver: "json-file", Options: types.Options{"max-size": "10m", "max-file": "5"}},

			StopGracePeriod: &grace,
		},
	}
}

func bind(source, target string, readOnly bool) types.ServiceVolumeConfig {
	return types.ServiceVolumeConfig{
		Type: types.VolumeTypeBind, Source: filepath.Clean(source), Target: target, ReadOnly: readOnly,
		Bind: &types.ServiceVolumeBind{CreateHostPath: false},
	}
}
