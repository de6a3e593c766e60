//! Each service's users have exactly the permissions that their work needs, on databases and on the broker.

use contracts::{
    operations::OPERATIONS_SUBSCRIPTIONS,
    topology::{
        MARKETING_COMMANDS, MARKETING_CREATE_CUSTOMER, MARKETING_EVENTS, WEB_STORE_COMMANDS,
        WEB_STORE_ERASURES, WEB_STORE_EVENTS, WEB_STORE_REPLAYS,
    },
};
use lapin::{
    BasicProperties, Channel, Connection as BrokerConnection, ConnectionProperties, ExchangeKind,
    options::{
        BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
        ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions,
        QueuePurgeOptions,
    },
    types::{AMQPValue, FieldTable},
};
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection, PgConnection};
use system_tests::TestEnvironment;

const EXCHANGES: [&str; 6] = [
    WEB_STORE_EVENTS,
    WEB_STORE_REPLAYS,
    WEB_STORE_COMMANDS,
    WEB_STORE_ERASURES,
    MARKETING_COMMANDS,
    MARKETING_EVENTS,
];

#[tokio::test]
async fn web_store_may_change_rows_but_no_tables() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    environment.web_store_database().execute("CREATE TABLE notes (id bigserial, note text)").await?;

    let url = environment.connection_urls().web_store_database_url("web_store");
    let mut user = PgConnection::connect(&url).await?;
    for allowed in [
        "INSERT INTO notes (note) VALUES ('a')",
        "UPDATE notes SET note = 'b'",
        "SELECT note FROM notes",
        "DELETE FROM notes",
    ] {
        user.execute(AssertSqlSafe(allowed)).await?;
    }
    for forbidden in
        ["CREATE TABLE more ()", "DROP TABLE notes", "TRUNCATE notes", "ALTER TABLE notes ADD x int"]
    {
        assert!(user.execute(AssertSqlSafe(forbidden)).await.is_err(), "{forbidden}");
    }
    Ok(())
}

#[tokio::test]
async fn marketing_may_insert_and_update_rows_but_not_delete() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    environment.marketing_database().execute("CREATE TABLE customers (note text)").await?;

    let url = environment.connection_urls().marketing_database_url("marketing");
    let mut user = MySqlConnection::connect(&url).await?;
    for allowed in [
        "INSERT INTO customers VALUES ('a')",
        "UPDATE customers SET note = 'b'",
        "SELECT note FROM customers",
    ] {
        user.execute(AssertSqlSafe(allowed)).await?;
    }
    for forbidden in [
        "DELETE FROM customers",
        "TRUNCATE TABLE customers",
        "DROP TABLE customers",
        "CREATE TABLE more (x int)",
    ] {
        assert!(user.execute(AssertSqlSafe(forbidden)).await.is_err(), "{forbidden}");
    }
    Ok(())
}

#[tokio::test]
async fn dropped_environment_leaves_no_databases() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let urls = environment.connection_urls().clone();
    drop(environment);
    assert!(PgConnection::connect(&urls.web_store_database_url("postgres")).await.is_err());
    assert!(MySqlConnection::connect(&urls.marketing_database_url("root")).await.is_err());
    Ok(())
}

#[tokio::test]
async fn service_may_read_its_queues_but_not_its_dead_letters() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    for service in ["web-store", "transformer", "marketing"] {
        let queue = format!("{service}.a-message");
        let dead_letters = format!("{queue}.dead-letters");
        declare(&environment, service, &queue).await?;
        declare(&environment, service, &dead_letters).await?;
        get(&environment, service, &queue).await?;
        assert!(get(&environment, service, &dead_letters).await.is_err(), "{service} read {dead_letters}");
    }
    Ok(())
}

