//! Registering at the Web Store and looking into Marketing, as people would.

use std::time::Duration;

use reqwest::{Client, Response};
use serde_json::{Value, json};

use super::{TestEnvironment, eventually};
use stack::service::Service;

/// Longer than any answer of the Web Store may take.
const ANSWER: Duration = Duration::from_secs(15);

/// A client as a browser is one, but for following redirects.
#[must_use]
pub fn browser() -> Client {
    let client = Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(ANSWER);
    client.build().expect("a client")
}

/// Posts the form of the Web Store with an address made from the name.
pub async fn post_form(web_store: &Service, name: &str) -> Response {
    let form = [("name", name), ("email", &email(name)), ("marketing_consent", "on")];
    let request = browser().post(format!("{}/customers", web_store.url())).form(&form);
    request.send().await.expect("an answer from the Web Store")
}

/// Registers somebody by JSON at a Web Store's URL; the customer's id if it said that they are registered.
pub async fn try_register(client: &Client, web_store: &str, name: &str) -> Option<String> {
    let body = json!({"name": name, "email": email(name), "marketing_consent": true});
    let request = client.post(format!("{web_store}/customers")).json(&body);
    let answer = request.send().await.ok()?.error_for_status().ok()?;
    let body: Value = answer.json().await.ok()?;
    Some(body["customer_id"].as_str()?.to_owned())
}

/// Registers somebody by JSON; the customer's id.
pub async fn register(web_store: &Service, name: &str) -> String {
    try_register(&browser(), &web_store.url(), name).await.expect("registered")
}

/// Registers so many people; their ids.
pub async fn register_many(web_store: &Service, count: usize) -> Vec<String> {
    let client = browser();
    let mut ids = Vec::with_capacity(count);
    for n in 0..count {
        ids.push(
            try_register(&client, &web_store.url(), &format!("Customer {n}")).await.expect("registered"),
        );
    }
    ids
}

/// Waits until Marketing has exactly one row for each of these customers, and no other.
pub async fn arrive_in_marketing(site: &TestEnvironment, customers: &[String], within: Duration) {
    let mut expected = customers.to_vec();
    expected.sort();
    let what = format!("{} customers in Marketing's table", expected.len());
    let rows = async || {
        let mut rows = marketing_ids(site).await?;
        rows.sort();
        (rows == expected).then_some(())
    };
    eventually(within, &what, rows).await;
}

/// The ids in Marketing's table; `None` while there is no table or no server.
pub async fn marketing_ids(site: &TestEnvironment) -> Option<Vec<String>> {
    let select = sqlx::query_scalar("SELECT customer_id FROM customers");
    select.fetch_all(&site.marketing_database()).await.ok()
}

/// How many messages wait in the Web Store's outbox; `None` while there is no table or no server.
pub async fn outbox_depth(site: &TestEnvironment) -> Option<i64> {
    sqlx::query_scalar("SELECT count(*) FROM outbox").fetch_one(&site.web_store_database()).await.ok()
}

/// Waits until so many messages wait in the outbox.
pub async fn outbox_holds(site: &TestEnvironment, messages: i64, within: Duration) {
    let what = format!("{messages} messages in the outbox");
    eventually(within, &what, async || (outbox_depth(site).await == Some(messages)).then_some(())).await;
}

/// An address made from a name's ASCII letters and digits.
#[must_use]
pub fn email(name: &str) -> String {
    let local: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    format!("{}@example.org", local.to_lowercase())
}
