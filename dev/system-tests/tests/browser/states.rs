//! Every page in every state: no barrier, no sideways scrolling, in light and dark, small and large.

use reqwest::StatusCode;
use stack::connection_urls::PASSWORD;
use stack::ports::free_port;
use stack::service::{Program, Service};
use system_tests::customers::{http_client as client, register, wait_for_marketing_rows};
use system_tests::{SOON, TestEnvironment, eventually};
use thirtyfour::prelude::*;

use super::accessibility::{assert_no_barriers, barriers};
use super::browser::{Browser, Scheme};

/// A small phone, a tablet, a desk. 320 is also what 1280 becomes at 400 % (WCAG 2.2, 1.4.10).
const WIDTHS: [u32; 3] = [320, 768, 1280];

/// Looks at the page that is open in all ways, and leaves pictures of it.
async fn inspect(browser: &Browser, state: &str) {
    for (scheme, suffix) in [(Scheme::Light, ""), (Scheme::Dark, "-dark")] {
        for width in WIDTHS {
            browser.show(width, scheme).await;
            let state = format!("{state}-{width}{suffix}");
            browser.assert_no_sideways_scrolling(&state).await;
            browser.screenshot(&state).await;
        }
        assert_no_barriers(browser, &format!("{state}{suffix}")).await;
    }
    browser.show(1280, Scheme::Light).await;
    browser.evaluate("document.documentElement.style.fontSize = '200%'").await;
    browser.show(640, Scheme::Light).await;
    browser.assert_no_sideways_scrolling(&format!("{state} with letters of twice the size")).await;
    browser.show(1280, Scheme::Light).await;
}

async fn ready(mut service: Service) -> Service {
    service.wait_ready(SOON).await.unwrap();
    service
}

async fn send(browser: &Browser, url: &str, name: &str, email: &str) {
    browser.goto(url).await;
    browser.type_into("#name", name).await;
    browser.type_into("#email", email).await;
    browser.click("main button").await;
}

#[tokio::test]
async fn a_barrier_would_be_found() {
    let site = TestEnvironment::new().await.unwrap();
    let web_store = ready(site.start_web_store().unwrap()).await;
    let browser = Browser::open().await;
    browser.goto(&web_store.url()).await;
    browser.evaluate("document.querySelector('label').remove()").await;
    browser.evaluate("document.querySelector('h1').style.color = 'lightgray'").await;
    let found = barriers(&browser).await;
    assert!(found.iter().any(|barrier| barrier.starts_with("label:")), "{found:?}");
    assert!(found.iter().any(|barrier| barrier.starts_with("color-contrast:")), "{found:?}");
}

#[tokio::test]
async fn the_web_store_is_without_barriers_in_every_state() {
    let site = TestEnvironment::new().await.unwrap();
    let web_store = ready(site.start_web_store().unwrap()).await;
    register(&web_store, "Ann").await.unwrap();
    let browser = Browser::open().await;
    let url = web_store.url();

    browser.goto(&url).await;
    inspect(&browser, "store-form").await;

    send(&browser, &url, " ", "nobody").await;
    browser.find("#email-error").await;
    assert_eq!(browser.value("#email").await, "nobody");
    inspect(&browser, "store-errors").await;

    send(&browser, &url, "Ann", "ANN@example.org").await;
    browser.find("#email-error").await;
    assert_eq!((browser.value("#name").await.as_str(), browser.focus().await.as_str()), ("Ann", "email"));
    inspect(&browser, "store-taken").await;

    send(&browser, &url, &"W".repeat(200), "w@example.org").await;
    browser.heading_becomes("You are registered").await;
    inspect(&browser, "store-confirmation").await;

    browser.page.back().await.unwrap();
    browser.type_into("#email", &format!("{}@example.org", "w".repeat(100))).await;
    browser.click("main button").await;
    browser.find(".summary").await;
    inspect(&browser, "store-sent-before").await;

    browser.goto(&format!("{url}/nothing")).await;
    inspect(&browser, "store-not-found").await;
    browser.goto(&format!("{url}/customers")).await;
    browser.heading_becomes("That cannot be done here").await;
    inspect(&browser, "store-not-allowed").await;
    browser.goto(&url).await;
    browser.evaluate("document.querySelector('form').enctype = 'text/plain'").await;
    browser.click("main button").await;
    browser.heading_becomes("We could not read that").await;
    inspect(&browser, "store-unreadable").await;
}

#[tokio::test]
async fn a_customers_details_are_without_barriers_in_every_state() {
    let site = TestEnvironment::new().await.unwrap();
    let web_store = ready(site.start_web_store().unwrap()).await;
    let browser = Browser::open().await;
    send(&browser, &web_store.url(), "Ann", "ann@example.org").await;
    browser.heading_becomes("You are registered").await;

    browser.type_into("#name", " ").await;
    browser.click("main button").await;
    browser.find("#name-error").await;
    assert_eq!(browser.focus().await, "name");
    inspect(&browser, "store-details-errors").await;

    browser.type_into("#name", &"W".repeat(200)).await;
    browser.click("main button").await;
    browser.find("[role=status]").await;
    inspect(&browser, "store-details-saved").await;

    browser.click(".keep a").await;
    browser.heading_becomes("Your details").await;
    assert_eq!(browser.value("#name").await, "W".repeat(200));
}

