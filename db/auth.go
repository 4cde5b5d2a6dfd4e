package db

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/decnet/decnet/db/dbsqlc"
	"github.com/decnet/decnet/internal/auth"
	"github.com/decnet/decnet/internal/fault"
)

func userNotFound() *fault.Error {
	return fault.New(fault.NotFound, "user_not_found", "there is no such user")
}

func tokenNotFound() *fault.Error {
	return fault.New(fault.NotFound, "token_not_found", "there is no such token")
}

// CountUsers returns how many users there are.
func (s *Store) CountUsers(ctx context.Context) (int64, error) {
	n, err := s.queries().CountUsers(ctx)
	return n, interpret(err)
}

// CreateUser adds a user. A taken name is a Conflict (user_exists).
func (s *Store) CreateUser(ctx context.Context, u auth.User) (auth.User, error) {
	row, err := s.queries().InsertUser(ctx, userParams(u))
	return toUser(row), interpret(err)
}

// CreateFirstUser adds a user unless there is one already, whatever other processes do at the same time.
func (s *Store) CreateFirstUser(ctx context.Context, u auth.User) (created bool, err error) {
	err = s.InTx(ctx, func(tx *Tx) error {
		created = false
		if err := tx.q.LockBootstrap(ctx); err != nil {
			return err
		}
		n, err := tx.q.CountUsers(ctx)
		if err != nil || n > 0 {
			return err
		}
		_, err = tx.q.InsertUser(ctx, userParams(u))
		created = err == nil
		return err
	})
	return created, err
}

func userParams(u auth.User) dbsqlc.InsertUserParams {
	return dbsqlc.InsertUserParams{
		ID: u.ID, Username: u.Username, PasswordHash: u.PasswordHash, Role: string(u.Role),
		MustChangePassword: u.MustChangePassword,
	}
}

// User returns a user, or a NotFound fault (user_not_found).
func (s *Store) User(ctx context.Context, id uuid.UUID) (auth.User, error) {
	row, err := s.queries().GetUser(ctx, id)
	if err != nil {
		return auth.User{}, notFound(err, userNotFound())
	}
	return toUser(row), nil
}

// UserByName returns a user, or a NotFound fault (user_not_found).
func (s *Store) UserByName(ctx context.Context, username string) (auth.User, error) {
	row, err := s.queries().GetUserByName(ctx, username)
	if err != nil {
		return auth.User{}, notFound(err, userNotFound())
	}
	return toUser(row), nil
}

// Users lists users by name, beginning after a name.
func (s *Store) Users(ctx context.Context, after string, limit int) ([]auth.User, error) {
	rows, err := s.queries().ListUsers(ctx, dbsqlc.ListUsersParams{AfterUsername: after, MaxRows: int32(limit)})
	users := make([]auth.User, len(rows))
	for i, r := range rows {
		users[i] = toUser(r)
	}
	return users, interpret(err)
}

// DeleteUser removes a user and the user's API tokens. Faults: NotFound; Conflict (last_admin).
func (s *Store) DeleteUser(ctx context.Context, id uuid.UUID) error {
	return s.InTx(ctx, func(tx *Tx) error {
		if err := keepAnAdmin(ctx, tx, id); err != nil {
			return err
		}
		n, err := tx.q.DeleteUser(ctx, id)
		if err == nil && n == 0 {
			err = userNotFound()
		}
		return err
	})
}

// SetRole changes a user's role; the user's access tokens die. Faults: NotFound; Conflict (last_admin).
func (s *Store) SetRole(ctx context.Context, id uuid.UUID, role auth.Role) (u auth.User, err error) {
	err = s.InTx(ctx, func(tx *Tx) error {
		if role != auth.Admin {
			if err := keepAnAdmin(ctx, tx, id); err != nil {
				return err
			}
		}
		row, err := tx.q.SetUserRole(ctx, dbsqlc.SetUserRoleParams{ID: id, Role: string(role)})
		if err != nil {
			return notFound(err, userNotFound())
		}
		u = toUser(row)
		return nil
	})
	return u, err
}

// keepAnAdmin refuses to take the last admin away.
func keepAnAdmin(ctx context.Context, tx *Tx, id uuid.UUID) error {
	admins, err := tx.q.LockAdmins(ctx)
	if err == nil && len(admins) == 1 && admins[0] == id {
		err = fault.New(fault.Conflict, "last_admin", "the last admin must stay one")
	}
	return err
}

// SetPassword replaces a user's password hash; the user's access tokens die.
func (s *Store) SetPassword(ctx context.Context, id uuid.UUID, hash string, mustChange bool) (auth.User, error) {
	return s.setPassword(ctx, dbsqlc.SetUserPasswordParams{ID: id, PasswordHash: hash, MustChangePassword: mustChange})
}

// ChangePassword is SetPassword by the user, who no longer must; it does nothing and is a NotFound fault when the hash is
// not the verified one any more.
func (s *Store) ChangePassword(ctx context.Context, id uuid.UUID, verified, hash string) (auth.User, error) {
	return s.setPassword(ctx, dbsqlc.SetUserPasswordParams{ID: id, PasswordHash: hash, VerifiedHash: &verified})
}

func (s *Store) setPassword(ctx context.Context, p dbsqlc.SetUserPasswordParams) (auth.User, error) {
	row, err := s.queries().SetUserPassword(ctx, p)
	if err != nil {
		return auth.User{}, notFound(err, userNotFound())
	}
	return toUser(row), nil
}

// Session is what an access token is judged by.
type Session struct {
	User    auth.User
	At      time.Time // the database's clock
	Revoked bool
}

