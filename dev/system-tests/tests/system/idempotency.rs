//! A repeated registration request registers the customer only once.

use futures_util::future::try_join_all;
use reqwest::{Response, StatusCode, header};
use serde_json::{Value, json};
use stack::service::Service;
use system_tests::{TestEnvironment, customers::http_client};

/// Requests the form and returns its idempotency key.
async fn request_key(web_store: &Service) -> anyhow::Result<String> {
    Ok(key_in(&http_client()?.get(web_store.url()).send().await?.text().await?))
}

fn key_in(page: &str) -> String {
    let (_, rest) = page.split_once("name=\"idempotency_key\" value=\"").unwrap();
    rest.split_once('"').unwrap().0.to_owned()
}

async fn send_form(web_store: &Service, key: &str, name: &str, email: &str) -> anyhow::Result<Response> {
    let form = [("idempotency_key", key), ("name", name), ("email", email)];
    Ok(http_client()?.post(format!("{}/customers", web_store.url())).form(&form).send().await?)
}

async fn send_json(web_store: &Service, key: &str, name: &str) -> anyhow::Result<Response> {
    let request = http_client()?.post(format!("{}/customers", web_store.url()));
    let body = json!({"name": name, "email": "ann@example.org"});
    Ok(request.header("Idempotency-Key", key).json(&body).send().await?)
}

/// Returns the location of the confirmation. Panics if the response is not a redirect.
fn confirmation(response: &Response) -> &str {
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    response.headers()[header::LOCATION].to_str().unwrap()
}

async fn assert_registered(environment: &TestEnvironment, customers: i64) -> anyhow::Result<()> {
    let select = "SELECT (SELECT count(*) FROM customers), (SELECT count(*) FROM outbox)";
    let counts: (i64, i64) = sqlx::query_as(select).fetch_one(&environment.web_store_database()).await?;
    assert_eq!(counts, (customers, customers), "customers and outbox");
    Ok(())
}

#[tokio::test]
async fn repeated_form_redirects_to_same_confirmation() -> anyhow::Result<()> {
    let (environment, web_store) = TestEnvironment::with_web_store().await?;
    let key = request_key(&web_store).await?;
    let requests = (0..8).map(|_| send_form(&web_store, &key, "Ann", "ann@example.org"));
    let responses = try_join_all(requests).await?;
    let first = confirmation(&responses[0]);
    assert!(responses.iter().all(|response| confirmation(response) == first));
    let later = send_form(&web_store, &key, " Ann ", "ann@example.org").await?;
    assert_eq!(confirmation(&later), first, "blanks around a name make a difference");
    assert_registered(&environment, 1).await
}

#[tokio::test]
async fn refused_form_keeps_its_key_until_it_succeeds() -> anyhow::Result<()> {
    let (environment, web_store) = TestEnvironment::with_web_store().await?;
    let key = request_key(&web_store).await?;
    let refused = send_form(&web_store, &key, "", "ann@example.org").await?;
    assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(key_in(&refused.text().await?), key);
    confirmation(&send_form(&web_store, &key, "Ann", "ann@example.org").await?);
    assert_registered(&environment, 1).await
}

#[tokio::test]
async fn repeated_form_with_other_details_gets_new_key() -> anyhow::Result<()> {
    let (environment, web_store) = TestEnvironment::with_web_store().await?;
    let key = request_key(&web_store).await?;
    confirmation(&send_form(&web_store, &key, "Ann", "ann@example.org").await?);
    let response = send_form(&web_store, &key, "Bob", "bob@example.org").await?;
    assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let page = response.text().await?;
    assert!(page.contains("You are registered already") && page.contains("value=\"Bob\""), "{page}");
    assert_registered(&environment, 1).await?;
    confirmation(&send_form(&web_store, &key_in(&page), "Bob", "bob@example.org").await?);
    assert_registered(&environment, 2).await
}

#[tokio::test]
async fn taken_email_is_refused_regardless_of_key() -> anyhow::Result<()> {
    let (environment, web_store) = TestEnvironment::with_web_store().await?;
    let (key, other_key) = (request_key(&web_store).await?, request_key(&web_store).await?);
    assert_ne!(key, other_key);
    confirmation(&send_form(&web_store, &key, "Ann", "ann@example.org").await?);
    let response = send_form(&web_store, &other_key, "Ann", "ann@example.org").await?;
    assert_eq!(response.status(), StatusCode::CONFLICT);
    let response = send_form(&web_store, "", "Ann", "ann@example.org").await?;
    assert_eq!(response.status(), StatusCode::CONFLICT);
    assert_registered(&environment, 1).await
}

#[tokio::test]
async fn json_request_with_used_key_returns_same_201() -> anyhow::Result<()> {
    let (environment, web_store) = TestEnvironment::with_web_store().await?;
    let mut locations = Vec::new();
    for key in ["\"8e03978e-40d5-43dd-bc93-6894a57f9324\"", "8e03978e-40d5-43dd-bc93-6894a57f9324"] {
        let response = send_json(&web_store, key, "Ann").await?;
        assert_eq!(response.status(), StatusCode::CREATED);
        let location = response.headers()[header::LOCATION].to_str()?.to_owned();
        let body: Value = response.json().await?;
        assert_eq!(location, format!("/customers/{}", body["customer_id"].as_str().unwrap()));
        locations.push(location);
    }
    assert_eq!(locations[0], locations[1]);
    let other = send_json(&web_store, "8e03978e-40d5-43dd-bc93-6894a57f9324", "Bob").await?;
    assert_eq!(other.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(send_json(&web_store, "two words", "Bob").await?.status(), StatusCode::BAD_REQUEST);
    assert_registered(&environment, 1).await
}
