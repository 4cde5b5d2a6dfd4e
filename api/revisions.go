package api

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/operation"
	"github.com/decnet/decnet/internal/service"
)

// RevisionBody is one state a decky was wanted in.
type RevisionBody struct {
	Number      int            `json:"number"`
	State       string         `json:"state" enum:"active,superseded"`
	Removed     bool           `json:"removed" doc:"The decky was deleted by it"`
	Services    []DeckyService `json:"services" nullable:"false"`
	OperationID string         `json:"operation_id"`
	Kind        string         `json:"kind" doc:"What the operation changed"`
	Actor       string         `json:"actor"`
	ActivatedAt time.Time      `json:"activated_at"`
	ClosedAt    *time.Time     `json:"closed_at" doc:"When the next became active; null while this one is"`
}

type revisionsInput struct {
	DeckyPath
	PageInput
}

type rollbackInput struct {
	MutationInput
	DeckyPath
	Body rollbackBody
}

type rollbackBody struct {
	Revision int `json:"revision" minimum:"1" doc:"The number of an earlier revision"`
}

func (s *server) registerRevisions() {
	register(s, viewer, get("list-revisions", "/deckies/{decky}/revisions", "The revisions of a decky, newest first", "deckies"), s.listRevisions)
	register(s, operator, s.mutation(http.StatusOK, http.MethodPost, "rollback-decky", "/deckies/{decky}/rollback",
		"Bring back the services of an earlier revision", DeckyServicesBody{}), s.rollback)
}

func (s *server) listRevisions(ctx context.Context, in *revisionsInput) (*output[Page[RevisionBody]], error) {
	return s.revisionsAt(ctx, fleet(in.Decky), in.PageInput)
}

func (s *server) revisionsAt(ctx context.Context, at place, in PageInput) (*output[Page[RevisionBody]], error) {
	cursor, err := in.key()
	before := 0
	if err == nil && cursor != "" {
		if before, err = strconv.Atoi(cursor); err != nil || before <= 0 {
			err = errCursor()
		}
	}
	if err != nil {
		return nil, err
	}
	d, err := s.deps.Store.DeckyByName(ctx, at.scope, at.name)
	if err != nil {
		return nil, err
	}
	list, err := s.deps.Store.Revisions(ctx, d.ID, before, in.Limit+1)
	if err != nil {
		return nil, err
	}
	rows := newPage(list, in.Limit, func(r db.PastRevision) string { return strconv.Itoa(r.Number) })
	page := Page[RevisionBody]{Items: make([]RevisionBody, len(rows.Items)), NextCursor: rows.NextCursor}
	for i, r := range rows.Items {
		page.Items[i] = toRevisionBody(r)
	}
	return &output[Page[RevisionBody]]{Body: page}, nil
}

func toRevisionBody(r db.PastRevision) RevisionBody {
	return RevisionBody{
		Number: r.Number, State: r.State, Removed: r.Removed, Services: toServiceBodies(r.Services, ""),
		OperationID: r.OperationID.String(), Kind: string(r.Kind), Actor: r.Actor,
		ActivatedAt: r.ActivatedAt.UTC(), ClosedAt: utc(r.ClosedAt),
	}
}

func toServiceBodies(services []decky.Service, state decky.State) []DeckyService {
	bodies := make([]DeckyService, len(services))
	for i, s := range services {
		bodies[i] = DeckyService{
			Name: s.Name, Config: service.Masked(s.Name, s.Config), State: string(state), RestartNeeded: s.RestartNeeded(),
			ExpiresAt: utc(s.ExpiresAt), Revision: s.Revision,
		}
		if s.SavedConfig != nil {
			bodies[i].SavedConfig = service.Masked(s.Name, s.SavedConfig)
		}
	}
	return bodies
}

func (s *server) rollback(ctx context.Context, in *rollbackInput) (*mutationOutput, error) {
	return s.rollbackAt(ctx, in.MutationInput, fleet(in.Decky), in.Body)
}

func (s *server) rollbackAt(ctx context.Context, in MutationInput, at place, body rollbackBody) (*mutationOutput, error) {
	return s.mutate(ctx, in, at.what("rollback"), body, func(ctx context.Context) (change, error) {
		c := change{op: operation.Operation{Kind: operation.Rollback}, request: operation.Request{Revision: body.Revision}}
		err := s.atDecky(ctx, at, &c, func(d decky.Decky) error {
			if body.Revision > d.Revision {
				return fault.New(fault.NotFound, "revision_not_found", "the decky has no such revision")
			}
			return nil
		})
		return c, err
	})
}
