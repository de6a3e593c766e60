//! `console find`: each state of a customer, by each id, and with servers that are down.

use std::time::Duration;

use anyhow::Context;
use contracts::{
    CustomerRegistered, Message,
    topology::{MARKETING_CREATE_CUSTOMER, TRANSFORMER_CUSTOMER_REGISTERED, WEB_STORE_EVENTS},
};
use reqwest::header;
use serde_json::{Value, json};
use sqlx::{Connection, Executor, MySqlConnection};
use stack::{
    ports::free_port,
    servers::Servers,
    service::{Program, Service},
};
use system_tests::{
    NO_REPLAY, SOON, TestEnvironment,
    broker_client::{open_channel, properties, publish},
    customers::{
        email, http_client, insert_customers, post_form, register, wait_for_marketing_rows,
        wait_for_outbox_depth,
    },
    eventually,
    programs::{ProgramOutput, console_command, dead_letters, republish, run, stop},
};
use tokio::time::timeout;

const QUEUE_1: &str = TRANSFORMER_CUSTOMER_REGISTERED.name;
const QUEUE_2: &str = MARKETING_CREATE_CUSTOMER.name;

/// The search for one customer.
struct Search {
    output: ProgramOutput,
    /// The only customer.
    customer: Value,
}

impl Search {
    fn state(&self) -> (&str, i32) {
        (self.customer["state"].as_str().unwrap_or_default(), self.output.status)
    }

    fn sentence(&self) -> &str {
        self.customer["sentence"].as_str().unwrap_or_default()
    }

    /// Checks the state, the exit status, and parts of the sentence.
    #[track_caller]
    fn assert(&self, state: &str, status: i32, parts: &[&str]) {
        let details = format!("{:#}\n{}", self.customer, self.output.stderr);
        assert_eq!(self.state(), (state, status), "{details}");
        for part in parts {
            assert!(self.sentence().contains(part), "{part} in {details}");
        }
    }
}

/// Runs `console find` with other settings, and returns its output.
async fn find_with(
    environment: &TestEnvironment,
    settings: &[(&str, &str)],
    arguments: &[&str],
) -> anyhow::Result<ProgramOutput> {
    let mut command = console_command(environment)?;
    command.envs(settings.iter().copied()).arg("find").args(arguments);
    run(command, "").await
}

/// Searches the only customer of a query.
async fn search_with(
    environment: &TestEnvironment,
    settings: &[(&str, &str)],
    query: &str,
    arguments: &[&str],
) -> anyhow::Result<Search> {
    let output = find_with(environment, settings, &[&[query, "--json"], arguments].concat()).await?;
    let report: Value = serde_json::from_str(&output.stdout).with_context(|| output.stderr.clone())?;
    let customers = report["customers"].as_array().context("no customers")?;
    anyhow::ensure!(customers.len() == 1, "{report:#}");
    Ok(Search { customer: customers[0].clone(), output })
}

async fn search(environment: &TestEnvironment, query: &str) -> anyhow::Result<Search> {
    search_with(environment, &[], query, &[]).await
}

/// Starts all services.
async fn start() -> anyhow::Result<(TestEnvironment, [Service; 3])> {
    let environment = TestEnvironment::new().await?;
    let marketing = environment.start_ready(Program::Marketing, NO_REPLAY).await?;
    let transformer = environment.start_ready(Program::Transformer, NO_REPLAY).await?;
    let web_store = environment.start_ready(Program::WebStore, &[]).await?;
    Ok((environment, [web_store, transformer, marketing]))
}

/// Registers a customer that arrives.
async fn arrive(environment: &TestEnvironment, web_store: &Service, name: &str) -> anyhow::Result<String> {
    let id = register(web_store, name).await?;
    let rows = environment.marketing_database();
    eventually(SOON, &format!("{name} in Marketing"), async || {
        let select = sqlx::query_scalar("SELECT COUNT(*) FROM customers WHERE customer_id = ?").bind(&id);
        let count: i64 = select.fetch_one(&rows).await.ok()?;
        (count == 1).then_some(())
    })
    .await?;
    Ok(id)
}

/// Returns the message id of a customer's newest event.
async fn event_id(environment: &TestEnvironment, customer: &str) -> anyhow::Result<String> {
    let select = sqlx::query_scalar("SELECT message_id::text FROM customers WHERE id = $1::uuid");
    Ok(select.bind(customer).fetch_one(&environment.web_store_database()).await?)
}

