-- +goose Up
ALTER TABLE operations
    DROP CONSTRAINT operations_kind_check,
    ADD CONSTRAINT operations_kind_check CHECK (kind IN ('add_service', 'remove_service', 'save_config', 'apply_config',
        'set_expiry', 'create_decky', 'delete_decky', 'rollback', 'reconcile'));

-- Names one wish for an end: the workflow that waits for it is called after it.
ALTER TABLE revision_services
    ADD COLUMN expiry_id uuid,
    ADD CONSTRAINT revision_services_expiry CHECK ((expires_at IS NULL) = (expiry_id IS NULL));

-- Which revision was active at an instant.
CREATE INDEX decky_revisions_time ON decky_revisions (decky_id, activated_at) WHERE activated_at IS NOT NULL;

-- +goose Down
DROP INDEX decky_revisions_time;
ALTER TABLE revision_services DROP CONSTRAINT revision_services_expiry, DROP COLUMN expiry_id;
-- Revisions keep their operations: what the older schema cannot name becomes a repair.
UPDATE operations SET kind = 'reconcile' WHERE kind IN ('save_config', 'apply_config', 'set_expiry', 'rollback');
ALTER TABLE operations
    DROP CONSTRAINT operations_kind_check,
    ADD CONSTRAINT operations_kind_check CHECK (kind IN ('add_service', 'remove_service', 'create_decky', 'delete_decky', 'reconcile'));
