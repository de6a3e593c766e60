//! A change of a released contract, and who cannot live with it.

use std::fmt;

/// What was changed, where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breakage {
    /// The field, `outer.inner` within another; empty for the message itself.
    pub field: String,
    /// What was done to it.
    pub change: Change,
}

/// What was done. Texts say what it was before, and what it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The field is no more.
    Removed,
    /// A field of another name has its place.
    Renamed(String),
    /// It is of another type or format.
    Retyped(String),
    /// It may no longer be left out; or it is new and may not be left out.
    MadeRequired,
    /// It may be left out now.
    MadeOptional,
    /// Fewer values are allowed.
    Narrowed(String),
    /// More values are allowed.
    Widened(String),
    /// Its text, its unit, its address, or whether it is personal data.
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
            Change::Removed => {
                write!(f, "was removed: a reader of the released version looks for it in vain")
            }
            Change::Renamed(name) => write!(
                f,
                "was renamed to `{name}`: a reader of the released version looks for the old name in vain, \
                 and a writer of the released version goes on sending it"
            ),
            Change::Retyped(words) => write!(
                f,
                "was retyped, {words}: a reader of the released version cannot read what is written now, nor a \
                 reader of today what is already on its way"
            ),
            Change::MadeRequired => write!(
                f,
                "was made required: a writer of the released version leaves it out, and today's reader refuses that"
            ),
            Change::MadeOptional => write!(
                f,
                "was made optional: a reader of the released version counts on it and refuses a message without"
            ),
            Change::Narrowed(words) => write!(
                f,
                "was narrowed, {words}: a writer of the released version may send what is not allowed any more"
            ),
            Change::Widened(words) => write!(
                f,
                "was widened, {words}: a reader of the released version may get what it has no room for"
            ),
            Change::MeaningChanged(words) => write!(
                f,
                "means something else, {words}: a reader of the released version goes on taking it as before, \
                 and a writer of the released version goes on meaning what it meant"
            ),
        }
    }
}
