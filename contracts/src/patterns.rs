//! Patterns for text fields: regular expressions with the same meaning in ECMA-262, Python, and Rust.
//!
//! Control characters are Unicode's category Cc. White space is Unicode's property `White_Space`. Both are
//! listed character by character, because `\s` differs between the engines.

/// The type of a message: `<owner>.<message>.v<major version>`.
pub(crate) const MESSAGE_TYPE: &str = r"^[a-z0-9-]+\.[a-z0-9-]+\.v[1-9][0-9]*$";

/// Text without control characters that is not white space alone.
pub(crate) const LINE: &str = concat!(
    r"^[^\u0000-\u001f\u007f-\u009f]*",
    r"[^\u0000-\u0020\u007f-\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]",
    r"[^\u0000-\u001f\u007f-\u009f]*$"
);

/// Text without control characters and without white space at either end.
pub(crate) const TRIMMED_LINE: &str = concat!(
    r"^[^\u0000-\u0020\u007f-\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]",
    r"([^\u0000-\u001f\u007f-\u009f]*",
    r"[^\u0000-\u0020\u007f-\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000])?$"
);

/// One `@` with at least one character before and after it, and no white space or control characters.
pub(crate) const EMAIL: &str = concat!(
    r"^[^@\u0000-\u0020\u007f-\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+@",
    r"[^@\u0000-\u0020\u007f-\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+$"
);

/// The e-mail addresses that HTML accepts.
/// <https://html.spec.whatwg.org/multipage/input.html#valid-e-mail-address>
pub(crate) const HTML_EMAIL: &str = concat!(
    r"^[a-zA-Z0-9.!#$%&'*+/=?^_`{|}~-]+@",
    r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?",
    r"(\.[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$"
);
