//! Dead letters: looking at them, predictions, and operations that survive crashes and other operators.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Stdio};

use anyhow::Context;
use contracts::{
    CreateCustomer, Message,
    topology::{MARKETING_CREATE_CUSTOMER, TRANSFORMER_CUSTOMER_REGISTERED},
};
use futures_util::future::try_join_all;
use lapin::{BasicProperties, Channel};
use serde_json::{Value, json};
use stack::{
    resource_usage::peak_memory,
    service::{Program, Service},
};
use system_tests::{
    NO_REPLAY, SOON, TestEnvironment,
    broker_client::{open_channel, properties, publish},
    customers::{marketing_ids, register, wait_for_marketing_rows},
    eventually,
    programs::{ProgramOutput, console_command, dead_letters, run},
};
use tempfile::TempDir;
use tokio::{io::AsyncReadExt, process::Child};

const QUEUE: &str = MARKETING_CREATE_CUSTOMER.name;

/// Starts Marketing, so that its queues exist.
async fn with_marketing() -> anyhow::Result<(TestEnvironment, Service)> {
    let environment = TestEnvironment::new().await?;
    let marketing = environment.start_ready(Program::Marketing, NO_REPLAY).await?;
    Ok((environment, marketing))
}

/// Returns the id of the n-th customer.
fn customer(n: u32) -> String {
    format!("01938c5e-7b1a-7c3e-9f00-{n:012x}")
}

/// Returns a command for the n-th customer. An empty name breaks a rule.
fn command(n: u32, name: &str) -> Value {
    json!({
        "customer_id": customer(n), "full_name": name, "email_address": format!("ann{n}@example.org"),
        "email_opt_in": n.is_multiple_of(2), "source": "web-store", "customer_since": "2026-01-02T03:04:05.123456789Z",
    })
}

fn message(n: u32) -> BasicProperties {
    properties(CreateCustomer::TYPE).with_message_id(customer(n).into()).with_delivery_mode(2)
}

/// Publishes commands directly to the dead letters of Marketing, as the broker does at a limit.
async fn add_letters(channel: &Channel, commands: impl Iterator<Item = (u32, Value)>) -> anyhow::Result<()> {
    for (n, command) in commands {
        let exchange = MARKETING_CREATE_CUSTOMER.dead_letter_exchange;
        publish(channel, exchange, QUEUE, message(n), command.to_string().as_bytes()).await?;
    }
    Ok(())
}

fn valid(numbers: std::ops::Range<u32>) -> impl Iterator<Item = (u32, Value)> {
    numbers.map(|n| (n, command(n, "Ann")))
}

/// Returns the lines of a command's output as JSON.
fn lines(output: &ProgramOutput) -> anyhow::Result<Vec<Value>> {
    output.stdout.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

async fn wait_for_letters(environment: &TestEnvironment, letters: u64) -> anyhow::Result<()> {
    environment.management().wait_for_depth(&MARKETING_CREATE_CUSTOMER.dead_letter_queue(), letters).await
}

/// Returns the id in the line that an operation prints at its start.
fn operation_id(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with("operation "))?;
    line.split_whitespace().nth(1).map(|id| id.trim_end_matches(':').to_owned())
}

/// Starts a command of the console in the background, with its output in a file.
fn start(environment: &TestEnvironment, directory: &Path, arguments: &str) -> anyhow::Result<Child> {
    let mut command = console_command(environment)?;
    command.arg("dead-letters").args(arguments.split_whitespace());
    command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    command.stderr(fs::File::create(directory.join("stderr"))?);
    Ok(command.spawn()?)
}

/// Waits until a number of rows, or more, is in Marketing.
async fn wait_for_row_count(environment: &TestEnvironment, rows: usize) -> anyhow::Result<()> {
    eventually(SOON, &format!("{rows} rows"), async || {
        (marketing_ids(environment).await.ok()?.len() >= rows).then_some(())
    })
    .await
}

