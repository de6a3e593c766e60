//! The console's page: the log-in, the picture of a running system, and operations on dead letters.

use contracts::{
    CreateCustomer, Message,
    topology::{MARKETING_CREATE_CUSTOMER, TRANSFORMER_CUSTOMER_REGISTERED},
};
use lapin::Channel;
use reqwest::{StatusCode, header};
use serde_json::{Value, json};
use stack::{console::Console, service::Program};
use system_tests::{
    NO_REPLAY, SOON, TestEnvironment,
    broker_client::{open_channel, properties, publish},
    customers::{http_client, marketing_ids, register, wait_for_marketing_rows},
    eventually,
    load::RegistrationLoad,
    operator::Operator,
};

const QUEUE: &str = MARKETING_CREATE_CUSTOMER.name;

/// Returns the id of the n-th customer.
fn customer(n: u32) -> String {
    format!("01938c5e-7b1a-7c3e-9f00-{n:012x}")
}

/// Returns a command for the n-th customer. An empty name breaks a rule.
fn command(n: u32, name: &str) -> Value {
    json!({
        "customer_id": customer(n), "full_name": name, "email_address": format!("ann{n}@example.org"),
        "email_opt_in": true, "source": "web-store", "customer_since": "2026-01-02T03:04:05Z",
    })
}

/// Publishes commands directly to the dead letters of Marketing, as the broker does at a limit.
async fn add_letters(channel: &Channel, commands: &[(u32, Value)]) -> anyhow::Result<()> {
    for (n, command) in commands {
        let message = properties(CreateCustomer::TYPE).with_message_id(customer(*n).into());
        let exchange = MARKETING_CREATE_CUSTOMER.dead_letter_exchange;
        publish(channel, exchange, QUEUE, message, command.to_string().as_bytes()).await?;
    }
    Ok(())
}

/// Returns a page with ordinary spaces instead of those that do not break.
async fn read(operator: &Operator, path: &str) -> anyhow::Result<String> {
    Ok(operator.read(path).await?.replace(['\u{a0}', '\u{202f}'], " "))
}

/// Waits until the picture contains all `texts`, and returns it.
async fn wait_for_picture(operator: &Operator, texts: &[&str]) -> anyhow::Result<String> {
    eventually(SOON, &format!("{texts:?} in the picture"), async || {
        let picture = read(operator, "/").await.ok()?;
        texts.iter().all(|text| picture.contains(text)).then_some(picture)
    })
    .await
}

/// Returns the group of letters without a reason.
async fn group(operator: &Operator) -> anyhow::Result<String> {
    read(operator, &format!("/dead-letters?queue={QUEUE}&reason=no-reason")).await
}

/// Returns the value of a hidden field in the form of an action.
fn field(page: &str, action: &str, name: &str) -> Option<String> {
    let (_, form) = page.split_once(&format!("action=\"/dead-letters/{action}\""))?;
    let (_, value) = form.split_once(&format!("name=\"{name}\" value=\""))?;
    value.split_once('"').map(|(value, _)| value.to_owned())
}

/// Submits a form of the group's page for the listed letters.
async fn submit(
    operator: &Operator,
    page: &str,
    action: &str,
    why: &str,
) -> anyhow::Result<reqwest::Response> {
    let letters = field(page, action, "letters").unwrap_or_default();
    let form = [("queue", QUEUE), ("reason", "no-reason"), ("letters", &letters), ("why", why)];
    operator.post(&format!("/dead-letters/{action}"), &form).await
}

/// Waits for the end of the operation that a response redirects to, and returns its page.
async fn wait_for_operation(operator: &Operator, response: &reqwest::Response) -> anyhow::Result<String> {
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    let path = response.headers()[header::LOCATION].to_str()?.to_owned();
    eventually(SOON, "the operation ends", async || {
        read(operator, &path).await.ok().filter(|page| !page.contains("id=\"running\""))
    })
    .await
}

async fn with_marketing() -> anyhow::Result<(TestEnvironment, stack::service::Service, Console)> {
    let environment = TestEnvironment::new().await?;
    let marketing = environment.start_ready(Program::Marketing, NO_REPLAY).await?;
    let console = environment.start_console_page(&[]).await?;
    Ok((environment, marketing, console))
}

