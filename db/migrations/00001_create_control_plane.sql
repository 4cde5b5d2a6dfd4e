-- +goose Up
CREATE TABLE installation (
    singleton  boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    id         uuid NOT NULL,
    -- Rises when Postgres is found to be older than what Temporal or the data directory remember (a restore).
    epoch      integer NOT NULL DEFAULT 1 CHECK (epoch >= 1),
    runtime    text CHECK (runtime IN ('process', 'docker')),
    -- While set, no mail leaves: an admin clears it after a restore.
    relay_kill_switch boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE operations (
    id              uuid PRIMARY KEY,
    seq             bigint NOT NULL GENERATED ALWAYS AS IDENTITY UNIQUE,
    scope           text NOT NULL,
    -- A decky uuid, or '*' for a change of the whole scope.
    lane            text NOT NULL,
    kind            text NOT NULL CHECK (kind IN ('add_service', 'remove_service', 'create_decky', 'delete_decky', 'reconcile')),
    actor           text NOT NULL,
    idempotency_key text,
    request_hash    bytea NOT NULL,
    -- Sealed with the installation key; names and configuration of the request.
    request         bytea NOT NULL,
    state           text NOT NULL DEFAULT 'received' CHECK (state IN
                        ('received', 'queued', 'running', 'succeeded', 'failed', 'refused', 'unconverged', 'cancelled')),
    fault           jsonb,
    decky_id        uuid,
    decky_name      text NOT NULL DEFAULT '',
    service         text NOT NULL DEFAULT '',
    revision_before integer,
    revision_after  integer,
    -- What the API answered with, without secrets; set when the operation ends.
    response        jsonb,
    -- The Mutation run that owns the operation while it is running.
    run_id          text,
    cancel_requested_at timestamptz,
    created_at      timestamptz NOT NULL DEFAULT now(),
    started_at      timestamptz,
    ended_at        timestamptz,
    CHECK ((ended_at IS NOT NULL) = (state NOT IN ('received', 'queued', 'running')))
);
CREATE UNIQUE INDEX operations_actor_idempotency_key ON operations (actor, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX operations_open ON operations (seq) WHERE ended_at IS NULL;
CREATE INDEX operations_decky ON operations (decky_name, seq DESC);

CREATE TABLE operation_steps (
    operation_id uuid NOT NULL REFERENCES operations ON DELETE CASCADE,
    name         text NOT NULL CHECK (name IN ('validate', 'prepare', 'persist', 'converge', 'verify', 'activate', 'discard', 'undo')),
    state        text NOT NULL CHECK (state IN ('running', 'succeeded', 'failed')),
    attempt      integer NOT NULL DEFAULT 1 CHECK (attempt >= 1),
    detail       text NOT NULL DEFAULT '',
    started_at   timestamptz NOT NULL,
    ended_at     timestamptz,
    PRIMARY KEY (operation_id, name)
);

CREATE TABLE deckies (
    id         uuid PRIMARY KEY,
    scope      text NOT NULL,
    name       text NOT NULL,
    -- Names artifact folders; unique over all scopes.
    key        text NOT NULL CHECK (length(key) <= 72),
    ip         inet NOT NULL,
    archetype  text,
    distro     text NOT NULL,
    hostname   text NOT NULL,
    nmap_os    text NOT NULL,
    state      text NOT NULL DEFAULT 'pending' CHECK (state IN
                   ('pending', 'running', 'reconciling', 'degraded', 'failed', 'quarantined', 'tearing_down', 'torn_down')),
    state_reason text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    state_changed_at timestamptz NOT NULL DEFAULT now(),
    last_activity_at timestamptz,
    -- Set when nothing of the decky runs any more; its name and address are free from then on.
    deleted_at timestamptz,
    CHECK ((deleted_at IS NOT NULL) = (state = 'torn_down'))
);
CREATE UNIQUE INDEX deckies_scope_name ON deckies (scope, name) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX deckies_key ON deckies (key) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX deckies_ip ON deckies (ip) WHERE deleted_at IS NULL;

CREATE TABLE decky_revisions (
    id           uuid PRIMARY KEY,
    decky_id     uuid NOT NULL REFERENCES deckies,
    number       integer NOT NULL CHECK (number >= 1),
    state        text NOT NULL CHECK (state IN ('pending', 'active', 'superseded', 'discarded')),
    operation_id uuid NOT NULL UNIQUE REFERENCES operations,
    -- The revision in which the decky is gone.
    removed      boolean NOT NULL DEFAULT false,
    created_at   timestamptz NOT NULL DEFAULT now(),
    activated_at timestamptz,
    closed_at    timestamptz,
    UNIQUE (decky_id, number)
);
CREATE UNIQUE INDEX decky_revisions_pending ON decky_revisions (decky_id) WHERE state = 'pending';
CREATE UNIQUE INDEX decky_revisions_active ON decky_revisions (decky_id) WHERE state = 'active';

CREATE TABLE revision_services (
    revision_id  uuid NOT NULL REFERENCES decky_revisions ON DELETE CASCADE,
    position     integer NOT NULL,
    name         text NOT NULL CHECK (name ~ '^[a-z0-9_]{1,32}$'),
    config       jsonb NOT NULL DEFAULT '{}',
    saved_config jsonb,
    -- The number of the decky revision that last changed this decoy's input.
    revision     integer NOT NULL,
    expires_at   timestamptz,
    PRIMARY KEY (revision_id, name),
    UNIQUE (revision_id, position)
);

CREATE TABLE decky_endpoints (
    decky_id uuid NOT NULL REFERENCES deckies,
    service  text NOT NULL,
    protocol text NOT NULL CHECK (protocol IN ('tcp', 'udp')),
    port     integer NOT NULL CHECK (port BETWEEN 1 AND 65535),
    listen_ip inet NOT NULL,
    listen_port integer NOT NULL CHECK (listen_port BETWEEN 1 AND 65535),
    PRIMARY KEY (decky_id, service, protocol, port)
);

-- Connections that Converge makes itself to verify a decoy: ingest discards them.
CREATE TABLE self_checks (
    local_ip    inet NOT NULL,
    local_port  integer NOT NULL,
    remote_ip   inet NOT NULL,
    remote_port integer NOT NULL,
    decky_id    uuid NOT NULL,
    service     text NOT NULL,
    at          timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX self_checks_local ON self_checks (local_ip, local_port, at);

CREATE TABLE outbox (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id     uuid NOT NULL UNIQUE,
    -- The aggregate: events of one key are published in id order, a failure holds up only its own key.
    key          text NOT NULL,
    topic        text NOT NULL,
    type         text NOT NULL CHECK (type <> ''),
    ts           timestamptz NOT NULL DEFAULT now(),
    payload      jsonb NOT NULL,
    operation_id uuid,
    attempts     integer NOT NULL DEFAULT 0,
    last_error   text NOT NULL DEFAULT '',
    published_at timestamptz
);
CREATE INDEX outbox_unpublished ON outbox (id) WHERE published_at IS NULL;
CREATE INDEX outbox_published ON outbox (published_at) WHERE published_at IS NOT NULL;

CREATE TABLE dead_letters (
    id         uuid PRIMARY KEY,
    topic      text NOT NULL,
    event_id   text NOT NULL DEFAULT '',
    reason     text NOT NULL,
    body       bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- Every process that runs a role; its start counts as a disturbance until an observer pass has finished after it.
CREATE TABLE role_instances (
    id         uuid PRIMARY KEY,
    role       text NOT NULL,
    host_id    text NOT NULL,
    pid        integer NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at    timestamptz NOT NULL DEFAULT now(),
    stopped_at timestamptz
);

CREATE TABLE observer_passes (
    host_id     text PRIMARY KEY,
    started_at  timestamptz NOT NULL,
    finished_at timestamptz NOT NULL,
    decoys      integer NOT NULL,
    drift       integer NOT NULL
);

-- +goose StatementBegin
CREATE FUNCTION notify_operation_ended() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('operation_ended', NEW.id::text);
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER operations_ended AFTER INSERT OR UPDATE OF ended_at ON operations
    FOR EACH ROW WHEN (NEW.ended_at IS NOT NULL) EXECUTE FUNCTION notify_operation_ended();

-- +goose StatementBegin
CREATE FUNCTION notify_outbox() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('outbox', '');
    RETURN NULL;
END $$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE FUNCTION notify_role_started() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('role_started', NEW.role);
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER role_started AFTER INSERT ON role_instances FOR EACH ROW EXECUTE FUNCTION notify_role_started();

CREATE TRIGGER outbox_added AFTER INSERT ON outbox FOR EACH STATEMENT EXECUTE FUNCTION notify_outbox();

-- +goose Down
DROP TABLE observer_passes, role_instances, dead_letters, outbox, self_checks, decky_endpoints, revision_services,
    decky_revisions, deckies, operation_steps, operations, installation;
DROP FUNCTION notify_operation_ended(), notify_outbox(), notify_role_started();
