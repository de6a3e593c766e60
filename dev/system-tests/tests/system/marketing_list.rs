//! Marketing's list of customers: access, content, search, pages, and export.

use futures_util::future::try_join_all;
use reqwest::{StatusCode, header};
use sqlx::QueryBuilder;
use stack::{
    connection_urls::PASSWORD,
    ports::free_port,
    service::{Program, Service},
};
use system_tests::{
    SOON, TestEnvironment,
    customers::{http_client, register, wait_for_marketing_rows},
    eventually,
    operator::{Operator, submit_password},
    programs::stop,
};

async fn start() -> anyhow::Result<(TestEnvironment, Service)> {
    let environment = TestEnvironment::new().await?;
    let marketing = environment.start_ready(Program::Marketing, &[]).await?;
    Ok((environment, marketing))
}

/// Inserts rows with these names and e-mail addresses, each one second after its predecessor.
async fn insert_rows(environment: &TestEnvironment, customers: &[(&str, &str)]) -> anyhow::Result<()> {
    let mut insert = QueryBuilder::new(
        "INSERT INTO customers (customer_id, full_name, email_address, email_opt_in, source,
        customer_since, received_at) ",
    );
    insert.push_values(customers.iter().enumerate(), |mut row, (n, (name, email))| {
        row.push_bind(format!("01938c5e-7b1a-7c3e-9f00-{n:012x}")).push_bind(*name).push_bind(*email);
        row.push_bind(n % 2 == 0).push_bind("web-store").push("UTC_TIMESTAMP(6)");
        row.push(format!("TIMESTAMPADD(SECOND, {n}, '2026-01-01')"));
    });
    insert.build().execute(&environment.marketing_database()).await?;
    Ok(())
}

/// Returns the e-mail addresses on a page, from top to bottom.
fn emails(page: &str) -> Vec<String> {
    let rest = page.split("<span class=\"email\">").skip(1);
    rest.map(|rest| rest.split_once("</span>").unwrap().0.replace("<wbr>", "")).collect()
}

/// Returns the path of the link with this relation, if the page has one.
fn link(page: &str, relation: &str) -> Option<String> {
    let (before, _) = page.split_once(&format!("\" rel=\"{relation}\""))?;
    Some(before.rsplit_once("href=\"")?.1.replace("&amp;", "&").replace("&#38;", "&"))
}

#[tokio::test]
async fn new_customer_is_first_in_list_and_counted() -> anyhow::Result<()> {
    let (environment, marketing) = start().await?;
    let web_store = environment.start_ready(Program::WebStore, &[]).await?;
    let _transformer = environment.start_ready(Program::Transformer, &[]).await?;
    // One after the other, because messages have no order.
    let mut ids = vec![register(&web_store, "Ann").await?];
    wait_for_marketing_rows(&environment, &ids, SOON).await?;
    ids.push(register(&web_store, "Zoë").await?);
    wait_for_marketing_rows(&environment, &ids, SOON).await?;
    let operator = Operator::log_in(&marketing).await?;
    eventually(SOON, "both customers are listed and counted", async || {
        let page = operator.read("/customers").await.ok()?;
        let listed = emails(&page) == ["zo@example.org", "ann@example.org"];
        (listed && page.matches("<dd>2</dd>").count() == 2).then_some(())
    })
    .await
}

#[tokio::test]
async fn list_is_hidden_before_login_and_after_logout() -> anyhow::Result<()> {
    let (_environment, marketing) = start().await?;
    for path in ["/customers", "/customers?q=a", "/customers/export.csv"] {
        let response = http_client()?.get(format!("{}{path}", marketing.url())).send().await?;
        assert_eq!(response.status(), StatusCode::SEE_OTHER, "{path}");
        assert_eq!(response.headers()[header::LOCATION], "/log-in");
    }
    let operator = Operator::log_in(&marketing).await?;
    assert_eq!(operator.get("/customers").await?.status(), StatusCode::OK);
    let logged_out = operator.log_out().await?;
    assert!(logged_out.headers()[header::SET_COOKIE].to_str()?.contains("Max-Age=0"));
    let response = operator.get("/customers").await?;
    assert_eq!(response.status(), StatusCode::SEE_OTHER, "the old cookie is still valid");
    Ok(())
}

