//! Numbers as pages show them.

/// Returns 1234567 as 1 234 567, with narrow spaces that do not break.
#[must_use]
pub fn thousands(number: u64) -> String {
    group_digits(&number.to_string())
}

/// Returns the digits of a whole number in groups of three, as [`thousands`] does.
#[must_use]
pub fn group_digits(digits: &str) -> String {
    let mut grouped = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::thousands;

    #[test]
    fn digits_are_grouped_by_thousands() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_234_567), "1\u{202f}234\u{202f}567");
    }
}
