"""Asks Marketing to have a customer: JSON on standard input. AMQP_URL says where the broker is."""

import json, os, pathlib, sys, uuid
import jsonschema, pika

TYPE = "marketing.create-customer.v1"

schema = json.loads(pathlib.Path(f"schemas/{TYPE}.json").read_text())
Validator = jsonschema.Draft202012Validator
command = json.load(sys.stdin)
Validator(schema, format_checker=Validator.FORMAT_CHECKER).validate(command)

channel = pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"])).channel()
channel.confirm_delivery()  # from here on, publishing fails unless the broker has taken the message
channel.basic_publish(
    exchange="marketing.commands",
    routing_key=TYPE,
    body=json.dumps(command).encode(),
    mandatory=True,
    properties=pika.BasicProperties(
        type=TYPE,
        message_id=str(uuid.uuid4()),  # when you send the same again, send the same id
        content_type="application/json",
        delivery_mode=2,
    ),
)
