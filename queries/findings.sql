-- name: ListBounties :many
-- Along bounties_attacker or bounties_time.
SELECT id, type, kind, decky_key, decky_name, service, attacker_id, attacker_ip, payload, time FROM bounties
WHERE (sqlc.narg(before)::timestamptz IS NULL OR (time, id) < (sqlc.narg(before), @before_id::uuid))
  AND (sqlc.narg(type)::text IS NULL OR type = sqlc.narg(type))
  AND (sqlc.narg(kind)::text IS NULL OR kind = sqlc.narg(kind))
  AND (sqlc.narg(attacker)::uuid IS NULL OR attacker_id = sqlc.narg(attacker))
  AND (sqlc.narg(decky)::text IS NULL OR decky_key = sqlc.narg(decky))
  AND (sqlc.narg(service)::text IS NULL OR service = sqlc.narg(service))
  AND (sqlc.narg(since)::timestamptz IS NULL OR time >= sqlc.narg(since))
  AND (sqlc.narg(until)::timestamptz IS NULL OR time < sqlc.narg(until))
ORDER BY time DESC, id DESC
LIMIT @max_rows;

-- name: ListCredentials :many
-- Along credentials_attacker, credentials_secret or credentials_last_seen.
SELECT * FROM credentials
WHERE (sqlc.narg(before)::timestamptz IS NULL OR (last_seen, id) < (sqlc.narg(before), @before_id::uuid))
  AND (sqlc.narg(attacker)::uuid IS NULL OR attacker_id = sqlc.narg(attacker))
  AND (sqlc.narg(decky)::text IS NULL OR decky_key = sqlc.narg(decky))
  AND (sqlc.narg(service)::text IS NULL OR service = sqlc.narg(service))
  AND (sqlc.narg(principal)::text IS NULL OR principal = sqlc.narg(principal))
  AND (sqlc.narg(secret_kind)::text IS NULL OR secret_kind = sqlc.narg(secret_kind))
  AND (sqlc.narg(outcome)::text IS NULL OR outcome = sqlc.narg(outcome))
  AND (sqlc.narg(secret_sha256)::text IS NULL OR secret_sha256 = sqlc.narg(secret_sha256))
  AND (sqlc.narg(since)::timestamptz IS NULL OR last_seen >= sqlc.narg(since))
  AND (sqlc.narg(until)::timestamptz IS NULL OR last_seen < sqlc.narg(until))
ORDER BY last_seen DESC, id DESC
LIMIT @max_rows;

-- name: ListCredentialReuse :many
-- Along credential_reuse_targets.
SELECT * FROM credential_reuse
WHERE target_count >= 2 AND target_count >= @min_targets::integer
  AND (sqlc.narg(before_count)::integer IS NULL
       OR (target_count, last_seen, id) < (sqlc.narg(before_count), @before::timestamptz, @before_id::uuid))
  AND (sqlc.narg(secret_kind)::text IS NULL OR secret_kind = sqlc.narg(secret_kind))
ORDER BY target_count DESC, last_seen DESC, id DESC
LIMIT @max_rows;

-- name: GetCredentialReuse :one
-- A secret tried at one target is no finding.
SELECT * FROM credential_reuse WHERE id = @id AND target_count >= 2;

-- name: GetArtifact :one
SELECT * FROM artifacts WHERE id = @id;

-- name: ListArtifacts :many
-- Along artifacts_attacker, artifacts_sha256 or artifacts_time.
SELECT * FROM artifacts
WHERE (sqlc.narg(before)::timestamptz IS NULL OR (time, id) < (sqlc.narg(before), @before_id::uuid))
  AND (sqlc.narg(kind)::text IS NULL OR kind = sqlc.narg(kind))
  AND (sqlc.narg(sha256)::text IS NULL OR sha256 = sqlc.narg(sha256))
  AND (sqlc.narg(attacker)::uuid IS NULL OR attacker_id = sqlc.narg(attacker))
  AND (sqlc.narg(decky)::text IS NULL OR decky_key = sqlc.narg(decky))
  AND (sqlc.narg(service)::text IS NULL OR service = sqlc.narg(service))
  AND (sqlc.narg(since)::timestamptz IS NULL OR time >= sqlc.narg(since))
  AND (sqlc.narg(until)::timestamptz IS NULL OR time < sqlc.narg(until))
ORDER BY time DESC, id DESC
LIMIT @max_rows;
