//! A customer's details are changed in the Web Store, by whoever has the link, and Marketing has the last ones.

use std::collections::HashSet;

use contracts::{CreateCustomer, Message, UpdateCustomer};
use futures_util::future::join_all;
use reqwest::{Response, StatusCode, header};
use serde_json::{Value, json};
use sqlx::PgPool;
use stack::service::Service;
use system_tests::broker_client::{open_channel, properties, publish};
use system_tests::customers::{
    email, http_client, post_form, wait_for_marketing_rows, wait_for_outbox_depth,
};
use system_tests::programs::{reconcile, republish};
use system_tests::{SOON, TestEnvironment, eventually};

async fn web_store(site: &TestEnvironment) -> Service {
    let mut web_store = site.start_web_store().unwrap();
    web_store.wait_ready(SOON).await.unwrap();
    web_store
}

/// Registers somebody with the form; the link that leads to their details, and their id.
async fn register(web_store: &Service, name: &str) -> (String, String) {
    let answer = post_form(web_store, name).await.unwrap();
    let location = answer.headers()[header::LOCATION].to_str().unwrap();
    let id = location.strip_prefix("/customers/").unwrap().split('?').next().unwrap().to_owned();
    (format!("{}{location}", web_store.url()), id)
}

async fn edit(link: &str, name: &str, consent: bool) -> Response {
    let request =
        http_client().unwrap().post(link).json(&json!({"name": name, "marketing_consent": consent}));
    request.send().await.unwrap()
}

async fn page(link: &str) -> Response {
    http_client().unwrap().get(link).header(header::ACCEPT, "text/html").send().await.unwrap()
}

/// Every version of a customer, with the message id of its event.
async fn versions(database: &PgPool, id: &str) -> Vec<(i32, String, bool, String)> {
    let select = "SELECT version, name, marketing_consent, message_id::text FROM versions
        WHERE customer_id = $1::uuid ORDER BY version";
    sqlx::query_as(select).bind(id).fetch_all(database).await.unwrap()
}

/// Marketing's row of a customer; `None` while there is none.
async fn in_marketing(site: &TestEnvironment, id: &str) -> Option<(u32, String, String, bool)> {
    let select =
        "SELECT version, full_name, email_address, email_opt_in FROM customers WHERE customer_id = ?";
    sqlx::query_as(select).bind(id).fetch_optional(&site.marketing_database()).await.ok()?
}

async fn marketing_has(
    site: &TestEnvironment,
    id: &str,
    version: u32,
    name: &str,
    email: &str,
    opt_in: bool,
) {
    let expected = (version, name.to_owned(), email.to_owned(), opt_in);
    let what = format!("{expected:?} in Marketing");
    let arrived = async || (in_marketing(site, id).await.as_ref() == Some(&expected)).then_some(());
    eventually(SOON, &what, arrived).await.unwrap();
}

#[tokio::test]
async fn a_customer_changes_name_and_consent_and_marketing_has_them_changed() {
    let site = TestEnvironment::new().await.unwrap();
    let web_store = web_store(&site).await;
    let (_transformer, _marketing) = (site.start_transformer().unwrap(), site.start_marketing().unwrap());
    let (link, id) = register(&web_store, "Ann").await;
    let shown = page(&link).await;
    assert_eq!(shown.status(), StatusCode::OK);
    assert_eq!(shown.headers()[header::CACHE_CONTROL], "no-store");
    let shown = shown.text().await.unwrap();
    assert!(shown.contains("You are registered") && shown.contains("value=\"Ann\""), "{shown}");
    let own_link = link.strip_prefix(&web_store.url()).unwrap();
    assert!(shown.contains(&format!("href=\"{own_link}\"")), "{shown}");
    marketing_has(&site, &id, 1, "Ann", &email("Ann"), true).await;

    let saved = http_client().unwrap().post(&link).form(&[("name", " Zoë <b> 王 ")]).send().await.unwrap();
    assert_eq!(saved.status(), StatusCode::SEE_OTHER);
    let back = format!("{}{}", web_store.url(), saved.headers()[header::LOCATION].to_str().unwrap());
    let shown = page(&back).await.text().await.unwrap();
    assert!(shown.contains("They are saved.") && shown.contains("Zoë &#60;b&#62; 王"), "{shown}");
    assert!(!shown.contains("checked"), "{shown}");
    marketing_has(&site, &id, 2, "Zoë <b> 王", &email("Ann"), false).await;
    wait_for_marketing_rows(&site, &[id], SOON).await.unwrap();
}

