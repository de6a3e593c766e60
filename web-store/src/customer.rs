//! What a customer is: parsed once from what was typed, and trusted from then on.

use chrono::{DateTime, SubsecRound, Utc};
use contracts::CustomerRegistered;
use uuid::Uuid;

const NAME_CHARACTERS: usize = 200;

/// The longest address that fits into an SMTP path. RFC 5321, section 4.5.3.1.3, less the brackets.
const EMAIL_BYTES: usize = 254;

/// RFC 1035, section 2.3.4.
const LABEL_BYTES: usize = 63;

/// A name: 1 to 200 characters of any script, trimmed, without control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

/// An e-mail address as browsers accept it in `<input type=email>`, at most 254 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email(String);

/// Somebody who is being registered, or was.
#[derive(Debug, Clone)]
pub struct Customer {
    /// A UUID v7, given here.
    pub id: Uuid,
    /// The name.
    pub name: Name,
    /// The address, as typed.
    pub email: Email,
    /// Whether marketing messages are welcome.
    pub marketing_consent: bool,
    /// In whole microseconds, which is what the database and the event keep.
    pub registered_at: DateTime<Utc>,
}

impl Name {
    /// Parses a name as typed.
    ///
    /// # Errors
    /// What to do about it, for the person who typed it.
    pub fn parse(typed: &str) -> Result<Self, &'static str> {
        let name = typed.trim();
        if name.is_empty() {
            Err("Enter your name.")
        } else if name.chars().count() > NAME_CHARACTERS {
            Err("Use at most 200 characters for your name.")
        } else if name.contains(char::is_control) {
            Err("Leave out line breaks and other control characters from your name.")
        } else {
            Ok(Self(name.to_owned()))
        }
    }

    /// A name that was parsed before it was stored.
    pub(crate) fn stored(name: String) -> Self {
        Self(name)
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Email {
    /// Parses an address as typed, by the definition of
    /// <https://html.spec.whatwg.org/multipage/input.html#valid-e-mail-address>.
    ///
    /// # Errors
    /// What to do about it, for the person who typed it.
    pub fn parse(typed: &str) -> Result<Self, &'static str> {
        let email = typed.trim();
        if email.is_empty() {
            return Err("Enter your e-mail address.");
        }
        if email.len() > EMAIL_BYTES {
            return Err("Use an e-mail address of at most 254 characters.");
        }
        match email.split_once('@') {
            Some((local, domain)) if is_local_part(local) && domain.split('.').all(is_label) => {
                Ok(Self(email.to_owned()))
            }
            _ => Err("Enter an e-mail address like name@example.com."),
        }
    }

    /// An address that was parsed before it was stored.
    pub(crate) fn stored(email: String) -> Self {
        Self(email)
    }

    /// The address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
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
    /// Somebody new, as of now.
    #[must_use]
    pub fn new(name: Name, email: Email, marketing_consent: bool) -> Self {
        let registered_at = Utc::now().trunc_subsecs(6);
        Self { id: Uuid::now_v7(), name, email, marketing_consent, registered_at }
    }

    /// The fact that is to be told.
    #[must_use]
    pub fn registered(&self) -> CustomerRegistered {
        CustomerRegistered {
            customer_id: self.id,
            name: self.name.0.clone(),
            email: self.email.0.clone(),
            marketing_consent: self.marketing_consent,
            registered_at: self.registered_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Email, Name};

    #[test]
    fn a_name_is_any_text_of_1_to_200_characters() {
        let longest = "王".repeat(200);
        for name in ["X", "Zoë Ó Dálaigh", "O'Brien <b>", "محمد", longest.as_str()] {
            assert_eq!(Name::parse(&format!("  {name}\t")).unwrap().as_str(), name);
        }
    }

    #[test]
    fn a_name_is_not_empty_too_long_or_with_control_characters() {
        for name in ["", " \u{2003} ", &"x".repeat(201), "a\nb", "a\0b", "a\u{85}b"] {
            assert!(Name::parse(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn an_email_is_what_a_browser_accepts() {
        let longest_label = format!("a@{}", "x".repeat(63));
        let longest = format!("{}@example.org", "x".repeat(242));
        for email in
            ["a@b", "a.b+c@Example.ORG", "!#$%&'*+/=?^_`{|}~-@x-y.z", ".@a", &longest_label, &longest]
        {
            assert_eq!(Email::parse(&format!(" {email} ")).unwrap().as_str(), email);
        }
    }

    #[test]
    fn an_email_is_not_what_a_browser_refuses() {
        let too_long = format!("{}@example.org", "x".repeat(243));
        let too_long_label = format!("a@{}", "x".repeat(64));
        for email in [
            "",
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
            "a@é",
            "\"a\"@b",
            &too_long,
            &too_long_label,
        ] {
            assert!(Email::parse(email).is_err(), "{email:?}");
        }
    }
}
