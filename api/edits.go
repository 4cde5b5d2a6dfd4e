package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/decnet/decnet/internal/operation"
	"github.com/decnet/decnet/internal/service"
	"github.com/decnet/decnet/internal/topology"
)

// EditAcceptedBody is the answer to an edit of a running topology.
type EditAcceptedBody struct {
	MutationID string `json:"mutation_id" doc:"The operation's id"`
	State      string `json:"state" enum:"pending"`
}

// TopologyEditBody is an edit of a running topology.
type TopologyEditBody struct {
	ID          string          `json:"id"`
	TopologyID  string          `json:"topology_id"`
	Op          string          `json:"op"`
	Payload     json.RawMessage `json:"payload" doc:"Secrets are masked"`
	State       string          `json:"state" enum:"pending,applying,applied,failed"`
	Actor       string          `json:"actor"`
	RequestedAt time.Time       `json:"requested_at"`
	AppliedAt   *time.Time      `json:"applied_at"`
	Reason      *string         `json:"reason"`
}

type editInput struct {
	MutationInput
	TopologyPath
	Body editBody
}

type editBody struct {
	Op              string         `json:"op" maxLength:"32"`
	Payload         map[string]any `json:"payload"`
	ExpectedVersion *int64         `json:"expected_version,omitempty" minimum:"1" doc:"Refuse the edit when the topology has another version at its turn"`
}

type listEditsInput struct {
	TopologyPath
	State string `query:"state" enum:"pending,applying,applied,failed"`
	Limit int    `query:"limit" minimum:"1" maximum:"500" default:"100"`
}

// States of an edit as its topology's readers know them.
const (
	editPending  = "pending"
	editApplying = "applying"
)

// editStates tells how the state of an edit is called, and the states of operations it stands for.
var editStates = map[string][]operation.State{
	editPending:  {operation.Received, operation.Queued},
	editApplying: {operation.Running},
	"applied":    {operation.Succeeded},
	"failed":     {operation.Failed, operation.Refused, operation.Unconverged, operation.Cancelled},
}

func (s *server) registerEdits() {
	register(s, admin, s.mutation(http.StatusAccepted, http.MethodPost, "edit-topology", "/topologies/{topology_id}/mutations",
		"Edit a running topology", EditAcceptedBody{}), s.editTopology)
	register(s, viewer, get("list-topology-edits", "/topologies/{topology_id}/mutations", "The edits of a topology, newest first", tagTopologies), s.listEdits)
}

// editTopology asks for an edit and answers at once; the topology's stream and the operation tell how it ends.
func (s *server) editTopology(ctx context.Context, in *editInput) (*mutationOutput, error) {
	in.detached = true
	out, err := s.mutate(ctx, in.MutationInput, "edit "+in.TopologyID, in.Body, func(ctx context.Context) (change, error) {
		raw, err := json.Marshal(in.Body.Payload)
		if err != nil {
			return change{}, err
		}
		edit, err := topology.DecodeOp(in.Body.Op, raw)
		if err != nil {
			return change{}, err
		}
		shown, err := json.Marshal(maskPayload(in.Body.Payload))
		if err != nil {
			return change{}, err
		}
		c := change{
			op: operation.Operation{
				Scope: topology.ScopeName(in.id()), Lane: operation.WholeScope, Kind: operation.Kind(edit.Op()), Payload: shown,
			},
			request: operation.Request{Edit: raw, ExpectedVersion: in.Body.ExpectedVersion},
		}
		t, err := s.deps.Store.Topology(ctx, in.id())
		if err == nil && !t.Status.Live() {
			err = t.Status.Refused("edited by a mutation")
		}
		if err == nil {
			err = t.CheckVersion(in.Body.ExpectedVersion)
		}
		return c, err
	})
	if err != nil {
		return nil, err
	}
	out.Status, out.Location = http.StatusAccepted, Prefix+"/operations/"+out.Operation
	out.Body = EditAcceptedBody{MutationID: out.Operation, State: editPending}
	return out, nil
}

// maskPayload returns a payload without the secrets of service configurations, wherever in it they are.
func maskPayload(payload map[string]any) map[string]any {
	shown := make(map[string]any, len(payload))
	for key, value := range payload {
		inner, isObject := value.(map[string]any)
		switch {
		case key == "service_config" && isObject:
			masked := map[string]any{}
			for slug, config := range inner {
				fields, _ := config.(map[string]any)
				masked[slug] = service.Masked(slug, fields)
			}
			shown[key] = masked
		case isObject:
			shown[key] = maskPayload(inner)
		default:
			shown[key] = value
		}
	}
	return shown
}

func (s *server) listEdits(ctx context.Context, in *listEditsInput) (*output[[]TopologyEditBody], error) {
	t, err := s.deps.Store.Topology(ctx, in.id())
	if err != nil {
		return nil, err
	}
	ops, err := s.deps.Store.Edits(ctx, t.ID, editStates[in.State], 0, in.Limit)
	if err != nil {
		return nil, err
	}
	body := make([]TopologyEditBody, len(ops))
	for i, op := range ops {
		body[i] = toTopologyEditBody(t, op)
	}
	return &output[[]TopologyEditBody]{Body: body}, nil
}

func toTopologyEditBody(t topology.Topology, op operation.Operation) TopologyEditBody {
	body := TopologyEditBody{
		ID: op.ID.String(), TopologyID: t.ID.String(), Op: string(op.Kind), Payload: op.Payload, Actor: op.Actor,
		RequestedAt: op.CreatedAt.UTC(), State: editState(op.State),
	}
	if op.State == operation.Succeeded {
		body.AppliedAt = utc(op.EndedAt)
	}
	if op.Fault != nil {
		body.Reason = optional(op.Fault.Code + ": " + op.Fault.Message)
	}
	return body
}

func editState(state operation.State) string {
	for name, states := range editStates {
		for _, s := range states {
			if s == state {
				return name
			}
		}
	}
	return ""
}
