//! The console's page: every state, and the way of an operator by keyboard.

use contracts::{
    CreateCustomer, Message,
    topology::{MARKETING_COMMANDS, MARKETING_CREATE_CUSTOMER},
};
use serde_json::{Value, json};
use stack::{connection_urls::PASSWORD, console::Console, ports::free_port, service::Program};
use system_tests::{
    NO_REPLAY, SOON, TestEnvironment,
    broker_client::{open_channel, properties, publish},
    customers::{register, wait_for_marketing_rows},
    eventually,
    programs::interrupt_retry,
    prometheus::FakePrometheus,
};
use thirtyfour::prelude::*;

use crate::{browser::Browser, states::inspect};

/// Returns a command for the n-th customer. A long name breaks a rule.
fn command(n: u32, name: &str) -> Value {
    json!({
        "customer_id": customer(n), "full_name": name, "email_address": format!("ann{n}@example.org"),
        "email_opt_in": true, "source": "web-store", "customer_since": "2026-01-02T03:04:05Z",
    })
}

fn customer(n: u32) -> String {
    format!("01938c5e-7b1a-7c3e-9f00-{n:012x}")
}

/// Publishes a command to Marketing.
async fn send(environment: &TestEnvironment, n: u32, body: &str) -> anyhow::Result<()> {
    let (_connection, channel) = open_channel(environment).await?;
    let message = properties(CreateCustomer::TYPE).with_message_id(customer(n).into());
    publish(&channel, MARKETING_COMMANDS, CreateCustomer::TYPE, message, body.as_bytes()).await
}

/// Publishes a command directly to the dead letters, as a rejection of an earlier release.
async fn add_letter(environment: &TestEnvironment, n: u32, body: &str) -> anyhow::Result<()> {
    let (_connection, channel) = open_channel(environment).await?;
    let message = properties(CreateCustomer::TYPE).with_message_id(customer(n).into());
    let exchange = MARKETING_CREATE_CUSTOMER.dead_letter_exchange;
    publish(&channel, exchange, MARKETING_CREATE_CUSTOMER.name, message, body.as_bytes()).await
}

/// Opens the page and logs in with the keyboard alone.
async fn log_in(browser: &Browser, console: &Console) -> anyhow::Result<()> {
    browser.goto(&console.url()).await?;
    browser.wait_for_heading("Log in").await?;
    assert_eq!(browser.focused_id().await?, "name");
    browser.type_text("Anna").await?;
    browser.press(Key::Tab).await?;
    browser.type_text(PASSWORD).await?;
    browser.press(Key::Enter).await?;
    browser.find("#sentence").await.map(drop)
}

/// Waits for a text in a part of the page, which the page's script replaces.
async fn wait_for_text(browser: &Browser, css: &str, text: &str) -> anyhow::Result<()> {
    eventually(SOON, &format!("{text} in {css}"), async || {
        let found = browser.page.find(By::Css(css)).await.ok()?.text().await.ok()?;
        found.replace(['\u{a0}', '\u{202f}'], " ").contains(text).then_some(())
    })
    .await
}

/// Moves the focus with the tab key to an element.
async fn tab_to(browser: &Browser, css: &str) -> anyhow::Result<()> {
    for _ in 0..60 {
        let script = format!("return document.activeElement.matches({css:?})");
        if browser.evaluate(&script).await? == true {
            return Ok(());
        }
        browser.press(Key::Tab).await?;
    }
    anyhow::bail!("the tab key does not reach {css}")
}

