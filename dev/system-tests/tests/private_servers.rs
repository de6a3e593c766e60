//! The private servers themselves: they keep what they have, and come back on the same ports.

use sqlx::{Connection, PgConnection};
use stack::servers::Servers;
use system_tests::{SOON, TestEnvironment, eventually};

#[tokio::test]
async fn killed_servers_come_back_with_their_data() {
    let directory = tempfile::tempdir().unwrap();
    let mut servers = Servers::start(directory.path(), |_| ()).await.unwrap();
    let site = TestEnvironment::on(&servers).await.unwrap();
    sqlx::query("CREATE TABLE notes (note text)").execute(&site.web_store_database()).await.unwrap();
    sqlx::query("CREATE TABLE notes (note text)").execute(&site.marketing_database()).await.unwrap();

    servers.postgres.process.kill().await.unwrap();
    servers.mysql.process.kill().await.unwrap();
    servers.broker.process.kill().await.unwrap();
    servers.postgres.restart().await.unwrap();
    servers.mysql.restart().await.unwrap();
    servers.broker.restart().await.unwrap();

    sqlx::query("SELECT * FROM notes").execute(&site.web_store_database()).await.unwrap();
    sqlx::query("SELECT * FROM notes").execute(&site.marketing_database()).await.unwrap();
    eventually(SOON, "the broker answers", async || {
        site.management().queues().await.unwrap().is_empty().then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_frozen_server_answers_again_when_it_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let mut servers = Servers::start(directory.path(), |_| ()).await.unwrap();
    let url = servers.connection_urls().web_store_database_url("web_store_owner");
    let mut connection = PgConnection::connect(&url).await.unwrap();

    servers.postgres.process.pause();
    let frozen = tokio::time::timeout(std::time::Duration::from_millis(300), connection.ping()).await;
    servers.postgres.process.resume();

    assert!(frozen.is_err(), "a backend went on while the server was frozen");
    PgConnection::connect(&url).await.unwrap().ping().await.unwrap();
    drop(connection);
    servers.stop().await.unwrap();
}
