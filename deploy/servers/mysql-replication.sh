#!/bin/sh
# Sets up a server of deploy/compose.replicas.yml. With MYSQL_SOURCE, the server is a read-only replica of that host, which
# applies all its changes from the first one on. Without, it is the primary, with Marketing's database and a user for
# replicas.
set -eu

: "${REPLICATION_PASSWORD:?}"

case $REPLICATION_PASSWORD in
*[\'\\]*)
    echo "mysql-replication.sh: the password of the replication contains a quote or a backslash; choose another one" >&2
    exit 1
    ;;
esac

export MYSQL_PWD="${MYSQL_ROOT_PASSWORD-}"
# A replica skips changes that have its own id. So a server that is set up again must not have its former id.
mysql --user=root --execute="SET PERSIST server_id = $(($(od -An -N3 -tu4 /dev/urandom) + 2))"
if [ -n "${MYSQL_SOURCE-}" ]; then
    mysql --user=root <<SQL
RESET BINARY LOGS AND GTIDS;
CHANGE REPLICATION SOURCE TO SOURCE_HOST = '$MYSQL_SOURCE', SOURCE_USER = 'replication',
    SOURCE_PASSWORD = '$REPLICATION_PASSWORD', SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1,
    SOURCE_CONNECT_RETRY = 1, SOURCE_RETRY_COUNT = 0;
-- The next start of the server also starts the replication.
SET PERSIST super_read_only = ON;
SQL
else
    sh /mysql.sh
    mysql --user=root <<SQL
CREATE USER 'replication'@'%' IDENTIFIED BY '$REPLICATION_PASSWORD';
GRANT REPLICATION SLAVE ON *.* TO 'replication'@'%';
SQL
fi
