//! Every page in every state: accessible and without horizontal scrolling, light and dark, small and large.

use reqwest::StatusCode;
use stack::{connection_urls::PASSWORD, ports::free_port, service::Program};
use system_tests::{
    SOON, TestEnvironment,
    customers::{http_client, register, wait_for_marketing_rows},
    eventually,
};
use thirtyfour::prelude::*;

use crate::{
    accessibility::{assert_accessible, violations},
    browser::{Browser, ColorScheme},
};

/// The widths of a small phone, a tablet, and a desktop, in CSS pixels.
///
/// A zoom of 400 % reduces 1280 pixels to 320 (WCAG 2.2, success criterion 1.4.10).
const WIDTHS: [u32; 3] = [320, 768, 1280];

/// Checks the open page at each width, in each color scheme, and with large text. Writes screenshots.
pub(crate) async fn inspect(browser: &Browser, state: &str) -> anyhow::Result<()> {
    for (scheme, suffix) in [(ColorScheme::Light, ""), (ColorScheme::Dark, "-dark")] {
        for width in WIDTHS {
            browser.set_window(width, scheme).await?;
            let state = format!("{state}-{width}{suffix}");
            browser.screenshot(&state).await?;
            browser.assert_no_horizontal_scrolling(&state).await?;
        }
        assert_accessible(browser, &format!("{state}{suffix}")).await?;
    }
    browser.set_window(1280, ColorScheme::Light).await?;
    browser.evaluate("document.documentElement.style.fontSize = '200%'").await?;
    browser.set_window(640, ColorScheme::Light).await?;
    browser.assert_no_horizontal_scrolling(&format!("{state} with text of twice the size")).await?;
    browser.evaluate("document.documentElement.style.fontSize = ''").await?;
    browser.set_window(1280, ColorScheme::Light).await
}

/// Opens the form, completes it, and submits it.
async fn submit(browser: &Browser, url: &str, name: &str, email: &str) -> anyhow::Result<()> {
    browser.goto(url).await?;
    browser.type_into("#name", name).await?;
    browser.type_into("#email", email).await?;
    browser.click("main button").await
}

#[tokio::test]
async fn planted_violation_is_detected() -> anyhow::Result<()> {
    let (_environment, web_store) = TestEnvironment::with_web_store().await?;
    let browser = Browser::open().await?;
    browser.goto(&web_store.url()).await?;
    browser.evaluate("document.querySelector('label').remove()").await?;
    browser.evaluate("document.querySelector('h1').style.color = 'lightgray'").await?;
    let violations = violations(&browser).await?;
    for rule in ["label:", "color-contrast:"] {
        assert!(violations.iter().any(|violation| violation.starts_with(rule)), "{rule} {violations:?}");
    }
    Ok(())
}

#[tokio::test]
async fn web_store_is_accessible_in_every_state() -> anyhow::Result<()> {
    let (_environment, web_store) = TestEnvironment::with_web_store().await?;
    register(&web_store, "Ann").await?;
    let browser = Browser::open().await?;
    let url = web_store.url();

    browser.goto(&url).await?;
    inspect(&browser, "store-form").await?;

    submit(&browser, &url, " ", "not-an-email").await?;
    browser.find("#email-error").await?;
    assert_eq!(browser.value("#email").await?, "not-an-email");
    inspect(&browser, "store-errors").await?;

    submit(&browser, &url, "Ann", "ANN@example.org").await?;
    browser.find("#email-error").await?;
    assert_eq!(browser.value("#name").await?, "Ann");
    assert_eq!(browser.focused_id().await?, "email");
    inspect(&browser, "store-taken").await?;

    submit(&browser, &url, &"W".repeat(200), "w@example.org").await?;
    browser.wait_for_heading("You are registered").await?;
    inspect(&browser, "store-confirmation").await?;

    browser.page.back().await?;
    browser.type_into("#email", &format!("{}@example.org", "w".repeat(100))).await?;
    browser.click("main button").await?;
    browser.find(".summary").await?;
    inspect(&browser, "store-sent-before").await?;

    browser.goto(&format!("{url}/nothing")).await?;
    inspect(&browser, "store-not-found").await?;
    browser.goto(&format!("{url}/customers")).await?;
    browser.wait_for_heading("That cannot be done here").await?;
    inspect(&browser, "store-not-allowed").await?;
    browser.goto(&url).await?;
    browser.evaluate("document.querySelector('form').enctype = 'text/plain'").await?;
    browser.click("main button").await?;
    browser.wait_for_heading("We could not read that").await?;
    inspect(&browser, "store-unreadable").await
}

