-- name: InsertTopology :one
INSERT INTO topologies (id, name, mode, generated_from) VALUES (@id, @name, @mode, @generated_from) RETURNING *;

-- name: GetTopology :one
SELECT * FROM topologies WHERE id = @id AND deleted_at IS NULL;

-- name: LockTopology :one
-- Taken before any row of a decky of the topology.
SELECT * FROM topologies WHERE id = @id AND deleted_at IS NULL FOR UPDATE;

-- name: ListTopologies :many
-- Newest first.
SELECT * FROM topologies
WHERE deleted_at IS NULL AND (sqlc.narg(status)::text IS NULL OR status = sqlc.narg(status))
  AND (created_at, id) < (@before_created::timestamptz, @before_id::uuid)
ORDER BY created_at DESC, id DESC
LIMIT @max_rows;

-- name: ListScopes :many
-- The topologies of which something may run or be asked.
SELECT id FROM topologies WHERE deleted_at IS NULL AND status <> 'torn_down' ORDER BY id;

-- name: SetTopologyStatus :exec
UPDATE topologies SET status = @status, status_reason = @reason, status_changed_at = now(), version = version + 1 WHERE id = @id;

-- name: SetTopologyReason :exec
WITH latest AS (
    UPDATE topology_status_events e SET reason = @reason
    WHERE e.id = (SELECT max(l.id) FROM topology_status_events l WHERE l.topology_id = @id)
)
UPDATE topologies t SET status_reason = @reason WHERE t.id = @id;

-- name: BumpTopologyVersion :one
UPDATE topologies SET version = version + 1 WHERE id = @id RETURNING version;

-- name: DeleteTopology :exec
UPDATE topologies SET deleted_at = now() WHERE id = @id;

-- name: InsertStatusEvent :exec
INSERT INTO topology_status_events (topology_id, from_status, to_status, reason) VALUES (@topology_id, @from_status, @to_status, @reason);

-- name: ListStatusEvents :many
SELECT * FROM topology_status_events WHERE topology_id = @topology_id ORDER BY id DESC LIMIT @max_rows;

-- name: ListLANs :many
SELECT * FROM lans WHERE topology_id = @topology_id ORDER BY position;

-- name: LockSubnets :exec
-- Serialises the choice of subnets; held to the end of the transaction, taken after the row of the topology.
SELECT pg_advisory_xact_lock(hashtext('decnet subnets'));

-- name: ListReservedSubnets :many
SELECT subnet FROM lans WHERE holds_subnet AND topology_id <> @except_topology ORDER BY subnet;

-- name: UpsertLAN :exec
INSERT INTO lans (id, topology_id, position, name, subnet, is_dmz, x, y) VALUES (@id, @topology_id, @position, @name, @subnet, @is_dmz, @x, @y)
ON CONFLICT (id) DO UPDATE SET position = excluded.position, name = excluded.name, subnet = excluded.subnet, is_dmz = excluded.is_dmz,
    x = excluded.x, y = excluded.y;

-- name: DeleteLANsExcept :exec
DELETE FROM lans WHERE topology_id = @topology_id AND NOT id = ANY(@ids::uuid[]);

-- name: ReleaseSubnets :exec
UPDATE lans SET holds_subnet = false WHERE topology_id = @topology_id;

-- name: ListTopologyDeckies :many
-- Those of a topology that was torn down are gone, and are shown as what it consisted of.
SELECT d.* FROM deckies d
WHERE d.scope = @scope AND (d.deleted_at IS NULL OR (@torn_down::boolean AND EXISTS (SELECT 1 FROM topology_edges e WHERE e.decky_id = d.id)))
ORDER BY d.name, d.id;

-- name: ListScopeDeckies :many
SELECT id FROM deckies WHERE scope = @scope AND deleted_at IS NULL ORDER BY name, id;

-- name: InsertTopologyDecky :exec
INSERT INTO deckies (id, scope, name, key, ip, archetype, distro, hostname, nmap_os, planned, forwards_l3, x, y)
VALUES (@id, @scope, @name, @key, @ip, @archetype, @distro, @hostname, @nmap_os, @planned, @forwards_l3, @x, @y);

-- name: UpdateTopologyDecky :exec
UPDATE deckies SET name = @name, key = @key, archetype = @archetype, forwards_l3 = @forwards_l3, x = @x, y = @y WHERE id = @id;

-- name: SetPlanned :exec
UPDATE deckies SET planned = @planned WHERE scope = @scope AND deleted_at IS NULL;

-- name: SetDeckyAddress :exec
UPDATE deckies SET ip = @ip WHERE id = @id;

-- name: DeletePlannedDecky :exec
-- It never ran: nothing refers to it. Its revisions go with it.
WITH revisions AS (DELETE FROM decky_revisions r WHERE r.decky_id = @id)
DELETE FROM deckies d WHERE d.id = @id AND d.planned;

-- name: SetDeckyStates :many
-- Those that change, with the state they had; torn_down ends them.
WITH before AS (
    SELECT p.id, p.state FROM deckies p WHERE p.scope = @scope AND p.deleted_at IS NULL AND p.state <> @state ORDER BY p.name, p.id FOR UPDATE
)
UPDATE deckies d SET state = @state, state_reason = @reason, state_changed_at = now(),
    deleted_at = CASE WHEN @state = 'torn_down' THEN now() END
FROM before b WHERE d.id = b.id
RETURNING d.id, d.name, b.state AS previous;

-- name: CountPendingRevisions :one
SELECT count(*) FROM decky_revisions r JOIN deckies d ON d.id = r.decky_id WHERE d.scope = @scope AND r.state = 'pending';

-- name: CountOpenScopeOperations :one
SELECT count(*) FROM operations WHERE scope = @scope AND ended_at IS NULL;

-- name: CountTroubledDeckies :one
SELECT count(*) FROM deckies WHERE scope = @scope AND deleted_at IS NULL AND state IN ('degraded', 'failed', 'quarantined');

-- name: InsertPlanRevision :exec
INSERT INTO decky_revisions (id, decky_id, number, state, activated_at) VALUES (@id, @decky_id, @number, 'active', now());

-- name: DeleteRevisionServices :exec
DELETE FROM revision_services WHERE revision_id = @revision_id;

-- name: ListEdges :many
SELECT * FROM topology_edges WHERE topology_id = @topology_id ORDER BY position;

-- name: UpsertEdge :exec
INSERT INTO topology_edges (id, topology_id, position, decky_id, lan_id, ip, is_bridge, forwards_l3)
VALUES (@id, @topology_id, @position, @decky_id, @lan_id, @ip, @is_bridge, @forwards_l3)
ON CONFLICT (id) DO UPDATE SET position = excluded.position, decky_id = excluded.decky_id, lan_id = excluded.lan_id, ip = excluded.ip,
    is_bridge = excluded.is_bridge, forwards_l3 = excluded.forwards_l3;

-- name: DeleteEdgesExcept :exec
DELETE FROM topology_edges WHERE topology_id = @topology_id AND NOT id = ANY(@ids::uuid[]);

-- name: SetOperationUndo :exec
UPDATE operations SET undo = @undo WHERE id = @id;

-- name: ListRevisionsByOperation :many
SELECT * FROM decky_revisions WHERE operation_id = @operation_id ORDER BY decky_id;

-- name: ListScopeOperations :many
-- The edits of a topology, newest first.
SELECT * FROM operations WHERE scope = @scope AND payload IS NOT NULL AND seq < @before_seq
  AND (sqlc.narg(states)::text[] IS NULL OR state = ANY(sqlc.narg(states)::text[]))
ORDER BY seq DESC
LIMIT @max_rows;