#[tokio::test]
async fn page_requires_log_in() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let console = environment.start_console_page(&[]).await?;
    let client = http_client()?;
    for path in ["/", "/events", "/dead-letters?queue=a&reason=b"] {
        let response = client.get(format!("{}{path}", console.url())).send().await?;
        assert_eq!(
            (response.status(), &response.headers()[header::LOCATION]),
            (StatusCode::SEE_OTHER, &"/log-in".parse()?)
        );
        assert!(
            response.headers()[header::CONTENT_SECURITY_POLICY].to_str()?.starts_with("default-src 'none'")
        );
    }
    let log_in = |form: [(&'static str, &'static str); 2]| {
        client.post(format!("{}/log-in", console.url())).form(&form).send()
    };
    assert_eq!(log_in([("name", "Anna"), ("password", "wrong")]).await?.status(), StatusCode::FORBIDDEN);
    let unnamed = log_in([("name", " "), ("password", "development-only")]).await?;
    assert_eq!(unnamed.status(), StatusCode::UNPROCESSABLE_ENTITY);

    let first = Operator::log_in_to_console(&console, "Anna").await?;
    let second = Operator::log_in_to_console(&console, "Bertil").await?;
    wait_for_picture(&first, &["Anna", "No dead letters"]).await?;
    wait_for_picture(&second, &["Bertil"]).await?;
    first.log_out().await?;
    assert_eq!(first.get("/").await?.status(), StatusCode::SEE_OTHER);
    assert_eq!(second.get("/").await?.status(), StatusCode::OK);
    Ok(())
}

#[tokio::test]
async fn page_is_off_without_log_in_and_names_the_setting() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let console = environment.start_console_page(&[("CONSOLE_OPERATOR_PASSWORD_HASH", "")]).await?;
    let client = http_client()?;
    let response = client.get(console.url()).send().await?;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert!(response.text().await?.contains("CONSOLE_OPERATOR_PASSWORD_HASH"));
    let retry = client.post(format!("{}/dead-letters/retry", console.url())).send().await?;
    assert_eq!(retry.status(), StatusCode::NOT_FOUND);
    Ok(())
}

#[tokio::test]
async fn user_and_role_come_only_from_trusted_proxy() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let headers = [("CONSOLE_USER_HEADER", "X-User"), ("CONSOLE_ROLE_HEADER", "X-Roles")];
    let mut settings = vec![("TRUSTED_PROXIES", "127.0.0.1"), ("CONSOLE_OPERATOR_PASSWORD_HASH", "")];
    settings.extend(headers);
    let console = environment.start_console_page(&settings).await?;
    let client = http_client()?;
    let get = |user: &'static str, roles: &'static str| {
        client.get(console.url()).header("X-User", user).header("X-Roles", roles).send()
    };
    let page = get("Anna", "staff,viewer").await?.error_for_status()?.text().await?;
    assert!(page.contains("Anna (viewer)"), "{page}");
    assert_eq!(get("Anna", "staff").await?.status(), StatusCode::FORBIDDEN);
    assert_eq!(get("", "operator").await?.status(), StatusCode::FORBIDDEN);
    let retry = |role: &'static str, site: &'static str| {
        let request = client.post(format!("{}/dead-letters/retry", console.url()));
        let request = request.header("X-User", "Anna").header("X-Roles", role).header("Sec-Fetch-Site", site);
        request.form(&[("queue", QUEUE), ("reason", "no-reason"), ("letters", "")]).send()
    };
    assert_eq!(retry("viewer", "same-origin").await?.status(), StatusCode::FORBIDDEN);
    assert_eq!(retry("operator", "cross-site").await?.status(), StatusCode::FORBIDDEN);
    assert_eq!(retry("operator", "same-origin").await?.status(), StatusCode::UNPROCESSABLE_ENTITY);

    settings.retain(|(name, _)| *name != "TRUSTED_PROXIES");
    let elsewhere = environment
        .start_console_page(&[&settings[..], &[("TRUSTED_PROXIES", "192.0.2.1")]].concat())
        .await?;
    let request = client.get(elsewhere.url()).header("X-User", "Anna").header("X-Roles", "operator");
    assert_eq!(request.send().await?.status(), StatusCode::FORBIDDEN);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_marketing_is_the_cause_while_registrations_go_on() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let web_store = environment.start_ready(Program::WebStore, &[]).await?;
    let _transformer = environment.start_ready(Program::Transformer, NO_REPLAY).await?;
    let mut marketing = environment.start_ready(Program::Marketing, NO_REPLAY).await?;
    let console = environment.start_console_page(&[]).await?;
    let operator = Operator::log_in_to_console(&console, "Anna").await?;
    wait_for_picture(&operator, &["All customers are in Marketing."]).await?;

    let load = RegistrationLoad::start(&web_store, 2)?;
    let is_flowing = async || {
        let picture = read(&operator, "/").await.ok()?;
        (!picture.contains("<strong>0</strong> <span>new rows per second")
            && !picture.contains("<strong>0</strong> <span>registered per second")
            && !picture.contains("<strong>0</strong> <span>events per second"))
        .then_some(())
    };
    eventually(SOON, "customers flow through the picture", is_flowing).await?;
    marketing.kill().await?;
    let expected = ["No consumer on marketing.create-customer", "Not running: no queue has a consumer"];
    let picture = wait_for_picture(&operator, &expected).await?;
    // The sentence and Marketing need a person, and nothing else does.
    assert_eq!(picture.matches("class=\"sentence person\"").count(), 1);
    assert_eq!(picture.matches("application person").count(), 1, "{picture}");
    assert!(!picture.contains("store person"), "{picture}");
    load.wait_for_more(20, SOON).await?;
    let growing = ["Marketing is ", " behind and growing.", "Nothing is lost."];
    wait_for_picture(&operator, &growing).await?;

    let _marketing = environment.start_ready(Program::Marketing, NO_REPLAY).await?;
    let load = load.stop().await?;
    assert_eq!(load.failures, 0);
    wait_for_marketing_rows(&environment, &load.confirmed, SOON * 2).await?;
    wait_for_picture(&operator, &["All customers are in Marketing."]).await?;
    Ok(())
}