#[tokio::test]
async fn login_survives_restart_and_holds_at_second_instance() -> anyhow::Result<()> {
    let (environment, first) = start().await?;
    let operator = Operator::log_in(&first).await?;
    let second = environment.start_ready(Program::Marketing, &[]).await?;
    stop(first).await?;
    let restarted = environment.start_ready(Program::Marketing, &[]).await?;
    for (instance, name) in [(second, "second instance"), (restarted, "restarted instance")] {
        let request = http_client()?.get(format!("{}/customers", instance.url()));
        let response = request.header(header::COOKIE, &operator.cookie).send().await?;
        assert_eq!(response.status(), StatusCode::OK, "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn client_must_wait_after_ten_wrong_passwords_in_a_minute() -> anyhow::Result<()> {
    let (_environment, marketing) = start().await?;
    let responses = try_join_all((0..10).map(|_| submit_password(&marketing, "wrong"))).await?;
    for response in responses {
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        assert!(!response.headers().contains_key(header::SET_COOKIE));
    }
    let response = submit_password(&marketing, PASSWORD).await?;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(response.headers().contains_key(header::RETRY_AFTER));
    Ok(())
}

#[tokio::test]
async fn cross_site_request_can_neither_log_in_nor_log_out() -> anyhow::Result<()> {
    let (_environment, marketing) = start().await?;
    for path in ["log-in", "log-out"] {
        let url = format!("{}/{path}", marketing.url());
        let request = http_client()?.post(url).form(&[("password", PASSWORD)]);
        let response = request.header("Sec-Fetch-Site", "cross-site").send().await?;
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        assert!(!response.headers().contains_key(header::SET_COOKIE));
    }
    Ok(())
}

#[tokio::test]
async fn list_without_password_is_off_and_explains_how_to_enable() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let settings = [("MARKETING_OPERATOR_PASSWORD_HASH", "")];
    let marketing = environment.start_ready(Program::Marketing, &settings).await?;
    for path in ["/customers", "/log-in"] {
        let response = http_client()?.get(format!("{}{path}", marketing.url())).send().await?;
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        let page = response.text().await?;
        assert!(page.contains("hash-password"), "{page}");
        assert!(page.contains("MARKETING_OPERATOR_PASSWORD_HASH"), "{page}");
    }
    Ok(())
}

#[tokio::test]
async fn search_matches_beginnings_of_names_and_emails() -> anyhow::Result<()> {
    let (environment, marketing) = start().await?;
    let customers = [
        ("Zoë Ó Dálaigh", "zoe@example.org"),
        ("Ann Zoellner", "ann@example.org"),
        ("100% Cotton", "shop_a@example.org"),
        ("王小明", "wang@example.org"),
        ("Bob", "dalaigh@example.org"),
    ];
    insert_rows(&environment, &customers).await?;
    let operator = Operator::log_in(&marketing).await?;
    for (search, expected) in [
        ("ZOE", vec!["ann@example.org", "zoe@example.org"]),
        ("dálaigh", vec!["dalaigh@example.org", "zoe@example.org"]),
        ("zoë ó", vec!["zoe@example.org"]),
        ("100%25", vec!["shop_a@example.org"]),
        ("%25", vec![]),
        ("shop_", vec!["shop_a@example.org"]),
        ("shop_b", vec![]),
        ("王", vec!["wang@example.org"]),
        ("' OR 1=1 -- ", vec![]),
        ("laigh", vec![]),
    ] {
        let page = operator.read(&format!("/customers?q={search}")).await?;
        assert_eq!(emails(&page), expected, "{search}");
        assert!(!expected.is_empty() || page.contains("Nothing begins with"), "{page}");
    }
    Ok(())
}

#[tokio::test]
async fn paging_shows_each_customer_once_and_leads_back() -> anyhow::Result<()> {
    let (environment, marketing) = start().await?;
    let addresses: Vec<String> = (0..120).map(|n| format!("c{n}@example.org")).collect();
    let customers: Vec<_> = addresses.iter().map(|email| ("Ann", email.as_str())).collect();
    insert_rows(&environment, &customers).await?;
    // The rows of one batch have the same time of arrival.
    let update = "UPDATE customers SET received_at = '2026-01-02' WHERE email_address REGEXP '^c[3-9][0-9]@'";
    sqlx::query(update).execute(&environment.marketing_database()).await?;
    let operator = Operator::log_in(&marketing).await?;
    for search in ["", "q=ann"] {
        let mut path = Some(format!("/customers?{search}"));
        let (mut seen, mut pages) = (Vec::new(), Vec::new());
        while let Some(next) = path {
            let page = operator.read(&next).await?;
            seen.push(emails(&page));
            path = link(&page, "next");
            pages.push(page);
        }
        assert_eq!(seen.iter().map(Vec::len).collect::<Vec<_>>(), [50, 50, 20]);
        let mut all = seen.concat();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 120);
        let newer = operator.read(&link(&pages[2], "prev").unwrap()).await?;
        assert_eq!(emails(&newer), seen[1]);
        let newest = operator.read(&link(&newer, "prev").unwrap()).await?;
        assert_eq!(emails(&newest), seen[0]);
        assert_eq!(link(&newest, "prev"), None);
    }
    Ok(())
}

