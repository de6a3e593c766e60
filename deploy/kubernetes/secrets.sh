#!/bin/sh
# Prints the Secrets of the system, from the passwords of .env.example and the hosts of both databases:
#
#     set -a; . ./.env; POSTGRES_HOST=... MYSQL_HOST=... set +a
#     deploy/kubernetes/secrets.sh | kubectl apply -f -
#
# Each service gets only its own addresses and passwords. Those of the owners of the schemas are for the migrations.
set -eu

: "${POSTGRES_HOST:?}" "${MYSQL_HOST:?}" "${MARKETING_OPERATOR_PASSWORD_HASH:?}" "${CONSOLE_OPERATOR_PASSWORD_HASH:?}"

for name in WEB_STORE_DATABASE_OWNER WEB_STORE_DATABASE MARKETING_DATABASE_OWNER MARKETING_DATABASE CONSOLE_DATABASE \
    BROKER_ADMIN WEB_STORE_BROKER TRANSFORMER_BROKER MARKETING_BROKER CONSOLE_BROKER; do
    eval "password=\${${name}_PASSWORD:?}"
    case $password in
    development-only | *[!A-Za-z0-9._~-]*)
        echo "secrets.sh: ${name}_PASSWORD is the one of the repository, or contains a character that a URL cannot" >&2
        exit 1
        ;;
    esac
done

postgres() { echo "postgres://$1:$2@$POSTGRES_HOST:5432/web_store?sslmode=${POSTGRES_SSLMODE:-verify-full}"; }
mysql() { echo "mysql://$1:$2@$MYSQL_HOST:3306/marketing?ssl-mode=${MYSQL_SSL_MODE:-VERIFY_IDENTITY}"; }
broker() { echo "amqp://$1:$2@broker:5672/%2f"; }

# A name, then pairs of keys and values. No value contains a single quote.
secret() {
    printf -- '---\napiVersion: v1\nkind: Secret\nmetadata: {name: %s, namespace: customers}\nstringData:\n' "$1"
    shift
    while [ $# -gt 0 ]; do
        printf "  %s: '%s'\n" "$1" "$2"
        shift 2
    done
}

secret web-store \
    WEB_STORE_DATABASE_URL "$(postgres web_store "$WEB_STORE_DATABASE_PASSWORD")" \
    WEB_STORE_BROKER_URL "$(broker web-store "$WEB_STORE_BROKER_PASSWORD")"
secret web-store-owner \
    WEB_STORE_OWNER_DATABASE_URL "$(postgres web_store_owner "$WEB_STORE_DATABASE_OWNER_PASSWORD")"
secret transformer \
    TRANSFORMER_SOURCE_BROKER_URL "$(broker transformer "$TRANSFORMER_BROKER_PASSWORD")"
secret marketing \
    MARKETING_DATABASE_URL "$(mysql marketing "$MARKETING_DATABASE_PASSWORD")" \
    MARKETING_BROKER_URL "$(broker marketing "$MARKETING_BROKER_PASSWORD")" \
    MARKETING_OPERATOR_PASSWORD_HASH "$MARKETING_OPERATOR_PASSWORD_HASH"
secret marketing-owner \
    MARKETING_OWNER_DATABASE_URL "$(mysql marketing_owner "$MARKETING_DATABASE_OWNER_PASSWORD")"
secret console \
    WEB_STORE_DATABASE_URL "$(postgres console "$CONSOLE_DATABASE_PASSWORD")" \
    MARKETING_DATABASE_URL "$(mysql console "$CONSOLE_DATABASE_PASSWORD")" \
    BROKER_URL "$(broker console "$CONSOLE_BROKER_PASSWORD")" \
    CONSOLE_OPERATOR_PASSWORD_HASH "$CONSOLE_OPERATOR_PASSWORD_HASH"

# The format that the Cluster Operator reads.
secret broker-admin \
    username admin password "$BROKER_ADMIN_PASSWORD" host broker port 5672 provider rabbitmq type rabbitmq
printf '  default_user.conf: |\n    default_user = admin\n    default_pass = %s\n' "$BROKER_ADMIN_PASSWORD"

secret broker-definitions
printf '  definitions.json: |\n'
"$(dirname "$0")/../servers/rabbitmq-definitions.sh" | sed 's/^/    /'
