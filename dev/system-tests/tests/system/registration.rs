//! The registration form and its JSON equivalent with a real database: valid input and each kind of refusal.

use std::io;

use reqwest::{Body, Response, StatusCode, header};
use serde_json::{Value, json};
use stack::service::Service;
use system_tests::{
    TestEnvironment,
    customers::{http_client, post_form, register},
};

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

async fn post(web_store: &Service, content_type: &str, body: impl Into<Body>) -> anyhow::Result<Response> {
    let request = http_client()?.post(format!("{}/customers", web_store.url()));
    Ok(request.header(header::CONTENT_TYPE, content_type).body(body).send().await?)
}

async fn assert_saved(environment: &TestEnvironment, customers: i64) -> anyhow::Result<()> {
    let select = "SELECT (SELECT count(*) FROM customers), (SELECT count(*) FROM outbox)";
    let counts: (i64, i64) = sqlx::query_as(select).fetch_one(&environment.web_store_database()).await?;
    // No queue is bound, so all events stay in the outbox.
    assert_eq!(counts, (customers, customers), "customers and outbox");
    Ok(())
}

async fn assert_problem(response: Response, status: u16) -> anyhow::Result<Value> {
    assert_eq!(response.status(), status);
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    let problem: Value = response.json().await?;
    assert_eq!(problem["status"], status);
    assert!(problem["title"].is_string());
    Ok(problem)
}

#[tokio::test]
async fn form_redirects_to_confirmation_that_can_be_reloaded() -> anyhow::Result<()> {
    let (environment, web_store) = TestEnvironment::with_web_store().await?;
    let response = post_form(&web_store, "Zoë Ó Dálaigh 王").await?;
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    let location = response.headers()[header::LOCATION].to_str()?;
    for _ in 0..2 {
        let request = http_client()?.get(format!("{}{location}", web_store.url()));
        let page = request.header(header::ACCEPT, "text/html").send().await?;
        assert_eq!(page.status(), StatusCode::OK);
        assert!(page.text().await?.contains("You are registered"));
    }
    assert_saved(&environment, 1).await
}

#[tokio::test]
async fn json_request_returns_201_with_id_and_location() -> anyhow::Result<()> {
    let (environment, web_store) = TestEnvironment::with_web_store().await?;
    let body = json!({"name": " Ann ", "email": "ann@example.org"}).to_string();
    let response = post(&web_store, "application/json; charset=utf-8", body).await?;
    assert_eq!(response.status(), StatusCode::CREATED);
    let location = response.headers()[header::LOCATION].to_str()?.to_owned();
    let id = response.json::<Value>().await?["customer_id"].as_str().unwrap().to_owned();
    assert_eq!(location, format!("/customers/{id}"));
    let customer = http_client()?.get(format!("{}{location}", web_store.url())).send().await?;
    assert_eq!(customer.json::<Value>().await?["customer_id"], id);

    let row: (String, bool) = sqlx::query_as("SELECT name, marketing_consent FROM customers")
        .fetch_one(&environment.web_store_database())
        .await?;
    assert_eq!(row, ("Ann".to_owned(), false));
    assert_saved(&environment, 1).await
}

#[tokio::test]
async fn invalid_form_returns_422_with_input_and_field_messages() -> anyhow::Result<()> {
    let (environment, web_store) = TestEnvironment::with_web_store().await?;
    let input = "name=+%01&email=%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E&marketing_consent=on";
    let response = post(&web_store, FORM, input).await?;
    assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let page = response.text().await?;
    assert!(page.contains("id=\"name-error\"") && page.contains("id=\"email-error\""), "{page}");
    assert!(page.contains("alert(1)") && !page.contains("<script"), "the input is not escaped: {page}");
    assert!(page.contains("checked"), "{page}");
    assert_saved(&environment, 0).await
}

#[tokio::test]
async fn invalid_json_fields_are_listed_in_problem() -> anyhow::Result<()> {
    let (environment, web_store) = TestEnvironment::with_web_store().await?;
    let body = json!({"name": "x".repeat(201), "email": "not-an-email", "marketing_consent": "perhaps"});
    let problem = assert_problem(post(&web_store, JSON, body.to_string()).await?, 422).await?;
    let fields: Vec<_> = problem["errors"].as_array().unwrap().iter().map(|error| &error["field"]).collect();
    assert_eq!(fields, ["name", "email", "marketing_consent"]);
    assert_saved(&environment, 0).await
}