/// Writes a script that stands in for an editor.
fn editor(directory: &TempDir, script: &str) -> anyhow::Result<String> {
    let path = directory.path().join("editor");
    fs::write(&path, format!("#!/bin/sh\n{script}\n"))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700))?;
    Ok(path.to_str().context("the path is not UTF-8")?.to_owned())
}

async fn edit(environment: &TestEnvironment, editor: &str, letter: &str) -> anyhow::Result<ProgramOutput> {
    let mut command = console_command(environment)?;
    command.env("EDITOR", editor).env("PATH", "/usr/bin:/bin");
    command.args(["dead-letters", "edit", "--yes", letter]);
    run(command, "").await
}

/// Returns the peak memory of a command in KiB. The command has read all letters before it prints the first one, and its
/// output is larger than the pipe.
async fn peak_memory_of(environment: &TestEnvironment, arguments: &[&str]) -> anyhow::Result<u64> {
    let mut command = console_command(environment)?;
    command.arg("dead-letters").args(arguments).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let mut output = child.stdout.take().context("no standard output")?;
    output.read_u8().await?;
    let peak = peak_memory(child.id().context("the command has ended")?.try_into()?);
    tokio::io::copy(&mut output, &mut tokio::io::sink()).await?;
    child.wait().await?;
    Ok(peak)
}

#[tokio::test]
async fn memory_does_not_grow_with_number_of_letters() -> anyhow::Result<()> {
    let (environment, _marketing) = with_marketing().await?;
    let (_connection, channel) = open_channel(&environment).await?;
    let name = "x".repeat(10_000);
    let mut peaks = Vec::new();
    // The first number is larger than that of the letters which the client library keeps.
    for numbers in [0..3_000_u32, 3_000..9_000] {
        let letters: Vec<_> = numbers.collect();
        for batch in letters.chunks(500) {
            let add = |n: &u32| add_letters(&channel, std::iter::once((*n, command(*n, &name))));
            try_join_all(batch.iter().map(add)).await?;
        }
        for arguments in [["show", "--all", "--unmask"], ["check", "--all", "--json"]] {
            peaks.push(peak_memory_of(&environment, &arguments).await?);
        }
    }
    let [show, check, show_more, check_more] = peaks[..] else { panic!("{peaks:?}") };
    let limit = 20 * 1024;
    assert!(show_more < show + limit && check_more < check + limit, "KiB: {peaks:?}");
    Ok(())
}

#[tokio::test]
async fn looking_at_letters_changes_neither_order_nor_content() -> anyhow::Result<()> {
    let (environment, _marketing) = with_marketing().await?;
    let (_connection, channel) = open_channel(&environment).await?;
    // More than one consumer of the console may hold.
    let count = 2500;
    add_letters(&channel, valid(0..count)).await?;

    for looks in ["list", "list --letters --json", "show --all", "check --all", "check --reason no-reason"] {
        let output = dead_letters(&environment, looks).await?;
        assert_eq!(output.status, 0, "{looks}: {}", output.stderr);
    }
    let shown = dead_letters(&environment, &format!("show {}", customer(7))).await?;
    assert!(!shown.stdout.contains("Ann") && !shown.stdout.contains("ann7"), "{}", shown.stdout);
    let shown = dead_letters(&environment, &format!("show --unmask {}", customer(7))).await?;
    assert!(shown.stdout.contains("ann7@example.org"), "{}", shown.stdout);

    let letters = MARKETING_CREATE_CUSTOMER.dead_letter_queue();
    environment.management().wait_for_depth(&letters, count.into()).await?;
    let taken = environment.management().take(&letters, count).await?;
    for (n, letter) in (0..).zip(&taken) {
        assert_eq!(letter.payload, command(n, "Ann").to_string(), "letter {n}");
        assert_eq!(letter.properties["message_id"], customer(n));
    }
    assert_eq!(taken.len(), count as usize);
    Ok(())
}

