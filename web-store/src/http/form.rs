//! The fields of a registration or of a details update, as the client sent them.

use percent_encoding::percent_decode;
use serde_json::Value;
use thiserror::Error;
use uuid::Uuid;

use super::field_errors::{ConsentError, FieldErrors};
use crate::{
    customer::{Customer, Email, Name},
    version::{CustomerVersion, DetailsUpdate},
};

/// The fields as they were sent, so that a page can show them again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegistrationForm {
    pub(super) name: String,
    pub(super) email: String,
    /// `on` and `true` mean yes; empty, `off` and `false` mean no.
    pub(super) marketing_consent: String,
    /// Created with the form, so that the same form always has the same key.
    pub(super) idempotency_key: String,
}

/// The reason why a body could not be decoded. The text is for the client.
#[derive(Debug, Error)]
pub enum FormError {
    /// The body is not UTF-8.
    #[error("The text is not UTF-8.")]
    NotUtf8,
    /// The body is not JSON.
    #[error("The body is not JSON: {0}.")]
    NotJson(#[from] serde_json::Error),
    /// The body is JSON, but not an object.
    #[error("The body has to be a JSON object with the fields name, email, marketing_consent.")]
    NotAnObject,
    /// A field has another type.
    #[error("The field {field} has to be {expected}.")]
    WrongType {
        /// The name of the field.
        field: String,
        /// The type that it should have.
        expected: &'static str,
    },
}

impl RegistrationForm {
    /// Returns an empty form with a new idempotency key.
    pub(super) fn empty() -> Self {
        Self::default().with_new_key()
    }

    /// Returns the same fields with a new idempotency key, for another registration.
    pub(super) fn with_new_key(self) -> Self {
        Self { idempotency_key: Uuid::now_v7().to_string(), ..self }
    }

    /// Decodes `application/x-www-form-urlencoded`. The first occurrence of a field counts.
    ///
    /// # Errors
    /// Returns [`FormError::NotUtf8`] if a name or a value is not UTF-8.
    pub fn from_urlencoded(body: &[u8]) -> Result<Self, FormError> {
        // The parser replaces invalid bytes. The separators are ASCII, so the body is UTF-8 exactly if
        // every name and every value is.
        percent_decode(body).decode_utf8().map_err(|_| FormError::NotUtf8)?;
        let mut form = Self::default();
        let mut seen = Vec::new();
        for (name, value) in form_urlencoded::parse(body) {
            if let Some(field) = form.field(&name)
                && !seen.contains(&name)
            {
                *field = value.into_owned();
                seen.push(name);
            }
        }
        Ok(form)
    }

    /// Decodes `application/json`: an object of strings, with a boolean for the consent.
    ///
    /// # Errors
    /// Returns [`FormError`] if the body is not such an object.
    pub fn from_json(body: &[u8]) -> Result<Self, FormError> {
        let body = std::str::from_utf8(body).map_err(|_| FormError::NotUtf8)?;
        // RFC 8259, section 8.1, allows to ignore a byte order mark.
        let body = body.strip_prefix('\u{feff}').unwrap_or(body);
        let Value::Object(object) = serde_json::from_str(body)? else {
            return Err(FormError::NotAnObject);
        };
        let mut form = Self::default();
        for (name, value) in object {
            if let Some(field) = form.field(&name) {
                *field = match value {
                    Value::String(text) => text,
                    Value::Bool(yes) if name == "marketing_consent" => yes.to_string(),
                    Value::Null => String::new(),
                    _ => return Err(FormError::WrongType { expected: json_type(&name), field: name }),
                };
            }
        }
        Ok(form)
    }

    fn field(&mut self, name: &str) -> Option<&mut String> {
        match name {
            "name" => Some(&mut self.name),
            "email" => Some(&mut self.email),
            "marketing_consent" => Some(&mut self.marketing_consent),
            "idempotency_key" => Some(&mut self.idempotency_key),
            _ => None,
        }
    }

    /// Returns a form with the details that a customer can change.
    pub(super) fn from_version(version: &CustomerVersion) -> Self {
        let consent = if version.customer.marketing_consent { "on" } else { "" };
        let name = version.customer.name.as_str().to_owned();
        Self { name, marketing_consent: consent.to_owned(), ..Self::default() }
    }

