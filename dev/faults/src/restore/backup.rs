//! Backups of one database while it is in use, by the tools of its server.

use stack::{
    command::{child_command, find_program, run_tool, run_tool_with_input},
    connection_urls::{ConnectionUrls, PASSWORD},
};
use tokio::process::Command;

use crate::database_state::Database;

/// The content of one database at one time.
pub(super) struct Backup {
    database: Database,
    sql: String,
}

impl Backup {
    /// Reads a consistent state of the database. Other sessions continue.
    pub(super) async fn take(database: Database, urls: &ConnectionUrls) -> anyhow::Result<Self> {
        let mut tool = match database {
            Database::Postgres => {
                let mut tool = child_command(find_program("pg_dump")?);
                tool.args(["--clean", "--if-exists", "--dbname"]);
                tool.arg(urls.web_store_database_url("postgres"));
                tool
            }
            Database::Mysql => {
                let mut tool = mysql_tool("mysqldump", "mariadb-dump", urls)?;
                tool.args(["--single-transaction", &urls.marketing_database]);
                tool
            }
        };
        let sql = run_tool(&format!("backup of {}", database.name()), &mut tool).await?;
        Ok(Self { database, sql })
    }

    /// Replaces the content of the database.
    pub(super) async fn restore(&self, urls: &ConnectionUrls) -> anyhow::Result<()> {
        let mut tool = match self.database {
            Database::Postgres => {
                let mut tool = child_command(find_program("psql")?);
                tool.args(["--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--single-transaction"]);
                tool.arg(urls.web_store_database_url("postgres"));
                tool
            }
            Database::Mysql => {
                let mut tool = mysql_tool("mysql", "mariadb", urls)?;
                tool.arg(&urls.marketing_database);
                tool
            }
        };
        let operation = format!("restore of {}", self.database.name());
        run_tool_with_input(&operation, &mut tool, &self.sql).await.map(drop)
    }
}

/// Returns a command for a tool of MySQL, or for MariaDB's of the other name.
fn mysql_tool(name: &str, other_name: &str, urls: &ConnectionUrls) -> anyhow::Result<Command> {
    let mut tool = child_command(find_program(name).or_else(|_| find_program(other_name))?);
    tool.args(["--no-defaults", "--protocol=tcp", "--host=127.0.0.1", "--user=root"]);
    tool.arg(format!("--port={}", urls.ports.mysql)).env("MYSQL_PWD", PASSWORD);
    Ok(tool)
}
