//! Connections to the primary of several PostgreSQL servers.

use std::str::FromStr;

use sqlx::{Connection, PgConnection, Row, postgres::PgConnectOptions};

use crate::{
    Secret,
    hosts::{HostFailure, connect_to_first, parse_each_host},
};

/// The parameter of libpq that selects the role of the server.
const TARGET: &str = "target_session_attrs";

/// The URL of a database: `postgres://user:password@host:port/database`, with sqlx's parameters.
///
/// It can have several hosts, as in libpq: `postgres://user:password@one:5432,two:5432/database`. A connection then goes
/// to the first host that accepts writes. `target_session_attrs` selects another rule: `read-write`, which is the default
/// for several hosts; `primary`, also with a default of read-only transactions; `any`, the first host that accepts
/// connections, which is the default for one host.
#[derive(Clone)]
pub struct PostgresUrl {
    hosts: Vec<PgConnectOptions>,
    target: Target,
}

/// The servers that are accepted, as in libpq:
/// <https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNECT-TARGET-SESSION-ATTRS>
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Any,
    Primary,
    ReadWrite,
}

impl FromStr for PostgresUrl {
    type Err = sqlx::Error;

    fn from_str(text: &str) -> sqlx::Result<Self> {
        let (url, target) = take_target(text);
        let target = target.map(|target| parse_target(&target)).transpose()?;
        let hosts = parse_each_host(&url, |url| Ok(adapt(url.parse()?)))?;
        let target = target.unwrap_or(if hosts.len() > 1 { Target::ReadWrite } else { Target::Any });
        Ok(Self { hosts, target })
    }
}

impl Secret<PostgresUrl> {
    /// Connects to the server that the current URL selects.
    ///
    /// # Errors
    /// Returns an error if the file with the URL cannot be used, or if no server can be used. The caller enforces a
    /// deadline.
    pub async fn connect(&self) -> sqlx::Result<PgConnection> {
        let url = self.read().map_err(|error| sqlx::Error::Configuration(error.into()))?;
        // In boxes, so that the futures of callers stay small.
        match (&url.hosts[..], url.target) {
            ([host], Target::Any) => Box::pin(PgConnection::connect_with(host)).await,
            (hosts, target) => {
                Ok(Box::pin(connect_to_first(hosts, move |host| connect_to_target(host, target))).await?)
            }
        }
    }
}

/// Connects if the server has the role.
async fn connect_to_target(host: PgConnectOptions, target: Target) -> Result<PgConnection, HostFailure> {
    let mut connection = PgConnection::connect_with(&host).await?;
    let select = match target {
        Target::Any => return Ok(connection),
        Target::Primary => "SELECT pg_is_in_recovery()",
        Target::ReadWrite => "SELECT current_setting('transaction_read_only')::boolean",
    };
    // Without a prepared statement, which some poolers refuse.
    let refused: bool = sqlx::raw_sql(select).fetch_one(&mut connection).await?.try_get(0)?;
    if refused { Err(HostFailure::ReadOnly) } else { Ok(connection) }
}

/// Returns the URL without the parameter for the target, which sqlx does not support, and its value.
fn take_target(url: &str) -> (String, Option<String>) {
    let Some((base, query)) = url.split_once('?') else { return (url.to_owned(), None) };
    let (own, others): (Vec<_>, Vec<_>) =
        query.split('&').partition(|parameter| parameter.split('=').next() == Some(TARGET));
    let target =
        own.last().map(|parameter| parameter.split_once('=').map_or("", |(_, value)| value).to_owned());
    (format!("{base}?{}", others.join("&")), target)
}

fn parse_target(target: &str) -> sqlx::Result<Target> {
    Ok(match target {
        "any" => Target::Any,
        "primary" => Target::Primary,
        "read-write" => Target::ReadWrite,
        _ => {
            return Err(sqlx::Error::Configuration(
                format!("{TARGET} must be `read-write`, `primary`, or `any`").into(),
            ));
        }
    })
}

/// Adapts the options that come from a URL.
fn adapt(database: PgConnectOptions) -> PgConnectOptions {
    // Only for floating-point columns, of which there are none. `PgBouncer` refuses this parameter.
    let database = database.extra_float_digits(None);
    // sqlx keeps the brackets of an IPv6 address, and then looks for a host of this name.
    match database.get_host().strip_prefix('[').and_then(|host| host.strip_suffix(']')).map(str::to_owned) {
        Some(address) => database.host(&address),
        None => database,
    }
}

#[cfg(test)]
mod tests {
    use super::{PostgresUrl, Target};

    /// Returns the hosts with their ports, and the target.
    fn parse(url: &str) -> sqlx::Result<(Vec<(String, u16)>, Target)> {
        let url: PostgresUrl = url.parse()?;
        let hosts = url.hosts.iter().map(|host| (host.get_host().to_owned(), host.get_port()));
        Ok((hosts.collect(), url.target))
    }

    #[test]
    fn ipv6_address_in_a_url_has_no_brackets() {
        for (url, host) in [
            ("postgres://user@[2001:db8::1]:1/shop", "2001:db8::1"),
            ("postgres://user@192.0.2.1/shop", "192.0.2.1"),
            ("postgres://user@db.example/shop", "db.example"),
        ] {
            assert_eq!(parse(url).unwrap().0[0].0, host);
        }
    }

    #[test]
    fn several_hosts_need_one_that_accepts_writes() {
        let (hosts, target) = parse("postgres://user@one:1,[::1]:2,three/shop").unwrap();
        assert_eq!(hosts, [("one".into(), 1), ("::1".into(), 2), ("three".into(), 5432)]);
        assert_eq!(target, Target::ReadWrite);
        assert_eq!(parse("postgres://user@one/shop").unwrap().1, Target::Any, "as without this feature");
    }

    #[test]
    fn parameter_selects_the_target_and_others_stay() {
        for (name, expected) in
            [("any", Target::Any), ("primary", Target::Primary), ("read-write", Target::ReadWrite)]
        {
            let url =
                format!("postgres://user@one/shop?sslmode=disable&target_session_attrs={name}&user=other");
            let url: PostgresUrl = url.parse().unwrap();
            assert_eq!(url.target, expected);
            assert_eq!(url.hosts[0].get_username(), "other");
        }
        for name in ["standby", "prefer-standby", "read-only", ""] {
            let error =
                parse(&format!("postgres://user@one/shop?target_session_attrs={name}")).err().unwrap();
            assert!(error.to_string().contains("read-write"), "{error}");
        }
    }
}
