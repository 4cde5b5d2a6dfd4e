package decky

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/service"
)

// Archetype is a kind of host an attacker would recognise.
type Archetype struct {
	Slug        string   `json:"slug"`
	DisplayName string   `json:"display_name"`
	Description string   `json:"description"`
	Services    []string `json:"services"`
	Distros     []string `json:"preferred_distros"`
	NmapOS      string   `json:"nmap_os"`
}

var archetypes = []Archetype{
	{"linux-server", "Linux server", "A general-purpose server with a shell and a web page.", []string{"ssh", "http"}, []string{"debian", "ubuntu22", "rocky9", "fedora"}, "linux"},
	{"windows-workstation", "Windows workstation", "An office machine with file sharing and remote desktop.", []string{"smb", "rdp"}, []string{"debian", "ubuntu22"}, "windows"},
	{"windows-server", "Windows server", "A member server with file sharing, remote desktop and directory.", []string{"smb", "rdp", "ldap"}, []string{"debian", "ubuntu22"}, "windows_server"},
	{"domain-controller", "Domain controller", "The directory of a Windows domain.", []string{"ldap", "smb", "rdp", "llmnr"}, []string{"debian", "ubuntu22"}, "windows_server"},
	{"web-server", "Web server", "A web site with file upload.", []string{"http", "ftp"}, []string{"debian", "ubuntu22", "ubuntu20"}, "linux"},
	{"database-server", "Database server", "Relational and key-value stores.", []string{"mysql", "postgres", "redis"}, []string{"debian", "ubuntu22"}, "linux"},
	{"mail-server", "Mail server", "A mail exchanger with mailboxes.", []string{"smtp", "pop3", "imap"}, []string{"debian", "ubuntu22"}, "linux"},
	{"file-server", "File server", "Shared folders over several protocols.", []string{"smb", "ftp", "ssh"}, []string{"debian", "ubuntu22", "rocky9"}, "linux"},
	{"printer", "Printer", "A network printer.", []string{"snmp", "ftp"}, []string{"alpine", "debian"}, "embedded"},
	{"iot-device", "IoT device", "A small device with a broker and a console.", []string{"mqtt", "snmp", "telnet"}, []string{"alpine"}, "embedded"},
	{"industrial-control", "Industrial controller", "A programmable controller.", []string{"conpot", "snmp"}, []string{"debian"}, "embedded"},
	{"voip-server", "VoIP server", "A telephone exchange.", []string{"sip"}, []string{"debian", "ubuntu22"}, "linux"},
	{"monitoring-node", "Monitoring node", "A machine that watches others.", []string{"snmp", "ssh"}, []string{"debian", "rocky9"}, "linux"},
	{"devops-host", "DevOps host", "A build machine with container interfaces.", []string{"docker_api", "ssh", "k8s"}, []string{"ubuntu22", "debian"}, "linux"},
	{"deaddeck", "Plain host", "A machine with nothing but a shell.", []string{"ssh"}, []string{"debian", "ubuntu22"}, "linux"},
}

// Archetypes returns the archetypes of which at least one service is in the registry, each with those services only.
func Archetypes() []Archetype {
	var offered []Archetype
	for _, a := range archetypes {
		a.Services = slices.DeleteFunc(slices.Clone(a.Services), func(s string) bool {
			_, ok := service.Lookup(s)
			return !ok
		})
		if len(a.Services) > 0 {
			offered = append(offered, a)
		}
	}
	return offered
}

// hostStyle is how the machines of a distribution are usually named.
type hostStyle int

const (
	generic hostStyle = iota
	rhel
	minimal
	rolling
)

var distros = []struct {
	slug  string
	style hostStyle
}{
	{"debian", generic},
	{"ubuntu22", generic},
	{"ubuntu20", generic},
	{"rocky9", rhel},
	{"centos7", rhel},
	{"alpine", minimal},
	{"fedora", rhel},
	{"kali", rolling},
	{"arch", rolling},
}

// NmapOSes lists the operating systems a decky can be made to look like from outside.
var NmapOSes = []string{"linux", "windows", "windows_server", "bsd", "embedded", "cisco"}

var words = strings.Fields(`alpha bravo charlie delta echo foxtrot golf hotel india juliet kilo lima mike nova oscar
	prod web db mail proxy dev stage backup monitor files`)

