//! Kinds of messages with odd header tables.

use contracts::topology::QUEUES;
use rand::{RngExt, rngs::StdRng, seq::IndexedRandom};

use super::{draft::Draft, properties::odd_text};
use crate::wire::{FRAME_MAX, FRAME_OVERHEAD, Field, Property, Table};

/// The bytes that headers may occupy beside the other properties, so that the content header fits into a frame.
const ROOM: usize = FRAME_MAX - FRAME_OVERHEAD - 4 * 1024;

/// The types of fields that RabbitMQ knows and whose size is fixed, with their sizes.
const FIXED: [(u8, usize); 12] = [
    (b't', 1),
    (b'b', 1),
    (b'B', 1),
    (b's', 2),
    (b'u', 2),
    (b'I', 4),
    (b'i', 4),
    (b'f', 4),
    (b'D', 5),
    (b'l', 8),
    (b'd', 8),
    (b'T', 8),
];

pub(super) fn nested(draft: &mut Draft, random: &mut StdRng) {
    let deepest = (ROOM.saturating_sub(draft.headers.size()) / 6).max(1);
    // The time that RabbitMQ needs grows with the square of the depth, so most are not the deepest.
    let depth = match random.random_range(0..12) {
        0 => deepest,
        1 => random.random_range(1..=deepest),
        2..=5 => random.random_range(1..=deepest.min(2000)),
        _ => random.random_range(1..=20),
    };
    let nested = match random.random_range(0..3) {
        0 => Field::nested(depth, |_| false),
        1 => Field::nested(depth, |_| true),
        _ => Field::nested(depth, |level| level % 3 == 0),
    };
    add(draft, name(random), &nested);
}

/// Adds a header if there is room for it.
fn add(draft: &mut Draft, name: impl AsRef<[u8]>, field: &Field) {
    if draft.headers.size() + name.as_ref().len() + 1 + field.size() <= ROOM {
        draft.headers = std::mem::take(&mut draft.headers).with(name, field);
    }
}

fn name(random: &mut StdRng) -> Vec<u8> {
    if random.random() { b"fuzz".to_vec() } else { odd_text(random) }
}

/// Headers of all types, some in each other. Unknown types are rare: the broker closes the connection.
pub(super) fn random(draft: &mut Draft, random: &mut StdRng) {
    for _ in 0..random.random_range(1..20) {
        let field = field(random, 3);
        add(draft, name(random), &field);
    }
}

fn field(random: &mut StdRng, levels: usize) -> Field {
    match random.random_range(0..if levels == 0 { 4 } else { 6 }) {
        0 | 1 => {
            let (kind, size) = *FIXED.choose(random).expect("a type");
            let value: Vec<u8> = match random.random_range(0..4) {
                0 => vec![0; size],
                1 if !matches!(kind, b'f' | b'd') => vec![0xff; size],
                _ => (0..size).map(|_| random.random()).collect(),
            };
            Field::raw(kind, &value)
        }
        2 if random.random_ratio(1, 30) => Field::raw(random.random(), &[0; 8]),
        2 => Field::raw(b'V', b""),
        3 => {
            let length = if random.random_ratio(1, 10) { 20_000 } else { 20 };
            let value: Vec<u8> = (0..random.random_range(0..length)).map(|_| random.random()).collect();
            Field::with_length(if random.random() { b'S' } else { b'x' }, &value)
        }
        4 => {
            let count = random.random_range(0..5);
            Field::array(&(0..count).map(|_| field(random, levels - 1)).collect::<Vec<_>>())
        }
        _ => {
            let table = (0..random.random_range(0..5)).fold(Table::default(), |table, _| {
                let field = field(random, levels - 1);
                table.with(name(random), &field)
            });
            Field::table(&table)
        }
    }
}

