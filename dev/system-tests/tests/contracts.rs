//! What goes over the wire is what the contracts' documents say, and a stranger needs nothing else.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use contracts::test_util::{assert_valid, named_validator};
use contracts::topology::{
    MARKETING_CREATE_CUSTOMER, MARKETING_UPDATE_CUSTOMER, TRANSFORMER_CUSTOMER_DETAILS_CHANGED,
    TRANSFORMER_CUSTOMER_REGISTERED,
};
use contracts::{CreateCustomer, CustomerDetailsChanged, CustomerRegistered, Message, UpdateCustomer};
use serde_json::{Value, json};
use stack::connection_urls::PASSWORD;
use stack::service::Service;
use system_tests::broker_client::{open_channel, properties, publish};
use system_tests::customers::{email, http_client, register, register_many, wait_for_marketing_rows};
use system_tests::{SOON, TestEnvironment, eventually};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

#[tokio::test]
async fn every_message_on_the_wire_is_what_its_schema_and_the_envelopes_say() {
    let site = TestEnvironment::new().await.unwrap();
    let mut transformer = site.start_transformer().unwrap();
    let mut marketing = site.start_marketing().unwrap();
    let mut web_store = site.start_web_store().unwrap();
    for service in [&mut transformer, &mut marketing, &mut web_store] {
        service.wait_ready(SOON).await.unwrap();
    }
    marketing.kill().await.unwrap();
    register_and_change(&web_store, "Zoë Ó Dálaigh 王").await;
    assert_on_the_wire(&site, MARKETING_CREATE_CUSTOMER.name, CreateCustomer::TYPE).await;
    assert_on_the_wire(&site, MARKETING_UPDATE_CUSTOMER.name, UpdateCustomer::TYPE).await;
    transformer.kill().await.unwrap();
    register_and_change(&web_store, "O'Brien <b>").await;
    let queues = [TRANSFORMER_CUSTOMER_REGISTERED, TRANSFORMER_CUSTOMER_DETAILS_CHANGED];
    assert_on_the_wire(&site, queues[0].name, CustomerRegistered::TYPE).await;
    assert_on_the_wire(&site, queues[1].name, CustomerDetailsChanged::TYPE).await;
}

async fn register_and_change(web_store: &Service, name: &str) {
    let body = json!({"name": name, "email": email(name)});
    let registered = http_client()
        .unwrap()
        .post(format!("{}/customers", web_store.url()))
        .json(&body)
        .send()
        .await
        .unwrap();
    let registered: Value = registered.json().await.unwrap();
    let link = format!("{}{}", web_store.url(), registered["details"].as_str().unwrap());
    let changed = json!({"name": format!("{name} II"), "marketing_consent": true});
    http_client().unwrap().post(link).json(&changed).send().await.unwrap().error_for_status().unwrap();
}

/// Takes a message out of a queue and validates all of it, with every property that ours are to have.
async fn assert_on_the_wire(site: &TestEnvironment, queue: &str, message_type: &str) {
    let what = format!("a message in {queue}");
    let take = async || site.management().take(queue, 1).await.ok()?.pop();
    let message = eventually(SOON, &what, take).await.unwrap();
    assert_valid(&named_validator(message_type), &message.payload);
    let envelope = named_validator("envelope.v1");
    assert_valid(&envelope, &message.properties.to_string());
    assert_eq!(message.properties["type"], message_type);
    assert_eq!(message.routing_key, message_type);
    for property in ["content_type", "delivery_mode", "correlation_id", "timestamp", "app_id"] {
        assert!(!message.properties[property].is_null(), "{property} in {:#}", message.properties);
    }
    assert!(message.properties["headers"]["traceparent"].is_string());
}

