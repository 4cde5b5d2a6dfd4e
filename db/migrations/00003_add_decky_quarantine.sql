-- +goose Up
ALTER TABLE deckies
    -- Repairs that failed one after the other; any success sets it back.
    ADD COLUMN repair_failures integer NOT NULL DEFAULT 0 CHECK (repair_failures >= 0),
    -- Before this instant the observer does not ask for another repair.
    ADD COLUMN repair_after timestamptz NOT NULL DEFAULT 'epoch';

-- +goose Down
ALTER TABLE deckies DROP COLUMN repair_failures, DROP COLUMN repair_after;
