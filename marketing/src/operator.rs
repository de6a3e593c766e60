//! The one person who may look into the list: known by the hash of a password.

use std::{
    io::{self, IsTerminal},
    str::FromStr,
    sync::Arc,
};

use anyhow::{Context, ensure};
use argon2::{
    Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, password_hash::phc::PasswordHash as Phc,
};
use tokio::{sync::Semaphore, task::spawn_blocking};

/// NIST SP 800-63B, section 3.1.1.2, for a password that is the only factor.
const CHARACTERS: usize = 15;

/// An argon2 hash in PHC format, `$argon2id$v=19$…`.
#[derive(Clone)]
pub struct PasswordHash(Phc);

/// Whoever has the password.
#[derive(Debug, Clone)]
pub struct Operator {
    hash: PasswordHash,
    /// Checking takes 19 MiB and a core; however many try at once, one is checked at a time.
    checking: Arc<Semaphore>,
}

impl FromStr for PasswordHash {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const REASON: &str = "not an argon2 hash like $argon2id$v=19$…; `marketing hash-password` makes one";
        let phc = Phc::new(text).map_err(|_| REASON)?;
        let known = Algorithm::new(phc.algorithm).is_ok() && Params::try_from(&phc).is_ok();
        let whole = phc.salt.is_some() && phc.hash.is_some();
        if known && whole { Ok(Self(phc)) } else { Err(REASON) }
    }
}

/// Not the hash, which would help to guess the password.
impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("PasswordHash")
    }
}

impl Operator {
    /// The one with this password.
    #[must_use]
    pub fn new(hash: PasswordHash) -> Self {
        Self { hash, checking: Arc::new(Semaphore::new(1)) }
    }

    /// Whether this is the password.
    pub async fn has(&self, password: String) -> bool {
        let Ok(turn) = Arc::clone(&self.checking).acquire_owned().await else { return false };
        let PasswordHash(hash) = self.hash.clone();
        let checked = spawn_blocking(move || {
            let right = Argon2::default().verify_password(password.as_bytes(), &hash).is_ok();
            drop(turn);
            right
        });
        checked.await.unwrap_or(false)
    }
}

/// `marketing hash-password`: asks for a password, or reads it from a pipe, and prints its hash.
///
/// # Errors
/// The password is too short, or comes differently the second time.
pub fn hash_password() -> anyhow::Result<()> {
    let password = if io::stdin().is_terminal() {
        let password = rpassword::prompt_password("New password: ")?;
        ensure!(rpassword::prompt_password("Again: ")? == password, "these were two different passwords");
        password
    } else {
        let mut line = String::new();
        io::stdin().read_line(&mut line).context("no password on standard input")?;
        line.trim_end_matches(['\r', '\n']).to_owned()
    };
    ensure!(password.chars().count() >= CHARACTERS, "choose a password of at least {CHARACTERS} characters");
    let hash = Argon2::default().hash_password(password.as_bytes()).context("cannot hash the password")?;
    println!("{hash}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Operator, PasswordHash};

    /// Of `development-only`, made by `marketing hash-password`.
    const HASH: &str =
        "$argon2id$v=19$m=19456,t=2,p=1$Zp9g94Kybat4QuXK2HLUUQ$oh2vp7faXWhurhEYh0r6/E8q8T9BIVGxlBHUszKd3rg";

    #[tokio::test]
    async fn the_password_is_known_by_its_hash() {
        let operator = Operator::new(HASH.parse().unwrap());
        assert!(operator.has("development-only".into()).await);
        assert!(!operator.has("development-onl".into()).await);
        assert!(!operator.has(String::new()).await);
    }

    #[test]
    fn what_is_not_an_argon2_hash_is_refused() {
        for text in
            ["", "development-only", "$argon2id$v=19$m=19456,t=2,p=1", "$2b$12$abcdefghijklmnopqrstuv"]
        {
            assert!(text.parse::<PasswordHash>().is_err(), "{text}");
        }
    }
}
