//! `console reconcile --watch` repairs each kind of loss without an operator.

use std::time::Duration;

use contracts::{
    CustomerDetailsChanged, CustomerRegistered, Message,
    topology::{
        MARKETING_CREATE_CUSTOMER, MARKETING_UPDATE_CUSTOMER, Queue, TRANSFORMER_CUSTOMER_DETAILS_CHANGED,
        TRANSFORMER_CUSTOMER_REGISTERED,
    },
};
use futures_util::StreamExt;
use lapin::{
    Channel, ExchangeKind,
    options::{BasicConsumeOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::FieldTable,
};
use serde_json::{Value, json};
use sqlx::Executor;
use stack::{
    connection_urls::PASSWORD,
    service::{Program, Service},
};
use system_tests::{
    NO_REPLAY, SOON, TestEnvironment,
    broker_client::open_channel,
    customers::{marketing_ids, register, register_many, wait_for_marketing_rows},
    eventually,
    load::RegistrationLoad,
    programs::stop,
};
use tokio::time::timeout;

/// The goal for the repair of a loss, and some more for a busy machine.
const REPAIR: Duration = Duration::from_mins(2);

const REPLAY_EXCHANGE: &str = "web-store.commands";
const REPLAY_TYPE: &str = "web-store.replay-customers.v1";

struct System {
    environment: TestEnvironment,
    web_store: Service,
    transformer: Service,
    marketing: Service,
}

impl System {
    async fn start() -> anyhow::Result<Self> {
        let environment = TestEnvironment::new().await?;
        Ok(Self {
            web_store: environment.start_ready(Program::WebStore, &[]).await?,
            transformer: environment.start_ready(Program::Transformer, NO_REPLAY).await?,
            marketing: environment.start_ready(Program::Marketing, NO_REPLAY).await?,
            environment,
        })
    }
}

/// Changes a customer's version in the Web Store, without an event.
async fn change_without_event(environment: &TestEnvironment, id: &str) -> anyhow::Result<()> {
    let change = "WITH past AS (
            INSERT INTO customer_versions (customer_id, version, name, marketing_consent, changed_at, message_id)
            SELECT id, version, name, marketing_consent, changed_at, message_id FROM customers WHERE id = $1::uuid
        )
        UPDATE customers SET version = 7, name = 'Ann Changed', changed_at = now(), message_id = gen_random_uuid()
        WHERE id = $1::uuid";
    sqlx::query(change).bind(id).execute(&environment.web_store_database()).await?;
    Ok(())
}

async fn wait_for_version(environment: &TestEnvironment, id: &str, version: u32) -> anyhow::Result<()> {
    let select = "SELECT version FROM customers WHERE customer_id = ?";
    eventually(REPAIR, &format!("version {version} of {id}"), async || {
        let select = sqlx::query_scalar::<_, u32>(select).bind(id);
        let found = select.fetch_one(&environment.marketing_database()).await.ok()?;
        (found == version).then_some(())
    })
    .await
}

/// Waits until a queue whose consumer is stopped holds at least `count` messages.
async fn wait_for_messages(environment: &TestEnvironment, queue: Queue, count: u64) -> anyhow::Result<()> {
    let management = environment.management();
    let holds = async || (management.depth(queue.name).await.ok()? >= count).then_some(());
    eventually(SOON, &format!("{count} messages in {}", queue.name), holds).await
}

/// Subscribes to the commands for the Web Store, with a queue of its own.
async fn subscribe_to_commands(channel: &Channel) -> anyhow::Result<lapin::Consumer> {
    let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
    let declare =
        channel.exchange_declare(REPLAY_EXCHANGE.into(), ExchangeKind::Topic, options, FieldTable::default());
    declare.await?;
    let (queue, arguments) = ("test.commands", FieldTable::default());
    channel.queue_declare(queue.into(), QueueDeclareOptions::durable(), arguments.clone()).await?;
    let options = QueueBindOptions::default();
    channel.queue_bind(queue.into(), REPLAY_EXCHANGE.into(), "#".into(), options, arguments.clone()).await?;
    let options = BasicConsumeOptions { no_ack: true, ..Default::default() };
    Ok(channel.basic_consume(queue.into(), "".into(), options, arguments).await?)
}

/// Returns the next command for the Web Store.
async fn next_command(commands: &mut lapin::Consumer) -> anyhow::Result<Value> {
    let delivery = timeout(REPAIR, commands.next()).await?.unwrap()?;
    let kind = delivery.properties.kind().as_ref().map(ToString::to_string);
    assert_eq!((kind.as_deref(), delivery.routing_key.as_str()), (Some(REPLAY_TYPE), REPLAY_TYPE));
    assert!(delivery.properties.message_id().is_some());
    Ok(serde_json::from_slice(&delivery.data)?)
}

