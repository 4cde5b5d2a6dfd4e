-- name: InsertDecky :one
INSERT INTO deckies (id, scope, name, key, ip, archetype, distro, hostname, nmap_os)
VALUES (@id, @scope, @name, @key, @ip, @archetype, @distro, @hostname, @nmap_os)
RETURNING *;

-- name: LockAddresses :exec
-- Serialises address allocation; held to the end of the transaction.
SELECT pg_advisory_xact_lock(hashtext('decnet addresses'));

-- name: ListUsedAddresses :many
SELECT ip FROM deckies WHERE deleted_at IS NULL;

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
INSERT INTO revision_services (revision_id, position, name, config, saved_config, revision, expires_at)
VALUES (@revision_id, @position, @name, @config, @saved_config, @revision, @expires_at);

-- name: GetRevisionByState :one
SELECT * FROM decky_revisions WHERE decky_id = @decky_id AND state = @state;

-- name: ListRevisionsByState :many
SELECT * FROM decky_revisions WHERE decky_id = ANY(@decky_ids::uuid[]) AND state = @state;

-- name: GetRevisionByOperation :one
SELECT * FROM decky_revisions WHERE operation_id = @operation_id;

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

-- name: DeleteSelfChecksBefore :exec
DELETE FROM self_checks WHERE at < @before;
