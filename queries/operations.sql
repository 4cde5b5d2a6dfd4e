-- name: InsertOperation :one
-- Nothing is returned when the actor already used the key.
INSERT INTO operations (id, scope, lane, kind, actor, idempotency_key, request_hash, request, state, fault, decky_id, decky_name, service, ended_at, payload)
VALUES (@id, @scope, @lane, @kind, @actor, @idempotency_key, @request_hash, @request, @state, @fault, @decky_id, @decky_name, @service, @ended_at, @payload)
ON CONFLICT (actor, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
RETURNING seq, created_at;

-- name: ReleaseIdempotencyKey :exec
-- A key may be used again once its outcome is older than the promised time and final.
UPDATE operations SET idempotency_key = NULL
WHERE actor = @actor AND idempotency_key = @idempotency_key AND created_at < @before AND ended_at IS NOT NULL;

-- name: GetOperationByKey :one
SELECT * FROM operations WHERE actor = @actor AND idempotency_key = @idempotency_key;

-- name: GetOperation :one
SELECT * FROM operations WHERE id = @id;

-- name: LockOperation :one
SELECT * FROM operations WHERE id = @id FOR UPDATE;

-- name: ListOperations :many
-- One flat list of filters: each is unused when its argument is null. Walks operations_decky or the key backwards.
SELECT * FROM operations
WHERE seq < @before_seq
  AND (sqlc.narg(decky)::text IS NULL OR decky_name = sqlc.narg(decky))
  AND (sqlc.narg(service)::text IS NULL OR service = sqlc.narg(service))
  AND (sqlc.narg(kind)::text IS NULL OR kind = sqlc.narg(kind))
  AND (sqlc.narg(state)::text IS NULL OR state = sqlc.narg(state))
  AND (sqlc.narg(actor)::text IS NULL OR actor = sqlc.narg(actor))
ORDER BY seq DESC
LIMIT @max_rows;

-- name: ListOpenOperations :many
-- Oldest first: the order in which they must be submitted again.
SELECT * FROM operations WHERE ended_at IS NULL ORDER BY seq LIMIT @max_rows;

-- name: ListOpenLanes :many
SELECT DISTINCT scope, lane FROM operations WHERE ended_at IS NULL;

-- name: CountOpenOperations :one
SELECT count(*) FROM operations WHERE ended_at IS NULL;

-- name: LaneBusy :one
SELECT EXISTS (SELECT 1 FROM operations WHERE scope = @scope AND lane = @lane AND ended_at IS NULL);

-- name: HighestOperation :one
SELECT coalesce(max(seq), 0)::bigint FROM operations;

-- name: LastOperationEnd :one
-- What was refused at once disturbed nothing.
SELECT coalesce(max(ended_at), 'epoch'::timestamptz)::timestamptz FROM operations WHERE started_at IS NOT NULL;

-- name: MarkOperationQueued :exec
UPDATE operations SET state = 'queued' WHERE id = @id AND state = 'received';

-- name: StartOperation :exec
UPDATE operations SET state = 'running', run_id = @run_id, started_at = coalesce(started_at, now()) WHERE id = @id;

-- name: SetOperationRevisions :exec
UPDATE operations SET decky_id = @decky_id, revision_before = @revision_before, revision_after = @revision_after WHERE id = @id;

-- name: EndOperation :exec
UPDATE operations SET state = @state, fault = @fault, response = @response, ended_at = now()
WHERE id = @id AND ended_at IS NULL;

-- name: RequestCancel :one
-- Nothing is returned when the operation is final.
UPDATE operations SET cancel_requested_at = coalesce(cancel_requested_at, now())
WHERE id = @id AND ended_at IS NULL
RETURNING *;

-- name: UpsertStep :exec
INSERT INTO operation_steps (operation_id, name, state, attempt, detail, started_at, ended_at)
VALUES (@operation_id, @name, @state, @attempt, @detail, @started_at, @ended_at)
ON CONFLICT (operation_id, name) DO UPDATE
SET state = excluded.state, attempt = greatest(operation_steps.attempt, excluded.attempt), detail = excluded.detail,
    ended_at = excluded.ended_at;

-- name: ListSteps :many
SELECT * FROM operation_steps WHERE operation_id = ANY(@operation_ids::uuid[]) ORDER BY operation_id, started_at,
    array_position(ARRAY['validate', 'persist', 'prepare', 'converge', 'verify', 'activate', 'discard', 'undo'], name);

-- name: FailRunningSteps :exec
-- Steps that were under way when their worker died or the operation was given up.
UPDATE operation_steps SET state = 'failed', ended_at = now(), detail = CASE WHEN detail = '' THEN @detail ELSE detail END
WHERE operation_id = @operation_id AND state = 'running';
