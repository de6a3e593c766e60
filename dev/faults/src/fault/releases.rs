//! Schemas that another release, or a killed migration, has left behind.

use std::time::Duration;

use anyhow::ensure;
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection, PgConnection};
use stack::{connection_urls::ConnectionUrls, service::Program};
use tokio::time::sleep;

use super::{
    description::{Description, restore},
    processes::{kill, terminate},
};
use crate::fault_run::FaultRun;

/// The mark of a migration that this release does not have.
const NEWER: &str = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
    VALUES (99, 'of a newer release', TRUE, 'x', 1)";
const REMOVE_NEWER: &str = "DELETE FROM _sqlx_migrations WHERE version = 99";

/// Marks the last migration as begun. A kill after its statement leaves this state on MySQL.
const UNFINISHED: &str = "UPDATE _sqlx_migrations SET success = FALSE
    WHERE version < 99 ORDER BY version DESC LIMIT 1";

/// A fault in the sequence of releases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReleaseFault {
    /// The service starts on the schema of a newer release, as after a rollback.
    RolledBack(Program),
    /// Marketing starts after a kill during its last migration.
    KilledMigration,
}

impl ReleaseFault {
    pub(super) fn all() -> Vec<Self> {
        vec![Self::RolledBack(Program::WebStore), Self::RolledBack(Program::Marketing), Self::KilledMigration]
    }

    pub(super) fn describe(self) -> Description {
        match self {
            Self::RolledBack(program) => {
                Description::lasting(format!("release of {} rolled back", program.name()), 4)
            }
            Self::KilledMigration => Description::event("migration of marketing killed"),
        }
    }

    pub(super) async fn inject(self, run: &FaultRun, duration: Duration) -> anyhow::Result<()> {
        let urls = run.system.environment.connection_urls();
        match self {
            Self::RolledBack(program) => {
                restore("the schema of a newer release", async || {
                    execute(urls, program, REMOVE_NEWER).await?;
                    execute(urls, program, NEWER).await
                })
                .await?;
                terminate(run, program).await?;
                sleep(duration).await;
                restore("the schema of this release", async || execute(urls, program, REMOVE_NEWER).await)
                    .await
            }
            Self::KilledMigration => {
                restore("the unfinished migration", async || {
                    execute(urls, Program::Marketing, UNFINISHED).await
                })
                .await?;
                kill(run, Program::Marketing).await?;
                restore("the migration is completed", async || {
                    ensure!(unfinished_migrations(run).await? == 0, "a migration is unfinished");
                    Ok(())
                })
                .await
            }
        }
    }
}

/// Executes a statement in the database of a service, as the owner of its schema.
async fn execute(urls: &ConnectionUrls, program: Program, statement: &'static str) -> anyhow::Result<()> {
    let statement = AssertSqlSafe(statement);
    if program == Program::WebStore {
        let url = urls.web_store_database_url("web_store_owner");
        PgConnection::connect(&url).await?.execute(statement).await?;
    } else {
        let url = urls.marketing_database_url("marketing_owner");
        MySqlConnection::connect(&url).await?.execute(statement).await?;
    }
    Ok(())
}

async fn unfinished_migrations(run: &FaultRun) -> anyhow::Result<i64> {
    let select = "SELECT COUNT(*) FROM _sqlx_migrations WHERE NOT success";
    Ok(sqlx::query_scalar(select).fetch_one(&run.system.marketing_database).await?)
}