// Session returns a user and whether a token is revoked, or a NotFound fault (user_not_found).
func (s *Store) Session(ctx context.Context, user, tokenID uuid.UUID) (Session, error) {
	row, err := s.queries().GetSession(ctx, dbsqlc.GetSessionParams{ID: user, Jti: tokenID})
	if err != nil {
		return Session{}, notFound(err, userNotFound())
	}
	return Session{User: toUser(row.User), At: row.At, Revoked: row.Revoked}, nil
}

// RevokeToken lets an access token die before it expires.
func (s *Store) RevokeToken(ctx context.Context, id uuid.UUID, expires time.Time) error {
	if err := s.queries().DeleteExpiredRevocations(ctx); err != nil {
		return interpret(err)
	}
	return interpret(s.queries().RevokeToken(ctx, dbsqlc.RevokeTokenParams{Jti: id, ExpiresAt: expires}))
}

// CreateAPIToken adds a token. A taken name is a Conflict (token_exists).
func (s *Store) CreateAPIToken(ctx context.Context, t auth.APIToken) (auth.APIToken, error) {
	row, err := s.queries().InsertAPIToken(ctx, dbsqlc.InsertAPITokenParams{
		ID: t.ID, Name: t.Name, Role: string(t.Role), TokenHash: t.Hash, CreatedBy: t.CreatedBy, ExpiresAt: t.ExpiresAt,
	})
	return toAPIToken(row, t.Owner, string(t.OwnerRole)), interpret(err)
}

// APITokenByHash returns a token that has not expired and notes its use, or a NotFound fault (token_not_found).
func (s *Store) APITokenByHash(ctx context.Context, hash []byte) (auth.APIToken, error) {
	row, err := s.queries().GetAPITokenByHash(ctx, hash)
	if err != nil {
		return auth.APIToken{}, notFound(err, tokenNotFound())
	}
	return toAPIToken(row.ApiToken, row.Username, row.OwnerRole), interpret(s.queries().TouchAPIToken(ctx, row.ApiToken.ID))
}

// APITokens lists tokens by name, beginning after a name.
func (s *Store) APITokens(ctx context.Context, after string, limit int) ([]auth.APIToken, error) {
	rows, err := s.queries().ListAPITokens(ctx, dbsqlc.ListAPITokensParams{AfterName: after, MaxRows: int32(limit)})
	tokens := make([]auth.APIToken, len(rows))
	for i, r := range rows {
		tokens[i] = toAPIToken(r.ApiToken, r.Username, r.OwnerRole)
	}
	return tokens, interpret(err)
}

// DeleteAPIToken removes a token, or is a NotFound fault (token_not_found).
func (s *Store) DeleteAPIToken(ctx context.Context, id uuid.UUID) error {
	n, err := s.queries().DeleteAPIToken(ctx, id)
	if err == nil && n == 0 {
		err = tokenNotFound()
	}
	return interpret(err)
}

// Hit counts an attempt on a limited key unless max were let through within the window before it; then retryAfter says
// when the next one will be. 0 means it was let through.
func (s *Store) Hit(ctx context.Context, key string, max int, window time.Duration) (retryAfter time.Duration, err error) {
	err = s.InTx(ctx, func(tx *Tx) error {
		row, err := tx.q.LockRateLimit(ctx, key)
		if err != nil {
			return err
		}
		var recent []time.Time
		for _, hit := range row.Hits {
			if hit.After(row.At.Add(-window)) {
				recent = append(recent, hit)
			}
		}
		if retryAfter = 0; len(recent) >= max {
			retryAfter = recent[0].Add(window).Sub(row.At)
			return nil
		}
		if err := tx.q.SetRateLimit(ctx, dbsqlc.SetRateLimitParams{
			Key: key, Hits: append(recent, row.At), ExpiresAt: row.At.Add(window),
		}); err != nil {
			return err
		}
		return tx.q.DeleteExpiredRateLimits(ctx)
	})
	return retryAfter, err
}

// KeepAnswer records what a client gets for a succeeded operation and returns what was recorded first.
func (s *Store) KeepAnswer(ctx context.Context, operationID uuid.UUID, body []byte) ([]byte, error) {
	if err := s.queries().InsertAnswer(ctx, dbsqlc.InsertAnswerParams{OperationID: operationID, Body: body}); err != nil {
		return nil, interpret(err)
	}
	return s.Answer(ctx, operationID)
}

// Answer returns a recorded answer, or a NotFound fault.
func (s *Store) Answer(ctx context.Context, operationID uuid.UUID) ([]byte, error) {
	body, err := s.queries().GetAnswer(ctx, operationID)
	return body, interpret(err)
}

func toUser(r dbsqlc.User) auth.User {
	return auth.User{
		ID: r.ID, Username: r.Username, PasswordHash: r.PasswordHash, Role: auth.Role(r.Role),
		MustChangePassword: r.MustChangePassword, TokensValidFrom: r.TokensValidFrom,
		TokenGeneration: int(r.TokenGeneration), CreatedAt: r.CreatedAt,
	}
}

func toAPIToken(r dbsqlc.ApiToken, owner, ownerRole string) auth.APIToken {
	return auth.APIToken{
		ID: r.ID, Name: r.Name, Role: auth.Role(r.Role), Hash: r.TokenHash, CreatedBy: r.CreatedBy, Owner: owner,
		OwnerRole: auth.Role(ownerRole), CreatedAt: r.CreatedAt, ExpiresAt: r.ExpiresAt, LastUsedAt: r.LastUsedAt,
	}
}
