//! `console export` and `console erase`: a person disappears from every place, and nothing brings the person back.

use std::{fs, path::Path, process::Stdio, time::Duration};

use anyhow::Context;
use contracts::{
    CreateCustomer, CustomerErased, CustomerRegistered, Message, ReplayCustomers, UpdateCustomer,
    topology::{
        MARKETING_CREATE_CUSTOMER, MARKETING_FORGET_CUSTOMER, Queue, TRANSFORMER_CUSTOMER_DETAILS_CHANGED,
        TRANSFORMER_CUSTOMER_ERASED, TRANSFORMER_CUSTOMER_REGISTERED, WEB_STORE_ERASE_CUSTOMER,
        WEB_STORE_REPLAYS,
    },
};
use lapin::{Channel, Connection};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use stack::service::{Program, Service};
use system_tests::{
    SOON, TestEnvironment,
    broker_client::{open_channel, properties, publish},
    customers::{email, http_client, register, wait_for_outbox_depth},
    eventually,
    programs::{ProgramOutput, console_command, dead_letters, reconcile, republish, run},
};
use tempfile::TempDir;
use tokio::process::Child;
use uuid::Uuid;

/// The watch waits 10 s for an erasure, before it requests it again.
const REPAIR: Duration = Duration::from_mins(2);

/// The person who is erased. Every text that identifies the person contains one of the words.
const NAME: &str = "Zoe Erasmus";
const WORDS: [&str; 2] = ["zoe", "erasmus"];

/// A running system, and an administrator's channel.
struct System {
    channel: Channel,
    _connection: Connection,
    services: [Service; 3],
    environment: TestEnvironment,
}

impl System {
    async fn start() -> anyhow::Result<Self> {
        let environment = TestEnvironment::new().await?;
        let marketing = environment.start_ready(Program::Marketing, &[]).await?;
        let transformer = environment.start_ready(Program::Transformer, &[]).await?;
        let web_store = environment.start_ready(Program::WebStore, &[]).await?;
        let (connection, channel) = open_channel(&environment).await?;
        let services = [web_store, transformer, marketing];
        Ok(Self { channel, _connection: connection, services, environment })
    }

    async fn kill(&mut self, program: Program) -> anyhow::Result<()> {
        self.service(program).kill().await
    }

    /// Starts a service that was killed.
    async fn restart(&mut self, program: Program) -> anyhow::Result<()> {
        let service = self.environment.start_ready(program, &[]).await?;
        *self.service(program) = service;
        Ok(())
    }

    fn service(&mut self, program: Program) -> &mut Service {
        let index = Program::ALL.iter().position(|other| *other == program);
        &mut self.services[index.expect("every program has a service")]
    }

    fn web_store_url(&self) -> String {
        self.services[0].url()
    }

    /// Registers the person, and returns the id and the address of the details.
    async fn register_person(&self) -> anyhow::Result<(String, String)> {
        let body = json!({"name": NAME, "email": email(NAME), "marketing_consent": true});
        let request = http_client()?.post(format!("{}/customers", self.web_store_url()));
        let response = request.header("idempotency-key", "a-key-of-the-person").json(&body).send().await?;
        let body: Value = response.error_for_status()?.json().await?;
        let text = |field: &str| body[field].as_str().map(str::to_owned).context("a field is missing");
        Ok((text("customer_id")?, text("details")?))
    }

    async fn change_name(&self, details: &str, name: &str) -> anyhow::Result<()> {
        let change = json!({"name": name, "marketing_consent": true});
        let request = http_client()?.post(format!("{}{details}", self.web_store_url())).json(&change);
        request.send().await?.error_for_status()?;
        Ok(())
    }

    /// Publishes a message directly to the dead letters of a queue.
    async fn add_letter(&self, queue: &Queue, body: &str) -> anyhow::Result<()> {
        let properties = properties(queue.routing_key).with_message_id(Uuid::new_v4().to_string().into());
        publish(&self.channel, queue.dead_letter_exchange, queue.name, properties, body.as_bytes()).await
    }

