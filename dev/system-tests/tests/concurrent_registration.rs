//! Many who register at the same moment, and share a commit: each gets their own answer, and it is true.

use futures_util::future::join_all;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;
use stack::service::Service;
use system_tests::customers::http_client;
use system_tests::{SOON, TestEnvironment, eventually};

async fn web_store(site: &TestEnvironment) -> Service {
    let mut web_store = site.start_web_store().unwrap();
    web_store.wait_ready(SOON).await.unwrap();
    web_store
}

/// Sends all while nobody can be saved, so that they wait for the same commits; status and customer of each.
async fn register_together(
    site: &TestEnvironment,
    web_store: &Service,
    requests: &[(String, Option<String>)],
) -> Vec<(StatusCode, String)> {
    let (client, database) = (http_client().unwrap(), site.web_store_database());
    let mut lock = database.begin().await.unwrap();
    sqlx::query("LOCK TABLE customers IN SHARE MODE").execute(&mut *lock).await.unwrap();
    let answers =
        join_all(requests.iter().map(|(email, key)| register(&client, web_store, email, key.as_deref())));
    let unlock = async {
        eventually(SOON, "two commits that wait", async || somebody_waits(&database).await).await.unwrap();
        lock.commit().await.unwrap();
    };
    tokio::join!(answers, unlock).0
}

async fn register(
    client: &Client,
    web_store: &Service,
    email: &str,
    key: Option<&str>,
) -> (StatusCode, String) {
    let body = json!({"name": "Ann", "email": email});
    let mut request = client.post(format!("{}/customers", web_store.url())).json(&body);
    if let Some(key) = key {
        request = request.header("Idempotency-Key", key);
    }
    let answer = request.send().await.unwrap();
    let status = answer.status();
    let body: Value = answer.json().await.unwrap();
    (status, body["customer_id"].as_str().unwrap_or_default().to_owned())
}

async fn somebody_waits(database: &PgPool) -> Option<()> {
    let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'customers'::regclass";
    let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(database).await.ok()?;
    (waiting >= 2).then_some(())
}

/// The ids of all who are saved, and of all of whom an event tells, both in order.
async fn saved(site: &TestEnvironment) -> [Vec<String>; 2] {
    let database = site.web_store_database();
    let mut ids = [Vec::new(), Vec::new()];
    let queries = [
        "SELECT id::text FROM customers ORDER BY 1",
        "SELECT body::json ->> 'customer_id' FROM outbox ORDER BY 1",
    ];
    for (query, ids) in queries.into_iter().zip(&mut ids) {
        *ids = sqlx::query_scalar(query).fetch_all(&database).await.unwrap();
    }
    ids
}

#[tokio::test]
async fn of_those_with_the_same_address_one_is_registered_and_the_others_are_told_so() {
    let site = TestEnvironment::new().await.unwrap();
    let web_store = web_store(&site).await;
    let spellings = ["ann", "Ann", "ANN", "aNN"];
    let requests: Vec<_> =
        (0..100).map(|n| (format!("{}{}@example.org", spellings[n % 4], n / 4), None)).collect();
    let answers = register_together(&site, &web_store, &requests).await;
    for address in answers.chunks(spellings.len()) {
        let count = |status| address.iter().filter(|(answered, _)| *answered == status).count();
        assert_eq!((count(StatusCode::CREATED), count(StatusCode::CONFLICT)), (1, 3), "{address:?}");
    }
    let mut registered: Vec<_> = answers.into_iter().map(|(_, id)| id).filter(|id| !id.is_empty()).collect();
    registered.sort();
    assert_eq!(saved(&site).await, [registered.clone(), registered]);
}

#[tokio::test]
async fn the_same_attempt_sent_several_times_at_once_is_one_registration_for_all_of_them() {
    let site = TestEnvironment::new().await.unwrap();
    let web_store = web_store(&site).await;
    let requests: Vec<_> =
        (0..60).map(|n| (format!("ann{}@example.org", n / 3), Some(format!("attempt-{}", n / 3)))).collect();
    let answers = register_together(&site, &web_store, &requests).await;
    let mut registered = Vec::new();
    for attempt in answers.chunks(3) {
        assert!(
            attempt.iter().all(|answer| *answer == (StatusCode::CREATED, attempt[0].1.clone())),
            "{attempt:?}"
        );
        registered.push(attempt[0].1.clone());
    }
    registered.sort();
    assert_eq!(saved(&site).await, [registered.clone(), registered]);
}

#[tokio::test]
async fn a_row_that_the_database_refuses_is_the_trouble_of_nobody_else() {
    let site = TestEnvironment::new().await.unwrap();
    let web_store = web_store(&site).await;
    let refuse_bob = "
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not Bob'; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON customers FOR EACH ROW
            WHEN (NEW.email LIKE 'bob%') EXECUTE FUNCTION refuse();";
    sqlx::raw_sql(refuse_bob).execute(&site.web_store_database()).await.unwrap();
    let name = |n| if n == 25 { "bob" } else { "ann" };
    let requests: Vec<_> = (0..50).map(|n| (format!("{}{n}@example.org", name(n)), None)).collect();
    let answers = register_together(&site, &web_store, &requests).await;
    for (n, (status, _)) in answers.iter().enumerate() {
        let expected = if n == 25 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::CREATED };
        assert_eq!(*status, expected, "{n}");
    }
    assert_eq!(saved(&site).await.map(|ids| ids.len()), [49, 49]);
}
