-- name: GetAttacker :one
SELECT * FROM attackers WHERE id = @id;

-- name: GetAttackerByIP :one
SELECT * FROM attackers WHERE ip = @ip;

-- name: ListAttackersRecent :many
-- Along attackers_recent, or through attackers_ip when a network is asked for.
SELECT * FROM attackers
WHERE (sqlc.narg(before)::timestamptz IS NULL OR (last_seen, id) < (sqlc.narg(before), @before_id::uuid))
  AND (sqlc.narg(network)::cidr IS NULL OR ip <<= sqlc.narg(network)::cidr)
  AND (sqlc.narg(service)::text IS NULL OR services @> ARRAY[sqlc.narg(service)::text])
  AND (sqlc.narg(decky)::text IS NULL OR deckies @> ARRAY[sqlc.narg(decky)::text])
  AND (sqlc.narg(since)::timestamptz IS NULL OR last_seen >= sqlc.narg(since))
  AND (sqlc.narg(until)::timestamptz IS NULL OR last_seen < sqlc.narg(until))
ORDER BY last_seen DESC, id DESC
LIMIT @max_rows;

-- name: ListAttackersActive :many
-- Along attackers_active.
SELECT * FROM attackers
WHERE (sqlc.narg(before)::bigint IS NULL OR (event_count, id) < (sqlc.narg(before), @before_id::uuid))
  AND (sqlc.narg(network)::cidr IS NULL OR ip <<= sqlc.narg(network)::cidr)
  AND (sqlc.narg(service)::text IS NULL OR services @> ARRAY[sqlc.narg(service)::text])
  AND (sqlc.narg(decky)::text IS NULL OR deckies @> ARRAY[sqlc.narg(decky)::text])
  AND (sqlc.narg(since)::timestamptz IS NULL OR last_seen >= sqlc.narg(since))
  AND (sqlc.narg(until)::timestamptz IS NULL OR last_seen < sqlc.narg(until))
ORDER BY event_count DESC, id DESC
LIMIT @max_rows;

-- name: ListAttackersByTraversal :many
-- Those who went from decky to decky, along attackers_traversals.
SELECT * FROM attackers
WHERE decky_count >= 2
  AND (sqlc.narg(before)::integer IS NULL OR (decky_count, id) < (sqlc.narg(before), @before_id::uuid))
  AND (sqlc.narg(network)::cidr IS NULL OR ip <<= sqlc.narg(network)::cidr)
  AND (sqlc.narg(service)::text IS NULL OR services @> ARRAY[sqlc.narg(service)::text])
  AND (sqlc.narg(decky)::text IS NULL OR deckies @> ARRAY[sqlc.narg(decky)::text])
  AND (sqlc.narg(since)::timestamptz IS NULL OR last_seen >= sqlc.narg(since))
  AND (sqlc.narg(until)::timestamptz IS NULL OR last_seen < sqlc.narg(until))
ORDER BY decky_count DESC, id DESC
LIMIT @max_rows;