#[tokio::test]
async fn the_web_store_is_without_barriers_when_it_cannot_register() {
    let site = TestEnvironment::new().await.unwrap();
    let limited =
        ready(site.start(Program::WebStore, &[("WEB_STORE_REGISTRATIONS_PER_MINUTE", "1")]).unwrap()).await;
    let nobody = format!("postgres://web_store:hush@127.0.0.1:{}/none", free_port().unwrap());
    let away = site
        .start(
            Program::WebStore,
            &[("WEB_STORE_DATABASE_URL", nobody.as_str()), ("WEB_STORE_OWNER_DATABASE_URL", &nobody)],
        )
        .unwrap();
    let lives = format!("{}/health/live", away.url());
    eventually(SOON, "it lives", async || client().unwrap().get(&lives).send().await.ok().map(drop))
        .await
        .unwrap();
    register(&limited, "Ann").await.unwrap();
    let browser = Browser::open().await;
    for (web_store, title, state) in [
        (&limited, "Too many registrations", "store-too-many"),
        (&away, "We cannot do that right now", "store-away"),
    ] {
        send(&browser, &web_store.url(), "Bob", "bob@example.org").await;
        let summary = eventually(SOON, title, async || {
            browser.page.find(By::Css(".summary")).await.ok()?.text().await.ok()
        })
        .await
        .unwrap();
        assert!(summary.starts_with(title), "{summary}");
        assert_eq!(browser.value("#email").await, "bob@example.org", "what was typed is kept");
        let focused = browser.evaluate("return document.activeElement.className").await;
        assert_eq!(focused, "summary");
        inspect(&browser, state).await;
    }
}

#[tokio::test]
async fn marketing_is_without_barriers_in_every_state() {
    let site = TestEnvironment::new().await.unwrap();
    let marketing = ready(site.start_marketing().unwrap()).await;
    let browser = Browser::open().await;
    let url = marketing.url();
    browser.goto(&url).await;
    browser.heading_becomes("Log in").await;
    inspect(&browser, "marketing-login").await;
    browser.type_into("#password", "wrong").await;
    browser.click("main button").await;
    eventually(SOON, "a refusal", async || browser.page.find(By::Css("#problem")).await.ok()).await.unwrap();
    inspect(&browser, "marketing-refused").await;
    browser.type_into("#password", PASSWORD).await;
    browser.press(Key::Enter).await;
    browser.heading_becomes("Customers").await;
    inspect(&browser, "marketing-empty").await;

    let (web_store, _transformer) =
        (ready(site.start_web_store().unwrap()).await, site.start_transformer().unwrap());
    let mut ids = Vec::new();
    for name in PEOPLE {
        ids.push(register(&web_store, name).await.unwrap());
    }
    ids.push(register(&web_store, &"W".repeat(200)).await.unwrap());
    wait_for_marketing_rows(&site, &ids, SOON).await.unwrap();
    let decline = "UPDATE customers SET email_opt_in = CRC32(customer_id) % 3 > 0";
    sqlx::query(decline).execute(&site.marketing_database()).await.unwrap();
    eventually(SOON, "they are counted", async || {
        browser.goto(&format!("{url}/customers?q=a")).await;
        browser.page.find(By::XPath("//dd[.='61']")).await.ok()
    })
    .await
    .unwrap();
    inspect(&browser, "marketing-found").await;
    browser.goto(&format!("{url}/customers?q=nobody")).await;
    inspect(&browser, "marketing-nothing").await;
    let longest = "DELETE FROM customers WHERE full_name LIKE 'WWW%'";
    browser.goto(&format!("{url}/customers")).await;
    inspect(&browser, "marketing-long-name").await;
    sqlx::query(longest).execute(&site.marketing_database()).await.unwrap();
    browser.goto(&format!("{url}/customers")).await;
    inspect(&browser, "marketing-list").await;
    browser.click("nav a[rel=next]").await;
    eventually(SOON, "the second page", async || browser.page.find(By::Css("a[rel=prev]")).await.ok())
        .await
        .unwrap();
    inspect(&browser, "marketing-older").await;
    browser.goto(&format!("{url}/nothing")).await;
    inspect(&browser, "marketing-not-found").await;
}

#[tokio::test]
async fn marketing_is_without_barriers_while_its_list_is_off_or_away() {
    let site = TestEnvironment::new().await.unwrap();
    let off =
        ready(site.start(Program::Marketing, &[("MARKETING_OPERATOR_PASSWORD_HASH", "")]).unwrap()).await;
    let nobody = format!("mysql://marketing:hush@127.0.0.1:{}/marketing", free_port().unwrap());
    let away = site.start(Program::Marketing, &[("MARKETING_DATABASE_URL", nobody.as_str())]).unwrap();
    let lives = format!("{}/health/live", away.url());
    eventually(SOON, "it lives", async || client().unwrap().get(&lives).send().await.ok().map(drop))
        .await
        .unwrap();
    let answer = client().unwrap().get(format!("{}/customers", off.url())).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    let browser = Browser::open().await;
    browser.goto(&off.url()).await;
    browser.heading_becomes("The list is off").await;
    inspect(&browser, "marketing-off").await;
    browser.goto(&away.url()).await;
    browser.type_into("#password", PASSWORD).await;
    browser.press(Key::Enter).await;
    browser.heading_becomes("The list is unavailable right now").await;
    inspect(&browser, "marketing-away").await;
}

/// Nobody in particular.
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
