-- name: LockIngestCursors :many
-- In order of the key, which every ingester keeps to. FOR UPDATE: the position is compared before it is set.
SELECT c.host_id, c.decky_id, c.service, c.file, c.position
FROM ingest_cursors c
JOIN (SELECT unnest(@host_ids::text[]) AS host_id, unnest(@decky_ids::uuid[]) AS decky_id,
             unnest(@services::text[]) AS service, unnest(@files::text[]) AS file) k
  ON k.host_id = c.host_id AND k.decky_id = c.decky_id AND k.service = c.service AND k.file = c.file
ORDER BY c.host_id, c.decky_id, c.service, c.file
FOR UPDATE OF c;

-- name: InsertIngestCursors :execrows
-- Fewer rows than asked for mean that another ingester met the file first.
INSERT INTO ingest_cursors (host_id, decky_id, service, file, position)
SELECT unnest(@host_ids::text[]), unnest(@decky_ids::uuid[]), unnest(@services::text[]), unnest(@files::text[]),
       unnest(@positions::bigint[])
ON CONFLICT DO NOTHING;

-- name: MoveIngestCursors :exec
-- The rows are locked.
UPDATE ingest_cursors c SET position = k.position, updated_at = now()
FROM (SELECT unnest(@host_ids::text[]) AS host_id, unnest(@decky_ids::uuid[]) AS decky_id,
             unnest(@services::text[]) AS service, unnest(@files::text[]) AS file, unnest(@positions::bigint[]) AS position) k
WHERE k.host_id = c.host_id AND k.decky_id = c.decky_id AND k.service = c.service AND k.file = c.file;

-- name: ListIngestCursors :many
SELECT decky_id, service, file, position FROM ingest_cursors WHERE host_id = @host_id;

-- name: DeleteIngestCursors :exec
DELETE FROM ingest_cursors c
USING (SELECT unnest(@decky_ids::uuid[]) AS decky_id, unnest(@services::text[]) AS service, unnest(@files::text[]) AS file) k
WHERE c.host_id = @host_id AND k.decky_id = c.decky_id AND k.service = c.service AND k.file = c.file;

-- name: LockRunningImport :one
-- Compares where the import is; no row means that it runs no more or that somebody else has gone on with it.
SELECT id FROM imports WHERE id = @id AND state = 'running' AND position = @position FOR UPDATE;

-- name: AdvanceImport :exec
UPDATE imports SET position = @position, bytes_read = @bytes_read, report = @report,
    stored = stored + @stored, duplicates = duplicates + @duplicates
WHERE id = @id;

-- name: LockIngestSlots :exec
-- Slots are sorted hashes of decky keys: who holds one alone reads and writes the sessions, commands and imported lines of its
-- deckies. Held to the end of the transaction.
SELECT pg_advisory_xact_lock(hashtext('decnet ingest'), slot) FROM unnest(@slots::integer[]) AS slot;

-- name: ListStoredImportKeys :many
SELECT import_key FROM events WHERE import_key = ANY(@keys::bytea[]) AND import_key IS NOT NULL;

-- name: InsertAttackers :many
-- In order of address; what is there already is left to LockAttackers.
INSERT INTO attackers (id, ip, first_seen, last_seen, event_count, services, interacted, scanned, victim_domains, deckies)
SELECT unnest(@ids::uuid[]), unnest(@ips::inet[]), unnest(@first_seen::timestamptz[]), unnest(@last_seen::timestamptz[]),
       unnest(@event_counts::bigint[]), unnest(@services::text[])::text[], unnest(@interacted::text[])::text[],
       unnest(@scanned::text[])::text[], unnest(@victim_domains::text[])::text[], unnest(@deckies::text[])::text[]
ON CONFLICT (ip) DO NOTHING
RETURNING id;

-- name: LockAttackers :many
SELECT id, ip, first_seen, last_seen, event_count, services, interacted, scanned, victim_domains, deckies
FROM attackers WHERE ip = ANY(@ips::inet[])
ORDER BY ip
FOR UPDATE;

-- name: UpdateAttackers :exec
-- The rows are locked.
UPDATE attackers a SET
    first_seen = u.first_seen, last_seen = u.last_seen, event_count = u.event_count, services = u.services::text[],
    interacted = u.interacted::text[], scanned = u.scanned::text[], victim_domains = u.victim_domains::text[],
    deckies = u.deckies::text[], session_count = a.session_count + u.sessions, command_count = a.command_count + u.commands,
    bounty_count = a.bounty_count + u.bounties, credential_count = a.credential_count + u.credentials, updated_at = now()
