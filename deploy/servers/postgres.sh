#!/bin/sh
# Creates the Web Store's database, an owner for its schema, a user who may only read and write rows, and a user for the
# console who may only read them.
set -eu

: "${WEB_STORE_DATABASE_OWNER_PASSWORD:?}" "${WEB_STORE_DATABASE_PASSWORD:?}" "${CONSOLE_DATABASE_PASSWORD:?}"

# \getenv keeps the passwords out of the process list.
psql -X --quiet -v ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres <<'SQL'
\getenv owner_password WEB_STORE_DATABASE_OWNER_PASSWORD
\getenv password WEB_STORE_DATABASE_PASSWORD
\getenv console_password CONSOLE_DATABASE_PASSWORD
CREATE ROLE web_store_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE web_store LOGIN PASSWORD :'password';
CREATE ROLE console LOGIN PASSWORD :'console_password';
CREATE DATABASE web_store OWNER web_store_owner ENCODING 'UTF8' TEMPLATE template0;
-- Every user may connect to a database and create temporary tables there, unless it is revoked.
REVOKE ALL ON DATABASE web_store, postgres, template1 FROM PUBLIC;
GRANT CONNECT ON DATABASE web_store TO web_store, console;
\connect web_store
ALTER SCHEMA public OWNER TO web_store_owner;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO web_store, console;
-- The owner's migrations create the tables later.
ALTER DEFAULT PRIVILEGES FOR ROLE web_store_owner IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO web_store;
ALTER DEFAULT PRIVILEGES FOR ROLE web_store_owner IN SCHEMA public
    GRANT SELECT ON TABLES TO console;
ALTER DEFAULT PRIVILEGES FOR ROLE web_store_owner IN SCHEMA public
    GRANT USAGE ON SEQUENCES TO web_store;
SQL
