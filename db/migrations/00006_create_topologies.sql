-- +goose Up
CREATE TABLE topologies (
    id         uuid PRIMARY KEY,
    name       text NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
    mode       text NOT NULL DEFAULT 'unihost' CHECK (mode IN ('unihost')),
    status     text NOT NULL DEFAULT 'pending' CHECK (status IN
                   ('pending', 'deploying', 'active', 'degraded', 'failed', 'tearing_down', 'torn_down')),
    status_reason text NOT NULL DEFAULT '',
    -- What it was generated from; null for one that was drawn by hand.
    generated_from jsonb,
    -- Rises with every change of the graph or the status.
    version    bigint NOT NULL DEFAULT 1 CHECK (version >= 1),
    created_at timestamptz NOT NULL DEFAULT now(),
    status_changed_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz
);
CREATE UNIQUE INDEX topologies_name ON topologies (name) WHERE deleted_at IS NULL;

-- Keys, networks and containers carry the first eight digits only.
CREATE UNIQUE INDEX topologies_short_id ON topologies (left(id::text, 8));

CREATE TABLE lans (
    id          uuid PRIMARY KEY,
    topology_id uuid NOT NULL REFERENCES topologies,
    position    integer NOT NULL,
    name        text NOT NULL,
    subnet      cidr NOT NULL,
    is_dmz      boolean NOT NULL,
    x           double precision,
    y           double precision,
    -- Whether the subnet is taken for others: until its topology is torn down or deleted.
    holds_subnet boolean NOT NULL DEFAULT true,
    CONSTRAINT lans_topology_name UNIQUE (topology_id, name) DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT lans_subnet EXCLUDE USING gist (subnet inet_ops WITH &&) WHERE (holds_subnet) DEFERRABLE INITIALLY DEFERRED
);

ALTER TABLE deckies
    -- A planned decky has no address of its own yet.
    ALTER COLUMN ip DROP NOT NULL,
    -- Part of a topology that is not deployed, or not any more: nothing of it may run, whatever its active revision says.
    ADD COLUMN planned boolean NOT NULL DEFAULT false,
    ADD COLUMN forwards_l3 boolean NOT NULL DEFAULT false,
    ADD COLUMN x double precision,
    ADD COLUMN y double precision,
    ADD CONSTRAINT deckies_address CHECK (ip IS NOT NULL OR planned OR deleted_at IS NOT NULL);

CREATE TABLE topology_edges (
    id          uuid PRIMARY KEY,
    topology_id uuid NOT NULL REFERENCES topologies,
    -- The order in which edges were made decides which LAN is home.
    position    integer NOT NULL,
    decky_id    uuid NOT NULL REFERENCES deckies,
    lan_id      uuid NOT NULL REFERENCES lans,
    ip          inet NOT NULL,
    is_bridge   boolean NOT NULL,
    forwards_l3 boolean NOT NULL,
    CONSTRAINT topology_edges_member UNIQUE (decky_id, lan_id) DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT topology_edges_ip UNIQUE (lan_id, ip) DEFERRABLE INITIALLY DEFERRED
);
CREATE INDEX topology_edges_topology ON topology_edges (topology_id, position);

CREATE TABLE topology_status_events (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topology_id uuid NOT NULL REFERENCES topologies,
    from_status text NOT NULL,
    to_status   text NOT NULL,
    at          timestamptz NOT NULL DEFAULT now(),
    reason      text NOT NULL DEFAULT ''
);
CREATE INDEX topology_status_events_topology ON topology_status_events (topology_id, id DESC);

-- A change of a topology writes revisions of several deckies; a plan has one that no operation made.
ALTER TABLE decky_revisions
    ALTER COLUMN operation_id DROP NOT NULL,
    DROP CONSTRAINT decky_revisions_operation_id_key,
    ADD CONSTRAINT decky_revisions_operation UNIQUE (operation_id, decky_id);

ALTER TABLE operations
    -- The payload of a topology's edit as it may be shown: secrets masked.
    ADD COLUMN payload jsonb,
    -- What an edit of a topology touched, and the graph before it, without services: what Discard restores.
    ADD COLUMN undo jsonb,
    DROP CONSTRAINT operations_kind_check,
    ADD CONSTRAINT operations_kind_check CHECK (kind IN ('add_service', 'remove_service', 'save_config', 'apply_config',
        'set_expiry', 'create_decky', 'delete_decky', 'rollback', 'reconcile', 'deploy', 'teardown', 'add_lan', 'remove_lan',
        'update_lan', 'add_decky', 'attach_decky', 'detach_decky', 'remove_decky', 'update_decky', 'create_topology', 'delete_topology'));
CREATE INDEX operations_scope ON operations (scope, seq DESC);

-- +goose Down
DROP INDEX operations_scope;
DELETE FROM outbox WHERE topic LIKE 'topology.%';
UPDATE operations SET kind = 'reconcile' WHERE kind IN ('deploy', 'teardown', 'add_lan', 'remove_lan', 'update_lan', 'add_decky',
    'attach_decky', 'detach_decky', 'remove_decky', 'update_decky', 'create_topology', 'delete_topology');
ALTER TABLE operations
    DROP COLUMN payload, DROP COLUMN undo,
    DROP CONSTRAINT operations_kind_check,
    ADD CONSTRAINT operations_kind_check CHECK (kind IN ('add_service', 'remove_service', 'save_config', 'apply_config',
        'set_expiry', 'create_decky', 'delete_decky', 'rollback', 'reconcile'));
DROP TABLE topology_status_events, topology_edges, lans, topologies;
-- The older schema knows no deckies without an address, and one revision for one operation.
DELETE FROM revision_services WHERE revision_id IN (SELECT r.id FROM decky_revisions r JOIN deckies d ON d.id = r.decky_id WHERE d.scope <> 'fleet');
DELETE FROM decky_revisions WHERE decky_id IN (SELECT id FROM deckies WHERE scope <> 'fleet');
DELETE FROM decky_endpoints WHERE decky_id IN (SELECT id FROM deckies WHERE scope <> 'fleet');
DELETE FROM deckies WHERE scope <> 'fleet';
ALTER TABLE decky_revisions
    DROP CONSTRAINT decky_revisions_operation,
    ALTER COLUMN operation_id SET NOT NULL,
    ADD CONSTRAINT decky_revisions_operation_id_key UNIQUE (operation_id);
ALTER TABLE deckies
    DROP CONSTRAINT deckies_address, DROP COLUMN planned, DROP COLUMN forwards_l3, DROP COLUMN x, DROP COLUMN y,
    ALTER COLUMN ip SET NOT NULL;
