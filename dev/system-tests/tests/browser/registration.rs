//! Registering as people do it: with a keyboard, twice by mistake, going back, without JavaScript.

use stack::connection_urls::PASSWORD;
use stack::service::Service;
use system_tests::{SOON, TestEnvironment, eventually};
use thirtyfour::prelude::*;

use super::browser::Browser;

async fn web_store(site: &TestEnvironment) -> Service {
    let mut web_store = site.start_web_store().unwrap();
    web_store.wait_ready(SOON).await.unwrap();
    web_store
}

async fn customers(site: &TestEnvironment) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM customers").fetch_one(&site.web_store_database()).await.unwrap()
}

/// Fills in the form that is shown, and sends it.
async fn send(browser: &Browser, name: &str, email: &str) {
    browser.type_into("#name", name).await;
    browser.type_into("#email", email).await;
    browser.click("main button").await;
}

#[tokio::test]
async fn who_registers_is_found_in_marketings_list() {
    let site = TestEnvironment::new().await.unwrap();
    let (web_store, mut marketing) = (web_store(&site).await, site.start_marketing().unwrap());
    let _transformer = site.start_transformer().unwrap();
    marketing.wait_ready(SOON).await.unwrap();
    let browser = Browser::open().await;
    browser.goto(&web_store.url()).await;
    browser.click("#marketing_consent").await;
    send(&browser, "Zoë Ó Dálaigh", "zoe@example.org").await;
    browser.heading_becomes("You are registered").await;

    browser.goto(&marketing.url()).await;
    browser.heading_becomes("Log in").await;
    assert_eq!(browser.focus().await, "password");
    browser.type_into("#password", PASSWORD).await;
    browser.press(Key::Enter).await;
    browser.heading_becomes("Customers").await;
    browser.type_into("#q", "dalaigh").await;
    browser.press(Key::Enter).await;
    eventually(SOON, "the row is there", async || {
        browser.page.refresh().await.ok()?;
        let row = browser.page.find(By::Css("tbody tr")).await.ok()?.text().await.ok()?;
        (row.contains("Zoë Ó Dálaigh") && row.contains("zoe@example.org") && row.contains("Yes"))
            .then_some(())
    })
    .await
    .unwrap();
    browser.click("header button").await;
    browser.heading_becomes("Log in").await;
    browser.page.back().await.unwrap();
    assert_eq!(browser.heading().await, "Log in", "the list is not in the browser's history");
}

#[tokio::test]
async fn the_form_is_filled_in_and_mended_with_the_keyboard_alone() {
    let site = TestEnvironment::new().await.unwrap();
    let web_store = web_store(&site).await;
    let browser = Browser::open().await;
    browser.goto(&web_store.url()).await;
    let mut order = Vec::new();
    for _ in 0..5 {
        browser.press(Key::Tab).await;
        order.push(
            browser.evaluate("return document.activeElement.id || document.activeElement.tagName").await,
        );
    }
    assert_eq!(order, ["A", "name", "email", "marketing_consent", "BUTTON"]);
    let outline = "return getComputedStyle(document.activeElement).outlineStyle";
    assert_eq!(browser.evaluate(outline).await, "solid", "the focus can be seen");
    browser.press(Key::Enter).await;

    eventually(SOON, "the first field that needs another look has the focus", async || {
        (browser.focus().await == "name").then_some(())
    })
    .await
    .unwrap();
    assert!(browser.page.title().await.unwrap().starts_with("Error"), "screen readers say the title first");
    let described = "const field = document.activeElement;
        return [field.ariaInvalid, document.getElementById(field.getAttribute('aria-describedby')).textContent]";
    assert_eq!(browser.evaluate(described).await, serde_json::json!(["true", "Enter your name."]));
    browser.type_text("Ann").await;
    browser.press(Key::Tab).await;
    browser.type_text("ann@example.org").await;
    browser.press(Key::Tab).await;
    browser.type_text(" ").await;
    browser.press(Key::Enter).await;
    browser.heading_becomes("You are registered").await;
    let consents: bool = sqlx::query_scalar("SELECT marketing_consent FROM customers")
        .fetch_one(&site.web_store_database())
        .await
        .unwrap();
    assert!(consents);
}

#[tokio::test]
async fn without_javascript_registering_and_the_list_work_just_the_same() {
    let site = TestEnvironment::new().await.unwrap();
    let (web_store, mut marketing) = (web_store(&site).await, site.start_marketing().unwrap());
    marketing.wait_ready(SOON).await.unwrap();
    let browser = Browser::open().await;
    browser.without_javascript().await;
    browser.goto(&web_store.url()).await;
    send(&browser, "", "ann@example.org").await;
    browser.find("#name-error").await;
    browser.type_into("#name", "Ann").await;
    browser.click("main button").await;
    browser.heading_becomes("You are registered").await;
    browser.goto(&marketing.url()).await;
    browser.type_into("#password", PASSWORD).await;
    browser.click("main button").await;
    browser.heading_becomes("Customers").await;
}

#[tokio::test]
async fn a_double_click_registers_one_customer_and_leads_to_the_confirmation() {
    let site = TestEnvironment::new().await.unwrap();
    let web_store = web_store(&site).await;
    let browser = Browser::open().await;
    browser.goto(&web_store.url()).await;
    browser.type_into("#name", "Ann").await;
    browser.type_into("#email", "ann@example.org").await;
    let button = browser.find("main button").await;
    browser.page.action_chain().double_click_element(&button).perform().await.unwrap();
    browser.heading_becomes("You are registered").await;
    browser.page.refresh().await.unwrap();
    browser.heading_becomes("You are registered").await;
    assert_eq!(customers(&site).await, 1);
}

#[tokio::test]
async fn going_back_and_sending_the_form_again_leads_to_the_same_confirmation() {
    let site = TestEnvironment::new().await.unwrap();
    let web_store = web_store(&site).await;
    let browser = Browser::open().await;
    browser.goto(&web_store.url()).await;
    send(&browser, "Ann", "ann@example.org").await;
    browser.heading_becomes("You are registered").await;
    let confirmation = browser.page.current_url().await.unwrap();

    browser.page.back().await.unwrap();
    assert_eq!(browser.value("#name").await, "Ann", "the browser kept what was typed");
    browser.click("main button").await;
    browser.heading_becomes("You are registered").await;
    assert_eq!(browser.page.current_url().await.unwrap(), confirmation);

    browser.page.back().await.unwrap();
    browser.type_into("#name", "Bob").await;
    browser.type_into("#email", "bob@example.org").await;
    browser.click("main button").await;
    let summary = eventually(SOON, "an explanation", async || {
        browser.page.find(By::Css(".summary")).await.ok()?.text().await.ok()
    })
    .await
    .unwrap();
    assert!(summary.starts_with("You are registered already"), "{summary}");
    assert_eq!(customers(&site).await, 1);
    browser.click("main button").await;
    browser.heading_becomes("You are registered").await;
    assert_eq!(customers(&site).await, 2);
}