    /// Parses all fields into a new customer.
    ///
    /// # Errors
    /// Returns [`FieldErrors`] if any field is invalid, with a message for each of them.
    pub fn parse_customer(&self) -> Result<Customer, FieldErrors> {
        match (Name::parse(&self.name), Email::parse(&self.email), self.parse_consent()) {
            (Ok(name), Ok(email), Ok(consent)) => Ok(Customer::new(name, email, consent)),
            (name, email, consent) => Err(FieldErrors::new(name.err(), email.err(), consent.err())),
        }
    }

    /// Parses the fields that a customer can change.
    ///
    /// # Errors
    /// Returns [`FieldErrors`] if any of them is invalid, with a message for each.
    pub(super) fn parse_details(&self) -> Result<DetailsUpdate, FieldErrors> {
        match (Name::parse(&self.name), self.parse_consent()) {
            (Ok(name), Ok(marketing_consent)) => Ok(DetailsUpdate { name, marketing_consent }),
            (name, consent) => Err(FieldErrors::new(name.err(), None, consent.err())),
        }
    }

    fn parse_consent(&self) -> Result<bool, ConsentError> {
        match self.marketing_consent.as_str() {
            "on" | "true" => Ok(true),
            "" | "off" | "false" => Ok(false),
            _ => Err(ConsentError),
        }
    }

    /// Returns whether the form's box is checked.
    pub(super) fn consents(&self) -> bool {
        self.parse_consent() == Ok(true)
    }
}

fn json_type(field: &str) -> &'static str {
    if field == "marketing_consent" { "true or false" } else { "a string" }
}

#[cfg(test)]
mod tests {
    use super::{FormError, RegistrationForm};

    fn form(name: &str, email: &str, marketing_consent: &str) -> RegistrationForm {
        let marketing_consent = marketing_consent.into();
        RegistrationForm { name: name.into(), email: email.into(), marketing_consent, ..Default::default() }
    }

    #[test]
    fn form_is_decoded_as_browsers_encode_it() {
        let decoded =
            RegistrationForm::from_urlencoded(b"name=Zo%C3%AB+%2B+%26&email=a%40b&marketing_consent=on&x=1");
        assert_eq!(decoded.unwrap(), form("Zoë + &", "a@b", "on"));
        let decoded = RegistrationForm::from_urlencoded(b"name=a&name=b&&email");
        assert_eq!(decoded.unwrap(), form("a", "", ""));
    }

    #[test]
    fn replacement_character_in_a_form_is_no_decoding_error() {
        let decoded = RegistrationForm::from_urlencoded("name=%EF%BF%BD&email=\u{fffd}".as_bytes());
        assert_eq!(decoded.unwrap(), form("\u{fffd}", "\u{fffd}", ""));
    }

    #[test]
    fn json_has_strings_and_a_boolean() {
        let decoded = RegistrationForm::from_json(
            r#"{"name":"Zoë","email":"a@b","marketing_consent":true}"#.as_bytes(),
        );
        assert_eq!(decoded.unwrap(), form("Zoë", "a@b", "true"));
        let decoded = RegistrationForm::from_json(br#"{"name":null,"more":[1]}"#);
        assert_eq!(decoded.unwrap(), form("", "", ""));
        let decoded = RegistrationForm::from_json(b"\xef\xbb\xbf{\"name\":\"Ann\"}");
        assert_eq!(decoded.unwrap(), form("Ann", "", ""), "after a byte order mark");
    }

    #[test]
    fn undecodable_body_is_refused() {
        for body in [&b"name=%FF"[..], b"name=\xff", b"%C3=x", b"name=%C3&email=%AB", b"x=%C3+%AB"] {
            let error = RegistrationForm::from_urlencoded(body).unwrap_err();
            assert!(matches!(error, FormError::NotUtf8), "{body:?}");
        }
        for json in [&b"{"[..], b"\"\xff\"", b"[]", b"{\"name\":1}", b"{\"marketing_consent\":\"\xff\"}"] {
            assert!(RegistrationForm::from_json(json).is_err(), "{json:?}");
        }
    }

    #[test]
    fn every_invalid_field_has_a_message() {
        let errors = form("", "no address", "perhaps").parse_customer().unwrap_err();
        let fields: Vec<_> = errors.fields().map(|(field, _)| field).collect();
        assert_eq!(fields, ["name", "email", "marketing_consent"]);
    }
}