    async fn send<M: Message>(&self, body: &Value) -> anyhow::Result<()> {
        let properties = properties(M::TYPE).with_message_id(Uuid::new_v4().to_string().into());
        publish(&self.channel, M::EXCHANGE, M::TYPE, properties, body.to_string().as_bytes()).await
    }

    /// Waits until a query of Marketing's table returns a row.
    async fn wait_for_row(&self, id: &str, condition: &str) -> anyhow::Result<()> {
        self.wait_for_row_within(SOON, id, condition).await
    }

    async fn wait_for_row_within(&self, deadline: Duration, id: &str, condition: &str) -> anyhow::Result<()> {
        let select = format!("SELECT COUNT(*) FROM customers WHERE customer_id = ? AND {condition}");
        let table = self.environment.marketing_database();
        eventually(deadline, &format!("{condition} of {id} in Marketing"), async || {
            let select = sqlx::query_scalar(AssertSqlSafe(select.clone())).bind(id);
            let count: i64 = select.fetch_one(&table).await.ok()?;
            (count == 1).then_some(())
        })
        .await
    }

    async fn wait_until_erased(&self, id: &str) -> anyhow::Result<()> {
        let database = self.environment.web_store_database();
        eventually(SOON, "the Web Store has erased the customer", async || {
            let select = "SELECT 1 FROM erased_customers WHERE customer_id = $1::uuid";
            sqlx::query_scalar::<_, i32>(select).bind(id).fetch_optional(&database).await.ok()?.map(drop)
        })
        .await
    }

    /// Waits until a queue has at least one message.
    async fn wait_for_message(&self, queue: &Queue) -> anyhow::Result<()> {
        let management = self.environment.management();
        eventually(SOON, &format!("a message in {}", queue.name), async || {
            (management.depth(queue.name).await.ok()? > 0).then_some(())
        })
        .await
    }

    /// Waits until no message waits anywhere, apart from letters.
    async fn wait_until_idle(&self) -> anyhow::Result<()> {
        wait_for_outbox_depth(&self.environment, 0, SOON).await?;
        for queue in [
            WEB_STORE_ERASE_CUSTOMER,
            TRANSFORMER_CUSTOMER_REGISTERED,
            TRANSFORMER_CUSTOMER_DETAILS_CHANGED,
            TRANSFORMER_CUSTOMER_ERASED,
            MARKETING_CREATE_CUSTOMER,
            MARKETING_FORGET_CUSTOMER,
        ] {
            self.environment.management().wait_for_depth(queue.name, 0).await?;
        }
        Ok(())
    }

    /// Returns the texts of all rows of both databases.
    async fn rows(&self) -> anyhow::Result<Vec<String>> {
        let web_store = self.environment.web_store_database();
        let tables = "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' ORDER BY 1";
        let mut rows = Vec::new();
        for table in sqlx::query_scalar::<_, String>(tables).fetch_all(&web_store).await? {
            let select = format!("SELECT '{table} ' || to_jsonb(one)::text FROM {table} AS one");
            let select = sqlx::query_scalar::<_, String>(AssertSqlSafe(select));
            rows.extend(select.fetch_all(&web_store).await?);
        }
        let marketing = self.environment.marketing_database();
        let columns = "SELECT CAST(table_name AS CHAR), CAST(GROUP_CONCAT(column_name) AS CHAR)
            FROM information_schema.columns WHERE table_schema = DATABASE() GROUP BY table_name";
        for (table, columns) in sqlx::query_as::<_, (String, String)>(columns).fetch_all(&marketing).await? {
            let select = format!("SELECT CAST(CONCAT_WS('|', {columns}) AS CHAR) FROM {table}");
            let select = sqlx::query_scalar::<_, String>(AssertSqlSafe(select));
            rows.extend(select.fetch_all(&marketing).await?.iter().map(|row| format!("{table} {row}")));
        }
        Ok(rows)
    }