#[tokio::test]
async fn a_program_changes_details_by_json_and_reads_them_again() {
    let site = TestEnvironment::new().await.unwrap();
    let web_store = web_store(&site).await;
    let body = json!({"name": "Ann", "email": "ann@example.org"});
    let registered = http_client()
        .unwrap()
        .post(format!("{}/customers", web_store.url()))
        .json(&body)
        .send()
        .await
        .unwrap();
    let registered: Value = registered.json().await.unwrap();
    let link = format!("{}{}", web_store.url(), registered["details"].as_str().unwrap());
    let saved = edit(&link, "Bob", true).await;
    assert_eq!(saved.status(), StatusCode::OK);
    let saved: Value = saved.json().await.unwrap();
    let expected = json!({
        "customer_id": registered["customer_id"], "version": 2, "name": "Bob", "marketing_consent": true,
    });
    assert_eq!(saved, expected);
    let read: Value = http_client().unwrap().get(&link).send().await.unwrap().json().await.unwrap();
    assert_eq!(read, expected);
}

#[tokio::test]
async fn without_the_right_key_nothing_is_shown_and_nothing_changed() {
    let site = TestEnvironment::new().await.unwrap();
    let web_store = web_store(&site).await;
    let (link, id) = register(&web_store, "Ann").await;
    let (other, _) = register(&web_store, "Bob").await;
    let address = format!("{}/customers/{id}", web_store.url());
    let others_key = format!("{address}?{}", other.split('?').nth(1).unwrap());
    let unknown = link.replace(&id, "01938c5e-7b1a-7c3e-9f00-5d2a8e4b6c71");
    for wrong in [&others_key, &format!("{address}?key="), &format!("{address}?key=1"), &unknown] {
        assert_eq!(page(wrong).await.status(), StatusCode::NOT_FOUND, "{wrong}");
        assert_eq!(edit(wrong, "Eve", false).await.status(), StatusCode::NOT_FOUND, "{wrong}");
    }
    assert_eq!(edit(&address, "Eve", false).await.status(), StatusCode::NOT_FOUND);
    let shown = page(&address).await.text().await.unwrap();
    let key = link.split("key=").nth(1).unwrap();
    assert!(
        shown.contains("You are registered") && !shown.contains("Ann") && !shown.contains(key),
        "{shown}"
    );
    assert_eq!(versions(&site.web_store_database(), &id).await.len(), 1);
    assert!(!site.logs_contain(key), "{}", site.log());
}

#[tokio::test]
async fn bad_details_come_back_with_what_was_typed_and_a_message_at_each_field() {
    let site = TestEnvironment::new().await.unwrap();
    let web_store = web_store(&site).await;
    let (link, id) = register(&web_store, "Ann").await;
    let typed = [("name", "\u{1}<script>"), ("marketing_consent", "on")];
    let answer = http_client().unwrap().post(&link).form(&typed).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let shown = answer.text().await.unwrap();
    assert!(shown.contains("id=\"name-error\"") && shown.contains("checked"), "{shown}");
    assert!(!shown.contains("<script"), "{shown}");
    let answer = edit(&link, "", true).await;
    assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(answer.json::<Value>().await.unwrap()["errors"][0]["field"], "name");
    assert_eq!(
        http_client().unwrap().post(&link).body("x").send().await.unwrap().status(),
        StatusCode::UNSUPPORTED_MEDIA_TYPE
    );
    assert_eq!(versions(&site.web_store_database(), &id).await.len(), 1);
}

#[tokio::test]
async fn what_changes_nothing_is_no_new_version_and_no_event() {
    let site = TestEnvironment::new().await.unwrap();
    let web_store = web_store(&site).await;
    let (link, id) = register(&web_store, "Ann").await;
    for _ in 0..3 {
        assert_eq!(edit(&link, "Ann ", true).await.status(), StatusCode::OK);
    }
    assert_eq!(versions(&site.web_store_database(), &id).await.len(), 1);
    wait_for_outbox_depth(&site, 1, SOON).await.unwrap();
}

#[tokio::test]
async fn edits_at_once_each_make_a_version_of_their_own_and_marketing_ends_with_the_last() {
    let site = TestEnvironment::new().await.unwrap();
    let stores = [web_store(&site).await, web_store(&site).await];
    let (_transformer, _marketing) = (site.start_transformer().unwrap(), site.start_marketing().unwrap());
    let (link, id) = register(&stores[0], "Ann").await;
    let links = stores.each_ref().map(|store| link.replace(&stores[0].url(), &store.url()));
    let names: Vec<String> = (0..20).map(|n| format!("Ann {n}")).collect();
    let edits = names.iter().enumerate().map(|(n, name)| edit(&links[n % 2], name, n % 3 == 0));
    for saved in join_all(edits).await {
        assert_eq!(saved.status(), StatusCode::OK);
    }
    let versions = versions(&site.web_store_database(), &id).await;
    assert!(versions.iter().map(|version| version.0).eq(1..=21), "{versions:?}");
    let message_ids: HashSet<_> = versions.iter().map(|version| &version.3).collect();
    let told: HashSet<_> = versions.iter().skip(1).map(|version| &version.1).collect();
    assert_eq!((message_ids.len(), told.len()), (21, 20));
    let (_, name, consent, _) = versions.last().unwrap();
    marketing_has(&site, &id, 21, name, &email("Ann"), *consent).await;
}

