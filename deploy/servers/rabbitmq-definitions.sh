#!/bin/sh
# Prints the broker's users and their rights, as definitions for RabbitMQ to load at its start.
set -eu

: "${BROKER_ADMIN_PASSWORD:?}" "${WEB_STORE_BROKER_PASSWORD:?}"
: "${TRANSFORMER_BROKER_PASSWORD:?}" "${MARKETING_BROKER_PASSWORD:?}"

case $BROKER_ADMIN_PASSWORD$WEB_STORE_BROKER_PASSWORD$TRANSFORMER_BROKER_PASSWORD$MARKETING_BROKER_PASSWORD in
*[\"\\[:cntrl:]]*)
    echo "rabbitmq-definitions.sh: choose broker passwords without quotes, backslashes and control characters" >&2
    exit 1
    ;;
esac

# To declare a thing takes "configure". To publish takes "write" on the exchange, to consume "read"
# on the queue, to bind "write" on the queue and "read" on the exchange.
#
# A service's own queues and dead-letter exchange carry its name in front, so a new message needs no
# new right. Nobody but the administrator reads a dead-letter queue.
cat <<JSON
{
  "vhosts": [{ "name": "/" }],
  "users": [
    { "name": "admin", "password": "$BROKER_ADMIN_PASSWORD", "tags": "administrator" },
    { "name": "web-store", "password": "$WEB_STORE_BROKER_PASSWORD", "tags": "" },
    { "name": "transformer", "password": "$TRANSFORMER_BROKER_PASSWORD", "tags": "" },
    { "name": "marketing", "password": "$MARKETING_BROKER_PASSWORD", "tags": "" }
  ],
  "permissions": [
    {
      "user": "admin", "vhost": "/",
      "configure": ".*", "write": ".*", "read": ".*"
    },
    {
      "user": "web-store", "vhost": "/",
      "configure": "^web-store\\\\.events\$",
      "write": "^web-store\\\\.events\$",
      "read": "^\$"
    },
    {
      "user": "transformer", "vhost": "/",
      "configure": "^(web-store\\\\.events|marketing\\\\.commands|transformer\\\\..+)\$",
      "write": "^(marketing\\\\.commands|transformer\\\\..+)\$",
      "read": "^(web-store\\\\.events|transformer\\\\.(?!.+\\\\.dead-letters\$).+)\$"
    },
    {
      "user": "marketing", "vhost": "/",
      "configure": "^marketing\\\\..+\$",
      "write": "^marketing\\\\.(?!commands\$).+\$",
      "read": "^marketing\\\\.(?!.+\\\\.dead-letters\$).+\$"
    }
  ]
}
JSON