    /// Returns the rows of a customer in both databases.
    async fn rows_of(&self, id: &str) -> anyhow::Result<Vec<String>> {
        let mut rows = self.rows().await?;
        rows.retain(|row| row.contains(id) && row.starts_with("customers "));
        rows.sort();
        Ok(rows)
    }

    /// Removes all messages from all queues, and returns their properties and bodies.
    async fn take_messages(&self) -> anyhow::Result<Vec<String>> {
        let management = self.environment.management();
        let mut messages = Vec::new();
        for queue in management.queues().await?.into_values() {
            // A stream is read by its own command.
            if ["console.journal", "operations.subscriptions"].contains(&queue.name.as_str()) {
                continue;
            }
            for message in management.take(&queue.name, 1000).await? {
                let body = String::from_utf8_lossy(&message.body()?).into_owned();
                messages.push(format!("{} {} {body}", queue.name, message.properties));
            }
        }
        Ok(messages)
    }
}

/// Runs a command of the console.
async fn console(environment: &TestEnvironment, arguments: &[&str]) -> anyhow::Result<ProgramOutput> {
    let mut command = console_command(environment)?;
    command.args(arguments);
    run(command, "").await
}

async fn journal(environment: &TestEnvironment) -> anyhow::Result<String> {
    Ok(console(environment, &["journal", "--json"]).await?.stdout)
}

/// Starts an erasure in the background, with its messages in a file.
fn start_erasing(environment: &TestEnvironment, log: &Path, arguments: &[&str]) -> anyhow::Result<Child> {
    let mut command = console_command(environment)?;
    command.arg("erase").args(arguments).args(["--why", "request 4711", "--yes"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(log)?).kill_on_drop(true);
    Ok(command.spawn()?)
}

/// Fails if a text identifies the person.
#[track_caller]
fn assert_absent<'a>(place: &str, texts: impl IntoIterator<Item = &'a str>) {
    for text in texts {
        let lower = text.to_lowercase();
        assert!(!WORDS.iter().any(|word| lower.contains(word)), "{place}: {text}");
    }
}

fn create_command(id: &str, name: &str) -> Value {
    json!({
        "customer_id": id, "full_name": name, "email_address": email(NAME), "email_opt_in": true,
        "source": "web-store", "customer_since": "2026-01-02T03:04:05.000600Z",
    })
}

#[tokio::test]
async fn erased_person_stays_erased_after_kills_retries_and_replays() -> anyhow::Result<()> {
    let mut system = System::start().await?;
    let others = [
        register(&system.services[0], "Other One").await?,
        register(&system.services[0], "Other Two").await?,
    ];
    let (id, details) = system.register_person().await?;
    system.change_name(&details, "Zoe Second").await?;
    for customer in others.iter().chain([&id]) {
        system.wait_for_row(customer, "version >= 1").await?;
    }
    system.wait_for_row(&id, "full_name = 'Zoe Second'").await?;

    // Letters of the person: by id, by address only, and kept. The letters of another customer stay.
    let queue = MARKETING_CREATE_CUSTOMER;
    system.add_letter(&queue, &create_command(&id, "").to_string()).await?;
    let output = dead_letters(&system.environment, "discard --all --why kept").await?;
    assert_eq!(output.status, 0, "{}", output.stderr);
    system.add_letter(&queue, &format!("no JSON, {}", email(NAME).to_uppercase())).await?;
    system.add_letter(&queue, &create_command(&id, "Zoe Third").to_string()).await?;
    let mut other = create_command(&others[0], "Other One");
    other["email_address"] = json!(email("Other One"));
    system.add_letter(&queue, &other.to_string()).await?;
    // A change that waits in the queue of the transformer.
    system.kill(Program::Transformer).await?;
    system.change_name(&details, "Zoe Waiting").await?;
    system.wait_for_message(&TRANSFORMER_CUSTOMER_DETAILS_CHANGED).await?;
    let mut before = Vec::new();
    for other in &others {
        before.push(system.rows_of(other).await?);
    }

    export_has_everything(&system, &id).await?;
    dry_run_changes_nothing(&system, &id).await?;
    erase_with_kills(&mut system, &id).await?;

    let output = console(&system.environment, &["find", &id]).await?;
    assert!(output.stdout.contains("Marketing has forgotten it"), "{}{}", output.stdout, output.stderr);
    assert_eq!(output.status, 0, "{}", output.stdout);
    bring_back(&mut system, &id).await?;

    for (other, before) in others.iter().zip(before) {
        assert_eq!(system.rows_of(other).await?, before);
    }
    assert_absent("databases", system.rows().await?.iter().map(String::as_str));
    assert_absent("journal", [journal(&system.environment).await?.as_str()]);
    assert_absent("logs", [system.environment.log().as_str()]);
    assert_absent("queues", system.take_messages().await?.iter().map(String::as_str));

    // The same request under the old idempotency key registers a new customer.
    let (again, _) = system.register_person().await?;
    assert_ne!(again, id);
    system.wait_for_row(&again, "full_name <> ''").await
}

