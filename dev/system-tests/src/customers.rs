//! Clients of the Web Store that register customers, and the places where a customer arrives.

use std::time::Duration;

use anyhow::Context;
use reqwest::{Client, Response, redirect::Policy};
use serde_json::{Value, json};
use stack::service::Service;

use crate::{TestEnvironment, eventually};

/// Exceeds the longest response time of the Web Store.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(15);

/// Returns an HTTP client that does not follow redirects.
///
/// # Errors
/// Returns an error if the client cannot be built.
pub fn http_client() -> anyhow::Result<Client> {
    let client = Client::builder().redirect(Policy::none()).timeout(RESPONSE_TIMEOUT);
    client.build().context("cannot build an HTTP client")
}

/// Posts the registration form with an e-mail address made from the name, and returns the response.
///
/// # Errors
/// Returns an error if the Web Store is unreachable.
pub async fn post_form(web_store: &Service, name: &str) -> anyhow::Result<Response> {
    let form = [("name", name), ("email", &email(name)), ("marketing_consent", "on")];
    let request = http_client()?.post(format!("{}/customers", web_store.url())).form(&form);
    request.send().await.context("POST /customers")
}

/// Registers a customer by JSON at the URL of a Web Store, and returns the customer's id.
///
/// # Errors
/// Returns an error if the Web Store is unreachable or does not confirm the registration.
pub async fn register_at(client: &Client, web_store_url: &str, name: &str) -> anyhow::Result<String> {
    let body = json!({"name": name, "email": email(name), "marketing_consent": true});
    let request = client.post(format!("{web_store_url}/customers")).json(&body);
    let body: Value = request.send().await?.error_for_status()?.json().await?;
    Ok(body["customer_id"].as_str().context("no customer_id in the response")?.to_owned())
}

/// Registers a customer by JSON and returns the customer's id.
///
/// # Errors
/// Returns an error if the Web Store is unreachable or does not confirm the registration.
pub async fn register(web_store: &Service, name: &str) -> anyhow::Result<String> {
    register_at(&http_client()?, &web_store.url(), name).await
}

/// Registers `count` customers one after another and returns their ids.
///
/// # Errors
/// Returns an error if the Web Store is unreachable or does not confirm a registration.
pub async fn register_many(web_store: &Service, count: usize) -> anyhow::Result<Vec<String>> {
    let client = http_client()?;
    let mut ids = Vec::with_capacity(count);
    for n in 0..count {
        ids.push(register_at(&client, &web_store.url(), &format!("Customer {n}")).await?);
    }
    Ok(ids)
}

/// Inserts `count` customers into the Web Store's table, without events in the outbox.
///
/// They are registered at intervals of one minute from 2026-01-31T00:00:00Z on.
///
/// # Errors
/// Returns an error if the table does not exist.
pub async fn insert_customers(environment: &TestEnvironment, count: i32) -> anyhow::Result<()> {
    let insert = "INSERT INTO customers (id, name, email, marketing_consent, registered_at, message_id)
        SELECT gen_random_uuid(), 'Customer ' || n, 'c' || n || '@example.org', true,
            '2026-01-31T00:00:00Z'::timestamptz + n * interval '1 minute', gen_random_uuid()
        FROM generate_series(0, $1 - 1) n";
    sqlx::query(insert).bind(count).execute(&environment.web_store_database()).await?;
    Ok(())
}

/// Waits until Marketing has exactly one row for each of these customers, and no other row.
///
/// # Errors
/// Returns an error if `deadline` passes.
pub async fn wait_for_marketing_rows(
    environment: &TestEnvironment,
    customers: &[String],
    deadline: Duration,
) -> anyhow::Result<()> {
    let mut expected = customers.to_vec();
    expected.sort();
    let condition = format!("{} customers in Marketing's table", expected.len());
    eventually(deadline, &condition, async || {
        let mut ids = marketing_ids(environment).await.ok()?;
        ids.sort();
        (ids == expected).then_some(())
    })
    .await
}

/// Returns the customer ids in Marketing's table.
///
/// # Errors
/// Returns an error while the table or the server does not exist.
pub async fn marketing_ids(environment: &TestEnvironment) -> anyhow::Result<Vec<String>> {
    let select = sqlx::query_scalar("SELECT customer_id FROM customers");
    Ok(select.fetch_all(&environment.marketing_database()).await?)
}

/// Returns the number of messages in the Web Store's outbox.
///
/// # Errors
/// Returns an error while the table or the server does not exist.
pub async fn outbox_depth(environment: &TestEnvironment) -> anyhow::Result<i64> {
    let select = sqlx::query_scalar("SELECT count(*) FROM outbox");
    Ok(select.fetch_one(&environment.web_store_database()).await?)
}

/// Waits until the Web Store's outbox holds exactly `messages` messages.
///
/// # Errors
/// Returns an error if `deadline` passes.
pub async fn wait_for_outbox_depth(
    environment: &TestEnvironment,
    messages: i64,
    deadline: Duration,
) -> anyhow::Result<()> {
    let condition = format!("{messages} messages in the outbox");
    eventually(deadline, &condition, async || {
        (outbox_depth(environment).await.ok()? == messages).then_some(())
    })
    .await
}

/// Returns an e-mail address made from the ASCII letters and digits of a name.
#[must_use]
pub fn email(name: &str) -> String {
    let local: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    format!("{}@example.org", local.to_lowercase())
}
