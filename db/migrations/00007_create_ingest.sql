-- +goose Up
-- One row per source address.
CREATE TABLE attackers (
    id          uuid PRIMARY KEY,
    ip          inet NOT NULL CONSTRAINT attackers_ip UNIQUE,
    -- Times of events; observed_at is when the first of them came in.
    first_seen  timestamptz NOT NULL,
    last_seen   timestamptz NOT NULL,
    observed_at timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    event_count bigint NOT NULL CHECK (event_count >= 0),
    -- Sorted sets.
    services    text[] NOT NULL,
    interacted  text[] NOT NULL,
    scanned     text[] NOT NULL,
    victim_domains text[] NOT NULL,
    -- Decky keys in order of first contact.
    deckies     text[] NOT NULL,
    decky_count integer GENERATED ALWAYS AS (cardinality(deckies)) STORED,
    session_count    bigint NOT NULL DEFAULT 0,
    command_count    bigint NOT NULL DEFAULT 0,
    bounty_count     bigint NOT NULL DEFAULT 0,
    credential_count bigint NOT NULL DEFAULT 0
);
CREATE INDEX attackers_recent ON attackers (last_seen DESC, id DESC);
CREATE INDEX attackers_active ON attackers (event_count DESC, id DESC);
CREATE INDEX attackers_traversals ON attackers (decky_count DESC, id DESC) WHERE decky_count >= 2;
CREATE INDEX attackers_services ON attackers USING gin (services);

-- The log. Identity and time columns say what is known; what a decoy claims is in fields, msg and raw.
CREATE TABLE events (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received_at timestamptz NOT NULL DEFAULT now(),
    time        timestamptz NOT NULL,
    decky_key   text NOT NULL,
    decky_name  text NOT NULL,
    -- Null for imports, as is the rest of what only our own deckies have.
    decky_id    uuid,
    topology_id uuid,
    sensor      text NOT NULL DEFAULT '',
    service     text NOT NULL,
    type        text NOT NULL,
    class       text NOT NULL CHECK (class IN ('interaction', 'scan', 'noise')),
    attacker_id uuid,
    attacker_ip inet,
    attacker_port integer CHECK (attacker_port BETWEEN 1 AND 65535),
    session     text NOT NULL DEFAULT '',
    boot        text NOT NULL DEFAULT '',
    line        bigint NOT NULL DEFAULT 0,
    fields      jsonb NOT NULL,
    msg         text NOT NULL,
    raw         text NOT NULL,
    -- Of imported lines only: equal for two readings of one line.
    import_key  bytea,
    -- What is searched: words of the line and its columns as prefixed lexemes; no secret is among them.
    document    tsvector NOT NULL
);
CREATE INDEX events_time ON events (time DESC, id DESC);
CREATE INDEX events_document ON events USING gin (document);
CREATE UNIQUE INDEX events_import_key ON events (import_key) WHERE import_key IS NOT NULL;

CREATE TABLE sessions (
    id          uuid PRIMARY KEY,
    decky_key   text NOT NULL,
    session     text NOT NULL,
    decky_name  text NOT NULL,
    decky_id    uuid,
    topology_id uuid,
    sensor      text NOT NULL DEFAULT '',
    service     text NOT NULL,
    attacker_id uuid NOT NULL,
    attacker_ip inet NOT NULL,
    started_at  timestamptz NOT NULL,
    last_seen   timestamptz NOT NULL,
    ended_at    timestamptz,
    commands    integer NOT NULL DEFAULT 0,
    recorded    boolean NOT NULL DEFAULT false,
    -- The last event folded in, and whether the first one told of the beginning.
    boot        text NOT NULL,
    line        bigint NOT NULL,
    opened      boolean NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    -- Set when retention removed the recording.
    recording_removed_at timestamptz,
    CONSTRAINT sessions_session UNIQUE (decky_key, session)
);
CREATE INDEX sessions_started ON sessions (started_at DESC, id DESC);
CREATE INDEX sessions_attacker ON sessions (attacker_id, started_at DESC, id DESC);
CREATE INDEX sessions_received ON sessions (received_at);

CREATE TABLE commands (
    id          uuid PRIMARY KEY,
    decky_key   text NOT NULL,
    -- `<session>#<line>`; without a session `<address>-<time>#<line>`.
    ref         text NOT NULL,
    decky_name  text NOT NULL,
    service     text NOT NULL,
    session     text NOT NULL DEFAULT '',
    attacker_id uuid NOT NULL,
    attacker_ip inet NOT NULL,
    time        timestamptz NOT NULL,
    line        bigint NOT NULL,
    text        text NOT NULL,
    uid         text NOT NULL DEFAULT '',
    username    text NOT NULL DEFAULT '',
    directory   text NOT NULL DEFAULT '',
    src         text NOT NULL DEFAULT '',
    received_at timestamptz NOT NULL DEFAULT now(),
    document    tsvector NOT NULL,
    CONSTRAINT commands_ref UNIQUE (decky_key, ref)
);
CREATE INDEX commands_time ON commands (time DESC, id DESC);
CREATE INDEX commands_attacker ON commands (attacker_id, time DESC, id DESC);
CREATE INDEX commands_session ON commands (decky_key, session, time, line);
CREATE INDEX commands_document ON commands USING gin (document);
CREATE INDEX commands_received ON commands (received_at);

