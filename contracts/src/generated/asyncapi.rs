//! The AsyncAPI 3 document, with AMQP bindings.
//!
//! It describes all applications together. The tag of an operation names the application that performs it.

use serde_json::{Map, Value, json};

use super::{
    Contract,
    contract::{description, schema},
};
use crate::{
    EraseCustomer, Kind, Message, Routing, envelope,
    topology::{self, Replay},
};

/// The version of the AMQP bindings. <https://github.com/asyncapi/bindings/tree/master/amqp>
const BINDING: &str = "0.3.0";

pub(super) fn asyncapi(contracts: &[Contract]) -> Value {
    let mut channels = Map::new();
    let mut operations = Map::new();
    let mut messages = Map::new();
    for contract in contracts {
        channels.insert(contract.message_type.to_owned(), exchange_channel(contract));
        messages.insert(contract.name.clone(), message(contract));
        let send = operation("send", sender(contract), contract.message_type, contract);
        operations.insert(format!("{}.send.{}", sender(contract), contract.name), send);
        let queues = topology::QUEUES.iter().chain(topology::REQUEST_QUEUES).chain(topology::ERASURE_QUEUES);
        for queue in queues.filter(|queue| queue.routing_key == contract.message_type) {
            channels.insert(queue.name.to_owned(), queue_channel(queue, contract));
            let receive = operation("receive", queue.consumer(), queue.name, contract);
            operations.insert(format!("{}.receive.{}", queue.consumer(), contract.name), receive);
            if let Replay::FromExchange(exchange) = queue.replay {
                let channel = channels.entry(exchange).or_insert_with(|| replay_channel(exchange));
                channel["messages"][&contract.name] = message_reference(contract);
                let replay = operation("send", contract.owner, exchange, contract);
                operations.insert(format!("{}.replay.{}", contract.owner, contract.name), replay);
            }
        }
    }
    let properties = schema::<envelope::Properties>();
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Customers by message",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The messages that the Web Store, the transformer, and Marketing exchange, and their meaning. Start with README.md next to this document.",
        },
        "defaultContentType": "application/json",
        "servers": { "broker": {
            "host": "127.0.0.1:5672",
            "protocol": "amqp",
            "protocolVersion": "0-9-1",
            "description": "RabbitMQ. The URL from its administrator holds the host, the port, the virtual host, the user, and the password.",
            "security": [{ "$ref": "#/components/securitySchemes/broker-user" }],
        }},
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": messages,
            "schemas": {
                "Properties": without_dialect(properties.clone()),
                "Headers": properties["properties"]["headers"],
            },
            "securitySchemes": { "broker-user": { "type": "userPassword" } },
        },
    })
}

/// Returns the sending application. An event's owner sends it. The transformer sends the commands, and the console
/// requests erasures, although any application with the permission may.
fn sender(contract: &Contract) -> &'static str {
    match contract.kind {
        Kind::Event => contract.owner,
        Kind::Command if contract.message_type == EraseCustomer::TYPE => "console",
        Kind::Command => "transformer",
    }
}

/// Returns the channel of an exchange: the place to publish a message, or to bind a queue of one's own.
fn exchange_channel(contract: &Contract) -> Value {
    let mut channel = json!({
        "address": match contract.routing {
            Routing::Type => contract.message_type,
            Routing::ReplyTo => "{reply_to}",
        },
        "title": format!("{} on {}", contract.name, contract.exchange),
        "description": match (contract.routing, contract.kind) {
            (Routing::ReplyTo, _) => "To receive these reports, bind your own queue to the exchange with the `reply_to` of your command as the routing key.",
            (_, Kind::Event) => "To receive these events, bind your own queue to the exchange with this routing key.",
            (_, Kind::Command) => "To send this command, publish it to the exchange with this routing key.",
        },
        "messages": { &contract.name: message_reference(contract) },
        "bindings": exchange_bindings(contract.exchange, contract.routing.exchange_type()),
    });
    if contract.routing == Routing::ReplyTo {
        channel["parameters"] = json!({ "reply_to": { "description": "The AMQP property of the command." } });
    }
    channel
}

/// Returns the channel of an exchange on which the owner of events sends them again.
fn replay_channel(exchange: &str) -> Value {
    json!({
        "address": "{queue}",
        "title": format!("Replayed events on {exchange}"),
        "description": "To receive replayed events, bind your own queue to the exchange with its name as the routing key.",
        "parameters": { "queue": { "description": "The name of the receiving queue." } },
        "messages": {},
        "bindings": exchange_bindings(exchange, Routing::ReplyTo.exchange_type()),
    })
}

fn exchange_bindings(exchange: &str, exchange_type: &str) -> Value {
    json!({ "amqp": {
        "is": "routingKey",
        "exchange": {
            "name": exchange, "type": exchange_type, "durable": true, "autoDelete": false, "vhost": "/",
        },
        "bindingVersion": BINDING,
    }})
}

fn queue_channel(queue: &topology::Queue, contract: &Contract) -> Value {
    json!({
        "address": queue.name,
        "title": format!("{}'s queue for {}", queue.consumer(), contract.name),
        "description": format!(
            "A quorum queue, bound to `{}` with the routing key `{}`. Only {} consumes from it. Rejected messages go to `{}` with the reason in the headers.",
            queue.exchange, queue.routing_key, queue.consumer(), queue.dead_letter_queue(),
        ),
        "messages": { &contract.name: message_reference(contract) },
        "bindings": { "amqp": {
            "is": "queue",
            "queue": {
                "name": queue.name, "durable": true, "exclusive": false, "autoDelete": false, "vhost": "/",
            },
            "bindingVersion": BINDING,
        }},
    })
}

fn message_reference(contract: &Contract) -> Value {
    json!({ "$ref": format!("#/components/messages/{}", contract.name) })
}

fn message(contract: &Contract) -> Value {
    let sample: Value = serde_json::from_str(&contract.sample()).expect("a sample is JSON");
    json!({
        "name": contract.message_type,
        "title": contract.name,
        "summary": contract.summary(),
        "description": description(&contract.schema),
        "contentType": "application/json",
        "correlationId": {
            "description": "The AMQP property `correlation_id`. It is not a header, but AsyncAPI has no other location for it.",
            "location": "$message.header#/correlation_id",
        },
        "headers": { "$ref": "#/components/schemas/Headers" },
        "x-amqp-properties": { "$ref": "#/components/schemas/Properties" },
        "payload": without_dialect(contract.schema.clone()),
        "examples": [{ "payload": sample }],
        "bindings": { "amqp": {
            "contentEncoding": "UTF-8", "messageType": contract.message_type, "bindingVersion": BINDING,
        }},
    })
}

fn operation(action: &str, application: &str, channel: &str, contract: &Contract) -> Value {
    let channel = format!("#/channels/{channel}");
    let bindings = match action {
        "send" => json!({ "deliveryMode": 2, "mandatory": true, "timestamp": true }),
        _ => json!({ "ack": true }),
    };
    let mut bindings = bindings;
    bindings["bindingVersion"] = BINDING.into();
    json!({
        "action": action,
        "title": format!("{application} {action}s {}", contract.name),
        "tags": [{ "name": application }],
        "channel": { "$ref": channel },
        "messages": [{ "$ref": format!("{channel}/messages/{}", contract.name) }],
        "bindings": { "amqp": bindings },
    })
}

/// Removes `$schema`: AsyncAPI's own schemas name no dialect, and the contracts use only common keywords.
fn without_dialect(mut schema: Value) -> Value {
    if let Some(schema) = schema.as_object_mut() {
        schema.shift_remove("$schema");
    }
    schema
}
