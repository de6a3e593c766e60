//! Messages for the fields of a form, on the page and in JSON.

use crate::customer::{EmailError, NameError};

/// The message for each invalid field: what to do about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldErrors {
    pub(super) name: Option<&'static str>,
    pub(super) email: Option<&'static str>,
    pub(super) marketing_consent: Option<&'static str>,
}

/// The consent is neither yes nor no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ConsentError;

impl FieldErrors {
    pub(super) fn new(
        name: Option<NameError>,
        email: Option<EmailError>,
        marketing_consent: Option<ConsentError>,
    ) -> Self {
        Self {
            name: name.map(name_message),
            email: email.map(email_message),
            marketing_consent: marketing_consent
                .map(|ConsentError| "Answer with true or false, or leave it out."),
        }
    }

    pub(super) fn email_taken() -> Self {
        let email = Some("This e-mail address is registered already. Use another one.");
        Self { email, ..Self::default() }
    }

    /// Returns the invalid fields and their messages, in the order of the form.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let fields =
            [("name", self.name), ("email", self.email), ("marketing_consent", self.marketing_consent)];
        fields.into_iter().filter_map(|(field, message)| Some((field, message?)))
    }
}

fn name_message(error: NameError) -> &'static str {
    match error {
        NameError::Empty => "Enter your name.",
        NameError::TooLong => "Use at most 200 characters for your name.",
        NameError::TextDirection => {
            "Leave out invisible characters that change the direction of text from your name."
        }
        NameError::ControlCharacter => "Leave out line breaks and other control characters from your name.",
    }
}

fn email_message(error: EmailError) -> &'static str {
    match error {
        EmailError::Empty => "Enter your e-mail address.",
        EmailError::TooLong => "Use an e-mail address of at most 254 characters.",
        EmailError::Malformed => "Enter an e-mail address like name@example.com.",
    }
}