#[tokio::test]
async fn service_may_not_declare_queues_of_others() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    for (service, others) in [
        ("console", ["web-store.queue", "transformer.queue", "marketing.queue"]),
        ("web-store", ["queue", "transformer.queue", "marketing.queue"]),
        ("transformer", ["web-store.queue", "marketing.queue", "queue"]),
        ("marketing", ["web-store.queue", "transformer.queue", "queue"]),
    ] {
        for queue in others {
            assert!(declare(&environment, service, queue).await.is_err(), "{service} declared {queue}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn service_may_publish_only_what_it_sends() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    for (service, allowed) in [
        ("web-store", &[WEB_STORE_EVENTS, WEB_STORE_REPLAYS][..]),
        ("transformer", &[MARKETING_COMMANDS, WEB_STORE_COMMANDS]),
        ("marketing", &[MARKETING_EVENTS]),
        ("console", &[WEB_STORE_COMMANDS, WEB_STORE_ERASURES]),
    ] {
        for exchange in EXCHANGES {
            let published = publish(&environment, service, exchange).await;
            assert_eq!(
                published.is_ok(),
                allowed.contains(&exchange),
                "{service} to {exchange}: {published:?}"
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn console_may_only_read_rows() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    environment.web_store_database().execute("CREATE TABLE notes (note text)").await?;
    environment.marketing_database().execute("CREATE TABLE notes (note text)").await?;
    let urls = environment.connection_urls();
    let mut web_store = PgConnection::connect(&urls.web_store_database_url("console")).await?;
    let mut marketing = MySqlConnection::connect(&urls.marketing_database_url("console")).await?;
    web_store.execute("SELECT note FROM notes").await?;
    marketing.execute("SELECT note FROM notes").await?;
    for forbidden in [
        "INSERT INTO notes VALUES ('a')",
        "UPDATE notes SET note = 'b'",
        "DELETE FROM notes",
        "DROP TABLE notes",
        "CREATE TABLE more (x int)",
    ] {
        assert!(web_store.execute(AssertSqlSafe(forbidden)).await.is_err(), "{forbidden}");
        assert!(marketing.execute(AssertSqlSafe(forbidden)).await.is_err(), "{forbidden}");
    }
    Ok(())
}

#[tokio::test]
async fn console_moves_letters_only_through_its_own_exchange() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let queue = MARKETING_CREATE_CUSTOMER;
    let dead_letters = queue.dead_letter_queue();
    for name in [queue.name, &dead_letters] {
        declare(&environment, "marketing", name).await?;
    }
    declare(&environment, "console", "console.queue").await?;
    for exchange in [WEB_STORE_EVENTS, WEB_STORE_REPLAYS, MARKETING_COMMANDS, MARKETING_EVENTS, ""] {
        let published = publish(&environment, "console", exchange).await;
        assert!(published.is_err(), "to {exchange}: {published:?}");
    }
    for exchange in [WEB_STORE_EVENTS, MARKETING_COMMANDS] {
        let bound = bind(&environment, "console", "console.queue", exchange).await;
        assert!(bound.is_err(), "to {exchange}: {bound:?}");
    }
    assert!(get(&environment, "console", queue.name).await.is_err(), "read a work queue");
    get(&environment, "console", &dead_letters).await?;
    let (_connection, channel) = open_channel(&environment, "console").await?;
    let purge = channel.queue_purge(queue.name.into(), QueuePurgeOptions::default()).await;
    assert!(purge.is_err(), "purged a work queue");
    Ok(())
}

#[tokio::test]
async fn service_may_bind_only_to_exchanges_that_it_reads() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    for (service, allowed) in [
        ("web-store", &[WEB_STORE_COMMANDS, WEB_STORE_ERASURES][..]),
        ("transformer", &[WEB_STORE_EVENTS, WEB_STORE_REPLAYS, MARKETING_EVENTS]),
        ("marketing", &[MARKETING_COMMANDS, MARKETING_EVENTS]),
    ] {
        let queue = format!("{service}.a-message");
        declare(&environment, service, &queue).await?;
        for exchange in EXCHANGES {
            let bound = bind(&environment, service, &queue, exchange).await;
            assert_eq!(bound.is_ok(), allowed.contains(&exchange), "{service} to {exchange}: {bound:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn web_store_may_count_messages_of_other_queues() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    declare(&environment, "transformer", "transformer.a-message").await?;
    let (_connection, channel) = open_channel(&environment, "web-store").await?;
    let passive = QueueDeclareOptions { passive: true, ..Default::default() };
    let queue = channel.queue_declare("transformer.a-message".into(), passive, FieldTable::default()).await?;
    assert_eq!(queue.message_count(), 0);
    assert!(get(&environment, "web-store", "transformer.a-message").await.is_err());
    Ok(())
}

#[tokio::test]
async fn service_may_mark_gaps_of_its_own_queues() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    for service in ["transformer", "marketing"] {
        let (_connection, channel) = open_channel(&environment, service).await?;
        let marker = format!("{service}.a-message.replay-pending");
        let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
        let arguments = FieldTable::default();
        channel.exchange_declare(marker.as_str().into(), ExchangeKind::Direct, durable, arguments).await?;
        channel.exchange_delete(marker.into(), ExchangeDeleteOptions::default()).await?;
    }
    Ok(())
}

#[tokio::test]
async fn console_may_read_dead_letters_but_no_other_queue() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    for service in ["transformer", "marketing"] {
        let queue = format!("{service}.a-message");
        let dead_letters = format!("{queue}.dead-letters");
        declare(&environment, service, &queue).await?;
        declare(&environment, service, &dead_letters).await?;
        get(&environment, "console", &dead_letters).await?;
        assert!(get(&environment, "console", &queue).await.is_err(), "the console read {queue}");
        assert!(declare(&environment, "console", &format!("{service}.more")).await.is_err(), "{service}");
        // The depth of a queue needs no permission.
        let (_connection, channel) = open_channel(&environment, "console").await?;
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::durable() };
        channel.queue_declare(queue.as_str().into(), passive, FieldTable::default()).await?;
    }
    declare(&environment, "console", "console.status.1").await?;
    get(&environment, "console", "console.status.1").await?;
    Ok(())
}

#[tokio::test]
async fn only_console_may_write_states_of_subscriptions() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let stream = OPERATIONS_SUBSCRIPTIONS;
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("stream".into()));
    for service in ["web-store", "transformer", "marketing"] {
        let (_connection, channel) = open_channel(&environment, service).await?;
        let durable = QueueDeclareOptions::durable();
        channel.queue_declare(stream.into(), durable, arguments.clone()).await?;
        channel.basic_qos(1, BasicQosOptions::default()).await?;
        let options = BasicConsumeOptions::default();
        channel.basic_consume(stream.into(), "".into(), options, FieldTable::default()).await?;
        // The exchange has the name of the stream.
        let published = publish(&environment, service, stream).await;
        assert!(published.is_err(), "{service} published: {published:?}");
        let bound = bind(&environment, service, stream, stream).await;
        assert!(bound.is_err(), "{service} bound the stream: {bound:?}");
        let published = publish(&environment, service, "").await;
        assert!(published.is_err(), "{service} published to a queue: {published:?}");
    }
    publish(&environment, "console", stream).await?;
    bind(&environment, "console", stream, stream).await?;
    Ok(())
}