fn unreachable(scheme: &str, path: &str) -> anyhow::Result<String> {
    Ok(format!("{scheme}://unknown:unknown@127.0.0.1:{}/{path}", free_port()?))
}

#[tokio::test]
async fn arrived_customer_is_found_by_every_id() -> anyhow::Result<()> {
    let (environment, [web_store, _transformer, _marketing]) = start().await?;
    let id = arrive(&environment, &web_store, "Zoe").await?;
    arrive(&environment, &web_store, "Other").await?;
    let found = search(&environment, &id).await?;
    found.assert("arrived", 0, &["Version 1 arrived in Marketing at 20"]);
    let event = event_id(&environment, &id).await?;
    assert_eq!(found.customer["versions"][0]["message_id"], event);
    let command = found.customer["versions"][0]["command_id"].as_str().context("no command")?.to_owned();
    let address = email("Zoe").to_uppercase();
    for (query, kind) in
        [(event.as_str(), json!("event")), (command.as_str(), json!("command")), (&address, Value::Null)]
    {
        let found = search(&environment, query).await?;
        found.assert("arrived", 0, &[]);
        assert_eq!(found.customer["customer_id"], id, "{query}");
        assert_eq!(found.customer["message"]["kind"], kind, "{query}");
    }
    for query in ["01938c5e-7b1a-7c3e-9f00-5d2a8e4b6c71", "unknown@example.org"] {
        let output = find_with(&environment, &[], &[query]).await?;
        assert_eq!(output.status, 3, "{query}: {}{}", output.stdout, output.stderr);
    }
    let output = find_with(&environment, &[], &["unknown"]).await?;
    assert_eq!(output.status, 2, "{}", output.stderr);
    search(&environment, "01938c5e-7b1a-7c3e-9f00-5d2a8e4b6c71").await?.assert("not-registered", 3, &[]);
    Ok(())
}

#[tokio::test]
async fn customers_with_same_address_are_all_found() -> anyhow::Result<()> {
    let (environment, [web_store, _transformer, _marketing]) = start().await?;
    let id = arrive(&environment, &web_store, "Zoe").await?;
    let insert = "INSERT INTO customers (customer_id, full_name, email_address, email_opt_in, source,
        customer_since, search_segment) VALUES (UUID(), ?, ?, false, 'another', UTC_TIMESTAMP(), ?)";
    let table = environment.marketing_database();
    for (name, address, segment) in [
        ("Caller", email("Zoe"), 3),
        ("Accent", "zoé@example.org".to_owned(), 0),
        ("Other", email("Other"), 1),
    ] {
        sqlx::query(insert).bind(name).bind(address).bind(segment).execute(&table).await?;
    }
    let output = find_with(&environment, &[], &[&email("ZOE"), "--json"]).await?;
    assert_eq!(output.status, 0, "{}{}", output.stdout, output.stderr);
    let report: Value = serde_json::from_str(&output.stdout)?;
    let customers = report["customers"].as_array().context("no customers")?;
    let arrived = customers.iter().find(|one| one["customer_id"] == id).context("no customer")?;
    let other = customers.iter().find(|one| one["customer_id"] != id).context("no other customer")?;
    assert_eq!((customers.len(), &arrived["state"]), (2, &json!("arrived")), "{report:#}");
    assert_eq!(
        (&other["state"], &other["marketing"][0]["source"]),
        (&json!("not-registered"), &json!("another"))
    );
    Ok(())
}

#[tokio::test]
async fn personal_data_is_masked_and_unmasking_is_noted() -> anyhow::Result<()> {
    let (environment, [web_store, _transformer, _marketing]) = start().await?;
    let id = arrive(&environment, &web_store, "Zoe").await?;
    let address = email("Zoe");
    for arguments in [vec![address.as_str()], vec![&id, "--json"]] {
        let output = find_with(&environment, &[], &arguments).await?;
        assert!(!output.stdout.contains("Zoe") && !output.stdout.contains(&address), "{}", output.stdout);
        assert!(output.stdout.contains(&id), "{}", output.stdout);
    }
    let journal = "console.journal";
    assert!(!environment.management().queues().await?.contains_key(journal), "a search creates no journal");

    let output = find_with(&environment, &[], &[&address, "--unmask"]).await?;
    assert_eq!(output.status, 0, "{}", output.stderr);
    assert!(output.stdout.contains("Zoe") && output.stdout.contains(&address), "{}", output.stdout);
    let mut command = console_command(&environment)?;
    command.args(["journal", "--json"]);
    let entries = run(command, "").await?.stdout;
    let last: Value = serde_json::from_str(entries.lines().last().context("no entry")?)?;
    assert_eq!((&last["event"], &last["operator"]), (&json!("unmasked-customers"), &json!("tester")));
    assert_eq!(last["customers"], json!([id]));
    assert!(!entries.contains(&address), "{entries}");

    let broker = unreachable("amqp", "%2f")?;
    let output = find_with(&environment, &[("BROKER_URL", &broker)], &[&id, "--unmask"]).await?;
    assert_eq!(output.status, 2, "{}", output.stderr);
    assert!(output.stdout.contains(&id) && !output.stdout.contains("Zoe"), "{}", output.stdout);
    assert!(output.stderr.contains("so nothing is unmasked"), "{}", output.stderr);
    Ok(())
}