#[tokio::test]
async fn retry_makes_predicted_rows_and_leaves_other_letters() -> anyhow::Result<()> {
    let (environment, _marketing) = with_marketing().await?;
    let table = environment.marketing_database();
    sqlx::query("ALTER TABLE customers ADD CHECK (full_name <> 'Ann')").execute(&table).await?;
    let (_connection, channel) = open_channel(&environment).await?;
    let exchange = CreateCustomer::EXCHANGE;
    for n in 0..500 {
        let body = command(n, if n < 300 { "Ann" } else { "" }).to_string();
        publish(&channel, exchange, CreateCustomer::TYPE, message(n), body.as_bytes()).await?;
    }
    wait_for_letters(&environment, 500).await?;
    sqlx::query("ALTER TABLE customers DROP CONSTRAINT CONSTRAINT_1").execute(&table).await?;

    let groups = dead_letters(&environment, "list").await?.stdout;
    let release = format!("marketing {}", env!("CARGO_PKG_VERSION"));
    assert!(groups.contains("rule-broken") && groups.contains(&release), "{groups}");
    let check = dead_letters(&environment, "check --all --json --unmask").await?;
    assert_eq!(check.status, 1);
    let predictions = lines(&check)?;
    let passing: Vec<_> = predictions.iter().filter(|one| one["verdict"] == "passes").collect();
    assert_eq!((predictions.len(), passing.len()), (500, 300), "{}", check.stderr);
    assert!(passing.iter().all(|one| one["change"]["effect"] == "insert"));
    wait_for_letters(&environment, 500).await?;

    let ids: Vec<_> = passing.iter().filter_map(|one| one["id"].as_str()).collect();
    let retry = dead_letters(&environment, &format!("retry {}", ids.join(" "))).await?;
    assert_eq!((retry.status, retry.stdout.as_str()), (0, "sent back 300 letters\n"), "{}", retry.stderr);
    wait_for_row_count(&environment, 300).await?;
    wait_for_letters(&environment, 200).await?;
    for prediction in passing {
        let row = &prediction["row"];
        let select = "SELECT JSON_OBJECT('customer_id', customer_id, 'full_name', full_name, 'email_address',
            email_address, 'source', source, 'customer_since',
            DATE_FORMAT(customer_since, '%Y-%m-%dT%H:%i:%s.%f'), 'version', version) FROM customers
            WHERE customer_id = ?";
        let id = row["customer_id"].as_str();
        let stored: String = sqlx::query_scalar(select).bind(id).fetch_one(&table).await?;
        let stored: Value = serde_json::from_str(&stored)?;
        for (column, value) in stored.as_object().context("no row")? {
            assert_eq!(row[column], *value, "{column}");
        }
    }
    let again = dead_letters(&environment, &format!("retry {}", ids[0])).await?;
    assert_eq!(again.status, 3, "{}", again.stderr);
    Ok(())
}

