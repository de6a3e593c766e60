//! The files of certificates and keys that the URL of a broker names.
//!
//! The parameters have the names of RabbitMQ's own clients: <https://www.rabbitmq.com/docs/uri-query-parameters>.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use lapin::tcp::{OwnedIdentity, OwnedTLSConfig};

const CA: &str = "cacertfile";
const CERTIFICATE: &str = "certfile";
const KEY: &str = "keyfile";

/// The start of a certificate in a PEM file.
const PEM_CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";

/// Paths of PEM files. All of them can be missing.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    ca: Option<PathBuf>,
    client: Option<ClientFiles>,
}

/// The certificate of the client, with its chain, and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ClientFiles {
    certificate: PathBuf,
    key: PathBuf,
}

impl TlsFiles {
    /// Returns the files in the parameters of a URL.
    ///
    /// # Errors
    /// Returns an error if the URL has a certificate without its key, or a key without its certificate.
    pub(crate) fn of_url(url: &str) -> Result<Self, String> {
        let query = url.split_once('?').map_or("", |(_, query)| query);
        let file = |name: &str| {
            let mut parameters = form_urlencoded::parse(query.as_bytes());
            parameters.find(|(other, _)| other == name).map(|(_, path)| PathBuf::from(path.as_ref()))
        };
        let client = match (file(CERTIFICATE), file(KEY)) {
            (Some(certificate), Some(key)) => Some(ClientFiles { certificate, key }),
            (None, None) => None,
            _ => return Err(format!("the URL needs both {CERTIFICATE} and {KEY}, or none of them")),
        };
        Ok(Self { ca: file(CA), client })
    }

    /// Reads the files.
    ///
    /// # Errors
    /// Returns an error that names a file that cannot be read, or that has no certificate.
    pub(crate) fn read(&self) -> io::Result<OwnedTLSConfig> {
        let cert_chain = match &self.ca {
            Some(path) => Some(read_certificates(path)?),
            None => None,
        };
        let identity = match &self.client {
            Some(ClientFiles { certificate, key }) => Some(OwnedIdentity::PKCS8 {
                pem: read_certificates(certificate)?.into_bytes(),
                key: read_file(key)?.into_bytes(),
            }),
            None => None,
        };
        Ok(OwnedTLSConfig { identity, cert_chain })
    }
}

/// Reads a file with at least one certificate. The client library would ignore an empty file.
fn read_certificates(path: &Path) -> io::Result<String> {
    let text = read_file(path)?;
    if text.contains(PEM_CERTIFICATE) {
        return Ok(text);
    }
    let message = format!("the file {} contains no certificate in PEM format", path.display());
    Err(io::Error::new(io::ErrorKind::InvalidData, message))
}

fn read_file(path: &Path) -> io::Result<String> {
    let with_path = |error: io::Error| {
        io::Error::new(error.kind(), format!("the file {} cannot be read: {error}", path.display()))
    };
    fs::read_to_string(path).map_err(with_path)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::TlsFiles;

    #[test]
    fn files_are_read_again_and_named_in_errors() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a b.pem");
        let url = format!("amqps://broker/%2f?cacertfile={}", path.display()).replace(' ', "%20");
        let files = TlsFiles::of_url(&url).unwrap();
        let missing = files.read().unwrap_err().to_string();
        assert!(missing.contains("/a b.pem cannot be read"), "{missing}");
        fs::write(&path, "hush").unwrap();
        let malformed = files.read().unwrap_err().to_string();
        assert!(malformed.contains("/a b.pem contains no certificate") && !malformed.contains("hush"));
        fs::write(&path, "-----BEGIN CERTIFICATE-----").unwrap();
        assert!(files.read().unwrap().cert_chain.is_some());
    }
}