#[tokio::test]
async fn event_waits_in_outbox_and_is_parked() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let broker = unreachable("amqp", "%2f")?;
    stop(environment.start_ready(Program::Marketing, NO_REPLAY).await?).await?;
    let settings = [("WEB_STORE_BROKER_URL", broker.as_str())];
    let web_store = environment.start_ready(Program::WebStore, &settings).await?;
    let id = register(&web_store, "Waiting").await?;
    let event = event_id(&environment, &id).await?;
    for query in [&id, &event, &email("Waiting")] {
        let found = search(&environment, query).await?;
        found.assert("in-outbox", 0, &["Version 1 waits in the outbox since 20"]);
    }
    let found = search_with(&environment, &[("BROKER_URL", &broker)], &id, &[]).await?;
    found.assert("in-outbox", 2, &[]);
    assert!(found.output.stderr.contains("BROKER_URL"), "{}", found.output.stderr);

    stop(web_store).await?;
    let _web_store = environment.start_ready(Program::WebStore, &[]).await?;
    let database = environment.web_store_database();
    eventually(SOON, "the broker returns the event twice", async || {
        let select = "SELECT count(*) FROM outbox WHERE last_refusal = 'returned' AND attempts > 1";
        let count: i64 = sqlx::query_scalar(select).fetch_one(&database).await.ok()?;
        (count == 1).then_some(())
    })
    .await?;
    let found = search(&environment, &id).await?;
    found.assert("parked", 1, &["because no queue takes it", "Next: start the transformer"]);
    assert_eq!(found.customer["versions"][0]["outbox"]["last_refusal"], "returned");
    Ok(())
}

#[tokio::test]
async fn message_on_its_way_is_in_queue_without_consumer() -> anyhow::Result<()> {
    let (environment, [web_store, transformer, marketing]) = start().await?;
    let management = environment.management();
    arrive(&environment, &web_store, "Before").await?;
    stop(transformer).await?;
    stop(marketing).await?;
    let id = register(&web_store, "Waiting").await?;
    management.wait_for_depth(QUEUE_1, 1).await?;
    for arguments in [["--patience", "0"], ["--patience", "3"]] {
        let found = search_with(&environment, &[], &id, &arguments).await?;
        found.assert("on-the-way", 1, &[QUEUE_1, "the queue has no consumer", "Next: start the transformer"]);
    }
    management.wait_for_depth(QUEUE_1, 1).await?;
    let _transformer = environment.start_ready(Program::Transformer, NO_REPLAY).await?;
    management.wait_for_depth(QUEUE_2, 1).await?;
    let found = search_with(&environment, &[], &id, &["--patience", "4"]).await?;
    found.assert("on-the-way", 1, &[QUEUE_2, "the queue has no consumer", "Next: start Marketing"]);
    management.wait_for_depth(QUEUE_2, 1).await?;

    let marketing = environment.start_ready(Program::Marketing, NO_REPLAY).await?;
    eventually(SOON, "the customer arrives", async || {
        (search(&environment, &id).await.ok()?.state() == ("arrived", 0)).then_some(())
    })
    .await?;
    marketing.process.pause();
    let id = register(&web_store, "Frozen").await?;
    wait_for_outbox_depth(&environment, 0, SOON).await?;
    let found = search_with(&environment, &[], &id, &["--patience", "6"]).await?;
    marketing.process.resume();
    found.assert("on-the-way", 1, &[QUEUE_2]);
    Ok(())
}

