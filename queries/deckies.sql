-- name: InsertDecky :one
INSERT INTO deckies (id, scope, name, key, ip, archetype, distro, hostname, nmap_os)
VALUES (@id, @scope, @name, @key, @ip, @archetype, @distro, @hostname, @nmap_os)
RETURNING *;

-- name: LockAddresses :exec
-- Serialises address allocation; held to the end of the transaction.
SELECT pg_advisory_xact_lock(hashtext('decnet addresses'));

-- name: ListUsedAddresses :many
SELECT ip::inet AS ip FROM deckies WHERE deleted_at IS NULL AND ip IS NOT NULL;

-- name: GetDecky :one
SELECT * FROM deckies WHERE id = @id;

-- name: LockDecky :one
SELECT * FROM deckies WHERE id = @id AND deleted_at IS NULL FOR UPDATE;

-- name: GetDeckyByName :one
SELECT * FROM deckies WHERE scope = @scope AND name = @name AND deleted_at IS NULL;

-- name: ListDeckies :many
SELECT * FROM deckies WHERE scope = @scope AND deleted_at IS NULL AND name > @after_name ORDER BY name LIMIT @max_rows;

-- name: ListAllDeckies :many
-- The observer's view: every decky of which something may still run.
SELECT * FROM deckies WHERE deleted_at IS NULL ORDER BY id;

-- name: CountDeckies :one
SELECT count(*) FROM deckies WHERE deleted_at IS NULL;

-- name: CountDeckiesInState :one
SELECT count(*) FROM deckies WHERE state = @state AND deleted_at IS NULL;

-- name: SetDeckyState :exec
UPDATE deckies SET state = @state, state_reason = @reason,
    state_changed_at = CASE WHEN state = @state THEN state_changed_at ELSE now() END,
    deleted_at = CASE WHEN @state = 'torn_down' THEN coalesce(deleted_at, now()) END
WHERE id = @id;

-- name: SetRepairs :exec
UPDATE deckies SET repair_failures = @failures, repair_after = now() + @pause::interval WHERE id = @id;

-- name: NextRevisionNumber :one
SELECT (coalesce(max(number), 0) + 1)::integer FROM decky_revisions WHERE decky_id = @decky_id;

-- name: InsertRevision :exec
INSERT INTO decky_revisions (id, decky_id, number, state, operation_id, removed)
VALUES (@id, @decky_id, @number, 'pending', @operation_id, @removed);

-- name: InsertRevisionService :exec
INSERT INTO revision_services (revision_id, position, name, config, saved_config, revision, expires_at, expiry_id)
VALUES (@revision_id, @position, @name, @config, @saved_config, @revision, @expires_at, @expiry_id);

-- name: GetRevisionByState :one
SELECT * FROM decky_revisions WHERE decky_id = @decky_id AND state = @state;

-- name: ListRevisionsByState :many
SELECT * FROM decky_revisions WHERE decky_id = ANY(@decky_ids::uuid[]) AND state = @state;

-- name: GetRevisionAt :one
-- The revision of the decky of that name that was active at an instant, deckies that are gone included.
SELECT r.* FROM decky_revisions r JOIN deckies d ON d.id = r.decky_id
WHERE d.scope = @scope AND d.name = @name AND NOT r.removed
  AND r.activated_at <= @at AND (r.closed_at IS NULL OR r.closed_at > @at)
ORDER BY r.activated_at DESC
LIMIT 1;

-- name: GetRevisionByNumber :one
SELECT * FROM decky_revisions WHERE decky_id = @decky_id AND number = @number;

-- name: ListRevisions :many
-- Newest first; revisions that never became active are not part of a decky's past.
SELECT r.*, coalesce(o.kind, 'plan') AS kind, coalesce(o.actor, '') AS actor
FROM decky_revisions r LEFT JOIN operations o ON o.id = r.operation_id
WHERE r.decky_id = @decky_id AND r.activated_at IS NOT NULL AND r.number < @before_number
ORDER BY r.number DESC
LIMIT @max_rows;

-- name: SetExpiry :exec
-- In the active and the pending revision alike: a change that is under way keeps the new time.
UPDATE revision_services SET expires_at = @expires_at, expiry_id = @expiry_id
WHERE name = @name AND revision_id IN (SELECT id FROM decky_revisions WHERE decky_id = @decky_id AND state IN ('active', 'pending'));

-- name: ListExpiries :many
SELECT d.scope, d.id AS decky_id, d.name AS decky_name, s.name, s.expires_at, s.expiry_id
FROM revision_services s JOIN decky_revisions r ON r.id = s.revision_id JOIN deckies d ON d.id = r.decky_id
WHERE r.state = 'active' AND s.expires_at <= @before AND d.deleted_at IS NULL
ORDER BY s.expires_at
LIMIT @max_rows;

-- name: GetExpiry :one
SELECT s.expires_at, s.expiry_id FROM revision_services s JOIN decky_revisions r ON r.id = s.revision_id
WHERE r.decky_id = @decky_id AND r.state = 'active' AND s.name = @name AND s.expires_at IS NOT NULL;

-- name: ListRevisionServices :many
SELECT * FROM revision_services WHERE revision_id = ANY(@revision_ids::uuid[]) ORDER BY revision_id, position;

-- name: CloseActiveRevision :exec
UPDATE decky_revisions SET state = 'superseded', closed_at = now() WHERE decky_id = @decky_id AND state = 'active';

-- name: ActivateRevision :exec
UPDATE decky_revisions SET state = 'active', activated_at = now() WHERE id = @id AND state = 'pending';

-- name: DiscardRevision :exec
UPDATE decky_revisions SET state = 'discarded', closed_at = now() WHERE operation_id = @operation_id AND state = 'pending';

-- name: DeleteEndpoints :exec
DELETE FROM decky_endpoints WHERE decky_id = @decky_id;

-- name: InsertEndpoint :exec
INSERT INTO decky_endpoints (decky_id, service, protocol, port, listen_ip, listen_port)
VALUES (@decky_id, @service, @protocol, @port, @listen_ip, @listen_port);

-- name: ListEndpoints :many
SELECT * FROM decky_endpoints WHERE decky_id = ANY(@decky_ids::uuid[]) ORDER BY decky_id, service, protocol, port;

-- name: InsertSelfCheck :exec
INSERT INTO self_checks (local_ip, local_port, remote_ip, remote_port, decky_id, service)
VALUES (@local_ip, @local_port, @remote_ip, @remote_port, @decky_id, @service);
