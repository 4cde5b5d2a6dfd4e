-- +goose Up
-- A ticket opens one event stream in place of the credentials it was given for. It is stored as its SHA-256.
CREATE TABLE sse_tickets (
    hash          bytea PRIMARY KEY,
    user_id       uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    -- Of whom asked with an API token; then the columns of the access token are empty.
    api_token_id  uuid REFERENCES api_tokens ON DELETE CASCADE,
    jti               uuid,
    token_generation  integer,
    token_issued_at   timestamptz,
    token_expires_at  timestamptz,
    -- The role at that time; a ticket of another role than the bearer has now is dead.
    role          text NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    expires_at    timestamptz NOT NULL,
    CONSTRAINT sse_tickets_one_credential CHECK (
        (api_token_id IS NULL) = (jti IS NOT NULL)
        AND num_nulls(jti, token_generation, token_issued_at, token_expires_at) IN (0, 4))
);
CREATE INDEX sse_tickets_expiry ON sse_tickets (expires_at);
CREATE INDEX sse_tickets_user ON sse_tickets (user_id);
CREATE INDEX sse_tickets_api_token ON sse_tickets (api_token_id);

-- One row per open event stream of any API process. A process that dies lets its rows expire.
CREATE TABLE sse_leases (
    id         uuid PRIMARY KEY,
    user_id    uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    expires_at timestamptz NOT NULL
);
CREATE INDEX sse_leases_user ON sse_leases (user_id, expires_at);

-- +goose Down
DROP TABLE sse_leases, sse_tickets;
