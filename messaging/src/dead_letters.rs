//! Dead letters: rejected messages, with the reason, the queue, and the time in their headers.
//!
//! The consumer publishes them itself, because the broker's own dead-lettering carries no reason. It uses a separate
//! connection: an alarm of the broker blocks a connection that publishes, together with its acks.

use chrono::{SecondsFormat, Utc};
use contracts::topology::Queue;
use lapin::{
    BasicProperties, Confirmation,
    types::{AMQPValue, FieldTable, LongString, ShortString},
};

use crate::{
    BrokerUrl, Incoming, Rejection, Session, SessionError, envelope::string_value,
    frame_filter::REMOVED_HEADERS, publisher::Publication,
};

pub(crate) const REJECTION_CODE: &str = "rejection-code";
const REJECTION_REASON: &str = "rejection-reason";
const REJECTED_FROM: &str = "rejected-from";
pub(crate) const REJECTED_AT: &str = "rejected-at";
pub(crate) const REJECTED_BY: &str = "rejected-by";

/// The headers that a consumer adds to a dead letter.
pub(crate) const REJECTION_HEADERS: [&str; 5] =
    [REJECTION_CODE, REJECTION_REASON, REJECTED_FROM, REJECTED_AT, REJECTED_BY];

/// All programs of a release have the same version.
const RELEASE: &str = env!("CARGO_PKG_VERSION");

/// The largest reason in bytes. A reason may quote the message, and all headers travel in one frame.
const MAX_REASON: usize = 1000;

/// The largest sum of a dead letter's original headers, in bytes. The limit of a frame is 128 KiB.
const MAX_HEADERS: usize = 64 * 1024;

/// The largest sum of bodies that are published before the broker has confirmed the ones before, in bytes.
const MAX_CHUNK: usize = 4 * 1024 * 1024;

/// Headers that make the broker route a message to more queues: <https://www.rabbitmq.com/docs/sender-selected>.
const ROUTING_HEADERS: [&str; 2] = ["CC", "BCC"];

/// Publishes dead letters over a connection that opens with the first one.
pub(crate) struct DeadLetters {
    broker: BrokerUrl,
    session: Option<Session>,
}

impl DeadLetters {
    pub(crate) fn new(broker: &BrokerUrl) -> Self {
        Self { broker: broker.clone(), session: None }
    }

    /// Publishes rejected messages to the dead letters of their queue, and waits for the confirms.
    pub(crate) async fn publish(
        &mut self,
        queue: &Queue,
        rejected: &[(&Incoming, Rejection)],
    ) -> Result<(), SessionError> {
        let session = match self.session.take().filter(Session::is_open) {
            Some(session) => session,
            None => self.connect(queue).await?,
        };
        let mut rest = rejected;
        while !rest.is_empty() {
            let (chunk, others) = rest.split_at(chunk_length(rest));
            let publications = chunk.iter().map(|(message, rejection)| Publication {
                exchange: queue.dead_letter_exchange,
                routing_key: queue.name.into(),
                properties: dead_letter_properties(&message.delivery.properties, queue, rejection),
                body: &message.delivery.data,
            });
            let confirmations = session.publish_all(publications).await?;
            if confirmations.iter().any(|confirmation| *confirmation != Confirmation::Ack(None)) {
                return Err(SessionError::DeadLettersRefused(queue.name));
            }
            for (message, rejection) in chunk {
                log(queue, message, rejection);
            }
            rest = others;
        }
        self.session = Some(session);
        Ok(())
    }

    /// Connects, and restores the topology: a missing exchange or binding is a reason for a refused letter.
    async fn connect(&self, queue: &Queue) -> Result<Session, SessionError> {
        let session = Session::open(&self.broker, "dead letters").await?;
        session.declare_queue(queue).await?;
        Ok(session)
    }
}

/// Returns the number of messages whose bodies fit into one chunk, and at least 1.
fn chunk_length(rejected: &[(&Incoming, Rejection)]) -> usize {
    let mut bytes = 0;
    let fitting = rejected.iter().take_while(|(message, _)| {
        bytes += message.delivery.data.len();
        bytes <= MAX_CHUNK
    });
    fitting.count().max(1)
}

fn log(queue: &Queue, message: &Incoming, rejection: &Rejection) {
    let message_id = message.delivery.properties.message_id();
    let message_id = message_id.as_ref().map(ShortString::as_str);
    let trace_id = message.trace_id();
    let reason = rejection.code();
    tracing::warn!(queue = queue.name, message_id, trace_id, reason, "dead-lettered a message");
}