#[tokio::test]
async fn prediction_follows_event_to_row() -> anyhow::Result<()> {
    let (environment, _marketing) = with_marketing().await?;
    let _transformer = environment.start_ready(Program::Transformer, NO_REPLAY).await?;
    let (_connection, channel) = open_channel(&environment).await?;
    let sample = include_str!("../../../../contracts/samples/web-store.customer-registered.v1.json");
    let mut invalid: Value = serde_json::from_str(sample)?;
    invalid["name"] = json!("");
    let queue = TRANSFORMER_CUSTOMER_REGISTERED;
    for body in [sample.to_owned(), invalid.to_string(), "{}".to_owned()] {
        let message = properties(queue.routing_key);
        publish(&channel, queue.dead_letter_exchange, queue.name, message, body.as_bytes()).await?;
    }
    let check = dead_letters(&environment, "check --all --json").await?;
    let predictions = lines(&check)?;
    assert_eq!(predictions[0]["command"]["type"], CreateCustomer::TYPE);
    assert_eq!(predictions[0]["change"]["effect"], "insert");
    assert_eq!(predictions[1]["code"], "rule-broken");
    assert_eq!(predictions[1]["at"], QUEUE, "Marketing would reject the command");
    assert_eq!((&predictions[2]["code"], &predictions[2]["at"]), (&json!("wrong-shape"), &json!(queue.name)));
    assert_eq!(marketing_ids(&environment).await?, Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn letters_that_arrive_during_retry_stay() -> anyhow::Result<()> {
    let (environment, _marketing) = with_marketing().await?;
    let (_connection, channel) = open_channel(&environment).await?;
    add_letters(&channel, valid(0..30)).await?;
    let directory = tempfile::tempdir()?;
    let mut retry = start(&environment, directory.path(), "retry --all --rate 20")?;
    wait_for_row_count(&environment, 1).await?;
    add_letters(&channel, valid(100..110)).await?;
    assert!(retry.wait().await?.success());
    wait_for_row_count(&environment, 30).await?;
    wait_for_letters(&environment, 10).await?;
    assert_eq!(marketing_ids(&environment).await?.len(), 30);
    Ok(())
}

#[tokio::test]
async fn killed_retry_continues_with_its_letters() -> anyhow::Result<()> {
    let (environment, _marketing) = with_marketing().await?;
    let (_connection, channel) = open_channel(&environment).await?;
    add_letters(&channel, valid(0..60)).await?;
    let directory = tempfile::tempdir()?;
    let mut retry = start(&environment, directory.path(), "retry --all --rate 20")?;
    wait_for_row_count(&environment, 10).await?;
    retry.kill().await?;
    let operation =
        operation_id(&fs::read_to_string(directory.path().join("stderr"))?).context("no operation")?;
    add_letters(&channel, valid(100..105)).await?;
    assert!(marketing_ids(&environment).await?.len() < 60);

    let resumed = dead_letters(&environment, &format!("resume {operation}")).await?;
    assert!(resumed.stdout.starts_with("sent back "), "{}{}", resumed.stdout, resumed.stderr);
    let expected: Vec<_> = (0..60).map(customer).collect();
    wait_for_marketing_rows(&environment, &expected, SOON).await?;
    wait_for_letters(&environment, 5).await?;
    let again = dead_letters(&environment, &format!("resume {operation}")).await?;
    assert_eq!(again.status, 2);
    assert!(again.stderr.contains("has finished"), "{}", again.stderr);
    Ok(())
}

#[tokio::test]
async fn cancelled_retry_leaves_remaining_letters() -> anyhow::Result<()> {
    let (environment, _marketing) = with_marketing().await?;
    let (_connection, channel) = open_channel(&environment).await?;
    add_letters(&channel, valid(0..100)).await?;
    let directory = tempfile::tempdir()?;
    let mut retry = start(&environment, directory.path(), "retry --all --rate 10")?;
    wait_for_row_count(&environment, 5).await?;
    let operation =
        operation_id(&fs::read_to_string(directory.path().join("stderr"))?).context("no operation")?;
    assert_eq!(dead_letters(&environment, &format!("cancel {operation}")).await?.status, 0);
    assert_eq!(retry.wait().await?.code(), Some(1));
    let left = eventually(SOON, "all letters are in a queue or a row", async || {
        let rows = marketing_ids(&environment).await.ok()?.len() as u64;
        let left =
            environment.management().depth(&MARKETING_CREATE_CUSTOMER.dead_letter_queue()).await.ok()?;
        (rows + left == 100).then_some(left)
    })
    .await?;
    assert!((1..=95).contains(&left), "{left}");
    let resumed = dead_letters(&environment, &format!("resume {operation}")).await?;
    assert!(resumed.stderr.contains("was cancelled"), "{}", resumed.stderr);
    Ok(())
}

#[tokio::test]
async fn edit_is_sent_only_if_it_fits_contract() -> anyhow::Result<()> {
    let (environment, _marketing) = with_marketing().await?;
    let (_connection, channel) = open_channel(&environment).await?;
    add_letters(&channel, [(1, command(1, ""))].into_iter()).await?;
    let directory = tempfile::tempdir()?;
    for script in [
        r#"sed -i 's/"full_name": ""/"full_name": 7/' "$1""#,
        r#"sed -i 's/}$//' "$1""#,
        r#"sed -i 's/ann1@example.org/ann1/' "$1""#,
        "exit 1",
        "true",
    ] {
        let output = edit(&environment, &editor(&directory, script)?, &customer(1)).await?;
        assert_ne!(output.status, 0, "{script}: {}", output.stderr);
        wait_for_letters(&environment, 1).await?;
    }
    let fix = editor(&directory, r#"sed -i 's/"full_name": ""/"full_name": "Zoë"/' "$1""#)?;
    let output = edit(&environment, &fix, &customer(1)).await?;
    assert_eq!(output.status, 0, "{}", output.stderr);
    wait_for_marketing_rows(&environment, &[customer(1)], SOON).await?;
    let select = sqlx::query_scalar("SELECT full_name FROM customers");
    let name: String = select.fetch_one(&environment.marketing_database()).await?;
    assert_eq!(name, "Zoë");
    wait_for_letters(&environment, 0).await?;

    let restored = dead_letters(&environment, "restore --all").await?;
    assert_eq!(restored.status, 0, "{}", restored.stderr);
    let original = environment.management().take(&MARKETING_CREATE_CUSTOMER.dead_letter_queue(), 10).await?;
    assert_eq!(original[0].payload, command(1, "").to_string());
    Ok(())
}

#[tokio::test]
async fn second_of_two_editors_gets_conflict() -> anyhow::Result<()> {
    let (environment, _marketing) = with_marketing().await?;
    let (_connection, channel) = open_channel(&environment).await?;
    add_letters(&channel, [(1, command(1, ""))].into_iter()).await?;
    let (slow_directory, directory) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let [open, go_on] = ["open", "go-on"].map(|name| slow_directory.path().join(name));
    let replace = |name: &str| format!(r#"sed -i 's/"full_name": ""/"full_name": "{name}"/' "$1""#);
    let wait = format!("touch {}; while ! test -e {}; do sleep 0.05; done", open.display(), go_on.display());
    let slow = editor(&slow_directory, &format!("{wait}; {}", replace("Slow")))?;
    let fast = editor(&directory, &replace("Fast"))?;

    let id = customer(1);
    let slow = edit(&environment, &slow, &id);
    let fast = async {
        eventually(SOON, "the slow editor is open", async || open.exists().then_some(())).await?;
        let output = edit(&environment, &fast, &id).await?;
        fs::write(&go_on, "")?;
        anyhow::Ok(output)
    };
    let (slow, fast) = tokio::try_join!(slow, fast)?;
    assert_eq!(fast.status, 0, "{}", fast.stderr);
    assert_eq!(slow.status, 3, "{}{}", slow.stdout, slow.stderr);
    wait_for_marketing_rows(&environment, &[id], SOON).await?;
    let select = sqlx::query_scalar("SELECT full_name FROM customers");
    let name: String = select.fetch_one(&environment.marketing_database()).await?;
    assert_eq!(name, "Fast");
    Ok(())
}

#[tokio::test]
async fn discarded_letter_can_be_restored_unchanged() -> anyhow::Result<()> {
    let (environment, _marketing) = with_marketing().await?;
    let web_store = environment.start_ready(Program::WebStore, NO_REPLAY).await?;
    let table = environment.marketing_database();
    sqlx::query("ALTER TABLE customers ADD CHECK (full_name <> 'Ann')").execute(&table).await?;
    let _transformer = environment.start_ready(Program::Transformer, NO_REPLAY).await?;
    register(&web_store, "Ann").await?;
    wait_for_letters(&environment, 1).await?;
    let before = lines(&dead_letters(&environment, "list --json").await?)?;

    let no_reason = dead_letters(&environment, "discard --all").await?;
    assert_eq!(no_reason.status, 2, "{}", no_reason.stderr);
    assert_eq!(dead_letters(&environment, "discard --all --why test").await?.status, 0);
    wait_for_letters(&environment, 0).await?;
    assert_eq!(lines(&dead_letters(&environment, "list --kept --json").await?)?, before);
    assert_eq!(dead_letters(&environment, "restore --all").await?.status, 0);
    assert_eq!(lines(&dead_letters(&environment, "list --json").await?)?, before);
    assert_eq!(dead_letters(&environment, "list --kept --json").await?.stdout, "");
    Ok(())
}

/// Runs `console journal` with arguments.
async fn journal(environment: &TestEnvironment, arguments: &[&str]) -> anyhow::Result<ProgramOutput> {
    let mut command = console_command(environment)?;
    command.arg("journal").args(arguments);
    run(command, "").await
}

#[tokio::test]
async fn journal_has_operations_and_detects_modified_entry() -> anyhow::Result<()> {
    let (environment, _marketing) = with_marketing().await?;
    let (_connection, channel) = open_channel(&environment).await?;
    add_letters(&channel, valid(1..4)).await?;
    assert_eq!(dead_letters(&environment, "retry --all").await?.status, 0);
    let entries = lines(&journal(&environment, &["--json"]).await?)?;
    let events: Vec<_> = entries.iter().filter_map(|entry| entry["event"].as_str()).collect();
    assert_eq!(events, ["created", "started", "selected", "finished"]);
    assert_eq!(entries[1]["operator"], "tester");
    let ids: Vec<_> = entries[2]["letters"].as_array().context("no letters")?.iter().collect();
    assert_eq!(ids.len(), 3);
    assert!(ids.iter().any(|letter| letter["message_id"] == customer(1)));
    let text = entries.iter().map(Value::to_string).collect::<String>();
    assert!(!text.contains("Ann") && !text.contains("example.org"), "{text}");
    let intact = journal(&environment, &["verify"]).await?;
    assert_eq!(intact.status, 0, "{}", intact.stdout);
    let last = intact.stdout.trim_end().rsplit(' ').next().context("no hash")?.to_owned();

    // An attacker who may write the stream replaces it by a modified copy.
    let mut bodies: Vec<String> = entries.iter().map(Value::to_string).collect();
    bodies[1] = bodies[1].replace("tester", "another");
    environment.management().delete_queue("console.journal").await?;
    let arguments = json!({ "x-queue-type": "stream" });
    environment.management().declare_queue("console.journal", arguments).await?;
    environment.management().bind("console.journal", "console.moves", "console.journal").await?;
    for body in &bodies {
        let mut properties = properties("");
        properties = properties.with_headers(lapin::types::FieldTable::default());
        publish(&channel, "console.moves", "console.journal", properties, body.as_bytes()).await?;
    }
    let broken = journal(&environment, &["verify"]).await?;
    assert_eq!(broken.status, 1, "{}", broken.stdout);
    let removed = journal(&environment, &["verify", "--contains", &last]).await?;
    assert!(removed.stdout.contains(&last), "{}", removed.stdout);
    Ok(())
}

#[tokio::test]
async fn two_operators_move_each_letter_once() -> anyhow::Result<()> {
    let (environment, _marketing) = with_marketing().await?;
    let (_connection, channel) = open_channel(&environment).await?;
    add_letters(&channel, valid(0..200)).await?;
    let retry = async || dead_letters(&environment, "retry --all").await;
    let (one, two) = tokio::try_join!(retry(), retry())?;
    let moved = |output: &ProgramOutput| {
        let count = output.stdout.split_whitespace().nth(2).and_then(|count| count.parse().ok());
        count.unwrap_or(0_u32)
    };
    assert_eq!(moved(&one) + moved(&two), 200, "{one:?} {two:?}");
    wait_for_row_count(&environment, 200).await?;
    wait_for_letters(&environment, 0).await?;
    let verified = journal(&environment, &["verify"]).await?;
    assert_eq!(verified.status, 0, "{}", verified.stdout);
    Ok(())
}
