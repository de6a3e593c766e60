//! Marketing's list of customers: who may see it, what it shows, how it is searched, paged and exported.

use futures_util::future::join_all;
use reqwest::{StatusCode, header};
use sqlx::QueryBuilder;
use stack::connection_urls::PASSWORD;
use stack::ports::free_port;
use stack::service::{Program, Service};
use system_tests::customers::{http_client, register, wait_for_marketing_rows};
use system_tests::operator::{Operator, submit_password};
use system_tests::{SOON, TestEnvironment, eventually};

async fn marketing(site: &TestEnvironment) -> Service {
    let mut marketing = site.start_marketing().unwrap();
    marketing.wait_ready(SOON).await.unwrap();
    marketing
}

/// Puts customers into the table, each a second after the one before.
async fn fill(site: &TestEnvironment, customers: &[(&str, &str)]) {
    let mut insert = QueryBuilder::new(
        "INSERT INTO customers (customer_id, full_name, email_address, email_opt_in, source,
        customer_since, received_at) ",
    );
    insert.push_values(customers.iter().enumerate(), |mut row, (n, (name, email))| {
        row.push_bind(format!("01938c5e-7b1a-7c3e-9f00-{n:012x}")).push_bind(*name).push_bind(*email);
        row.push_bind(n % 2 == 0).push_bind("web-store").push("UTC_TIMESTAMP(6)");
        row.push(format!("TIMESTAMPADD(SECOND, {n}, '2026-01-01')"));
    });
    insert.build().execute(&site.marketing_database()).await.unwrap();
}

/// The e-mail addresses on a page, from top to bottom.
fn emails(page: &str) -> Vec<String> {
    let after = page.split("<span class=\"email\">").skip(1);
    after.map(|rest| rest.split_once("</span>").unwrap().0.replace("<wbr>", "")).collect()
}

fn link(page: &str, rel: &str) -> Option<String> {
    let (before, _) = page.split_once(&format!("\" rel=\"{rel}\""))?;
    Some(before.rsplit_once("href=\"")?.1.replace("&amp;", "&").replace("&#38;", "&"))
}

