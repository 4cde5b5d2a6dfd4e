package api

import (
	"context"

	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/service"
)

// ServicesBody lists the services there are.
type ServicesBody struct {
	Services        []string `json:"services" nullable:"false" doc:"Slugs that can be placed on a decky, sorted"`
	FleetSingletons []string `json:"fleet_singletons" nullable:"false" doc:"Slugs that run once per installation"`
}

// ServiceSchemaBody describes a service and its configuration.
type ServiceSchemaBody struct {
	Name           string         `json:"name"`
	Ports          []uint16       `json:"ports" nullable:"false"`
	FleetSingleton bool           `json:"fleet_singleton"`
	Fields         []ServiceField `json:"fields" nullable:"false"`
}

// ServiceField is one configuration key.
type ServiceField struct {
	Key         string   `json:"key"`
	Label       string   `json:"label"`
	Type        string   `json:"type" enum:"string,password,int,bool,textarea,enum,multi_enum"`
	Default     any      `json:"default" doc:"Applied when the decoy is started; null when there is none"`
	Secret      bool     `json:"secret" doc:"Shown masked"`
	Help        string   `json:"help"`
	Enum        []string `json:"enum" doc:"The allowed values; null when any is"`
	Placeholder string   `json:"placeholder"`
}

// ArchetypesBody lists the kinds of hosts there are.
type ArchetypesBody struct {
	Archetypes []ArchetypeBody `json:"archetypes" nullable:"false"`
}

// ArchetypeBody is a kind of host, with those of its services that can be run.
type ArchetypeBody struct {
	Slug             string   `json:"slug"`
	DisplayName      string   `json:"display_name"`
	Description      string   `json:"description"`
	Services         []string `json:"services" nullable:"false"`
	PreferredDistros []string `json:"preferred_distros" nullable:"false"`
	NmapOS           string   `json:"nmap_os"`
}

// SlugPath is the service in a path.
type SlugPath struct {
	Slug string `path:"slug" pattern:"^[a-z0-9_-]{1,64}$"`
}

func (s *server) registerCatalog() {
	for _, of := range []struct{ id, path string }{{"", "/deckies"}, {"topology-", "/topologies"}} {
		register(s, viewer, get("list-"+of.id+"services", of.path+"/services", "The services there are", "catalog"), s.services)
		register(s, viewer, get("get-"+of.id+"service-schema", of.path+"/services/{slug}/schema",
			"A service and its configuration fields", "catalog"), s.serviceSchema)
		register(s, viewer, get("list-"+of.id+"archetypes", of.path+"/archetypes", "The archetypes there are", "catalog"), s.archetypes)
	}
}

func (s *server) services(context.Context, *empty) (*output[ServicesBody], error) {
	body := ServicesBody{Services: []string{}, FleetSingletons: []string{}}
	for _, d := range service.All() {
		if d.Singleton {
			body.FleetSingletons = append(body.FleetSingletons, d.Name)
		} else {
			body.Services = append(body.Services, d.Name)
		}
	}
	return &output[ServicesBody]{Body: body}, nil
}

func (s *server) serviceSchema(_ context.Context, in *SlugPath) (*output[ServiceSchemaBody], error) {
	d, ok := service.Lookup(in.Slug)
	if !ok {
		return nil, fault.New(fault.NotFound, "service_not_found", "there is no such service")
	}
	body := ServiceSchemaBody{Name: d.Name, Ports: []uint16{}, FleetSingleton: d.Singleton, Fields: []ServiceField{}}
	for _, p := range d.Ports {
		body.Ports = append(body.Ports, p.Number)
	}
	for _, f := range d.Fields {
		body.Fields = append(body.Fields, ServiceField{
			Key: f.Key, Label: f.Label, Type: string(f.Type), Default: f.Default, Secret: f.Secret, Help: f.Help,
			Enum: f.Enum, Placeholder: f.Placeholder,
		})
	}
	return &output[ServiceSchemaBody]{Body: body}, nil
}

func (s *server) archetypes(context.Context, *empty) (*output[ArchetypesBody], error) {
	body := ArchetypesBody{Archetypes: []ArchetypeBody{}}
	for _, a := range decky.Archetypes() {
		body.Archetypes = append(body.Archetypes, ArchetypeBody{
			Slug: a.Slug, DisplayName: a.DisplayName, Description: a.Description, Services: a.Services,
			PreferredDistros: a.Distros, NmapOS: a.NmapOS,
		})
	}
	return &output[ArchetypesBody]{Body: body}, nil
}
