//! One message of the fuzzer: a valid message that the kinds then change.

use contracts::topology::{QUEUES, Queue};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use super::kinds::{self, Kind};
use crate::wire::{Field, Properties, Property, Publication, Table, frame_type, push_frame};

/// The beginning of each id. The number of the message follows, in 12 hexadecimal digits.
const ID: &str = "fa220000-0000-4000-8000-";

/// The part of a body that may contain the id.
const SEARCHED: usize = 16 * 1024;

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

/// The way in which a message is divided into frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Valid,
    /// Body frames of this size.
    Chunks(usize),
    FrameEnd,
    HeaderClass,
    HeaderWeight,
    BodyTooLong,
    SecondHeader,
    MethodInside,
    UnknownFrame,
    Immediate,
    FrameTooLong,
}

/// A message as it is sent, and its possible traces.
pub(super) struct FuzzMessage {
    pub(super) number: u64,
    pub(super) kind: &'static str,
    pub(super) frames: Vec<u8>,
    pub(super) copies: Vec<Copy>,
    /// Whether a dead letter contains the id. Otherwise, the dead letters of a queue are counted.
    pub(super) identified: bool,
    /// A summary for a report.
    pub(super) summary: String,
}

/// One copy of a message, in one queue.
#[derive(Debug, Clone, Copy)]
pub(super) struct Copy {
    pub(super) queue: Queue,
    /// Whether the consumer may process it: it then has the type of this queue.
    pub(super) processable: bool,
}

impl FuzzMessage {
    /// Returns the message with this number. It depends only on the seed and the number.
    pub(super) fn generate(seed: u64, number: u64, only: &str) -> Self {
        let mut random = StdRng::seed_from_u64(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut draft = Draft::valid(number, &mut random);
        let kind = kinds::choose(&mut random, only);
        (kind.apply)(&mut draft, &mut random);
        let second = random.random_ratio(1, 4).then(|| kinds::choose(&mut random, only));
        if let Some(Kind { apply, .. }) = second {
            apply(&mut draft, &mut random);
        }
        draft.finish(number, kind.name, second.map_or("", |kind| kind.name))
    }
}

/// Returns the id of a message.
fn id(number: u64) -> String {
    format!("{ID}{number:012x}")
}

/// Returns the number of the message whose id is the customer's.
pub(super) fn number_of(customer_id: &str) -> Option<u64> {
    u64::from_str_radix(customer_id.strip_prefix(ID)?, 16).ok()
}

/// Finds an id, and returns the number of its message.
pub(super) fn find_number(bytes: &[u8]) -> Option<u64> {
    let bytes = &bytes[..bytes.len().min(SEARCHED)];
    let start = bytes.windows(ID.len()).position(|window| window == ID.as_bytes())? + ID.len();
    let digits = bytes.get(start..start + 12)?;
    u64::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

impl Draft {
    /// Returns a valid message for a random queue.
    fn valid(number: u64, random: &mut StdRng) -> Self {
        let queue = *QUEUES.choose(random).expect("there are queues");
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
    fn key_of(&self, queue: &Queue) -> &'static str {
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

    /// Encodes the message.
    fn finish(self, number: u64, kind: &'static str, second: &str) -> FuzzMessage {
        let routes = |queue: &Queue| self.direct || queue.exchange == self.queue.exchange;
        let main = self.routing_key.is_none().then_some(self.queue);
        let named = self.copies.iter().map(|(_, queue)| *queue);
        let mut queues: Vec<Queue> = Vec::new();
        for queue in main.into_iter().chain(named).filter(routes) {
            if !queues.contains(&queue) {
                queues.push(queue);
            }
        }
        let message_type = self.properties.text(Property::Type);
        // Any change of raw properties may have kept the type.
        let processable = |queue: &Queue| {
            self.raw_properties.is_some() || message_type == Some(queue.routing_key.as_bytes())
        };
        let copies: Vec<_> =
            queues.into_iter().map(|queue| Copy { queue, processable: processable(&queue) }).collect();
        let publication = self.publication();
        let id = self.id.as_bytes();
        let has_id = |bytes: Option<&[u8]>| bytes.and_then(find_number).is_some();
        // Malformed properties may be removed as a whole.
        let properties_survive = self.raw_properties.is_none() && self.flags == 0;
        let identified = has_id(Some(&publication.body))
            || properties_survive
                && self.properties.text(Property::MessageId).is_some_and(|text| text.starts_with(id));
        let summary = format!(
            "number {number}, {kind} + {second}: {} {:?} to {} ({}), {} bytes of properties, body of {} bytes, {:?}",
            String::from_utf8_lossy(&publication.exchange),
            String::from_utf8_lossy(&publication.routing_key),
            copies.iter().map(|copy| copy.queue.name).collect::<Vec<_>>().join(", "),
            String::from_utf8_lossy(message_type.unwrap_or_default()),
            publication.properties.len(),
            publication.body.len(),
            self.framing,
        );
        let frames = frames(&publication, self.framing);
        FuzzMessage { number, kind, frames, copies, identified, summary }
    }

    fn publication(&self) -> Publication {
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

/// Returns the bytes of a publication, valid or not.
fn frames(publication: &Publication, framing: Framing) -> Vec<u8> {
    let size = publication.body.len();
    let (mut method, mut header) = (publication.method(), publication.header(size as u64));
    let mut bytes = Vec::with_capacity(size + header.len() + 1024);
    let mut chunk = 100_000;
    match framing {
        Framing::Chunks(size) => chunk = size,
        Framing::Immediate => *method.last_mut().expect("the flags are last") |= 2,
        Framing::HeaderClass => header[1] = 61,
        Framing::HeaderWeight => header[3] = 1,
        Framing::FrameTooLong => chunk = size.max(1),
        _ => {}
    }
    push_frame(&mut bytes, frame_type::METHOD, &method);
    if framing == Framing::UnknownFrame {
        push_frame(&mut bytes, 9, b"");
    }
    push_frame(&mut bytes, frame_type::HEADER, &header);
    match framing {
        Framing::FrameEnd => *bytes.last_mut().expect("a frame has an end") = 0,
        Framing::SecondHeader => push_frame(&mut bytes, frame_type::HEADER, &header),
        Framing::MethodInside => push_frame(&mut bytes, frame_type::METHOD, &method),
        _ => {}
    }
    publication.push_body(&mut bytes, chunk);
    if framing == Framing::BodyTooLong {
        push_frame(&mut bytes, frame_type::BODY, b"more");
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::{FuzzMessage, find_number, number_of};

    #[test]
    fn message_depends_only_on_seed_and_number() {
        for number in 0..200 {
            let generate = |seed| FuzzMessage::generate(seed, number, "").frames;
            assert!(generate(1) == generate(1));
        }
        assert!(
            (0..9).any(|n| FuzzMessage::generate(1, n, "").frames != FuzzMessage::generate(2, n, "").frames)
        );
    }

    #[test]
    fn id_is_found_in_body() {
        assert_eq!(find_number(b"{\"id\":\"fa220000-0000-4000-8000-0000000000ff\"}"), Some(255));
        assert_eq!(find_number(b"fa220000-0000-4000-8000-00"), None);
        assert_eq!(number_of("fa220000-0000-4000-8000-000000000010"), Some(16));
    }
}
