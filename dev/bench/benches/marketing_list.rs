//! The response times of Marketing's list with a million customers, for different pages and searches.
//!
//! ```sh
//! cargo build --release -p marketing -p stack
//! target/release/stack run --dir target -- cargo bench -p bench --bench marketing_list
//! ```

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context;
use reqwest::{Client, header};
use sqlx::AssertSqlSafe;
use system_tests::{SOON, TestEnvironment, eventually, operator::Operator};

const ROWS: u32 = 1_000_000;
const ROWS_PER_STATEMENT: u32 = 10_000;
const REQUESTS: usize = 200;

/// The maximum median. It is half of the time within which a response seems immediate to a user.
const MAX_MEDIAN: Duration = Duration::from_millis(50);

/// The requests. Only the oldest tenth of the rows have addresses that begin with `old`. A search for them is the
/// worst case, because no match is among the newest rows.
const PAGES: [(&str, &str); 9] = [
    ("first page", "/customers"),
    ("a first name of 1 in 40", "/customers?q=zoe"),
    ("a last name of 1 in 500", "/customers?q=Surname%20123"),
    ("a first and last name", "/customers?q=Zo%C3%AB%20Surname%20123"),
    ("one letter", "/customers?q=c"),
    ("one address", "/customers?q=c654321@example.org"),
    ("no match", "/customers?q=unknown"),
    ("100,000 old rows", "/customers?q=old"),
    ("10,000 old rows", "/customers?q=old1"),
];

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let environment = TestEnvironment::new().await?.without_log_output();
    let mut marketing = environment.start_marketing()?;
    marketing.wait_ready(SOON).await?;
    let began = Instant::now();
    fill_table(&environment).await?;
    println!("inserted {ROWS} customers in {:.1?}", began.elapsed());
    let operator = Operator::log_in(&marketing).await?;
    eventually(SOON, "the list shows a million customers", async || {
        operator.read("/customers").await.ok()?.contains("<dd>1\u{202f}000\u{202f}000</dd>").then_some(())
    })
    .await?;

    println!("{:<28}{:>9}{:>9}{:>9}", "page", "median", "p99", "slowest");
    let mut all_fast = true;
    for (name, path) in PAGES {
        all_fast &= measure(&operator, name, path).await?;
    }
    for (name, search) in [("page 1,000", ""), ("page 1,000 of a search", "?q=c")] {
        let path = page_1000(&operator, &format!("/customers{search}")).await?;
        all_fast &= measure(&operator, name, &path).await?;
    }
    let began = Instant::now();
    let bytes = export(&operator, &marketing.url()).await?;
    println!("export: {} MiB in {:.1?}", bytes >> 20, began.elapsed());
    println!("{} {MAX_MEDIAN:?}", if all_fast { "every median is below" } else { "a median is NOT below" });
    Ok(if all_fast { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Measures from the request to the last byte. Returns whether the median is below [`MAX_MEDIAN`].
async fn measure(operator: &Operator, name: &str, path: &str) -> anyhow::Result<bool> {
    let mut times = Vec::with_capacity(REQUESTS);
    for _ in 0..REQUESTS {
        let began = Instant::now();
        operator.read(path).await?;
        times.push(began.elapsed());
    }
    times.sort();
    let (median, p99) = (times[REQUESTS / 2], times[REQUESTS * 99 / 100]);
    let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1000.0);
    println!("{name:<28}{:>9}{:>9}{:>9}", ms(median), ms(p99), ms(times[REQUESTS - 1]));
    Ok(median < MAX_MEDIAN)
}

/// Downloads the export with a client that has no time limit. Returns its size in bytes.
async fn export(operator: &Operator, marketing: &str) -> anyhow::Result<usize> {
    let request = Client::new().get(format!("{marketing}/customers/export.csv"));
    let response = request.header(header::COOKIE, &operator.cookie).send().await?;
    Ok(response.error_for_status()?.bytes().await?.len())
}

/// Returns the path of page 1,000. Follows the links to older customers from the first page.
async fn page_1000(operator: &Operator, first_page: &str) -> anyhow::Result<String> {
    let mut path = first_page.to_owned();
    for _ in 1..1000 {
        let page = operator.read(&path).await?;
        let (before, _) = page.split_once("\" rel=\"next\"").context("no link to older customers")?;
        let (_, link) = before.rsplit_once("href=\"").context("a link without a target")?;
        path = link.replace("&#38;", "&");
    }
    Ok(path)
}

/// Fills the table in order of arrival, one row per millisecond, in the same segments as Marketing.
async fn fill_table(environment: &TestEnvironment) -> anyhow::Result<()> {
    let database = environment.marketing_database();
    let digit = "(SELECT 0 AS d UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4
        UNION SELECT 5 UNION SELECT 6 UNION SELECT 7 UNION SELECT 8 UNION SELECT 9)";
    for from in (0..ROWS).step_by(ROWS_PER_STATEMENT as usize) {
        let insert = format!(
            "INSERT INTO customers (customer_id, full_name, email_address, email_opt_in, source,
                customer_since, received_at, search_segment)
            SELECT CONCAT('01938c5e-7b1a-7000-8000-', LPAD(LOWER(HEX(n)), 12, '0')),
                CONCAT(ELT(1 + n * 7919 % 40, 'Zoë', {names}), ' Surname ', n * 104729 % 500),
                CONCAT(IF(n < {old}, 'old', 'c'), n, '@example.org'), n % 3 = 0, 'web-store',
                '2026-01-01', TIMESTAMPADD(MICROSECOND, n * 1000, '2026-01-01'), n DIV 65536
            FROM (SELECT {from} + a.d * 1000 + b.d * 100 + c.d * 10 + e.d AS n
                FROM {digit} a, {digit} b, {digit} c, {digit} e) AS numbers ORDER BY n",
            names = (0..39).map(|n| format!("'Name{n}'")).collect::<Vec<_>>().join(", "),
            old = ROWS / 10,
        );
        sqlx::query(AssertSqlSafe(insert)).execute(&database).await?;
    }
    Ok(())
}
