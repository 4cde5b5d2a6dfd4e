package api

import (
	"context"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/decnet/decnet/internal/auth"
	"github.com/decnet/decnet/internal/fault"
)

// maxCredential bounds what is looked at; our longest token has a third of that.
const maxCredential = 2048

// principal is who asks.
type principal struct {
	actor string // as recorded with operations
	// user is the account; for an API token, the one who made it.
	user auth.User
	role auth.Role
	// token is set when an API token was shown.
	token *auth.APIToken
	// claims are those of the access token.
	claims auth.Claims
}

func principalOf(ctx context.Context) principal {
	p, _ := ctx.Value(principalKey).(principal)
	return p
}

func errRole() error {
	return fault.New(fault.Forbidden, "insufficient_permissions", "Insufficient permissions")
}

// authenticate lets a request through when its bearer may make it. Role and state of the account are read from the
// database each time: a change works at once.
func (s *server) authenticate(who access) middleware {
	if who == open {
		return func(ctx huma.Context, next func(huma.Context)) { next(ctx) }
	}
	return s.door(who, func(c *gin.Context) (principal, error) {
		return s.identify(c.Request.Context(), c.GetHeader("Authorization"))
	})
}

// door lets a request through when whom identify finds may make it.
func (s *server) door(who access, identify func(*gin.Context) (principal, error)) middleware {
	return func(ctx huma.Context, next func(huma.Context)) {
		c := humagin.Unwrap(ctx)
		p, err := identify(c)
		if err == nil {
			c.Set(actorKey, p.actor)
			err = p.may(who)
		}
		if err != nil {
			s.refuse(c, err)
			return
		}
		c.Request = c.Request.WithContext(context.WithValue(c.Request.Context(), principalKey, p))
		next(ctx)
	}
}

func (p principal) may(who access) error {
	switch {
	case who == self:
		return nil
	case p.token == nil && p.user.MustChangePassword:
		return fault.New(fault.Forbidden, "password_change_required", "the password must be changed first")
	case !p.role.Allows(auth.Role(who)):
		return errRole()
	}
	return nil
}

func (s *server) identify(ctx context.Context, header string) (principal, error) {
	scheme, credential, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") || credential == "" || len(credential) > maxCredential {
		return principal{}, auth.BadToken()
	}
	ctx, cancel := context.WithTimeout(ctx, authLimit)
	defer cancel()
	if auth.IsAPIToken(credential) {
		return s.identifyToken(ctx, credential)
	}
	return s.identifyUser(ctx, credential)
}

func (s *server) identifyToken(ctx context.Context, credential string) (principal, error) {
	token, err := s.deps.Store.APITokenByHash(ctx, auth.HashAPIToken(credential))
	if err != nil {
		return principal{}, unknown(err)
	}
	return bearerOf(token), nil
}

func bearerOf(token auth.APIToken) principal {
	owner := auth.User{ID: token.CreatedBy, Username: token.Owner, Role: token.OwnerRole}
	return principal{actor: token.Actor(), user: owner, role: token.Effective(), token: &token}
}

func (s *server) identifyUser(ctx context.Context, credential string) (principal, error) {
	claims, err := s.signer.Parse(credential)
	if err != nil {
		return principal{}, err
	}
	return s.identifyClaims(ctx, claims)
}

func (s *server) identifyClaims(ctx context.Context, claims auth.Claims) (principal, error) {
	session, err := s.deps.Store.Session(ctx, claims.UserID, claims.ID)
	if err != nil {
		return principal{}, unknown(err)
	}
	if session.Revoked {
		return principal{}, auth.BadToken()
	}
	p := principal{actor: session.User.Username, user: session.User, role: session.User.Role, claims: claims}
	return p, claims.Check(session.User, session.At)
}

// identifyAgain returns somebody who was identified before as they are now, or an Unauthorized fault.
func (s *server) identifyAgain(ctx context.Context, p principal) (principal, error) {
	if p.token == nil {
		return s.identifyClaims(ctx, p.claims)
	}
	token, err := s.deps.Store.APIToken(ctx, p.token.ID)
	if err != nil {
		return principal{}, unknown(err)
	}
	return bearerOf(token), nil
}

// unknown turns "there is no such account" into the uniform refusal.
func unknown(err error) error {
	if fault.KindOf(err) == fault.NotFound {
		return auth.BadToken().Wrap(err)
	}
	return err
}

// limit counts an attempt on key and returns a RateLimited fault when it is one too many.
func (s *server) limit(ctx context.Context, key string, most int, window time.Duration) error {
	if !s.opts.LimiterEnabled {
		return nil
	}
	after, err := s.deps.Store.Hit(ctx, key, most, window)
	if err != nil || after == 0 {
		return err
	}
	return &retryError{after: after, err: fault.New(fault.RateLimited, "rate_limited", "too many attempts, try again later")}
}

// limitAddress limits a route per address of the peer; forwarded addresses are anybody's claim.
func (s *server) limitAddress(name string, most int, window time.Duration) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		c := humagin.Unwrap(ctx)
		if err := s.limit(c.Request.Context(), name+":ip:"+c.RemoteIP(), most, window); err != nil {
			s.refuse(c, err)
			return
		}
		next(ctx)
	}
}

// UUIDPath is the id in a path. Its schema has the pattern, so it parses.
type UUIDPath struct {
	ID string `path:"id" pattern:"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$" doc:"A UUID in lower case"`
}

func (p UUIDPath) uuid() uuid.UUID { return uuid.MustParse(p.ID) }
