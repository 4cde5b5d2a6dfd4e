package cli

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

// deckyView is a decky as the API shows it.
type deckyView struct {
	UUID        string         `json:"uuid"`
	Name        string         `json:"name"`
	Scope       string         `json:"scope"`
	IP          string         `json:"ip"`
	Archetype   string         `json:"archetype"`
	Distro      string         `json:"distro"`
	Hostname    string         `json:"hostname"`
	NmapOS      string         `json:"nmap_os"`
	State       string         `json:"state"`
	StateReason string         `json:"state_reason"`
	Services    []serviceView  `json:"services"`
	Endpoints   []endpointView `json:"endpoints"`
	Revision    int            `json:"revision"`
	CreatedAt   *time.Time     `json:"created_at"`
	LastSeen    *time.Time     `json:"last_activity_at"`
}

type serviceView struct {
	Name          string         `json:"name"`
	Config        map[string]any `json:"config"`
	SavedConfig   map[string]any `json:"saved_config"`
	State         string         `json:"state"`
	RestartNeeded bool           `json:"restart_needed"`
	ExpiresAt     *time.Time     `json:"expires_at"`
	Revision      int            `json:"revision"`
}

type endpointView struct {
	Service  string `json:"service"`
	Protocol string `json:"protocol"`
	IP       string `json:"ip"`
	Port     int    `json:"port"`
}

func (e endpointView) String() string {
	return fmt.Sprintf("%s %s/%s", e.Service, net.JoinHostPort(e.IP, strconv.Itoa(e.Port)), e.Protocol)
}

func (d deckyView) serviceNames() []string {
	names := make([]string, len(d.Services))
	for i, s := range d.Services {
		names[i] = s.Name
	}
	return names
}

type deckyList struct {
	Items []deckyView `json:"items"`
}

func (s *session) deckyTable(r reply) error {
	var l deckyList
	if err := r.decode(&l); err != nil {
		return err
	}
	rows := make([][]string, len(l.Items))
	for i, d := range l.Items {
		rows[i] = []string{d.Name, d.State, d.IP, d.Archetype, joined(d.serviceNames()), stamp(d.LastSeen)}
	}
	return writeTable(s.env.Stdout, []string{"name", "state", "ip", "archetype", "services", "last activity"}, rows)
}

func (s *session) deckyDetails(r reply) error {
	var d deckyView
	if err := r.decode(&d); err != nil {
		return err
	}
	if err := writePairs(s.env.Stdout, d.pairs()); err != nil {
		return err
	}
	if len(d.Services) == 0 {
		return writeLines(s.env.Stdout, "services   none")
	}
	header := []string{"service", "state", "reached at", "expires", "config"}
	saved := slices.ContainsFunc(d.Services, func(v serviceView) bool { return v.SavedConfig != nil })
	if saved {
		header = append(header, "saved")
	}
	rows := make([][]string, len(d.Services))
	for i, v := range d.Services {
		rows[i] = []string{v.Name, v.stateText(), d.endpointsOf(v.Name), stamp(v.ExpiresAt), configText(v.Config)}
		if saved {
			rows[i] = append(rows[i], v.savedText())
		}
	}
	if err := writeLines(s.env.Stdout, ""); err != nil {
		return err
	}
	return writeTable(s.env.Stdout, header, rows)
}

// savedText prints what the next apply puts in force.
func (v serviceView) savedText() string {
	if v.SavedConfig != nil && len(v.SavedConfig) == 0 {
		return "(defaults)"
	}
	return configText(v.SavedConfig)
}

func (d deckyView) pairs() []pair {
	return []pair{
		{"name", d.Name},
		{"uuid", d.UUID},
		{"scope", d.Scope},
		{"state", d.State},
		{"reason", d.StateReason},
		{"ip", d.IP},
		{"archetype", d.Archetype},
		{"distro", d.Distro},
		{"hostname", d.Hostname},
		{"nmap os", d.NmapOS},
		{"revision", strconv.Itoa(d.Revision)},
		{"created", stamp(d.CreatedAt)},
		{"activity", stamp(d.LastSeen)},
	}
}

func (v serviceView) stateText() string {
	switch {
	case !v.RestartNeeded:
		return v.State
	case v.State == "": // in the past
		return "restart needed"
	}
	return v.State + ", restart needed"
}

func (d deckyView) endpointsOf(service string) string {
	var at []string
	for _, e := range d.Endpoints {
		if e.Service == service {
			at = append(at, net.JoinHostPort(e.IP, strconv.Itoa(e.Port))+"/"+e.Protocol)
		}
	}
	return joined(at)
}

// configText prints a masked configuration in a stable order.
func configText(config map[string]any) string {
	settings := make([]string, 0, len(config))
	for k, v := range config {
		settings = append(settings, fmt.Sprintf("%s=%v", k, v))
	}
	slices.Sort(settings)
	return joined(settings)
}

// servicesLine prints the answer to a change of services.
func (s *session) servicesLine(r reply) error {
	var d struct {
		Name     string   `json:"decky_name"`
		Services []string `json:"services"`
	}
	if err := r.decode(&d); err != nil {
		return err
	}
	services := "no services"
	if len(d.Services) > 0 {
		services = cell(joined(d.Services))
	}
	return writeLines(s.env.Stdout, cell(d.Name)+" now has "+services)
}

// say returns a table that is one cleaned sentence.
func (s *session) say(sentence string) func(reply) error {
	return func(reply) error { return writeLines(s.env.Stdout, sentence) }
}

func (a *app) completeDeckies() cobra.CompletionFunc {
	return a.complete(0, func([]string) string { return "/deckies?limit=500" }, deckyNames)
}

func deckyNames(r reply) []string {
	var l deckyList
	if r.decode(&l) != nil {
		return nil
	}
	names := make([]string, len(l.Items))
	for i, d := range l.Items {
		names[i] = d.Name
	}
	var t topologyBody
	if r.decode(&t) == nil { // of one, when --topology was given
		names = append(names, t.deckyNames()...)
	}
	return names
}

// completeAddService offers deckies, then the services that are not on the decky yet.
func (a *app) completeAddService() cobra.CompletionFunc {
	return a.completeBoth(func(r reply) []string {
		var d deckyView
		_ = r.decode(&d) // without it, offer all
		return slices.DeleteFunc(offeredServices(), func(n string) bool { return slices.Contains(d.serviceNames(), n) })
	})
}

// completeRemoveService offers deckies, then the services that are on the decky.
func (a *app) completeRemoveService() cobra.CompletionFunc {
	return a.completeBoth(func(r reply) []string {
		var d deckyView
		_ = r.decode(&d) // without it, offer none
		return d.serviceNames()
	})
}

func (a *app) completeBoth(services func(reply) []string) cobra.CompletionFunc {
	first := a.completeDeckies()
	second := a.complete(1, func(args []string) string { return "/deckies/" + url.PathEscape(args[0]) }, services)
	return func(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return first(c, args, word)
		}
		return second(c, args, word)
	}
}
