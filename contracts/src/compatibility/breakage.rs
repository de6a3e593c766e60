//! A breaking change of a released contract, and the readers or writers that it breaks.

use std::fmt;

/// A breaking change of one field or of the message itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breakage {
    /// The field, as `outer.inner` if nested. Empty for the message itself.
    pub field: String,
    /// The change of the field.
    pub change: Change,
}

/// The kind of change. The texts contain the old and the new value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The field does not exist any more.
    Removed,
    /// A field with this other name has taken its place.
    Renamed(String),
    /// The field has another type or format.
    Retyped(String),
    /// The field was optional or did not exist, and is required now.
    MadeRequired,
    /// The field was required and is optional now.
    MadeOptional,
    /// Fewer values are allowed.
    Narrowed(String),
    /// More values are allowed.
    Widened(String),
    /// The description, the unit, the address, or the classification as personal data has changed.
    MeaningChanged(String),
}

impl Breakage {
    pub(super) fn new(field: &str, change: Change) -> Self {
        Self { field: field.to_owned(), change }
    }
}

impl fmt::Display for Breakage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => write!(f, "the message ")?,
            field => write!(f, "`{field}` ")?,
        }
        match &self.change {
            Change::Removed => write!(f, "was removed: a reader of the released version still needs it"),
            Change::Renamed(name) => write!(
                f,
                "was renamed to `{name}`: a reader of the released version still needs the old name, and a \
                 writer of the released version still sends it"
            ),
            Change::Retyped(details) => write!(
                f,
                "was retyped, {details}: a reader of the released version cannot read new messages, and a new \
                 reader cannot read messages that are already on their way"
            ),
            Change::MadeRequired => write!(
                f,
                "was made required: a writer of the released version may omit it, and a new reader rejects that"
            ),
            Change::MadeOptional => {
                write!(f, "was made optional: a reader of the released version rejects a message without it")
            }
            Change::Narrowed(details) => write!(
                f,
                "was narrowed, {details}: a writer of the released version may send values that are not \
                 allowed any more"
            ),
            Change::Widened(details) => write!(
                f,
                "was widened, {details}: a reader of the released version may get values that it cannot store"
            ),
            Change::MeaningChanged(details) => write!(
                f,
                "has another meaning, {details}: readers and writers of the released version keep the old meaning"
            ),
        }
    }
}
