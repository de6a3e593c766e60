//! Changes of a customer's details in the Web Store, by the holder of the edit link, and their arrival in
//! Marketing.

use std::collections::HashSet;

use anyhow::Context;
use contracts::{
    CreateCustomer, Message, UpdateCustomer,
    topology::{MARKETING_CREATE_CUSTOMER, MARKETING_UPDATE_CUSTOMER},
};
use futures_util::future::try_join_all;
use reqwest::{Response, StatusCode, header};
use serde_json::{Value, json};
use stack::service::{Program, Service};
use system_tests::{
    NO_REPLAY, SOON, TestEnvironment,
    broker_client::{open_channel, properties, publish},
    customers::{email, http_client, post_form, wait_for_marketing_rows, wait_for_outbox_depth},
    eventually,
    programs::{reconcile, republish},
};

/// Registers a customer with the form and returns the edit link and the customer's id.
async fn register(web_store: &Service, name: &str) -> anyhow::Result<(String, String)> {
    let response = post_form(web_store, name).await?;
    let location = response.headers()[header::LOCATION].to_str()?;
    let id = location.strip_prefix("/customers/").unwrap().split('?').next().unwrap().to_owned();
    Ok((format!("{}{location}", web_store.url()), id))
}

async fn edit(link: &str, name: &str, consent: bool) -> anyhow::Result<Response> {
    let body = json!({"name": name, "marketing_consent": consent});
    Ok(http_client()?.post(link).json(&body).send().await?)
}

async fn get_page(link: &str) -> anyhow::Result<Response> {
    Ok(http_client()?.get(link).header(header::ACCEPT, "text/html").send().await?)
}

#[derive(Debug, sqlx::FromRow)]
struct Version {
    number: i32,
    name: String,
    marketing_consent: bool,
    message_id: String,
}

/// Returns all versions of a customer in the Web Store, in order.
async fn versions(environment: &TestEnvironment, id: &str) -> anyhow::Result<Vec<Version>> {
    let select = "SELECT version AS number, name, marketing_consent, message_id::text FROM versions
        WHERE customer_id = $1::uuid ORDER BY version";
    Ok(sqlx::query_as(select).bind(id).fetch_all(&environment.web_store_database()).await?)
}

/// Returns the number of a customer's newest version in the Web Store.
async fn newest_version(environment: &TestEnvironment, id: &str) -> anyhow::Result<u32> {
    let versions = versions(environment, id).await?;
    Ok(versions.last().context("a version")?.number.try_into()?)
}

/// A row of Marketing's table.
#[derive(Debug, PartialEq, sqlx::FromRow)]
struct Row {
    version: u32,
    full_name: String,
    email_address: String,
    email_opt_in: bool,
}

impl Row {
    fn new(version: u32, full_name: &str, email_address: &str, email_opt_in: bool) -> Self {
        Self { version, full_name: full_name.into(), email_address: email_address.into(), email_opt_in }
    }
}

/// Waits until Marketing has this row of a customer.
async fn wait_for_row(environment: &TestEnvironment, id: &str, expected: Row) -> anyhow::Result<()> {
    let select =
        "SELECT version, full_name, email_address, email_opt_in FROM customers WHERE customer_id = ?";
    let database = environment.marketing_database();
    eventually(SOON, &format!("{expected:?} in Marketing"), async || {
        let row: Row = sqlx::query_as(select).bind(id).fetch_optional(&database).await.ok()??;
        (row == expected).then_some(())
    })
    .await
}

#[tokio::test]
async fn changed_name_and_consent_arrive_in_marketing() -> anyhow::Result<()> {
    let (environment, web_store) = TestEnvironment::with_web_store().await?;
    let _services = [environment.start_transformer()?, environment.start_marketing()?];
    let (link, id) = register(&web_store, "Ann").await?;
    let response = get_page(&link).await?;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
    let page = response.text().await?;
    assert!(page.contains("You are registered") && page.contains("value=\"Ann\""), "{page}");
    let relative_link = link.strip_prefix(&web_store.url()).unwrap();
    assert!(page.contains(&format!("href=\"{relative_link}\"")), "{page}");
    wait_for_row(&environment, &id, Row::new(1, "Ann", &email("Ann"), true)).await?;

    let saved = http_client()?.post(&link).form(&[("name", " Zoë <b> 王 ")]).send().await?;
    assert_eq!(saved.status(), StatusCode::SEE_OTHER);
    let location = format!("{}{}", web_store.url(), saved.headers()[header::LOCATION].to_str()?);
    let page = get_page(&location).await?.text().await?;
    assert!(page.contains("They are saved.") && page.contains("Zoë &#60;b&#62; 王"), "{page}");
    assert!(!page.contains("checked"), "{page}");
    let version = newest_version(&environment, &id).await?;
    wait_for_row(&environment, &id, Row::new(version, "Zoë <b> 王", &email("Ann"), false)).await?;
    wait_for_marketing_rows(&environment, &[id], SOON).await
}

