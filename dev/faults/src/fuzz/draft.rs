//! A message before it is encoded: a valid message, of which the kinds change any part.

use contracts::topology::Queue;
use rand::{RngExt, rngs::StdRng, seq::IndexedRandom};

use super::{framing::Framing, id::id};
use crate::wire::{Field, Properties, Property, Publication, Table};

/// The user that publishes the messages. It may publish everywhere.
pub(super) const USER: &str = "admin";

/// A message before it is encoded. A kind changes any part of it.
pub(super) struct Draft {
    pub(super) id: String,
    /// The queue whose contract the body follows.
    pub(super) queue: Queue,
    /// Whether the message goes directly into the queue, through the default exchange.
    pub(super) direct: bool,
    /// The routing key, if it is not the one that reaches the queue.
    pub(super) routing_key: Option<Vec<u8>>,
    /// More queues that the header `CC` or `BCC` names.
    pub(super) copies: Vec<(&'static str, Queue)>,
    /// Entries of `CC` that reach no queue.
    pub(super) other_copies: Vec<Vec<u8>>,
    /// Properties without headers.
    pub(super) properties: Properties,
    pub(super) headers: Table,
    /// Flags without a property.
    pub(super) flags: u16,
    /// Bytes in place of the properties.
    pub(super) raw_properties: Option<Vec<u8>>,
    /// The names and the JSON of the body's fields.
    pub(super) fields: Vec<(String, String)>,
    /// The body, if it is not the object with these fields.
    pub(super) body: Option<Vec<u8>>,
    pub(super) framing: Framing,
}

impl Draft {
    /// Returns a valid message for a random one of these queues.
    pub(super) fn valid(number: u64, queues: &[Queue], random: &mut StdRng) -> Self {
        let queue = *queues.choose(random).expect("there are queues");
        let id = id(number);
        let text = |text: &str| format!("\"{text}\"");
        let (name, email) = (text(&format!("Fuzz {number}")), text(&format!("fuzz-{number}@example.org")));
        let time = text("2026-01-02T03:04:05.000600Z");
        // All contracts in one: readers ignore unknown fields.
        let fields = [
            ("fuzz_id", text(&id)),
            ("customer_id", text(&id)),
            ("version", "2".to_owned()),
            ("name", name.clone()),
            ("full_name", name),
            ("email", email.clone()),
            ("email_address", email),
            ("marketing_consent", "true".to_owned()),
            ("email_opt_in", "true".to_owned()),
            ("source", text("fuzz")),
            ("registered_at", time.clone()),
            ("customer_since", time.clone()),
            ("changed_at", time),
        ];
        let properties = Properties::default()
            .with_text(Property::Type, queue.routing_key)
            .with_text(Property::MessageId, &id)
            .with_text(Property::CorrelationId, &id)
            .with_text(Property::ContentType, "application/json")
            .with_bytes(Property::DeliveryMode, &[2])
            .with_bytes(Property::Timestamp, &1_767_000_000_u64.to_be_bytes())
            .with_text(Property::AppId, "fuzz");
        Self {
            id,
            queue,
            direct: random.random_ratio(1, 3),
            routing_key: None,
            copies: Vec::new(),
            other_copies: Vec::new(),
            properties,
            headers: Table::default(),
            flags: 0,
            raw_properties: None,
            fields: fields.map(|(name, json)| (name.to_owned(), json)).to_vec(),
            body: None,
            framing: Framing::Valid,
        }
    }

    /// Returns the routing key that reaches a queue.
    pub(super) fn key_of(&self, queue: &Queue) -> &'static str {
        if self.direct { queue.name } else { queue.routing_key }
    }

    /// Returns whether the broker may move the message to the dead letters itself.
    ///
    /// No message has an expiration and a forged `x-death`: RabbitMQ 3.10 moves expired messages in a process that
    /// crashes because of a malformed `x-death`, whenever it starts. It then moves no other message of the queue.
    pub(super) fn has_expiration(&self) -> bool {
        self.properties.text(Property::Expiration).is_some()
    }

    /// Returns whether the message has a forged `x-death`.
    pub(super) fn has_death(&self) -> bool {
        self.headers.has("x-death")
    }

    /// Returns the body as the object with the fields.
    pub(super) fn json(&self) -> Vec<u8> {
        let fields: Vec<_> = self.fields.iter().map(|(name, json)| format!("\"{name}\":{json}")).collect();
        format!("{{{}}}", fields.join(",")).into_bytes()
    }

    /// Returns the message as it is published, without its framing.
    pub(super) fn publication(&self) -> Publication {
        let mut headers = Table::default();
        for header in ["CC", "BCC"] {
            let queues = self.copies.iter().filter(|(name, _)| *name == header);
            let mut keys: Vec<_> = queues.map(|(_, queue)| Field::long_string(self.key_of(queue))).collect();
            if header == "CC" {
                keys.extend(self.other_copies.iter().map(Field::long_string));
            }
            if !keys.is_empty() {
                headers = headers.with(header, &Field::array(&keys));
            }
        }
        let headers = headers.with_all(&self.headers);
        let mut properties = self.properties.clone();
        if headers.size() > 0 {
            properties = properties.with_headers(&headers);
        }
        let encoded = || properties.encode_with_flags(self.flags);
        Publication {
            exchange: if self.direct { Vec::new() } else { self.queue.exchange.into() },
            routing_key: self.routing_key.clone().unwrap_or_else(|| self.key_of(&self.queue).into()),
            properties: self.raw_properties.clone().unwrap_or_else(encoded),
            body: self.body.clone().unwrap_or_else(|| self.json()),
        }
    }
}
