//! The rules that a customer keeps: those of the contracts, which the table has room for.

use chrono::{DateTime, Datelike, Timelike, Utc};

const NAME_CHARACTERS: usize = 200;
const EMAIL_CHARACTERS: usize = 254;
const SOURCE_BYTES: usize = 50;

/// The years that a MySQL DATETIME can hold.
const YEARS: std::ops::RangeInclusive<i32> = 1000..=9999;

pub(super) fn is_name(name: &str) -> bool {
    !name.trim().is_empty() && name.chars().count() <= NAME_CHARACTERS && !name.contains(char::is_control)
}

pub(super) fn is_address(address: &str) -> bool {
    let at_inside = address
        .split_once('@')
        .is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty() && !domain.contains('@'));
    at_inside
        && address.chars().count() <= EMAIL_CHARACTERS
        && !address.contains(|c: char| c.is_control() || c.is_whitespace())
}

pub(super) fn is_source(source: &str) -> bool {
    (1..=SOURCE_BYTES).contains(&source.len())
        && source.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// chrono has more than 1,000,000,000 ns in a second for a leap second; MySQL has no leap seconds at all.
pub(super) fn is_time(time: DateTime<Utc>) -> bool {
    YEARS.contains(&time.year()) && time.nanosecond() < 1_000_000_000
}
