-- name: InsertSSETicket :exec
INSERT INTO sse_tickets (hash, user_id, api_token_id, jti, token_generation, token_issued_at, token_expires_at, role, expires_at)
VALUES (@hash, @user_id, @api_token_id, @jti, @token_generation, @token_issued_at, @token_expires_at, @role, now() + @life::interval);

-- name: TakeSSETicket :one
-- Deleting is what makes a ticket good for one use, whoever else tries at the same time.
DELETE FROM sse_tickets WHERE hash = @hash AND expires_at > now() RETURNING *;

-- name: DeleteExpiredSSETickets :exec
-- Rows that somebody works with are left for later.
DELETE FROM sse_tickets WHERE hash IN (
    SELECT t.hash FROM sse_tickets t WHERE t.expires_at < now() ORDER BY t.expires_at LIMIT 100 FOR UPDATE SKIP LOCKED);

-- name: GetAPIToken :one
SELECT sqlc.embed(api_tokens), users.username, users.role AS owner_role
FROM api_tokens JOIN users ON users.id = api_tokens.created_by
WHERE api_tokens.id = @id AND (expires_at IS NULL OR expires_at > now());

-- name: LockSSEUser :exec
-- Streams of one user are counted in turn; held to the end of the transaction.
SELECT pg_advisory_xact_lock(hashtextextended('decnet sse ' || @who::text, 0));

-- name: DeleteExpiredSSELeases :exec
DELETE FROM sse_leases WHERE user_id = @user_id AND expires_at <= now();

-- name: CountSSELeases :one
SELECT count(*) AS open, coalesce(extract(epoch FROM min(expires_at) - now()), 0)::float8 AS first_ends_in
FROM sse_leases WHERE user_id = @user_id;

-- name: InsertSSELease :exec
INSERT INTO sse_leases (id, user_id, expires_at) VALUES (@id, @user_id, now() + @life::interval);

-- name: ExtendSSELease :execrows
UPDATE sse_leases SET expires_at = now() + @life::interval WHERE id = @id;

-- name: DeleteSSELease :exec
DELETE FROM sse_leases WHERE id = @id;

-- name: ListOpenOperationsOfScope :many
-- Oldest first: the order in which they will end, per lane.
SELECT * FROM operations WHERE scope = @scope AND ended_at IS NULL AND seq > @after_seq ORDER BY seq LIMIT @max_rows;
