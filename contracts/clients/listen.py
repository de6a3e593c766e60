"""Prints the id of each customer who registers. AMQP_URL has the broker's address and your credentials."""

import json, os, pathlib
import jsonschema, pika

TYPE = "web-store.customer-registered.v1"
QUEUE = "loyalty.customer-registered"  # starts with the name of your application
DEAD_LETTERS = "loyalty.dead-letters"
QUORUM = {"x-queue-type": "quorum"}

schema = json.loads(pathlib.Path(f"schemas/{TYPE}.json").read_text())
Validator = jsonschema.Draft202012Validator
validator = Validator(schema, format_checker=Validator.FORMAT_CHECKER)


def received(channel, method, properties, body):
    try:
        event = json.loads(body)
        validator.validate(event)
    except (ValueError, jsonschema.ValidationError):
        return channel.basic_reject(method.delivery_tag, requeue=False)  # to the dead letters
    print(event["customer_id"], flush=True)  # your work: doing it twice must be harmless
    channel.basic_ack(method.delivery_tag)


channel = pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"])).channel()
channel.exchange_declare(DEAD_LETTERS, "fanout", durable=True)
channel.queue_declare(DEAD_LETTERS, durable=True, arguments=QUORUM)
channel.queue_bind(DEAD_LETTERS, DEAD_LETTERS)
channel.queue_declare(QUEUE, durable=True, arguments=QUORUM | {"x-dead-letter-exchange": DEAD_LETTERS})
channel.queue_bind(QUEUE, exchange="web-store.events", routing_key=TYPE)
channel.basic_qos(prefetch_count=100)
channel.basic_consume(QUEUE, received)
channel.start_consuming()