#[tokio::test]
async fn json_request_changes_and_returns_details() -> anyhow::Result<()> {
    let (_environment, web_store) = TestEnvironment::with_web_store().await?;
    let body = json!({"name": "Ann", "email": "ann@example.org"});
    let response = http_client()?.post(format!("{}/customers", web_store.url())).json(&body).send().await?;
    let registered: Value = response.json().await?;
    let link = format!("{}{}", web_store.url(), registered["details"].as_str().unwrap());
    let response = edit(&link, "Bob", true).await?;
    assert_eq!(response.status(), StatusCode::OK);
    let changed: Value = response.json().await?;
    let version = changed["version"].as_u64().context("a version")?;
    assert!(version > 1);
    let expected = json!({
        "customer_id": registered["customer_id"], "version": version, "name": "Bob", "marketing_consent": true,
    });
    assert_eq!(changed, expected);
    assert_eq!(http_client()?.get(&link).send().await?.json::<Value>().await?, expected);
    Ok(())
}

#[tokio::test]
async fn wrong_edit_key_shows_and_changes_nothing() -> anyhow::Result<()> {
    let (environment, web_store) = TestEnvironment::with_web_store().await?;
    let (link, id) = register(&web_store, "Ann").await?;
    let (other_link, _) = register(&web_store, "Bob").await?;
    let page = format!("{}/customers/{id}", web_store.url());
    let other_key = format!("{page}?{}", other_link.split('?').nth(1).unwrap());
    let unknown_customer = link.replace(&id, "01938c5e-7b1a-7c3e-9f00-5d2a8e4b6c71");
    for wrong in [&other_key, &format!("{page}?key="), &format!("{page}?key=1"), &unknown_customer] {
        assert_eq!(get_page(wrong).await?.status(), StatusCode::NOT_FOUND, "{wrong}");
        assert_eq!(edit(wrong, "Eve", false).await?.status(), StatusCode::NOT_FOUND, "{wrong}");
    }
    assert_eq!(edit(&page, "Eve", false).await?.status(), StatusCode::NOT_FOUND);
    let text = get_page(&page).await?.text().await?;
    let key = link.split("key=").nth(1).unwrap();
    assert!(text.contains("You are registered") && !text.contains("Ann") && !text.contains(key), "{text}");
    assert_eq!(versions(&environment, &id).await?.len(), 1);
    assert!(!environment.logs_contain(key), "the key is in the log");
    Ok(())
}