#[tokio::test]
async fn lost_customer_is_missing_behind_ahead_or_duplicated() -> anyhow::Result<()> {
    let (environment, [web_store, _transformer, marketing]) = start().await?;
    let management = environment.management();
    let (store, table) = (environment.web_store_database(), environment.marketing_database());
    let behind = arrive(&environment, &web_store, "Behind").await?;
    let ahead = arrive(&environment, &web_store, "Ahead").await?;
    let duplicated = arrive(&environment, &web_store, "Duplicated").await?;
    stop(marketing).await?;
    let missing = register(&web_store, "Missing").await?;
    management.wait_for_depth(QUEUE_2, 1).await?;
    management.purge(QUEUE_2).await?;
    management.wait_for_depth(QUEUE_2, 0).await?;
    let _marketing = environment.start_ready(Program::Marketing, NO_REPLAY).await?;
    timeout(SOON, table.execute("ALTER TABLE customers DROP PRIMARY KEY")).await??;
    let double = "INSERT INTO customers SELECT * FROM customers WHERE customer_id = ?";
    sqlx::query(double).bind(&duplicated).execute(&table).await?;
    sqlx::query("UPDATE customers SET version = 9 WHERE customer_id = ?")
        .bind(&ahead)
        .execute(&table)
        .await?;
    let change = "UPDATE customers SET version = 7, changed_at = now(), message_id = gen_random_uuid()
        WHERE id = $1::uuid";
    sqlx::query(change).bind(&behind).execute(&store).await?;

    let republish_it = format!("web-store republish --customer {missing}");
    search(&environment, &missing).await?.assert("missing", 1, &["Version 1 of 20", &republish_it]);
    search(&environment, &behind).await?.assert("behind", 1, &["Version 7", "Marketing has version 1"]);
    search(&environment, &ahead).await?.assert("ahead", 1, &["Marketing has version 9"]);
    search(&environment, &email("Duplicated")).await?.assert("duplicated", 1, &["Marketing has 2 rows"]);
    let source = "UPDATE customers SET customer_id = UUID(), source = ? WHERE customer_id = ?";
    for (source_name, status) in [("web-store", 1), ("another", 0)] {
        sqlx::query(source).bind(source_name).bind(&ahead).execute(&table).await?;
        let unknown: String = sqlx::query_scalar("SELECT customer_id FROM customers WHERE version = 9")
            .fetch_one(&table)
            .await?;
        search(&environment, &unknown).await?.assert(
            "not-registered",
            status,
            &["has version 9", source_name],
        );
        sqlx::query("UPDATE customers SET customer_id = ? WHERE version = 9")
            .bind(&ahead)
            .execute(&table)
            .await?;
    }

    let insert =
        "INSERT INTO replays (id, queue, with_registrations, with_changes, customer_ids, correlation_id,
        traceparent, state) VALUES (gen_random_uuid(), $1, true, true, ARRAY[$2::uuid], '', '', 'failed')";
    sqlx::query(insert).bind(QUEUE_1).bind(&missing).execute(&store).await?;
    let found = search(&environment, &missing).await?;
    assert_eq!(found.customer["replays"][0]["state"], "failed", "{:#}", found.customer);
    republish(&environment, &["--customer", &missing], "").await?;
    eventually(SOON, "the customer arrives", async || {
        (search(&environment, &missing).await.ok()?.state() == ("arrived", 0)).then_some(())
    })
    .await
}

