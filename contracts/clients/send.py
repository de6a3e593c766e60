"""Sends a command from standard input (JSON) to Marketing. AMQP_URL has the broker's address."""

import json, os, pathlib, sys, uuid
import jsonschema, pika

TYPE = "marketing.create-customer.v1"

schema = json.loads(pathlib.Path(f"schemas/{TYPE}.json").read_text())
Validator = jsonschema.Draft202012Validator
command = json.load(sys.stdin)
Validator(schema, format_checker=Validator.FORMAT_CHECKER).validate(command)

channel = pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"])).channel()
channel.confirm_delivery()  # makes publishing fail unless the broker takes the message
channel.basic_publish(
    exchange="marketing.commands",
    routing_key=TYPE,
    body=json.dumps(command).encode(),
    mandatory=True,
    properties=pika.BasicProperties(
        type=TYPE,
        message_id=str(uuid.uuid4()),  # reuse this id if you send the same message again
        content_type="application/json",
        delivery_mode=2,
    ),
)
