"""Prints the id of each customer, earlier and new ones. AMQP_URL has the broker's address and your credentials."""

import json, os, pathlib, uuid
import jsonschema, pika

EVENT = "web-store.customer-registered.v1"
REPLAY = "web-store.replay-customers.v1"
PROGRESS = "web-store.replay-progressed.v1"
QUEUE = "loyalty.all-customers"  # starts with the name of your application
REPORTS = "loyalty.replay-progress"
DEAD_LETTERS = "loyalty.dead-letters"
QUORUM = {"x-queue-type": "quorum", "x-dead-letter-exchange": DEAD_LETTERS}


def validator(message_type):
    schema = json.loads(pathlib.Path(f"schemas/{message_type}.json").read_text())
    validator = jsonschema.Draft202012Validator
    return validator(schema, format_checker=validator.FORMAT_CHECKER)


def handler(message_type, handle):
    valid = validator(message_type)

    def received(channel, method, properties, body):
        try:
            message = json.loads(body)
            valid.validate(message)
        except (ValueError, jsonschema.ValidationError):
            return channel.basic_reject(method.delivery_tag, requeue=False)  # to the dead letters
        handle(message)
        channel.basic_ack(method.delivery_tag)

    return received


channel = pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"])).channel()
channel.exchange_declare(DEAD_LETTERS, "fanout", durable=True)
channel.queue_declare(DEAD_LETTERS, durable=True, arguments={"x-queue-type": "quorum"})
channel.queue_bind(DEAD_LETTERS, DEAD_LETTERS)
channel.queue_declare(QUEUE, durable=True, arguments=QUORUM)
channel.queue_declare(REPORTS, durable=True, arguments=QUORUM)

# First the new events, then the earlier ones. In this order, none is missed between them.
channel.queue_bind(QUEUE, exchange="web-store.events", routing_key=EVENT)
channel.queue_bind(QUEUE, exchange="web-store.replays", routing_key=QUEUE)
channel.queue_bind(REPORTS, exchange="web-store.replays", routing_key=REPORTS)

command = {"queue": QUEUE, "event_types": [EVENT]}
validator(REPLAY).validate(command)
channel.confirm_delivery()  # makes publishing fail unless the broker takes the message
channel.basic_publish(
    exchange="web-store.commands",
    routing_key=REPLAY,
    body=json.dumps(command).encode(),
    mandatory=True,
    properties=pika.BasicProperties(
        type=REPLAY,
        message_id=str(uuid.uuid4()),  # the id of the replay; reuse it if you send the same message again
        content_type="application/json",
        delivery_mode=2,
        reply_to=REPORTS,
    ),
)
channel.basic_qos(prefetch_count=100)
# Your work: doing it twice must be harmless.
channel.basic_consume(QUEUE, handler(EVENT, lambda event: print(event["customer_id"], flush=True)))
channel.basic_consume(REPORTS, handler(PROGRESS, lambda report: print(report["state"], flush=True)))
channel.start_consuming()
