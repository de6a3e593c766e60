//! The customer and its fields: each value is parsed once and trusted afterwards.

mod name_characters;

use std::borrow::Cow;

use chrono::{DateTime, SubsecRound, Utc};
use idna::AsciiDenyList;
use thiserror::Error;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};
use uuid::Uuid;

use name_characters::{is_visible, isolates_direction};

const NAME_CHARACTERS: usize = 200;

/// The longest address that fits into an SMTP path: RFC 5321, section 4.5.3.1.3, without the brackets.
const EMAIL_BYTES: usize = 254;

/// RFC 1035, section 2.3.4.
const LABEL_BYTES: usize = 63;

/// A name: 1 to 200 characters of any script, trimmed, in normalization form C, without control characters.
///
/// At least one character is visible, and the name does not change the direction of the text around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

/// The reason why a text is not a [`Name`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NameError {
    /// The text has no visible characters.
    #[error("the name is empty")]
    Empty,
    /// The text has more than 200 characters.
    #[error("the name has more than {NAME_CHARACTERS} characters")]
    TooLong,
    /// The text contains a control character, such as a line break.
    #[error("the name contains a control character")]
    ControlCharacter,
    /// The text changes the direction of the text after it.
    #[error("the name contains a direction control that is not closed")]
    TextDirection,
}

/// An email address by the rule of `<input type=email>`, at most 254 bytes. An internationalized domain is in its
/// ASCII form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email(String);

/// The reason why a text is not an [`Email`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EmailError {
    /// The text has no visible characters.
    #[error("the email address is empty")]
    Empty,
    /// The text has more than 254 bytes.
    #[error("the email address has more than {EMAIL_BYTES} bytes")]
    TooLong,
    /// The text does not have the form of an address.
    #[error("the email address is malformed")]
    Malformed,
}

/// A customer: all details of one version.
#[derive(Debug, Clone)]
pub struct Customer {
    /// A UUID v7, assigned by [`Customer::new`].
    pub id: Uuid,
    /// The name.
    pub name: Name,
    /// The email address in the case in which it was entered.
    pub email: Email,
    /// Whether the customer agreed to receive marketing messages.
    pub marketing_consent: bool,
    /// In whole microseconds, the precision of the database and of the event.
    pub registered_at: DateTime<Utc>,
}

impl Name {
    /// Parses a name, trims it, and normalizes it.
    ///
    /// # Errors
    /// Returns [`NameError`] if the text is invisible or too long, or contains a control character or a direction
    /// control that is not closed.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let text = text.trim();
        let has_form = text.is_ascii() || is_nfc_quick(text.chars()) == IsNormalized::Yes;
        let name: String = if has_form { text.to_owned() } else { text.nfc().collect() };
        if name.chars().count() > NAME_CHARACTERS {
            Err(NameError::TooLong)
        } else if name.contains(char::is_control) {
            Err(NameError::ControlCharacter)
        } else if !name.contains(is_visible) {
            Err(NameError::Empty)
        } else if !isolates_direction(&name) {
            Err(NameError::TextDirection)
        } else {
            Ok(Self(name))
        }
    }

    /// Wraps a name from the database, which was parsed before it was stored.
    pub(crate) fn from_stored(name: String) -> Self {
        Self(name)
    }

    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Email {
    /// Parses an address and trims it, by the definition of
    /// <https://html.spec.whatwg.org/multipage/input.html#valid-e-mail-address>. Converts an internationalized domain
    /// to ASCII first, as browsers do.
    ///
    /// # Errors
    /// Returns [`EmailError`] if the text is empty, too long, or malformed.
    pub fn parse(text: &str) -> Result<Self, EmailError> {
        let email = domain_to_ascii(text.trim())?;
        if email.is_empty() {
            return Err(EmailError::Empty);
        }
        if email.len() > EMAIL_BYTES {
            return Err(EmailError::TooLong);
        }
        match email.split_once('@') {
            Some((local, domain)) if is_local_part(local) && domain.split('.').all(is_label) => {
                Ok(Self(email.clone().into_owned()))
            }
            _ => Err(EmailError::Malformed),
        }
    }

    /// Wraps an address from the database, which was parsed before it was stored.
    pub(crate) fn from_stored(email: String) -> Self {
        Self(email)
    }

    /// Returns the address as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Converts the domain to ASCII (UTS #46) if it is not in ASCII. An ASCII domain keeps its case.
fn domain_to_ascii(email: &str) -> Result<Cow<'_, str>, EmailError> {
    match email.split_once('@') {
        Some((local, domain)) if !domain.is_ascii() => {
            let ascii = idna::domain_to_ascii_cow(domain.as_bytes(), AsciiDenyList::URL);
            Ok(format!("{local}@{}", ascii.map_err(|_| EmailError::Malformed)?).into())
        }
        _ => Ok(email.into()),
    }
}

