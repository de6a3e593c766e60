//! Logging in with the operators' password: the password, the sessions, and the protection against other sites.
//!
//! A service renders its own pages. A request is logged in if [`Login::session_name`] returns a name.

mod credentials;
mod password;
mod sessions;

use std::{net::SocketAddr, time::Duration};

use access::{Secret, SecretError};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum_extra::extract::cookie::{CookieJar, SignedCookieJar};
use chrono::Utc;
use tokio::time::sleep;

pub use password::{PasswordHash, hash_password};

use crate::{RateLimit, TrustedProxies};
use credentials::Credentials;

/// Attempts to log in, per client.
const LOGINS_PER_MINUTE: u32 = 10;

/// Delay of the response to a wrong password, in addition to the verification.
const FAILURE_DELAY: Duration = Duration::from_secs(1);

/// The log-in of one service. Every page behind it has the same password.
pub struct Login {
    credentials: Credentials,
    attempts: RateLimit,
    proxies: TrustedProxies,
}

/// The reason for which a request is not logged in or out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginRefusal {
    /// Another site caused the request.
    CrossSite,
    /// The client has made too many attempts. It may try again after this time.
    TooManyAttempts(Duration),
    /// The password is wrong.
    WrongPassword,
}

impl LoginRefusal {
    /// Returns the status of the response.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::CrossSite | Self::WrongPassword => StatusCode::FORBIDDEN,
            Self::TooManyAttempts(_) => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    /// Returns the explanation for the page.
    #[must_use]
    pub fn explanation(self) -> &'static str {
        match self {
            Self::CrossSite => "The request came from another site. Open this page yourself and try again.",
            Self::TooManyAttempts(_) => "There were too many attempts. Wait a minute, then try again.",
            Self::WrongPassword => "This is not the password.",
        }
    }

    /// Returns the header `retry-after` in seconds, if the client may try again later.
    #[must_use]
    pub fn retry_after(self) -> Option<[(HeaderName, String); 1]> {
        match self {
            Self::TooManyAttempts(wait) => Some([(header::RETRY_AFTER, (wait.as_secs() + 1).to_string())]),
            Self::CrossSite | Self::WrongPassword => None,
        }
    }
}

impl Login {
    /// Returns the log-in of a service, such as `marketing`, whose operators' password has this hash.
    ///
    /// A file with the hash is read again for each request. Another hash ends all sessions. While the file cannot be read,
    /// the last hash stays valid.
    ///
    /// # Errors
    /// Returns [`SecretError`] if the file with the hash cannot be used.
    pub fn new(
        service: &'static str,
        hash: Secret<PasswordHash>,
        proxies: TrustedProxies,
    ) -> Result<Self, SecretError> {
        let credentials = Credentials::new(service, hash)?;
        Ok(Self { credentials, attempts: RateLimit::per_minute(LOGINS_PER_MINUTE), proxies })
    }

    /// Verifies a password, and returns the cookie of a new session. `name` is the name that the operator gave.
    ///
    /// # Errors
    /// Returns a [`LoginRefusal`] if the request came from another site, too often, or with a wrong password.
    pub async fn log_in(
        &self,
        peer: SocketAddr,
        headers: &HeaderMap,
        password: String,
        name: &str,
    ) -> Result<SignedCookieJar, LoginRefusal> {
        if is_cross_site(headers) {
            return Err(LoginRefusal::CrossSite);
        }
        let client = self.proxies.client(peer, headers);
        if let Err(wait) = self.attempts.try_acquire(client) {
            tracing::warn!("too many attempts to log in");
            return Err(LoginRefusal::TooManyAttempts(wait));
        }
        let current = self.credentials.current();
        if !current.verifier.verify(password).await {
            tracing::warn!("log-in with a wrong password");
            sleep(FAILURE_DELAY).await;
            return Err(LoginRefusal::WrongPassword);
        }
        tracing::info!("an operator logged in");
        Ok(current.sessions.start(name, self.proxies.https(peer, headers)))
    }

    /// Ends the session of a request, and returns the cookie that removes its cookie.
    ///
    /// # Errors
    /// Returns [`LoginRefusal::CrossSite`] if the request came from another site.
    pub fn log_out(&self, peer: SocketAddr, headers: &HeaderMap) -> Result<CookieJar, LoginRefusal> {
        if is_cross_site(headers) {
            return Err(LoginRefusal::CrossSite);
        }
        let sessions = &self.credentials.current().sessions;
        sessions.end(headers);
        let removal = sessions.removal(self.proxies.https(peer, headers));
        Ok(CookieJar::new().add(removal))
    }

    /// Returns the name of a request's session, or `None` if the request has no valid session.
    #[must_use]
    pub fn session_name(&self, headers: &HeaderMap) -> Option<String> {
        let sessions = &self.credentials.current().sessions;
        sessions.verify(headers, Utc::now().timestamp()).map(|session| session.name)
    }
}

/// Returns whether another site caused the request.
///
/// The attribute `SameSite` of the cookie protects a session. This check also prevents another site from
/// starting a session in the operator's browser. Browsers send the header with every request to a trustworthy
/// origin, programs do not send it.
#[must_use]
pub fn is_cross_site(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none")
}
