//! The console's page: the log-in, the picture of a running system, and operations on dead letters.

use anyhow::Context;
use contracts::{
    CreateCustomer, Message,
    topology::{MARKETING_COMMANDS, MARKETING_CREATE_CUSTOMER, TRANSFORMER_CUSTOMER_REGISTERED},
};
use lapin::Channel;
use reqwest::{StatusCode, header};
use serde_json::{Value, json};
use stack::{console::Console, service::Program};
use system_tests::{
    NO_REPLAY, SOON, TestEnvironment,
    broker_client::{open_channel, properties, publish},
    customers::{email, http_client, marketing_ids, register, wait_for_marketing_rows},
    eventually,
    load::RegistrationLoad,
    operator::Operator,
    programs::interrupt_retry,
    prometheus::FakePrometheus,
};
use tokio::time::Instant;

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

/// Returns the value of a hidden field in the form with this address.
fn field(page: &str, action: &str, name: &str) -> Option<String> {
    let (_, form) = page.split_once(&format!("action=\"{action}\""))?;
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
    let path = format!("/dead-letters/{action}");
    let letters = field(page, &path, "letters").unwrap_or_default();
    let form = [("queue", QUEUE), ("reason", "no-reason"), ("letters", &letters), ("why", why)];
    operator.post(&path, &form).await
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
    for path in [
        "/",
        "/events",
        "/dead-letters?queue=a&reason=b",
        "/find",
        "/journal",
        "/kept",
        "/subscriptions",
        "/runbook",
    ] {
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
    for path in ["/subscriptions", "/kept/restore", "/operations/01938c5e-7b1a-7c3e-9f00-5d2a8e4b6c71/cancel"]
    {
        let request = client.post(format!("{}{path}", console.url())).header("X-User", "Anna");
        let request = request.header("X-Roles", "viewer").form(&[("queue", QUEUE), ("action", "resume")]);
        assert_eq!(request.send().await?.status(), StatusCode::FORBIDDEN, "{path}");
    }

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
    let probes = [("PROBE_INTERVAL_SECONDS", "1")];
    let web_store = environment.start_ready(Program::WebStore, &probes).await?;
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
    eventually(SOON, "the picture has the probes and the objective", async || {
        let picture = read(&operator, "/").await.ok()?;
        (picture.matches(" ms, 0 s ago").count() + picture.matches(" ms, 1 s ago").count() > 0
            && picture.contains("<strong>100&nbsp;%</strong>"))
        .then_some(())
    })
    .await?;
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
    let load = load.stop().await?;
    assert_eq!(load.failures, 0);

    // The backlog drains in about 12 seconds, so that the page has the time to predict its end.
    let backlog = (load.confirmed.len() - marketing_ids(&environment).await?.len()) as u64;
    let (management, condition) = (environment.management(), "the backlog and probes are in the queue");
    let has_backlog = async || (management.depth(QUEUE).await.ok()? >= backlog).then_some(());
    eventually(SOON, condition, has_backlog).await?;
    let rate = (backlog / 12).max(1).to_string();
    let rate = [("queue", QUEUE), ("action", "throttle"), ("rate", &rate)];
    assert_eq!(operator.post("/subscriptions", &rate).await?.status(), StatusCode::SEE_OTHER);
    let _marketing = environment.start_ready(Program::Marketing, NO_REPLAY).await?;
    let predicted = eventually(SOON, "a prediction", async || {
        let picture = read(&operator, "/").await.ok()?;
        let (_, time) = picture.split_once("drains in ")?;
        seconds(time.split(['<', ',']).next()?)
    })
    .await?;
    let began = Instant::now();
    wait_for_marketing_rows(&environment, &load.confirmed, SOON * 2).await?;
    let ratio = predicted / began.elapsed().as_secs_f64();
    assert!(
        (0.4..2.5).contains(&ratio),
        "the predicted time is {predicted} s, and {ratio} of the time that it took"
    );
    wait_for_picture(&operator, &["All customers are in Marketing.", "and it is missed."]).await?;
    Ok(())
}

/// Returns a duration of the page in seconds.
fn seconds(text: &str) -> Option<f64> {
    let words: Vec<_> = text.split_whitespace().collect();
    let part = |pair: &[&str]| {
        let length = match *pair.get(1)? {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            _ => return None,
        };
        Some(pair[0].parse::<f64>().ok()? * length)
    };
    words.chunks(2).map(part).sum()
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

    let kept = read(&operator, "/kept").await?;
    assert!(kept.contains("2 letters discarded") && kept.contains("invented customers"), "{kept}");
    let (_, link) = kept.split_once("href=\"/kept?operation=").context("no link")?;
    let operation = link.split_once('"').context("no operation")?.0.to_owned();
    let page = read(&operator, &format!("/kept?operation={operation}")).await?;
    for text in [&format!("Dead letters of {QUEUE} again"), "a retry would fail again", "Restore 2 letters"] {
        assert!(page.contains(text), "{text}: {page}");
    }
    assert!(!page.contains("example.org"), "the page shows personal data");
    let letters = field(&page, "/kept/restore", "letters").unwrap_or_default();
    let form = [("operation", operation.as_str()), ("letters", &letters), ("why", "they were right")];
    let response = operator.post("/kept/restore", &form).await?;
    let done = wait_for_operation(&operator, &response).await?;
    assert!(done.contains("2 letters restored"), "{done}");
    environment.management().wait_for_depth(&MARKETING_CREATE_CUSTOMER.dead_letter_queue(), 2).await?;
    assert_eq!(operator.post("/kept/restore", &form).await?.status(), StatusCode::CONFLICT);

    wait_for_picture(&operator, &["2 dead letters need a person.", "they were right"]).await?;
    let journal = read(&operator, "/journal").await?;
    for text in ["Intact", "Anna", "invented customers", "they were right", "moved 2 letters"] {
        assert!(journal.contains(text), "{text}: {journal}");
    }
    assert!(journal.find("they were right") < journal.find("invented customers"), "newest first: {journal}");
    // The page of an operation is also complete after a restart of the console.
    let restarted = environment.start_console_page(&[]).await?;
    let operator = Operator::log_in_to_console(&restarted, "Bertil").await?;
    wait_for_picture(&operator, &["they were right"]).await?;
    let done = read(&operator, &format!("/operations/{operation}")).await?;
    assert!(done.contains("2 letters discarded") && done.contains("Anna"), "{done}");

    let forged = properties("");
    publish(&channel, "console.moves", "console.journal", forged, b"{}").await?;
    eventually(SOON, "the journal is broken", async || {
        let journal = read(&operator, "/journal").await.ok()?;
        journal.contains("The chain is broken.").then_some(())
    })
    .await
}

#[tokio::test]
async fn interrupted_operation_is_resumed_or_cancelled() -> anyhow::Result<()> {
    let (environment, _marketing, console) = with_marketing().await?;
    let (_connection, channel) = open_channel(&environment).await?;
    let commands: Vec<_> = (0..60).map(|n| (n, command(n, "Ann"))).collect();
    add_letters(&channel, &commands).await?;
    let operator = Operator::log_in_to_console(&console, "Anna").await?;
    let letters = MARKETING_CREATE_CUSTOMER.dead_letter_queue();
    let interrupt = async || {
        let before = marketing_ids(&environment).await?.len();
        let has_begun =
            async || marketing_ids(&environment).await.is_ok_and(|customers| customers.len() > before);
        let operation = interrupt_retry(&environment, 20, has_begun).await?;
        let path = format!("/operations/{operation}");
        let page = eventually(SOON, "the page of the operation", async || {
            read(&operator, &path).await.ok().filter(|page| page.contains("Resume it with"))
        })
        .await?;
        anyhow::Ok((path, page))
    };
    let (path, page) = interrupt().await?;
    // It is not one of the operation's letters.
    add_letters(&channel, &[(100, command(100, "Eve"))]).await?;
    for text in ["The retry of 60 letters is unfinished", "Inserts a row", "Cancel it"] {
        assert!(page.contains(text), "{text}: {page}");
    }
    assert!(!page.contains("example.org"), "the page shows personal data");
    let response = operator.post(&format!("{path}/resume"), &[]).await?;
    let done = wait_for_operation(&operator, &response).await?;
    assert!(done.contains("letters sent back") && done.contains("had been moved before"), "{done}");
    let expected: Vec<_> = (0..60).map(customer).collect();
    wait_for_marketing_rows(&environment, &expected, SOON).await?;
    environment.management().wait_for_depth(&letters, 1).await?;

    let more: Vec<_> = (200..240).map(|n| (n, command(n, "Ann"))).collect();
    add_letters(&channel, &more).await?;
    let (path, _) = interrupt().await?;
    let response = operator.post(&format!("{path}/cancel"), &[]).await?;
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    let page = read(&operator, &path).await?;
    assert!(
        page.contains("The operation was cancelled") && page.contains("Letters that have not moved stay"),
        "{page}"
    );
    let left = environment.management().depth(&letters).await?;
    assert!(left > 0);
    let again = operator.post(&format!("{path}/resume"), &[]).await?;
    assert_eq!(again.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(again.text().await?.contains("was cancelled"));
    environment.management().wait_for_depth(&letters, left).await
}

#[tokio::test]
async fn subscription_is_paused_throttled_and_resumed() -> anyhow::Result<()> {
    let (environment, _marketing, console) = with_marketing().await?;
    let (_connection, channel) = open_channel(&environment).await?;
    let operator = Operator::log_in_to_console(&console, "Anna").await?;
    let change = async |fields: [&str; 3]| {
        let [action, rate, why] = fields;
        operator
            .post("/subscriptions", &[("queue", QUEUE), ("action", action), ("rate", rate), ("why", why)])
            .await
    };
    for invalid in [["pause", "", " "], ["throttle", "0", ""], ["throttle", "", ""]] {
        assert_eq!(change(invalid).await?.status(), StatusCode::UNPROCESSABLE_ENTITY, "{invalid:?}");
    }
    assert_eq!(change(["pause", "", "a migration"]).await?.status(), StatusCode::SEE_OTHER);
    let page = read(&operator, "/subscriptions").await?;
    assert!(page.contains("paused</span> by Anna at ") && page.contains("a migration"), "{page}");
    wait_for_picture(&operator, &[&format!("{QUEUE} is paused by an operator.")]).await?;
    let message = properties(CreateCustomer::TYPE).with_message_id(customer(1).into());
    let body = command(1, "Ann").to_string();
    publish(&channel, MARKETING_COMMANDS, CreateCustomer::TYPE, message, body.as_bytes()).await?;
    environment.management().wait_for_depth(QUEUE, 1).await?;
    assert_eq!(change(["throttle", "50", ""]).await?.status(), StatusCode::SEE_OTHER);
    wait_for_marketing_rows(&environment, &[customer(1)], SOON).await?;
    wait_for_picture(&operator, &["at most 50 per second"]).await?;
    assert_eq!(change(["resume", "", "done"]).await?.status(), StatusCode::SEE_OTHER);
    let page = read(&operator, "/subscriptions").await?;
    assert!(!page.contains("throttled") && !page.contains("paused</span>"), "{page}");
    wait_for_picture(&operator, &[&format!("{QUEUE} is running: done")]).await.map(drop)
}

#[tokio::test]
async fn search_shows_way_of_one_customer_masked() -> anyhow::Result<()> {
    let (environment, marketing, console) = with_marketing().await?;
    let web_store = environment.start_ready(Program::WebStore, &[]).await?;
    let _transformer = environment.start_ready(Program::Transformer, NO_REPLAY).await?;
    let id = register(&web_store, "Zoe").await?;
    wait_for_marketing_rows(&environment, std::slice::from_ref(&id), SOON).await?;
    let operator = Operator::log_in_to_console(&console, "Anna").await?;
    let find = async |query: &str| -> anyhow::Result<(StatusCode, String)> {
        let response = operator.post("/find", &[("query", query)]).await?;
        Ok((response.status(), response.text().await?))
    };
    for query in [format!(" {} ", email("Zoe")), id.clone()] {
        let (status, page) = find(&query).await?;
        assert_eq!(status, StatusCode::OK, "{page}");
        for text in ["arrived", "Version 1 arrived in Marketing at 20", "registered: version 1", id.as_str()]
        {
            assert!(page.contains(text), "{text}: {page}");
        }
        assert!(!page.contains("Zoe") && !page.contains(&email("Zoe")), "{page}");
    }
    assert_eq!(find("Zoe").await?.0, StatusCode::UNPROCESSABLE_ENTITY);
    let (status, page) = find("01938c5e-7b1a-7c3e-9f00-5d2a8e4b6c71").await?;
    assert_eq!(status, StatusCode::NOT_FOUND, "{page}");
    assert!(page.contains("No customer and no message is found."), "{page}");
    drop(marketing);
    let lost = register(&web_store, "Waiting").await?;
    environment.management().wait_for_depth(QUEUE, 1).await?;
    let (_, page) = find(&lost).await?;
    assert!(page.contains("on the way") && page.contains("Next: "), "{page}");
    assert!(!environment.logs_contain(&email("Zoe")), "a log contains an address");
    Ok(())
}

#[tokio::test]
async fn alerts_of_prometheus_lead_to_the_runbook() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let prometheus = FakePrometheus::start().await?;
    let console = environment.start_console_page(&[("PROMETHEUS_URL", prometheus.url())]).await?;
    let operator = Operator::log_in_to_console(&console, "Anna").await?;
    let expected =
        ["1 active alert", "QueueWithoutConsumer", "40 messages wait", "href=\"/runbook#a-queue-grows\""];
    wait_for_picture(&operator, &expected).await?;
    let runbook = read(&operator, "/runbook").await?;
    assert!(runbook.contains("<h2 id=\"a-queue-grows\">"), "{runbook}");
    drop(prometheus);
    wait_for_picture(&operator, &["Prometheus cannot be read."]).await?;
    Ok(())
}

#[tokio::test]
async fn edited_letter_is_checked_before_it_is_sent() -> anyhow::Result<()> {
    let (environment, _marketing, console) = with_marketing().await?;
    let (_connection, channel) = open_channel(&environment).await?;
    add_letters(&channel, &[(1, command(1, ""))]).await?;
    let operator = Operator::log_in_to_console(&console, "Anna").await?;
    let page = group(&operator).await?;
    let letter = field(&page, "/dead-letters/edit", "letter").unwrap_or_default();
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
