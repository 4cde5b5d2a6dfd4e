-- name: InsertImport :one
-- Nothing is returned while too many imports are open; uploads that begin at the same instant may exceed that a little.
INSERT INTO imports (id, format, name, actor, position)
SELECT @id, @format, @name, @actor, @position
WHERE (SELECT count(*) FROM imports WHERE ended_at IS NULL) < @max_open::bigint
RETURNING *;

-- name: GetImport :one
SELECT * FROM imports WHERE id = @id;

-- name: ListImports :many
-- Newest first, behind a row; walks imports_created.
SELECT * FROM imports
WHERE (created_at, id) < (@before_time::timestamptz, @before_id::uuid)
ORDER BY created_at DESC, id DESC
LIMIT @max_rows;

-- name: ListOpenImports :many
-- Oldest first.
SELECT * FROM imports WHERE ended_at IS NULL ORDER BY created_at LIMIT @max_rows;

-- name: AppendImportChunk :execrows
-- No row when the import is no longer uploading.
WITH uploading AS (
    UPDATE imports SET bytes_total = bytes_total + length(@data::bytea), touched_at = now()
    WHERE imports.id = @id AND state = 'uploading'
    RETURNING imports.id
)
INSERT INTO import_chunks (import_id, number, data)
SELECT uploading.id, @number, @data::bytea FROM uploading;

-- name: FinishImportUpload :one
UPDATE imports SET state = 'running', started_at = now(), touched_at = now() WHERE id = @id AND state = 'uploading' RETURNING *;

-- name: ReadImportChunks :many
-- Nothing is returned unless the import is running: one that was cancelled is not read on.
SELECT c.data FROM import_chunks c JOIN imports i ON i.id = c.import_id
WHERE c.import_id = @id AND c.number >= @from_number AND i.state = 'running'
ORDER BY c.number
LIMIT @max_rows;

-- name: EndImport :execrows
-- What has ended stays as it is.
UPDATE imports SET state = @state, fault = @fault, ended_at = now() WHERE id = @id AND ended_at IS NULL;

-- name: EndAbandonedUploads :execrows
UPDATE imports SET state = 'failed', fault = @fault, ended_at = now()
WHERE ended_at IS NULL AND state = 'uploading' AND touched_at < now() - @silence::interval;

-- name: ListImportsWithRemains :many
SELECT i.id FROM imports i
WHERE i.ended_at IS NOT NULL AND EXISTS (SELECT 1 FROM import_chunks c WHERE c.import_id = i.id)
LIMIT @max_rows;

-- name: DeleteImportChunks :execrows
-- Only of what has ended.
DELETE FROM import_chunks c
WHERE c.import_id = @id AND c.number IN (SELECT n.number FROM import_chunks n WHERE n.import_id = @id ORDER BY n.number LIMIT @max_rows)
  AND EXISTS (SELECT 1 FROM imports i WHERE i.id = c.import_id AND i.ended_at IS NOT NULL);
