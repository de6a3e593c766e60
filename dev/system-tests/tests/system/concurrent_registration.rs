//! Simultaneous registrations that share a commit: each gets its own, correct response.

use futures_util::future::try_join_all;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;
use stack::service::Service;
use system_tests::{SOON, TestEnvironment, customers::http_client, eventually};
use tokio::try_join;

/// A registration request.
struct Request {
    email: String,
    idempotency_key: Option<String>,
}

/// The response to a [`Request`]. The id is empty if the registration was refused.
type Outcome = (StatusCode, String);

/// Sends all requests while the table is locked, so that they share commits. Returns their responses in order.
async fn register_simultaneously(
    environment: &TestEnvironment,
    web_store: &Service,
    requests: &[Request],
) -> anyhow::Result<Vec<Outcome>> {
    let (client, database) = (http_client()?, environment.web_store_database());
    let mut lock = database.begin().await?;
    sqlx::query("LOCK TABLE customers IN SHARE MODE").execute(&mut *lock).await?;
    let responses = try_join_all(requests.iter().map(|request| register(&client, web_store, request)));
    let unlock = async {
        let waiting = async || (waiting_statements(&database).await.ok()? >= 2).then_some(());
        eventually(SOON, "two statements wait for the lock", waiting).await?;
        Ok(lock.commit().await?)
    };
    let (responses, ()) = try_join!(responses, unlock)?;
    Ok(responses)
}

async fn register(client: &Client, web_store: &Service, request: &Request) -> anyhow::Result<Outcome> {
    let body = json!({"name": "Ann", "email": request.email});
    let mut post = client.post(format!("{}/customers", web_store.url())).json(&body);
    if let Some(key) = &request.idempotency_key {
        post = post.header("Idempotency-Key", key);
    }
    let response = post.send().await?;
    let status = response.status();
    let body: Value = response.json().await?;
    Ok((status, body["customer_id"].as_str().unwrap_or_default().to_owned()))
}

/// Returns the number of statements that wait for a lock on the customers.
async fn waiting_statements(database: &PgPool) -> sqlx::Result<i64> {
    let select = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'customers'::regclass";
    sqlx::query_scalar(select).fetch_one(database).await
}

/// Returns the ids of all customers, and the customer ids of all events, each in order.
async fn saved_ids(environment: &TestEnvironment) -> anyhow::Result<[Vec<String>; 2]> {
    let database = environment.web_store_database();
    let customers = sqlx::query_scalar("SELECT id::text FROM customers ORDER BY 1");
    let events = sqlx::query_scalar("SELECT body::json ->> 'customer_id' FROM outbox ORDER BY 1");
    Ok([customers.fetch_all(&database).await?, events.fetch_all(&database).await?])
}

#[tokio::test]
async fn same_email_registers_once_and_others_get_409() -> anyhow::Result<()> {
    let (environment, web_store) = TestEnvironment::with_web_store().await?;
    let spellings = ["ann", "Ann", "ANN", "aNN"];
    let email = |n: usize| format!("{}{}@example.org", spellings[n % 4], n / 4);
    let requests: Vec<_> = (0..100).map(|n| Request { email: email(n), idempotency_key: None }).collect();
    let responses = register_simultaneously(&environment, &web_store, &requests).await?;
    for address in responses.chunks(spellings.len()) {
        let count = |expected| address.iter().filter(|(status, _)| *status == expected).count();
        assert_eq!((count(StatusCode::CREATED), count(StatusCode::CONFLICT)), (1, 3), "{address:?}");
    }
    let mut registered: Vec<_> =
        responses.into_iter().map(|(_, id)| id).filter(|id| !id.is_empty()).collect();
    registered.sort();
    assert_eq!(saved_ids(&environment).await?, [registered.clone(), registered]);
    Ok(())
}

#[tokio::test]
async fn same_idempotency_key_registers_once_for_all() -> anyhow::Result<()> {
    let (environment, web_store) = TestEnvironment::with_web_store().await?;
    let request = |n| Request {
        email: format!("ann{}@example.org", n / 3),
        idempotency_key: Some(format!("attempt-{}", n / 3)),
    };
    let requests: Vec<_> = (0..60).map(request).collect();
    let responses = register_simultaneously(&environment, &web_store, &requests).await?;
    let mut registered = Vec::new();
    for attempt in responses.chunks(3) {
        let first = (StatusCode::CREATED, attempt[0].1.clone());
        assert!(attempt.iter().all(|response| *response == first), "{attempt:?}");
        registered.push(attempt[0].1.clone());
    }
    registered.sort();
    assert_eq!(saved_ids(&environment).await?, [registered.clone(), registered]);
    Ok(())
}

#[tokio::test]
async fn rejected_row_does_not_affect_its_batch() -> anyhow::Result<()> {
    let (environment, web_store) = TestEnvironment::with_web_store().await?;
    let reject_bob = "
        CREATE FUNCTION reject() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not Bob'; END $$;
        CREATE TRIGGER reject BEFORE INSERT ON customers FOR EACH ROW
            WHEN (NEW.email LIKE 'bob%') EXECUTE FUNCTION reject();";
    sqlx::raw_sql(reject_bob).execute(&environment.web_store_database()).await?;
    let email = |n| format!("{}{n}@example.org", if n == 25 { "bob" } else { "ann" });
    let requests: Vec<_> = (0..50).map(|n| Request { email: email(n), idempotency_key: None }).collect();
    let responses = register_simultaneously(&environment, &web_store, &requests).await?;
    for (n, (status, _)) in responses.iter().enumerate() {
        let expected = if n == 25 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::CREATED };
        assert_eq!(*status, expected, "{n}");
    }
    assert_eq!(saved_ids(&environment).await?.map(|ids| ids.len()), [49, 49]);
    Ok(())
}
