//! The Web Store's form and its JSON, with a real database: what is accepted, and every way to be refused.

use reqwest::{Body, Response, StatusCode, header};
use serde_json::{Value, json};
use stack::service::Service;
use system_tests::customers::{http_client, post_form, register};
use system_tests::{SOON, TestEnvironment};

async fn web_store(site: &TestEnvironment) -> Service {
    let mut web_store = site.start_web_store().unwrap();
    web_store.wait_ready(SOON).await.unwrap();
    web_store
}

async fn post(web_store: &Service, content_type: &str, body: impl Into<Body>) -> Response {
    let request = http_client().unwrap().post(format!("{}/customers", web_store.url()));
    request.header(header::CONTENT_TYPE, content_type).body(body).send().await.unwrap()
}

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

async fn assert_saved(site: &TestEnvironment, customers: i64) {
    let count = "SELECT (SELECT count(*) FROM customers), (SELECT count(*) FROM outbox)";
    let counts: (i64, i64) = sqlx::query_as(count).fetch_one(&site.web_store_database()).await.unwrap();
    // Nobody is bound to receive the events, so the outbox keeps them all.
    assert_eq!(counts, (customers, customers), "customers and outbox");
}

async fn assert_problem(answer: Response, status: u16) -> Value {
    assert_eq!(answer.status(), status);
    assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/problem+json");
    let problem: Value = answer.json().await.unwrap();
    assert_eq!(problem["status"], status);
    assert!(problem["title"].is_string());
    problem
}

#[tokio::test]
async fn a_form_leads_to_a_confirmation_that_can_be_reloaded() {
    let site = TestEnvironment::new().await.unwrap();
    let web_store = web_store(&site).await;
    let answer = post_form(&web_store, "Zoë Ó Dálaigh 王").await.unwrap();
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    let location = answer.headers()[header::LOCATION].to_str().unwrap().to_owned();
    for _ in 0..2 {
        let page = http_client()
            .unwrap()
            .get(format!("{}{location}", web_store.url()))
            .header(header::ACCEPT, "text/html");
        let page = page.send().await.unwrap();
        assert_eq!(page.status(), StatusCode::OK);
        assert!(page.text().await.unwrap().contains("You are registered"));
    }
    assert_saved(&site, 1).await;
}

#[tokio::test]
async fn json_gets_201_with_the_id_and_a_location_that_answers() {
    let site = TestEnvironment::new().await.unwrap();
    let web_store = web_store(&site).await;
    let body = json!({"name": " Ann ", "email": "ann@example.org"}).to_string();
    let answer = post(&web_store, "application/json; charset=utf-8", body).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    let location = answer.headers()[header::LOCATION].to_str().unwrap().to_owned();
    let id = answer.json::<Value>().await.unwrap()["customer_id"].as_str().unwrap().to_owned();
    assert_eq!(location, format!("/customers/{id}"));
    let found: Value = http_client()
        .unwrap()
        .get(format!("{}{location}", web_store.url()))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(found["customer_id"], id);

    let row: (String, bool) = sqlx::query_as("SELECT name, marketing_consent FROM customers")
        .fetch_one(&site.web_store_database())
        .await
        .unwrap();
    assert_eq!(row, ("Ann".to_owned(), false));
    assert_saved(&site, 1).await;
}

#[tokio::test]
async fn a_form_with_bad_fields_comes_back_with_422_what_was_typed_and_a_message_at_each_field() {
    let site = TestEnvironment::new().await.unwrap();
    let web_store = web_store(&site).await;
    let typed = "name=+%01&email=%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E&marketing_consent=on";
    let answer = post(&web_store, FORM, typed).await;
    assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let page = answer.text().await.unwrap();
    assert!(page.contains("id=\"name-error\"") && page.contains("id=\"email-error\""), "{page}");
    assert!(page.contains("alert(1)") && !page.contains("<script"), "what was typed, escaped: {page}");
    assert!(page.contains("checked"), "{page}");
    assert_saved(&site, 0).await;
}

#[tokio::test]
async fn json_with_bad_fields_gets_a_problem_that_names_them() {
    let site = TestEnvironment::new().await.unwrap();
    let web_store = web_store(&site).await;
    let body = json!({"name": "x".repeat(201), "email": "nobody", "marketing_consent": "perhaps"});
    let problem = assert_problem(post(&web_store, JSON, body.to_string()).await, 422).await;
    let fields: Vec<_> = problem["errors"].as_array().unwrap().iter().map(|error| &error["field"]).collect();
    assert_eq!(fields, ["name", "email", "marketing_consent"]);
    assert_saved(&site, 0).await;
}

