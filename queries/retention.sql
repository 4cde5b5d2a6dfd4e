-- name: ListRetention :many
SELECT class, ceil(coalesce(extract(epoch FROM max_age), 0) / 86400)::integer AS max_age_days, max_bytes, max_rows,
       (now() - coalesce(max_age, interval '0'))::timestamptz AS horizon, updated_at, updated_by,
       rows, bytes, oldest, removed, measured_at
FROM retention ORDER BY class;

-- name: SetRetention :execrows
UPDATE retention
SET max_age = sqlc.narg(max_age_days)::integer * interval '1 day', max_bytes = @max_bytes, max_rows = @max_rows,
    updated_at = now(), updated_by = @updated_by
WHERE class = @class;

-- name: RecordRetentionUsage :exec
UPDATE retention SET rows = @rows, bytes = @bytes, oldest = @oldest, measured_at = now() WHERE class = @class;

-- name: AddRetentionRemoved :exec
-- Last in its transaction: the row is a hot one.
UPDATE retention SET removed = removed + @removed WHERE class = @class;

-- name: MeasureRelations :many
-- Pages as they are now times rows per page as the last vacuum or analyze found them, which is how the planner guesses;
-- negative when nothing is known yet.
SELECT relname::text AS name, pg_total_relation_size(oid)::bigint AS bytes, pg_table_size(oid)::bigint AS table_bytes,
       (pg_relation_size(oid) / 8192)::bigint AS pages,
       (CASE WHEN reltuples < 0 OR relpages = 0 THEN -1
             ELSE reltuples::float8 / relpages * (pg_relation_size(oid) / 8192) END)::float8 AS rows
FROM pg_catalog.pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname::text = ANY (@names::text[]);

-- name: CountEvents :one
SELECT count(*) FROM events;

-- name: CountSessions :one
SELECT count(*) FROM sessions;

-- name: CountCommands :one
SELECT count(*) FROM commands;

-- name: CountBounties :one
SELECT count(*) FROM bounties;

-- name: CountCredentials :one
SELECT count(*) FROM credentials;

-- name: CountImports :one
SELECT count(*) FROM imports;

-- name: SampleEvents :one
-- The mean size of a row without what indexes add, as in the other samples: of some pages all over the table.
SELECT coalesce(avg(pg_column_size(e)), 0)::float8 FROM events e TABLESAMPLE SYSTEM (@percent::float8);

-- name: SampleSessions :one
SELECT coalesce(avg(pg_column_size(s)), 0)::float8 FROM sessions s TABLESAMPLE SYSTEM (@percent::float8);

-- name: SampleCommands :one
SELECT coalesce(avg(pg_column_size(c)), 0)::float8 FROM commands c TABLESAMPLE SYSTEM (@percent::float8);

-- name: SampleBounties :one
SELECT coalesce(avg(pg_column_size(b)), 0)::float8 FROM bounties b TABLESAMPLE SYSTEM (@percent::float8);

-- name: SampleCredentials :one
SELECT coalesce(avg(pg_column_size(c)), 0)::float8 FROM credentials c TABLESAMPLE SYSTEM (@percent::float8);

-- name: SampleImports :one
SELECT coalesce(avg(pg_column_size(i)), 0)::float8 FROM imports i TABLESAMPLE SYSTEM (@percent::float8);

-- name: OldestEvent :one
-- Ids are given in the order of coming in.
SELECT received_at FROM events ORDER BY id LIMIT 1;

-- name: OldestSessionRow :one
SELECT received_at FROM (
    (SELECT received_at FROM sessions ORDER BY received_at LIMIT 1)
    UNION ALL
    (SELECT received_at FROM commands ORDER BY received_at LIMIT 1)) t
ORDER BY received_at LIMIT 1;

-- name: OldestBounty :one
SELECT received_at FROM bounties ORDER BY received_at LIMIT 1;

-- name: OldestCredential :one
SELECT received_at FROM credentials ORDER BY received_at LIMIT 1;

-- name: OldestImport :one
SELECT created_at FROM imports ORDER BY created_at LIMIT 1;

-- name: TrimEvents :one
-- The oldest ids are looked at and those that came in before the horizon go: received_at has no index, and needs none.
WITH old AS (
    SELECT e.id FROM events e
    WHERE e.id IN (SELECT w.id FROM events w WHERE w.id > @after ORDER BY w.id LIMIT @max_rows) AND e.received_at < @horizon
    FOR UPDATE SKIP LOCKED),
gone AS (DELETE FROM events USING old WHERE events.id = old.id RETURNING events.id)
SELECT count(*) AS removed, coalesce(max(id), @after)::bigint AS last FROM gone;

-- name: TrimBounties :one
WITH old AS (
    SELECT b.id FROM bounties b WHERE b.received_at >= @after AND b.received_at < @horizon
    ORDER BY b.received_at LIMIT @max_rows FOR UPDATE SKIP LOCKED),
gone AS (DELETE FROM bounties USING old WHERE bounties.id = old.id RETURNING bounties.received_at)
SELECT count(*) AS removed, coalesce(max(received_at), @after)::timestamptz AS last FROM gone;

