#!/bin/sh
# Starts a server of deploy/compose.replicas.yml. With POSTGRES_STANDBY=yes and without data, it first copies the server
# that accepts writes. Then it follows whichever server accepts writes, also after a promotion.
set -eu

if [ "${POSTGRES_STANDBY:-no}" = yes ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
    : "${REPLICATION_PASSWORD:?}"
    umask 077
    hosts=host=postgres,postgres-2,postgres-3
    until PGPASSWORD=$REPLICATION_PASSWORD pg_basebackup --write-recovery-conf --checkpoint=fast --pgdata="$PGDATA" \
        --dbname="$hosts user=replication target_session_attrs=read-write connect_timeout=5"; do
        echo "postgres-standby.sh: no server can be copied yet; trying again" >&2
        sleep 2
    done
fi
exec docker-entrypoint.sh "$@"
