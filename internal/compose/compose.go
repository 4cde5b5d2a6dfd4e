// Package compose renders the compose project of a scope: what the container engine is asked to run for its deckies.
//
// It is pure and knows no engine: the same deckies give the same document, byte for byte. One base container per decky
// owns its network namespace and address; its services share that namespace. Nothing that a decoy may keep secret is in
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
)

// Labels of containers, networks and images. Those under decnet.fleet mark service containers only: log collectors select by them.
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

// networkKey is how services of the document refer to their scope's network.
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
}

// Scope is everything a document is made of. Removed deckies are not listed.
type Scope struct {
	Installation uuid.UUID
	Name         string // "fleet", or "topology/<uuid>"
	Image        string
	Network      Network
	Deckies      []Decky
}

// ProjectName returns the name of a scope's compose project, which is also the name of its network.
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
		Networks: types.Networks{networkKey: types.NetworkConfig{
			Name: ProjectName(s.Installation, s.Name), External: true,
		}},
	}
	for _, d := range s.Deckies {
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
// replaced, and its services with it.
func (s Scope) BaseHash(d Decky) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s|%s|%s|%s|%s|%s|%v",
		s.Name, d.Key, d.Hostname, d.NmapOS, d.IP, s.Network.Driver, s.Network.Subnet))
	return hex.EncodeToString(sum[:8])
}

func (s Scope) base(d Decky) types.ServiceConfig {
	name := BaseName(d.Key)
	c := s.hardened(name)
	c.Command = types.ShellCommand{"pause"}
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
	return c
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
	c.Labels[LabelFleetService] = "true"
	c.Labels[LabelFleetDecky] = d.Name
	c.Labels[LabelFleetServiceName] = svc.Name
	return c
}

func (s Scope) labels(d Decky, role string) types.Labels {
	return types.Labels{
		LabelInstallation: s.Installation.String(), LabelScope: s.Name, LabelRole: role,
		LabelDeckyID: d.ID.String(), LabelDeckyKey: d.Key,
	}
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
