-- name: InsertUser :one
INSERT INTO users (id, username, password_hash, role, must_change_password)
VALUES (@id, @username, @password_hash, @role, @must_change_password)
RETURNING *;

-- name: LockBootstrap :exec
-- Lets one process at a time decide whether there is a first user to create; held to the end of the transaction.
SELECT pg_advisory_xact_lock(hashtext('decnet bootstrap'));

-- name: CountUsers :one
SELECT count(*) FROM users;

-- name: GetUser :one
SELECT * FROM users WHERE id = @id;

-- name: GetUserByName :one
SELECT * FROM users WHERE username = @username;

-- name: ListUsers :many
SELECT * FROM users WHERE username > @after_username ORDER BY username LIMIT @max_rows;

-- name: LockAdmins :many
-- In id order, so that two changes of admins never wait for each other in a circle.
SELECT id FROM users WHERE role = 'admin' ORDER BY id FOR UPDATE;

-- name: DeleteUser :execrows
DELETE FROM users WHERE id = @id;

-- name: SetUserRole :one
UPDATE users SET role = @role, tokens_valid_from = now(), token_generation = token_generation + 1
WHERE id = @id
RETURNING *;

-- name: SetUserPassword :one
-- Only while the hash is the one the caller verified against; null skips the comparison.
UPDATE users SET password_hash = @password_hash, must_change_password = @must_change_password,
    tokens_valid_from = now(), token_generation = token_generation + 1
WHERE id = @id AND (sqlc.narg(verified_hash)::text IS NULL OR password_hash = sqlc.narg(verified_hash))
RETURNING *;

-- name: GetSession :one
-- Everything an access token is judged by, with the clock it is judged at.
SELECT sqlc.embed(users), now()::timestamptz AS at,
    EXISTS (SELECT 1 FROM revoked_tokens WHERE jti = @jti) AS revoked
FROM users WHERE id = @id;

-- name: RevokeToken :exec
INSERT INTO revoked_tokens (jti, expires_at) VALUES (@jti, @expires_at) ON CONFLICT (jti) DO NOTHING;

-- name: DeleteExpiredRevocations :exec
DELETE FROM revoked_tokens WHERE expires_at < now();

-- name: InsertAPIToken :one
INSERT INTO api_tokens (id, name, role, token_hash, created_by, expires_at)
VALUES (@id, @name, @role, @token_hash, @created_by, @expires_at)
RETURNING *;

-- name: GetAPITokenByHash :one
SELECT sqlc.embed(api_tokens), users.username, users.role AS owner_role
FROM api_tokens JOIN users ON users.id = api_tokens.created_by
WHERE token_hash = @token_hash AND (expires_at IS NULL OR expires_at > now());

-- name: TouchAPIToken :exec
-- At most once a minute: reading must not become writing.
UPDATE api_tokens SET last_used_at = now()
WHERE id = @id AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute');

-- name: ListAPITokens :many
SELECT sqlc.embed(api_tokens), users.username, users.role AS owner_role
FROM api_tokens JOIN users ON users.id = api_tokens.created_by
WHERE name > @after_name ORDER BY name LIMIT @max_rows;

-- name: DeleteAPIToken :execrows
DELETE FROM api_tokens WHERE id = @id;

-- name: LockRateLimit :one
-- Makes the row when it is missing and holds it to the end of the transaction: attempts on one key are counted in turn.
INSERT INTO rate_limits (key, expires_at) VALUES (@key, now())
ON CONFLICT (key) DO UPDATE SET key = excluded.key
RETURNING hits, clock_timestamp()::timestamptz AS at;

-- name: SetRateLimit :exec
UPDATE rate_limits SET hits = @hits, expires_at = @expires_at WHERE key = @key;

-- name: DeleteExpiredRateLimits :exec
-- Rows that somebody works with are left for later.
DELETE FROM rate_limits WHERE key IN (
    SELECT r.key FROM rate_limits r WHERE r.expires_at < now() ORDER BY r.expires_at LIMIT 100 FOR UPDATE SKIP LOCKED);

-- name: InsertAnswer :exec
INSERT INTO operation_answers (operation_id, body) VALUES (@operation_id, @body) ON CONFLICT (operation_id) DO NOTHING;

-- name: GetAnswer :one
SELECT body FROM operation_answers WHERE operation_id = @operation_id;
