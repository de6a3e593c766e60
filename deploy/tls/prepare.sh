#!/bin/sh
# Prepares deploy/compose.tls.yml: creates a CA, a certificate for each server and each service, and the files with the
# URLs of the services, all below deploy/tls/private/. The passwords are those of .env.
#
# Run it again to renew the certificates, or after a change of a password. It keeps the CA.
set -eu
cd "$(dirname "$0")"

# shellcheck disable=SC1091
if [ -e ../../.env ]; then . ../../.env; fi

# Only the owner can enter this directory. The containers, whose users differ, see the directories below.
mkdir -p private
chmod 700 private

# issue DIRECTORY NAME [HOST...]: issues a certificate, and copies it to a directory for one container.
issue() {
    target=private/$1
    name=$2
    shift 2
    ./issue.sh private/ca "$name" "$@"
    mkdir -p "$target"
    put "$target/ca.pem" <private/ca/ca.pem
    put "$target/$name.pem" <"private/ca/$name.pem"
    put "$target/$name.key" <"private/ca/$name.key"
    chmod 755 "$target"
}

# put FILE: replaces a file as a whole by standard input, so that no reader sees a part of it.
put() {
    cat >"$1.new"
    chmod 644 "$1.new"
    mv "$1.new" "$1"
}

for server in postgres mysql rabbitmq; do
    # The second name is for commands inside the container.
    issue "$server" "$server" "$server" localhost
done
for service in web-store transformer marketing console; do
    issue "$service" "$service"
done

# The URL of a server for a service: postgres SERVICE USER PASSWORD, and so on.
files=/run/access
postgres() {
    echo "postgres://$2:$3@postgres:5432/web_store?sslmode=verify-full&sslrootcert=$files/ca.pem&sslcert=$files/$1.pem&sslkey=$files/$1.key"
}
mysql() {
    echo "mysql://$2:$3@mysql:3306/marketing?ssl-mode=VERIFY_IDENTITY&ssl-ca=$files/ca.pem&ssl-cert=$files/$1.pem&ssl-key=$files/$1.key"
}
broker() {
    echo "amqps://$1:$2@rabbitmq:5671/%2f?cacertfile=$files/ca.pem&certfile=$files/$1.pem&keyfile=$files/$1.key"
}

default=development-only
postgres web-store web_store "${WEB_STORE_DATABASE_PASSWORD:-$default}" | put private/web-store/database-url
postgres web-store web_store_owner "${WEB_STORE_DATABASE_OWNER_PASSWORD:-$default}" |
    put private/web-store/owner-database-url
broker web-store "${WEB_STORE_BROKER_PASSWORD:-$default}" | put private/web-store/broker-url
broker transformer "${TRANSFORMER_BROKER_PASSWORD:-$default}" | put private/transformer/broker-url
mysql marketing marketing "${MARKETING_DATABASE_PASSWORD:-$default}" | put private/marketing/database-url
mysql marketing marketing_owner "${MARKETING_DATABASE_OWNER_PASSWORD:-$default}" |
    put private/marketing/owner-database-url
broker marketing "${MARKETING_BROKER_PASSWORD:-$default}" | put private/marketing/broker-url
postgres console console "${CONSOLE_DATABASE_PASSWORD:-$default}" | put private/console/web-store-database-url
mysql console console "${CONSOLE_DATABASE_PASSWORD:-$default}" | put private/console/marketing-database-url
broker console "${CONSOLE_BROKER_PASSWORD:-$default}" | put private/console/broker-url
