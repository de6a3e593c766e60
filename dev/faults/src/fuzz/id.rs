//! The ids of the fuzzer's messages, which contain their numbers.

use crate::wire::{Delivery, Property};

/// The beginning of each id. The number of the message follows, in 12 hexadecimal digits.
const ID: &str = "fa220000-0000-4000-8000-";

/// The part of a body that may contain the id.
const SEARCHED: usize = 16 * 1024;

/// Returns the id of a message.
pub(super) fn id(number: u64) -> String {
    format!("{ID}{number:012x}")
}

/// Returns the number of the message whose id is the customer's.
pub(crate) fn number_of(customer_id: &str) -> Option<u64> {
    u64::from_str_radix(customer_id.strip_prefix(ID)?, 16).ok()
}

/// Finds an id, and returns the number of its message.
pub(super) fn find_number(bytes: &[u8]) -> Option<u64> {
    let bytes = &bytes[..bytes.len().min(SEARCHED)];
    let start = bytes.windows(ID.len()).position(|window| window == ID.as_bytes())? + ID.len();
    let digits = bytes.get(start..start + 12)?;
    u64::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

/// Returns the number of the message that became this dead letter, if the letter still has it.
pub(crate) fn find_number_in(letter: &Delivery) -> Option<u64> {
    find_number(&letter.body).or_else(|| find_number(letter.properties.text(Property::MessageId)?))
}

#[cfg(test)]
mod tests {
    use super::{find_number, number_of};

    #[test]
    fn id_is_found_in_body() {
        assert_eq!(find_number(b"{\"id\":\"fa220000-0000-4000-8000-0000000000ff\"}"), Some(255));
        assert_eq!(find_number(b"fa220000-0000-4000-8000-00"), None);
        assert_eq!(number_of("fa220000-0000-4000-8000-000000000010"), Some(16));
    }
}
