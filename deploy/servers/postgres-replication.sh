#!/bin/sh
# Allows standbys to copy and follow this server, after postgres.sh. From the next start on, a commit waits until one
# standby has stored it.
set -eu

: "${REPLICATION_PASSWORD:?}"

# \getenv keeps the password out of the process list.
psql -X --quiet -v ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres <<'SQL'
\getenv password REPLICATION_PASSWORD
CREATE ROLE replication LOGIN REPLICATION PASSWORD :'password';
ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (*)';
-- A standby that was away for longer must be copied again.
ALTER SYSTEM SET wal_keep_size = '1GB';
SQL
echo "host replication replication all scram-sha-256" >> "$PGDATA/pg_hba.conf"
