package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/decnet/decnet/activities"
	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/operation"
	"github.com/decnet/decnet/internal/service"
	"github.com/decnet/decnet/internal/topology"
)

// TopologySummary is a topology without its graph.
type TopologySummary struct {
	ID              string    `json:"id"`
	Name            string    `json:"name"`
	Mode            string    `json:"mode" enum:"unihost"`
	Status          string    `json:"status" enum:"pending,deploying,active,degraded,failed,tearing_down,torn_down"`
	StatusReason    string    `json:"status_reason"`
	Version         int64     `json:"version" doc:"Rises with every change; send it as expected_version"`
	CreatedAt       time.Time `json:"created_at"`
	StatusChangedAt time.Time `json:"status_changed_at"`
}

// TopologyBody is a topology with its graph, as it is wanted.
type TopologyBody struct {
	Topology TopologySummary     `json:"topology"`
	LANs     []LANBody           `json:"lans" nullable:"false"`
	Deckies  []TopologyDeckyBody `json:"deckies" nullable:"false"`
	Edges    []EdgeBody          `json:"edges" nullable:"false"`
}

// LANBody is one network of a topology.
type LANBody struct {
	ID         string   `json:"id"`
	TopologyID string   `json:"topology_id"`
	Name       string   `json:"name"`
	Subnet     string   `json:"subnet"`
	IsDMZ      bool     `json:"is_dmz"`
	X          *float64 `json:"x"`
	Y          *float64 `json:"y"`
}

// TopologyDeckyBody is a fake host of a topology.
type TopologyDeckyBody struct {
	UUID        string              `json:"uuid"`
	TopologyID  string              `json:"topology_id"`
	Name        string              `json:"name"`
	Services    []string            `json:"services" nullable:"false"`
	DeckyConfig TopologyDeckyConfig `json:"decky_config"`
	IP          *string             `json:"ip" doc:"In its home LAN"`
	State       string              `json:"state"`
	StateReason string              `json:"state_reason"`
	X           *float64            `json:"x"`
	Y           *float64            `json:"y"`
}

// TopologyDeckyConfig is what a decky is in its topology.
type TopologyDeckyConfig struct {
	Name          string                    `json:"name"`
	Archetype     *string                   `json:"archetype"`
	IPsByLAN      lanAddresses              `json:"ips_by_lan" doc:"The home LAN first"`
	ForwardsL3    bool                      `json:"forwards_l3"`
	ServiceConfig map[string]map[string]any `json:"service_config" nullable:"false" doc:"Secrets are masked"`
}

// lanAddresses is an object of addresses by LAN whose order means something.
type lanAddresses []topology.Address

// MarshalJSON keeps the order.
func (a lanAddresses) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, address := range a {
		lan, err := json.Marshal(address.LAN)
		if err != nil {
			return nil, err
		}
		ip, err := json.Marshal(address.IP)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(slices.Concat(lan, []byte{':'}, ip))
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// UnmarshalJSON reads what MarshalJSON wrote, for clients made of these types.
func (a *lanAddresses) UnmarshalJSON(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	if _, err := d.Token(); err != nil {
		return err
	}
	*a = lanAddresses{}
	for d.More() {
		lan, err := d.Token()
		if err != nil {
			return err
		}
		var address topology.Address
		address.LAN, _ = lan.(string)
		if err := d.Decode(&address.IP); err != nil {
			return err
		}
		*a = append(*a, address)
	}
	return nil
}

// Schema describes the object.
func (lanAddresses) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: &huma.Schema{Type: huma.TypeString}}
}

// EdgeBody is the membership of a decky in a LAN.
type EdgeBody struct {
	ID         string `json:"id"`
	TopologyID string `json:"topology_id"`
	DeckyUUID  string `json:"decky_uuid"`
	LANID      string `json:"lan_id"`
	IsBridge   bool   `json:"is_bridge"`
	ForwardsL3 bool   `json:"forwards_l3"`
}

// StatusEventBody is one step of a topology's status.
type StatusEventBody struct {
	FromStatus string    `json:"from_status"`
	ToStatus   string    `json:"to_status"`
	At         time.Time `json:"at"`
	Reason     string    `json:"reason"`
}

// IssuesBody says what is wrong with a topology.
type IssuesBody struct {
	Issues     []topology.Issue `json:"issues" nullable:"false"`
	Deployable bool             `json:"deployable" doc:"It is pending and nothing blocks a deploy"`
}

// DeployPlanBody says what a deploy would do. Nothing was changed.
type DeployPlanBody struct {
	IssuesBody
	DryRun  bool   `json:"dry_run"`
	Compose string `json:"compose" doc:"The compose file that would be brought up"`
}

