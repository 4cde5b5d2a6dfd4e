package api

import (
	"context"
	"maps"
	"net/http"
	"slices"

	"github.com/google/uuid"

	"github.com/decnet/decnet/activities"
	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/operation"
	"github.com/decnet/decnet/internal/service"
	"github.com/decnet/decnet/internal/topology"
)

// VersionBody is part of every body that changes a plan.
type VersionBody struct {
	ExpectedVersion *int64 `json:"expected_version,omitempty" minimum:"1" doc:"Refuse the change when the topology has another version"`
}

// CanvasBody is a place on the canvas.
type CanvasBody struct {
	X *float64 `json:"x,omitempty"`
	Y *float64 `json:"y,omitempty"`
}

type addLANInput struct {
	MutationInput
	TopologyPath
	Body struct {
		VersionBody
		CanvasBody
		Name   string  `json:"name" minLength:"1" maxLength:"64"`
		Subnet *string `json:"subnet,omitempty" maxLength:"64" doc:"A free one when absent"`
		IsDMZ  bool    `json:"is_dmz,omitempty"`
	}
}

type updateLANInput struct {
	MutationInput
	TopologyPath
	LANPath
	Body struct {
		VersionBody
		CanvasBody
		Name   *string `json:"name,omitempty" minLength:"1" maxLength:"64"`
		Subnet *string `json:"subnet,omitempty" maxLength:"64"`
		IsDMZ  *bool   `json:"is_dmz,omitempty"`
	}
}

// LANPath is the LAN in a path.
type LANPath struct {
	LANID string `path:"lan_id" format:"uuid"`
}

// TopologyDeckyPath is the decky of a topology in a path.
type TopologyDeckyPath struct {
	TopologyPath
	Decky string `path:"decky" pattern:"^[a-z0-9][a-z0-9-]{0,62}$" doc:"Its name or its uuid"`
}

type addDeckyInput struct {
	MutationInput
	TopologyPath
	Body struct {
		VersionBody
		CanvasBody
		Name          string                    `json:"name" minLength:"1" maxLength:"63"`
		LAN           string                    `json:"lan,omitempty" maxLength:"64" doc:"Name or id of its home LAN"`
		Services      []string                  `json:"services" required:"false" maxItems:"64" doc:"The archetype's when absent"`
		ServiceConfig map[string]map[string]any `json:"service_config,omitempty"`
		Archetype     string                    `json:"archetype,omitempty" maxLength:"64"`
		ForwardsL3    bool                      `json:"forwards_l3,omitempty"`
		IP            string                    `json:"ip,omitempty" maxLength:"64"`
	}
}

type updateDeckyInput struct {
	MutationInput
	TopologyDeckyPath
	Body struct {
		VersionBody
		CanvasBody
		Name          *string                    `json:"name,omitempty" minLength:"1" maxLength:"63"`
		Services      *[]string                  `json:"services,omitempty" maxItems:"64"`
		ServiceConfig *map[string]map[string]any `json:"service_config,omitempty"`
		Archetype     *string                    `json:"archetype,omitempty" maxLength:"64"`
		ForwardsL3    *bool                      `json:"forwards_l3,omitempty"`
		IPsByLAN      *map[string]string         `json:"ips_by_lan,omitempty"`
	}
}

type addEdgeInput struct {
	MutationInput
	TopologyPath
	Body struct {
		VersionBody
		DeckyUUID  string `json:"decky_uuid" maxLength:"64" doc:"The decky, by uuid or name"`
		LANID      string `json:"lan_id" maxLength:"64" doc:"The LAN, by id or name"`
		IP         string `json:"ip,omitempty" maxLength:"64"`
		IsBridge   *bool  `json:"is_bridge,omitempty"`
		ForwardsL3 bool   `json:"forwards_l3,omitempty"`
	}
}

type removeLANInput struct {
	TopologyChangeInput
	LANPath
}

type removeDeckyInput struct {
	MutationInput
	TopologyDeckyPath
	ExpectedVersion int64 `query:"expected_version" minimum:"1" doc:"Refuse the change when the topology has another version"`
}

type removeEdgeInput struct {
	TopologyChangeInput
	EdgeID string `path:"edge_id" format:"uuid"`
}