#[tokio::test]
async fn watch_requests_replay_of_exactly_the_lost_customers() -> anyhow::Result<()> {
    let System { environment, web_store, transformer: _transformer, marketing } = System::start().await?;
    let (_connection, channel) = open_channel(&environment).await?;
    let mut commands = subscribe_to_commands(&channel).await?;
    let ids = register_many(&web_store, 4).await?;
    wait_for_marketing_rows(&environment, &ids, SOON).await?;
    let [missing, behind, ahead, _] = &ids[..] else { panic!("4 customers") };
    let database = environment.marketing_database();
    sqlx::query("DELETE FROM customers WHERE customer_id = ?").bind(missing).execute(&database).await?;
    sqlx::query("UPDATE customers SET version = 9 WHERE customer_id = ?")
        .bind(ahead)
        .execute(&database)
        .await?;
    change_without_event(&environment, behind).await?;
    // A message that Marketing holds is not lost.
    marketing.process.pause();
    register(&web_store, "Held").await?;
    marketing.process.resume();

    let _console = environment.start_console(&[])?;
    let command = |queue: Queue, event_type: &str, customer: Value| json!({ "queue": queue.name, "event_types": [event_type], "customers": [customer] });
    let (changed, change) = (TRANSFORMER_CUSTOMER_DETAILS_CHANGED, CustomerDetailsChanged::TYPE);
    let registered = TRANSFORMER_CUSTOMER_REGISTERED;
    for expected in [
        command(registered, CustomerRegistered::TYPE, json!({ "customer_id": missing })),
        command(changed, change, json!({ "customer_id": behind })),
        command(changed, change, json!({ "customer_id": ahead, "version": 9 })),
    ] {
        assert_eq!(next_command(&mut commands).await?, expected);
    }
    assert!(environment.logs_contain(missing) && environment.logs_contain("requested a replay"));
    Ok(())
}

#[tokio::test]
async fn watch_without_repair_only_reports() -> anyhow::Result<()> {
    let System { environment, web_store, transformer: _transformer, marketing: _marketing } =
        System::start().await?;
    let (_connection, channel) = open_channel(&environment).await?;
    let _commands = subscribe_to_commands(&channel).await?;
    let ids = register_many(&web_store, 1).await?;
    wait_for_marketing_rows(&environment, &ids, SOON).await?;
    environment.marketing_database().execute("DELETE FROM customers").await?;
    let mut console = environment.start_console(&[("CONSOLE_REPAIR", "false")])?;
    let reported = async || environment.logs_contain("replays are disabled").then_some(());
    eventually(REPAIR, "the loss is reported", reported).await?;
    assert!(!environment.logs_contain("requested a replay"));
    let status = console.process.stop(rustix::process::Signal::TERM, SOON).await?;
    assert!(status.success(), "{status}");
    Ok(())
}

#[tokio::test]
async fn watch_survives_outages_and_logs_each_once() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let port = stack::ports::free_port()?;
    let unreachable = format!("amqp://console:{PASSWORD}@127.0.0.1:{port}/%2f");
    // Without tables and without a broker.
    let mut console = environment.start_console(&[("BROKER_URL", &unreachable)])?;
    for line in ["checking the customers failed", "observing the queues failed"] {
        eventually(SOON, line, async || environment.logs_contain(line).then_some(())).await?;
    }
    let _web_store = environment.start_ready(Program::WebStore, &[]).await?;
    let _marketing = environment.start_ready(Program::Marketing, NO_REPLAY).await?;
    let line = "checking the customers succeeds again";
    eventually(SOON, line, async || environment.logs_contain(line).then_some(())).await?;
    assert_eq!(environment.log().matches("checking the customers failed").count(), 1);
    assert!(console.process.exit_status()?.is_none());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn purged_queues_are_repaired_under_load() -> anyhow::Result<()> {
    let System { environment, web_store, transformer, marketing } = System::start().await?;
    let management = environment.management();
    let _console = environment.start_console(&[])?;
    let load = RegistrationLoad::start(&web_store, 4)?;
    stop(marketing).await?;
    wait_for_messages(&environment, MARKETING_CREATE_CUSTOMER, 50).await?;
    management.purge(MARKETING_CREATE_CUSTOMER.name).await?;
    stop(transformer).await?;
    wait_for_messages(&environment, TRANSFORMER_CUSTOMER_REGISTERED, 50).await?;
    management.delete_queue(TRANSFORMER_CUSTOMER_REGISTERED.name).await?;
    let _transformer = environment.start_ready(Program::Transformer, NO_REPLAY).await?;
    let _marketing = environment.start_ready(Program::Marketing, NO_REPLAY).await?;
    let lost = load.confirmed_ids();
    eventually(REPAIR, "the lost customers arrive under load", async || {
        let arrived = marketing_ids(&environment).await.ok()?;
        lost.iter().all(|id| arrived.contains(id)).then_some(())
    })
    .await?;
    let load = load.stop().await?;
    wait_for_marketing_rows(&environment, &load.confirmed, REPAIR).await
}

