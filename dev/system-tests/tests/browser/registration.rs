//! Registrations as visitors make them: by keyboard, with a double click, after going back, without JavaScript.

use serde_json::json;
use stack::{connection_urls::PASSWORD, service::Program};
use system_tests::{SOON, TestEnvironment, eventually};
use thirtyfour::prelude::*;

use crate::browser::Browser;

async fn customer_count(environment: &TestEnvironment) -> sqlx::Result<i64> {
    let select = sqlx::query_scalar("SELECT count(*) FROM customers");
    select.fetch_one(&environment.web_store_database()).await
}

/// Completes the open form and submits it.
async fn submit(browser: &Browser, name: &str, email: &str) -> anyhow::Result<()> {
    browser.type_into("#name", name).await?;
    browser.type_into("#email", email).await?;
    browser.click("main button").await
}

#[tokio::test]
async fn registered_customer_appears_in_marketing_list() -> anyhow::Result<()> {
    let (environment, web_store) = TestEnvironment::with_web_store().await?;
    let _transformer = environment.start_transformer()?;
    let marketing = environment.start_ready(Program::Marketing, &[]).await?;
    let browser = Browser::open().await?;
    browser.goto(&web_store.url()).await?;
    browser.click("#marketing_consent").await?;
    submit(&browser, "Zoë Ó Dálaigh", "zoe@example.org").await?;
    browser.wait_for_heading("You are registered").await?;

    browser.goto(&marketing.url()).await?;
    browser.wait_for_heading("Log in").await?;
    assert_eq!(browser.focused_id().await?, "password");
    browser.type_into("#password", PASSWORD).await?;
    browser.press(Key::Enter).await?;
    browser.wait_for_heading("Customers").await?;
    browser.type_into("#q", "dalaigh").await?;
    browser.press(Key::Enter).await?;
    eventually(SOON, "the customer is in the list", async || {
        browser.page.refresh().await.ok()?;
        let row = browser.page.find(By::Css("tbody tr")).await.ok()?.text().await.ok()?;
        ["Zoë Ó Dálaigh", "zoe@example.org", "Yes"].iter().all(|text| row.contains(text)).then_some(())
    })
    .await?;
    browser.click("header button").await?;
    browser.wait_for_heading("Log in").await?;
    browser.page.back().await?;
    assert_eq!(browser.heading().await?, "Log in", "the browser's history contains the list");
    Ok(())
}

#[tokio::test]
async fn form_can_be_completed_and_corrected_by_keyboard() -> anyhow::Result<()> {
    let (environment, web_store) = TestEnvironment::with_web_store().await?;
    let browser = Browser::open().await?;
    browser.goto(&web_store.url()).await?;
    let focused = "return document.activeElement.id || document.activeElement.tagName";
    let mut order = Vec::new();
    for _ in 0..5 {
        browser.press(Key::Tab).await?;
        order.push(browser.evaluate(focused).await?);
    }
    assert_eq!(order, ["A", "name", "email", "marketing_consent", "BUTTON"]);
    let outline = "return getComputedStyle(document.activeElement).outlineStyle";
    assert_eq!(browser.evaluate(outline).await?, "solid", "the focus is invisible");
    browser.press(Key::Enter).await?;

    eventually(SOON, "the first invalid field has the focus", async || {
        (browser.focused_id().await.ok()? == "name").then_some(())
    })
    .await?;
    // Screen readers announce the title first.
    assert!(browser.page.title().await?.starts_with("Error"));
    let description = "const field = document.activeElement;
        return [field.ariaInvalid, document.getElementById(field.getAttribute('aria-describedby')).textContent]";
    assert_eq!(browser.evaluate(description).await?, json!(["true", "Enter your name."]));
    browser.type_text("Ann").await?;
    browser.press(Key::Tab).await?;
    browser.type_text("ann@example.org").await?;
    browser.press(Key::Tab).await?;
    browser.type_text(" ").await?;
    browser.press(Key::Enter).await?;
    browser.wait_for_heading("You are registered").await?;
    let select = sqlx::query_scalar("SELECT marketing_consent FROM customers");
    let consent: bool = select.fetch_one(&environment.web_store_database()).await?;
    assert!(consent);
    Ok(())
}

#[tokio::test]
async fn registration_and_list_work_without_javascript() -> anyhow::Result<()> {
    let (environment, web_store) = TestEnvironment::with_web_store().await?;
    let marketing = environment.start_ready(Program::Marketing, &[]).await?;
    let browser = Browser::open().await?;
    browser.disable_javascript().await?;
    browser.goto(&web_store.url()).await?;
    submit(&browser, "", "ann@example.org").await?;
    browser.find("#name-error").await?;
    browser.type_into("#name", "Ann").await?;
    browser.click("main button").await?;
    browser.wait_for_heading("You are registered").await?;
    browser.goto(&marketing.url()).await?;
    browser.type_into("#password", PASSWORD).await?;
    browser.click("main button").await?;
    browser.wait_for_heading("Customers").await
}

#[tokio::test]
async fn double_click_registers_one_customer() -> anyhow::Result<()> {
    let (environment, web_store) = TestEnvironment::with_web_store().await?;
    let browser = Browser::open().await?;
    browser.goto(&web_store.url()).await?;
    browser.type_into("#name", "Ann").await?;
    browser.type_into("#email", "ann@example.org").await?;
    let button = browser.find("main button").await?;
    browser.page.action_chain().double_click_element(&button).perform().await?;
    browser.wait_for_heading("You are registered").await?;
    browser.page.refresh().await?;
    browser.wait_for_heading("You are registered").await?;
    assert_eq!(customer_count(&environment).await?, 1);
    Ok(())
}

#[tokio::test]
async fn form_resubmitted_after_going_back_is_idempotent() -> anyhow::Result<()> {
    let (environment, web_store) = TestEnvironment::with_web_store().await?;
    let browser = Browser::open().await?;
    browser.goto(&web_store.url()).await?;
    submit(&browser, "Ann", "ann@example.org").await?;
    browser.wait_for_heading("You are registered").await?;
    let confirmation = browser.page.current_url().await?;

    browser.page.back().await?;
    assert_eq!(browser.value("#name").await?, "Ann", "the browser does not restore the input");
    browser.click("main button").await?;
    browser.wait_for_heading("You are registered").await?;
    assert_eq!(browser.page.current_url().await?, confirmation);

    browser.page.back().await?;
    submit(&browser, "Bob", "bob@example.org").await?;
    let summary = browser.summary().await?;
    assert!(summary.starts_with("You are registered already"), "{summary}");
    assert_eq!(customer_count(&environment).await?, 1);
    browser.click("main button").await?;
    browser.wait_for_heading("You are registered").await?;
    assert_eq!(customer_count(&environment).await?, 2);
    Ok(())
}