type nextSubnetInput struct {
	Base string `query:"base" default:"172.16.0.0/12" maxLength:"64" doc:"a.b.c.d/n, a.b (a /16) or a.b.c.d (that /24)"`
}

// SubnetBody is a free subnet.
type SubnetBody struct {
	Subnet string `json:"subnet"`
}

type nextIPInput struct {
	TopologyPath
	LANPath
}

// AddressBody is a free address of a LAN.
type AddressBody struct {
	Subnet string `json:"subnet"`
	IP     string `json:"ip"`
}

func (s *server) registerPlans() {
	const under = "/topologies/{topology_id}"
	register(s, admin, s.mutation(http.StatusCreated, http.MethodPost, "add-lan", under+"/lans", "Add a LAN to a plan", LANBody{}), s.addLAN)
	register(s, admin, s.mutation(http.StatusOK, http.MethodPatch, "update-lan", under+"/lans/{lan_id}", "Change a LAN of a plan", LANBody{}), s.updateLAN)
	register(s, admin, s.mutation(http.StatusNoContent, http.MethodDelete, "remove-lan", under+"/lans/{lan_id}", "Remove a LAN from a plan", nil), s.removeLAN)
	register(s, admin, s.mutation(http.StatusCreated, http.MethodPost, "add-topology-decky", under+"/deckies",
		"Add a decky to a plan", TopologyDeckyBody{}), s.addDecky)
	register(s, admin, s.mutation(http.StatusOK, http.MethodPatch, "update-topology-decky", under+"/deckies/{decky}",
		"Change a decky of a plan", TopologyDeckyBody{}), s.updateDecky)
	register(s, admin, s.mutation(http.StatusNoContent, http.MethodDelete, "remove-topology-decky", under+"/deckies/{decky}",
		"Remove a decky from a plan", nil), s.removeDecky)
	register(s, admin, s.mutation(http.StatusCreated, http.MethodPost, "add-edge", under+"/edges", "Put a decky into a LAN of a plan", EdgeBody{}), s.addEdge)
	register(s, admin, s.mutation(http.StatusNoContent, http.MethodDelete, "remove-edge", under+"/edges/{edge_id}",
		"Take a decky out of a LAN of a plan", nil), s.removeEdge)
	register(s, viewer, get("next-subnet", "/topologies/next-subnet", "A subnet no topology has", tagTopologies), s.nextSubnet)
	register(s, viewer, get("next-ip", under+"/lans/{lan_id}/next-ip", "An address of a LAN no decky has", tagTopologies), s.nextIP)
}

// edited is a plan before and after an edit.
type edited struct {
	topology      topology.Topology
	before, after topology.Graph
}

// plan edits a pending topology in one transaction; edit makes the op once the graph is known, answer what is told.
func (s *server) plan(
	ctx context.Context, in MutationInput, id uuid.UUID, kind operation.Kind, target string, body any, version *int64,
	edit func(topology.Graph) (topology.Op, error), answer func(edited) any,
) (*mutationOutput, error) {
	op := operation.Operation{Scope: topology.ScopeName(id), Lane: operation.WholeScope, Kind: kind}
	what := "plan " + string(kind) + " " + id.String() + " " + target
	return s.record(ctx, in, what, body, op, func(tx *db.Tx) (any, error) {
		t, err := tx.LockTopology(ctx, id)
		if err == nil && !t.Status.Editable() {
			err = t.Status.Refused("edited as a plan")
		}
		if err == nil {
			err = t.CheckVersion(version)
		}
		if err == nil {
			err = tx.CheckSettled(ctx, id)
		}
		if err != nil {
			return nil, err
		}
		e := edited{topology: t}
		if e.before, err = tx.Graph(ctx, t); err != nil {
			return nil, err
		}
		change, err := edit(e.before)
		if err != nil {
			return nil, err
		}
		reserved, err := s.reserved(ctx, tx, id)
		if err != nil {
			return nil, err
		}
		site := topology.Site{ID: id, Status: t.Status, NewID: uuid.New, Reserved: reserved}
		if e.after, _, err = topology.Apply(e.before, site, change); err != nil {
			return nil, err
		}
		if err := tx.SaveGraph(ctx, t, e.before, e.after, activities.Invent); err != nil {
			return nil, err
		}
		if err := tx.BumpTopology(ctx, &e.topology); err != nil {
			return nil, err
		}
		return answer(e), nil
	})
}

