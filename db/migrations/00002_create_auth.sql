-- +goose Up
CREATE TABLE users (
    id            uuid PRIMARY KEY,
    username      text NOT NULL CHECK (length(username) BETWEEN 1 AND 63),
    password_hash text NOT NULL,
    role          text NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    must_change_password boolean NOT NULL DEFAULT false,
    -- Access tokens issued in an earlier second are dead (password or role change).
    tokens_valid_from timestamptz NOT NULL DEFAULT now(),
    -- Rises with tokens_valid_from and is part of every access token: it tells tokens of the same second apart.
    token_generation  integer NOT NULL DEFAULT 1,
    created_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT users_username UNIQUE (username)
);

CREATE TABLE revoked_tokens (
    jti        uuid PRIMARY KEY,
    expires_at timestamptz NOT NULL
);
CREATE INDEX revoked_tokens_expiry ON revoked_tokens (expires_at);

CREATE TABLE api_tokens (
    id           uuid PRIMARY KEY,
    name         text NOT NULL CHECK (length(name) BETWEEN 1 AND 63),
    role         text NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    -- SHA-256 of the token; the token itself is shown once and never stored.
    token_hash   bytea NOT NULL,
    created_by   uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz,
    last_used_at timestamptz,
    CONSTRAINT api_tokens_name UNIQUE (name),
    CONSTRAINT api_tokens_hash UNIQUE (token_hash)
);
CREATE INDEX api_tokens_created_by ON api_tokens (created_by);

-- One row per limited key, shared by all API processes: the times of what was let through within the window.
CREATE TABLE rate_limits (
    key        text PRIMARY KEY,
    hits       timestamptz[] NOT NULL DEFAULT '{}',
    -- From then on the row says nothing any more.
    expires_at timestamptz NOT NULL
);
CREATE INDEX rate_limits_expiry ON rate_limits (expires_at);

-- The body a client got for a succeeded operation, where it cannot be made again from the operation itself: repetitions
-- with the same idempotency key get the same bytes.
CREATE TABLE operation_answers (
    operation_id uuid PRIMARY KEY REFERENCES operations ON DELETE CASCADE,
    body         bytea NOT NULL
);

-- +goose Down
DROP TABLE operation_answers, rate_limits, api_tokens, revoked_tokens, users;
