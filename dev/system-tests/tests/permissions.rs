//! Each service's user may do what its work needs on its database and on the broker, and nothing more.

use lapin::ConnectionProperties;
use lapin::options::{BasicGetOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection, PgConnection};
use system_tests::TestEnvironment;

#[tokio::test]
async fn web_store_may_touch_rows_but_no_tables() {
    let site = TestEnvironment::new().await.unwrap();
    site.web_store_database().execute("CREATE TABLE notes (id bigserial, note text)").await.unwrap();

    let url = site.connection_urls().web_store_database_url("web_store");
    let mut user = PgConnection::connect(&url).await.unwrap();
    for allowed in [
        "INSERT INTO notes (note) VALUES ('a')",
        "UPDATE notes SET note = 'b'",
        "SELECT note FROM notes",
        "DELETE FROM notes",
    ] {
        user.execute(AssertSqlSafe(allowed)).await.unwrap();
    }
    for forbidden in
        ["CREATE TABLE more ()", "DROP TABLE notes", "TRUNCATE notes", "ALTER TABLE notes ADD x int"]
    {
        assert!(user.execute(AssertSqlSafe(forbidden)).await.is_err(), "{forbidden}");
    }
}

#[tokio::test]
async fn marketing_may_add_and_change_rows_but_not_delete_them() {
    let site = TestEnvironment::new().await.unwrap();
    site.marketing_database().execute("CREATE TABLE notes (note text)").await.unwrap();

    let url = site.connection_urls().marketing_database_url("marketing");
    let mut user = MySqlConnection::connect(&url).await.unwrap();
    for allowed in ["INSERT INTO notes VALUES ('a')", "UPDATE notes SET note = 'b'", "SELECT note FROM notes"]
    {
        user.execute(AssertSqlSafe(allowed)).await.unwrap();
    }
    for forbidden in
        ["DELETE FROM notes", "TRUNCATE TABLE notes", "DROP TABLE notes", "CREATE TABLE more (x int)"]
    {
        assert!(user.execute(AssertSqlSafe(forbidden)).await.is_err(), "{forbidden}");
    }
}

#[tokio::test]
async fn a_site_leaves_no_databases_behind() {
    let site = TestEnvironment::new().await.unwrap();
    let addresses = site.connection_urls().clone();
    drop(site);
    assert!(PgConnection::connect(&addresses.web_store_database_url("postgres")).await.is_err());
    assert!(MySqlConnection::connect(&addresses.marketing_database_url("root")).await.is_err());
}

#[tokio::test]
async fn a_service_reads_its_queues_but_not_its_dead_letters() {
    let site = TestEnvironment::new().await.unwrap();
    for service in ["transformer", "marketing"] {
        let queue = format!("{service}.a-message");
        let dead_letters = format!("{queue}.dead-letters");
        declare(&site, service, &queue).await.unwrap();
        declare(&site, service, &dead_letters).await.unwrap();
        get(&site, service, &queue).await.unwrap();
        get(&site, service, &dead_letters).await.expect_err("a service reads its dead letters");
    }
}

#[tokio::test]
async fn a_service_makes_nothing_in_anothers_name() {
    let site = TestEnvironment::new().await.unwrap();
    for (service, others) in [
        ("web-store", ["web-store.queue", "transformer.queue", "marketing.queue"]),
        ("transformer", ["web-store.queue", "marketing.queue", "queue"]),
        ("marketing", ["web-store.queue", "transformer.queue", "queue"]),
    ] {
        for queue in others {
            assert!(declare(&site, service, queue).await.is_err(), "{service} made {queue}");
        }
    }
}

/// Declares a queue as a service. A refusal costs the channel, so each try has its own connection.
async fn declare(site: &TestEnvironment, user: &str, queue: &str) -> lapin::Result<()> {
    let connection =
        lapin::Connection::connect(&site.broker_url(user), ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.queue_declare(queue.into(), QueueDeclareOptions::durable(), FieldTable::default()).await?;
    Ok(())
}

/// Asks for a message of a queue as a service.
async fn get(site: &TestEnvironment, user: &str, queue: &str) -> lapin::Result<()> {
    let connection =
        lapin::Connection::connect(&site.broker_url(user), ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.basic_get(queue.into(), BasicGetOptions::default()).await?;
    Ok(())
}