async fn export_has_everything(system: &System, id: &str) -> anyhow::Result<()> {
    let arguments = ["export", &email(NAME), "--why", "request 4711"];
    let output = console(&system.environment, &arguments).await?;
    assert_eq!(output.status, 0, "{}", output.stderr);
    let export: Value = serde_json::from_str(&output.stdout)?;
    let customer = &export["customers"][0];
    assert_eq!(customer["customer_id"], *id);
    assert_eq!(customer["web_store"]["customers"][0]["name"], "Zoe Waiting");
    assert_eq!(customer["web_store"]["customers"][0]["edit_key"], Value::Null);
    assert_eq!(customer["web_store"]["customer_versions"].as_array().map(Vec::len), Some(2));
    assert_eq!(customer["marketing"][0]["full_name"], "Zoe Second");
    let letters = export["letters"].as_array().context("no letters")?;
    let places: Vec<_> = letters.iter().filter_map(|letter| letter["place"].as_str()).collect();
    let dead_letters = MARKETING_CREATE_CUSTOMER.dead_letter_queue();
    assert_eq!(places, [dead_letters.as_str(), &dead_letters, "console.kept"]);
    assert!(letters.iter().any(|letter| letter["letter"]["body"]["full_name"] == "Zoe Third"));

    let entries = journal(&system.environment).await?;
    let last: Value = serde_json::from_str(entries.lines().last().context("no entry")?)?;
    assert_eq!((&last["event"], &last["customers"]), (&json!("exported"), &json!([id])));
    assert_absent("journal", [entries.as_str()]);
    let output = console(&system.environment, &["export", "unknown@example.org", "--why", "x"]).await?;
    assert_eq!(output.status, 3, "{}", output.stdout);
    let output = console(&system.environment, &["export", &email(NAME), "--why", &email(NAME)]).await?;
    assert_eq!(output.status, 2, "the journal would keep the address: {}", output.stdout);
    Ok(())
}

async fn dry_run_changes_nothing(system: &System, id: &str) -> anyhow::Result<()> {
    let rows = system.rows().await?;
    let entries = journal(&system.environment).await?;
    let output = console(&system.environment, &["erase", &email(NAME), "--why", "request 4711"]).await?;
    assert_eq!(output.status, 0, "{}", output.stderr);
    assert!(output.stdout.contains("Nothing is changed") && output.stdout.contains(id), "{}", output.stdout);
    assert_absent("certificate", [output.stdout.as_str()]);
    assert_eq!((system.rows().await?, journal(&system.environment).await?), (rows, entries));
    Ok(())
}

