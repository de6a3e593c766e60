//! Who is logged in: a cookie holds a random token, and this process knows the tokens that it gave.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
    response::Redirect,
};
use uuid::Uuid;

use super::App;

const COOKIE: &str = "marketing_session";

/// A working day. Then, or when this process ends, the operator logs in again.
const LIFE: Duration = Duration::from_hours(10);

/// One operator has a few browsers; memory is bounded all the same.
const MOST: usize = 100;

/// The tokens that are good, and until when.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<HashMap<Uuid, Instant>>);

impl Sessions {
    /// A new session, as a `Set-Cookie` header.
    pub(super) fn begin(&self, https: bool) -> String {
        // 122 random bits from the operating system.
        let token = Uuid::new_v4();
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|_, end| *end > Instant::now());
        if sessions.len() >= MOST {
            sessions.clear();
        }
        sessions.insert(token, Instant::now() + LIFE);
        cookie(&token.to_string(), LIFE.as_secs(), https)
    }

    /// Ends the request's session, for good; a `Set-Cookie` header that takes the cookie back.
    pub(super) fn end(&self, headers: &HeaderMap, https: bool) -> String {
        if let Some(token) = token(headers) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&token);
        }
        cookie("", 0, https)
    }

    fn has(&self, token: Uuid) -> bool {
        let sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.get(&token).is_some_and(|end| *end > Instant::now())
    }
}

fn cookie(value: &str, seconds: u64, https: bool) -> String {
    let secure = if https { "; Secure" } else { "" };
    format!("{COOKIE}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}")
}

fn token(headers: &HeaderMap) -> Option<Uuid> {
    let values = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = values.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE)?.1.parse().ok()
}

/// A request of somebody who is logged in. Others are sent to the login.
#[derive(Debug)]
pub(super) struct LoggedIn;

impl FromRequestParts<App> for LoggedIn {
    type Rejection = Redirect;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Redirect> {
        let known = token(&parts.headers).is_some_and(|token| app.sessions.has(token));
        if known { Ok(Self) } else { Err(Redirect::to("/log-in")) }
    }
}
