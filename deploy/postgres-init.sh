#!/usr/bin/env bash
# Runs once, when the database directory is made: gives Temporal a role of its own, which makes its own databases.
set -euo pipefail
psql --no-psqlrc --quiet --username "$POSTGRES_USER" --dbname postgres \
  --set ON_ERROR_STOP=1 --set password="$TEMPORAL_DB_PASSWORD" <<'SQL'
CREATE ROLE temporal LOGIN CREATEDB PASSWORD :'password';
SQL
