//! Backups of one database while it is in use, by the tools of its server.

use stack::{
    command::{child_command, find_program, run_tool, run_tool_with_input},
    connection_urls::{ConnectionUrls, PASSWORD},
};
use tokio::process::Command;

/// A database server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Server {
    Postgres,
    Mysql,
}

impl Server {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL",
            Self::Mysql => "MySQL",
        }
    }

    pub(super) fn other(self) -> Self {
        match self {
            Self::Postgres => Self::Mysql,
            Self::Mysql => Self::Postgres,
        }
    }
}

/// The content of one database at one time.
pub(super) struct Backup {
    server: Server,
    sql: String,
}

impl Backup {
    /// Reads a consistent state of the database. Other sessions continue.
    pub(super) async fn take(server: Server, urls: &ConnectionUrls) -> anyhow::Result<Self> {
        let mut tool = match server {
            Server::Postgres => {
                let mut tool = child_command(find_program("pg_dump")?);
                tool.args(["--clean", "--if-exists", "--dbname"]);
                tool.arg(urls.web_store_database_url("postgres"));
                tool
            }
            Server::Mysql => {
                let mut tool = mysql_tool("mysqldump", "mariadb-dump", urls)?;
                tool.args(["--single-transaction", &urls.marketing_database]);
                tool
            }
        };
        let sql = run_tool(&format!("backup of {}", server.name()), &mut tool).await?;
        Ok(Self { server, sql })
    }

    /// Replaces the content of the database.
    pub(super) async fn restore(&self, urls: &ConnectionUrls) -> anyhow::Result<()> {
        let mut tool = match self.server {
            Server::Postgres => {
                let mut tool = child_command(find_program("psql")?);
                tool.args(["--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--single-transaction"]);
                tool.arg(urls.web_store_database_url("postgres"));
                tool
            }
            Server::Mysql => {
                let mut tool = mysql_tool("mysql", "mariadb", urls)?;
                tool.arg(&urls.marketing_database);
                tool
            }
        };
        let operation = format!("restore of {}", self.server.name());
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