func nothing(edited) any { return nil }

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func (s *server) addLAN(ctx context.Context, in *addLANInput) (*mutationOutput, error) {
	op := topology.AddLAN{Name: in.Body.Name, Subnet: deref(in.Body.Subnet), DMZ: in.Body.IsDMZ, X: in.Body.X, Y: in.Body.Y}
	return s.plan(ctx, in.MutationInput, in.id(), operation.AddLAN, "", in.Body, in.Body.ExpectedVersion, fixed(op), func(e edited) any {
		l, _ := e.after.LANByName(op.Name)
		return toLANBody(in.id(), l)
	})
}

func fixed(op topology.Op) func(topology.Graph) (topology.Op, error) {
	return func(topology.Graph) (topology.Op, error) { return op, nil }
}

func lanNotFound() error {
	return fault.New(fault.NotFound, "lan_not_found", "there is no such LAN in the topology")
}

func (s *server) updateLAN(ctx context.Context, in *updateLANInput) (*mutationOutput, error) {
	id := uuid.MustParse(in.LANID)
	return s.plan(ctx, in.MutationInput, in.id(), operation.UpdateLAN, in.LANID, in.Body, in.Body.ExpectedVersion,
		func(g topology.Graph) (topology.Op, error) {
			l, ok := g.LAN(id)
			if !ok {
				return nil, lanNotFound()
			}
			return topology.UpdateLAN{
				LAN: l.Name, X: in.Body.X, Y: in.Body.Y,
				Patch: topology.LANPatch{Name: in.Body.Name, Subnet: in.Body.Subnet, DMZ: in.Body.IsDMZ},
			}, nil
		}, func(e edited) any {
			l, _ := e.after.LAN(id)
			return toLANBody(in.id(), l)
		})
}

func (s *server) removeLAN(ctx context.Context, in *removeLANInput) (*mutationOutput, error) {
	id := uuid.MustParse(in.LANID)
	return s.plan(ctx, in.MutationInput, in.id(), operation.RemoveLAN, in.LANID, nil, expected(in.ExpectedVersion),
		func(g topology.Graph) (topology.Op, error) {
			l, ok := g.LAN(id)
			if !ok {
				return nil, lanNotFound()
			}
			return topology.RemoveLAN{LAN: l.Name}, nil
		}, nothing)
}

func (s *server) addDecky(ctx context.Context, in *addDeckyInput) (*mutationOutput, error) {
	b := in.Body
	if b.IP != "" && b.LAN == "" {
		const why = "needs the LAN it is in"
		return nil, fault.New(fault.Unprocessable, "address_invalid", "the address %s", why).With(fault.Field{Location: "body.ip", Message: why})
	}
	op := topology.AddDecky{
		Name: b.Name, LAN: b.LAN, Services: b.Services, Configs: configs(b.ServiceConfig), Archetype: b.Archetype,
		ForwardsL3: b.ForwardsL3, IP: b.IP, X: b.X, Y: b.Y,
	}
	return s.plan(ctx, in.MutationInput, in.id(), operation.AddDecky, "", b, b.ExpectedVersion, fixed(op), func(e edited) any {
		d, _ := e.after.DeckyByName(op.Name)
		return toTopologyDeckyBody(in.id(), d, decky.Decky{})
	})
}

func configs(submitted map[string]map[string]any) map[string]service.Config {
	list := make(map[string]service.Config, len(submitted))
	for slug, c := range submitted {
		list[slug] = c
	}
	return list
}

// deckyOf finds a decky by name or uuid.
func deckyOf(g topology.Graph, ref string) (topology.Decky, error) {
	if d, ok := g.DeckyByName(ref); ok {
		return d, nil
	}
	if id, err := uuid.Parse(ref); err == nil {
		if d, ok := g.Decky(id); ok {
			return d, nil
		}
	}
	return topology.Decky{}, errNoDecky()
}