FROM (SELECT unnest(@ids::uuid[]) AS id, unnest(@first_seen::timestamptz[]) AS first_seen, unnest(@last_seen::timestamptz[]) AS last_seen,
             unnest(@event_counts::bigint[]) AS event_count, unnest(@services::text[]) AS services,
             unnest(@interacted::text[]) AS interacted, unnest(@scanned::text[]) AS scanned,
             unnest(@victim_domains::text[]) AS victim_domains, unnest(@deckies::text[]) AS deckies,
             unnest(@sessions::bigint[]) AS sessions, unnest(@commands::bigint[]) AS commands,
             unnest(@bounties::bigint[]) AS bounties, unnest(@credentials::bigint[]) AS credentials) u
WHERE a.id = u.id;

-- name: LockSessions :many
-- In order of the key; the slots of their deckies are held.
SELECT s.id, s.decky_key, s.session, s.decky_name, s.decky_id, s.topology_id, s.sensor, s.service, s.attacker_id, s.attacker_ip,
       s.started_at, s.last_seen, s.ended_at, s.commands, s.recorded, s.boot, s.line, s.opened
FROM sessions s
JOIN (SELECT unnest(@decky_keys::text[]) AS decky_key, unnest(@sessions::text[]) AS session) k
  ON k.decky_key = s.decky_key AND k.session = s.session
ORDER BY s.decky_key, s.session
FOR UPDATE OF s;

-- name: UpsertSessions :exec
-- Whose a session is and where never changes.
INSERT INTO sessions (id, decky_key, session, decky_name, decky_id, topology_id, sensor, service, attacker_id, attacker_ip,
    started_at, last_seen, ended_at, commands, recorded, boot, line, opened)
SELECT u.id, u.decky_key, u.session, u.decky_name, nullif(u.decky_id, '00000000-0000-0000-0000-000000000000'),
       nullif(u.topology_id, '00000000-0000-0000-0000-000000000000'), u.sensor, u.service, u.attacker_id, u.attacker_ip,
       u.started_at, u.last_seen, nullif(u.ended_at, '0001-01-01 00:00:00Z'), u.commands, u.recorded, u.boot, u.line, u.opened
FROM (SELECT unnest(@ids::uuid[]) AS id, unnest(@decky_keys::text[]) AS decky_key, unnest(@sessions::text[]) AS session,
             unnest(@decky_names::text[]) AS decky_name, unnest(@decky_ids::uuid[]) AS decky_id,
             unnest(@topology_ids::uuid[]) AS topology_id, unnest(@sensors::text[]) AS sensor, unnest(@services::text[]) AS service,
             unnest(@attacker_ids::uuid[]) AS attacker_id, unnest(@attacker_ips::inet[]) AS attacker_ip,
             unnest(@started_at::timestamptz[]) AS started_at, unnest(@last_seen::timestamptz[]) AS last_seen,
             unnest(@ended_at::timestamptz[]) AS ended_at, unnest(@commands::integer[]) AS commands,
             unnest(@recorded::boolean[]) AS recorded, unnest(@boots::text[]) AS boot, unnest(@lines::bigint[]) AS line,
             unnest(@opened::boolean[]) AS opened) u
ON CONFLICT (decky_key, session) DO UPDATE SET
    started_at = excluded.started_at, last_seen = excluded.last_seen, ended_at = excluded.ended_at, commands = excluded.commands,
    recorded = excluded.recorded, boot = excluded.boot, line = excluded.line, opened = excluded.opened;

-- name: InsertCommands :many
-- In order of the key. Returned are the attackers of what was new.
INSERT INTO commands (id, decky_key, ref, decky_name, service, session, attacker_id, attacker_ip, time, line, text, uid, username,
    directory, src, document)
SELECT unnest(@ids::uuid[]), unnest(@decky_keys::text[]), unnest(@refs::text[]), unnest(@decky_names::text[]),
       unnest(@services::text[]), unnest(@sessions::text[]), unnest(@attacker_ids::uuid[]), unnest(@attacker_ips::inet[]),
       unnest(@times::timestamptz[]), unnest(@lines::bigint[]), unnest(@texts::text[]), unnest(@uids::text[]),
       unnest(@usernames::text[]), unnest(@directories::text[]), unnest(@srcs::text[]), unnest(@documents::tsvector[])
ON CONFLICT (decky_key, ref) DO NOTHING
RETURNING attacker_ip;