#[tokio::test]
async fn a_registered_customer_is_at_the_top_of_the_list_and_in_its_numbers() {
    let site = TestEnvironment::new().await.unwrap();
    let (mut web_store, marketing) = (site.start_web_store().unwrap(), marketing(&site).await);
    let _transformer = site.start_transformer().unwrap();
    web_store.wait_ready(SOON).await.unwrap();
    let ids = vec![register(&web_store, "Ann").await.unwrap(), register(&web_store, "Zoë").await.unwrap()];
    wait_for_marketing_rows(&site, &ids, SOON).await.unwrap();
    let operator = Operator::log_in(&marketing).await.unwrap();
    eventually(SOON, "both are listed and counted", async || {
        let page = operator.read("/customers").await.ok()?;
        let both = emails(&page) == ["zo@example.org", "ann@example.org"];
        (both && page.matches("<dd>2</dd>").count() == 2).then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn nothing_of_the_list_is_shown_before_the_login_and_after_the_logout() {
    let site = TestEnvironment::new().await.unwrap();
    let marketing = marketing(&site).await;
    for path in ["/customers", "/customers?q=a", "/customers/export.csv"] {
        let answer = http_client().unwrap().get(format!("{}{path}", marketing.url())).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::SEE_OTHER, "{path}");
        assert_eq!(answer.headers()[header::LOCATION], "/log-in");
    }
    let operator = Operator::log_in(&marketing).await.unwrap();
    assert_eq!(operator.get("/customers").await.unwrap().status(), StatusCode::OK);
    let gone = operator.log_out().await.unwrap();
    assert!(gone.headers()[header::SET_COOKIE].to_str().unwrap().contains("Max-Age=0"));
    assert_eq!(
        operator.get("/customers").await.unwrap().status(),
        StatusCode::SEE_OTHER,
        "a kept cookie is worthless"
    );
}

#[tokio::test]
async fn log_in_survives_restart_and_holds_at_second_instance() {
    let site = TestEnvironment::new().await.unwrap();
    let mut first = marketing(&site).await;
    let operator = Operator::log_in(&first).await.unwrap();
    let second = marketing(&site).await;
    assert!(first.terminate(SOON).await.unwrap().success());
    let restarted = marketing(&site).await;
    for (instance, name) in [(second, "second instance"), (restarted, "restarted instance")] {
        let request = http_client().unwrap().get(format!("{}/customers", instance.url()));
        let response = request.header(header::COOKIE, &operator.cookie).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{name}");
    }
}

#[tokio::test]
async fn wrong_passwords_get_nothing_and_after_ten_in_a_minute_the_client_has_to_wait() {
    let site = TestEnvironment::new().await.unwrap();
    let marketing = marketing(&site).await;
    let answers = join_all((0..10).map(|_| submit_password(&marketing, "wrong"))).await;
    for answer in answers.into_iter().map(Result::unwrap) {
        assert_eq!(answer.status(), StatusCode::FORBIDDEN);
        assert!(!answer.headers().contains_key(header::SET_COOKIE));
    }
    let answer = submit_password(&marketing, PASSWORD).await.unwrap();
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(answer.headers().contains_key(header::RETRY_AFTER));
}

#[tokio::test]
async fn another_site_can_log_nobody_in_or_out() {
    let site = TestEnvironment::new().await.unwrap();
    let marketing = marketing(&site).await;
    for path in ["log-in", "log-out"] {
        let request = http_client()
            .unwrap()
            .post(format!("{}/{path}", marketing.url()))
            .form(&[("password", PASSWORD)]);
        let answer = request.header("Sec-Fetch-Site", "cross-site").send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::FORBIDDEN);
        assert!(!answer.headers().contains_key(header::SET_COOKIE));
    }
}

#[tokio::test]
async fn without_a_password_the_list_is_off_and_says_how_to_turn_it_on() {
    let site = TestEnvironment::new().await.unwrap();
    let mut marketing = site.start(Program::Marketing, &[("MARKETING_OPERATOR_PASSWORD_HASH", "")]).unwrap();
    marketing.wait_ready(SOON).await.unwrap();
    for path in ["/customers", "/log-in"] {
        let answer = http_client().unwrap().get(format!("{}{path}", marketing.url())).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::FORBIDDEN);
        let page = answer.text().await.unwrap();
        assert!(
            page.contains("hash-password") && page.contains("MARKETING_OPERATOR_PASSWORD_HASH"),
            "{page}"
        );
    }
}

#[tokio::test]
async fn a_search_finds_what_names_their_last_words_and_addresses_begin_with() {
    let site = TestEnvironment::new().await.unwrap();
    let marketing = marketing(&site).await;
    fill(
        &site,
        &[
            ("Zoë Ó Dálaigh", "zoe@example.org"),
            ("Ann Zoellner", "ann@example.org"),
            ("100% Cotton", "shop_a@example.org"),
            ("王小明", "wang@example.org"),
            ("Bob", "dalaigh@example.org"),
        ],
    )
    .await;
    let operator = Operator::log_in(&marketing).await.unwrap();
    for (search, found) in [
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
        let page = operator.read(&format!("/customers?q={search}")).await.unwrap();
        assert_eq!(emails(&page), found, "{search}");
        assert!(!found.is_empty() || page.contains("Nothing begins with"), "{page}");
    }
}