#[tokio::test]
async fn rejected_customer_is_dead_letter_with_its_operations() -> anyhow::Result<()> {
    let (environment, [web_store, _transformer, _marketing]) = start().await?;
    let management = environment.management();
    let table = environment.marketing_database();
    table.execute("ALTER TABLE customers ADD CONSTRAINT test CHECK (full_name <> 'Test')").await?;
    let id = register(&web_store, "Test").await?;
    let letters = MARKETING_CREATE_CUSTOMER.dead_letter_queue();
    management.wait_for_depth(&letters, 1).await?;
    let found = search(&environment, &id).await?;
    let letter = found.customer["dead_letters"][0]["id"].as_str().context("no letter")?.to_owned();
    let check = format!("Next: console dead-letters check {}", &letter[..12]);
    let place = format!("Version 1 is a dead letter in {QUEUE_2} since 20");
    found.assert("dead-lettered", 1, &[&place, "(rule-broken)", &check]);
    let command = found.customer["versions"][0]["command_id"].as_str().context("no command")?;
    assert_eq!(found.customer["dead_letters"][0]["message_id"], command);
    let found = search(&environment, command).await?;
    found.assert("dead-lettered", 1, &[]);
    assert_eq!(found.customer["message"], json!({ "message_id": command, "kind": "command", "version": 1 }));

    assert_eq!(dead_letters(&environment, &format!("discard {letter} --why nonsense")).await?.status, 0);
    let found = search(&environment, &id).await?;
    let restore = format!("Next: console dead-letters restore {}", &letter[..12]);
    found.assert("discarded", 1, &["was discarded by tester at 20", "(nonsense)", "console.kept", &restore]);
    assert_eq!(found.customer["kept_letters"][0]["id"], letter);
    assert_eq!(dead_letters(&environment, "restore --all").await?.status, 0);
    search(&environment, &id).await?.assert("dead-lettered", 1, &[]);

    table.execute("ALTER TABLE customers DROP CONSTRAINT test").await?;
    assert_eq!(dead_letters(&environment, &format!("retry {letter}")).await?.status, 0);
    wait_for_marketing_rows(&environment, std::slice::from_ref(&id), SOON).await?;
    let found = search(&environment, &id).await?;
    found.assert("arrived", 0, &[]);
    let operations = found.customer["operations"].as_array().context("no operations")?;
    let actions: Vec<_> = operations.iter().map(|one| [&one["action"], &one["outcome"]]).collect();
    assert_eq!(
        json!(actions),
        json!([["discard", "finished"], ["restore", "finished"], ["retry", "finished"]])
    );
    let text = find_with(&environment, &[], &[&id]).await?.stdout;
    for part in ["registered: version 1", "tester: discard", "tester: retry", "Marketing: row from web-store"]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
    Ok(())
}

#[tokio::test]
async fn malformed_event_is_found_by_its_message_id() -> anyhow::Result<()> {
    let (environment, [web_store, transformer, _marketing]) = start().await?;
    let management = environment.management();
    stop(transformer).await?;
    let id = register(&web_store, "Malformed").await?;
    management.wait_for_depth(QUEUE_1, 1).await?;
    management.purge(QUEUE_1).await?;
    let event = event_id(&environment, &id).await?;
    let (_connection, channel) = open_channel(&environment).await?;
    let message = properties(CustomerRegistered::TYPE).with_message_id(event.as_str().into());
    publish(&channel, WEB_STORE_EVENTS, CustomerRegistered::TYPE, message, b"no JSON").await?;
    let stranger = properties(CustomerRegistered::TYPE);
    publish(&channel, WEB_STORE_EVENTS, CustomerRegistered::TYPE, stranger, b"no JSON").await?;
    let _transformer = environment.start_ready(Program::Transformer, NO_REPLAY).await?;
    management.wait_for_depth(&TRANSFORMER_CUSTOMER_REGISTERED.dead_letter_queue(), 2).await?;
    for query in [&id, &event] {
        let found = search(&environment, query).await?;
        found.assert("dead-lettered", 1, &[&format!("a dead letter in {QUEUE_1}"), "(not-json)"]);
    }
    let output = find_with(&environment, &[], &["01938c5e-7b1a-7c3e-9f00-5d2a8e4b6c71"]).await?;
    assert_eq!(output.status, 1, "{}{}", output.stdout, output.stderr);
    assert!(output.stdout.contains("it names no customer"), "{}", output.stdout);
    Ok(())
}

/// Changes the name of a customer, and waits until the change has arrived.
async fn change_name(environment: &TestEnvironment, link: &str, name: &str) -> anyhow::Result<()> {
    let body = json!({ "name": name, "marketing_consent": true });
    http_client()?.post(link).json(&body).send().await?.error_for_status()?;
    let rows = environment.marketing_database();
    eventually(SOON, &format!("{name} in Marketing"), async || {
        let select = sqlx::query_scalar("SELECT COUNT(*) FROM customers WHERE full_name = ?").bind(name);
        let count: i64 = select.fetch_one(&rows).await.ok()?;
        (count == 1).then_some(())
    })
    .await
}