-- name: InsertBounties :many
-- As InsertCommands.
INSERT INTO bounties (id, key, type, kind, decky_key, decky_name, service, attacker_id, attacker_ip, payload, time)
SELECT unnest(@ids::uuid[]), unnest(@keys::bytea[]), unnest(@types::text[]), unnest(@kinds::text[]), unnest(@decky_keys::text[]),
       unnest(@decky_names::text[]), unnest(@services::text[]), unnest(@attacker_ids::uuid[]), unnest(@attacker_ips::inet[]),
       unnest(@payloads::jsonb[]), unnest(@times::timestamptz[])
ON CONFLICT (key) DO NOTHING
RETURNING attacker_ip;

-- name: InsertArtifacts :exec
INSERT INTO artifacts (id, key, kind, decky_key, decky_name, service, folder, stored_as, sha256, size, orig_path, session,
    attacker_id, attacker_ip, time)
SELECT u.id, u.key, u.kind, u.decky_key, u.decky_name, u.service, u.folder, nullif(u.stored_as, ''), u.sha256,
       nullif(u.size, -1), u.orig_path, u.session, u.attacker_id, u.attacker_ip, u.time
FROM (SELECT unnest(@ids::uuid[]) AS id, unnest(@keys::bytea[]) AS key, unnest(@kinds::text[]) AS kind,
             unnest(@decky_keys::text[]) AS decky_key, unnest(@decky_names::text[]) AS decky_name, unnest(@services::text[]) AS service,
             unnest(@folders::text[]) AS folder, unnest(@stored_as::text[]) AS stored_as, unnest(@sha256s::text[]) AS sha256,
             unnest(@sizes::bigint[]) AS size, unnest(@orig_paths::text[]) AS orig_path, unnest(@sessions::text[]) AS session,
             unnest(@attacker_ids::uuid[]) AS attacker_id, unnest(@attacker_ips::inet[]) AS attacker_ip,
             unnest(@times::timestamptz[]) AS time) u
ON CONFLICT (key) DO NOTHING;

-- name: UpsertCredentials :many
-- In order of the key. xmax is 0 in a row that was not there before.
INSERT INTO credentials (id, key, decky_key, decky_name, service, attacker_id, attacker_ip, principal, secret_kind, secret_sha256,
    secret_printable, secret_b64, outcome, attempt_count, first_seen, last_seen)
SELECT unnest(@ids::uuid[]), unnest(@keys::bytea[]), unnest(@decky_keys::text[]), unnest(@decky_names::text[]),
       unnest(@services::text[]), unnest(@attacker_ids::uuid[]), unnest(@attacker_ips::inet[]), unnest(@principals::text[]),
       unnest(@secret_kinds::text[]), unnest(@secret_sha256s::text[]), unnest(@secret_printables::text[]), unnest(@secret_b64s::text[]),
       unnest(@outcomes::text[]), unnest(@attempts::bigint[]), unnest(@first_seen::timestamptz[]), unnest(@last_seen::timestamptz[])
ON CONFLICT (key) DO UPDATE SET
    attempt_count = credentials.attempt_count + excluded.attempt_count,
    first_seen = least(credentials.first_seen, excluded.first_seen), last_seen = greatest(credentials.last_seen, excluded.last_seen),
    outcome = CASE WHEN excluded.outcome <> '' THEN excluded.outcome ELSE credentials.outcome END
RETURNING key, (xmax = 0)::boolean AS inserted;

-- name: InsertReuse :many
-- In order of the key; what is there already is left to LockReuse.
INSERT INTO credential_reuse (id, secret_sha256, secret_kind, principal, secret_printable, secret_b64, attacker_ids, attacker_ips,
    deckies, services, targets, attempt_count, first_seen, last_seen)
SELECT unnest(@ids::uuid[]), unnest(@secret_sha256s::text[]), unnest(@secret_kinds::text[]), unnest(@principals::text[]),
       unnest(@secret_printables::text[]), unnest(@secret_b64s::text[]), unnest(@attacker_ids::text[])::uuid[],
       unnest(@attacker_ips::text[])::inet[], unnest(@deckies::text[])::text[], unnest(@services::text[])::text[],
       unnest(@targets::text[])::text[], unnest(@attempts::bigint[]), unnest(@first_seen::timestamptz[]), unnest(@last_seen::timestamptz[])
ON CONFLICT (secret_sha256, secret_kind, principal) DO NOTHING
RETURNING id;