#[tokio::test]
async fn expired_messages_are_repaired() -> anyhow::Result<()> {
    let System { environment, web_store, transformer: _transformer, marketing } = System::start().await?;
    let _console = environment.start_console(&[])?;
    stop(marketing).await?;
    // The policy also covers the dead letters, so expired messages leave no trace.
    let management = environment.management();
    management.set_policy("loss", ".*", json!({ "message-ttl": 1000 })).await?;
    let ids = register_many(&web_store, 20).await?;
    for queue in [MARKETING_CREATE_CUSTOMER.name.to_owned(), MARKETING_CREATE_CUSTOMER.dead_letter_queue()] {
        management.wait_for_depth(&queue, 0).await?;
    }
    let _marketing = environment.start_ready(Program::Marketing, NO_REPLAY).await?;
    wait_for_marketing_rows(&environment, &ids, REPAIR).await?;
    management.delete_policy("loss").await
}

#[tokio::test]
async fn customers_whose_expired_messages_are_dead_letters_are_repaired() -> anyhow::Result<()> {
    let System { environment, web_store, transformer: _transformer, marketing } = System::start().await?;
    let _console = environment.start_console(&[])?;
    stop(marketing).await?;
    let management = environment.management();
    let queue = MARKETING_CREATE_CUSTOMER;
    management.set_policy("expiry", "^marketing\\.create-customer$", json!({ "message-ttl": 1000 })).await?;
    let ids = register_many(&web_store, 20).await?;
    eventually(SOON, "all messages are dead letters", async || {
        (management.depth(&queue.dead_letter_queue()).await.ok()? >= 20).then_some(())
    })
    .await?;
    management.delete_policy("expiry").await?;
    let _marketing = environment.start_ready(Program::Marketing, NO_REPLAY).await?;
    wait_for_marketing_rows(&environment, &ids, REPAIR).await
}

#[tokio::test]
async fn message_acked_by_mistake_is_repaired() -> anyhow::Result<()> {
    let System { environment, web_store, transformer: _transformer, marketing } = System::start().await?;
    stop(marketing).await?;
    let ids = register_many(&web_store, 3).await?;
    let management = environment.management();
    management.wait_for_depth(MARKETING_CREATE_CUSTOMER.name, 3).await?;
    assert_eq!(management.take(MARKETING_CREATE_CUSTOMER.name, 2).await?.len(), 2);
    let _marketing = environment.start_ready(Program::Marketing, NO_REPLAY).await?;
    let _console = environment.start_console(&[])?;
    wait_for_marketing_rows(&environment, &ids, REPAIR).await
}

#[tokio::test]
async fn lost_change_is_repaired() -> anyhow::Result<()> {
    let System { environment, web_store, transformer: _transformer, marketing: _marketing } =
        System::start().await?;
    let _console = environment.start_console(&[])?;
    let ids = register_many(&web_store, 2).await?;
    wait_for_marketing_rows(&environment, &ids, SOON).await?;
    change_without_event(&environment, &ids[0]).await?;
    wait_for_version(&environment, &ids[0], 7).await?;
    environment.management().wait_for_depth(MARKETING_UPDATE_CUSTOMER.name, 0).await
}

#[tokio::test]
async fn customer_that_is_ahead_gets_newer_version() -> anyhow::Result<()> {
    let System { environment, web_store, transformer: _transformer, marketing: _marketing } =
        System::start().await?;
    let _console = environment.start_console(&[])?;
    let ids = register_many(&web_store, 1).await?;
    wait_for_marketing_rows(&environment, &ids, SOON).await?;
    // The number of a version is at most the number of seconds since 2020.
    let raise = "UPDATE customers SET version = 200000000, full_name = 'Outdated' WHERE customer_id = ?";
    sqlx::query(raise).bind(&ids[0]).execute(&environment.marketing_database()).await?;
    let select = "SELECT full_name FROM customers WHERE customer_id = ?";
    eventually(REPAIR, "the Web Store's details replace the outdated ones", async || {
        let select = sqlx::query_scalar::<_, String>(select).bind(&ids[0]);
        let name = select.fetch_one(&environment.marketing_database()).await.ok()?;
        (name != "Outdated").then_some(())
    })
    .await
}
