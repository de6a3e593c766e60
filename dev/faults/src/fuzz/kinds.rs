//! The kinds of odd and bad messages. Each kind changes one part of a valid message.

use rand::{rngs::StdRng, seq::IndexedRandom};

use super::{bodies, draft::Draft, headers, properties};

/// A kind of message.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// The frequency, in relation to the other kinds.
    weight: u32,
    pub(super) apply: fn(&mut Draft, &mut StdRng),
}

pub(crate) const KINDS: &[Kind] = &[
    kind("valid", 50, |_, _| ()),
    kind("text property", 100, properties::text_properties),
    kind("fixed property", 40, properties::fixed_properties),
    kind("missing property", 40, properties::missing_properties),
    kind("wrong type", 40, properties::wrong_type),
    kind("wrong message id", 40, properties::wrong_message_id),
    kind("user id", 40, properties::user_id),
    kind("expiration", 40, properties::expiration),
    kind("reply to", 20, properties::reply_to),
    kind("unknown flag", 40, properties::unknown_flags),
    kind("malformed properties", 20, properties::malformed_properties),
    kind("copy by CC", 60, properties::copies),
    kind("odd routing key", 40, properties::odd_routing_key),
    kind("frames", 10, properties::framing),
    kind("nested header", 50, headers::nested),
    kind("random headers", 60, headers::random),
    kind("headers up to the frame", 30, headers::up_to_the_frame),
    kind("many headers", 20, headers::many),
    kind("repeated header", 20, headers::repeated),
    kind("broker's header", 50, headers::of_the_broker),
    kind("our header", 30, headers::of_the_system),
    kind("odd field", 100, bodies::odd_field),
    kind("missing field", 20, bodies::missing_field),
    kind("repeated field", 20, bodies::repeated_field),
    kind("not JSON", 60, bodies::not_json),
    kind("nested JSON", 20, bodies::nested_json),
    kind("empty body", 20, bodies::empty),
    kind("large body", 10, bodies::large),
    kind("body of 15 MB", 1, bodies::huge),
];

const fn kind(name: &'static str, weight: u32, apply: fn(&mut Draft, &mut StdRng)) -> Kind {
    Kind { name, weight, apply }
}

/// Returns a kind whose name contains `only`.
pub(super) fn choose(random: &mut StdRng, only: &str) -> Kind {
    let kinds: Vec<_> = KINDS.iter().filter(|kind| kind.name.contains(only)).collect();
    **kinds.choose_weighted(random, |kind| kind.weight).expect("a kind has this text in its name")
}
