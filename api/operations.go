package api

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/auth"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/operation"
	"github.com/decnet/decnet/workflows"
)

// OperationBody is the record of a change request.
type OperationBody struct {
	ID             string          `json:"id"`
	Kind           string          `json:"kind"`
	Scope          string          `json:"scope"`
	Decky          *string         `json:"decky"`
	Service        *string         `json:"service"`
	Actor          string          `json:"actor"`
	State          string          `json:"state" enum:"received,queued,running,succeeded,failed,refused,unconverged,cancelled"`
	Fault          *OperationFault `json:"fault,omitempty"`
	Steps          []OperationStep `json:"steps" nullable:"false"`
	RevisionBefore *int            `json:"revision_before"`
	RevisionAfter  *int            `json:"revision_after"`
	WorkflowID     string          `json:"workflow_id"`
	WorkflowURL    *string         `json:"workflow_url" doc:"In the Temporal Web UI"`
	CreatedAt      time.Time       `json:"created_at"`
	EndedAt        *time.Time      `json:"ended_at"`
}

// OperationFault is why an operation did not succeed.
type OperationFault struct {
	Kind    string         `json:"kind"`
	Code    string         `json:"code"`
	Message string         `json:"message"`
	Errors  []ProblemField `json:"errors" nullable:"false"`
}

// OperationStep is one visible part of an operation.
type OperationStep struct {
	Name      string     `json:"name" enum:"validate,prepare,persist,converge,verify,activate,discard,undo"`
	State     string     `json:"state" enum:"running,succeeded,failed"`
	StartedAt time.Time  `json:"started_at"`
	EndedAt   *time.Time `json:"ended_at"`
	Attempt   int        `json:"attempt"`
	Detail    string     `json:"detail,omitempty"`
}

type operationsInput struct {
	PageInput
	Decky   string `query:"decky" pattern:"^[a-z0-9][a-z0-9-]{0,62}$"`
	Service string `query:"service" pattern:"^[a-z0-9_-]{1,64}$"`
	Kind    string `query:"kind" pattern:"^[a-z_]{1,32}$"`
	State   string `query:"state" enum:"received,queued,running,succeeded,failed,refused,unconverged,cancelled"`
	Actor   string `query:"actor" pattern:"^(token:)?[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"`
}

func (s *server) registerOperations() {
	register(s, viewer, get("list-operations", "/operations", "List operations, newest first", "operations"), s.listOperations)
	register(s, viewer, get("get-operation", "/operations/{id}", "One operation with its steps", "operations"), s.getOperation)
	cancel := describe(http.MethodPost, "cancel-operation", "/operations/{id}/cancel",
		"Ask an open operation to end and be undone; creating and deleting deckies is an admin's to cancel", "operations")
	cancel.DefaultStatus = http.StatusAccepted
	register(s, operator, cancel, s.cancelOperation)
}

func (s *server) listOperations(ctx context.Context, in *operationsInput) (*output[Page[OperationBody]], error) {
	f := db.OperationFilter{
		Decky: in.Decky, Service: in.Service, Kind: in.Kind, State: in.State, Actor: in.Actor, Limit: in.Limit + 1,
	}
	cursor, err := in.key()
	if err == nil && cursor != "" {
		if f.BeforeSeq, err = strconv.ParseInt(cursor, 10, 64); err != nil || f.BeforeSeq <= 0 {
			err = errCursor()
		}
	}
	if err != nil {
		return nil, err
	}
	ops, err := s.deps.Store.Operations(ctx, f)
	if err != nil {
		return nil, err
	}
	rows := newPage(ops, in.Limit, func(op operation.Operation) string { return strconv.FormatInt(op.Seq, 10) })
	page := Page[OperationBody]{Items: make([]OperationBody, len(rows.Items)), NextCursor: rows.NextCursor}
	for i, op := range rows.Items {
		page.Items[i] = s.toOperationBody(op)
	}
	return &output[Page[OperationBody]]{Body: page}, nil
}

func (s *server) getOperation(ctx context.Context, in *UUIDPath) (*output[OperationBody], error) {
	op, err := s.deps.Store.Operation(ctx, in.uuid())
	if err != nil {
		return nil, err
	}
	return &output[OperationBody]{Body: s.toOperationBody(op)}, nil
}

func (s *server) cancelOperation(ctx context.Context, in *UUIDPath) (*mutationOutput, error) {
	op, err := s.deps.Store.Operation(ctx, in.uuid())
	if err != nil {
		return nil, err
	}
	needsAdmin := op.Kind == operation.CreateDecky || op.Kind == operation.DeleteDecky
	if needsAdmin && !principalOf(ctx).role.Allows(auth.Admin) {
		return nil, errRole()
	}
	if op, err = s.deps.Dispatcher.Cancel(ctx, op.ID); err != nil {
		return nil, err
	}
	s.deps.Log.InfoContext(ctx, "cancelling was asked for", "operation_id", op.ID,
		"actor", principalOf(ctx).actor, "request_id", requestIDOf(ctx))
	return accepted(op), nil
}

func (s *server) toOperationBody(op operation.Operation) OperationBody {
	body := OperationBody{
		ID: op.ID.String(), Kind: string(op.Kind), Scope: op.Scope, Decky: optional(op.Decky), Service: optional(op.Service),
		Actor: op.Actor, State: string(op.State), Steps: make([]OperationStep, len(op.Steps)),
		RevisionBefore: op.RevisionBefore, RevisionAfter: op.RevisionAfter, WorkflowID: workflows.MutationID(op.ID),
		CreatedAt: op.CreatedAt.UTC(), EndedAt: utc(op.EndedAt),
	}
	body.WorkflowURL = s.workflowURL(body.WorkflowID)
	body.Fault = toFaultBody(op.Fault)
	for i, step := range op.Steps {
		body.Steps[i] = OperationStep{
			Name: string(step.Name), State: string(step.State), StartedAt: step.StartedAt.UTC(), EndedAt: utc(step.EndedAt),
			Attempt: step.Attempt, Detail: step.Detail,
		}
	}
	return body
}

func toFaultBody(f *fault.Error) *OperationFault {
	if f == nil {
		return nil
	}
	body := &OperationFault{Kind: string(f.Kind), Code: f.Code, Message: f.Message, Errors: []ProblemField{}}
	for _, field := range f.Fields {
		body.Errors = append(body.Errors, ProblemField{Location: safeLocation(field.Location), Message: field.Message})
	}
	return body
}

func (s *server) workflowURL(id string) *string {
	if s.opts.TemporalUIURL == "" {
		return nil
	}
	return optional(strings.TrimRight(s.opts.TemporalUIURL, "/") + "/namespaces/" + url.PathEscape(s.opts.TemporalNamespace) +
		"/workflows/" + url.PathEscape(id))
}