-- name: LockReuse :many
-- In order of the key. The lists are read apart, and only of what may grow: they can be long.
SELECT r.id, r.secret_sha256, r.secret_kind, r.principal
FROM credential_reuse r
JOIN (SELECT unnest(@secret_sha256s::text[]) AS secret_sha256, unnest(@secret_kinds::text[]) AS secret_kind,
             unnest(@principals::text[]) AS principal) k
  ON k.secret_sha256 = r.secret_sha256 AND k.secret_kind = r.secret_kind AND k.principal = r.principal
ORDER BY r.secret_sha256, r.secret_kind, r.principal
FOR UPDATE OF r;

-- name: ListReuseLists :many
SELECT id, attacker_ids, attacker_ips, deckies, services, targets FROM credential_reuse WHERE id = ANY(@ids::uuid[]);

-- name: AddReuseAttempts :exec
-- The rows are locked. Lists that are not set are not written again.
UPDATE credential_reuse r SET
    attempt_count = r.attempt_count + u.attempts, first_seen = least(r.first_seen, u.first_seen),
    last_seen = greatest(r.last_seen, u.last_seen), updated_at = now()
FROM (SELECT unnest(@ids::uuid[]) AS id, unnest(@attempts::bigint[]) AS attempts, unnest(@first_seen::timestamptz[]) AS first_seen,
             unnest(@last_seen::timestamptz[]) AS last_seen) u
WHERE r.id = u.id;

-- name: SetReuseLists :exec
-- The rows are locked.
UPDATE credential_reuse r SET
    attacker_ids = u.attacker_ids::uuid[], attacker_ips = u.attacker_ips::inet[], deckies = u.deckies::text[],
    services = u.services::text[], targets = u.targets::text[]
FROM (SELECT unnest(@ids::uuid[]) AS id, unnest(@attacker_ids::text[]) AS attacker_ids, unnest(@attacker_ips::text[]) AS attacker_ips,
             unnest(@deckies::text[]) AS deckies, unnest(@services::text[]) AS services, unnest(@targets::text[]) AS targets) u
WHERE r.id = u.id;

-- name: UpsertIngestSequences :exec
-- In order of the key.
INSERT INTO ingest_sequences (decky_id, service, sequence)
SELECT unnest(@decky_ids::uuid[]), unnest(@services::text[]), unnest(@sequences::jsonb[])
ON CONFLICT (decky_id, service) DO UPDATE SET sequence = excluded.sequence;

-- name: ListIngestSequences :many
SELECT decky_id, service, sequence FROM ingest_sequences;

-- name: AddIngestOutcomes :exec
-- In order of the key.
INSERT INTO ingest_outcomes (decky_key, service, outcome, lines)
SELECT unnest(@decky_keys::text[]), unnest(@services::text[]), unnest(@outcomes::text[]), unnest(@lines::bigint[])
ON CONFLICT (decky_key, service, outcome) DO UPDATE SET lines = ingest_outcomes.lines + excluded.lines, updated_at = now();

-- name: LockDeckiesSeen :many
-- In order of name, as whole topologies are locked, and of those only of which there is later news.
SELECT d.id FROM deckies d
JOIN (SELECT unnest(@ids::uuid[]) AS id, unnest(@times::timestamptz[]) AS time) u ON u.id = d.id
WHERE d.last_activity_at IS NULL OR d.last_activity_at < u.time
ORDER BY d.name, d.id
FOR NO KEY UPDATE OF d;

-- name: SetDeckiesActive :exec
-- The rows are locked.
UPDATE deckies d SET last_activity_at = greatest(d.last_activity_at, u.time)
FROM (SELECT unnest(@ids::uuid[]) AS id, unnest(@times::timestamptz[]) AS time) u
WHERE u.id = d.id AND d.id = ANY(@locked::uuid[]);

-- name: InsertOutboxMany :exec
-- The caller holds the locks on the aggregates' rows: id order is commit order per key.
INSERT INTO outbox (event_id, key, topic, type, payload)
SELECT unnest(@event_ids::uuid[]), unnest(@keys::text[]), unnest(@topics::text[]), unnest(@types::text[]), unnest(@payloads::jsonb[]);

-- name: ListSelfChecks :many
SELECT d.key, c.service, c.local_ip, c.local_port, c.at
FROM self_checks c JOIN deckies d ON d.id = c.decky_id
WHERE c.at >= @since;

-- name: ListIngestDeckies :many
-- Deckies that are gone included: their last lines may still be read.
SELECT id, key, name, scope FROM deckies WHERE id = ANY(@ids::uuid[]);

-- name: PlanIngest :exec
-- Everything here is looked up by key. A plan made while a table was small would read it whole for as long as it is cached.
SELECT set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true);