#[tokio::test]
async fn a_stranger_in_python_listens_with_a_queue_of_its_own_and_the_schema_alone() {
    let site = TestEnvironment::new().await.unwrap();
    let mut web_store = site.start_web_store().unwrap();
    let mut transformer = site.start_transformer().unwrap();
    for service in [&mut web_store, &mut transformer] {
        service.wait_ready(SOON).await.unwrap();
    }
    give_user(&site, "loyalty").await;
    let queue = "loyalty.customer-registered";

    let (listener, mut heard) = listen(&site, queue).await;
    let ids = register_many(&web_store, 5).await.unwrap();
    hears(&mut heard, &ids).await;

    // What is sent while it is away waits.
    drop((listener, heard));
    let late = register(&web_store, "Late").await.unwrap();
    let (_listener, mut heard) = listen(&site, queue).await;
    hears(&mut heard, &[late]).await;

    // And it does validate, sets aside what is not valid, and goes on.
    let (_connection, channel) = open_channel(&site).await.unwrap();
    let (exchange, own) = (CustomerRegistered::EXCHANGE, CustomerRegistered::TYPE);
    let mut event: Value = serde_json::from_str(&sample(own)).unwrap();
    event["email"] = "nobody".into();
    publish(&channel, exchange, own, properties(own), event.to_string().as_bytes()).await.unwrap();
    let next = register(&web_store, "Next").await.unwrap();
    hears(&mut heard, &[next]).await;
    eventually(SOON, "the bad event among the stranger's dead letters", async || {
        (site.management().depth("loyalty.dead-letters").await.ok()? == 1).then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_stranger_in_python_sends_a_command_that_marketing_accepts() {
    let site = TestEnvironment::new().await.unwrap();
    let mut marketing = site.start_marketing().unwrap();
    marketing.wait_ready(SOON).await.unwrap();
    give_user(&site, "helpdesk").await;

    let command = sample(CreateCustomer::TYPE);
    for _ in 0..2 {
        let sent = send(&site, &command).await;
        assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    }
    let id = serde_json::from_str::<Value>(&command).unwrap()["customer_id"].as_str().unwrap().to_owned();
    wait_for_marketing_rows(&site, &[id], SOON).await.unwrap();

    let refused = send(&site, &command.replace('@', " at ")).await;
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("ValidationError"));
}

#[tokio::test]
async fn a_stranger_may_do_what_the_documents_say_and_nothing_more() {
    let site = TestEnvironment::new().await.unwrap();
    let mut transformer = site.start_transformer().unwrap();
    transformer.wait_ready(SOON).await.unwrap();
    let connect = "import os, pika
url = pika.URLParameters(os.environ['AMQP_URL'])
c = pika.BlockingConnection(url).channel()
c.confirm_delivery()";
    give_user(&site, "loyalty").await;
    give_user(&site, "helpdesk").await;
    for (user, forbidden) in [
        ("loyalty", "c.basic_publish('web-store.events', 'web-store.customer-registered.v1', b'')"),
        ("loyalty", "c.basic_get('transformer.customer-registered')"),
        ("loyalty", "c.queue_declare('marketing.mine')"),
        ("helpdesk", "c.basic_publish('web-store.events', 'web-store.customer-registered.v1', b'')"),
        ("helpdesk", "c.queue_declare('helpdesk.mine')"),
    ] {
        let tried =
            python(&site, user).args(["-c", &format!("{connect}\n{forbidden}")]).output().await.unwrap();
        let said = String::from_utf8_lossy(&tried.stderr);
        assert!(said.contains("ACCESS_REFUSED"), "{user}: {forbidden}: {said}");
    }
}

/// Runs the commands that the documents show to an administrator, for this site's virtual host.
async fn give_user(site: &TestEnvironment, user: &str) {
    let page = std::fs::read_to_string(contracts_directory().join("README.md")).unwrap();
    let lines: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    let commands = lines.join("\n");
    let commands: Vec<&str> =
        commands.split("curl ").filter(|command| command.contains(&format!("/{user}\""))).collect();
    assert_eq!(commands.len(), 2, "a user and its rights");
    let virtual_host = &site.connection_urls().virtual_host;
    for command in commands {
        let end = command.rfind('\'').unwrap();
        let command = format!("curl -sS {}", &command[..=end]).replace("/%2f/", &format!("/{virtual_host}/"));
        let management = format!("http://127.0.0.1:{}", site.connection_urls().ports.management);
        let mut shell = Command::new("bash");
        shell.args(["-c", &command]).env("MANAGEMENT", management).env("PASSWORD", PASSWORD);
        let done = shell.output().await.unwrap();
        assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

/// Starts the documents' listener and waits until it listens.
async fn listen(site: &TestEnvironment, queue: &str) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut command = python(site, "loyalty");
    let mut listener = command.arg("clients/listen.py").stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(listener.stdout.take().unwrap()).lines();
    eventually(SOON, "it listens", async || {
        (site.management().queues().await.ok()?.get(queue)?.consumers == 1).then_some(())
    })
    .await
    .unwrap();
    (listener, lines)
}

/// Waits until the listener has said all of these. It may say one twice: what it had done, but not
/// acknowledged, when it was killed comes again.
async fn hears(lines: &mut Lines<BufReader<ChildStdout>>, expected: &[String]) {
    let mut missing: HashSet<&String> = expected.iter().collect();
    while !missing.is_empty() {
        let line = timeout(SOON, lines.next_line()).await.expect("a line in time").unwrap();
        missing.remove(&line.expect("the listener goes on"));
    }
}

async fn send(site: &TestEnvironment, command: &str) -> Output {
    let mut python = python(site, "helpdesk");
    python.arg("clients/send.py").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut sender = python.spawn().unwrap();
    sender.stdin.take().unwrap().write_all(command.as_bytes()).await.unwrap();
    sender.wait_with_output().await.unwrap()
}

/// Python with the clients' libraries, where the documents are, and the broker's address as a user.
fn python(site: &TestEnvironment, user: &str) -> Command {
    let python = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("tools/clients/bin/python");
    assert!(python.exists(), "run script/test, or: contracts/clients/install target/tools/clients");
    let mut command = Command::new(python);
    let url = site.broker_url(user).replace(PASSWORD, "choose-one");
    command.env("AMQP_URL", url).current_dir(contracts_directory()).kill_on_drop(true);
    command
}

fn contracts_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contracts")
}

fn sample(message_type: &str) -> String {
    let path = contracts_directory().join(format!("samples/{message_type}.json"));
    std::fs::read_to_string(path).unwrap()
}
