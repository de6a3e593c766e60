#!/bin/sh
# Prints the users of a broker, their permissions, and the policy of their queues, as definitions that RabbitMQ loads
# when it starts.
#
# BROKER_SITE names the applications of the broker: `both`, which is the default, or `web-store` or `marketing` if each
# one has a broker of its own. Then the broker has neither users nor permissions for the application of the other site.
set -eu

case ${BROKER_SITE:=both} in
both) has_web_store=yes has_marketing=yes ;;
web-store) has_web_store=yes has_marketing= ;;
marketing) has_web_store= has_marketing=yes ;;
*)
    echo "rabbitmq-definitions.sh: the value $BROKER_SITE of BROKER_SITE is unknown; use both, web-store, or marketing" >&2
    exit 1
    ;;
esac

: "${BROKER_ADMIN_PASSWORD:?}" "${TRANSFORMER_BROKER_PASSWORD:?}" "${CONSOLE_BROKER_PASSWORD:?}"
[ -z "$has_web_store" ] || : "${WEB_STORE_BROKER_PASSWORD:?}"
[ -z "$has_marketing" ] || : "${MARKETING_BROKER_PASSWORD:?}"

case $BROKER_ADMIN_PASSWORD${WEB_STORE_BROKER_PASSWORD-}$TRANSFORMER_BROKER_PASSWORD${MARKETING_BROKER_PASSWORD-}$CONSOLE_BROKER_PASSWORD in
*[\"\\[:cntrl:]]*)
    echo "rabbitmq-definitions.sh: a broker password contains a quote, a backslash, or a control character; choose another one" >&2
    exit 1
    ;;
esac

# Prints a further user of a list: its name and its password.
user() {
    printf '    , { "name": "%s", "password": "%s", "tags": "" }\n' "$1" "$2"
}

# Prints further permissions of a list: the user, and the alternatives of the names to configure, write, and read.
permission() {
    printf '    , {\n      "user": "%s", "vhost": "/",\n' "$1"
    printf '      "configure": "^(%s)$",\n      "write": "^(%s)$",\n      "read": "^(%s)$"\n    }\n' "$2" "$3" "$4"
}

# Prints the alternatives for the applications of this broker: the first for the Web Store, the second for Marketing.
names() {
    printf '%s' "${has_web_store:+$1}${has_web_store:+${has_marketing:+|}}${has_marketing:+$2}"
}

# Declaring needs "configure". Publishing needs "write" on the exchange, consuming needs "read" on the queue,
# and binding needs "write" on the queue and "read" on the exchange.
#
# The names of a service's queues and of its own exchanges start with the service's name, so a new message needs no
# new permission. Only the administrator and the console may read a dead-letter queue.
#
# The transformer forwards events to Marketing, and requests for replays from Marketing to the Web Store. It declares
# the exchanges of both, so that the services can start in any order. At each of two sites, it has the half of these
# permissions that concerns the application of the site.
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
    { "name": "admin", "password": "$BROKER_ADMIN_PASSWORD", "tags": "administrator" }
JSON
[ -z "$has_web_store" ] || user web-store "$WEB_STORE_BROKER_PASSWORD"
user transformer "$TRANSFORMER_BROKER_PASSWORD"
[ -z "$has_marketing" ] || user marketing "$MARKETING_BROKER_PASSWORD"
user console "$CONSOLE_BROKER_PASSWORD"
cat <<JSON
  ],
  "permissions": [
    { "user": "admin", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*" }
JSON
[ -z "$has_web_store" ] || permission web-store \
    'web-store\\..+|operations\\.(status|subscriptions)' \
    'web-store\\.(?!(commands|erasures)$).+|operations\\.status|transformer\\.customer-(registered|details-changed|erased)' \
    'operations\\.subscriptions|web-store\\.(?!events$|replays$|.+\\.dead-letters$).+'
permission transformer \
    "$(names 'web-store\\.(events|replays|commands)' 'marketing\\.(commands|events)')|operations\\\\.(status|subscriptions)|transformer\\\\..+" \
    "$(names 'web-store\\.commands' 'marketing\\.commands')|operations\\\\.status|transformer\\\\..+" \
    "operations\\\\.subscriptions|$(names 'web-store\\.(events|replays)' 'marketing\\.events')|transformer\\\\.(?!.+\\\\.dead-letters\$).+"
[ -z "$has_marketing" ] || permission marketing \
    'marketing\\..+|operations\\.(status|subscriptions)' \
    'marketing\\.(?!commands$).+|operations\\.status' \
    'operations\\.subscriptions|marketing\\.(?!.+\\.dead-letters$).+'
of_web_store='web-store\\.(commands|erasures|replay-customers|erase-customer)|transformer\\.customer-(registered|details-changed|erased)'
of_marketing='transformer\\.customers-requested|marketing\\.(create|update|forget)-customer'
permission console \
    'console\\..+|operations\\.(status|subscriptions)' \
    "console\\\\..+|operations\\\\.subscriptions|$(names "$of_web_store" "$of_marketing")|[a-z-]+\\\\.[a-z-]+\\\\.dead-letters" \
    'console\\..+|operations\\.(status|subscriptions)|.+\\..+\\.dead-letters'
cat <<JSON
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
