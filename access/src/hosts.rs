//! Several hosts in one URL, and the choice of the host for a new connection.
//!
//! The hosts are a primary and its standbys. Their roles change while the programs run, so each new connection asks.

use std::{
    fmt::{self, Display, Formatter},
    io,
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::time::timeout;

use crate::tls_failure;

/// The time after which the next host is tried as well, while the hosts before it have not responded.
///
/// A working host responds within it, so the others get no connection. A host without power delays a connection by
/// this time only.
const HEAD_START: Duration = Duration::from_millis(250);

/// The time for one of several hosts. It is below the time that callers wait, so the error names the silent host.
const HOST_TIMEOUT: Duration = Duration::from_millis(1500);

/// The reason for which one host of a URL is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HostFailure {
    /// No connection, or no reply to the question about the role.
    #[error("{}", describe(.0))]
    Failed(#[from] sqlx::Error),
    /// The host does not respond.
    #[error("no reply in time")]
    NoReply,
    /// The host is a standby, or refuses writes for another reason.
    #[error("the server is read-only")]
    ReadOnly,
}

/// No host of a URL can be used. The text has no names of hosts, because health checks show it.
#[derive(Debug)]
pub struct NoUsableHost {
    /// The failure of each host, in the order of the URL.
    failures: Vec<HostFailure>,
}

impl NoUsableHost {
    /// Returns the failures of the hosts that have caused an error, or `None` if the cause is another one.
    #[must_use]
    pub fn of(error: &sqlx::Error) -> Option<&Self> {
        match error {
            sqlx::Error::Io(error) => error.get_ref()?.downcast_ref(),
            _ => None,
        }
    }

    /// Returns the text with other descriptions of errors.
    #[must_use]
    pub fn describe(&self, describe: impl Fn(&sqlx::Error) -> String) -> String {
        let texts = self.failures.iter().map(|failure| match failure {
            HostFailure::Failed(error) => describe(error),
            other => other.to_string(),
        });
        let texts: Vec<_> = (1..).zip(texts).map(|(host, text)| format!("host {host}: {text}")).collect();
        format!("no host of the URL can be used ({})", texts.join("; "))
    }
}

impl Display for NoUsableHost {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.describe(describe))
    }
}

impl std::error::Error for NoUsableHost {}

/// An I/O error, because every connection to these servers is lost as well.
impl From<NoUsableHost> for sqlx::Error {
    fn from(error: NoUsableHost) -> Self {
        Self::Io(io::Error::other(error))
    }
}

fn describe(error: &sqlx::Error) -> String {
    match (tls_failure(error), error) {
        (Some(failure), _) => failure.to_string(),
        (None, sqlx::Error::Io(error)) => error.kind().to_string(),
        (None, error) => error.to_string(),
    }
}

/// Parses a URL once for each of its hosts, which are separated by commas. All other parts are the same.
///
/// # Errors
/// Returns an error if a host is empty, or if a URL is malformed.
pub(crate) fn parse_each_host<O>(url: &str, parse: impl Fn(&str) -> sqlx::Result<O>) -> sqlx::Result<Vec<O>> {
    let start = url.find("://").map_or(0, |scheme| scheme + 3);
    let end = url[start..].find(['/', '?', '#']).map_or(url.len(), |length| start + length);
    let start = url[start..end].rfind('@').map_or(start, |user| start + user + 1);
    let hosts = &url[start..end];
    if !hosts.contains(',') {
        return Ok(vec![parse(url)?]);
    }
    let parse = |host: &str| {
        // Without a host, sqlx would use this machine.
        if host.is_empty() || host.starts_with(':') {
            return Err(sqlx::Error::Configuration("a host between the commas is empty".into()));
        }
        parse(&format!("{}{host}{}", &url[..start], &url[end..]))
    };
    hosts.split(',').map(parse).collect()
}

