#!/bin/sh
# Sets up Marketing's database: an owner for its schema, and a user who may only add and change rows.
set -eu

: "${MARKETING_DATABASE_OWNER_PASSWORD:?}" "${MARKETING_DATABASE_PASSWORD:?}"

case $MARKETING_DATABASE_OWNER_PASSWORD$MARKETING_DATABASE_PASSWORD in
*[\'\\]*)
    echo "mysql.sh: choose passwords for Marketing's database without quotes and backslashes" >&2
    exit 1
    ;;
esac

# A function, so that the official image may also read this file into its own shell.
marketing_client() {
    if command -v mysql >/dev/null; then mysql "$@"; else mariadb "$@"; fi
}

MYSQL_PWD=${MYSQL_ROOT_PASSWORD-} marketing_client --no-defaults --user=root <<SQL
CREATE DATABASE marketing CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_520_ci;
CREATE USER 'marketing_owner'@'%' IDENTIFIED BY '$MARKETING_DATABASE_OWNER_PASSWORD';
CREATE USER 'marketing'@'%' IDENTIFIED BY '$MARKETING_DATABASE_PASSWORD';
GRANT ALL ON marketing.* TO 'marketing_owner'@'%';
GRANT SELECT, INSERT, UPDATE ON marketing.* TO 'marketing'@'%';
SQL
