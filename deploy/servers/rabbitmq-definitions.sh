#!/bin/sh
# Prints the users of the broker, their permissions, and the policy of their queues, as definitions that RabbitMQ loads
# when it starts.
set -eu

: "${BROKER_ADMIN_PASSWORD:?}" "${WEB_STORE_BROKER_PASSWORD:?}"
: "${TRANSFORMER_BROKER_PASSWORD:?}" "${MARKETING_BROKER_PASSWORD:?}" "${CONSOLE_BROKER_PASSWORD:?}"

case $BROKER_ADMIN_PASSWORD$WEB_STORE_BROKER_PASSWORD$TRANSFORMER_BROKER_PASSWORD$MARKETING_BROKER_PASSWORD$CONSOLE_BROKER_PASSWORD in
*[\"\\[:cntrl:]]*)
    echo "rabbitmq-definitions.sh: a broker password contains a quote, a backslash, or a control character; choose another one" >&2
    exit 1
    ;;
esac

# Declaring needs "configure". Publishing needs "write" on the exchange, consuming needs "read" on the queue,
# and binding needs "write" on the queue and "read" on the exchange.
#
# The names of a service's queues and of its own exchanges start with the service's name, so a new message needs no
# new permission. Only the administrator and the console may read a dead-letter queue.
#
# The transformer forwards events to Marketing, and requests for replays from Marketing to the Web Store. It declares
# the exchanges of both, so that the services can start in any order.
#
# Every consumer reports its messages in flight to the exchange `operations.status`. The console subscribes to the
# reports, and requests replays and erasures. It may not read the queues of the services.
#
# RabbitMQ 4.3.1 reveals the length of a queue only to users with a permission on it. "Write" on a queue is the least
# one: it allows binding the queue to an exchange that the user may read. The console needs the lengths for its evidence,
# and the Web Store so that a replay does not fill a queue.
#
# Erasures have an exchange of their own, `web-store.erasures`. Every subscriber may request a replay through
# `web-store.commands`, and only the console may erase a customer.
#
# The console moves dead letters through its own exchange `console.moves`, to which it binds the queues that they came
# from. So it needs no permission on the exchanges of the services. Its journal is the stream `console.journal`.
#
# The states of subscriptions are in the stream `operations.subscriptions`. Every service declares and reads it. Only the
# console may write it, through the exchange of the same name.
#
# A message that was delivered 20 times without a settlement becomes a dead letter. The consumer isolates a message that
# ends its session, so only this message reaches the limit. A release can change a policy, unlike the arguments of a
# queue. Dead letters are exempt: at the limit the broker would drop them. Only one policy applies to a queue, and one
# that an operator adds has a higher priority.
cat <<JSON
{
  "vhosts": [{ "name": "/" }],
  "users": [
    { "name": "admin", "password": "$BROKER_ADMIN_PASSWORD", "tags": "administrator" },
    { "name": "web-store", "password": "$WEB_STORE_BROKER_PASSWORD", "tags": "" },
    { "name": "transformer", "password": "$TRANSFORMER_BROKER_PASSWORD", "tags": "" },
    { "name": "marketing", "password": "$MARKETING_BROKER_PASSWORD", "tags": "" },
    { "name": "console", "password": "$CONSOLE_BROKER_PASSWORD", "tags": "" }
  ],
  "permissions": [
    {
      "user": "admin", "vhost": "/",
      "configure": ".*", "write": ".*", "read": ".*"
    },
    {
      "user": "web-store", "vhost": "/",
      "configure": "^(web-store\\\\..+|operations\\\\.(status|subscriptions))\$",
      "write": "^(web-store\\\\.(?!(commands|erasures)\$).+|operations\\\\.status|transformer\\\\.customer-(registered|details-changed|erased))\$",
      "read": "^(operations\\\\.subscriptions|web-store\\\\.(?!events\$|replays\$|.+\\\\.dead-letters\$).+)\$"
    },
    {
      "user": "transformer", "vhost": "/",
      "configure": "^(web-store\\\\.(events|replays|commands)|marketing\\\\.(commands|events)|operations\\\\.(status|subscriptions)|transformer\\\\..+)\$",
      "write": "^(marketing\\\\.commands|web-store\\\\.commands|operations\\\\.status|transformer\\\\..+)\$",
      "read": "^(operations\\\\.subscriptions|web-store\\\\.(events|replays)|marketing\\\\.events|transformer\\\\.(?!.+\\\\.dead-letters\$).+)\$"
    },
    {
      "user": "marketing", "vhost": "/",
      "configure": "^(marketing\\\\..+|operations\\\\.(status|subscriptions))\$",
      "write": "^(marketing\\\\.(?!commands\$).+|operations\\\\.status)\$",
      "read": "^(operations\\\\.subscriptions|marketing\\\\.(?!.+\\\\.dead-letters\$).+)\$"
    },
    {
      "user": "console", "vhost": "/",
      "configure": "^(console\\\\..+|operations\\\\.(status|subscriptions))\$",
      "write": "^(console\\\\..+|operations\\\\.subscriptions|web-store\\\\.(commands|erasures|replay-customers|erase-customer)|transformer\\\\.(customer-(registered|details-changed|erased)|customers-requested)|marketing\\\\.(create|update|forget)-customer|[a-z-]+\\\\.[a-z-]+\\\\.dead-letters)\$",
      "read": "^(console\\\\..+|operations\\\\.(status|subscriptions)|.+\\\\..+\\\\.dead-letters)\$"
    }
  ],
  "policies": [
    {
      "vhost": "/", "name": "delivery-limit", "priority": -1, "apply-to": "queues",
      "pattern": "^(web-store|transformer|marketing)\\\\.(?!.*\\\\.dead-letters\$).+\$",
      "definition": { "delivery-limit": 20 }
    }
  ]
}
JSON