#[tokio::test]
async fn unreachable_server_makes_only_its_part_unknown() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let web_store = environment.start_ready(Program::WebStore, &[]).await?;
    let _transformer = environment.start_ready(Program::Transformer, NO_REPLAY).await?;
    let _marketing = environment.start_ready(Program::Marketing, NO_REPLAY).await?;
    let unreachable = format!("mysql://console:hush@127.0.0.1:{}/marketing", stack::ports::free_port()?);
    let console = environment.start_console_page(&[("MARKETING_DATABASE_URL", &unreachable)]).await?;
    let operator = Operator::log_in_to_console(&console, "Anna").await?;
    let expected = ["Marketing’s database cannot be read.", "application unknown", "Connection refused"];
    let picture = wait_for_picture(&operator, &expected).await?;
    assert!(!picture.contains("hush") && !picture.contains(" person\""), "{picture}");
    register(&web_store, "Ann").await?;
    let has_registered = async || {
        let picture = read(&operator, "/").await.ok()?;
        (!picture.contains("<strong>0</strong> <span>registered per second")).then_some(())
    };
    eventually(SOON, "the registration is in the picture", has_registered).await
}

#[tokio::test]
async fn retry_makes_rows_of_exactly_the_listed_letters() -> anyhow::Result<()> {
    let (environment, _marketing, console) = with_marketing().await?;
    let (_connection, channel) = open_channel(&environment).await?;
    add_letters(&channel, &[(1, command(1, "Ann")), (2, command(2, "")), (3, command(3, "Bob"))]).await?;
    let operator = Operator::log_in_to_console(&console, "Anna").await?;
    wait_for_picture(&operator, &["3 dead letters need a person.", "2 would pass", "1 would fail"]).await?;
    let page = group(&operator).await?;
    for text in ["Inserts a row", "Fails again at marketing.create-customer: rule-broken", "Retry 2 letters"]
    {
        assert!(page.contains(text), "{text}: {page}");
    }
    assert!(!page.contains("Ann\"") && !page.contains("ann1@example.org"), "the page shows personal data");

    // This letter is not on the page.
    add_letters(&channel, &[(4, command(4, "Eve"))]).await?;
    let response = submit(&operator, &page, "retry", "the rule was wrong").await?;
    let done = wait_for_operation(&operator, &response).await?;
    assert!(done.contains("2 letters sent back"), "{done}");
    wait_for_marketing_rows(&environment, &[customer(1), customer(3)], SOON).await?;
    let letters = MARKETING_CREATE_CUSTOMER.dead_letter_queue();
    environment.management().wait_for_depth(&letters, 2).await?;
    assert_eq!(marketing_ids(&environment).await?.len(), 2);
    wait_for_picture(&operator, &["Anna", "the rule was wrong", "finished: moved 2"]).await?;

    let again = submit(&operator, &page, "retry", "").await?;
    assert_eq!(again.status(), StatusCode::CONFLICT);
    Ok(())
}

