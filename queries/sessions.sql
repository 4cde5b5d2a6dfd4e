-- name: GetSessionRow :one
SELECT * FROM sessions WHERE id = @id;

-- name: ListSessions :many
-- Along sessions_attacker or sessions_started.
SELECT * FROM sessions
WHERE (sqlc.narg(before)::timestamptz IS NULL OR (started_at, id) < (sqlc.narg(before), @before_id::uuid))
  AND (sqlc.narg(attacker)::uuid IS NULL OR attacker_id = sqlc.narg(attacker))
  AND (sqlc.narg(decky)::text IS NULL OR decky_key = sqlc.narg(decky))
  AND (sqlc.narg(service)::text IS NULL OR service = sqlc.narg(service))
  AND (sqlc.narg(open)::bool IS NULL OR (ended_at IS NULL) = sqlc.narg(open))
  AND (sqlc.narg(recorded)::bool IS NULL OR recorded = sqlc.narg(recorded))
  AND (sqlc.narg(since)::timestamptz IS NULL OR started_at >= sqlc.narg(since))
  AND (sqlc.narg(until)::timestamptz IS NULL OR started_at < sqlc.narg(until))
ORDER BY started_at DESC, id DESC
LIMIT @max_rows;

-- name: ListSessionCommands :many
-- Oldest first, along commands_session.
SELECT id, decky_key, ref, decky_name, service, session, attacker_id, attacker_ip, time, line, text, uid, username, directory
FROM commands
WHERE decky_key = @decky AND session = @session
  AND (sqlc.narg(after_time)::timestamptz IS NULL OR (time, line, id) > (sqlc.narg(after_time), @after_line::bigint, @after_id::uuid))
ORDER BY time, line, id
LIMIT @max_rows;

-- name: ListCommands :many
-- Newest first, along commands_session, commands_attacker or commands_time.
SELECT id, decky_key, ref, decky_name, service, session, attacker_id, attacker_ip, time, line, text, uid, username, directory
FROM commands
WHERE (sqlc.narg(before)::timestamptz IS NULL OR (time, id) < (sqlc.narg(before), @before_id::uuid))
  AND (sqlc.narg(attacker)::uuid IS NULL OR attacker_id = sqlc.narg(attacker))
  AND (sqlc.narg(decky)::text IS NULL OR decky_key = sqlc.narg(decky))
  AND (sqlc.narg(service)::text IS NULL OR service = sqlc.narg(service))
  AND (sqlc.narg(session)::text IS NULL OR session = sqlc.narg(session))
  AND (sqlc.narg(since)::timestamptz IS NULL OR time >= sqlc.narg(since))
  AND (sqlc.narg(until)::timestamptz IS NULL OR time < sqlc.narg(until))
ORDER BY time DESC, id DESC
LIMIT @max_rows;

-- name: FindCommandsAmongNewest :many
-- As FindEventsAmongNewest.
SELECT id, decky_key, ref, decky_name, service, session, attacker_id, attacker_ip, time, line, text, uid, username, directory
FROM (
    SELECT * FROM commands
    WHERE (sqlc.narg(before)::timestamptz IS NULL OR (time, id) < (sqlc.narg(before), @before_id::uuid))
      AND (sqlc.narg(attacker)::uuid IS NULL OR attacker_id = sqlc.narg(attacker))
      AND (sqlc.narg(since)::timestamptz IS NULL OR time >= sqlc.narg(since))
      AND (sqlc.narg(until)::timestamptz IS NULL OR time < sqlc.narg(until))
    ORDER BY time DESC, id DESC
    LIMIT @depth
) AS newest
WHERE document @@ sqlc.arg(query)::text::tsquery
  AND (sqlc.narg(decky)::text IS NULL OR decky_key = sqlc.narg(decky))
  AND (sqlc.narg(service)::text IS NULL OR service = sqlc.narg(service))
  AND (sqlc.narg(session)::text IS NULL OR session = sqlc.narg(session))
ORDER BY time DESC, id DESC
LIMIT @max_rows;

-- name: FindCommandsByDocument :many
-- As FindEventsByDocument.
WITH found AS MATERIALIZED (
    SELECT id, time FROM commands
    WHERE document @@ sqlc.arg(query)::text::tsquery
      AND (sqlc.narg(before)::timestamptz IS NULL OR (time, id) < (sqlc.narg(before), @before_id::uuid))
      AND (sqlc.narg(attacker)::uuid IS NULL OR attacker_id = sqlc.narg(attacker))
      AND (sqlc.narg(decky)::text IS NULL OR decky_key = sqlc.narg(decky))
      AND (sqlc.narg(service)::text IS NULL OR service = sqlc.narg(service))
      AND (sqlc.narg(session)::text IS NULL OR session = sqlc.narg(session))
      AND (sqlc.narg(since)::timestamptz IS NULL OR time >= sqlc.narg(since))
      AND (sqlc.narg(until)::timestamptz IS NULL OR time < sqlc.narg(until))
)
SELECT id, decky_key, ref, decky_name, service, session, attacker_id, attacker_ip, time, line, text, uid, username, directory
FROM commands WHERE id IN (SELECT found.id FROM found ORDER BY found.time DESC, found.id DESC LIMIT @max_rows)
ORDER BY time DESC, id DESC;