/// Erases the person, and kills the console and each service while the erasure passes it.
async fn erase_with_kills(system: &mut System, id: &str) -> anyhow::Result<()> {
    let directory = TempDir::new()?;
    let log = directory.path().join("stderr");
    system.kill(Program::WebStore).await?;
    // The console, after the journal and before or while it moves letters.
    let mut erasing = start_erasing(&system.environment, &log, &[&email(NAME)])?;
    eventually(SOON, "the erasure is in the journal", async || {
        fs::read_to_string(&log).ok()?.contains("operation ").then_some(())
    })
    .await?;
    erasing.kill().await?;
    // The console, after the command is in the queue.
    let mut erasing = start_erasing(&system.environment, &log, &[&email(NAME)])?;
    system.wait_for_message(&WEB_STORE_ERASE_CUSTOMER).await?;
    erasing.kill().await?;
    // Each service, after it has taken the erasure and before it has acked all of it.
    system.restart(Program::WebStore).await?;
    system.wait_until_erased(id).await?;
    system.kill(Program::WebStore).await?;
    system.restart(Program::WebStore).await?;
    system.wait_for_message(&TRANSFORMER_CUSTOMER_ERASED).await?;
    system.kill(Program::Marketing).await?;
    system.restart(Program::Transformer).await?;
    system.wait_for_message(&MARKETING_FORGET_CUSTOMER).await?;
    system.kill(Program::Transformer).await?;
    system.restart(Program::Transformer).await?;
    system.restart(Program::Marketing).await?;
    system.wait_for_row(id, "full_name = ''").await?;
    system.kill(Program::Marketing).await?;
    system.restart(Program::Marketing).await?;

    let arguments = ["erase", "--customer", id, "--why", "request 4711", "--yes", "--json"];
    let output = console(&system.environment, &arguments).await?;
    assert_eq!(output.status, 0, "{}{}", output.stdout, output.stderr);
    let certificate: Value = serde_json::from_str(&output.stdout)?;
    assert_eq!(certificate["is_complete"], true, "{certificate:#}");
    let after = &certificate["customers"][0]["after"];
    assert_eq!((&after["versions"], &after["is_forgotten"]), (&json!(0), &json!(true)), "{certificate:#}");
    assert!(certificate["expiries"].as_array().is_some_and(|expiries| !expiries.is_empty()));
    assert_absent("certificate", [output.stdout.as_str(), output.stderr.as_str()]);
    Ok(())
}

/// Sends everything again that could bring the person back.
async fn bring_back(system: &mut System, id: &str) -> anyhow::Result<()> {
    system.send::<CreateCustomer>(&create_command(id, NAME)).await?;
    let mut update = create_command(id, NAME);
    (update["version"], update["changed_at"]) = (json!(2_000_000_000), json!("2026-02-03T04:05:06.000700Z"));
    system.send::<UpdateCustomer>(&update).await?;
    let registered = json!({
        "customer_id": id, "name": NAME, "email": email(NAME), "marketing_consent": true,
        "registered_at": "2026-01-02T03:04:05.000600Z",
    });
    system.send::<CustomerRegistered>(&registered).await?;
    for command in ["retry --all", "list --kept"] {
        let output = dead_letters(&system.environment, command).await?;
        assert_eq!(output.status, 0, "{command}: {}", output.stderr);
    }
    for queue in
        [TRANSFORMER_CUSTOMER_REGISTERED, TRANSFORMER_CUSTOMER_DETAILS_CHANGED, TRANSFORMER_CUSTOMER_ERASED]
    {
        let request = json!({"queue": queue.name, "event_types": [queue.routing_key]});
        system.send::<ReplayCustomers>(&request).await?;
    }
    let output = republish(&system.environment, &["--customer", id], "").await?;
    assert_absent("republish", [output.stdout.as_str()]);
    for program in Program::ALL {
        system.kill(program).await?;
        system.restart(program).await?;
    }
    let database = system.environment.web_store_database();
    eventually(SOON, "the replays have ended", async || {
        let select = "SELECT count(*) FROM replays WHERE state = 'completed'";
        let ended: i64 = sqlx::query_scalar(select).fetch_one(&database).await.ok()?;
        (ended >= 3).then_some(())
    })
    .await?;
    system.wait_until_idle().await
}

