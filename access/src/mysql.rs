//! Connections to the primary of several MySQL or MariaDB servers.

use std::str::FromStr;

use sqlx::{Connection, MySqlConnection, mysql::MySqlConnectOptions};

use crate::{
    Secret,
    hosts::{HostFailure, connect_to_first, parse_each_host},
};

/// The URL of a database: `mysql://user:password@host:port/database`, with sqlx's parameters.
///
/// It can have several hosts: `mysql://user:password@one:3306,two:3306/database`. A connection then goes to the first host
/// that accepts writes.
#[derive(Clone)]
pub struct MysqlUrl {
    hosts: Vec<MySqlConnectOptions>,
}

impl FromStr for MysqlUrl {
    type Err = sqlx::Error;

    fn from_str(url: &str) -> sqlx::Result<Self> {
        Ok(Self { hosts: parse_each_host(url, str::parse)? })
    }
}

impl Secret<MysqlUrl> {
    /// Connects to the server that the current URL selects.
    ///
    /// # Errors
    /// Returns an error if the file with the URL cannot be used, or if no server can be used. The caller enforces a
    /// deadline.
    pub async fn connect(&self) -> sqlx::Result<MySqlConnection> {
        let url = self.read().map_err(|error| sqlx::Error::Configuration(error.into()))?;
        // In boxes, so that the futures of callers stay small.
        match &url.hosts[..] {
            [host] => Box::pin(MySqlConnection::connect_with(host)).await,
            hosts => Ok(Box::pin(connect_to_first(hosts, connect_to_primary)).await?),
        }
    }
}

/// Connects if the server accepts writes.
async fn connect_to_primary(host: MySqlConnectOptions) -> Result<MySqlConnection, HostFailure> {
    let mut connection = MySqlConnection::connect_with(&host).await?;
    if is_read_only(&mut connection).await? { Err(HostFailure::ReadOnly) } else { Ok(connection) }
}

/// Returns whether the server refuses the writes of ordinary users, for example because it is a replica.
///
/// `read_only` is a number, or a text since MariaDB 12. MariaDB has no `super_read_only`, and ignores the
/// comment.
///
/// # Errors
/// Returns an error if the query fails.
pub async fn is_read_only(connection: &mut MySqlConnection) -> sqlx::Result<bool> {
    let select = "SELECT CAST(CONCAT(@@global.read_only) NOT IN ('0', 'OFF')
        OR @@global.innodb_read_only /*!80000 OR @@global.super_read_only */ AS SIGNED)";
    let read_only: i64 = sqlx::query_scalar(select).fetch_one(connection).await?;
    Ok(read_only != 0)
}

#[cfg(test)]
mod tests {
    use super::MysqlUrl;

    #[test]
    fn each_host_has_its_own_port() {
        let url: MysqlUrl = "mysql://user@one:1,two/shop?ssl-mode=VERIFY_IDENTITY".parse().unwrap();
        let hosts: Vec<_> = url.hosts.iter().map(|host| (host.get_host(), host.get_port())).collect();
        assert_eq!(hosts, [("one", 1), ("two", 3306)]);
    }
}