#[tokio::test]
async fn details_page_is_accessible_in_every_state() -> anyhow::Result<()> {
    let (_environment, web_store) = TestEnvironment::with_web_store().await?;
    let browser = Browser::open().await?;
    submit(&browser, &web_store.url(), "Ann", "ann@example.org").await?;
    browser.wait_for_heading("You are registered").await?;

    browser.type_into("#name", " ").await?;
    browser.click("main button").await?;
    browser.find("#name-error").await?;
    assert_eq!(browser.focused_id().await?, "name");
    inspect(&browser, "store-details-errors").await?;

    browser.type_into("#name", &"W".repeat(200)).await?;
    browser.click("main button").await?;
    browser.find("[role=status]").await?;
    inspect(&browser, "store-details-saved").await?;

    browser.click(".keep a").await?;
    browser.wait_for_heading("Your details").await?;
    assert_eq!(browser.value("#name").await?, "W".repeat(200));
    Ok(())
}

#[tokio::test]
async fn web_store_is_accessible_while_it_refuses_registrations() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let settings = [("WEB_STORE_REGISTRATIONS_PER_MINUTE", "1")];
    let limited = environment.start_ready(Program::WebStore, &settings).await?;
    let unreachable = format!("postgres://web_store:hush@127.0.0.1:{}/none", free_port()?);
    let settings =
        [("WEB_STORE_DATABASE_URL", unreachable.as_str()), ("WEB_STORE_OWNER_DATABASE_URL", &unreachable)];
    let mut unavailable = environment.start(Program::WebStore, &settings)?;
    unavailable.wait_live(SOON).await?;
    register(&limited, "Ann").await?;
    let browser = Browser::open().await?;
    for (web_store, title, state) in [
        (&limited, "Too many registrations", "store-too-many"),
        (&unavailable, "We cannot do that right now", "store-unavailable"),
    ] {
        submit(&browser, &web_store.url(), "Bob", "bob@example.org").await?;
        let summary = browser.summary().await?;
        assert!(summary.starts_with(title), "{summary}");
        assert_eq!(browser.value("#email").await?, "bob@example.org", "the page does not keep the input");
        let focused = browser.evaluate("return document.activeElement.className").await?;
        assert_eq!(focused, "summary");
        inspect(&browser, state).await?;
    }
    Ok(())
}

#[tokio::test]
async fn marketing_is_accessible_in_every_state() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let marketing = environment.start_ready(Program::Marketing, &[]).await?;
    let browser = Browser::open().await?;
    let url = marketing.url();
    browser.goto(&url).await?;
    browser.wait_for_heading("Log in").await?;
    inspect(&browser, "marketing-login").await?;
    browser.type_into("#password", "wrong").await?;
    browser.click("main button").await?;
    browser.find("#problem").await?;
    inspect(&browser, "marketing-refused").await?;
    browser.type_into("#password", PASSWORD).await?;
    browser.press(Key::Enter).await?;
    browser.wait_for_heading("Customers").await?;
    inspect(&browser, "marketing-empty").await?;

    let web_store = environment.start_ready(Program::WebStore, &[]).await?;
    let _transformer = environment.start_transformer()?;
    let mut ids = Vec::new();
    for name in PEOPLE {
        ids.push(register(&web_store, name).await?);
    }
    ids.push(register(&web_store, &"W".repeat(200)).await?);
    wait_for_marketing_rows(&environment, &ids, SOON).await?;
    let database = environment.marketing_database();
    let opt_out = "UPDATE customers SET email_opt_in = CRC32(customer_id) % 3 > 0";
    sqlx::query(opt_out).execute(&database).await?;
    eventually(SOON, "all customers are counted", async || {
        browser.goto(&format!("{url}/customers?q=a")).await.ok()?;
        browser.page.find(By::XPath("//dd[.='61']")).await.ok()
    })
    .await?;
    inspect(&browser, "marketing-found").await?;
    browser.goto(&format!("{url}/customers?q=unknown")).await?;
    inspect(&browser, "marketing-nothing").await?;
    browser.goto(&format!("{url}/customers")).await?;
    inspect(&browser, "marketing-long-name").await?;
    let delete_longest = "DELETE FROM customers WHERE full_name LIKE 'WWW%'";
    sqlx::query(delete_longest).execute(&database).await?;
    browser.goto(&format!("{url}/customers")).await?;
    inspect(&browser, "marketing-list").await?;
    browser.click("nav a[rel=next]").await?;
    browser.find("a[rel=prev]").await?;
    inspect(&browser, "marketing-older").await?;
    browser.goto(&format!("{url}/nothing")).await?;
    inspect(&browser, "marketing-not-found").await
}