/// Returns the properties of a dead letter.
///
/// A property that has an effect becomes a header: the broker refuses a `user_id` of another user, and deletes a
/// letter after its `expiration`.
fn dead_letter_properties(
    original: &BasicProperties,
    queue: &Queue,
    rejection: &Rejection,
) -> BasicProperties {
    let mut headers = kept_headers(original.headers().as_ref().unwrap_or(&FieldTable::default()));
    for (name, value) in
        [("original-user-id", original.user_id()), ("original-expiration", original.expiration())]
    {
        if let Some(value) = value {
            headers.insert(name.into(), string_value(value.as_str()));
        }
    }
    let reason = rejection.to_string();
    let now = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
    headers.insert(REJECTION_CODE.into(), string_value(rejection.code()));
    headers.insert(REJECTION_REASON.into(), string_value(truncated(&reason)));
    headers.insert(REJECTED_FROM.into(), string_value(queue.name));
    headers.insert(REJECTED_AT.into(), string_value(&now));
    headers.insert(REJECTED_BY.into(), string_value(&format!("{} {RELEASE}", queue.consumer())));
    let mut properties = BasicProperties::default().with_headers(headers).with_delivery_mode(2);
    if let Some(value) = original.message_id() {
        properties = properties.with_message_id(value.clone());
    }
    if let Some(value) = original.kind() {
        properties = properties.with_type(value.clone());
    }
    if let Some(value) = original.correlation_id() {
        properties = properties.with_correlation_id(value.clone());
    }
    if let Some(value) = original.content_type() {
        properties = properties.with_content_type(value.clone());
    }
    if let Some(value) = original.content_encoding() {
        properties = properties.with_content_encoding(value.clone());
    }
    if let Some(value) = original.reply_to() {
        properties = properties.with_reply_to(value.clone());
    }
    if let Some(value) = original.timestamp() {
        properties = properties.with_timestamp(*value);
    }
    if let Some(value) = original.app_id() {
        properties = properties.with_app_id(value.clone());
    }
    properties
}

/// Returns the headers that a dead letter keeps. Renames those with an effect, and removes the largest until the
/// others fit.
fn kept_headers(original: &FieldTable) -> FieldTable {
    let mut entries: Vec<(ShortString, AMQPValue)> = original
        .into_iter()
        .map(|(name, value)| {
            let routes = ROUTING_HEADERS.contains(&name.as_str());
            let name = if routes { format!("original-{name}").into() } else { name.clone() };
            (name, value.clone())
        })
        .collect();
    entries.sort_by_key(|(name, value)| name.as_str().len() + size(value));
    let mut sum = 0;
    let fitting = entries.iter().take_while(|(name, value)| {
        sum += name.as_str().len() + size(value);
        sum <= MAX_HEADERS
    });
    let fitting = fitting.count();
    let removed: Vec<_> = entries.split_off(fitting).into_iter().map(|(name, _)| name.to_string()).collect();
    let mut headers = FieldTable::default();
    for (name, value) in entries {
        headers.insert(name, value);
    }
    if !removed.is_empty() {
        headers.insert(REMOVED_HEADERS.into(), string_value(truncated(&removed.join(","))));
    }
    headers
}

/// Returns about the size of a value in a frame, in bytes.
fn size(value: &AMQPValue) -> usize {
    match value {
        AMQPValue::LongString(text) => LongString::as_bytes(text).len() + 5,
        AMQPValue::ByteArray(bytes) => bytes.as_slice().len() + 5,
        AMQPValue::FieldArray(values) => values.as_slice().iter().map(size).sum::<usize>() + 5,
        AMQPValue::FieldTable(table) => {
            table.inner().iter().map(|(name, value)| name.as_str().len() + 1 + size(value)).sum::<usize>() + 5
        }
        _ => 9,
    }
}

/// Returns the beginning of a text, at most [`MAX_REASON`] bytes.
fn truncated(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_REASON)]
}

#[cfg(test)]
mod tests {
    use lapin::types::FieldTable;

    use super::{MAX_HEADERS, kept_headers};
    use crate::{envelope::string_value, frame_filter::REMOVED_HEADERS};

    #[test]
    fn largest_headers_are_removed_until_others_fit() {
        for (large, small) in [(1, 1), (1, 5), (3, 100), (0, 1000)] {
            let mut headers = FieldTable::default();
            for n in 0..large {
                headers.insert(format!("large {n}").into(), string_value(&"x".repeat(MAX_HEADERS)));
            }
            for n in 0..small {
                headers.insert(format!("small {n}").into(), string_value(&"x".repeat(100)));
            }
            let kept = kept_headers(&headers);
            let names: Vec<_> = kept.inner().keys().map(ToString::to_string).collect();
            let count = names.iter().filter(|name| name.starts_with("small")).count();
            // Each has 112 to 114 bytes.
            let expected = small.min(MAX_HEADERS / 114)..=small.min(MAX_HEADERS / 112);
            assert!(expected.contains(&count), "{count} of {small} small headers");
            assert!(names.contains(&REMOVED_HEADERS.to_owned()) && names.len() == count + 1, "{names:?}");
        }
    }
}