#[tokio::test]
async fn discard_needs_a_reason_and_keeps_letters() -> anyhow::Result<()> {
    let (environment, _marketing, console) = with_marketing().await?;
    let (_connection, channel) = open_channel(&environment).await?;
    add_letters(&channel, &[(1, command(1, "")), (2, command(2, ""))]).await?;
    let operator = Operator::log_in_to_console(&console, "Anna").await?;
    let page = group(&operator).await?;
    assert!(!page.contains("Retry"), "no letter would pass: {page}");
    assert_eq!(submit(&operator, &page, "discard", " ").await?.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let response = submit(&operator, &page, "discard", "invented customers").await?;
    let done = wait_for_operation(&operator, &response).await?;
    assert!(done.contains("2 letters discarded"), "{done}");
    environment.management().wait_for_depth("console.kept", 2).await?;
    wait_for_picture(&operator, &["No dead letters", "invented customers"]).await?;
    Ok(())
}

#[tokio::test]
async fn edited_letter_is_checked_before_it_is_sent() -> anyhow::Result<()> {
    let (environment, _marketing, console) = with_marketing().await?;
    let (_connection, channel) = open_channel(&environment).await?;
    add_letters(&channel, &[(1, command(1, ""))]).await?;
    let operator = Operator::log_in_to_console(&console, "Anna").await?;
    let page = group(&operator).await?;
    let letter = field(&page, "edit", "letter").unwrap_or_default();
    let edit = async |step: &str, body: &str| {
        let form =
            [("queue", QUEUE), ("reason", "no-reason"), ("letter", &letter), ("step", step), ("body", body)];
        operator.post("/dead-letters/edit", &form).await
    };
    let form = edit("open", "").await?.error_for_status()?.text().await?;
    assert!(form.contains("ann1@example.org"), "{form}");
    wait_for_picture(&operator, &["saw 1 letters unmasked"]).await?;

    let invalid = command(1, &"x".repeat(500)).to_string();
    for step in ["check", "send"] {
        let response = edit(step, &invalid).await?;
        assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY, "{step}");
        assert!(response.text().await?.contains("rule-broken"));
    }
    let valid = command(1, "Ann").to_string();
    let checked = edit("check", &valid).await?.error_for_status()?.text().await?;
    assert!(checked.contains("Inserts a row") && checked.contains("Send the checked message"), "{checked}");
    assert!(marketing_ids(&environment).await?.is_empty());
    let response = edit("send", &valid).await?;
    let done = wait_for_operation(&operator, &response).await?;
    assert!(done.contains("The edited letter is sent"), "{done}");
    wait_for_marketing_rows(&environment, &[customer(1)], SOON).await?;
    environment.management().wait_for_depth("console.kept", 1).await
}

#[tokio::test]
async fn missing_transformer_is_the_cause_of_waiting_events() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let web_store = environment.start_ready(Program::WebStore, &[]).await?;
    let mut transformer = environment.start_ready(Program::Transformer, NO_REPLAY).await?;
    let _marketing = environment.start_ready(Program::Marketing, NO_REPLAY).await?;
    let console = environment.start_console_page(&[]).await?;
    let operator = Operator::log_in_to_console(&console, "Anna").await?;
    wait_for_picture(&operator, &["All customers are in Marketing."]).await?;
    transformer.kill().await?;
    register(&web_store, "Ann").await?;
    let cause = format!("No consumer on {}", TRANSFORMER_CUSTOMER_REGISTERED.name);
    wait_for_picture(&operator, &[&cause, "<strong>1</strong> <span>waiting"]).await?;
    // Marketing runs.
    wait_for_picture(&operator, &["Marketing is ", " behind", "Nothing is lost."]).await?;
    Ok(())
}

/// Reads a stream of events to its end.
async fn read_to_end(mut events: reqwest::Response) -> anyhow::Result<String> {
    let mut text = String::new();
    while let Some(chunk) = events.chunk().await? {
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    Ok(text)
}

#[tokio::test]
async fn events_end_with_their_session_and_with_the_process() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let mut console = environment.start_console_page(&[]).await?;
    let first = Operator::log_in_to_console(&console, "Anna").await?;
    let second = Operator::log_in_to_console(&console, "Bertil").await?;
    let ends_with_session = first.get("/events").await?.error_for_status()?;
    let ends_with_process = second.get("/events").await?.error_for_status()?;
    assert_eq!(ends_with_session.headers()[header::CONTENT_TYPE], "text/event-stream");
    first.log_out().await?;
    assert!(read_to_end(ends_with_session).await?.starts_with("data: "));
    let status = console.process.stop(rustix::process::Signal::TERM, SOON).await?;
    assert!(status.success(), "{status}");
    assert!(read_to_end(ends_with_process).await?.contains("id=\"sentence\""));
    Ok(())
}
