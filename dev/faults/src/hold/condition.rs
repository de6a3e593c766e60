//! The states in which servers are held.

use crate::{
    database_state::{Database, DatabaseState, Held},
    link::Link,
    system::System,
};

/// A state of a server, as the services of one system see it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Condition {
    /// The server accepts connections and never replies. The text names it.
    Silent(&'static str, &'static [Link]),
    Database(DatabaseState),
}

impl Condition {
    /// Returns all conditions. Those of one group are held simultaneously, each for a system of its own.
    pub(super) fn groups() -> Vec<Vec<Self>> {
        let each_alone = vec![
            Self::Silent("silent PostgreSQL", &[Link::WebStoreToPostgres]),
            Self::Silent("silent broker: web-store", &[Link::WebStoreToBroker]),
            Self::Silent(
                "silent broker: transformer",
                &[Link::TransformerToSource, Link::TransformerToTarget],
            ),
            Self::Silent("silent broker: marketing", &[Link::MarketingToBroker]),
            Self::Silent("silent MySQL", &[Link::MarketingToMysql]),
            Self::Database(DatabaseState::LockedTable(Database::Postgres)),
            Self::Database(DatabaseState::LockedTable(Database::Mysql)),
            // The limit of connections is that of one database.
            Self::Database(DatabaseState::Full(Database::Postgres)),
        ];
        let of_whole_server = [
            DatabaseState::ReadOnly(Database::Postgres),
            DatabaseState::ReadOnly(Database::Mysql),
            DatabaseState::Full(Database::Mysql),
        ];
        let mut groups = vec![each_alone];
        groups.extend(of_whole_server.map(|state| vec![Self::Database(state)]));
        groups
    }

    pub(super) fn name(self) -> String {
        match self {
            Self::Silent(name, _) => name.to_owned(),
            Self::Database(state) => state.name(),
        }
    }

    /// Begins the condition, and returns the sessions that hold it.
    pub(super) async fn impose(self, system: &System) -> anyhow::Result<Held> {
        match self {
            Self::Silent(_, links) => {
                for link in links {
                    system.proxy(*link).silence();
                }
                Ok(Held::default())
            }
            Self::Database(state) => state.impose(system.environment.connection_urls()).await,
        }
    }

    /// Ends the condition. The sessions that hold it must be dropped before.
    pub(super) async fn lift(self, system: &System) -> anyhow::Result<()> {
        match self {
            Self::Silent(_, links) => {
                for link in links {
                    system.proxy(*link).restore();
                }
                Ok(())
            }
            Self::Database(state) => state.lift(system.environment.connection_urls()).await,
        }
    }
}
