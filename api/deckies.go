package api

import (
	"context"
	"time"

	"github.com/decnet/decnet/internal/decky"
)

// DeckyBody is a fake host.
type DeckyBody struct {
	UUID           string         `json:"uuid"`
	Name           string         `json:"name"`
	Scope          string         `json:"scope"`
	TopologyID     *string        `json:"topology_id"`
	IP             string         `json:"ip"`
	Archetype      *string        `json:"archetype"`
	Distro         string         `json:"distro"`
	Hostname       string         `json:"hostname"`
	NmapOS         string         `json:"nmap_os"`
	State          string         `json:"state" enum:",pending,running,reconciling,degraded,failed,quarantined,tearing_down,torn_down" doc:"Empty for a past revision"`
	StateReason    string         `json:"state_reason"`
	Services       []DeckyService `json:"services" nullable:"false"`
	Endpoints      []Endpoint     `json:"endpoints" nullable:"false" doc:"Where services can really be reached"`
	Revision       int            `json:"revision" doc:"0 before the first is active"`
	CreatedAt      time.Time      `json:"created_at"`
	LastActivityAt *time.Time     `json:"last_activity_at"`
}

// DeckyService is one service of a decky.
type DeckyService struct {
	Name          string         `json:"name"`
	Config        map[string]any `json:"config" nullable:"false" doc:"Secrets are masked"`
	SavedConfig   map[string]any `json:"saved_config,omitzero" required:"false" nullable:"false" doc:"What the next apply puts in force, when it differs"`
	State         string         `json:"state"`
	RestartNeeded bool           `json:"restart_needed" doc:"A configuration is saved that is not applied"`
	ExpiresAt     *time.Time     `json:"expires_at"`
	Revision      int            `json:"revision" doc:"The decky's revision that last changed the service"`
}

// Endpoint is an address a service listens on.
type Endpoint struct {
	Service  string `json:"service"`
	Protocol string `json:"protocol" enum:"tcp,udp"`
	IP       string `json:"ip"`
	Port     uint16 `json:"port"`
}

// DeckyPath is the decky in a path.
type DeckyPath struct {
	Decky string `path:"decky" pattern:"^[a-z0-9][a-z0-9-]{0,62}$" doc:"The name of a fleet decky"`
}

// AtQuery asks for the past.
type AtQuery struct {
	At time.Time `query:"at" doc:"As it was wanted at this instant; a decky that is gone included"`
}

type getDeckyInput struct {
	DeckyPath
	AtQuery
}

func (s *server) registerDeckies() {
	register(s, viewer, get("list-deckies", "/deckies", "List the deckies of the fleet by name", "deckies"), s.listDeckies)
	register(s, viewer, get("get-decky", "/deckies/{decky}", "One decky of the fleet", "deckies"), s.getDecky)
}

func (s *server) listDeckies(ctx context.Context, in *PageInput) (*output[Page[DeckyBody]], error) {
	return listByName(in, toDeckyBody, func(d DeckyBody) string { return d.Name },
		func(after string, limit int) ([]decky.Decky, error) {
			return s.deps.Store.Deckies(ctx, decky.FleetScope, after, limit)
		})
}

func (s *server) getDecky(ctx context.Context, in *getDeckyInput) (*output[DeckyBody], error) {
	return s.deckyAt(ctx, fleet(in.Decky), in.At)
}

// deckyAt answers with a decky as it is, or as it was at an instant.
func (s *server) deckyAt(ctx context.Context, where place, at time.Time) (*output[DeckyBody], error) {
	var d decky.Decky
	var err error
	if at.IsZero() {
		d, err = s.deps.Store.DeckyByName(ctx, where.scope, where.name)
	} else {
		d, err = s.deps.Store.DeckyAt(ctx, where.scope, where.name, at)
	}
	if err != nil {
		return nil, err
	}
	return &output[DeckyBody]{Body: toDeckyBody(d)}, nil
}

func toDeckyBody(d decky.Decky) DeckyBody {
	body := DeckyBody{
		UUID: d.ID.String(), Name: d.Name, Scope: d.Scope, TopologyID: decky.TopologyOf(d.Scope), IP: d.IP.String(), Archetype: optional(d.Archetype),
		Distro: d.Distro, Hostname: d.Hostname, NmapOS: d.NmapOS, State: string(d.State), StateReason: d.StateReason,
		Services: toServiceBodies(d.Services, d.State), Endpoints: []Endpoint{}, Revision: d.Revision, CreatedAt: d.CreatedAt.UTC(),
		LastActivityAt: utc(d.LastActivityAt),
	}
	for _, e := range d.Endpoints {
		body.Endpoints = append(body.Endpoints, Endpoint{
			Service: e.Service, Protocol: e.Protocol, IP: e.Listen.Addr().String(), Port: e.Listen.Port(),
		})
	}
	return body
}