CREATE TABLE bounties (
    id          uuid PRIMARY KEY,
    -- Hash of type, attacker and payload: a fact is kept once per attacker.
    key         bytea NOT NULL CONSTRAINT bounties_key UNIQUE,
    type        text NOT NULL CHECK (type IN ('fingerprint', 'ip_leak', 'artifact', 'probe_relay')),
    kind        text NOT NULL,
    decky_key   text NOT NULL,
    decky_name  text NOT NULL,
    service     text NOT NULL,
    attacker_id uuid NOT NULL,
    attacker_ip inet NOT NULL,
    payload     jsonb NOT NULL,
    time        timestamptz NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX bounties_time ON bounties (time DESC, id DESC);
CREATE INDEX bounties_attacker ON bounties (attacker_id, time DESC, id DESC);
CREATE INDEX bounties_received ON bounties (received_at);

CREATE TABLE credentials (
    id          uuid PRIMARY KEY,
    -- Hash of attacker, decky key, service, kind, secret and principal.
    key         bytea NOT NULL CONSTRAINT credentials_key UNIQUE,
    decky_key   text NOT NULL,
    decky_name  text NOT NULL,
    service     text NOT NULL,
    attacker_id uuid NOT NULL,
    attacker_ip inet NOT NULL,
    -- '' stands for none.
    principal   text NOT NULL,
    secret_kind text NOT NULL,
    secret_sha256 text NOT NULL CHECK (secret_sha256 ~ '^[0-9a-f]{64}$'),
    -- Cut; the hash is over the whole secret.
    secret_printable text NOT NULL,
    secret_b64  text NOT NULL,
    outcome     text NOT NULL DEFAULT '',
    attempt_count bigint NOT NULL CHECK (attempt_count >= 1),
    first_seen  timestamptz NOT NULL,
    last_seen   timestamptz NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX credentials_last_seen ON credentials (last_seen DESC, id DESC);
CREATE INDEX credentials_attacker ON credentials (attacker_id, last_seen DESC, id DESC);
CREATE INDEX credentials_secret ON credentials (secret_sha256, secret_kind, principal);
CREATE INDEX credentials_received ON credentials (received_at);

-- Every secret tried, by whom and where; it is reused from two targets on. Lists are in order of first sight and bounded.
CREATE TABLE credential_reuse (
    id          uuid PRIMARY KEY,
    secret_sha256 text NOT NULL,
    secret_kind text NOT NULL,
    principal   text NOT NULL,
    secret_printable text NOT NULL,
    secret_b64  text NOT NULL,
    attacker_ids uuid[] NOT NULL,
    attacker_ips inet[] NOT NULL,
    deckies     text[] NOT NULL,
    services    text[] NOT NULL,
    -- Distinct pairs `<decky key>/<service>`.
    targets     text[] NOT NULL,
    target_count integer GENERATED ALWAYS AS (cardinality(targets)) STORED,
    attempt_count bigint NOT NULL,
    first_seen  timestamptz NOT NULL,
    last_seen   timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT credential_reuse_secret UNIQUE (secret_sha256, secret_kind, principal)
);
CREATE INDEX credential_reuse_targets ON credential_reuse (target_count DESC, last_seen DESC, id DESC) WHERE target_count >= 2;

-- Files and mails that decoys have kept, and those of which an imported log knows the checksum only (stored_as is null).
CREATE TABLE artifacts (
    id          uuid PRIMARY KEY,
    key         bytea NOT NULL CONSTRAINT artifacts_key UNIQUE,
    kind        text NOT NULL CHECK (kind IN ('file', 'mail')),
    decky_key   text NOT NULL,
    decky_name  text NOT NULL,
    service     text NOT NULL,
    -- The folder below the decky's.
    folder      text NOT NULL,
    stored_as   text,
    sha256      text NOT NULL DEFAULT '',
    size        bigint CHECK (size >= 0),
    orig_path   text NOT NULL DEFAULT '',
    session     text NOT NULL DEFAULT '',
    attacker_id uuid NOT NULL,
    attacker_ip inet NOT NULL,
    time        timestamptz NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    -- Set when retention removed the content.
    removed_at  timestamptz
);
CREATE INDEX artifacts_time ON artifacts (time DESC, id DESC);
CREATE INDEX artifacts_attacker ON artifacts (attacker_id, time DESC, id DESC);
CREATE INDEX artifacts_sha256 ON artifacts (sha256);
CREATE INDEX artifacts_received ON artifacts (received_at);

-- How far every file of decoy output is dealt with. A file is known by the hash of its first line, which survives renaming,
-- copying and rotation; position is the offset after the last line whose outcome is committed.
CREATE TABLE ingest_cursors (
    host_id    text NOT NULL,
    decky_id   uuid NOT NULL,
    service    text NOT NULL,
    file       text NOT NULL CHECK (file ~ '^[0-9a-f]{64}$'),
    position   bigint NOT NULL CHECK (position >= 0),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (host_id, decky_id, service, file)
);

-- The numbers of the lines read of a decoy, by boot.
CREATE TABLE ingest_sequences (
    decky_id uuid NOT NULL,
    service  text NOT NULL,
    sequence jsonb NOT NULL,
    PRIMARY KEY (decky_id, service)
);

-- What became of the lines read: every line is in exactly one of them.
CREATE TABLE ingest_outcomes (
    decky_key  text NOT NULL,
    service    text NOT NULL,
    outcome    text NOT NULL CHECK (outcome IN
                   ('stored', 'dropped_app', 'dropped_rate', 'self_check', 'repeated', 'malformed', 'too_long', 'missing')),
    lines      bigint NOT NULL CHECK (lines >= 0),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (decky_key, service, outcome)
);

CREATE TABLE imports (
    id         uuid PRIMARY KEY,
    format     text NOT NULL CHECK (format IN ('cowrie', 'opencanary')),
    name       text NOT NULL,
    actor      text NOT NULL,
    state      text NOT NULL DEFAULT 'uploading' CHECK (state IN ('uploading', 'running', 'succeeded', 'failed', 'cancelled')),
    fault      jsonb,
    -- Of the input as it was sent, and how much of it the reader has taken.
    bytes_total bigint NOT NULL DEFAULT 0,
    bytes_read  bigint NOT NULL DEFAULT 0,
    -- Where the reader goes on.
    position   jsonb NOT NULL DEFAULT '{}',
    -- Lines by outcome, kind and reason, as the reader counts them.
    report     jsonb NOT NULL DEFAULT '{}',
    stored     bigint NOT NULL DEFAULT 0,
    duplicates bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- When the last chunk came: an upload that stands still was abandoned.
    touched_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    ended_at   timestamptz,
    CHECK ((ended_at IS NOT NULL) = (state IN ('succeeded', 'failed', 'cancelled')))
);
CREATE INDEX imports_created ON imports (created_at DESC, id DESC);
CREATE INDEX imports_open ON imports (created_at) WHERE ended_at IS NULL;

-- What is to be imported, until it has been.
CREATE TABLE import_chunks (
    import_id uuid NOT NULL REFERENCES imports ON DELETE CASCADE,
    number    integer NOT NULL,
    data      bytea NOT NULL,
    PRIMARY KEY (import_id, number)
);
ALTER TABLE import_chunks ALTER COLUMN data SET STORAGE EXTERNAL;

-- What is kept for how long, by ingest time. Null is no limit.
CREATE TABLE retention (
    class      text PRIMARY KEY CHECK (class IN
                   ('events', 'sessions', 'bounties', 'credentials', 'artifacts', 'recordings', 'logs', 'imports')),
    max_age    interval CHECK (max_age > interval '0'),
    max_bytes  bigint CHECK (max_bytes > 0),
    max_rows   bigint CHECK (max_rows > 0),
    updated_at timestamptz NOT NULL DEFAULT now(),
    updated_by text NOT NULL DEFAULT 'default',
    -- As measured by the last pass.
    rows       bigint,
    bytes      bigint,
    oldest     timestamptz,
    removed    bigint NOT NULL DEFAULT 0,
    measured_at timestamptz
);
INSERT INTO retention (class, max_age, max_bytes, max_rows) VALUES
    ('events', interval '90 days', NULL, 20000000),
    ('sessions', interval '365 days', NULL, 5000000),
    ('bounties', interval '365 days', NULL, 5000000),
    ('credentials', interval '365 days', NULL, 5000000),
    ('artifacts', interval '180 days', 10737418240, NULL),
    ('recordings', interval '180 days', 5368709120, NULL),
    ('logs', interval '7 days', 1073741824, NULL),
    ('imports', interval '90 days', NULL, 10000);

-- +goose Down
DROP TABLE retention, import_chunks, imports, ingest_outcomes, ingest_sequences, ingest_cursors, artifacts, credential_reuse,
    credentials, bounties, commands, sessions, events, attackers;
