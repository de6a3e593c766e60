//! Kinds of messages with odd properties, routing keys, and frames.

use contracts::topology::QUEUES;
use rand::{
    RngExt,
    rngs::StdRng,
    seq::{IndexedRandom, IteratorRandom},
};

use super::{
    draft::{Draft, USER},
    framing::Framing,
};
use crate::wire::Property;

/// Returns text of up to 255 bytes that a reader may not expect.
pub(super) fn odd_text(random: &mut StdRng) -> Vec<u8> {
    let length = random.random_range(0..=255);
    match random.random_range(0..14) {
        0 => Vec::new(),
        1 => b"Caf\xe9".to_vec(),
        2 => b"\xff".repeat(length),
        3 => (0..length).map(|_| random.random()).collect(),
        4 => b"overlong \xc0\x80".to_vec(),
        5 => b"surrogate \xed\xa0\x80".to_vec(),
        6 => "truncated é".as_bytes()[..11].to_vec(),
        7 => b"\xf4\x90\x80\x80 above U+10FFFF".to_vec(),
        8 => b"\0".repeat(length),
        9 => b"x".repeat(length),
        10 => "\u{1f600}".repeat(length / 4).into_bytes(),
        11 => "\u{202e}\r\n\t\u{1b}[31m".as_bytes().to_vec(),
        12 => b"'; DROP TABLE customers; --".to_vec(),
        _ => length.to_string().into_bytes(),
    }
}

pub(super) fn text_properties(draft: &mut Draft, random: &mut StdRng) {
    let count = random.random_range(1..=4);
    for property in Property::TEXTS.into_iter().sample(random, count) {
        // The broker accepts hardly any value of these two. They are kinds of their own.
        let is_checked = matches!(property, Property::UserId | Property::Expiration);
        let is_excluded = property == Property::Expiration && draft.has_death();
        if !is_excluded && (!is_checked || random.random_ratio(1, 20)) {
            draft.properties = draft.properties.clone().with_text(property, odd_text(random));
        }
    }
}

pub(super) fn fixed_properties(draft: &mut Draft, random: &mut StdRng) {
    let properties = draft.properties.clone();
    draft.properties = match random.random_range(0..3) {
        0 => {
            properties.with_bytes(Property::DeliveryMode, &[*[0, 1, 3, 255].choose(random).expect("a mode")])
        }
        1 => properties.with_bytes(Property::Priority, &[random.random()]),
        _ => {
            let time = *[0, 1, u64::MAX, i64::MAX as u64, 1 << 40].choose(random).expect("a time");
            properties.with_bytes(Property::Timestamp, &time.to_be_bytes())
        }
    };
}

pub(super) fn missing_properties(draft: &mut Draft, random: &mut StdRng) {
    for property in Property::TEXTS.into_iter().chain([Property::DeliveryMode, Property::Timestamp]) {
        if random.random() {
            draft.properties = draft.properties.clone().without(property);
        }
    }
}

pub(super) fn wrong_type(draft: &mut Draft, random: &mut StdRng) {
    let own = draft.queue.routing_key;
    let other = QUEUES.choose(random).expect("there are queues").routing_key;
    let types = [
        other.to_owned(),
        own.replace(".v1", ".v9"),
        own.replace(".v1", ".v99999999999999999999"),
        own.to_uppercase(),
        format!("{own} "),
        String::new(),
        "x".repeat(255),
    ];
    let message_type = types.choose(random).expect("a type");
    draft.properties = draft.properties.clone().with_text(Property::Type, message_type);
}

pub(super) fn wrong_message_id(draft: &mut Draft, random: &mut StdRng) {
    let id = &draft.id;
    let ids = [
        String::new(),
        format!("{id}?"),
        format!("{{{id}}}"),
        format!("urn:uuid:{id}"),
        id.to_uppercase(),
        "00000000-0000-0000-0000-000000000000".to_owned(),
    ];
    let message_id = ids.choose(random).expect("an id");
    draft.properties = draft.properties.clone().with_text(Property::MessageId, message_id);
}

/// The broker accepts only the name of the publisher.
pub(super) fn user_id(draft: &mut Draft, random: &mut StdRng) {
    let user = if random.random_ratio(1, 8) { "marketing" } else { USER };
    draft.properties = draft.properties.clone().with_text(Property::UserId, user);
}

pub(super) fn expiration(draft: &mut Draft, random: &mut StdRng) {
    if draft.has_death() {
        return;
    }
    let valid = ["0", "1", "20", "5000", "3600000", "4294967295"];
    let invalid = ["-1", "", "x", "4294967296", "99999999999999999999"];
    let values = if random.random_ratio(1, 8) { &invalid[..] } else { &valid };
    let value = values.choose(random).expect("a value");
    draft.properties = draft.properties.clone().with_text(Property::Expiration, value);
}

pub(super) fn reply_to(draft: &mut Draft, random: &mut StdRng) {
    let values = ["amq.rabbitmq.reply-to.g1hk", "amq.gen-x", "no-queue", draft.queue.name];
    let value =
        if random.random_ratio(1, 8) { "amq.rabbitmq.reply-to" } else { values.choose(random).expect("one") };
    draft.properties = draft.properties.clone().with_text(Property::ReplyTo, value);
}

/// Bit 0 announces another word of flags.
pub(super) fn unknown_flags(draft: &mut Draft, random: &mut StdRng) {
    draft.flags = random.random_range(1..=3);
}

pub(super) fn malformed_properties(draft: &mut Draft, random: &mut StdRng) {
    let mut bytes = draft.properties.encode();
    match random.random_range(0..4) {
        0 => bytes.truncate(random.random_range(0..bytes.len())),
        1 => bytes.extend((0..random.random_range(1..100)).map(|_| random.random::<u8>())),
        2 => bytes = (0..random.random_range(2..100)).map(|_| random.random()).collect(),
        _ => {
            let at = random.random_range(2..bytes.len());
            bytes[at] = random.random();
        }
    }
    draft.raw_properties = Some(bytes);
}

/// The broker routes a message to the keys in these headers, too.
pub(super) fn copies(draft: &mut Draft, random: &mut StdRng) {
    for queue in QUEUES {
        if random.random_ratio(1, 3) {
            draft.copies.push((if random.random() { "CC" } else { "BCC" }, *queue));
        }
    }
    for queue in QUEUES {
        // A name that would route the dead letter elsewhere.
        if random.random_ratio(1, 3) && !draft.direct {
            draft.other_copies.push(queue.name.into());
        }
    }
    if random.random_ratio(1, 4) {
        draft.other_copies.extend((0..random.random_range(1..50)).map(|_| odd_text(random)));
    }
}

pub(super) fn odd_routing_key(draft: &mut Draft, random: &mut StdRng) {
    draft.routing_key = Some(odd_text(random));
    draft.copies.push((if random.random() { "CC" } else { "BCC" }, draft.queue));
}

pub(super) fn framing(draft: &mut Draft, random: &mut StdRng) {
    const BAD: [Framing; 9] = [
        Framing::FrameEnd,
        Framing::HeaderClass,
        Framing::HeaderWeight,
        Framing::BodyTooLong,
        Framing::SecondHeader,
        Framing::MethodInside,
        Framing::UnknownFrame,
        Framing::Immediate,
        Framing::FrameTooLong,
    ];
    draft.framing = if random.random() {
        Framing::Chunks(random.random_range(1..500))
    } else {
        *BAD.choose(random).expect("one")
    };
}
