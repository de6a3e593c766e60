//! Private servers with TLS that require a client certificate from the services.

use std::{
    fs,
    os::unix::fs::{MetadataExt, chown},
    path::Path,
};

use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection, PgConnection};
use stack::{ports::free_port, servers::Servers};
use tempfile::TempDir;

use super::certificates::Authority;

/// Servers that present the certificate `server` of a CA. Their ordinary ports also take unencrypted connections, except
/// from the users `web_store` and `marketing` of the databases.
pub(super) struct TlsServers {
    pub(super) servers: Servers,
    /// The port for AMQP over TLS.
    pub(super) broker_port: u16,
    directory: TempDir,
}

impl TlsServers {
    pub(super) async fn start(authority: &Authority) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let broker_port = free_port()?;
        write(&directory.path().join("broker/conf.d/tls.conf"), &broker_settings(authority, broker_port))?;
        write(&directory.path().join("mysql/my.cnf"), &mysql_settings(authority))?;
        let servers = Servers::start(directory.path(), |_| ()).await?;
        let tls = Self { servers, broker_port, directory };
        tls.set_up_postgres(authority).await?;
        tls.mysql().await?.execute("ALTER USER 'marketing'@'%' REQUIRE X509").await?;
        Ok(tls)
    }

    /// Makes all servers read their certificates again. Open connections stay.
    pub(super) async fn reload_certificates(&self, authority: &Authority) -> anyhow::Result<()> {
        self.copy_files_of_postgres(authority)?;
        self.postgres().await?.execute("SELECT pg_reload_conf()").await?;
        let mut mysql = self.mysql().await?;
        // The first statement is that of MariaDB, the second one that of MySQL.
        if mysql.execute("FLUSH SSL").await.is_err() {
            mysql.execute("ALTER INSTANCE RELOAD TLS").await?;
        }
        self.servers.broker.reload_certificates().await
    }

    /// Connects to PostgreSQL as the superuser.
    pub(super) async fn postgres(&self) -> anyhow::Result<PgConnection> {
        let url = self.servers.connection_urls().web_store_database_url("postgres");
        Ok(PgConnection::connect(&format!("{url}?sslmode=disable")).await?)
    }

    /// Connects to MySQL as the superuser.
    pub(super) async fn mysql(&self) -> anyhow::Result<MySqlConnection> {
        let url = self.servers.connection_urls().marketing_database_url("root");
        Ok(MySqlConnection::connect(&format!("{url}?ssl-mode=DISABLED")).await?)
    }

    async fn set_up_postgres(&self, authority: &Authority) -> anyhow::Result<()> {
        let mut superuser = self.postgres().await?;
        let path: String = sqlx::query_scalar("SHOW hba_file").fetch_one(&mut superuser).await?;
        let rules =
            "hostssl all web_store all scram-sha-256 clientcert=verify-ca\nhost all web_store all reject\n";
        let existing = fs::read_to_string(&path)?;
        fs::write(&path, format!("{rules}{existing}"))?;
        self.copy_files_of_postgres(authority)?;
        for (setting, value) in [
            ("ssl_ca_file", "ca.pem"),
            ("ssl_cert_file", "server.pem"),
            ("ssl_key_file", "server.key"),
            ("ssl", "on"),
        ] {
            let statement = format!("ALTER SYSTEM SET {setting} = '{value}'");
            superuser.execute(AssertSqlSafe(statement)).await?;
        }
        superuser.execute("SELECT pg_reload_conf()").await?;
        Ok(())
    }

    /// Copies the files to the data of PostgreSQL, which only reads a key of its own user.
    fn copy_files_of_postgres(&self, authority: &Authority) -> anyhow::Result<()> {
        let data = self.directory.path().join("postgres/data");
        let owner = fs::metadata(&data)?;
        for name in ["ca.pem", "server.pem", "server.key"] {
            let copy = data.join(name);
            fs::copy(authority.file(name), &copy)?;
            chown(&copy, Some(owner.uid()), Some(owner.gid()))?;
        }
        Ok(())
    }
}

fn broker_settings(authority: &Authority, port: u16) -> String {
    format!(
        "listeners.ssl.1 = 127.0.0.1:{port}\n\
         ssl_options.cacertfile = {}\n\
         ssl_options.certfile = {}\n\
         ssl_options.keyfile = {}\n\
         ssl_options.verify = verify_peer\n\
         ssl_options.fail_if_no_peer_cert = true\n",
        authority.file("ca.pem").display(),
        authority.file("server.pem").display(),
        authority.file("server.key").display()
    )
}

fn mysql_settings(authority: &Authority) -> String {
    format!(
        "[mysqld]\nssl-ca={}\nssl-cert={}\nssl-key={}\n",
        authority.file("ca.pem").display(),
        authority.file("server.pem").display(),
        authority.file("server.key").display()
    )
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::create_dir_all(path.parent().unwrap_or(path))?;
    Ok(fs::write(path, text)?)
}
