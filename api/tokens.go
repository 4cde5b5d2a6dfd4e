package api

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/decnet/decnet/internal/auth"
	"github.com/decnet/decnet/internal/fault"
)

// TokenBody is an API token without its value.
type TokenBody struct {
	ID         string     `json:"id"`
	Name       string     `json:"name"`
	Role       string     `json:"role" enum:"viewer,operator,admin" doc:"What it was made for; it never may more than its owner"`
	CreatedBy  string     `json:"created_by" doc:"User name of the owner"`
	CreatedAt  time.Time  `json:"created_at"`
	ExpiresAt  *time.Time `json:"expires_at"`
	LastUsedAt *time.Time `json:"last_used_at" doc:"To the minute"`
}

// NewTokenBody is an API token just made.
type NewTokenBody struct {
	TokenBody
	Token string `json:"token" doc:"The value to send as Authorization: Bearer. It is shown this once"`
}

type createTokenInput struct {
	Body struct {
		Name      string     `json:"name" pattern:"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$" maxLength:"63"`
		Role      string     `json:"role" enum:"viewer,operator,admin"`
		ExpiresAt *time.Time `json:"expires_at,omitempty" doc:"Never when absent"`
	}
}

func (s *server) registerTokens() {
	register(s, admin, get("list-tokens", "/tokens", "List API tokens by name", "tokens"), s.listTokens)
	create := describe(http.MethodPost, "create-token", "/tokens", "Make an API token", "tokens")
	create.DefaultStatus = http.StatusCreated
	register(s, admin, create, s.createToken)
	register(s, admin, describe(http.MethodDelete, "delete-token", "/tokens/{id}", "Delete an API token", "tokens"), s.deleteToken)
}

func toTokenBody(t auth.APIToken) TokenBody {
	return TokenBody{
		ID: t.ID.String(), Name: t.Name, Role: string(t.Role), CreatedBy: t.Owner, CreatedAt: t.CreatedAt.UTC(),
		ExpiresAt: utc(t.ExpiresAt), LastUsedAt: utc(t.LastUsedAt),
	}
}

func (s *server) listTokens(ctx context.Context, in *PageInput) (*output[Page[TokenBody]], error) {
	return listByName(in, toTokenBody, func(t TokenBody) string { return t.Name },
		func(after string, limit int) ([]auth.APIToken, error) {
			return s.deps.Store.APITokens(ctx, after, limit)
		})
}

func (s *server) createToken(ctx context.Context, in *createTokenInput) (*output[NewTokenBody], error) {
	now, err := s.deps.Store.Now(ctx)
	if err != nil {
		return nil, err
	}
	if in.Body.ExpiresAt != nil && !in.Body.ExpiresAt.After(now) {
		return nil, fault.New(fault.Unprocessable, "expiry_invalid", "the token would have expired already").
			With(fault.Field{Location: "body.expires_at", Message: "must be in the future"})
	}
	value, hash, err := auth.NewAPIToken()
	if err != nil {
		return nil, err
	}
	owner := principalOf(ctx).user
	token, err := s.deps.Store.CreateAPIToken(ctx, auth.APIToken{
		ID: uuid.New(), Name: in.Body.Name, Role: auth.Role(in.Body.Role), Hash: hash, CreatedBy: owner.ID,
		Owner: owner.Username, OwnerRole: owner.Role, ExpiresAt: in.Body.ExpiresAt,
	})
	if err != nil {
		return nil, err
	}
	s.audit(ctx, "API token created", "token_id", token.ID, "role", token.Role)
	return &output[NewTokenBody]{Body: NewTokenBody{TokenBody: toTokenBody(token), Token: value}}, nil
}

func (s *server) deleteToken(ctx context.Context, in *UUIDPath) (*output[DoneBody], error) {
	if err := s.deps.Store.DeleteAPIToken(ctx, in.uuid()); err != nil {
		return nil, err
	}
	s.audit(ctx, "API token deleted", "token_id", in.ID)
	return done("deleted"), nil
}
