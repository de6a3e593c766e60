//! The current password hash, and all that depends on it. The hash can change while the service runs.

use std::sync::{Arc, Mutex, PoisonError};

use access::{Secret, SecretError};

use super::{PasswordHash, password::Verifier, sessions::Sessions};
use crate::FailureLog;

/// Reads the hash again for each request.
pub(super) struct Credentials {
    service: &'static str,
    hash: Secret<PasswordHash>,
    current: Mutex<Arc<Current>>,
    failures: FailureLog,
}

/// The verifier and the sessions of one hash.
pub(super) struct Current {
    hash: PasswordHash,
    pub(super) verifier: Verifier,
    pub(super) sessions: Sessions,
}

impl Credentials {
    /// Reads the hash for the first time.
    ///
    /// # Errors
    /// Returns [`SecretError`] if the file with the hash cannot be used.
    pub(super) fn new(service: &'static str, hash: Secret<PasswordHash>) -> Result<Self, SecretError> {
        let current = Mutex::new(Arc::new(Current::new(service, hash.read()?)));
        Ok(Self { service, hash, current, failures: FailureLog::new("reading the password hash") })
    }

    /// Returns the credentials of the current hash. While its file cannot be used, the last hash stays valid.
    pub(super) fn current(&self) -> Arc<Current> {
        let read = self.hash.read();
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        match read {
            Err(error) => self.failures.failed(&error),
            Ok(hash) => {
                self.failures.succeeded();
                if hash != current.hash {
                    tracing::info!("the password hash has changed; all log-in sessions have ended");
                    *current = Arc::new(Current::new(self.service, hash));
                }
            }
        }
        Arc::clone(&current)
    }
}

impl Current {
    fn new(service: &str, hash: PasswordHash) -> Self {
        let sessions = Sessions::new(service, &hash);
        Self { verifier: Verifier::new(hash.clone()), sessions, hash }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use axum::{
        http::{HeaderMap, header},
        response::IntoResponse,
    };
    use chrono::Utc;

    use super::Credentials;

    /// The hash of `development-only`, and one with another salt.
    const HASHES: [&str; 2] = [
        "$argon2id$v=19$m=19456,t=2,p=1$Zp9g94Kybat4QuXK2HLUUQ$oh2vp7faXWhurhEYh0r6/E8q8T9BIVGxlBHUszKd3rg",
        "$argon2id$v=19$m=19456,t=2,p=1$Zp9g94Kybat4QuXK2HLUUA$oh2vp7faXWhurhEYh0r6/E8q8T9BIVGxlBHUszKd3rg",
    ];

    #[tokio::test]
    async fn changed_file_changes_password_and_ends_sessions() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hash");
        let secret = || format!("file:{}", path.display()).parse().unwrap();
        assert!(Credentials::new("marketing", secret()).is_err(), "the file does not exist");
        fs::write(&path, HASHES[0]).unwrap();
        let credentials = Credentials::new("marketing", secret()).unwrap();
        let response = credentials.current().sessions.start("Zoë", false).into_response();
        let cookie = response.headers()[header::SET_COOKIE].to_str().unwrap();
        let cookie = cookie.split_once(';').unwrap().0.parse().unwrap();
        let request = HeaderMap::from_iter([(header::COOKIE, cookie)]);
        let is_logged_in =
            || credentials.current().sessions.verify(&request, Utc::now().timestamp()).is_some();
        assert!(is_logged_in());
        fs::remove_file(&path).unwrap();
        assert!(is_logged_in(), "the last hash stays valid");
        fs::write(&path, HASHES[1]).unwrap();
        assert!(!is_logged_in());
        assert!(!credentials.current().verifier.verify("development-only".into()).await);
        fs::write(&path, HASHES[0]).unwrap();
        assert!(credentials.current().verifier.verify("development-only".into()).await);
    }
}
