//! Kinds of messages with odd bodies. All bodies contain the id near the start, unless they are empty.

use rand::{RngExt, rngs::StdRng, seq::IndexedRandom};

use super::draft::Draft;

/// Replaces the JSON of a field by another value.
pub(super) fn odd_field(draft: &mut Draft, random: &mut StdRng) {
    for _ in 0..random.random_range(1..3) {
        let value = odd_json(random);
        // The first field is the id.
        let at = random.random_range(1..draft.fields.len());
        draft.fields[at].1 = value;
    }
}

fn odd_json(random: &mut StdRng) -> String {
    const SIZES: [usize; 6] = [200, 201, 255, 65_536, 120_000, 300_000];
    let values = [
        "null",
        "true",
        "[]",
        "{}",
        "-1",
        "0",
        "4294967296",
        "18446744073709551616",
        "1e400",
        "-1e-400",
        "1e999999999",
        "0.1e1",
        "\"\"",
        "\" \"",
        "\"\\u0000\"",
        "\"\\ud800\"",
        "\"\\ud83d\\ude00\"",
        "\"a\\nb\\tc\"",
        "\"\u{200b}\u{200b}\"",
        "\"abc\u{202e}def\"",
        "\"\u{feff}\"",
        "\"\u{ffff}\u{10ffff}\"",
        "\"a@b\"",
        "\"@\"",
        "\"a@b@c\"",
        "\"'; DROP TABLE customers; --\"",
        "\"0000-00-00T00:00:00Z\"",
        "\"-0001-01-01T00:00:00Z\"",
        "\"9999-12-31T23:59:59.999999999Z\"",
        "\"9999-12-31T23:59:59-23:59\"",
        "\"+262142-12-31T23:59:59Z\"",
        "\"2016-12-31T23:59:60Z\"",
        "\"1000-01-01T00:00:00+23:59\"",
        "\"%s%n{}\"",
    ];
    match random.random_range(0..6) {
        0 => format!("\"{}\"", "x".repeat(*SIZES.choose(random).expect("a size"))),
        1 => "9".repeat(*SIZES.choose(random).expect("a size")),
        2 => format!("\"{}\"", "\u{1f600}".repeat(*SIZES[..3].choose(random).expect("a size"))),
        _ => (*values.choose(random).expect("a value")).to_owned(),
    }
}

pub(super) fn missing_field(draft: &mut Draft, random: &mut StdRng) {
    let at = random.random_range(1..draft.fields.len());
    draft.fields.remove(at);
}

pub(super) fn repeated_field(draft: &mut Draft, random: &mut StdRng) {
    for _ in 0..random.random_range(1..100) {
        let (name, _) = draft.fields[random.random_range(0..draft.fields.len())].clone();
        draft.fields.push((name, odd_json(random)));
    }
}

pub(super) fn not_json(draft: &mut Draft, random: &mut StdRng) {
    let (id, json) = (draft.id.clone(), draft.json());
    let noise = |random: &mut StdRng, length: usize| -> Vec<u8> {
        (0..random.random_range(0..length)).map(|_| random.random()).collect()
    };
    draft.body = Some(match random.random_range(0..10) {
        0 => id.into_bytes(),
        1 => [id.as_bytes(), &noise(random, 200_000)].concat(),
        // The id ends within the first 64 bytes.
        2 => json[..random.random_range(64..json.len().max(65))].to_vec(),
        3 => [&json[..], b"}", &noise(random, 100)].concat(),
        // A byte order mark, which some writers put before JSON.
        4 => [b"\xef\xbb\xbf", &json[..]].concat(),
        5 => String::from_utf8_lossy(&json).encode_utf16().flat_map(u16::to_le_bytes).collect(),
        6 => [b" \t\r\n".repeat(random.random_range(1..1000)), json].concat(),
        7 => format!("<customer id=\"{id}\"/>").into_bytes(),
        8 => format!("\"{id}\"").into_bytes(),
        _ => {
            let mut json = json;
            // The customer's id is before this.
            let at = random.random_range(102..json.len());
            json[at] = random.random();
            json
        }
    });
}

pub(super) fn nested_json(draft: &mut Draft, random: &mut StdRng) {
    let depth = *[100, 127, 128, 129, 1_000, 100_000].choose(random).expect("a depth");
    let (open, close) = if random.random() { ("[", "]") } else { ("{\"a\":", "}") };
    let inner = if open == "[" { "" } else { "1" };
    let nested = format!("{}{inner}{}", open.repeat(depth), close.repeat(depth));
    match random.random_range(0..4) {
        0 => draft.fields.push(("unknown".to_owned(), nested)),
        1 => draft.body = Some(format!("[\"{}\",{nested}]", draft.id).into_bytes()),
        2 => draft.body = Some(format!("[\"{}\",{}", draft.id, open.repeat(depth)).into_bytes()),
        _ => {
            let at = random.random_range(1..draft.fields.len());
            draft.fields[at].1 = nested;
        }
    }
}

pub(super) fn empty(draft: &mut Draft, _: &mut StdRng) {
    draft.body = Some(Vec::new());
}

pub(super) fn large(draft: &mut Draft, random: &mut StdRng) {
    let size = random.random_range(200_000..2_000_000);
    pad(draft, random, size);
}

/// RabbitMQ accepts up to 16 MiB by default since version 4.
pub(super) fn huge(draft: &mut Draft, random: &mut StdRng) {
    pad(draft, random, 15_000_000);
}

fn pad(draft: &mut Draft, random: &mut StdRng, size: usize) {
    let padding = "x".repeat(size);
    match random.random_range(0..3) {
        // Readers ignore unknown fields.
        0 => draft.fields.push(("unknown".to_owned(), format!("\"{padding}\""))),
        1 => {
            let at = random.random_range(1..draft.fields.len());
            draft.fields[at].1 = format!("\"{padding}\"");
        }
        _ => draft.body = Some([draft.id.as_bytes(), padding.as_bytes()].concat()),
    }
}