#[tokio::test]
async fn invalid_details_return_422_with_input_and_field_messages() -> anyhow::Result<()> {
    let (environment, web_store) = TestEnvironment::with_web_store().await?;
    let (link, id) = register(&web_store, "Ann").await?;
    let input = [("name", "\u{1}<script>"), ("marketing_consent", "on")];
    let response = http_client()?.post(&link).form(&input).send().await?;
    assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let page = response.text().await?;
    assert!(page.contains("id=\"name-error\"") && page.contains("checked"), "{page}");
    assert!(!page.contains("<script"), "{page}");
    let response = edit(&link, "", true).await?;
    assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(response.json::<Value>().await?["errors"][0]["field"], "name");
    let response = http_client()?.post(&link).body("x").send().await?;
    assert_eq!(response.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(versions(&environment, &id).await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn unchanged_details_create_no_version_and_no_event() -> anyhow::Result<()> {
    let (environment, web_store) = TestEnvironment::with_web_store().await?;
    let (link, id) = register(&web_store, "Ann").await?;
    for _ in 0..3 {
        assert_eq!(edit(&link, "Ann ", true).await?.status(), StatusCode::OK);
    }
    assert_eq!(versions(&environment, &id).await?.len(), 1);
    wait_for_outbox_depth(&environment, 1, SOON).await
}

#[tokio::test]
async fn simultaneous_edits_each_create_one_version() -> anyhow::Result<()> {
    let (environment, web_store) = TestEnvironment::with_web_store().await?;
    let second_web_store = environment.start_ready(Program::WebStore, &[]).await?;
    let _services = [environment.start_transformer()?, environment.start_marketing()?];
    let (link, id) = register(&web_store, "Ann").await?;
    let links = [link.clone(), link.replace(&web_store.url(), &second_web_store.url())];
    let names: Vec<String> = (0..20).map(|n| format!("Ann {n}")).collect();
    let edits = names.iter().enumerate().map(|(n, name)| edit(&links[n % 2], name, n % 3 == 0));
    for response in try_join_all(edits).await? {
        assert_eq!(response.status(), StatusCode::OK);
    }
    let versions = versions(&environment, &id).await?;
    assert_eq!(versions[0].number, 1);
    assert!(versions.is_sorted_by(|one, next| one.number < next.number), "{versions:?}");
    let message_ids: HashSet<_> = versions.iter().map(|version| &version.message_id).collect();
    let names: HashSet<_> = versions.iter().skip(1).map(|version| &version.name).collect();
    assert_eq!((message_ids.len(), names.len()), (21, 20));
    let last = versions.last().unwrap();
    let number = last.number.try_into()?;
    wait_for_row(&environment, &id, Row::new(number, &last.name, &email("Ann"), last.marketing_consent)).await
}

#[tokio::test]
async fn update_before_its_creation_is_kept_and_older_one_ignored() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let _marketing = environment.start_ready(Program::Marketing, &[]).await?;
    let (_connection, channel) = open_channel(&environment).await?;
    let update: Value = serde_json::from_str(include_str!(
        "../../../../contracts/samples/marketing.update-customer.v1.json"
    ))?;
    let create = include_str!("../../../../contracts/samples/marketing.create-customer.v1.json");
    let version = |version: u32| {
        let mut update = update.clone();
        update["version"] = version.into();
        update["full_name"] = format!("Version {version}").into();
        update.to_string()
    };
    let send = async |message_type: &str, body: &str| {
        let properties = properties(message_type);
        publish(&channel, UpdateCustomer::EXCHANGE, message_type, properties, body.as_bytes()).await
    };
    let row = |version| Row::new(version, &format!("Version {version}"), "zoe@example.org", false);
    let id = update["customer_id"].as_str().unwrap();
    send(UpdateCustomer::TYPE, &version(3)).await?;
    wait_for_row(&environment, id, row(3)).await?;
    for _ in 0..2 {
        send(CreateCustomer::TYPE, create).await?;
        send(UpdateCustomer::TYPE, &version(2)).await?;
        send(UpdateCustomer::TYPE, &version(3)).await?;
    }
    send(UpdateCustomer::TYPE, &version(4)).await?;
    wait_for_row(&environment, id, row(4)).await?;
    wait_for_marketing_rows(&environment, &[id.to_owned()], SOON).await?;
    let management = environment.management();
    for queue in [MARKETING_CREATE_CUSTOMER, MARKETING_UPDATE_CUSTOMER] {
        management.wait_for_depth(queue.name, 0).await?;
        assert_eq!(management.depth(&queue.dead_letter_queue()).await?, 0);
    }
    wait_for_row(&environment, id, row(4)).await
}

#[derive(Debug, PartialEq, sqlx::FromRow)]
struct StoredEvent {
    message_id: String,
    message_type: String,
    correlation_id: String,
    body: String,
}

#[tokio::test]
async fn republished_versions_are_same_events() -> anyhow::Result<()> {
    let (environment, web_store) = TestEnvironment::with_web_store().await?;
    let (link, id) = register(&web_store, "Ann").await?;
    for name in ["Ann B", "Ann C"] {
        assert_eq!(edit(&link, name, false).await?.status(), StatusCode::OK);
    }
    // No queue is bound, so the outbox keeps all events.
    let database = environment.web_store_database();
    let events = async || -> sqlx::Result<Vec<StoredEvent>> {
        let select =
            "SELECT message_id::text, message_type, correlation_id, body FROM outbox ORDER BY message_id";
        sqlx::query_as(select).fetch_all(&database).await
    };
    let sent = events().await?;
    assert_eq!(sent.len(), 3);
    sqlx::query("DELETE FROM outbox").execute(&database).await?;
    let output = republish(&environment, &["--customer", &id], "").await?;
    let expected = "events: 3 written to the outbox, 0 waiting there already; unknown ids: 0\n";
    assert_eq!(output.stdout, expected);
    assert_eq!(events().await?, sent);
    Ok(())
}

#[tokio::test]
async fn customer_with_waiting_older_version_counts_as_in_outbox() -> anyhow::Result<()> {
    let (environment, web_store) = TestEnvironment::with_web_store().await?;
    let _marketing = environment.start_ready(Program::Marketing, NO_REPLAY).await?;
    let (link, id) = register(&web_store, "Ann").await?;
    assert_eq!(edit(&link, "Ann B", true).await?.status(), StatusCode::OK);
    // Simulates an event of the second version that was sent and then lost.
    let delete = "DELETE FROM outbox WHERE message_type LIKE '%changed%'";
    let deleted = sqlx::query(delete).execute(&environment.web_store_database()).await?.rows_affected();
    assert_eq!(deleted, 1);
    let report = async || -> anyhow::Result<Value> {
        let output = reconcile(&environment, &["--json"]).await?;
        Ok(serde_json::from_str(&output.stdout)?)
    };
    let before = report().await?;
    assert_eq!((&before["in_outbox"], &before["missing"]), (&json!(1), &json!(0)), "{before}");

    let _transformer = environment.start(Program::Transformer, NO_REPLAY)?;
    wait_for_row(&environment, &id, Row::new(1, "Ann", &email("Ann"), true)).await?;
    assert_eq!(report().await?["behind_ids"], json!([id]));
    assert_eq!(republish(&environment, &["--customer", &id], "").await?.status, 0);
    let version = newest_version(&environment, &id).await?;
    wait_for_row(&environment, &id, Row::new(version, "Ann B", &email("Ann"), true)).await
}