#[tokio::test]
async fn older_pages_show_each_customer_once_whoever_arrives_meanwhile_and_newer_ones_lead_back() {
    let site = TestEnvironment::new().await.unwrap();
    let marketing = marketing(&site).await;
    let addresses: Vec<String> = (0..120).map(|n| format!("c{n}@example.org")).collect();
    let customers: Vec<_> = addresses.iter().map(|email| ("Ann", email.as_str())).collect();
    fill(&site, &customers).await;
    // As many at the same moment as a batch has.
    let moment = "UPDATE customers SET received_at = '2026-01-02' WHERE email_address REGEXP '^c[3-9][0-9]@'";
    sqlx::query(moment).execute(&site.marketing_database()).await.unwrap();
    let operator = Operator::log_in(&marketing).await.unwrap();
    for search in ["", "q=ann"] {
        let mut path = Some(format!("/customers?{search}"));
        let (mut seen, mut pages) = (Vec::new(), Vec::new());
        while let Some(next) = path {
            let page = operator.read(&next).await.unwrap();
            seen.push(emails(&page));
            path = link(&page, "next");
            pages.push(page);
        }
        assert_eq!(seen.iter().map(Vec::len).collect::<Vec<_>>(), [50, 50, 20]);
        let mut all = seen.concat();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 120);
        let newer = operator.read(&link(&pages[2], "prev").unwrap()).await.unwrap();
        assert_eq!(emails(&newer), seen[1]);
        let newest = operator.read(&link(&newer, "prev").unwrap()).await.unwrap();
        assert_eq!(emails(&newest), seen[0]);
        assert_eq!(link(&newest, "prev"), None);
    }
}

#[tokio::test]
async fn the_export_has_all_that_the_search_finds_and_no_formula() {
    let site = TestEnvironment::new().await.unwrap();
    let marketing = marketing(&site).await;
    let addresses: Vec<String> = (0..2500).map(|n| format!("c{n}@example.org")).collect();
    let mut customers: Vec<_> = addresses.iter().map(|email| ("Ann", email.as_str())).collect();
    customers.push(("=HYPERLINK(\"http://x\")", "+1@example.org"));
    customers.push(("Zoë, \"the\" one", "zoe@example.org"));
    fill(&site, &customers).await;
    let operator = Operator::log_in(&marketing).await.unwrap();
    let answer = operator.get("/customers/export.csv?q=zoe").await.unwrap();
    assert_eq!(answer.headers()[header::CONTENT_TYPE], "text/csv; charset=utf-8; header=present");
    assert!(answer.headers()[header::CONTENT_DISPOSITION].to_str().unwrap().starts_with("attachment"));
    let text = answer.text().await.unwrap();
    let lines: Vec<_> = text.trim_start_matches('\u{feff}').split_terminator("\r\n").collect();
    let header = "customer_id,full_name,email_address,email_opt_in,source,customer_since,received_at";
    assert_eq!((lines.len(), lines[0]), (2, header));
    assert!(lines[1].contains(r#","Zoë, ""the"" one",zoe@example.org,false,web-store,20"#), "{text}");

    let all = operator.read("/customers/export.csv").await.unwrap();
    assert_eq!(all.lines().count(), 2503);
    assert!(all.contains(r#","'=HYPERLINK(""http://x"")",'+1@example.org,"#), "{all}");
    assert_eq!(operator.read("/customers/export.csv?q=ann").await.unwrap().lines().count(), 2501);
}

#[tokio::test]
async fn while_the_database_is_away_the_list_says_so() {
    let site = TestEnvironment::new().await.unwrap();
    let nobody = format!("mysql://marketing:hush@127.0.0.1:{}/marketing", free_port().unwrap());
    let marketing = site.start(Program::Marketing, &[("MARKETING_DATABASE_URL", nobody.as_str())]).unwrap();
    let check = format!("{}/health/live", marketing.url());
    eventually(SOON, "it lives", async || http_client().unwrap().get(&check).send().await.ok().map(drop))
        .await
        .unwrap();
    let operator = Operator::log_in(&marketing).await.unwrap();
    for path in ["/customers", "/customers/export.csv"] {
        let answer = operator.get(path).await.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(answer.headers().contains_key(header::RETRY_AFTER));
        assert!(!answer.text().await.unwrap().contains("127.0.0.1"));
    }
}
