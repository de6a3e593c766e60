//! A setting with a secret: the value, or a file with it that may change while the program runs.

use std::{
    fmt::{self, Display},
    fs, io,
    path::PathBuf,
    str::FromStr,
};

/// The start of a setting that names a file with the value.
pub const FILE_PREFIX: &str = "file:";

/// A setting with a secret, such as a URL with a password or the hash of a password.
///
/// Its text is the value, or `file:PATH`. `Debug` omits the value.
#[derive(Clone)]
pub struct Secret<T>(Source<T>);

#[derive(Clone)]
enum Source<T> {
    Value(T),
    File(PathBuf),
}

/// The file with a secret cannot be used now. The texts contain its path, and not its content.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("the file {} cannot be read: {reason}", path.display())]
    Unreadable {
        /// The path of the file.
        path: PathBuf,
        /// The error of the operating system. It is not a source, because the text contains it.
        reason: io::Error,
    },
    /// The content is not a value of the setting.
    #[error("the content of the file {} is wrong: {reason}", path.display())]
    Malformed {
        /// The path of the file.
        path: PathBuf,
        /// The rule that the content breaks.
        reason: String,
    },
}

impl<T> Secret<T>
where
    T: Clone + FromStr,
    T::Err: Display,
{
    /// Returns the current value. A file is read again for each call, without the blanks and line breaks around its
    /// content.
    ///
    /// # Errors
    /// Returns [`SecretError`] if the file cannot be read, or if its content is not a value of the setting.
    pub fn read(&self) -> Result<T, SecretError> {
        let path = match &self.0 {
            Source::Value(value) => return Ok(value.clone()),
            Source::File(path) => path,
        };
        let text = fs::read_to_string(path)
            .map_err(|reason| SecretError::Unreadable { path: path.clone(), reason })?;
        text.trim().parse().map_err(|reason: T::Err| SecretError::Malformed {
            path: path.clone(),
            reason: reason.to_string(),
        })
    }
}

/// Parses a value, or `file:PATH`. The file need not exist yet.
impl<T: FromStr> FromStr for Secret<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        match text.strip_prefix(FILE_PREFIX) {
            Some(path) => Ok(Self(Source::File(path.into()))),
            None => text.parse().map(|value| Self(Source::Value(value))),
        }
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Value(_) => formatter.write_str("Secret"),
            Source::File(path) => write!(formatter, "{FILE_PREFIX}{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, net::IpAddr};

    use super::{Secret, SecretError};

    #[test]
    fn changed_file_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("address");
        let secret: Secret<IpAddr> = format!("file:{}", path.display()).parse().unwrap();
        assert!(matches!(secret.read(), Err(SecretError::Unreadable { .. })), "the file does not exist yet");
        for address in ["192.0.2.1", "192.0.2.2"] {
            fs::write(&path, format!("{address}\n")).unwrap();
            assert_eq!(secret.read().unwrap().to_string(), address);
        }
    }

    #[test]
    fn error_names_file_and_omits_content() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("address");
        fs::write(&path, "hush").unwrap();
        let secret: Secret<IpAddr> = format!("file:{}", path.display()).parse().unwrap();
        let error = secret.read().unwrap_err().to_string();
        assert!(error.contains("/address is wrong: ") && !error.contains("hush"), "{error}");
    }

    #[test]
    fn value_is_parsed_once_and_never_shown() {
        let secret: Secret<IpAddr> = "192.0.2.1".parse().unwrap();
        assert_eq!(secret.read().unwrap(), IpAddr::from([192, 0, 2, 1]));
        assert_eq!(format!("{secret:?}"), "Secret");
        assert!("hush".parse::<Secret<IpAddr>>().is_err());
    }
}
