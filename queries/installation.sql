-- name: EnsureInstallation :one
INSERT INTO installation (id) VALUES (@id)
ON CONFLICT (singleton) DO UPDATE SET singleton = true
RETURNING *;

-- name: SetRuntime :exec
UPDATE installation SET runtime = @runtime;

-- name: RaiseEpoch :exec
UPDATE installation SET epoch = @epoch, relay_kill_switch = true WHERE epoch < @epoch;

-- name: StartRole :exec
INSERT INTO role_instances (id, role, host_id, pid) VALUES (@id, @role, @host_id, @pid);

-- name: TouchRole :exec
UPDATE role_instances SET seen_at = now() WHERE id = @id;

-- name: StopRole :exec
UPDATE role_instances SET stopped_at = now(), seen_at = now() WHERE id = @id;

-- name: LastRoleStopped :one
-- Whether the previous instance of a role on any host ended cleanly; no rows before the first.
SELECT (stopped_at IS NOT NULL)::boolean FROM role_instances WHERE role = @role AND id <> @id ORDER BY started_at DESC LIMIT 1;

-- name: ListRoles :many
-- Instances that reported within the last minute.
SELECT * FROM role_instances WHERE stopped_at IS NULL AND seen_at > now() - interval '1 minute' ORDER BY role, started_at;

-- name: LastRoleStart :one
SELECT coalesce(max(started_at), 'epoch'::timestamptz)::timestamptz FROM role_instances;

-- name: DeleteOldRoles :exec
DELETE FROM role_instances WHERE seen_at < now() - interval '7 days';

-- name: UpsertObserverPass :exec
INSERT INTO observer_passes (host_id, started_at, finished_at, decoys, drift) VALUES (@host_id, @started_at, now(), @decoys, @drift)
ON CONFLICT (host_id) DO UPDATE
SET started_at = excluded.started_at, finished_at = excluded.finished_at, decoys = excluded.decoys, drift = excluded.drift;

-- name: ListObserverPasses :many
SELECT * FROM observer_passes ORDER BY host_id;

-- name: Now :one
SELECT now()::timestamptz;