/// Connects to the first host that can be used, in the order of the URL.
///
/// # Errors
/// Returns [`NoUsableHost`] if there is none.
pub(crate) async fn connect_to_first<O, C, F>(
    hosts: &[O],
    connect: impl Fn(O) -> F,
) -> Result<C, NoUsableHost>
where
    O: Clone,
    F: Future<Output = Result<C, HostFailure>>,
{
    let attempt = |host: usize| {
        let connecting = connect(hosts[host].clone());
        async move { (host, timeout(HOST_TIMEOUT, connecting).await.unwrap_or(Err(HostFailure::NoReply))) }
    };
    let mut attempts = FuturesUnordered::new();
    let mut failures = Vec::with_capacity(hosts.len());
    for host in 0..hosts.len() {
        attempts.push(attempt(host));
        // After a failure, the next host is tried immediately.
        match timeout(HEAD_START, attempts.next()).await {
            Ok(Some((_, Ok(connection)))) => return Ok(connection),
            Ok(Some((host, Err(failure)))) => failures.push((host, failure)),
            Ok(None) | Err(_) => {}
        }
    }
    while let Some((host, outcome)) = attempts.next().await {
        match outcome {
            Ok(connection) => return Ok(connection),
            Err(failure) => failures.push((host, failure)),
        }
    }
    failures.sort_by_key(|(host, _)| *host);
    Err(NoUsableHost { failures: failures.into_iter().map(|(_, failure)| failure).collect() })
}

#[cfg(test)]
mod tests {
    use std::{
        future::pending,
        io,
        sync::{Mutex, PoisonError},
    };

    use super::{HostFailure, NoUsableHost, connect_to_first, parse_each_host};

    /// The behavior of a host.
    #[derive(Debug, Clone, Copy)]
    enum Host {
        Primary(&'static str),
        Standby,
        Down,
        Silent,
    }

    /// Connects to the first usable host, and returns its name and the number of tried hosts.
    async fn connect(hosts: &[Host]) -> (Result<&'static str, NoUsableHost>, usize) {
        let tried = Mutex::new(0);
        let connected = connect_to_first(hosts, |host| {
            *tried.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            async move {
                match host {
                    Host::Primary(name) => Ok(name),
                    Host::Standby => Err(HostFailure::ReadOnly),
                    Host::Down => {
                        let refused = io::Error::new(io::ErrorKind::ConnectionRefused, "to db.internal");
                        Err(sqlx::Error::Io(refused).into())
                    }
                    Host::Silent => pending().await,
                }
            }
        })
        .await;
        (connected, tried.into_inner().unwrap())
    }

    #[tokio::test]
    async fn first_usable_host_is_chosen_and_later_ones_not_tried() {
        let (primary, tried) = connect(&[Host::Primary("one"), Host::Primary("two")]).await;
        assert_eq!((primary.unwrap(), tried), ("one", 1));
        let hosts = [Host::Standby, Host::Down, Host::Primary("three"), Host::Standby];
        let (primary, tried) = connect(&hosts).await;
        assert_eq!((primary.unwrap(), tried), ("three", 3));
    }

    #[tokio::test]
    async fn silent_host_does_not_prevent_a_connection() {
        let (primary, _) = connect(&[Host::Silent, Host::Primary("two")]).await;
        assert_eq!(primary.unwrap(), "two");
    }

    #[tokio::test]
    async fn error_lists_cause_of_each_host_without_its_name() {
        let (connected, _) = connect(&[Host::Silent, Host::Down, Host::Standby]).await;
        let error = sqlx::Error::from(connected.unwrap_err());
        assert_eq!(
            NoUsableHost::of(&error).unwrap().to_string(),
            "no host of the URL can be used \
             (host 1: no reply in time; host 2: connection refused; host 3: the server is read-only)"
        );
    }

    #[test]
    fn url_is_parsed_for_each_host() {
        for (url, expected) in [
            ("a://u:p,q@h1:1,h2:2/d?x=1,2", vec!["a://u:p,q@h1:1/d?x=1,2", "a://u:p,q@h2:2/d?x=1,2"]),
            ("a://h1,[::1]:2,[::2]?x=/@", vec!["a://h1?x=/@", "a://[::1]:2?x=/@", "a://[::2]?x=/@"]),
            ("a://h1,h2", vec!["a://h1", "a://h2"]),
            ("a:///d?host=/a,b", vec!["a:///d?host=/a,b"]),
            ("a://u@h/d", vec!["a://u@h/d"]),
        ] {
            assert_eq!(parse_each_host(url, |url| Ok(url.to_owned())).unwrap(), expected, "{url}");
        }
        for url in ["a://u@h1,/d", "a://,h2/d", "a://h1,:5/d"] {
            assert!(parse_each_host(url, |url| Ok(url.to_owned())).is_err(), "{url}");
        }
    }
}