// Spec is what a create request says about a decky; empty fields are chosen by Complete.
type Spec struct {
	Name      string                    `json:"name"`
	Archetype string                    `json:"archetype,omitempty"`
	Distro    string                    `json:"distro,omitempty"`
	Services  []string                  `json:"services"` // nil means the archetype's
	Configs   map[string]service.Config `json:"service_config,omitempty"`
	IP        string                    `json:"ip,omitempty"`
	NmapOS    string                    `json:"nmap_os,omitempty"`
	Hostname  string                    `json:"hostname,omitempty"`
}

// Complete checks a spec and fills what it leaves open, choosing with rnd. Faults are Unprocessable and name the field.
// The address stays open when it was: it is chosen by the lane that creates the decky.
func (s Spec) Complete(rnd *rand.Rand) (Spec, error) {
	if err := CheckFleetName(s.Name); err != nil {
		return Spec{}, err
	}
	if s.Hostname != "" && !service.ValidHostname(s.Hostname) {
		return Spec{}, refuse("hostname", "hostname_invalid", "must be a host name (RFC 1123)")
	}
	a, err := s.archetype()
	if err != nil {
		return Spec{}, err
	}
	if err := s.completeSystem(a, rnd); err != nil {
		return Spec{}, err
	}
	if s.Services == nil {
		s.Services = append([]string{}, a.Services...)
	}
	if err := s.checkServices(); err != nil {
		return Spec{}, err
	}
	return s, nil
}

func (s *Spec) archetype() (Archetype, error) {
	if s.Archetype == "" {
		return Archetype{}, nil
	}
	offered := Archetypes()
	i := slices.IndexFunc(offered, func(a Archetype) bool { return a.Slug == s.Archetype })
	if i < 0 {
		return Archetype{}, refuse("archetype", "unknown_archetype", "there is no such archetype")
	}
	return offered[i], nil
}

func (s *Spec) completeSystem(a Archetype, rnd *rand.Rand) error {
	if s.Distro == "" {
		s.Distro = "debian"
		if len(a.Distros) > 0 {
			s.Distro = a.Distros[rnd.IntN(len(a.Distros))]
		}
	}
	style, ok := styleOf(s.Distro)
	if !ok {
		return refuse("distro", "unknown_distro", "there is no such distribution")
	}
	if s.NmapOS == "" {
		s.NmapOS = "linux"
		if a.NmapOS != "" {
			s.NmapOS = a.NmapOS
		}
	}
	if !slices.Contains(NmapOSes, s.NmapOS) {
		return refuse("nmap_os", "unknown_nmap_os", "must be one of "+strings.Join(NmapOSes, ", "))
	}
	if s.Hostname == "" {
		s.Hostname = hostname(style, rnd)
	}
	return nil
}

func (s *Spec) checkServices() error {
	var placed []Service
	for i, name := range s.Services {
		d, err := service.ForDecky(name)
		if err != nil {
			return fault.From(err).With(fault.Field{Location: fmt.Sprintf("body.services[%d]", i), Message: fault.From(err).Message})
		}
		config, err := d.Validate("body.service_config."+name, service.Unmask(d, s.Configs[name], nil))
		if err != nil {
			return err
		}
		if placed, err = AddService(placed, Service{Name: name, Config: config}); err != nil {
			return refuse(fmt.Sprintf("services[%d]", i), fault.From(err).Code, fault.From(err).Message)
		}
	}
	for name := range s.Configs {
		if !slices.Contains(s.Services, name) {
			return refuse("service_config", "service_config_undeclared", "configures a service that is not in services")
		}
	}
	s.Configs = make(map[string]service.Config, len(placed))
	for _, p := range placed {
		s.Configs[p.Name] = p.Config
	}
	return nil
}

func refuse(field, code, why string) error {
	return fault.New(fault.Unprocessable, code, "%s %s", field, why).
		With(fault.Field{Location: "body." + field, Message: why})
}

func styleOf(distro string) (hostStyle, bool) {
	for _, d := range distros {
		if d.slug == distro {
			return d.style, true
		}
	}
	return 0, false
}

// hostname makes up a name in a distribution's usual style.
func hostname(style hostStyle, rnd *rand.Rand) string {
	word, number := words[rnd.IntN(len(words))], 10+rnd.IntN(90)
	switch style {
	case rhel:
		return fmt.Sprintf("%s%d.localdomain", word, number)
	case minimal:
		return fmt.Sprintf("%s-%d", word, number)
	case rolling:
		return fmt.Sprintf("%s-%s", word, words[rnd.IntN(len(words))])
	case generic:
	}
	return fmt.Sprintf("SRV-%s-%d", strings.ToUpper(word), number)
}
