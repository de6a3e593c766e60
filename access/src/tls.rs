//! The causes of failed TLS connections.
//!
//! The texts have no names of hosts, because health checks show them, and no times, because a supervisor logs each
//! distinct text once.

use std::{error::Error, io};

use rustls::{AlertDescription, CertificateError, Error as RustlsError};

/// The reason why a connection with TLS failed. Each text names the remedy, or the part to check.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsFailure {
    /// The certificate of the server leads to no trusted CA.
    #[error("no trusted CA has signed the certificate of the server; check the CA file")]
    UnknownCa,
    /// The server is not the one that the URL names, or its certificate lacks this name.
    #[error("the certificate of the server is not valid for the host name in the URL")]
    OtherHost,
    /// The certificate of the server, or of one of its CAs, has expired.
    #[error("the certificate of the server has expired")]
    Expired,
    /// The certificate becomes valid later, or the clock of this machine is behind.
    #[error("the certificate of the server is not valid yet; check the clock")]
    NotYetValid,
    /// The certificate has another fault, with its description.
    #[error("the certificate of the server is refused: {0}")]
    OtherFault(String),
    /// The server rejected the client, with the alert of the protocol.
    #[error("the server refuses the client certificate ({0}); check certificate and key in the URL")]
    ClientRefused(String),
    /// The server replied in another protocol.
    #[error("the server offers no TLS at this address")]
    NotOffered,
    /// A file that the URL names cannot be read, with the reason.
    #[error("a file in the URL cannot be read: {0}")]
    UnreadableFile(io::ErrorKind),
    /// Another failure, with the description of the TLS library.
    #[error("TLS failed: {0}")]
    Other(String),
}

/// Returns the failure of TLS that has caused an error of a client, or `None` if the cause is another one.
///
/// It inspects the error and its sources.
#[must_use]
pub fn tls_failure(error: &(dyn Error + 'static)) -> Option<TlsFailure> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref() {
            return Some(TlsFailure::new(error));
        }
        next = match error.downcast_ref::<io::Error>() {
            // The source of an I/O error is the source of the error inside, and not that error.
            Some(error) => match error.get_ref() {
                Some(inside) => Some(inside),
                None => return unreadable_file(error.kind()),
            },
            None => error.source(),
        };
    }
    None
}

/// Returns the failure for an error of the operating system. A client that connects has these errors only for files.
fn unreadable_file(kind: io::ErrorKind) -> Option<TlsFailure> {
    matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
        .then_some(TlsFailure::UnreadableFile(kind))
}

impl TlsFailure {
    fn new(error: &RustlsError) -> Self {
        match error {
            RustlsError::InvalidCertificate(fault) => Self::of_certificate(fault),
            RustlsError::AlertReceived(alert) if is_about_client(*alert) => {
                Self::ClientRefused(format!("{alert:?}"))
            }
            RustlsError::InvalidMessage(_) => Self::NotOffered,
            other => Self::Other(other.to_string()),
        }
    }

    fn of_certificate(fault: &CertificateError) -> Self {
        use CertificateError as Fault;
        match fault {
            // A CA with the name of a trusted one, and another key, leads to a wrong signature.
            Fault::UnknownIssuer | Fault::BadSignature => Self::UnknownCa,
            Fault::NotValidForName | Fault::NotValidForNameContext { .. } => Self::OtherHost,
            Fault::Expired | Fault::ExpiredContext { .. } => Self::Expired,
            Fault::NotValidYet | Fault::NotValidYetContext { .. } => Self::NotYetValid,
            other => Self::OtherFault(other.to_string()),
        }
    }
}

/// Returns whether a server sends this alert about a missing or wrong client certificate.
fn is_about_client(alert: AlertDescription) -> bool {
    use AlertDescription as Alert;
    matches!(
        alert,
        Alert::CertificateRequired
            | Alert::NoCertificate
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
    )
}

#[cfg(test)]
mod tests {
    use std::{error::Error, fmt, io, time::Duration};

    use rustls::{AlertDescription, CertificateError, InvalidMessage, pki_types::UnixTime};

    use super::{RustlsError, TlsFailure, tls_failure};

    /// An error of a client library, with the source that such libraries have.
    #[derive(Debug)]
    struct ClientError(io::Error);

    impl fmt::Display for ClientError {
        fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(formatter, "I/O: {}", self.0)
        }
    }

    impl Error for ClientError {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    fn failure(error: RustlsError) -> Option<TlsFailure> {
        tls_failure(&ClientError(io::Error::new(io::ErrorKind::InvalidData, error)))
    }

    #[test]
    fn cause_is_found_inside_errors_of_clients() {
        let certificate = |fault| failure(RustlsError::InvalidCertificate(fault));
        assert_eq!(certificate(CertificateError::UnknownIssuer), Some(TlsFailure::UnknownCa));
        assert_eq!(certificate(CertificateError::BadSignature), Some(TlsFailure::UnknownCa));
        assert_eq!(certificate(CertificateError::NotValidForName), Some(TlsFailure::OtherHost));
        let plain = failure(RustlsError::InvalidMessage(InvalidMessage::InvalidContentType));
        assert_eq!(plain, Some(TlsFailure::NotOffered));
        let alert = failure(RustlsError::AlertReceived(AlertDescription::CertificateRequired));
        assert_eq!(alert, Some(TlsFailure::ClientRefused("CertificateRequired".to_owned())));
    }

    #[test]
    fn text_of_lasting_failure_stays_the_same() {
        let texts = [1, 2].map(|seconds| {
            let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
            let fault = CertificateError::ExpiredContext { time, not_after: time };
            failure(RustlsError::InvalidCertificate(fault)).unwrap().to_string()
        });
        assert_eq!(texts[0], texts[1]);
    }

    #[test]
    fn other_errors_are_no_failure_of_tls() {
        assert_eq!(tls_failure(&ClientError(io::ErrorKind::ConnectionRefused.into())), None);
        assert_eq!(tls_failure(&ClientError(io::Error::other("closed"))), None);
        let missing = tls_failure(&ClientError(io::ErrorKind::NotFound.into()));
        assert_eq!(missing, Some(TlsFailure::UnreadableFile(io::ErrorKind::NotFound)));
    }
}
