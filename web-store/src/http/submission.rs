//! What somebody typed, as typed; and what is wrong with it.

use percent_encoding::percent_decode;
use serde_json::Value;
use uuid::Uuid;

use crate::{
    customer::{Email, Name},
    version::Version,
};

/// The fields of a registration as they came in, so that they can be shown again.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Submission {
    pub(super) name: String,
    pub(super) email: String,
    /// `on` and `true` mean yes; empty, `off` and `false` mean no.
    pub(super) marketing_consent: String,
    /// Made with the form, so that it comes again if the form does.
    pub(super) idempotency_key: String,
}

/// What to do about each field.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Invalid {
    pub(super) name: Option<&'static str>,
    pub(super) email: Option<&'static str>,
    pub(super) marketing_consent: Option<&'static str>,
}

impl Submission {
    /// A form to fill in.
    pub(super) fn empty() -> Self {
        Self::default().with_new_key()
    }

    /// The same form, to be sent as another one.
    pub(super) fn with_new_key(self) -> Self {
        Self { idempotency_key: Uuid::now_v7().to_string(), ..self }
    }

    /// Reads `application/x-www-form-urlencoded`. Of a field that comes twice the first counts.
    ///
    /// # Errors
    /// What is wrong with it, for whoever sent it.
    pub fn from_form(body: &[u8]) -> Result<Self, String> {
        let mut submission = Self::default();
        let mut seen = Vec::new();
        for pair in body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let equals = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
            let (name, value) = (decoded(&pair[..equals])?, decoded(pair.get(equals + 1..).unwrap_or(b""))?);
            if let Some(field) = submission.field(&name)
                && !seen.contains(&name)
            {
                *field = value;
                seen.push(name);
            }
        }
        Ok(submission)
    }

    /// Reads `application/json`: an object whose fields are strings, and a boolean for the consent.
    pub(super) fn from_json(body: &[u8]) -> Result<Self, String> {
        let body = std::str::from_utf8(body).map_err(|_| NOT_UTF8.to_owned())?;
        let value: Value =
            serde_json::from_str(body).map_err(|error| format!("The body is not JSON: {error}."))?;
        let Value::Object(object) = value else {
            return Err(
                "The body has to be a JSON object with the fields name, email, marketing_consent.".into()
            );
        };
        let mut submission = Self::default();
        for (name, value) in object {
            if let Some(field) = submission.field(&name) {
                *field = match value {
                    Value::String(text) => text,
                    Value::Bool(yes) if name == "marketing_consent" => yes.to_string(),
                    Value::Null => String::new(),
                    _ => return Err(format!("The field {name} has to be {}.", json_type(&name))),
                };
            }
        }
        Ok(submission)
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

    /// What can be changed of a customer, as if they had typed it.
    pub(super) fn of(version: &Version) -> Self {
        let consent = if version.customer.marketing_consent { "on" } else { "" };
        let name = version.customer.name.as_str().to_owned();
        Self { name, marketing_consent: consent.to_owned(), ..Self::default() }
    }

    /// Parses all fields, so that all messages can be shown at once.
    ///
    /// # Errors
    /// What to do about each field.
    pub fn parse(&self) -> Result<(Name, Email, bool), Invalid> {
        match (Name::parse(&self.name), Email::parse(&self.email), self.parse_consent()) {
            (Ok(name), Ok(email), Ok(consent)) => Ok((name, email, consent)),
            (name, email, consent) => {
                Err(Invalid { name: name.err(), email: email.err(), marketing_consent: consent.err() })
            }
        }
    }

    /// As [`Submission::parse`], the fields that can be changed.
    pub(super) fn parse_details(&self) -> Result<(Name, bool), Invalid> {
        match (Name::parse(&self.name), self.parse_consent()) {
            (Ok(name), Ok(consent)) => Ok((name, consent)),
            (name, consent) => {
                Err(Invalid { name: name.err(), email: None, marketing_consent: consent.err() })
            }
        }
    }

    fn parse_consent(&self) -> Result<bool, &'static str> {
        match self.marketing_consent.as_str() {
            "on" | "true" => Ok(true),
            "" | "off" | "false" => Ok(false),
            _ => Err("Answer with true or false, or leave it out."),
        }
    }

    pub(super) fn consents(&self) -> bool {
        matches!(self.marketing_consent.as_str(), "on" | "true")
    }
}

impl Invalid {
    pub(super) fn email_taken() -> Self {
        let email = Some("This e-mail address is registered already. Use another one.");
        Self { email, ..Self::default() }
    }

    /// The fields that have a message, in the order of the form.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let fields =
            [("name", self.name), ("email", self.email), ("marketing_consent", self.marketing_consent)];
        fields.into_iter().filter_map(|(field, message)| Some((field, message?)))
    }
}

const NOT_UTF8: &str = "The text is not UTF-8.";

fn decoded(encoded: &[u8]) -> Result<String, String> {
    let spaced: Vec<u8> = encoded.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    let text = percent_decode(&spaced).decode_utf8().map_err(|_| NOT_UTF8.to_owned())?;
    Ok(text.into_owned())
}

fn json_type(field: &str) -> &'static str {
    if field == "marketing_consent" { "true or false" } else { "a string" }
}

#[cfg(test)]
mod tests {
    use super::Submission;

    fn submission(name: &str, email: &str, marketing_consent: &str) -> Submission {
        let marketing_consent = marketing_consent.into();
        Submission { name: name.into(), email: email.into(), marketing_consent, ..Submission::default() }
    }

    #[test]
    fn a_form_is_decoded_as_browsers_encode_it() {
        let read = Submission::from_form(b"name=Zo%C3%AB+%2B+%26&email=a%40b&marketing_consent=on&x=1");
        assert_eq!(read, Ok(submission("Zoë + &", "a@b", "on")));
        assert_eq!(Submission::from_form(b"name=a&name=b&&email"), Ok(submission("a", "", "")));
    }

    #[test]
    fn json_has_strings_and_a_boolean() {
        let read =
            Submission::from_json(r#"{"name":"Zoë","email":"a@b","marketing_consent":true}"#.as_bytes());
        assert_eq!(read, Ok(submission("Zoë", "a@b", "true")));
        assert_eq!(Submission::from_json(br#"{"name":null,"more":[1]}"#), Ok(submission("", "", "")));
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for form in [&b"name=%FF"[..], b"name=\xff", b"%C3=x"] {
            assert!(Submission::from_form(form).is_err(), "{form:?}");
        }
        for json in [&b"{"[..], b"\"\xff\"", b"[]", b"{\"name\":1}", b"{\"marketing_consent\":\"\xff\"}"] {
            assert!(Submission::from_json(json).is_err(), "{json:?}");
        }
    }

    #[test]
    fn every_field_with_a_problem_is_named() {
        let invalid = submission("", "nobody", "perhaps").parse().unwrap_err();
        let fields: Vec<_> = invalid.fields().map(|(field, _)| field).collect();
        assert_eq!(fields, ["name", "email", "marketing_consent"]);
    }
}
