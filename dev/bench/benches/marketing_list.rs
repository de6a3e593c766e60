//! Marketing's list with a million customers: how long the server takes for a page, by what is asked for.
//!
//!     cargo build --release -p marketing -p stack
//!     target/release/stack servers --dir target -- cargo bench -p stack --bench marketing_list

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use reqwest::{Client, header};
use sqlx::AssertSqlSafe;
use system_tests::operator::Operator;
use system_tests::{SOON, TestEnvironment, eventually};

const ROWS: u32 = 1_000_000;
const ROWS_IN_A_STATEMENT: u32 = 10_000;
const REQUESTS: usize = 200;

/// What a person takes for at once, and half of it.
const LIMIT: Duration = Duration::from_millis(50);

/// What is asked for. The oldest tenth of the rows have addresses that begin with `old`, and no other: the
/// worst case, since none of them is among the newest.
const PAGES: [(&str, &str); 9] = [
    ("the newest", "/customers"),
    ("a first name of 1 in 40", "/customers?q=zoe"),
    ("a last name of 1 in 500", "/customers?q=Surname%20123"),
    ("a first and last name", "/customers?q=Zo%C3%AB%20Surname%20123"),
    ("one letter", "/customers?q=c"),
    ("one address", "/customers?q=c654321@example.org"),
    ("nothing", "/customers?q=nobody"),
    ("100,000 old rows", "/customers?q=old"),
    ("10,000 old rows", "/customers?q=old1"),
];

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let site = TestEnvironment::new().await;
    let mut marketing = site.start_marketing();
    marketing.wait_ready(SOON).await?;
    let began = Instant::now();
    fill(&site).await?;
    println!("{ROWS} customers put into the table in {:.1?}", began.elapsed());
    let operator = Operator::log_in(&marketing).await;
    eventually(SOON, "they are counted", async || {
        operator.read("/customers").await.contains("<dd>1\u{202f}000\u{202f}000</dd>").then_some(())
    })
    .await;

    println!("{:<28}{:>9}{:>9}{:>9}", "page", "median", "p99", "slowest");
    let mut in_time = true;
    for (name, path) in PAGES {
        in_time &= measure(&operator, name, path).await;
    }
    for (name, search) in [("page 1,000", ""), ("page 1,000 of a search", "?q=c")] {
        let path = page_1000(&operator, &format!("/customers{search}")).await;
        in_time &= measure(&operator, name, &path).await;
    }
    let began = Instant::now();
    let bytes = export(&operator, &marketing.url()).await?;
    println!("the export: {} MiB in {:.1?}", bytes >> 20, began.elapsed());
    println!("{} {LIMIT:?}", if in_time { "every median is under" } else { "a median is NOT under" });
    Ok(if in_time { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether the median is under the limit. From the request to the last byte, on this machine.
async fn measure(operator: &Operator, name: &str, path: &str) -> bool {
    let mut times = Vec::with_capacity(REQUESTS);
    for _ in 0..REQUESTS {
        let began = Instant::now();
        operator.read(path).await;
        times.push(began.elapsed());
    }
    times.sort();
    let (median, p99) = (times[REQUESTS / 2], times[REQUESTS * 99 / 100]);
    let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1000.0);
    println!("{name:<28}{:>9}{:>9}{:>9}", ms(median), ms(p99), ms(times[REQUESTS - 1]));
    median < LIMIT
}

/// With a client that has no deadline. How many bytes came.
async fn export(operator: &Operator, marketing: &str) -> Result<usize> {
    let request = Client::new().get(format!("{marketing}/customers/export.csv"));
    let answer = request.header(header::COOKIE, &operator.cookie).send().await?;
    Ok(answer.error_for_status()?.bytes().await?.len())
}

/// Follows the link to older customers.
async fn page_1000(operator: &Operator, newest: &str) -> String {
    let mut path = newest.to_owned();
    for _ in 1..1000 {
        let page = operator.read(&path).await;
        let (before, _) = page.split_once("\" rel=\"next\"").expect("a link to older customers");
        let (_, link) = before.rsplit_once("href=\"").expect("a link");
        path = link.replace("&#38;", "&");
    }
    path
}

/// In order of their arrival, a millisecond apart, in segments as Marketing makes them.
async fn fill(site: &TestEnvironment) -> Result<()> {
    let database = site.marketing_database();
    let digit = "(SELECT 0 AS d UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4
        UNION SELECT 5 UNION SELECT 6 UNION SELECT 7 UNION SELECT 8 UNION SELECT 9)";
    for from in (0..ROWS).step_by(ROWS_IN_A_STATEMENT as usize) {
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
