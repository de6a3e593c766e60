//! A style sheet that browsers fetch once, until it changes.

use std::fmt;

use axum::{
    extract::Path,
    http::header,
    response::{IntoResponse, Response},
};

/// A style sheet under an address that changes with it: `/style/{version}.css`. Display gives the address.
#[derive(Debug, Clone, Copy)]
pub struct Stylesheet {
    css: &'static str,
    version: u64,
}

impl Stylesheet {
    /// The route to serve it at.
    pub const ROUTE: &str = "/style/{version}";

    /// The version is the text's FNV-1a hash.
    #[must_use]
    pub const fn new(css: &'static str) -> Self {
        let (bytes, mut version, mut at) = (css.as_bytes(), 0xcbf2_9ce4_8422_2325_u64, 0);
        while at < bytes.len() {
            version = (version ^ bytes[at] as u64).wrapping_mul(0x0000_0100_0000_01b3);
            at += 1;
        }
        Self { css, version }
    }

    /// Answers with it, whatever version was asked for: while a new one is rolled out, a page and its
    /// style may come from different instances.
    #[must_use]
    pub fn serve(self, Path(asked): Path<String>) -> Response {
        let current = self.to_string().ends_with(&format!("/{asked}"));
        let cache = if current { "public, max-age=31536000, immutable" } else { "no-cache" };
        let headers = [(header::CONTENT_TYPE, "text/css; charset=utf-8"), (header::CACHE_CONTROL, cache)];
        (headers, self.css).into_response()
    }
}

impl fmt::Display for Stylesheet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "/style/{:016x}.css", self.version)
    }
}
