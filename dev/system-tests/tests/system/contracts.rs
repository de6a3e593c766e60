//! Messages on the wire match the documents of the contracts, and other applications need only these documents.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use contracts::{
    CreateCustomer, CustomerDetailsChanged, CustomerRegistered, Message, UpdateCustomer,
    test_util::{assert_valid, named_validator},
    topology::{
        MARKETING_CREATE_CUSTOMER, MARKETING_UPDATE_CUSTOMER, TRANSFORMER_CUSTOMER_DETAILS_CHANGED,
        TRANSFORMER_CUSTOMER_REGISTERED, WEB_STORE_REPLAY_CUSTOMERS,
    },
};
use serde_json::{Value, json};
use stack::{
    connection_urls::PASSWORD,
    service::{Program, Service},
};
use system_tests::{
    SOON, TestEnvironment,
    broker_client::{open_channel, properties, publish},
    customers::{
        email, http_client, register, register_many, wait_for_marketing_rows, wait_for_outbox_depth,
    },
    eventually,
    load::{LoadResults, RegistrationLoad},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

#[tokio::test]
async fn every_message_matches_its_schema_and_envelope() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let mut transformer = environment.start_ready(Program::Transformer, &[]).await?;
    let mut marketing = environment.start_ready(Program::Marketing, &[]).await?;
    let web_store = environment.start_ready(Program::WebStore, &[]).await?;
    marketing.kill().await?;
    register_and_change(&web_store, "Zoë Ó Dálaigh 王").await?;
    assert_message(&environment, MARKETING_CREATE_CUSTOMER.name, CreateCustomer::TYPE).await?;
    assert_message(&environment, MARKETING_UPDATE_CUSTOMER.name, UpdateCustomer::TYPE).await?;
    transformer.kill().await?;
    register_and_change(&web_store, "O'Brien <b>").await?;
    assert_message(&environment, TRANSFORMER_CUSTOMER_REGISTERED.name, CustomerRegistered::TYPE).await?;
    assert_message(&environment, TRANSFORMER_CUSTOMER_DETAILS_CHANGED.name, CustomerDetailsChanged::TYPE)
        .await
}

async fn register_and_change(web_store: &Service, name: &str) -> anyhow::Result<()> {
    let client = http_client()?;
    let body = json!({"name": name, "email": email(name)});
    let response = client.post(format!("{}/customers", web_store.url())).json(&body).send().await?;
    let registered: Value = response.json().await?;
    let link = format!("{}{}", web_store.url(), registered["details"].as_str().unwrap());
    let change = json!({"name": format!("{name} II"), "marketing_consent": true});
    client.post(link).json(&change).send().await?.error_for_status()?;
    Ok(())
}

/// Takes a message from a queue and validates its body, its envelope, and the presence of each property.
async fn assert_message(
    environment: &TestEnvironment,
    queue: &str,
    message_type: &str,
) -> anyhow::Result<()> {
    let management = environment.management();
    let take = async || management.take(queue, 1).await.ok()?.pop();
    let message = eventually(SOON, &format!("a message in {queue}"), take).await?;
    assert_valid(&named_validator(message_type), &message.payload);
    assert_valid(&named_validator("envelope.v1"), &message.properties.to_string());
    assert_eq!(message.properties["type"], message_type);
    assert_eq!(message.routing_key, message_type);
    for property in ["content_type", "delivery_mode", "correlation_id", "timestamp", "app_id"] {
        assert!(!message.properties[property].is_null(), "{property} in {:#}", message.properties);
    }
    assert!(message.properties["headers"]["traceparent"].is_string());
    Ok(())
}

#[tokio::test]
async fn python_listener_receives_events_in_its_own_queue() -> anyhow::Result<()> {
    let (environment, web_store) = TestEnvironment::with_web_store().await?;
    let _transformer = environment.start_ready(Program::Transformer, &[]).await?;
    create_user(&environment, "loyalty").await?;
    let queue = "loyalty.customer-registered";

    let script = "clients/listen.py";
    let (listener, mut lines) = listen(&environment, script, queue).await?;
    let ids = register_many(&web_store, 5).await?;
    wait_for_lines(&mut lines, &ids).await?;

    // Events wait while the listener is down.
    drop((listener, lines));
    let while_down = register(&web_store, "While down").await?;
    let (_listener, mut lines) = listen(&environment, script, queue).await?;
    wait_for_lines(&mut lines, &[while_down]).await?;

    // The listener validates events. It dead-letters an invalid one and continues.
    let (_connection, channel) = open_channel(&environment).await?;
    let (exchange, event_type) = (CustomerRegistered::EXCHANGE, CustomerRegistered::TYPE);
    let mut event: Value = serde_json::from_str(&sample(event_type)?)?;
    event["email"] = "not-an-email".into();
    let body = event.to_string();
    publish(&channel, exchange, event_type, properties(event_type), body.as_bytes()).await?;
    let next = register(&web_store, "Next").await?;
    wait_for_lines(&mut lines, &[next]).await?;
    environment.management().wait_for_depth("loyalty.dead-letters", 1).await
}

#[tokio::test]
async fn python_client_gets_existing_and_new_customers() -> anyhow::Result<()> {
    let (environment, web_store) = TestEnvironment::with_web_store().await?;
    let _transformer = environment.start_ready(Program::Transformer, &[]).await?;
    create_user(&environment, "loyalty").await?;
    let existing = register_many(&web_store, 50).await?;
    // The transformer has the events, so only a replay sends them to another queue.
    wait_for_outbox_depth(&environment, 0, SOON).await?;
    let management = environment.management();
    eventually(SOON, "the Web Store accepts requests", async || {
        let queues = management.queues().await.ok()?;
        (queues.get(WEB_STORE_REPLAY_CUSTOMERS.name)?.consumers == 1).then_some(())
    })
    .await?;

    let load = RegistrationLoad::start(&web_store, 2)?;
    load.wait_for_more(10, SOON).await?;
    let (_client, mut lines) = listen(&environment, "clients/replay.py", "loyalty.all-customers").await?;
    load.wait_for_more(10, SOON).await?;
    let LoadResults { confirmed, .. } = load.stop().await?;
    let expected = [existing, confirmed, vec!["completed".to_owned()]].concat();
    wait_for_lines(&mut lines, &expected).await
}