func (s *server) updateDecky(ctx context.Context, in *updateDeckyInput) (*mutationOutput, error) {
	var id uuid.UUID
	b := in.Body
	return s.plan(ctx, in.MutationInput, in.id(), operation.UpdateDecky, in.Decky, b, b.ExpectedVersion,
		func(g topology.Graph) (topology.Op, error) {
			d, err := deckyOf(g, in.Decky)
			if err != nil {
				return nil, err
			}
			id = d.ID
			patch := topology.DeckyPatch{Name: b.Name, Archetype: b.Archetype, ForwardsL3: b.ForwardsL3}
			if b.IPsByLAN != nil {
				patch.IPs = &[]topology.Address{}
				for _, lan := range slices.Sorted(maps.Keys(*b.IPsByLAN)) {
					*patch.IPs = append(*patch.IPs, topology.Address{LAN: lan, IP: (*b.IPsByLAN)[lan]})
				}
			}
			if b.ServiceConfig != nil {
				c := configs(*b.ServiceConfig)
				patch.Configs = &c
			}
			return topology.UpdateDecky{Decky: d.Name, Patch: patch, Services: b.Services, X: b.X, Y: b.Y}, nil
		}, func(e edited) any {
			d, _ := e.after.Decky(id)
			return toTopologyDeckyBody(in.id(), d, decky.Decky{})
		})
}

func (s *server) removeDecky(ctx context.Context, in *removeDeckyInput) (*mutationOutput, error) {
	return s.plan(ctx, in.MutationInput, in.id(), operation.RemoveDecky, in.Decky, nil, expected(in.ExpectedVersion),
		func(g topology.Graph) (topology.Op, error) {
			d, err := deckyOf(g, in.Decky)
			return topology.RemoveDecky{Decky: d.Name}, err
		}, nothing)
}

func (s *server) addEdge(ctx context.Context, in *addEdgeInput) (*mutationOutput, error) {
	b := in.Body
	op := topology.AttachDecky{Decky: b.DeckyUUID, LAN: b.LANID, IP: b.IP, ForwardsL3: b.ForwardsL3, Bridge: b.IsBridge}
	return s.plan(ctx, in.MutationInput, in.id(), operation.AttachDecky, "", b, b.ExpectedVersion, fixed(op), func(e edited) any {
		for _, edge := range e.after.Edges {
			if !hasEdge(e.before, edge.ID) {
				return toEdgeBody(in.id(), edge)
			}
		}
		return nil
	})
}

func hasEdge(g topology.Graph, id uuid.UUID) bool {
	for _, e := range g.Edges {
		if e.ID == id {
			return true
		}
	}
	return false
}

func (s *server) removeEdge(ctx context.Context, in *removeEdgeInput) (*mutationOutput, error) {
	id := uuid.MustParse(in.EdgeID)
	return s.plan(ctx, in.MutationInput, in.id(), operation.DetachDecky, in.EdgeID, nil, expected(in.ExpectedVersion),
		func(g topology.Graph) (topology.Op, error) {
			for _, e := range g.Edges {
				if e.ID == id {
					d, _ := g.Decky(e.DeckyID)
					l, _ := g.LAN(e.LANID)
					return topology.DetachDecky{Decky: d.Name, LAN: l.Name}, nil
				}
			}
			return nil, fault.New(fault.NotFound, "edge_not_found", "there is no such edge in the topology")
		}, nothing)
}

func (s *server) nextSubnet(ctx context.Context, in *nextSubnetInput) (*output[SubnetBody], error) {
	base, err := topology.ParseBase(in.Base)
	if err != nil {
		return nil, err
	}
	reserved, err := s.reserved(ctx, s.deps.Store, uuid.Nil)
	if err != nil {
		return nil, err
	}
	subnet, err := topology.NextSubnet(base, topology.Reserved(reserved...))
	return &output[SubnetBody]{Body: SubnetBody{Subnet: subnet.String()}}, err
}

func (s *server) nextIP(ctx context.Context, in *nextIPInput) (*output[AddressBody], error) {
	_, g, err := s.graph(ctx, in.id())
	if err != nil {
		return nil, err
	}
	l, ok := g.LAN(uuid.MustParse(in.LANID))
	if !ok {
		return nil, lanNotFound()
	}
	ip, err := topology.NextIP(g, l)
	return &output[AddressBody]{Body: AddressBody{Subnet: l.Subnet, IP: ip.String()}}, err
}
