//! Private servers keep their data and their ports when they are killed, and can be frozen.

use std::time::Duration;

use sqlx::{Connection, PgConnection};
use stack::servers::Servers;
use system_tests::{SOON, TestEnvironment, eventually};
use tokio::time::timeout;

#[tokio::test]
async fn killed_servers_restart_with_their_data() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let mut servers = Servers::start(directory.path(), |_| ()).await?;
    let environment = TestEnvironment::on(&servers).await?;
    sqlx::query("CREATE TABLE notes (note text)").execute(&environment.web_store_database()).await?;
    sqlx::query("CREATE TABLE notes (note text)").execute(&environment.marketing_database()).await?;

    servers.postgres.process.kill().await?;
    servers.mysql.process.kill().await?;
    servers.broker.process.kill().await?;
    servers.postgres.restart().await?;
    servers.mysql.restart().await?;
    servers.broker.restart().await?;

    sqlx::query("SELECT * FROM notes").execute(&environment.web_store_database()).await?;
    sqlx::query("SELECT * FROM notes").execute(&environment.marketing_database()).await?;
    let management = environment.management();
    let no_queues = async || management.queues().await.ok()?.is_empty().then_some(());
    eventually(SOON, "the broker responds", no_queues).await
}

#[tokio::test]
async fn frozen_server_responds_again_after_it_is_resumed() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let mut servers = Servers::start(directory.path(), |_| ()).await?;
    let url = servers.connection_urls().web_store_database_url("web_store_owner");
    let mut connection = PgConnection::connect(&url).await?;

    servers.postgres.process.pause();
    let frozen = timeout(Duration::from_millis(300), connection.ping()).await;
    servers.postgres.process.resume();

    assert!(frozen.is_err(), "a backend process responded while the server was frozen");
    PgConnection::connect(&url).await?.ping().await?;
    drop(connection);
    servers.stop().await
}
