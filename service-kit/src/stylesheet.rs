//! A style sheet that browsers cache until it changes.

use std::fmt;

use axum::{
    extract::Path,
    http::header,
    response::{IntoResponse, Response},
};

/// The part that the pages of operators share: colors, text, fields, and buttons.
pub const BASE_STYLE: &str = include_str!("../assets/base.css");

/// A style sheet at an address that changes with its text: `/style/{version}.css`.
///
/// `Display` writes that address.
#[derive(Debug, Clone, Copy)]
pub struct Stylesheet {
    parts: &'static [&'static str],
    version: u64,
}

impl Stylesheet {
    /// The route for [`Self::serve`].
    pub const ROUTE: &str = "/style/{version}";

    /// Returns the style sheet of these parts, with the FNV-1a hash of their text as the version.
    #[must_use]
    pub const fn new(parts: &'static [&'static str]) -> Self {
        let mut version = 0xcbf2_9ce4_8422_2325_u64;
        let mut part = 0;
        while part < parts.len() {
            let bytes = parts[part].as_bytes();
            let mut index = 0;
            while index < bytes.len() {
                version = (version ^ bytes[index] as u64).wrapping_mul(0x0000_0100_0000_01b3);
                index += 1;
            }
            part += 1;
        }
        Self { parts, version }
    }

    /// Responds with the style sheet for every requested version.
    ///
    /// During a rollout, a page and its style sheet can come from different instances. A response to another
    /// version is not cached.
    #[must_use]
    pub fn serve(self, Path(requested): Path<String>) -> Response {
        let is_current = self.to_string().ends_with(&format!("/{requested}"));
        let cache = if is_current { "public, max-age=31536000, immutable" } else { "no-cache" };
        let headers = [(header::CONTENT_TYPE, "text/css; charset=utf-8"), (header::CACHE_CONTROL, cache)];
        (headers, self.parts.concat()).into_response()
    }
}

impl fmt::Display for Stylesheet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "/style/{:016x}.css", self.version)
    }
}