#[tokio::test]
async fn taken_email_returns_409_regardless_of_case() -> anyhow::Result<()> {
    let (environment, web_store) = TestEnvironment::with_web_store().await?;
    register(&web_store, "Ann").await?;
    let response = post(&web_store, FORM, "name=Another+Ann&email=ANN%40example.ORG").await?;
    assert_eq!(response.status(), StatusCode::CONFLICT);
    let page = response.text().await?;
    assert!(page.contains("Another Ann") && page.contains("id=\"email-error\""), "{page}");
    let body = json!({"name": "Ann", "email": "ann@EXAMPLE.org"}).to_string();
    let problem = assert_problem(post(&web_store, JSON, body).await?, 409).await?;
    assert_eq!(problem["errors"][0]["field"], "email");
    assert_saved(&environment, 1).await
}

#[tokio::test]
async fn unsupported_content_type_returns_415() -> anyhow::Result<()> {
    let (environment, web_store) = TestEnvironment::with_web_store().await?;
    for content_type in ["text/plain", "multipart/form-data; boundary=x", "application/xml", ""] {
        assert_problem(post(&web_store, content_type, "name=Ann").await?, 415).await?;
    }
    assert_saved(&environment, 0).await
}

#[tokio::test]
async fn body_over_16_kib_returns_413() -> anyhow::Result<()> {
    let (environment, web_store) = TestEnvironment::with_web_store().await?;
    let below_limit = format!("name=Ann&email=ann%40example.org&rest={}", "x".repeat(16_000));
    assert_eq!(post(&web_store, FORM, below_limit).await?.status(), StatusCode::SEE_OTHER);
    let body = format!("{{\"name\":\"{}\"}}", "x".repeat(16 * 1024));
    assert_problem(post(&web_store, JSON, body.clone()).await?, 413).await?;
    // The limit also applies to a body of unknown length.
    let chunks: Vec<_> = body.into_bytes().chunks(1000).map(<[u8]>::to_vec).map(Ok::<_, io::Error>).collect();
    let body = Body::wrap_stream(futures_util::stream::iter(chunks));
    let response = post(&web_store, FORM, body).await?;
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert!(response.text().await?.contains("16 KiB"));
    assert_saved(&environment, 1).await
}

#[tokio::test]
async fn body_that_is_not_utf8_or_not_json_returns_400() -> anyhow::Result<()> {
    let (environment, web_store) = TestEnvironment::with_web_store().await?;
    for body in [&b"{"[..], b"", b"[1]", b"{\"name\": \"\xff\"}", b"{\"name\": 1}", b"{} {}"] {
        assert_problem(post(&web_store, JSON, body).await?, 400).await?;
    }
    for body in [&b"name=%FF"[..], b"name=\xff\xfe"] {
        let response = post(&web_store, FORM, body).await?;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert!(response.text().await?.contains("not UTF-8"));
    }
    assert_saved(&environment, 0).await
}

#[tokio::test]
async fn name_with_sql_and_html_is_saved_unchanged() -> anyhow::Result<()> {
    let (environment, web_store) = TestEnvironment::with_web_store().await?;
    let name = "Robert'); DROP TABLE customers;-- <b>\\";
    let body = json!({"name": name, "email": "o'brien+{}$1@example.org"}).to_string();
    assert_eq!(post(&web_store, JSON, body).await?.status(), StatusCode::CREATED);
    let select = sqlx::query_scalar("SELECT name FROM customers");
    let saved: String = select.fetch_one(&environment.web_store_database()).await?;
    assert_eq!(saved, name);
    assert_saved(&environment, 1).await
}

#[tokio::test]
async fn unknown_page_or_customer_returns_404() -> anyhow::Result<()> {
    let (_environment, web_store) = TestEnvironment::with_web_store().await?;
    for path in ["/nothing", "/customers/1", "/customers/01938c5e-7b1a-7c3e-9f00-5d2a8e4b6c71"] {
        let response = http_client()?.get(format!("{}{path}", web_store.url())).send().await?;
        assert_problem(response, 404).await?;
    }
    Ok(())
}
