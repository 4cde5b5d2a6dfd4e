package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"

	"github.com/decnet/decnet/internal/auth"
	"github.com/decnet/decnet/internal/fault"
)

const (
	loginsPerWindow  = 10
	loginWindow      = 5 * time.Minute
	changesPerWindow = 5
	changeWindow     = time.Minute
)

// SessionBody is the answer to a login.
type SessionBody struct {
	AccessToken        string `json:"access_token" doc:"JWT to send as Authorization: Bearer"`
	TokenType          string `json:"token_type" enum:"bearer"`
	MustChangePassword bool   `json:"must_change_password" doc:"Nothing but changing the password is allowed before it is changed"`
}

// MeBody is who the credentials belong to.
type MeBody struct {
	UUID               string `json:"uuid" doc:"The user; for an API token, the one who made it"`
	Username           string `json:"username"`
	Actor              string `json:"actor" doc:"The name in the record of operations"`
	Role               string `json:"role" enum:"viewer,operator,admin"`
	MustChangePassword bool   `json:"must_change_password"`
}

// DoneBody confirms what has no other answer.
type DoneBody struct {
	Message string `json:"message"`
}

type output[T any] struct {
	Body T
}

func done(text string) *output[DoneBody] { return &output[DoneBody]{Body: DoneBody{Message: text}} }

type empty struct{}

type loginInput struct {
	Body struct {
		Username string `json:"username" minLength:"1" maxLength:"128"`
		Password string `json:"password" minLength:"1" maxLength:"72"`
	}
}

type changePasswordInput struct {
	Body struct {
		OldPassword string `json:"old_password" minLength:"1" maxLength:"72"`
		NewPassword string `json:"new_password" maxLength:"72" doc:"12 to 72 bytes"`
	}
}

func (s *server) registerAuth() {
	login := describe(http.MethodPost, "login", "/auth/login", "Log in with a user name and a password", "auth")
	login.Middlewares = huma.Middlewares{s.limitAddress("login", loginsPerWindow, loginWindow), s.limitUsername}
	register(s, open, login, s.login)

	change := describe(http.MethodPost, "change-password", "/auth/change-password",
		"Change one's own password; all earlier access tokens die, the answer holds a new one", "auth")
	change.Middlewares = huma.Middlewares{s.limitAddress("change-password", changesPerWindow, changeWindow)}
	register(s, self, change, s.changePassword)

	register(s, self, describe(http.MethodPost, "logout", "/auth/logout", "Revoke the access token of the request", "auth"), s.logout)
	register(s, self, get("me", "/auth/me", "Who the credentials belong to", "auth"), s.me)
}

// limitUsername limits logins per user name. Bodies without one share a bucket, or they would be a way around.
func (s *server) limitUsername(ctx huma.Context, next func(huma.Context)) {
	var body struct {
		Username *string `json:"username"`
	}
	key := "login:user:?"
	if json.Unmarshal(peekBody(ctx), &body) == nil && body.Username != nil {
		// Hashed: people type passwords into the wrong field.
		sum := sha256.Sum256([]byte(*body.Username))
		key = "login:user:" + hex.EncodeToString(sum[:])
	}
	c := humagin.Unwrap(ctx)
	if err := s.limit(c.Request.Context(), key, loginsPerWindow, loginWindow); err != nil {
		s.refuse(c, err)
		return
	}
	next(ctx)
}

func errLogin() error {
	return fault.New(fault.Unauthorized, "login_failed", "user name or password is wrong")
}

func (s *server) login(ctx context.Context, in *loginInput) (*output[SessionBody], error) {
	var user auth.User
	var err error
	if auth.ValidName(in.Body.Username) {
		user, err = s.deps.Store.UserByName(ctx, in.Body.Username)
	}
	if err != nil && fault.KindOf(err) != fault.NotFound {
		return nil, err
	}
	if !auth.VerifyPassword(user.PasswordHash, in.Body.Password) {
		s.deps.Log.WarnContext(ctx, "login refused", "request_id", requestIDOf(ctx))
		return nil, errLogin()
	}
	return s.session(ctx, user)
}

func (s *server) session(ctx context.Context, user auth.User) (*output[SessionBody], error) {
	now, err := s.deps.Store.Now(ctx)
	if err != nil {
		return nil, err
	}
	token, err := s.signer.Issue(user, now)
	if err != nil {
		return nil, err
	}
	body := SessionBody{AccessToken: token, TokenType: "bearer", MustChangePassword: user.MustChangePassword}
	return &output[SessionBody]{Body: body}, nil
}

func errTokenOnly(what string) error {
	return fault.New(fault.Forbidden, "not_for_api_tokens", "an API token cannot %s", what)
}

func (s *server) changePassword(ctx context.Context, in *changePasswordInput) (*output[SessionBody], error) {
	p := principalOf(ctx)
	if p.token != nil {
		return nil, errTokenOnly("change a password")
	}
	if err := auth.CheckPassword("new_password", in.Body.NewPassword); err != nil {
		return nil, err
	}
	if !auth.VerifyPassword(p.user.PasswordHash, in.Body.OldPassword) {
		return nil, fault.New(fault.Unauthorized, "old_password_wrong", "the old password is wrong")
	}
	if in.Body.NewPassword == in.Body.OldPassword {
		return nil, fault.New(fault.Unprocessable, "password_invalid", "the new password must be another one").
			With(fault.Field{Location: "body.new_password", Message: "must be another one"})
	}
	hash, err := auth.HashPassword(in.Body.NewPassword)
	if err != nil {
		return nil, err
	}
	user, err := s.deps.Store.ChangePassword(ctx, p.user.ID, p.user.PasswordHash, hash)
	if err != nil {
		return nil, unknown(err)
	}
	s.audit(ctx, "password changed", "user_id", user.ID)
	return s.session(ctx, user)
}

func (s *server) logout(ctx context.Context, _ *empty) (*output[DoneBody], error) {
	p := principalOf(ctx)
	if p.token != nil {
		return nil, errTokenOnly("log out: delete it instead")
	}
	if err := s.deps.Store.RevokeToken(ctx, p.claims.ID, p.claims.ExpiresAt); err != nil {
		return nil, err
	}
	return done("logged out"), nil
}

func (s *server) me(ctx context.Context, _ *empty) (*output[MeBody], error) {
	p := principalOf(ctx)
	return &output[MeBody]{Body: MeBody{
		UUID: p.user.ID.String(), Username: p.user.Username, Actor: p.actor, Role: string(p.role),
		MustChangePassword: p.user.MustChangePassword,
	}}, nil
}

// audit logs a change that is not recorded as an operation. what is a constant.
func (s *server) audit(ctx context.Context, what string, attrs ...any) {
	attrs = append(attrs, "change", what, "actor", principalOf(ctx).actor, "request_id", requestIDOf(ctx))
	s.deps.Log.InfoContext(ctx, "access changed", attrs...)
}
