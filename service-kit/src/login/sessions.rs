//! Log-in sessions: a signed cookie holds the id of the session and its end.
//!
//! All instances derive the same key from the password hash. A session therefore survives a restart, holds at
//! every instance, and ends when the password changes.
//!
//! A log-out removes the cookie. The instance that handles it also remembers the session until its end, so a
//! copy of the cookie is worthless there. Another instance, or the same one after a restart, accepts such a
//! copy until the session ends. `docs/decisions/0030-kept-libraries.md` has the reasons.

use std::{
    collections::HashMap,
    fmt,
    str::FromStr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use axum::http::HeaderMap;
use axum_extra::extract::cookie::{Cookie, Key, SameSite, SignedCookieJar};
use chrono::Utc;
use uuid::Uuid;

use super::PasswordHash;

/// A working day.
const SESSION_TTL: Duration = Duration::from_hours(10);

/// Ended sessions that one instance remembers. Only the operator can create them.
const MAX_ENDED_SESSIONS: usize = 10_000;

/// Starts, verifies and ends sessions.
pub(super) struct Sessions {
    /// Name of the cookie. Browsers send it to each port of a host, so each service has its own.
    cookie: String,
    key: Key,
    ended: Mutex<EndedSessions>,
}

/// The content of the cookie. As text: the id, a dot, the end in seconds since 1970, a dot, the name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Session {
    id: Uuid,
    expires_at: i64,
    /// The name that the operator gave. It is empty if the service asks for none.
    pub(super) name: String,
}

/// Sessions that ended before their time.
#[derive(Debug, Default)]
struct EndedSessions {
    /// The end that each session originally had.
    expires_at: HashMap<Uuid, i64>,
    /// All sessions with an original end up to this time have ended.
    all_until: i64,
}

impl Sessions {
    /// Derives the key of a service from the password hash.
    pub(super) fn new(service: &str, hash: &PasswordHash) -> Self {
        // HKDF needs 32 bytes or more. The label keeps the key apart from other uses of the hash.
        let secret = format!("{service} log-in session, key 1: {}", hash.to_secret());
        let key = Key::derive_from(secret.as_bytes());
        Self { cookie: format!("{service}_session"), key, ended: Mutex::default() }
    }

    /// Returns the cookie of a new session, for the response. `https` makes it a secure cookie.
    pub(super) fn start(&self, name: &str, https: bool) -> SignedCookieJar {
        // The id has 122 random bits from the operating system.
        let expires_at = Utc::now().timestamp() + ttl_seconds();
        let session = Session { id: Uuid::new_v4(), expires_at, name: name.to_owned() };
        SignedCookieJar::new(self.key.clone()).add(self.cookie(session.to_string(), SESSION_TTL, https))
    }

    /// Returns a cookie that makes the browser remove the cookie of a session.
    pub(super) fn removal(&self, https: bool) -> Cookie<'static> {
        self.cookie(String::new(), Duration::ZERO, https)
    }

    fn cookie(&self, value: String, max_age: Duration, https: bool) -> Cookie<'static> {
        Cookie::build((self.cookie.clone(), value))
            .path("/")
            .max_age(max_age.try_into().unwrap_or_default())
            .http_only(true)
            .same_site(SameSite::Strict)
            .secure(https)
            .build()
    }

    /// Ends the session of a request at this instance.
    pub(super) fn end(&self, headers: &HeaderMap) {
        let now = Utc::now().timestamp();
        if let Some(session) = self.verify(headers, now) {
            self.ended.lock().unwrap_or_else(PoisonError::into_inner).insert(&session, now);
        }
    }

    /// Returns the session of a request, if its cookie is signed, has not expired, and has not ended.
    pub(super) fn verify(&self, headers: &HeaderMap, now: i64) -> Option<Session> {
        let cookie = SignedCookieJar::from_headers(headers, self.key.clone()).get(&self.cookie)?;
        let session: Session = cookie.value().parse().ok()?;
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        (session.expires_at > now && !ended.contains(&session)).then_some(session)
    }
}

impl EndedSessions {
    /// Remembers an ended session. If there are too many, all sessions that exist now end.
    fn insert(&mut self, session: &Session, now: i64) {
        self.expires_at.retain(|_, expires_at| *expires_at > now);
        if self.expires_at.len() >= MAX_ENDED_SESSIONS {
            self.expires_at.clear();
            self.all_until = now + ttl_seconds();
        }
        self.expires_at.insert(session.id, session.expires_at);
    }

