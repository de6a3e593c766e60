//! The search for an e-mail address in a text.

/// Returns whether a text contains an e-mail address, and not only a longer one that ends or begins with it. Case makes no
/// difference. The address must be in lower case.
pub(crate) fn mentions(text: &str, address: &str) -> bool {
    let text = text.to_lowercase();
    text.match_indices(address).any(|(start, found)| {
        starts_address(&text[..start]) && ends_address(&text[start + found.len()..]) //
    })
}

/// Returns whether no address continues from the text before. A punctuation mark that an address may contain is a quote,
/// unless it follows a letter or a digit.
fn starts_address(before: &str) -> bool {
    let mut before = before.chars().rev();
    let Some(last) = before.next() else { return true };
    if "!#$%&'*/=?^`{|}~".contains(last) {
        return before.next().is_none_or(|earlier| !earlier.is_alphanumeric());
    }
    !last.is_alphanumeric() && !"._+-".contains(last)
}

/// Returns whether no address continues in the text after.
fn ends_address(after: &str) -> bool {
    let mut after = after.chars();
    match after.next() {
        Some('.') => after.next().is_none_or(|next| !next.is_alphanumeric()),
        Some(next) => !next.is_alphanumeric() && next != '-',
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::mentions;

    #[test]
    fn address_is_found_in_any_case_and_between_any_marks() {
        for text in [
            "ann@example.org",
            r#"{"email":"Ann@Example.org"}"#,
            "Duplicate entry 'ann@example.org' for key 'by_email'",
            "to ann@example.org.",
            "<ann@example.org>, and others",
        ] {
            assert!(mentions(text, "ann@example.org"), "{text}");
        }
    }

    #[test]
    fn part_of_longer_address_is_no_mention() {
        for text in [
            "joann@example.org",
            "jo.ann@example.org",
            "jo+ann@example.org",
            "o'ann@example.org",
            "ann@example.org.uk",
            "ann@example.organic",
            "ann@example.org-2.com",
            "",
        ] {
            assert!(!mentions(text, "ann@example.org"), "{text}");
        }
        assert!(mentions("joann@example.org ann@example.org", "ann@example.org"));
    }
}
