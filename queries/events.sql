-- name: FindEventsInOrder :many
-- Newest first, along events_time.
SELECT id FROM events
WHERE (sqlc.narg(before_time)::timestamptz IS NULL OR (time, id) < (sqlc.narg(before_time), @before_id::bigint))
  AND (sqlc.narg(since)::timestamptz IS NULL OR time >= sqlc.narg(since))
  AND (sqlc.narg(fields)::jsonb IS NULL OR fields @> sqlc.narg(fields))
  AND NOT (@hide_secrets::bool AND fields ?| sqlc.arg(secret_fields)::text[])
ORDER BY time DESC, id DESC
LIMIT @max_rows;

-- name: FindEventsAmongNewest :many
-- Looks at the newest @depth events only, along events_time: what is common is among them.
SELECT id FROM (
    SELECT id, time, fields, document FROM events
    WHERE (sqlc.narg(before_time)::timestamptz IS NULL OR (time, id) < (sqlc.narg(before_time), @before_id::bigint))
      AND (sqlc.narg(since)::timestamptz IS NULL OR time >= sqlc.narg(since))
    ORDER BY time DESC, id DESC
    LIMIT @depth
) AS newest
WHERE document @@ sqlc.arg(query)::text::tsquery
  AND (sqlc.narg(fields)::jsonb IS NULL OR fields @> sqlc.narg(fields))
  AND NOT (@hide_secrets::bool AND fields ?| sqlc.arg(secret_fields)::text[])
ORDER BY time DESC, id DESC
LIMIT @max_rows;

-- name: CountEventsAmongNewest :many
-- How many of the newest @depth events hold each part of a query, in the order of the parts.
SELECT count(newest.document) AS hits
FROM unnest(@parts::text[]) WITH ORDINALITY AS part (query, n)
LEFT JOIN (
    SELECT document FROM events
    WHERE (sqlc.narg(before_time)::timestamptz IS NULL OR (time, id) < (sqlc.narg(before_time), @before_id::bigint))
    ORDER BY time DESC, id DESC
    LIMIT @depth
) AS newest ON newest.document @@ part.query::tsquery
GROUP BY part.n ORDER BY part.n;

-- name: FindEventsByDocument :many
-- Finds all through events_document and sorts them: OFFSET 0 keeps the planner from walking the order, for which what
-- FindEventsAmongNewest did not find is too rare. Only @indexed is looked up, a part of @query that is rare; the function behind
-- the operator is for no index, and not called at all when there is no more to @query.
SELECT id FROM (
    SELECT id, time FROM events
    WHERE document @@ sqlc.arg(indexed)::text::tsquery
      AND (sqlc.narg(query)::text IS NULL OR ts_match_vq(document, sqlc.narg(query)::text::tsquery))
      AND (sqlc.narg(before_time)::timestamptz IS NULL OR (time, id) < (sqlc.narg(before_time), @before_id::bigint))
      AND (sqlc.narg(since)::timestamptz IS NULL OR time >= sqlc.narg(since))
      AND (sqlc.narg(fields)::jsonb IS NULL OR fields @> sqlc.narg(fields))
      AND NOT (@hide_secrets::bool AND fields ?| sqlc.arg(secret_fields)::text[])
    OFFSET 0
) AS found
ORDER BY time DESC, id DESC LIMIT @max_rows;

-- name: GetEvents :many
SELECT id, received_at, time, decky_key, decky_name, topology_id, sensor, service, type, class, attacker_id, attacker_ip,
       attacker_port, session, boot, line, fields, msg, raw
FROM events WHERE id = ANY(@ids::bigint[])
ORDER BY time DESC, id DESC;

-- name: LastEventReceived :one
SELECT received_at FROM events ORDER BY id DESC LIMIT 1;

-- name: ListIngestOutcomes :many
SELECT decky_key, service, outcome, lines FROM ingest_outcomes
ORDER BY decky_key, service, outcome LIMIT @max_rows;