    fn contains(&self, session: &Session) -> bool {
        session.expires_at <= self.all_until || self.expires_at.contains_key(&session.id)
    }
}

impl FromStr for Session {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (id, rest) = text.split_once('.').ok_or(())?;
        // Sessions of earlier releases have no name.
        let (expires_at, name) = rest.split_once('.').unwrap_or((rest, ""));
        let expires_at = expires_at.parse().map_err(drop)?;
        Ok(Self { id: id.parse().map_err(drop)?, expires_at, name: name.to_owned() })
    }
}

impl fmt::Display for Session {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.id, self.expires_at, self.name)
    }
}

fn ttl_seconds() -> i64 {
    SESSION_TTL.as_secs().cast_signed()
}

#[cfg(test)]
mod tests {
    use axum::{
        http::{HeaderMap, header},
        response::IntoResponse,
    };
    use chrono::Utc;
    use uuid::Uuid;

    use super::{EndedSessions, MAX_ENDED_SESSIONS, Session, Sessions, ttl_seconds};

    const HASH: &str =
        "$argon2id$v=19$m=19456,t=2,p=1$Zp9g94Kybat4QuXK2HLUUQ$oh2vp7faXWhurhEYh0r6/E8q8T9BIVGxlBHUszKd3rg";
    const OTHER_HASH: &str =
        "$argon2id$v=19$m=19456,t=2,p=1$Zp9g94Kybat4QuXK2HLUUA$oh2vp7faXWhurhEYh0r6/E8q8T9BIVGxlBHUszKd3rg";

    fn sessions(hash: &str) -> Sessions {
        Sessions::new("marketing", &hash.parse().unwrap())
    }

    /// Starts a session, and returns the headers of a later request.
    fn start(sessions: &Sessions) -> HeaderMap {
        let response = sessions.start("Zoë", false).into_response();
        let cookie = response.headers()[header::SET_COOKIE].to_str().unwrap();
        request(cookie.split_once(';').unwrap().0)
    }

    fn request(cookie: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::COOKIE, cookie.parse().unwrap())])
    }

    #[test]
    fn session_holds_at_instances_with_same_password_until_it_expires() {
        let headers = start(&sessions(HASH));
        let now = Utc::now().timestamp();
        assert_eq!(sessions(HASH).verify(&headers, now).unwrap().name, "Zoë");
        assert!(sessions(HASH).verify(&headers, now + ttl_seconds()).is_none(), "expired");
        assert!(sessions(OTHER_HASH).verify(&headers, now).is_none(), "other password");
    }

    #[test]
    fn changed_or_unsigned_cookie_is_refused() {
        let sessions = sessions(HASH);
        let headers = start(&sessions);
        let now = Utc::now().timestamp();
        let cookie = headers[header::COOKIE].to_str().unwrap();
        let session = sessions.verify(&headers, now).unwrap();
        let later = Session { expires_at: session.expires_at + 1, ..session.clone() };
        for changed in [
            cookie.replace(&session.expires_at.to_string(), &later.expires_at.to_string()),
            format!("marketing_session={session}"),
            "marketing_session=".to_owned(),
        ] {
            assert!(sessions.verify(&request(&changed), now).is_none(), "{changed}");
        }
    }

    #[test]
    fn copied_cookie_is_worthless_after_log_out() {
        let sessions = sessions(HASH);
        let headers = start(&sessions);
        let other = start(&sessions);
        sessions.end(&headers);
        let now = Utc::now().timestamp();
        assert!(sessions.verify(&headers, now).is_none());
        assert!(sessions.verify(&other, now).is_some());
    }

    #[test]
    fn many_log_outs_end_all_sessions_and_do_not_grow_memory() {
        let mut ended = EndedSessions::default();
        let session = || Session { id: Uuid::new_v4(), expires_at: ttl_seconds(), name: String::new() };
        let sessions: Vec<Session> = (0..=MAX_ENDED_SESSIONS).map(|_| session()).collect();
        for session in &sessions {
            ended.insert(session, 0);
        }
        assert!(ended.expires_at.len() <= MAX_ENDED_SESSIONS);
        assert!(sessions.iter().all(|session| ended.contains(session)));
        assert!(!ended.contains(&Session { expires_at: ttl_seconds() + 1, ..session() }));
    }
}