#[tokio::test]
async fn python_sender_creates_customer_in_marketing() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let _marketing = environment.start_ready(Program::Marketing, &[]).await?;
    create_user(&environment, "helpdesk").await?;

    let command = sample(CreateCustomer::TYPE)?;
    for _ in 0..2 {
        let sent = send(&environment, &command).await?;
        assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    }
    let create: CreateCustomer = serde_json::from_str(&command)?;
    wait_for_marketing_rows(&environment, &[create.customer_id.to_string()], SOON).await?;

    let refused = send(&environment, &command.replace('@', " at ")).await?;
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("ValidationError"));
    Ok(())
}

#[tokio::test]
async fn other_application_has_only_documented_permissions() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let _transformer = environment.start_ready(Program::Transformer, &[]).await?;
    let connect = "import os, pika
url = pika.URLParameters(os.environ['AMQP_URL'])
c = pika.BlockingConnection(url).channel()
c.confirm_delivery()";
    create_user(&environment, "loyalty").await?;
    create_user(&environment, "helpdesk").await?;
    for (user, forbidden) in [
        ("loyalty", "c.basic_publish('web-store.events', 'web-store.customer-registered.v1', b'')"),
        ("loyalty", "c.basic_get('transformer.customer-registered')"),
        ("loyalty", "c.queue_declare('marketing.own')"),
        ("helpdesk", "c.basic_publish('web-store.events', 'web-store.customer-registered.v1', b'')"),
        ("helpdesk", "c.queue_declare('helpdesk.own')"),
    ] {
        let script = format!("{connect}\n{forbidden}");
        let output = python(&environment, user).args(["-c", &script]).output().await?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains("ACCESS_REFUSED"), "{user}: {forbidden}: {stderr}");
    }
    Ok(())
}

/// Runs the commands that the documents show to an administrator, for the virtual host of the environment.
async fn create_user(environment: &TestEnvironment, user: &str) -> anyhow::Result<()> {
    let page = fs::read_to_string(contracts_directory().join("README.md"))?;
    let code: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    let code = code.join("\n");
    let commands = code.split("curl ").filter(|command| command.contains(&format!("/{user}\"")));
    let commands: Vec<&str> = commands.collect();
    assert_eq!(commands.len(), 2, "a user and its permissions");
    let urls = environment.connection_urls();
    for command in commands {
        let end = command.rfind('\'').unwrap();
        let command = format!("curl -sS {}", &command[..=end]);
        let command = command.replace("/%2f/", &format!("/{}/", urls.virtual_host));
        let management = format!("http://127.0.0.1:{}", urls.ports.management);
        let mut shell = Command::new("bash");
        shell.args(["-c", &command]).env("MANAGEMENT", management).env("PASSWORD", PASSWORD);
        let output = shell.output().await?;
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// Starts a listener of the documents, waits until it consumes, and returns it with its output.
async fn listen(
    environment: &TestEnvironment,
    script: &str,
    queue: &str,
) -> anyhow::Result<(Child, Lines<BufReader<ChildStdout>>)> {
    let mut command = python(environment, "loyalty");
    let mut listener = command.arg(script).stdout(Stdio::piped()).spawn()?;
    let lines = BufReader::new(listener.stdout.take().unwrap()).lines();
    let management = environment.management();
    eventually(SOON, "the listener consumes", async || {
        (management.queues().await.ok()?.get(queue)?.consumers == 1).then_some(())
    })
    .await?;
    Ok((listener, lines))
}

/// Waits until the listener has printed all expected lines.
///
/// It may print a line twice: an event that it had processed but not acknowledged before it was killed is
/// delivered again.
async fn wait_for_lines(
    lines: &mut Lines<BufReader<ChildStdout>>,
    expected: &[String],
) -> anyhow::Result<()> {
    let mut missing: HashSet<&String> = expected.iter().collect();
    while !missing.is_empty() {
        let line = timeout(SOON, lines.next_line()).await??;
        missing.remove(&line.unwrap());
    }
    Ok(())
}

/// Runs the sender of the documents with `command` on its standard input.
async fn send(environment: &TestEnvironment, command: &str) -> anyhow::Result<Output> {
    let mut python = python(environment, "helpdesk");
    python.arg("clients/send.py").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut sender = python.spawn()?;
    sender.stdin.take().unwrap().write_all(command.as_bytes()).await?;
    Ok(sender.wait_with_output().await?)
}

/// Returns a Python command with the libraries of the clients, in the directory of the documents.
fn python(environment: &TestEnvironment, user: &str) -> Command {
    let python = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("tools/clients/bin/python");
    assert!(python.exists(), "run script/test, or: contracts/clients/install target/tools/clients");
    let mut command = Command::new(python);
    let url = environment.broker_url(user).replace(PASSWORD, "choose-one");
    command.env("AMQP_URL", url).current_dir(contracts_directory()).kill_on_drop(true);
    command
}

fn contracts_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contracts")
}

fn sample(message_type: &str) -> anyhow::Result<String> {
    let path = contracts_directory().join(format!("samples/{message_type}.json"));
    Ok(fs::read_to_string(path)?)
}
