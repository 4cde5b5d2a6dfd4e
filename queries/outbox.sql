-- name: InsertOutbox :exec
-- The caller holds the lock on the aggregate's row: id order is commit order per key.
INSERT INTO outbox (event_id, key, topic, type, payload, operation_id)
VALUES (@event_id, @key, @topic, @type, @payload, @operation_id);

-- name: ListUnpublished :many
SELECT * FROM outbox WHERE published_at IS NULL ORDER BY id LIMIT @max_rows;

-- name: MarkPublished :exec
UPDATE outbox SET published_at = now() WHERE id = ANY(@ids::bigint[]);

-- name: MarkPublishFailed :exec
UPDATE outbox SET attempts = attempts + 1, last_error = @reason WHERE id = @id;

-- name: ReplayPublished :execrows
-- Puts back what was published shortly before the last publication: acknowledged messages may not have reached the disk.
UPDATE outbox SET published_at = NULL
WHERE published_at > (SELECT max(published_at) FROM outbox) - @kept::interval;

-- name: DeletePublished :execrows
DELETE FROM outbox WHERE published_at < (SELECT max(published_at) FROM outbox) - @kept::interval;

-- name: CountUnpublished :one
SELECT count(*) FROM outbox WHERE published_at IS NULL;

-- name: InsertDeadLetter :exec
INSERT INTO dead_letters (id, topic, event_id, reason, body) VALUES (@id, @topic, @event_id, @reason, @body);