/// One header that fills the frame, up to the last bytes.
pub(super) fn up_to_the_frame(draft: &mut Draft, random: &mut StdRng) {
    // The fixed part of a content header, the flags, the other properties, and the length of the table.
    let mut properties = draft.properties.clone().without(Property::Headers);
    if random.random() {
        // The room that the broker may need for headers of its own is then missing, too.
        properties = properties.without(Property::AppId);
        draft.properties = properties.clone();
    }
    let others = 12 + properties.encode().len() + 4;
    let left = *[0, 1, 2, 10, 30, 100, 1000, 10_000, 60_000].choose(random).expect("a size");
    let entry = 1 + 4 + 1 + 4;
    let size = FRAME_MAX - FRAME_OVERHEAD - others - entry - left;
    let value = if random.random() { b"x" } else { b"\xe9" }.repeat(size);
    if draft.headers.size() == 0 && draft.copies.is_empty() && draft.other_copies.is_empty() {
        draft.headers = Table::default().with("full", &Field::long_string(value));
    }
}

pub(super) fn many(draft: &mut Draft, random: &mut StdRng) {
    let size = random.random_range(0..20);
    let count = random.random_range(100..=ROOM / (size + 10));
    for n in 0..count {
        add(draft, format!("{n}"), &Field::long_string(vec![b'x'; size]));
    }
}

pub(super) fn repeated(draft: &mut Draft, random: &mut StdRng) {
    let name = *["traceparent", "fuzz", "", "rejection-code"].choose(random).expect("a name");
    for n in 0..random.random_range(2..1000) {
        add(draft, name, &Field::long_string(n.to_string()));
    }
}

/// Headers that the broker itself writes and reads.
pub(super) fn of_the_broker(draft: &mut Draft, random: &mut StdRng) {
    let queue = QUEUES.choose(random).expect("there are queues");
    let reason = *["expired", "rejected", "maxlen", "delivery_limit", "?"].choose(random).expect("a reason");
    let death = Table::default()
        .with(
            "queue",
            &Field::long_string(if random.random() { queue.name.into() } else { queue.dead_letter_queue() }),
        )
        .with("reason", &Field::long_string(reason))
        .with("count", &Field::raw(b'l', &random.random_range(-1..9_i64).to_be_bytes()))
        .with("exchange", &Field::long_string(queue.exchange))
        .with("routing-keys", &Field::array(&[Field::long_string(queue.routing_key)]))
        .with("time", &Field::raw(b'T', &1_767_000_000_u64.to_be_bytes()));
    let deaths = Field::array(&vec![Field::table(&death); random.random_range(1..4)]);
    let count = |value: i64| Field::raw(b'l', &value.to_be_bytes());
    let odd = field(random, 2);
    for (name, value) in [
        ("x-death", &deaths),
        ("x-first-death-reason", &Field::long_string(reason)),
        ("x-first-death-queue", &Field::long_string(queue.name)),
        ("x-first-death-exchange", &Field::long_string(queue.exchange)),
        ("x-last-death-reason", &Field::long_string(reason)),
        ("x-delivery-count", &count(random.random_range(-1..2000))),
        ("x-acquired-count", &count(i64::MAX)),
        ("x-delay", &count(60_000)),
        ("x-stream-offset", &count(1)),
        ("x-received-from", &Field::array(&[Field::table(&death)])),
        ("x-opt-delivery-count", &odd),
    ] {
        if random.random_ratio(1, 3) && !(name == "x-death" && draft.has_expiration()) {
            let malformed = random.random_ratio(1, 4);
            add(draft, name, if malformed { &odd } else { value });
        }
    }
}

/// Headers of our own messages and dead letters.
pub(super) fn of_the_system(draft: &mut Draft, random: &mut StdRng) {
    for name in [
        "traceparent",
        "causation-id",
        "rejection-code",
        "rejection-reason",
        "rejected-from",
        "rejected-at",
        "rejected-by",
        "removed-headers",
        "original-user-id",
        "original-expiration",
        "original-CC",
    ] {
        if random.random_ratio(1, 3) {
            let field = if random.random() { Field::long_string(odd_text(random)) } else { field(random, 2) };
            add(draft, name, &field);
        }
    }
}