#[tokio::test]
async fn marketing_is_accessible_while_list_is_off_or_unavailable() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let settings = [("MARKETING_OPERATOR_PASSWORD_HASH", "")];
    let off = environment.start_ready(Program::Marketing, &settings).await?;
    let unreachable = format!("mysql://marketing:hush@127.0.0.1:{}/marketing", free_port()?);
    let settings = [("MARKETING_DATABASE_URL", unreachable.as_str())];
    let mut unavailable = environment.start(Program::Marketing, &settings)?;
    unavailable.wait_live(SOON).await?;
    let response = http_client()?.get(format!("{}/customers", off.url())).send().await?;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    let browser = Browser::open().await?;
    browser.goto(&off.url()).await?;
    browser.wait_for_heading("The list is off").await?;
    inspect(&browser, "marketing-off").await?;
    browser.goto(&unavailable.url()).await?;
    browser.type_into("#password", PASSWORD).await?;
    browser.press(Key::Enter).await?;
    browser.wait_for_heading("The list is unavailable right now").await?;
    inspect(&browser, "marketing-unavailable").await
}

/// Invented names.
const PEOPLE: [&str; 60] = [
    "Amara Okafor",
    "Anna Lindqvist",
    "Björn Haugen",
    "Carmen Ruiz",
    "Chen Wei",
    "Dilara Kaya",
    "Eero Virtanen",
    "Elif Demir",
    "Émile Fournier",
    "Fatima Zahra",
    "Giulia Conti",
    "Hana Novotná",
    "Ines Carvalho",
    "Ivan Petrov",
    "Jonas Weber",
    "Kaito Mori",
    "Katarzyna Nowak",
    "Lars Nygaard",
    "Leila Haddad",
    "Liam Byrne",
    "Lucía Vega",
    "Magnus Dahl",
    "Maja Kovač",
    "Mateo Silva",
    "Mei Tanaka",
    "Milan Horvat",
    "Nadia Rahman",
    "Niamh Kelly",
    "Nils Bergström",
    "Noor de Vries",
    "Olga Smirnova",
    "Oskar Lund",
    "Paula Ferrari",
    "Petra Svoboda",
    "Priya Nair",
    "Rafael Costa",
    "Ravi Menon",
    "Rosa Moreau",
    "Samira Ali",
    "Sean Doyle",
    "Selin Aydın",
    "Sofia Rossi",
    "Søren Holm",
    "Stefan Vogel",
    "Tariq Nasser",
    "Teresa Blanco",
    "Thandi Dube",
    "Tomás Herrera",
    "Ulla Koch",
    "Valentina Greco",
    "Viktor Szabó",
    "Wanjiru Kamau",
    "Xavier Dupont",
    "Yara Mansour",
    "Yuki Sato",
    "Zainab Bello",
    "Zofia Wójcik",
    "Zoë Peeters",
    "Agnes Toth",
    "Amir Shah",
];
