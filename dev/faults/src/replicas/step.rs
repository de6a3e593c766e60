//! The steps of the check: which database fails over, how it is replicated, and how the services find the new primary.

use std::{
    fmt::{self, Display, Formatter},
    path::Path,
};

use stack::{
    connection_urls::ConnectionUrls,
    mysql::Mysql,
    ports::{Ports, free_port},
    postgres::Postgres,
    servers::Servers,
    service::Program,
};

use crate::{
    database_state::Database,
    link::Link,
    system::{Setting, System},
};

/// One failover.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub(super) database: Database,
    /// Whether a commit waits until the standby has stored it.
    pub(super) is_synchronous: bool,
    pub(super) route: Route,
}

/// The way to the new primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// The URLs name both servers.
    TwoHosts,
    /// The URLs name one address, which leads to another server after the promotion.
    MovedAddress,
}

impl Step {
    pub(super) const ALL: [Self; 4] = [
        Self { database: Database::Postgres, is_synchronous: true, route: Route::TwoHosts },
        Self { database: Database::Postgres, is_synchronous: false, route: Route::MovedAddress },
        Self { database: Database::Mysql, is_synchronous: true, route: Route::MovedAddress },
        Self { database: Database::Mysql, is_synchronous: false, route: Route::TwoHosts },
    ];

    /// Returns the link of the service to the database.
    pub(super) fn link(self) -> Link {
        match self.database {
            Database::Postgres => Link::WebStoreToPostgres,
            Database::Mysql => Link::MarketingToMysql,
        }
    }

    /// Returns the settings of the service for a database with two hosts.
    pub(super) fn settings(self, urls: &ConnectionUrls, standby_port: u16) -> Vec<Setting> {
        let hosts = |url: String| with_second_host(&url, standby_port);
        let (program, settings) = match (self.route, self.database) {
            (Route::MovedAddress, _) => return Vec::new(),
            (Route::TwoHosts, Database::Postgres) => (
                Program::WebStore,
                [
                    ("WEB_STORE_DATABASE_URL", urls.web_store_database_url("web_store")),
                    ("WEB_STORE_OWNER_DATABASE_URL", urls.web_store_database_url("web_store_owner")),
                ],
            ),
            (Route::TwoHosts, Database::Mysql) => (
                Program::Marketing,
                [
                    ("MARKETING_DATABASE_URL", urls.marketing_database_url("marketing")),
                    ("MARKETING_OWNER_DATABASE_URL", urls.marketing_database_url("marketing_owner")),
                ],
            ),
        };
        settings.map(|(name, url)| (name, Some(program), hosts(url))).into()
    }

    /// Returns the setting of the console for the database.
    pub(super) fn console_setting(self, system: &System, standby_port: u16) -> (&'static str, String) {
        let urls = system.environment.connection_urls();
        let urls = match self.route {
            Route::TwoHosts => urls.clone(),
            Route::MovedAddress => self.urls_with_port(urls, system.proxy(self.link()).port()),
        };
        let (name, url) = match self.database {
            Database::Postgres => ("WEB_STORE_DATABASE_URL", urls.web_store_database_url("console")),
            Database::Mysql => ("MARKETING_DATABASE_URL", urls.marketing_database_url("console")),
        };
        match self.route {
            Route::TwoHosts => (name, with_second_host(&url, standby_port)),
            Route::MovedAddress => (name, url),
        }
    }

    /// Returns the URLs with another port of the database.
    pub(super) fn urls_with_port(self, urls: &ConnectionUrls, port: u16) -> ConnectionUrls {
        let ports = match self.database {
            Database::Postgres => Ports { postgres: port, ..urls.ports },
            Database::Mysql => Ports { mysql: port, ..urls.ports },
        };
        ConnectionUrls { ports, ..urls.clone() }
    }
}

/// Returns a URL with a second host.
fn with_second_host(url: &str, port: u16) -> String {
    match url.rsplit_once('/') {
        Some((server, database)) => format!("{server},127.0.0.1:{port}/{database}"),
        None => url.to_owned(),
    }
}

impl Display for Step {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let replication = if self.is_synchronous { "synchronous" } else { "asynchronous" };
        let route = match self.route {
            Route::TwoHosts => "two hosts",
            Route::MovedAddress => "moved address",
        };
        write!(f, "{}, {replication}, {route}", self.database.name())
    }
}

/// The standby of the database of a step.
pub(super) enum Standby {
    Postgres(Postgres),
    Mysql(Mysql),
}

impl Standby {
    /// Starts the standby of a primary that has been set up and not used yet.
    pub(super) async fn start(step: Step, servers: &Servers, directory: &Path) -> anyhow::Result<Self> {
        let port = free_port()?;
        Ok(match step.database {
            Database::Postgres => {
                let standby = servers.postgres.start_standby(directory, port).await?;
                if step.is_synchronous {
                    servers.postgres.replicate_synchronously().await?;
                }
                Self::Postgres(standby)
            }
            Database::Mysql => {
                Self::Mysql(servers.mysql.start_replica(directory, port, step.is_synchronous).await?)
            }
        })
    }

    pub(super) fn port(&self) -> u16 {
        match self {
            Self::Postgres(server) => server.port(),
            Self::Mysql(server) => server.port(),
        }
    }

    /// Makes the standby receive no further changes.
    pub(super) async fn stop_receiving(&self) -> anyhow::Result<()> {
        match self {
            Self::Postgres(server) => server.stop_receiving().await,
            Self::Mysql(server) => server.stop_receiving().await,
        }
    }

    pub(super) async fn promote(&self) -> anyhow::Result<()> {
        match self {
            Self::Postgres(server) => server.promote().await,
            Self::Mysql(server) => server.promote().await,
        }
    }
}