/// Opens a channel on its own connection, because a refused operation closes the channel.
async fn open_channel(
    environment: &TestEnvironment,
    user: &str,
) -> lapin::Result<(BrokerConnection, Channel)> {
    let properties = ConnectionProperties::default();
    let connection = BrokerConnection::connect(&environment.broker_url(user), properties).await?;
    let channel = connection.create_channel().await?;
    Ok((connection, channel))
}

/// Declares a queue as `user`.
async fn declare(environment: &TestEnvironment, user: &str, queue: &str) -> lapin::Result<()> {
    let (_connection, channel) = open_channel(environment, user).await?;
    channel.queue_declare(queue.into(), QueueDeclareOptions::durable(), FieldTable::default()).await?;
    Ok(())
}

/// Declares an exchange as the administrator.
async fn declare_exchange(environment: &TestEnvironment, exchange: &str) -> lapin::Result<()> {
    if exchange.is_empty() {
        // The default exchange always exists.
        return Ok(());
    }
    let (_connection, channel) = open_channel(environment, "admin").await?;
    let kind = if exchange == WEB_STORE_REPLAYS { ExchangeKind::Direct } else { ExchangeKind::Topic };
    let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
    channel.exchange_declare(exchange.into(), kind, durable, FieldTable::default()).await
}

/// Publishes a message to an exchange as `user`, and waits for the confirm.
async fn publish(environment: &TestEnvironment, user: &str, exchange: &str) -> lapin::Result<()> {
    declare_exchange(environment, exchange).await?;
    let (_connection, channel) = open_channel(environment, user).await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
    let confirm = channel.basic_publish(exchange.into(), "key".into(), options, b"{}", properties).await?;
    confirm.await.map(drop)
}

/// Binds a queue to an exchange as `user`.
async fn bind(environment: &TestEnvironment, user: &str, queue: &str, exchange: &str) -> lapin::Result<()> {
    declare_exchange(environment, exchange).await?;
    let (_connection, channel) = open_channel(environment, user).await?;
    let options = QueueBindOptions::default();
    channel.queue_bind(queue.into(), exchange.into(), "key".into(), options, FieldTable::default()).await
}

/// Requests one message of a queue as `user`.
async fn get(environment: &TestEnvironment, user: &str, queue: &str) -> lapin::Result<()> {
    let (_connection, channel) = open_channel(environment, user).await?;
    channel.basic_get(queue.into(), BasicGetOptions::default()).await?;
    Ok(())
}