// TopologyPath is the topology in a path.
type TopologyPath struct {
	TopologyID string `path:"topology_id" format:"uuid"`
}

func (p TopologyPath) id() uuid.UUID { return uuid.MustParse(p.TopologyID) }

type listTopologiesInput struct {
	PageInput
	Status string `query:"status" enum:"pending,deploying,active,degraded,failed,tearing_down,torn_down"`
}

type statusEventsInput struct {
	TopologyPath
	Limit int `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

type createTopologyInput struct {
	MutationInput
	Body createTopologyBody
}

type createTopologyBody struct {
	Name                     string   `json:"name" minLength:"1" maxLength:"256"`
	Mode                     string   `json:"mode,omitempty" enum:"unihost"`
	Depth                    int      `json:"depth"`
	BranchingFactor          int      `json:"branching_factor"`
	DeckiesPerLANMin         *int     `json:"deckies_per_lan_min,omitempty"`
	DeckiesPerLANMax         *int     `json:"deckies_per_lan_max,omitempty"`
	BridgeForwardProbability *float64 `json:"bridge_forward_probability,omitempty"`
	CrossEdgeProbability     *float64 `json:"cross_edge_probability,omitempty"`
	ServicesExplicit         []string `json:"services_explicit" required:"false" maxItems:"64"`
	RandomizeServices        *bool    `json:"randomize_services,omitempty"`
	Seed                     *int64   `json:"seed,omitempty" doc:"The same seed gives the same plan"`
}

type blankTopologyInput struct {
	MutationInput
	Body blankTopologyBody
}

type blankTopologyBody struct {
	Name string `json:"name" minLength:"1" maxLength:"256"`
	Mode string `json:"mode,omitempty" enum:"unihost"`
}

// TopologyChangeInput names a topology to be changed.
type TopologyChangeInput struct {
	MutationInput
	TopologyPath
	ExpectedVersion int64 `query:"expected_version" minimum:"1" doc:"Refuse the change when the topology has another version"`
}

type deployInput struct {
	MutationInput
	TopologyPath
	DryRunQuery
}

// tagTopologies groups the operations of this file and its neighbours.
const tagTopologies = "topologies"

func (s *server) registerTopologies() {
	register(s, viewer, get("list-topologies", "/topologies", "List topologies, newest first", tagTopologies), s.listTopologies)
	register(s, viewer, get("get-topology", "/topologies/{topology_id}", "A topology with its graph", tagTopologies), s.getTopology)
	register(s, viewer, get("list-topology-status-events", "/topologies/{topology_id}/status-events",
		"The steps of a topology's status, newest first", tagTopologies), s.statusEvents)
	register(s, viewer, get("list-topology-issues", "/topologies/{topology_id}/issues", "What is wrong with a topology", tagTopologies), s.issues)
	register(s, admin, s.mutation(http.StatusCreated, http.MethodPost, "generate-topology", "/topologies", "Generate a topology",
		TopologySummary{}), s.generateTopology)
	register(s, admin, s.mutation(http.StatusCreated, http.MethodPost, "create-blank-topology", "/topologies/blank",
		"Create a topology with a DMZ and its gateway", TopologySummary{}), s.blankTopology)
	register(s, admin, s.mutation(http.StatusNoContent, http.MethodDelete, "delete-topology", "/topologies/{topology_id}",
		"Delete a topology of which nothing runs", nil), s.deleteTopology)
	register(s, operator, s.mutation(http.StatusAccepted, http.MethodPost, "deploy-topology", "/topologies/{topology_id}/deploy",
		"Bring a topology up", TopologySummary{}), s.deployTopology)
	register(s, operator, s.mutation(http.StatusAccepted, http.MethodPost, "teardown-topology", "/topologies/{topology_id}/teardown",
		"Take a topology down for good", TopologySummary{}), s.teardownTopology)
	s.registerPlans()
	s.registerEdits()
	s.registerTopologyDeckies()
}

func (s *server) listTopologies(ctx context.Context, in *listTopologiesInput) (*output[Page[TopologySummary]], error) {
	f := db.TopologyFilter{Status: topology.Status(in.Status), Limit: in.Limit + 1}
	cursor, err := in.key()
	if err == nil && cursor != "" {
		f.BeforeCreated, f.Before, err = topologyCursor(cursor)
	}
	if err != nil {
		return nil, err
	}
	list, err := s.deps.Store.Topologies(ctx, f)
	if err != nil {
		return nil, err
	}
	rows := newPage(list, in.Limit, func(t topology.Topology) string {
		return t.CreatedAt.UTC().Format(time.RFC3339Nano) + " " + t.ID.String()
	})
	page := Page[TopologySummary]{Items: make([]TopologySummary, len(rows.Items)), NextCursor: rows.NextCursor}
	for i, t := range rows.Items {
		page.Items[i] = toSummary(t)
	}
	return &output[Page[TopologySummary]]{Body: page}, nil
}

func topologyCursor(cursor string) (time.Time, uuid.UUID, error) {
	text, id, _ := strings.Cut(cursor, " ")
	at, errTime := time.Parse(time.RFC3339Nano, text)
	before, errID := uuid.Parse(id)
	if errors.Join(errTime, errID) != nil {
		return time.Time{}, uuid.Nil, errCursor()
	}
	return at, before, nil
}

func toSummary(t topology.Topology) TopologySummary {
	return TopologySummary{
		ID: t.ID.String(), Name: t.Name, Mode: t.Mode, Status: string(t.Status), StatusReason: t.Reason, Version: t.Version,
		CreatedAt: t.CreatedAt.UTC(), StatusChangedAt: t.StatusChangedAt.UTC(),
	}
}

func (s *server) getTopology(ctx context.Context, in *TopologyPath) (*output[TopologyBody], error) {
	t, g, err := s.graph(ctx, in.id())
	if err != nil {
		return nil, err
	}
	deckies, err := s.deps.Store.TopologyDeckies(ctx, t)
	if err != nil {
		return nil, err
	}
	states := make(map[uuid.UUID]decky.Decky, len(deckies))
	for _, d := range deckies {
		states[d.ID] = d
	}
	body := TopologyBody{Topology: toSummary(t), LANs: []LANBody{}, Deckies: []TopologyDeckyBody{}, Edges: []EdgeBody{}}
	for _, l := range g.LANs {
		body.LANs = append(body.LANs, toLANBody(t.ID, l))
	}
	for _, d := range g.Deckies {
		body.Deckies = append(body.Deckies, toTopologyDeckyBody(t.ID, d, states[d.ID]))
	}
	for _, e := range g.Edges {
		body.Edges = append(body.Edges, toEdgeBody(t.ID, e))
	}
	return &output[TopologyBody]{Body: body}, nil
}

func (s *server) graph(ctx context.Context, id uuid.UUID) (topology.Topology, topology.Graph, error) {
	t, err := s.deps.Store.Topology(ctx, id)
	if err != nil {
		return topology.Topology{}, topology.Graph{}, err
	}
	g, err := s.deps.Store.Graph(ctx, t)
	return t, g, err
}

func toLANBody(id uuid.UUID, l topology.LAN) LANBody {
	return LANBody{ID: l.ID.String(), TopologyID: id.String(), Name: l.Name, Subnet: l.Subnet, IsDMZ: l.DMZ, X: l.X, Y: l.Y}
}

func toTopologyDeckyBody(id uuid.UUID, d topology.Decky, row decky.Decky) TopologyDeckyBody {
	body := TopologyDeckyBody{
		UUID: d.ID.String(), TopologyID: id.String(), Name: d.Name, Services: decky.Names(d.Services), State: string(row.State),
		StateReason: row.StateReason, X: d.X, Y: d.Y,
		DeckyConfig: TopologyDeckyConfig{
			Name: d.Name, Archetype: optional(d.Archetype), IPsByLAN: d.IPs, ForwardsL3: d.ForwardsL3,
			ServiceConfig: map[string]map[string]any{},
		},
	}
	if body.State == "" {
		body.State = string(decky.Pending)
	}
	if len(d.IPs) > 0 {
		body.IP = optional(d.IPs[0].IP)
	}
	for _, sv := range d.Services {
		if len(sv.Config) > 0 {
			body.DeckyConfig.ServiceConfig[sv.Name] = service.Masked(sv.Name, sv.Config)
		}
	}
	return body
}

func toEdgeBody(id uuid.UUID, e topology.Edge) EdgeBody {
	return EdgeBody{
		ID: e.ID.String(), TopologyID: id.String(), DeckyUUID: e.DeckyID.String(), LANID: e.LANID.String(),
		IsBridge: e.Bridge, ForwardsL3: e.ForwardsL3,
	}
}

func (s *server) statusEvents(ctx context.Context, in *statusEventsInput) (*output[[]StatusEventBody], error) {
	t, err := s.deps.Store.Topology(ctx, in.id())
	if err != nil {
		return nil, err
	}
	events, err := s.deps.Store.StatusEvents(ctx, t.ID, in.Limit)
	body := make([]StatusEventBody, len(events))
	for i, e := range events {
		body[i] = StatusEventBody{FromStatus: string(e.From), ToStatus: string(e.To), At: e.At.UTC(), Reason: e.Reason}
	}
	return &output[[]StatusEventBody]{Body: body}, err
}

func (s *server) issues(ctx context.Context, in *TopologyPath) (*output[IssuesBody], error) {
	t, g, err := s.graph(ctx, in.id())
	if err != nil {
		return nil, err
	}
	return &output[IssuesBody]{Body: toIssues(t, g)}, nil
}

func toIssues(t topology.Topology, g topology.Graph) IssuesBody {
	issues := topology.Validate(g)
	if issues == nil {
		issues = []topology.Issue{}
	}
	return IssuesBody{Issues: issues, Deployable: t.Status.Deployable() && len(topology.Blocking(issues)) == 0}
}

func (s *server) generateTopology(ctx context.Context, in *createTopologyInput) (*mutationOutput, error) {
	params := in.Body.params()
	seed := rand.Int64() //nolint:gosec // a plan, no secret
	if in.Body.Seed != nil {
		seed = *in.Body.Seed
	}
	generated, err := json.Marshal(struct {
		topology.Params
		Seed int64 `json:"seed"`
	}{params, seed})
	if err != nil {
		return nil, err
	}
	return s.newTopology(ctx, in.MutationInput, in.Body.Name, in.Body, generated, func(src topology.Source) (topology.Graph, error) {
		src.Rand = topology.Seeded(seed)
		return topology.Generate(params, src)
	})
}

func (b createTopologyBody) params() topology.Params {
	p := topology.DefaultParams()
	p.Depth, p.BranchingFactor, p.ServicesExplicit = b.Depth, b.BranchingFactor, b.ServicesExplicit
	set(&p.DeckiesPerLANMin, b.DeckiesPerLANMin)
	set(&p.DeckiesPerLANMax, b.DeckiesPerLANMax)
	set(&p.BridgeForwardProbability, b.BridgeForwardProbability)
	set(&p.CrossEdgeProbability, b.CrossEdgeProbability)
	set(&p.RandomizeServices, b.RandomizeServices)
	return p
}

func set[T any](field, value *T) {
	if value != nil {
		*field = *value
	}
}

func (s *server) blankTopology(ctx context.Context, in *blankTopologyInput) (*mutationOutput, error) {
	return s.newTopology(ctx, in.MutationInput, in.Body.Name, in.Body, nil, topology.Blank)
}

// newTopology records a topology with the graph that make returns, in one transaction.
func (s *server) newTopology(
	ctx context.Context, in MutationInput, name string, body any, generated json.RawMessage,
	make func(topology.Source) (topology.Graph, error),
) (*mutationOutput, error) {
	if err := topology.CheckName(name); err != nil {
		return nil, err
	}
	id := uuid.New()
	op := operation.Operation{Scope: topology.ScopeName(id), Lane: operation.WholeScope, Kind: operation.CreateTopology}
	return s.record(ctx, in, "create_topology", body, op, func(tx *db.Tx) (any, error) {
		t, err := tx.CreateTopology(ctx, topology.Topology{ID: id, Name: name, Mode: topology.ModeUnihost}, generated)
		if err != nil {
			return nil, err
		}
		reserved, err := s.reserved(ctx, tx, id)
		if err != nil {
			return nil, err
		}
		g, err := make(topology.Source{NewID: uuid.New, Reserved: reserved})
		if err != nil {
			return nil, err
		}
		return toSummary(t), tx.SaveGraph(ctx, t, topology.Graph{}, g, activities.Invent)
	})
}

// reserved lists the subnets a topology must keep clear of: those of others, and the fleet's.
func (s *server) reserved(ctx context.Context, from subnets, id uuid.UUID) ([]string, error) {
	list, err := from.ReservedSubnets(ctx, id)
	if fleet := s.deps.Pool.Prefix; fleet.IsValid() && !netip.MustParsePrefix("127.0.0.0/8").Contains(fleet.Addr()) {
		list = append(list, fleet.String())
	}
	return list, err
}

// subnets is the database, in a transaction that will take one, or outside of any.
type subnets interface {
	ReservedSubnets(ctx context.Context, except uuid.UUID) ([]string, error)
}

func (s *server) deleteTopology(ctx context.Context, in *TopologyChangeInput) (*mutationOutput, error) {
	op := operation.Operation{Scope: topology.ScopeName(in.id()), Lane: operation.WholeScope, Kind: operation.DeleteTopology}
	return s.record(ctx, in.MutationInput, "delete_topology "+in.TopologyID, in.ExpectedVersion, op, func(tx *db.Tx) (any, error) {
		t, err := tx.LockTopology(ctx, in.id())
		if err == nil {
			err = t.CheckVersion(expected(in.ExpectedVersion))
		}
		if err == nil && !t.Status.Deletable() {
			err = t.Status.Refused("deleted")
		}
		if err == nil {
			err = tx.CheckIdle(ctx, t.ID)
		}
		if err != nil {
			return nil, err
		}
		return nil, tx.DeleteTopology(ctx, t.ID)
	})
}

func expected(version int64) *int64 {
	if version == 0 {
		return nil
	}
	return &version
}

func (s *server) deployTopology(ctx context.Context, in *deployInput) (*mutationOutput, error) {
	if in.DryRun {
		return s.deployPlan(ctx, in.id())
	}
	return s.changeTopology(ctx, in.MutationInput, in.id(), operation.Deploy, func(t topology.Topology, g topology.Graph) error {
		if !t.Status.Deployable() {
			return t.Status.Refused("deployed")
		}
		return topology.Fault(topology.Blocking(topology.Validate(g)))
	})
}

func (s *server) teardownTopology(ctx context.Context, in *TopologyChangeInput) (*mutationOutput, error) {
	return s.changeTopology(ctx, in.MutationInput, in.id(), operation.Teardown, func(t topology.Topology, _ topology.Graph) error {
		if !t.Status.Teardownable() {
			return t.Status.Refused("torn down")
		}
		return t.CheckVersion(expected(in.ExpectedVersion))
	})
}

// changeTopology starts an operation on a whole topology and answers at once: it may take minutes.
func (s *server) changeTopology(
	ctx context.Context, in MutationInput, id uuid.UUID, kind operation.Kind, check func(topology.Topology, topology.Graph) error,
) (*mutationOutput, error) {
	in.detached = true
	out, err := s.mutate(ctx, in, string(kind)+" "+id.String(), nil, func(ctx context.Context) (change, error) {
		t, g, err := s.graph(ctx, id)
		if err == nil {
			err = check(t, g)
		}
		return change{op: operation.Operation{Scope: topology.ScopeName(id), Lane: operation.WholeScope, Kind: kind}}, err
	})
	if err != nil {
		return nil, err
	}
	t, err := s.deps.Store.Topology(ctx, id)
	if err != nil {
		return nil, err
	}
	return &mutationOutput{
		Status: http.StatusAccepted, Operation: out.Operation, Location: Prefix + "/operations/" + out.Operation, Body: toSummary(t),
	}, nil
}

func (s *server) deployPlan(ctx context.Context, id uuid.UUID) (*mutationOutput, error) {
	t, g, err := s.graph(ctx, id)
	if err != nil {
		return nil, err
	}
	if !t.Status.Deployable() {
		return nil, t.Status.Refused("deployed")
	}
	body := DeployPlanBody{IssuesBody: toIssues(t, g), DryRun: true}
	if body.Deployable && s.deps.ComposeTopology != nil {
		rendered, err := s.deps.ComposeTopology(ctx, t, g)
		if err != nil {
			return nil, err
		}
		body.Compose = string(rendered)
	}
	return &mutationOutput{Status: http.StatusOK, Body: body}, nil
}

// record does a change that is one transaction and concerns no decoy, and keeps it as an operation that succeeded.
func (s *server) record(
	ctx context.Context, in MutationInput, what string, body any, op operation.Operation, work func(*db.Tx) (any, error),
) (*mutationOutput, error) {
	actor := principalOf(ctx).actor
	hash, err := s.deps.Dispatcher.RequestHash(what, body)
	if err != nil {
		return nil, err
	}
	earlier, found, err := s.earlier(ctx, actor, in.IdempotencyKey, hash)
	if err != nil {
		return nil, err
	}
	if found {
		return s.conclude(ctx, earlier, 0)
	}
	op.ID, op.Actor, op.IdempotencyKey, op.RequestHash = uuid.Must(uuid.NewV7()), actor, in.IdempotencyKey, hash
	if op.Response, err = s.deps.Dispatcher.Record(ctx, op, work); err != nil {
		return nil, err
	}
	return s.success(ctx, op)
}

// errNoDecky is the fault for a decky that is not in its topology.
func errNoDecky() error {
	return fault.New(fault.NotFound, "decky_not_found", "there is no such decky in the topology")
}