#[tokio::test]
async fn export_contains_all_matches_and_no_formula() -> anyhow::Result<()> {
    let (environment, marketing) = start().await?;
    let addresses: Vec<String> = (0..2500).map(|n| format!("c{n}@example.org")).collect();
    let mut customers: Vec<_> = addresses.iter().map(|email| ("Ann", email.as_str())).collect();
    customers.push(("=HYPERLINK(\"http://x\")", "+1@example.org"));
    customers.push(("Zoë, \"the\" one", "zoe@example.org"));
    insert_rows(&environment, &customers).await?;
    let operator = Operator::log_in(&marketing).await?;
    let response = operator.get("/customers/export.csv?q=zoe").await?;
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/csv; charset=utf-8; header=present");
    assert!(response.headers()[header::CONTENT_DISPOSITION].to_str()?.starts_with("attachment"));
    let text = response.text().await?;
    let lines: Vec<_> = text.trim_start_matches('\u{feff}').split_terminator("\r\n").collect();
    let names = "customer_id,full_name,email_address,email_opt_in,source,customer_since,received_at";
    let header = format!("\"{}\"", names.replace(',', "\",\""));
    assert_eq!((lines.len(), lines[0]), (2, header.as_str()));
    assert!(lines[1].contains(r#","Zoë, ""the"" one","zoe@example.org","false","web-store","20"#), "{text}");

    let all = operator.read("/customers/export.csv").await?;
    assert_eq!(all.lines().count(), 2503);
    assert!(all.contains(r#","'=HYPERLINK(""http://x"")","'+1@example.org","#), "{all}");
    assert_eq!(operator.read("/customers/export.csv?q=ann").await?.lines().count(), 2501);
    Ok(())
}

#[tokio::test]
async fn list_and_export_return_503_while_database_is_unavailable() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let unreachable = format!("mysql://marketing:hush@127.0.0.1:{}/marketing", free_port()?);
    let mut marketing =
        environment.start(Program::Marketing, &[("MARKETING_DATABASE_URL", unreachable.as_str())])?;
    marketing.wait_live(SOON).await?;
    let operator = Operator::log_in(&marketing).await?;
    for path in ["/customers", "/customers/export.csv"] {
        let response = operator.get(path).await?;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(response.headers().contains_key(header::RETRY_AFTER));
        assert!(!response.text().await?.contains("127.0.0.1"), "{path} shows internals");
    }
    Ok(())
}