fn is_local_part(local: &str) -> bool {
    !local.is_empty()
        && local.bytes().all(|b| b.is_ascii_alphanumeric() || b".!#$%&'*+/=?^_`{|}~-".contains(&b))
}

fn is_label(label: &str) -> bool {
    (1..=LABEL_BYTES).contains(&label.len())
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

impl Customer {
    /// Creates a customer with a new id, registered now.
    #[must_use]
    pub fn new(name: Name, email: Email, marketing_consent: bool) -> Self {
        let registered_at = Utc::now().trunc_subsecs(6);
        Self { id: Uuid::now_v7(), name, email, marketing_consent, registered_at }
    }
}

#[cfg(test)]
mod tests {
    use super::{Email, EmailError, Name, NameError};

    #[test]
    fn name_of_1_to_200_characters_in_any_script_is_accepted() {
        let longest = "王".repeat(200);
        for name in ["X", "Zoë Ó Dálaigh", "O'Brien <b>", "محمد", longest.as_str()] {
            assert_eq!(Name::parse(&format!("  {name}\t")).unwrap().as_str(), name);
        }
    }

    #[test]
    fn empty_long_or_control_character_name_is_refused() {
        let too_long = "x".repeat(201);
        for (name, error) in [
            ("", NameError::Empty),
            (" \u{2003} ", NameError::Empty),
            ("\u{200b}\u{200b}", NameError::Empty),
            ("\u{feff}", NameError::Empty),
            ("\u{3164}\u{ffa0}", NameError::Empty),
            ("\u{2800}", NameError::Empty),
            ("\u{301} \u{34f}", NameError::Empty),
            ("\u{2067}\u{2069}", NameError::Empty),
            ("abc\u{202e}def", NameError::TextDirection),
            ("abc\u{2067}def", NameError::TextDirection),
            (too_long.as_str(), NameError::TooLong),
            ("a\nb", NameError::ControlCharacter),
            ("a\0b", NameError::ControlCharacter),
            ("a\u{85}b", NameError::ControlCharacter),
        ] {
            assert_eq!(Name::parse(name), Err(error), "{name:?}");
        }
    }

    #[test]
    fn name_is_normalized_before_it_is_measured() {
        assert_eq!(Name::parse("Zoe\u{308}").unwrap().as_str(), "Zo\u{eb}");
        let composed = "e\u{301}".repeat(200);
        assert_eq!(Name::parse(&composed).unwrap().as_str(), "\u{e9}".repeat(200));
        // U+0958 is two characters in normalization form C.
        assert_eq!(Name::parse(&"\u{958}".repeat(101)), Err(NameError::TooLong));
    }

    #[test]
    fn internationalized_domain_is_converted_to_ascii() {
        for (email, ascii) in [
            ("Ann@b\u{fc}cher.example", "Ann@xn--bcher-kva.example"),
            ("ann@BU\u{308}CHER.Example", "ann@xn--bcher-kva.example"),
            ("a@\u{4f8b}\u{3048}\u{3002}\u{30c6}\u{30b9}\u{30c8}", "a@xn--r8jz45g.xn--zckzah"),
            ("a@\u{e9}", "a@xn--9ca"),
        ] {
            assert_eq!(Email::parse(email).unwrap().as_str(), ascii, "{email}");
        }
        let too_long = format!("a@{}", vec!["\u{fc}".repeat(40); 6].join("."));
        assert!(Email::parse(&too_long).is_err(), "the ASCII form counts");
    }

    #[test]
    fn email_that_browsers_accept_is_accepted() {
        let longest_label = format!("a@{}", "x".repeat(63));
        let longest = format!("{}@example.org", "x".repeat(242));
        for email in
            ["a@b", "a.b+c@Example.ORG", "!#$%&'*+/=?^_`{|}~-@x-y.z", ".@a", &longest_label, &longest]
        {
            assert_eq!(Email::parse(&format!(" {email} ")).unwrap().as_str(), email);
        }
    }

    #[test]
    fn email_that_browsers_refuse_is_refused() {
        let too_long = format!("{}@example.org", "x".repeat(243));
        assert_eq!(Email::parse(&too_long), Err(EmailError::TooLong));
        for empty in ["", " "] {
            assert_eq!(Email::parse(empty), Err(EmailError::Empty));
        }
        let too_long_label = format!("a@{}", "x".repeat(64));
        for email in [
            "a",
            "@b",
            "a@",
            "a b@c",
            "a@b@c",
            "a@-b",
            "a@b-",
            "a@b..c",
            "a@b.",
            "é@b",
            "a@é é",
            "a@é..b",
            "a@é@b",
            "a@\u{202e}é",
            "a@xn--é",
            "\"a\"@b",
            &too_long_label,
        ] {
            assert_eq!(Email::parse(email), Err(EmailError::Malformed), "{email:?}");
        }
    }
}