#[tokio::test]
async fn earlier_versions_are_found_and_old_ones_by_scan() -> anyhow::Result<()> {
    let (environment, [web_store, _transformer, _marketing]) = start().await?;
    let response = post_form(&web_store, "First").await?;
    let location = response.headers()[header::LOCATION].to_str()?.to_owned();
    let link = format!("{}{location}", web_store.url());
    change_name(&environment, &link, "Second").await?;
    change_name(&environment, &link, "Third").await?;
    let found = search(&environment, &email("First")).await?;
    found.assert("arrived", 0, &["arrived in Marketing, whose row is from 20"]);
    let versions = found.customer["versions"].as_array().context("no versions")?;
    assert_eq!(versions.len(), 3);
    for version in versions {
        for (field, kind) in [("message_id", "event"), ("command_id", "command")] {
            let id = version[field].as_str().context("no id")?;
            let found = search(&environment, id).await?;
            found.assert("arrived", 0, &[]);
            let expected = json!({ "message_id": id, "kind": kind, "version": version["version"] });
            assert_eq!(found.customer["message"], expected);
        }
    }

    insert_customers(&environment, 60_000).await?;
    let select = "SELECT id::text, message_id::text FROM customers ORDER BY id LIMIT 1";
    let (id, message): (String, String) =
        sqlx::query_as(select).fetch_one(&environment.web_store_database()).await?;
    search(&environment, &message).await?.assert("not-registered", 3, &[]);
    let found = search_with(&environment, &[], &message, &["--scan"]).await?;
    assert_eq!(found.customer["customer_id"], id, "{:#}", found.customer);
    Ok(())
}

#[tokio::test]
async fn server_that_is_down_is_named_and_others_are_read() -> anyhow::Result<()> {
    let (environment, [web_store, _transformer, _marketing]) = start().await?;
    let id = arrive(&environment, &web_store, "Ann").await?;
    for (variable, url, state) in [
        ("WEB_STORE_DATABASE_URL", unreachable("postgres", "web_store")?, "unknown"),
        ("MARKETING_DATABASE_URL", unreachable("mysql", "marketing")?, "unknown"),
        ("BROKER_URL", unreachable("amqp", "%2f")?, "arrived"),
    ] {
        let found = search_with(&environment, &[(variable, url.as_str())], &id, &[]).await?;
        found.assert(state, 2, &[]);
        assert!(found.output.stderr.contains(variable), "{variable}: {}", found.output.stderr);
        let report: Value = serde_json::from_str(&found.output.stdout)?;
        assert_eq!(report["unreadable"].as_array().map(Vec::len), Some(1), "{report:#}");
        let is_read = |field: &str| found.customer[field].as_array().is_some_and(|facts| facts.len() == 1);
        assert_eq!(is_read("versions"), variable != "WEB_STORE_DATABASE_URL");
        assert_eq!(is_read("marketing"), variable != "MARKETING_DATABASE_URL");
    }
    Ok(())
}

#[tokio::test]
async fn message_held_by_marketing_names_read_only_database() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let mut servers = Servers::start(directory.path(), |_| ()).await?;
    let environment = TestEnvironment::on(&servers).await?;
    let management = environment.management();
    let marketing = environment.start_ready(Program::Marketing, NO_REPLAY).await?;
    let transformer = environment.start_ready(Program::Transformer, NO_REPLAY).await?;
    let web_store = environment.start_ready(Program::WebStore, &[]).await?;
    arrive(&environment, &web_store, "Before").await?;
    let url = environment.connection_urls().marketing_database_url("root");
    let mut administrator = MySqlConnection::connect(&url).await?;
    administrator.execute("SET GLOBAL read_only = 1").await?;
    let id = register(&web_store, "Held").await?;
    eventually(SOON, "Marketing holds the message", async || {
        (management.queues().await.ok()?.get(QUEUE_2)?.messages_unacknowledged > 0).then_some(())
    })
    .await?;
    let found = search_with(&environment, &[], &id, &["--patience", "5"]).await?;
    let reason = "is held by Marketing, because its database is read-only";
    found.assert("held", 1, &[reason, QUEUE_2, "Next: make Marketing's database writable"]);

    servers.mysql.process.pause();
    let found = search(&environment, &id).await?;
    servers.mysql.process.resume();
    found.assert("held", 2, &["because its database cannot be read"]);
    assert!(found.output.stderr.contains("MARKETING_DATABASE_URL"), "{}", found.output.stderr);

    administrator.execute("SET GLOBAL read_only = 0").await?;
    eventually(Duration::from_mins(1), "the customer arrives", async || {
        (search(&environment, &id).await.ok()?.state() == ("arrived", 0)).then_some(())
    })
    .await?;
    drop((web_store, transformer, marketing));
    drop(environment);
    servers.stop().await
}