#[tokio::test]
async fn an_update_that_overtakes_its_creation_is_not_lost_and_what_is_older_changes_nothing() {
    let site = TestEnvironment::new().await.unwrap();
    let mut marketing = site.start_marketing().unwrap();
    marketing.wait_ready(SOON).await.unwrap();
    let (_connection, channel) = open_channel(&site).await.unwrap();
    let update: Value =
        serde_json::from_str(include_str!("../../../contracts/samples/marketing.update-customer.v1.json"))
            .unwrap();
    let create = include_str!("../../../contracts/samples/marketing.create-customer.v1.json");
    let version = |version: u32| {
        let mut update = update.clone();
        update["version"] = version.into();
        update["full_name"] = format!("Version {version}").into();
        update.to_string()
    };
    let send = async |message_type: &str, body: &str| {
        publish(&channel, UpdateCustomer::EXCHANGE, message_type, properties(message_type), body.as_bytes())
            .await
            .unwrap();
    };
    let id = update["customer_id"].as_str().unwrap();
    send(UpdateCustomer::TYPE, &version(3)).await;
    marketing_has(&site, id, 3, "Version 3", "zoe@example.org", false).await;
    for _ in 0..2 {
        send(CreateCustomer::TYPE, create).await;
        send(UpdateCustomer::TYPE, &version(2)).await;
        send(UpdateCustomer::TYPE, &version(3)).await;
    }
    send(UpdateCustomer::TYPE, &version(4)).await;
    marketing_has(&site, id, 4, "Version 4", "zoe@example.org", false).await;
    wait_for_marketing_rows(&site, &[id.to_owned()], SOON).await.unwrap();
    for queue in ["marketing.create-customer", "marketing.update-customer"] {
        eventually(SOON, "all is done", async || {
            (site.management().depth(queue).await.ok()? == 0).then_some(())
        })
        .await
        .unwrap();
        assert_eq!(site.management().depth(&format!("{queue}.dead-letters")).await.unwrap(), 0);
    }
    marketing_has(&site, id, 4, "Version 4", "zoe@example.org", false).await;
}

#[tokio::test]
async fn every_version_can_be_sent_again_as_the_very_same_event() {
    let site = TestEnvironment::new().await.unwrap();
    let web_store = web_store(&site).await;
    let (link, id) = register(&web_store, "Ann").await;
    for name in ["Ann B", "Ann C"] {
        assert_eq!(edit(&link, name, false).await.status(), StatusCode::OK);
    }
    // Nobody is bound to receive events, so the outbox keeps them all.
    let database = site.web_store_database();
    let events = async || -> Vec<(String, String, String, String)> {
        let select =
            "SELECT message_id::text, message_type, correlation_id, body FROM outbox ORDER BY message_id";
        sqlx::query_as(select).fetch_all(&database).await.unwrap()
    };
    let sent = events().await;
    assert_eq!(sent.len(), 3);
    sqlx::query("DELETE FROM outbox").execute(&database).await.unwrap();
    let said = republish(&site, &["--customer", &id], "").await.unwrap();
    assert_eq!(said.stdout, "events: 3 written to the outbox, 0 waiting there already; unknown ids: 0\n");
    assert_eq!(events().await, sent);
}

#[tokio::test]
async fn a_customer_of_whom_only_an_earlier_version_still_waits_is_in_the_outbox() {
    let site = TestEnvironment::new().await.unwrap();
    let web_store = web_store(&site).await;
    let mut marketing = site.start_marketing().unwrap();
    marketing.wait_ready(SOON).await.unwrap();
    let (link, id) = register(&web_store, "Ann").await;
    assert_eq!(edit(&link, "Ann B", true).await.status(), StatusCode::OK);
    // As if the second had left, and then been lost.
    let lost = "DELETE FROM outbox WHERE message_type LIKE '%changed%'";
    assert_eq!(sqlx::query(lost).execute(&site.web_store_database()).await.unwrap().rows_affected(), 1);
    let report = async || -> Value {
        serde_json::from_str(&reconcile(&site, &["--patience", "0", "--json"]).await.unwrap().stdout).unwrap()
    };
    let books = report().await;
    assert_eq!((&books["in_outbox"], &books["missing"]), (&json!(1), &json!(0)), "{books}");

    let _transformer = site.start_transformer().unwrap();
    marketing_has(&site, &id, 1, "Ann", &email("Ann"), true).await;
    assert_eq!(report().await["arrived"], 1);
    assert_eq!(republish(&site, &["--customer", &id], "").await.unwrap().status, 0);
    marketing_has(&site, &id, 2, "Ann B", &email("Ann"), true).await;
}
