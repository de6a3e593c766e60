#!/bin/sh
# Creates Marketing's database, an owner for its schema, a user who may only insert and update customers, and a user for
# the console who may only read rows.
# Arguments are passed to the client, for example to name another server than the one at the default socket. With
# MYSQL_USERS_REQUIRE=X509, the users need a client certificate.
set -eu

: "${MARKETING_DATABASE_OWNER_PASSWORD:?}" "${MARKETING_DATABASE_PASSWORD:?}" "${CONSOLE_DATABASE_PASSWORD:?}"

case $MARKETING_DATABASE_OWNER_PASSWORD$MARKETING_DATABASE_PASSWORD$CONSOLE_DATABASE_PASSWORD in
*[\'\\]*)
    echo "mysql.sh: a password of Marketing's database contains a quote or a backslash; choose another one" >&2
    exit 1
    ;;
esac

require=${MYSQL_USERS_REQUIRE:-NONE}
client=$(command -v mysql || command -v mariadb)
export MYSQL_PWD="${MYSQL_ROOT_PASSWORD-}"
"$client" "$@" --user=root <<SQL
CREATE DATABASE marketing CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_520_ci;
CREATE USER 'marketing_owner'@'%' IDENTIFIED BY '$MARKETING_DATABASE_OWNER_PASSWORD' REQUIRE $require;
CREATE USER 'marketing'@'%' IDENTIFIED BY '$MARKETING_DATABASE_PASSWORD' REQUIRE $require;
CREATE USER 'console'@'%' IDENTIFIED BY '$CONSOLE_DATABASE_PASSWORD' REQUIRE $require;
GRANT ALL ON marketing.* TO 'marketing_owner'@'%';
GRANT SELECT ON marketing.* TO 'marketing'@'%';
-- Not on all tables: one of them lists the applied migrations. The owner's migrations create the table later, and a
-- server grants permissions on a missing table only together with CREATE.
GRANT CREATE, INSERT, UPDATE ON marketing.customers TO 'marketing'@'%';
REVOKE CREATE ON marketing.customers FROM 'marketing'@'%';
GRANT SELECT ON marketing.* TO 'console'@'%';
SQL
