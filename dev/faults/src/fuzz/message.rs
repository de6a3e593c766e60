//! One message of the fuzzer, which depends only on the seed and its number.

use contracts::topology::{QUEUES, Queue};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{
    draft::Draft,
    framing::frames,
    id::find_number,
    kinds::{self, Kind},
};
use crate::wire::Property;

/// A message as it is sent, and its possible traces.
pub(crate) struct FuzzMessage {
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
    /// Returns the message with this number, for any queue. It depends only on the seed and the number.
    pub(super) fn generate(seed: u64, number: u64, only: &str) -> Self {
        let mut random = random(seed, number);
        let draft = Draft::valid(number, QUEUES, &mut random);
        Self::change(draft, random, number, only)
    }

    /// Returns the message with this number, published at an exchange. Its kind has `only` in its name.
    pub(crate) fn generate_at(exchange: &str, seed: u64, number: u64, only: &str) -> Self {
        let queues: Vec<_> = QUEUES.iter().copied().filter(|queue| queue.exchange == exchange).collect();
        let mut random = random(seed, number);
        let draft = Draft { direct: false, ..Draft::valid(number, &queues, &mut random) };
        Self::change(draft, random, number, only)
    }

    /// Changes the draft by one kind or two, and encodes it.
    fn change(mut draft: Draft, mut random: StdRng, number: u64, only: &str) -> Self {
        let kind = kinds::choose(&mut random, only);
        (kind.apply)(&mut draft, &mut random);
        let second = random.random_ratio(1, 4).then(|| kinds::choose(&mut random, only));
        if let Some(Kind { apply, .. }) = second {
            apply(&mut draft, &mut random);
        }
        Self::encode(&draft, number, kind.name, second.map_or("", |kind| kind.name))
    }

    /// Encodes the message.
    fn encode(draft: &Draft, number: u64, kind: &'static str, second: &str) -> Self {
        let routes = |queue: &Queue| draft.direct || queue.exchange == draft.queue.exchange;
        let main = draft.routing_key.is_none().then_some(draft.queue);
        let named = draft.copies.iter().map(|(_, queue)| *queue);
        let mut queues: Vec<Queue> = Vec::new();
        for queue in main.into_iter().chain(named).filter(routes) {
            if !queues.contains(&queue) {
                queues.push(queue);
            }
        }
        let message_type = draft.properties.text(Property::Type);
        // Any change of raw properties may have kept the type.
        let processable = |queue: &Queue| {
            draft.raw_properties.is_some() || message_type == Some(queue.routing_key.as_bytes())
        };
        let copies: Vec<_> =
            queues.into_iter().map(|queue| Copy { queue, processable: processable(&queue) }).collect();
        let publication = draft.publication();
        let id = draft.id.as_bytes();
        let has_id = |bytes: Option<&[u8]>| bytes.and_then(find_number).is_some();
        // Malformed properties may be removed as a whole.
        let properties_survive = draft.raw_properties.is_none() && draft.flags == 0;
        let identified = has_id(Some(&publication.body))
            || properties_survive
                && draft.properties.text(Property::MessageId).is_some_and(|text| text.starts_with(id));
        let summary = format!(
            "number {number}, {kind} + {second}: {} {:?} to {} ({}), {} bytes of properties, body of {} bytes, {:?}",
            String::from_utf8_lossy(&publication.exchange),
            String::from_utf8_lossy(&publication.routing_key),
            copies.iter().map(|copy| copy.queue.name).collect::<Vec<_>>().join(", "),
            String::from_utf8_lossy(message_type.unwrap_or_default()),
            publication.properties.len(),
            publication.body.len(),
            draft.framing,
        );
        let frames = frames(&publication, draft.framing);
        Self { number, kind, frames, copies, identified, summary }
    }
}

fn random(seed: u64, number: u64) -> StdRng {
    StdRng::seed_from_u64(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

#[cfg(test)]
mod tests {
    use super::FuzzMessage;

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
}
