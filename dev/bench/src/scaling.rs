//! How the system behaves as things grow: backlog, table, instances, messages.

use anyhow::Result;
use contracts::Message;
use sqlx::{AssertSqlSafe, MySqlPool};

use super::disk::wait_until_idle;
use super::end_to_end::saturate;
use super::fake_customer::{FakeCustomer, USUAL_NAME};
use super::figures::Figures;
use super::pipeline::Pipeline;
use super::report::grouped;
use super::{Bench, Measurement, drain};
use system_tests::TestEnvironment;

const REPLICAS: [u32; 3] = [1, 2, 3];

/// Up to the longest that a name may be.
const NAMES: [usize; 3] = [USUAL_NAME, 100, 200];

/// A segment of Marketing's search indexes, which is how Marketing itself fills them.
const SEGMENT: u32 = 65_536;

pub(super) fn table_name(rows: u32) -> String {
    format!("end to end, {} rows in Marketing: rows", grouped(&rows.to_string()))
}

/// Powers of ten from 1,000 to the largest.
pub(super) fn sizes(largest: u32) -> Vec<u32> {
    let powers = (3..10).map(|power| 10_u32.pow(power)).filter(|size| *size <= largest);
    let powers: Vec<_> = powers.collect();
    if powers.is_empty() { vec![largest] } else { powers }
}

/// Filling the table takes longer than all else, so it is filled once, and each size has all its runs then. In
/// turns with them, the smallest is measured on a site of its own: the machine changes while a table fills.
pub(super) async fn table(bench: &Bench, figures: &mut Figures) -> Result<()> {
    let sizes = sizes(bench.scale.largest_table);
    let small = with_rows(bench, Pipeline::prepared_site(&bench.servers).await?, sizes[0]).await?;
    let mut site = Pipeline::prepared_site(&bench.servers).await?;
    for rows in &sizes[1..] {
        let grown = with_rows(bench, site, *rows).await?;
        for _ in 0..bench.runs {
            for (rows, pipeline) in [(sizes[0], &small), (*rows, &grown)] {
                let saturated = saturate(bench, pipeline, USUAL_NAME).await?;
                figures.add(table_name(rows), "/s", saturated.rows_per_second);
            }
        }
        site = grown.stop().await?;
    }
    Ok(())
}

/// Services on a table filled so far. Started only then, Marketing goes on with the segment that is the newest.
async fn with_rows(bench: &Bench, site: TestEnvironment, rows: u32) -> Result<Pipeline> {
    fill(&site.marketing_database(), rows).await?;
    let pipeline = Pipeline::start_replicas(site, 1).await?;
    bench.warm_up(&pipeline).await?;
    wait_until_idle(pipeline.site.addresses()).await?;
    Ok(pipeline)
}

pub(super) async fn backlog(bench: &Bench, figures: &mut Figures) -> Result<()> {
    for waiting in sizes(bench.scale.largest_backlog) {
        // The drain, if it is wanted, has measured its own size in this run.
        if waiting != bench.scale.waiting || !Measurement::Drain.is_in(&bench.wanted) {
            drain::measure(bench, waiting, figures).await?;
        }
    }
    Ok(())
}

pub(super) async fn replicas(bench: &Bench, figures: &mut Figures) -> Result<()> {
    for replicas in REPLICAS {
        let site = TestEnvironment::on(&bench.servers).await;
        let pipeline = Pipeline::start_replicas(site, replicas).await?;
        bench.warm_up(&pipeline).await?;
        let saturated = saturate(bench, &pipeline, USUAL_NAME).await?;
        let name = format!("end to end, {replicas} of each service: rows");
        figures.add(name, "/s", saturated.rows_per_second);
    }
    Ok(())
}

pub(super) async fn payload(bench: &Bench, figures: &mut Figures) -> Result<()> {
    for characters in NAMES {
        let pipeline = Pipeline::start(&bench.servers).await?;
        bench.warm_up(&pipeline).await?;
        let saturated = saturate(bench, &pipeline, characters).await?;
        let bytes = FakeCustomer::new(1, characters).event().to_json().len();
        figures.add(format!("end to end, events of {bytes} bytes: rows"), "/s", saturated.rows_per_second);
    }
    Ok(())
}

/// Fills the table up to so many rows that came long ago, a segment at a time, in order of their ids.
async fn fill(database: &MySqlPool, rows: u32) -> Result<()> {
    let there = "SELECT CAST(COUNT(*) AS UNSIGNED) FROM customers WHERE received_at < '2020-01-01'";
    let there: u64 = sqlx::query_scalar(there).fetch_one(database).await?;
    let mut from = u32::try_from(there)?;
    while from < rows {
        let to = rows.min((from / SEGMENT + 1) * SEGMENT);
        sqlx::query(AssertSqlSafe(insert(from, to))).execute(database).await?;
        from = to;
    }
    Ok(())
}

/// The rows of these numbers, all within one segment.
fn insert(from: u32, to: u32) -> String {
    let digit = "(SELECT 0 AS d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4
        UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9
        UNION ALL SELECT 10 UNION ALL SELECT 11 UNION ALL SELECT 12 UNION ALL SELECT 13
        UNION ALL SELECT 14 UNION ALL SELECT 15)";
    let (segment, start) = (from / SEGMENT, from / SEGMENT * SEGMENT);
    format!(
        "INSERT INTO customers (customer_id, full_name, email_address, email_opt_in, source, customer_since,
            received_at, search_segment)
        SELECT CONCAT('01960000-0000-7000-8000-', LPAD(LOWER(HEX(n)), 12, '0')),
            CONCAT(LEFT(MD5(n), 16), ' FakeCustomer'), CONCAT(LEFT(MD5(n), 16), '@example.org'), TRUE, 'web-store',
            '2019-01-01', TIMESTAMPADD(MICROSECOND, n, '2019-01-01'), {segment}
        FROM (SELECT {start} + a.d * 4096 + b.d * 256 + c.d * 16 + d.d AS n
            FROM {digit} AS a, {digit} AS b, {digit} AS c, {digit} AS d) AS numbers
        WHERE n >= {from} AND n < {to} ORDER BY n"
    )
}

#[cfg(test)]
mod tests {
    use super::sizes;

    #[test]
    fn sizes_grow_tenfold() {
        assert_eq!(sizes(1_000_000), [1000, 10_000, 100_000, 1_000_000]);
        assert_eq!(sizes(50), [50]);
    }
}
