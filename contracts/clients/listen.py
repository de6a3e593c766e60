"""Prints the id of everybody who registers. AMQP_URL says where the broker is, and who you are there."""

import json, os, pathlib
import jsonschema, pika

TYPE = "web-store.customer-registered.v1"
QUEUE = "loyalty.customer-registered"  # your application's name in front

schema = json.loads(pathlib.Path(f"schemas/{TYPE}.json").read_text())
Validator = jsonschema.Draft202012Validator
validator = Validator(schema, format_checker=Validator.FORMAT_CHECKER)


def received(channel, method, properties, body):
    event = json.loads(body)
    validator.validate(event)  # ends the program; yours sets the message aside
    print(event["customer_id"], flush=True)  # your work; doing it twice must do no harm
    channel.basic_ack(method.delivery_tag)


channel = pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"])).channel()
channel.queue_declare(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
channel.queue_bind(QUEUE, exchange="web-store.events", routing_key=TYPE)
channel.basic_qos(prefetch_count=100)
channel.basic_consume(QUEUE, received)
channel.start_consuming()