#[tokio::test]
async fn a_taken_email_gets_409_whatever_its_case() {
    let site = TestEnvironment::new().await.unwrap();
    let web_store = web_store(&site).await;
    register(&web_store, "Ann").await.unwrap();
    let answer = post(&web_store, FORM, "name=Another+Ann&email=ANN%40example.ORG").await;
    assert_eq!(answer.status(), StatusCode::CONFLICT);
    let page = answer.text().await.unwrap();
    assert!(page.contains("Another Ann") && page.contains("id=\"email-error\""), "{page}");
    let body = json!({"name": "Ann", "email": "ann@EXAMPLE.org"}).to_string();
    let problem = assert_problem(post(&web_store, JSON, body).await, 409).await;
    assert_eq!(problem["errors"][0]["field"], "email");
    assert_saved(&site, 1).await;
}

#[tokio::test]
async fn what_is_neither_a_form_nor_json_gets_415() {
    let site = TestEnvironment::new().await.unwrap();
    let web_store = web_store(&site).await;
    for content_type in ["text/plain", "multipart/form-data; boundary=x", "application/xml", ""] {
        assert_problem(post(&web_store, content_type, "name=Ann").await, 415).await;
    }
    assert_saved(&site, 0).await;
}

#[tokio::test]
async fn more_than_16_kib_gets_413() {
    let site = TestEnvironment::new().await.unwrap();
    let web_store = web_store(&site).await;
    let fits = format!("name=Ann&email=ann%40example.org&rest={}", "x".repeat(16_000));
    assert_eq!(post(&web_store, FORM, fits).await.status(), StatusCode::SEE_OTHER);
    let body = format!("{{\"name\":\"{}\"}}", "x".repeat(16 * 1024));
    assert_problem(post(&web_store, JSON, body.clone()).await, 413).await;
    // Without a length in advance, too.
    let chunks = body
        .into_bytes()
        .chunks(1000)
        .map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec()))
        .collect::<Vec<_>>();
    let body = Body::wrap_stream(futures_util::stream::iter(chunks));
    let answer = post(&web_store, FORM, body).await;
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert!(answer.text().await.unwrap().contains("16 KiB"));
    assert_saved(&site, 1).await;
}

#[tokio::test]
async fn what_is_not_utf8_or_not_json_gets_400() {
    let site = TestEnvironment::new().await.unwrap();
    let web_store = web_store(&site).await;
    for body in [&b"{"[..], b"", b"[1]", b"{\"name\": \"\xff\"}", b"{\"name\": 1}", b"{} {}"] {
        assert_problem(post(&web_store, JSON, body).await, 400).await;
    }
    for body in [&b"name=%FF"[..], b"name=\xff\xfe"] {
        let answer = post(&web_store, FORM, body).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
        assert!(answer.text().await.unwrap().contains("not UTF-8"));
    }
    assert_saved(&site, 0).await;
}

#[tokio::test]
async fn what_looks_like_sql_or_html_is_a_name_like_any_other() {
    let site = TestEnvironment::new().await.unwrap();
    let web_store = web_store(&site).await;
    let name = "Robert'); DROP TABLE customers;-- <b>\\";
    let body = json!({"name": name, "email": "o'brien+{}$1@example.org"}).to_string();
    assert_eq!(post(&web_store, JSON, body).await.status(), StatusCode::CREATED);
    let saved: String =
        sqlx::query_scalar("SELECT name FROM customers").fetch_one(&site.web_store_database()).await.unwrap();
    assert_eq!(saved, name);
    assert_saved(&site, 1).await;
}

#[tokio::test]
async fn an_unknown_page_or_customer_gets_404() {
    let site = TestEnvironment::new().await.unwrap();
    let web_store = web_store(&site).await;
    for path in ["/nothing", "/customers/1", "/customers/01938c5e-7b1a-7c3e-9f00-5d2a8e4b6c71"] {
        let answer = http_client().unwrap().get(format!("{}{path}", web_store.url())).send().await.unwrap();
        assert_problem(answer, 404).await;
    }
}