#[tokio::test]
async fn console_is_accessible_in_every_state() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let probes = [("PROBE_INTERVAL_SECONDS", "5")];
    let web_store = environment.start_ready(Program::WebStore, &probes).await?;
    let _transformer = environment.start_ready(Program::Transformer, NO_REPLAY).await?;
    let mut marketing = environment.start_ready(Program::Marketing, NO_REPLAY).await?;
    let prometheus = FakePrometheus::start().await?;
    let console = environment.start_console_page(&[("PROMETHEUS_URL", prometheus.url())]).await?;
    let browser = Browser::open().await?;
    browser.goto(&console.url()).await?;
    browser.wait_for_heading("Log in").await?;
    inspect(&browser, "console-login").await?;
    browser.type_into("#name", "Anna").await?;
    browser.type_into("#password", "wrong").await?;
    browser.click("main button").await?;
    browser.find("#problem").await?;
    inspect(&browser, "console-refused").await?;
    log_in(&browser, &console).await?;
    wait_for_text(&browser, "#sentence", "All customers are in Marketing.").await?;
    inspect(&browser, "console-calm").await?;

    let id = register(&web_store, "Ann").await?;
    wait_for_marketing_rows(&environment, std::slice::from_ref(&id), SOON).await?;
    send(&environment, 1, &command(1, "").to_string()).await?;
    send(&environment, 2, "no JSON").await?;
    for n in 3..16 {
        add_letter(&environment, n, &command(n, "Ann").to_string()).await?;
    }
    wait_for_text(&browser, "#dead-letters tbody", "13 would pass").await?;
    inspect(&browser, "console-letters").await?;

    marketing.kill().await?;
    for n in 0..40 {
        register(&web_store, &format!("Bob {n}")).await?;
    }
    wait_for_text(&browser, "#sentence", "behind").await?;
    wait_for_text(&browser, "#sentence", "No consumer on marketing.create-customer").await?;
    inspect(&browser, "console-marketing-down").await?;

    browser
        .goto(&format!("{}/dead-letters?queue=marketing.create-customer&reason=no-reason", console.url()))
        .await?;
    browser.wait_for_heading("13 dead letters").await?;
    browser.click("details summary").await?;
    inspect(&browser, "console-group").await?;
    let failing = "/dead-letters?queue=marketing.create-customer&reason=rule-broken";
    browser.goto(&format!("{}{failing}", console.url())).await?;
    browser.wait_for_heading("1 dead letter").await?;
    inspect(&browser, "console-failing-group").await?;
    browser.click(".letters button").await?;
    browser.wait_for_heading("Edit a dead letter").await?;
    inspect(&browser, "console-edit").await?;
    browser.click(".edit button").await?;
    browser.find(".result.bad").await?;
    inspect(&browser, "console-edit-fails").await?;
    browser.type_into("#body", &command(1, "Ann").to_string()).await?;
    browser.click(".edit button").await?;
    browser.find(".result.good").await?;
    inspect(&browser, "console-edit-passes").await?;
    browser.click(".result button").await?;
    browser.wait_for_heading("The edited letter is sent").await?;
    inspect(&browser, "console-operation").await?;
    browser.goto(&format!("{}{failing}", console.url())).await?;
    browser.wait_for_heading("0 dead letters").await?;
    inspect(&browser, "console-empty-group").await?;
    inspect_other_pages(&browser, &console, &id).await?;

    // The body without JSON is a letter too. Marketing is down, so the queue keeps what the retry has moved.
    let depth = async || environment.management().depth(MARKETING_CREATE_CUSTOMER.name).await.ok();
    let before = depth().await;
    let operation = interrupt_retry(&environment, 1, async || depth().await > before).await?;
    // The page reads the journal once a second.
    let page = format!("{}/operations/{operation}", console.url());
    browser.goto_until_heading(&page, "The retry of 14 letters is unfinished").await?;
    inspect(&browser, "console-unfinished-operation").await?;
    browser.goto(&format!("{}/nothing", console.url())).await?;
    inspect(&browser, "console-not-found").await
}

/// Inspects the pages behind the picture. One customer has arrived, and the original of an edited letter is kept.
async fn inspect_other_pages(browser: &Browser, console: &Console, customer: &str) -> anyhow::Result<()> {
    let open = async |path: &str, heading: &str| {
        browser.goto(&format!("{}{path}", console.url())).await?;
        browser.wait_for_heading(heading).await
    };
    open("/kept", "1 kept letter").await?;
    inspect(browser, "console-kept").await?;
    browser.click(".records a").await?;
    browser.find(".dry-run").await?;
    inspect(browser, "console-kept-letter").await?;
    open("/subscriptions", "Subscriptions").await?;
    browser.click(".subscriptions summary").await?;
    browser.type_into(".subscriptions [name=why]", "a migration of the database").await?;
    browser.press(Key::Enter).await?;
    browser.find(".resume").await?;
    browser.click(".subscriptions summary").await?;
    inspect(browser, "console-subscriptions").await?;
    open("/find", "Way of one customer").await?;
    browser.type_into("#query", "Ann").await?;
    browser.press(Key::Enter).await?;
    browser.find("#problem").await?;
    inspect(browser, "console-find-refused").await?;
    browser.type_into("#query", customer).await?;
    browser.press(Key::Enter).await?;
    browser.find(".timeline").await?;
    inspect(browser, "console-found").await?;
    open("/journal", "Journal").await?;
    wait_for_text(browser, ".records", "a migration of the database").await?;
    inspect(browser, "console-journal").await?;
    open("/runbook", "Operations").await?;
    inspect(browser, "console-runbook").await
}

