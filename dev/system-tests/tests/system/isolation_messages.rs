//! One poison message affects no other message: it is processed, or it is set aside with its reason.

use std::time::Duration;

use contracts::{
    CreateCustomer, Message,
    topology::{MARKETING_COMMANDS, MARKETING_CREATE_CUSTOMER, MARKETING_UPDATE_CUSTOMER},
};
use faults::wire::{Connection, Delivery, Field, Outcome, Properties, Property, Publication, Table};
use serde_json::{Value, json};
use stack::{
    resource_usage::peak_memory,
    servers::Servers,
    service::{Program, Service},
};
use system_tests::{
    SOON, TestEnvironment,
    customers::{marketing_ids, register},
    eventually,
};

/// A poison message is set aside within a minute. Other messages do not wait for it.
const SET_ASIDE: Duration = Duration::from_mins(1);

/// The user that publishes the poison messages.
const USER: &str = "admin";

/// With this delivery limit, the broker soon dead-letters messages that pay for another one.
const DELIVERY_LIMIT: u32 = 3;

/// Registrations that settle alone, so that the consumer's prefetch grows to its maximum.
const BEFORE: usize = 20;

/// Registrations behind the poison message.
const BEHIND: usize = 50;

/// The expected fate of a poison message.
enum Expected {
    /// Marketing has a row for this customer.
    Processed(String),
    /// This number of messages are dead letters with this code.
    DeadLetters(usize, &'static str),
}

fn customer_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// Returns a valid command.
fn command(customer_id: &str) -> Value {
    json!({
        "customer_id": customer_id, "full_name": "A", "email_address": "a@example.org", "email_opt_in": true,
        "source": "helpdesk", "customer_since": "2026-01-02T03:04:05.000000Z",
    })
}

fn properties() -> Properties {
    Properties::default()
        .with_text(Property::Type, CreateCustomer::TYPE)
        .with_text(Property::MessageId, customer_id())
        .with_bytes(Property::DeliveryMode, &[2])
}

fn publication(properties: &Properties, body: impl Into<Vec<u8>>) -> Publication {
    Publication {
        exchange: MARKETING_COMMANDS.into(),
        routing_key: CreateCustomer::TYPE.into(),
        properties: properties.encode(),
        body: body.into(),
    }
}

async fn connect(environment: &TestEnvironment) -> anyhow::Result<Connection> {
    let urls = environment.connection_urls();
    Connection::open(urls.ports.broker, &urls.virtual_host, USER).await
}

/// Takes the dead letters until there are `count` of them.
async fn dead_letters(environment: &TestEnvironment, count: usize) -> anyhow::Result<Vec<Delivery>> {
    let queue = MARKETING_CREATE_CUSTOMER.dead_letter_queue();
    let mut letters = Vec::new();
    let connection = tokio::sync::Mutex::new(connect(environment).await?);
    while letters.len() < count {
        let next = async || connection.lock().await.get(&queue).await.ok().flatten();
        letters.push(eventually(SET_ASIDE, "a dead letter", next).await?);
    }
    Ok(letters)
}

async fn set_delivery_limit(environment: &TestEnvironment) -> anyhow::Result<()> {
    let limit = json!({ "delivery-limit": DELIVERY_LIMIT });
    environment.management().set_policy("limit", "^marketing.create-customer$", limit).await
}

async fn wait_for_rows(environment: &TestEnvironment, customers: &[String]) -> anyhow::Result<()> {
    let text = format!("{} customers in Marketing's table", customers.len());
    let rows = async || {
        let rows = marketing_ids(environment).await.ok()?;
        customers.iter().all(|customer| rows.contains(customer)).then_some(())
    };
    eventually(SET_ASIDE, &text, rows).await
}

/// Publishes poison messages to a frozen Marketing, and customers behind them. Resumes Marketing, and checks that
/// all customers arrive. Returns the dead letters, which are exactly the poison messages.
async fn isolate(poison: &[Publication], expected: Expected) -> anyhow::Result<Vec<Delivery>> {
    let environment = TestEnvironment::new().await?;
    let web_store = environment.start_ready(Program::WebStore, &[]).await?;
    let _transformer = environment.start_ready(Program::Transformer, &[]).await?;
    let mut marketing = environment.start_ready(Program::Marketing, &[]).await?;
    set_delivery_limit(&environment).await?;
    let mut customers = register_customers(&environment, &web_store, "Before", BEFORE).await?;
    wait_for_rows(&environment, &customers).await?;

    marketing.process.pause();
    let mut connection = connect(&environment).await?;
    for message in poison {
        assert_eq!(connection.publish(message).await, Outcome::Confirmed);
    }
    customers.extend(register_customers(&environment, &web_store, "Behind", BEHIND).await?);
    let queue = MARKETING_CREATE_CUSTOMER;
    eventually(SOON, "the customers are behind the poison messages", async || {
        let waiting = environment.management().depth(queue.name).await.ok()?;
        (waiting >= (BEHIND + poison.len()) as u64).then_some(())
    })
    .await?;
    marketing.process.resume();

    let (rows, letters, code) = match expected {
        Expected::Processed(customer) => (vec![customer], 0, ""),
        Expected::DeadLetters(count, code) => (Vec::new(), count, code),
    };
    wait_for_rows(&environment, &[customers, rows].concat()).await?;
    let mut letters = dead_letters(&environment, letters).await?;
    eventually(SOON, "the queue is empty", async || {
        (environment.management().depth(queue.name).await.ok()? == 0).then_some(())
    })
    .await?;
    if let Some(letter) = connection.get(&queue.dead_letter_queue()).await? {
        letters.push(letter);
        panic!("a dead letter too many: {}", letters.iter().map(describe).collect::<String>());
    }
    for letter in &letters {
        assert_eq!(letter.properties.header("rejection-code"), Some(code.as_bytes()), "{}", describe(letter));
        let reason = letter.properties.header("rejection-reason").unwrap();
        assert!(!reason.is_empty() && reason.len() <= 1000, "{}", describe(letter));
        assert_eq!(letter.properties.text(Property::UserId), None);
        assert_eq!(letter.properties.text(Property::Expiration), None);
        assert!(poison.iter().any(|message| message.body == letter.body), "the body is unchanged");
    }
    let other = MARKETING_UPDATE_CUSTOMER.dead_letter_queue();
    assert!(connection.get(&other).await?.is_none(), "no dead letter is in another queue");
    let ended = marketing.process.exit_status()?;
    assert!(ended.is_none(), "Marketing ended with {ended:?}");
    Ok(letters)
}

async fn register_customers(
    environment: &TestEnvironment,
    web_store: &Service,
    name: &str,
    count: usize,
) -> anyhow::Result<Vec<String>> {
    let mut customers = Vec::new();
    for n in 0..count {
        customers.push(register(web_store, &format!("{name} {n}")).await?);
        if name == "Before" {
            // Each of these is a batch of its own.
            wait_for_rows(environment, &customers).await?;
        }
    }
    Ok(customers)
}

fn describe(letter: &Delivery) -> String {
    let headers = letter.properties.header_names().unwrap_or_default();
    let headers: Vec<_> = headers.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    let body = String::from_utf8_lossy(&letter.body);
    format!("{headers:?} {}\n", body.chars().take(200).collect::<String>())
}

fn header(letter: &Delivery, name: &str) -> String {
    String::from_utf8_lossy(letter.properties.header(name).unwrap_or_default()).into_owned()
}

#[tokio::test]
async fn user_id_of_another_user_does_not_stop_its_dead_letter() -> anyhow::Result<()> {
    let properties = properties().with_text(Property::UserId, USER);
    let letters =
        isolate(&[publication(&properties, "not json")], Expected::DeadLetters(1, "not-json")).await?;
    assert_eq!(header(&letters[0], "original-user-id"), USER);
    Ok(())
}

#[tokio::test]
async fn long_value_is_not_quoted_in_reason() -> anyhow::Result<()> {
    for size in [120_000, 200_000] {
        let mut command = command(&customer_id());
        command["email_opt_in"] = "x".repeat(size).into();
        let poison = publication(&properties(), command.to_string());
        let letters = isolate(&[poison], Expected::DeadLetters(1, "wrong-shape")).await?;
        let reason = header(&letters[0], "rejection-reason");
        assert!(reason.contains("expected a boolean") && !reason.contains("xx"), "{reason}");
    }
    Ok(())
}

#[tokio::test]
async fn valid_command_with_property_that_is_not_utf8_is_processed() -> anyhow::Result<()> {
    for property in [Property::AppId, Property::CorrelationId, Property::ContentType, Property::ClusterId] {
        let customer = customer_id();
        let properties = properties().with_text(property, b"Caf\xe9");
        let poison = publication(&properties, command(&customer).to_string());
        isolate(&[poison], Expected::Processed(customer)).await?;
    }
    Ok(())
}

#[tokio::test]
async fn type_that_is_not_utf8_is_dead_lettered() -> anyhow::Result<()> {
    let properties = properties().with_text(Property::Type, b"Caf\xe9");
    let poison = publication(&properties, command(&customer_id()).to_string());
    isolate(&[poison], Expected::DeadLetters(1, "unknown-type")).await?;
    Ok(())
}

#[tokio::test]
async fn routing_key_that_is_not_utf8_does_not_stop_valid_command() -> anyhow::Result<()> {
    let customer = customer_id();
    let copies = Field::array(&[Field::long_string(CreateCustomer::TYPE)]);
    let properties = properties().with_headers(&Table::default().with("CC", &copies));
    let mut poison = publication(&properties, command(&customer).to_string());
    poison.routing_key = b"Caf\xe9".to_vec();
    isolate(&[poison], Expected::Processed(customer)).await?;
    Ok(())
}

#[tokio::test]
async fn valid_command_with_nested_header_is_processed() -> anyhow::Result<()> {
    type IsTable = fn(usize) -> bool;
    let kinds: [(usize, IsTable); 3] =
        [(20_000, |_| false), (20_000, |_| true), (20, |level| level % 2 == 0)];
    for (depth, is_table) in kinds {
        let customer = customer_id();
        let headers = Table::default().with("deep", &Field::nested(depth, is_table));
        let poison = publication(&properties().with_headers(&headers), command(&customer).to_string());
        isolate(&[poison], Expected::Processed(customer)).await?;
    }
    Ok(())
}

#[tokio::test]
async fn expiration_does_not_remove_dead_letter() -> anyhow::Result<()> {
    // Longer than the test, so that the broker does not move the message before Marketing rejects it.
    let properties = properties().with_text(Property::Expiration, "600000");
    let letters =
        isolate(&[publication(&properties, "not json")], Expected::DeadLetters(1, "not-json")).await?;
    assert_eq!(header(&letters[0], "original-expiration"), "600000");
    Ok(())
}

#[tokio::test]
async fn cc_header_does_not_route_dead_letter_elsewhere() -> anyhow::Result<()> {
    // The routing keys of dead letters are the names of the queues.
    let copies = Field::array(&[MARKETING_UPDATE_CUSTOMER.name, "elsewhere"].map(Field::long_string));
    let properties = properties().with_headers(&Table::default().with("CC", &copies));
    isolate(&[publication(&properties, "not json")], Expected::DeadLetters(1, "not-json")).await?;
    Ok(())
}

#[tokio::test]
async fn large_headers_are_removed_from_dead_letter_and_listed() -> anyhow::Result<()> {
    let one = Table::default()
        .with("small", &Field::long_string("kept"))
        .with("large", &Field::long_string("x".repeat(100_000)));
    let many = (0..1000).fold(Table::default(), |table, n| {
        table.with(format!("{n:04}"), &Field::long_string("x".repeat(100)))
    });
    for headers in [one, many] {
        let poison = publication(&properties().with_headers(&headers), "not json");
        let letters = isolate(&[poison], Expected::DeadLetters(1, "not-json")).await?;
        assert!(!header(&letters[0], "removed-headers").is_empty(), "{}", describe(&letters[0]));
        let names = letters[0].properties.header_names().unwrap();
        assert!(names.contains(&b"small".to_vec()) || names.len() > 100, "{}", describe(&letters[0]));
    }
    Ok(())
}

#[tokio::test]
async fn forged_death_headers_do_not_stop_valid_command() -> anyhow::Result<()> {
    let customer = customer_id();
    let headers = Table::default()
        .with("x-death", &Field::long_string("forged"))
        .with("x-delivery-count", &Field::long_string("1000"));
    let poison = publication(&properties().with_headers(&headers), command(&customer).to_string());
    isolate(&[poison], Expected::Processed(customer)).await?;
    Ok(())
}

#[tokio::test]
async fn deeply_nested_json_is_dead_lettered() -> anyhow::Result<()> {
    let object = "{\"a\":".repeat(100_000);
    for (body, code) in [
        ("[".repeat(100_000), "wrong-shape"),
        (format!("{{\"full_name\":{object}"), "wrong-shape"),
        (format!("{{\"unknown\":{object}"), "not-json"),
    ] {
        isolate(&[publication(&properties(), body)], Expected::DeadLetters(1, code)).await?;
    }
    Ok(())
}

#[tokio::test]
async fn empty_message_is_dead_lettered() -> anyhow::Result<()> {
    isolate(&[publication(&Properties::default(), "")], Expected::DeadLetters(1, "unknown-type")).await?;
    Ok(())
}

#[tokio::test]
async fn batch_of_large_rejected_messages_is_dead_lettered() -> anyhow::Result<()> {
    let poison: Vec<_> = (0..200)
        .map(|_| {
            let mut command = command(&customer_id());
            command["full_name"] = "x".repeat(1_000_000).into();
            publication(&properties(), command.to_string())
        })
        .collect();
    isolate(&poison, Expected::DeadLetters(200, "rule-broken")).await?;
    Ok(())
}

/// The limit of the memory of a container with Marketing, in KiB.
const MEMORY: u64 = 256 * 1024;

#[tokio::test]
#[ignore = "writes 6 GB to the disk; run it alone"]
async fn two_hundred_messages_of_15_mb_fit_into_memory() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let mut servers = Servers::start(directory.path(), |_| ()).await?;
    let environment = TestEnvironment::on(&servers).await?;
    let mut marketing = environment.start_ready(Program::Marketing, &[]).await?;
    marketing.terminate(SOON).await?;
    let mut connection = connect(&environment).await?;
    let padding = "x".repeat(15_000_000);
    let mut customers = Vec::new();
    for n in 0..200 {
        let customer = customer_id();
        // Readers ignore unknown fields. A name of this length breaks a rule.
        let field = if n % 2 == 0 { "unknown" } else { "full_name" };
        let mut fields = command(&customer);
        fields[field] = "".into();
        let padded = format!("\"{field}\":\"{padding}\"");
        let body = fields.to_string().replace(&format!("\"{field}\":\"\""), &padded);
        if n % 2 == 0 {
            customers.push(customer);
        }
        let outcome = connection.publish(&publication(&properties(), body)).await;
        assert_eq!(outcome, Outcome::Confirmed);
    }
    let marketing = environment.start(Program::Marketing, &[])?;
    let text = "all messages are processed or dead letters";
    eventually(SET_ASIDE * 10, text, async || {
        let rows = marketing_ids(&environment).await.ok()?;
        let dead =
            environment.management().depth(&MARKETING_CREATE_CUSTOMER.dead_letter_queue()).await.ok()?;
        (customers.iter().all(|customer| rows.contains(customer)) && dead == 100).then_some(())
    })
    .await?;
    let peak = peak_memory(marketing.process.pid());
    println!("Marketing's peak memory: {} MiB", peak / 1024);
    assert!(peak > 0 && peak <= MEMORY, "{peak} KiB");
    drop(marketing);
    drop(environment);
    servers.stop().await?;
    Ok(())
}
