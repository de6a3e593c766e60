//! The password of the operators, and its hash.

use std::{
    fmt,
    io::{self, IsTerminal},
    str::FromStr,
    sync::Arc,
};

use anyhow::{Context, ensure};
use argon2::{
    Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, password_hash::phc::PasswordHash as Phc,
};
use tokio::{sync::Semaphore, task::spawn_blocking};

use crate::write_stdout;

/// Minimum length of a password that is the only factor (NIST SP 800-63B, section 3.1.1.2).
const MIN_CHARACTERS: usize = 15;

/// An argon2 hash in PHC format, `$argon2id$v=19$…`.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(Phc);

/// Verifies the operators' password.
#[derive(Debug)]
pub(super) struct Verifier {
    hash: PasswordHash,
    /// One permit: a verification takes 19 MiB and a core, however many clients try simultaneously.
    verification: Arc<Semaphore>,
}

impl FromStr for PasswordHash {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const REASON: &str =
            "not an argon2 hash like $argon2id$v=19$…; the subcommand `hash-password` makes one";
        let phc = Phc::new(text).map_err(|_| REASON)?;
        let is_known = Algorithm::new(phc.algorithm).is_ok() && Params::try_from(&phc).is_ok();
        let is_complete = phc.salt.is_some() && phc.hash.is_some();
        if is_known && is_complete { Ok(Self(phc)) } else { Err(REASON) }
    }
}

/// Omits the hash, which would help to guess the password.
impl fmt::Debug for PasswordHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PasswordHash")
    }
}

impl PasswordHash {
    /// Returns the hash as text. It is a secret, and all instances of a service share it.
    pub(super) fn to_secret(&self) -> String {
        self.0.to_string()
    }
}

impl Verifier {
    /// Returns the verifier of the password with this hash.
    pub(super) fn new(hash: PasswordHash) -> Self {
        Self { hash, verification: Arc::new(Semaphore::new(1)) }
    }

    /// Returns whether this is the password.
    pub(super) async fn verify(&self, password: String) -> bool {
        let Ok(permit) = Arc::clone(&self.verification).acquire_owned().await else { return false };
        let PasswordHash(hash) = self.hash.clone();
        let verified = spawn_blocking(move || {
            let matches = Argon2::default().verify_password(password.as_bytes(), &hash).is_ok();
            drop(permit);
            matches
        });
        verified.await.unwrap_or(false)
    }
}

/// Asks for a password, or reads it from a pipe, and prints its hash.
///
/// # Errors
/// Returns an error if the password is too short, or if the second input differs from the first.
pub fn hash_password() -> anyhow::Result<()> {
    let password = if io::stdin().is_terminal() {
        let password = rpassword::prompt_password("New password: ")?;
        ensure!(rpassword::prompt_password("Again: ")? == password, "the two passwords differ");
        password
    } else {
        let mut line = String::new();
        io::stdin().read_line(&mut line).context("no password on standard input")?;
        line.trim_end_matches(['\r', '\n']).to_owned()
    };
    let is_long_enough = password.chars().count() >= MIN_CHARACTERS;
    ensure!(is_long_enough, "choose a password of at least {MIN_CHARACTERS} characters");
    let hash = Argon2::default().hash_password(password.as_bytes()).context("cannot hash the password")?;
    Ok(write_stdout(&format!("{hash}\n"))?)
}

#[cfg(test)]
mod tests {
    use super::{PasswordHash, Verifier};

    /// The hash of `development-only`, from `marketing hash-password`.
    const HASH: &str =
        "$argon2id$v=19$m=19456,t=2,p=1$Zp9g94Kybat4QuXK2HLUUQ$oh2vp7faXWhurhEYh0r6/E8q8T9BIVGxlBHUszKd3rg";

    #[tokio::test]
    async fn hash_verifies_only_its_password() {
        let verifier = Verifier::new(HASH.parse().unwrap());
        assert!(verifier.verify("development-only".into()).await);
        assert!(!verifier.verify("development-onl".into()).await);
        assert!(!verifier.verify(String::new()).await);
    }

    #[test]
    fn other_text_is_not_a_hash() {
        for text in
            ["", "development-only", "$argon2id$v=19$m=19456,t=2,p=1", "$2b$12$abcdefghijklmnopqrstuv"]
        {
            assert!(text.parse::<PasswordHash>().is_err(), "{text}");
        }
    }
}