#[tokio::test]
async fn console_is_accessible_while_off_or_without_servers() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let off = environment.start_console_page(&[("CONSOLE_OPERATOR_PASSWORD_HASH", "")]).await?;
    let browser = Browser::open().await?;
    browser.goto(&off.url()).await?;
    browser.wait_for_heading("The page is off").await?;
    inspect(&browser, "console-off").await?;

    let unreachable = format!("amqp://console:hush@127.0.0.1:{}/%2f", free_port()?);
    let mysql = format!("mysql://console:hush@127.0.0.1:{}/marketing", free_port()?);
    let settings = [("BROKER_URL", unreachable.as_str()), ("MARKETING_DATABASE_URL", &mysql)];
    let _web_store = environment.start_ready(Program::WebStore, &[]).await?;
    let console = environment.start_console_page(&settings).await?;
    log_in(&browser, &console).await?;
    wait_for_text(&browser, "#sentence", "The broker cannot be read.").await?;
    inspect(&browser, "console-unreachable").await
}

#[tokio::test]
async fn operator_finds_and_retries_letter_by_keyboard() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let marketing = environment.start_ready(Program::Marketing, NO_REPLAY).await?;
    let console = environment.start_console_page(&[]).await?;
    add_letter(&environment, 7, &command(7, "Zoë Ó Dálaigh").to_string()).await?;
    let browser = Browser::open().await?;
    log_in(&browser, &console).await?;
    wait_for_text(&browser, "#sentence", "1 dead letter needs a person.").await?;
    wait_for_text(&browser, "#dead-letters tbody", "1 would pass").await?;
    tab_to(&browser, "#dead-letters a").await?;
    browser.press(Key::Enter).await?;
    browser.wait_for_heading("1 dead letter").await?;
    wait_for_text(&browser, ".dry-run", "Inserts a row").await?;
    let page = browser.page.source().await?;
    assert!(!page.contains("Dálaigh") && !page.contains("ann7@"), "the page shows personal data");
    tab_to(&browser, "#retry-why").await?;
    browser.type_text("the rule was wrong").await?;
    browser.press(Key::Enter).await?;
    browser.wait_for_heading("1 letter sent back").await?;

    browser.goto(&marketing.url()).await?;
    browser.type_into("#password", PASSWORD).await?;
    browser.press(Key::Enter).await?;
    browser.wait_for_heading("Customers").await?;
    eventually(SOON, "the row is in the list", async || {
        browser.page.refresh().await.ok()?;
        let row = browser.page.find(By::Css("tbody tr")).await.ok()?.text().await.ok()?;
        row.contains("Zoë Ó Dálaigh").then_some(())
    })
    .await?;
    browser.goto(&console.url()).await?;
    wait_for_text(&browser, "#journal", "the rule was wrong").await?;
    wait_for_text(&browser, "#journal", "Anna").await?;
    wait_for_text(&browser, "#dead-letters", "No dead letters").await
}

#[tokio::test]
async fn picture_works_without_javascript() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let _marketing = environment.start_ready(Program::Marketing, NO_REPLAY).await?;
    let console = environment.start_console_page(&[]).await?;
    add_letter(&environment, 8, &command(8, "Ann").to_string()).await?;
    let browser = Browser::open().await?;
    browser.disable_javascript().await?;
    log_in(&browser, &console).await?;
    eventually(SOON, "the letter is on the page", async || {
        browser.page.refresh().await.ok()?;
        browser.page.find(By::Css("#group-1")).await.ok().map(drop)
    })
    .await?;
    browser.click("#group-1").await?;
    browser.wait_for_heading("1 dead letter").await?;
    browser.type_into("#discard-why", "it was a test").await?;
    browser.click("form[action$=discard] button").await?;
    browser.wait_for_heading("1 letter discarded").await
}