#[tokio::test]
async fn erasure_is_replayed_and_reconciled_after_restores() -> anyhow::Result<()> {
    let system = System::start().await?;
    let environment = &system.environment;
    let id = register(&system.services[0], "Ann").await?;
    system.wait_for_row(&id, "full_name = 'Ann'").await?;
    let erase = ["erase", "--customer", &id, "--why", "request 4711", "--yes"];
    let output = console(environment, &erase).await?;
    assert_eq!(output.status, 0, "{}{}", output.stdout, output.stderr);
    assert!(output.stdout.contains("Nothing of the person remains"), "{}", output.stdout);
    let output = reconcile(environment, &[]).await?;
    assert_eq!(output.status, 0, "{}{}", output.stdout, output.stderr);

    // A subscriber gets the erasure again, and only if it asks for it.
    let management = environment.management();
    management.declare_queue("loyalty.erased", json!({})).await?;
    management.bind("loyalty.erased", WEB_STORE_REPLAYS, "loyalty.erased").await?;
    for types in [None, Some([CustomerErased::TYPE])] {
        let mut request = json!({"queue": "loyalty.erased"});
        if let Some(types) = types {
            request["event_types"] = json!(types);
        }
        system.send::<ReplayCustomers>(&request).await?;
    }
    management.wait_for_depth("loyalty.erased", 1).await?;
    let events = management.take("loyalty.erased", 10).await?;
    let event: CustomerErased = serde_json::from_slice(&events[0].body()?)?;
    assert_eq!((event.customer_id.to_string(), events.len()), (id.clone(), 1));

    // Marketing is restored to a time before the erasure.
    let restored =
        "UPDATE customers SET version = 1, full_name = 'Ann', changed_at = NULL WHERE customer_id = ?";
    sqlx::query(restored).bind(&id).execute(&environment.marketing_database()).await?;
    let output = reconcile(environment, &["--json", "--patience", "0"]).await?;
    let report: Value = serde_json::from_str(&output.stdout)?;
    assert_eq!((output.status, &report["not_forgotten_ids"]), (1, &json!([id])), "{report:#}");
    assert_eq!((&report["unknown_rows"], &report["missing"]), (&json!(0), &json!(0)), "{report:#}");
    let output = console(environment, &["find", &id]).await?;
    assert_eq!(output.status, 1, "{}", output.stdout);
    assert!(output.stdout.contains("Marketing still has version 1"), "{}", output.stdout);
    let output = reconcile(environment, &["--ids", "not-forgotten", "--patience", "0"]).await?;
    assert!(output.stdout.contains(&id), "{}{}", output.stdout, output.stderr);
    // The watch repairs that without an operator.
    let watch = environment.start_console(&[])?;
    system.wait_for_row_within(REPAIR, &id, "full_name = ''").await?;
    drop(watch);

    // The Web Store is restored to a time before the erasure.
    let restored = "INSERT INTO customers (id, name, email, marketing_consent, registered_at, message_id)
        VALUES ($1::uuid, 'Ann', 'ann@example.org', true, now(), gen_random_uuid())";
    sqlx::query(restored).bind(&id).execute(&environment.web_store_database()).await?;
    let forget = "DELETE FROM erased_customers";
    sqlx::query(forget).execute(&environment.web_store_database()).await?;
    let output = reconcile(environment, &["--json"]).await?;
    let report: Value = serde_json::from_str(&output.stdout)?;
    assert_eq!((output.status, &report["forgotten_ids"]), (1, &json!([id])), "{report:#}");
    let output = console(environment, &["find", &id]).await?;
    assert!(output.stdout.contains("older than the erasure"), "{}", output.stdout);
    let output = console(environment, &erase).await?;
    assert_eq!(output.status, 0, "{}{}", output.stdout, output.stderr);
    let output = reconcile(environment, &[]).await?;
    assert_eq!(output.status, 0, "{}{}", output.stdout, output.stderr);
    Ok(())
}
