package api

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/decnet/decnet/internal/auth"
	"github.com/decnet/decnet/internal/fault"
)

// UserBody is an account.
type UserBody struct {
	UUID               string    `json:"uuid"`
	Username           string    `json:"username"`
	Role               string    `json:"role" enum:"viewer,operator,admin"`
	MustChangePassword bool      `json:"must_change_password"`
	CreatedAt          time.Time `json:"created_at"`
}

type createUserInput struct {
	Body struct {
		Username string `json:"username" minLength:"1" maxLength:"63" doc:"Letters, digits and . _ -, beginning with a letter or digit"`
		Password string `json:"password" maxLength:"72" doc:"12 to 72 bytes; must be changed at the first login"`
		Role     string `json:"role,omitempty" enum:"viewer,operator,admin" default:"viewer"`
	}
}

type setRoleInput struct {
	UserPath
	Body struct {
		Role string `json:"role" enum:"viewer,operator,admin"`
	}
}

type resetPasswordInput struct {
	UserPath
	Body struct {
		NewPassword string `json:"new_password" maxLength:"72" doc:"12 to 72 bytes; must be changed at the next login"`
	}
}

// UserPath is the user in a path. Its schema has the pattern, so it parses.
type UserPath struct {
	UUID string `path:"uuid" pattern:"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"`
}

func (p UserPath) id() uuid.UUID { return uuid.MustParse(p.UUID) }

func (s *server) registerUsers() {
	register(s, admin, get("list-users", "/users", "List users by name", "users"), s.listUsers)
	create := describe(http.MethodPost, "create-user", "/users", "Create a user", "users")
	create.DefaultStatus = http.StatusCreated
	register(s, admin, create, s.createUser)
	register(s, admin, describe(http.MethodDelete, "delete-user", "/users/{uuid}",
		"Delete another user with all API tokens", "users"), s.deleteUser)
	register(s, admin, describe(http.MethodPut, "set-user-role", "/users/{uuid}/role",
		"Change the role of another user, whose access tokens die", "users"), s.setRole)
	register(s, admin, describe(http.MethodPut, "reset-user-password", "/users/{uuid}/reset-password",
		"Set a user's password, to be changed at the next login; the user's access tokens die", "users"), s.resetPassword)
}

func toUserBody(u auth.User) UserBody {
	return UserBody{
		UUID: u.ID.String(), Username: u.Username, Role: string(u.Role), MustChangePassword: u.MustChangePassword,
		CreatedAt: u.CreatedAt.UTC(),
	}
}

func (s *server) listUsers(ctx context.Context, in *PageInput) (*output[Page[UserBody]], error) {
	return listByName(in, toUserBody, func(u UserBody) string { return u.Username },
		func(after string, limit int) ([]auth.User, error) { return s.deps.Store.Users(ctx, after, limit) })
}

func (s *server) createUser(ctx context.Context, in *createUserInput) (*output[UserBody], error) {
	if err := auth.CheckUsername(in.Body.Username); err != nil {
		return nil, err
	}
	if err := auth.CheckPassword("password", in.Body.Password); err != nil {
		return nil, err
	}
	hash, err := auth.HashPassword(in.Body.Password)
	if err != nil {
		return nil, err
	}
	user, err := s.deps.Store.CreateUser(ctx, auth.User{
		ID: uuid.New(), Username: in.Body.Username, PasswordHash: hash, Role: auth.Role(in.Body.Role), MustChangePassword: true,
	})
	if err != nil {
		return nil, err
	}
	s.audit(ctx, "user created", "user_id", user.ID, "role", user.Role)
	return &output[UserBody]{Body: toUserBody(user)}, nil
}

func errOwnAccount() error {
	return fault.New(fault.Forbidden, "own_account", "this cannot be done to one's own account")
}

func (s *server) deleteUser(ctx context.Context, in *UserPath) (*output[DoneBody], error) {
	if in.id() == principalOf(ctx).user.ID {
		return nil, errOwnAccount()
	}
	if err := s.deps.Store.DeleteUser(ctx, in.id()); err != nil {
		return nil, err
	}
	s.audit(ctx, "user deleted", "user_id", in.id())
	return done("deleted"), nil
}

func (s *server) setRole(ctx context.Context, in *setRoleInput) (*output[UserBody], error) {
	if in.id() == principalOf(ctx).user.ID {
		return nil, errOwnAccount()
	}
	user, err := s.deps.Store.SetRole(ctx, in.id(), auth.Role(in.Body.Role))
	if err != nil {
		return nil, err
	}
	s.audit(ctx, "user role changed", "user_id", user.ID, "role", user.Role)
	return &output[UserBody]{Body: toUserBody(user)}, nil
}

func (s *server) resetPassword(ctx context.Context, in *resetPasswordInput) (*output[UserBody], error) {
	if err := auth.CheckPassword("new_password", in.Body.NewPassword); err != nil {
		return nil, err
	}
	hash, err := auth.HashPassword(in.Body.NewPassword)
	if err != nil {
		return nil, err
	}
	user, err := s.deps.Store.SetPassword(ctx, in.id(), hash, true)
	if err != nil {
		return nil, err
	}
	s.audit(ctx, "user password reset", "user_id", user.ID)
	return &output[UserBody]{Body: toUserBody(user)}, nil
}