-- name: TrimCredentials :one
WITH old AS (
    SELECT c.id FROM credentials c WHERE c.received_at >= @after AND c.received_at < @horizon
    ORDER BY c.received_at LIMIT @max_rows FOR UPDATE SKIP LOCKED),
gone AS (DELETE FROM credentials USING old WHERE credentials.id = old.id RETURNING credentials.received_at)
SELECT count(*) AS removed, coalesce(max(received_at), @after)::timestamptz AS last FROM gone;

-- name: LockOldSessions :many
-- Sessions that ended, or that began so long ago that their end was lost, oldest first. last_seen is what decoys claim and
-- does not count.
SELECT id, commands, received_at FROM sessions
WHERE received_at >= @after AND received_at < @horizon
  AND (ended_at IS NOT NULL OR received_at < now() - @abandoned::interval)
ORDER BY received_at, id LIMIT @max_rows FOR UPDATE SKIP LOCKED;

-- name: TrimCommandsOfSessions :execrows
DELETE FROM commands WHERE id IN (
    SELECT c.id FROM sessions s JOIN commands c ON c.decky_key = s.decky_key AND c.session = s.session
    WHERE s.id = ANY (@sessions::uuid[]) LIMIT @max_rows FOR UPDATE OF c SKIP LOCKED);

-- name: TrimSessions :execrows
DELETE FROM sessions s WHERE s.id = ANY (@sessions::uuid[])
  AND NOT EXISTS (SELECT FROM commands c WHERE c.decky_key = s.decky_key AND c.session = s.session);

-- name: TrimLooseCommands :execrows
-- Commands without a session, or whose session is gone.
DELETE FROM commands WHERE id IN (
    SELECT c.id FROM commands c WHERE c.received_at >= @after AND c.received_at <= @upto AND c.received_at < @horizon
      AND NOT EXISTS (SELECT FROM sessions s WHERE s.decky_key = c.decky_key AND s.session = c.session)
    ORDER BY c.received_at LIMIT @max_rows FOR UPDATE SKIP LOCKED);

-- name: TrimImports :execrows
-- The content of an import goes first: deleting a row must not cascade to gigabytes.
DELETE FROM imports WHERE id IN (
    SELECT i.id FROM imports i WHERE i.ended_at < @horizon AND NOT EXISTS (SELECT FROM import_chunks c WHERE c.import_id = i.id)
    ORDER BY i.ended_at LIMIT @max_rows FOR UPDATE SKIP LOCKED);

-- name: TrimImportChunks :execrows
DELETE FROM import_chunks WHERE (import_id, number) IN (
    SELECT c.import_id, c.number FROM imports i JOIN import_chunks c ON c.import_id = i.id
    WHERE i.ended_at IS NOT NULL LIMIT @max_rows FOR UPDATE OF c SKIP LOCKED);

-- name: TrimSelfChecks :execrows
DELETE FROM self_checks WHERE ctid = ANY (ARRAY(
    SELECT c.ctid FROM self_checks c WHERE c.at < now() - @kept::interval LIMIT @max_rows FOR UPDATE SKIP LOCKED));

-- name: ListOldArtifacts :many
-- Artifacts whose content is here and came in before the horizon, oldest first.
SELECT id, decky_key, folder, stored_as, received_at FROM artifacts
WHERE (received_at, id) > (@after_received_at, @after_id::uuid) AND received_at < @horizon
  AND stored_as IS NOT NULL AND removed_at IS NULL
ORDER BY received_at, id LIMIT @max_rows;

-- name: ListArtifactsByName :many
-- Reads the whole table; asked only for the files that are about to go.
SELECT a.id, a.decky_key, a.folder, a.stored_as, a.received_at FROM artifacts a
JOIN (SELECT unnest(@decky_keys::text[]) AS decky_key, unnest(@folders::text[]) AS folder, unnest(@names::text[]) AS name) f
  ON f.decky_key = a.decky_key AND f.folder = a.folder AND f.name = a.stored_as;

-- name: MarkArtifactsRemoved :execrows
UPDATE artifacts SET removed_at = now() WHERE id = ANY (@ids::uuid[]) AND removed_at IS NULL;

-- name: MarkRecordingsRemoved :execrows
-- A recording is in the shard of the day it began, which is a day of its session. Sessions that overlap the day of a shard
-- have lost theirs unless another shard of one of their days is left.
UPDATE sessions SET recording_removed_at = now()
WHERE decky_key = @decky_key AND service = @service AND recorded AND recording_removed_at IS NULL
  AND started_at - interval '1 day' < @shard::timestamptz AND coalesce(ended_at, last_seen) >= @shard::timestamptz
  AND NOT EXISTS (
      SELECT FROM (SELECT unnest(@others::timestamptz[]) AS began) other
      WHERE started_at < other.began + interval '1 day' AND coalesce(ended_at, last_seen) >= other.began);

-- name: ListOpenSessionDays :many
-- Where sessions that may still write began, by day.
SELECT DISTINCT decky_key, service, (date_trunc('day', started_at, 'UTC'))::timestamptz AS day FROM sessions
WHERE ended_at IS NULL AND received_at > now() - @abandoned::interval AND sensor = '' AND service = ANY (@services::text[]);

-- name: ListDeckyFolders :many
SELECT unnest(ARRAY[key, id::text])::text AS name FROM deckies WHERE deleted_at IS NULL;
