//! The users of the page, and what their roles permit.

/// A user who may see the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    /// The name for the journal.
    pub(super) name: String,
    pub(super) role: Role,
    /// Whether the user has a session here, and can log out.
    pub(super) has_session: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// May look.
    Viewer,
    /// May also move dead letters.
    Operator,
}
