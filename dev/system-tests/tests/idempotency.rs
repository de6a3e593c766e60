//! A registration that is sent again, for whatever reason, registers nobody twice.

use futures_util::future::join_all;
use reqwest::{Response, StatusCode, header};
use serde_json::{Value, json};
use stack::service::Service;
use system_tests::customers::http_client;
use system_tests::{SOON, TestEnvironment};

async fn web_store(site: &TestEnvironment) -> Service {
    let mut web_store = site.start_web_store().unwrap();
    web_store.wait_ready(SOON).await.unwrap();
    web_store
}

/// The key in the form that the Web Store shows now.
async fn key_of_a_form(web_store: &Service) -> String {
    key_in(&http_client().unwrap().get(web_store.url()).send().await.unwrap().text().await.unwrap())
}

fn key_in(page: &str) -> String {
    let (_, rest) = page.split_once("name=\"idempotency_key\" value=\"").expect("a key in the form");
    rest.split_once('"').unwrap().0.to_owned()
}

async fn send_form(web_store: &Service, key: &str, name: &str, email: &str) -> Response {
    let form = [("idempotency_key", key), ("name", name), ("email", email)];
    http_client().unwrap().post(format!("{}/customers", web_store.url())).form(&form).send().await.unwrap()
}

async fn send_json(web_store: &Service, key: &str, name: &str) -> Response {
    let request =
        http_client().unwrap().post(format!("{}/customers", web_store.url())).header("Idempotency-Key", key);
    request.json(&json!({"name": name, "email": "ann@example.org"})).send().await.unwrap()
}

fn confirmation(answer: &Response) -> String {
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    answer.headers()[header::LOCATION].to_str().unwrap().to_owned()
}

async fn assert_registered(site: &TestEnvironment, customers: i64) {
    let count = "SELECT (SELECT count(*) FROM customers), (SELECT count(*) FROM outbox)";
    let counts: (i64, i64) = sqlx::query_as(count).fetch_one(&site.web_store_database()).await.unwrap();
    assert_eq!(counts, (customers, customers), "customers and outbox");
}

#[tokio::test]
async fn a_form_sent_again_one_after_another_or_at_once_leads_to_the_same_confirmation() {
    let site = TestEnvironment::new().await.unwrap();
    let web_store = web_store(&site).await;
    let key = key_of_a_form(&web_store).await;
    let answers = join_all((0..8).map(|_| send_form(&web_store, &key, "Ann", "ann@example.org"))).await;
    let first = confirmation(&answers[0]);
    assert!(answers.iter().all(|answer| confirmation(answer) == first));
    let later = send_form(&web_store, &key, " Ann ", "ann@example.org").await;
    assert_eq!(confirmation(&later), first, "what was meant counts, not how it was typed");
    assert_registered(&site, 1).await;
}

#[tokio::test]
async fn a_form_that_was_refused_keeps_its_key_until_it_succeeds() {
    let site = TestEnvironment::new().await.unwrap();
    let web_store = web_store(&site).await;
    let key = key_of_a_form(&web_store).await;
    let refused = send_form(&web_store, &key, "", "ann@example.org").await;
    assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(key_in(&refused.text().await.unwrap()), key);
    confirmation(&send_form(&web_store, &key, "Ann", "ann@example.org").await);
    assert_registered(&site, 1).await;
}

#[tokio::test]
async fn a_form_sent_again_with_other_details_changes_nothing_and_can_then_register_somebody_else() {
    let site = TestEnvironment::new().await.unwrap();
    let web_store = web_store(&site).await;
    let key = key_of_a_form(&web_store).await;
    confirmation(&send_form(&web_store, &key, "Ann", "ann@example.org").await);
    let answer = send_form(&web_store, &key, "Bob", "bob@example.org").await;
    assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let page = answer.text().await.unwrap();
    assert!(page.contains("You are registered already") && page.contains("value=\"Bob\""), "{page}");
    assert_registered(&site, 1).await;
    confirmation(&send_form(&web_store, &key_in(&page), "Bob", "bob@example.org").await);
    assert_registered(&site, 2).await;
}

#[tokio::test]
async fn an_address_that_somebody_else_has_is_taken_whatever_the_key() {
    let site = TestEnvironment::new().await.unwrap();
    let web_store = web_store(&site).await;
    let (key, another) = (key_of_a_form(&web_store).await, key_of_a_form(&web_store).await);
    assert_ne!(key, another);
    confirmation(&send_form(&web_store, &key, "Ann", "ann@example.org").await);
    let answer = send_form(&web_store, &another, "Ann", "ann@example.org").await;
    assert_eq!(answer.status(), StatusCode::CONFLICT);
    let answer = send_form(&web_store, "", "Ann", "ann@example.org").await;
    assert_eq!(answer.status(), StatusCode::CONFLICT);
    assert_registered(&site, 1).await;
}

#[tokio::test]
async fn json_with_the_key_of_an_earlier_request_gets_the_same_201() {
    let site = TestEnvironment::new().await.unwrap();
    let web_store = web_store(&site).await;
    let mut ids = Vec::new();
    for key in ["\"8e03978e-40d5-43dd-bc93-6894a57f9324\"", "8e03978e-40d5-43dd-bc93-6894a57f9324"] {
        let answer = send_json(&web_store, key, "Ann").await;
        assert_eq!(answer.status(), StatusCode::CREATED);
        let location = answer.headers()[header::LOCATION].to_str().unwrap().to_owned();
        let body: Value = answer.json().await.unwrap();
        assert_eq!(location, format!("/customers/{}", body["customer_id"].as_str().unwrap()));
        ids.push(location);
    }
    assert_eq!(ids[0], ids[1]);
    let other = send_json(&web_store, "8e03978e-40d5-43dd-bc93-6894a57f9324", "Bob").await;
    assert_eq!(other.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(send_json(&web_store, "two words", "Bob").await.status(), StatusCode::BAD_REQUEST);
    assert_registered(&site, 1).await;
}
