//! The throughput as a size grows: the backlog, Marketing's table, the messages.

use contracts::Message;
use sqlx::{AssertSqlSafe, MySqlPool};
use system_tests::TestEnvironment;

use crate::{
    context::Bench,
    disk::wait_until_disk_idle,
    drain,
    end_to_end::saturate,
    fake_customer::{FakeCustomer, USUAL_NAME},
    figures::Figures,
    measurement::Measurement,
    pipeline::Pipeline,
    report::group_thousands,
};

/// Characters of a name, up to the maximum that the Web Store accepts.
const NAME_CHARACTERS: [usize; 3] = [USUAL_NAME, 100, 200];

/// The rows in one segment of Marketing's search indexes.
const SEGMENT: u32 = 65_536;

/// Returns the name of the figure for a table of `rows` rows.
pub(crate) fn table_name(rows: u32) -> String {
    format!("end to end, {} rows in Marketing: rows", group_thousands(&rows.to_string()))
}

/// Returns the powers of ten from 1,000 to `largest`, or `largest` alone if there are none.
pub(crate) fn sizes(largest: u32) -> Vec<u32> {
    let powers = (3..10).map(|exponent| 10_u32.pow(exponent));
    let powers: Vec<_> = powers.filter(|size| *size <= largest).collect();
    if powers.is_empty() { vec![largest] } else { powers }
}

/// Measures each size of Marketing's table, all runs of a size at a time.
///
/// Filling the table takes most of the time, so it is filled only once. The machine changes meanwhile. The
/// smallest size is therefore measured in turns with each other size, in an environment of its own.
pub(crate) async fn measure_tables(bench: &Bench, figures: &mut Figures) -> anyhow::Result<()> {
    let sizes = sizes(bench.scale.largest_table);
    let environment = Pipeline::prepare_environment(&bench.servers).await?;
    let small = start_with_rows(bench, environment, sizes[0]).await?;
    let mut environment = Pipeline::prepare_environment(&bench.servers).await?;
    for rows in &sizes[1..] {
        let large = start_with_rows(bench, environment, *rows).await?;
        for _ in 0..bench.runs {
            for (rows, pipeline) in [(sizes[0], &small), (*rows, &large)] {
                let saturated = saturate(bench, pipeline, USUAL_NAME).await?;
                figures.add(table_name(rows), "/s", saturated.rows_per_second);
            }
        }
        environment = large.stop().await?;
    }
    Ok(())
}

/// Fills the table and starts the services. Marketing then continues with the newest segment.
async fn start_with_rows(bench: &Bench, environment: TestEnvironment, rows: u32) -> anyhow::Result<Pipeline> {
    fill_table(&environment.marketing_database(), rows).await?;
    let pipeline = Pipeline::start_replicas(environment, 1).await?;
    bench.warm_up(&pipeline).await?;
    wait_until_disk_idle(pipeline.environment.connection_urls(), bench.scale.idle_limit()).await?;
    Ok(pipeline)
}

pub(crate) async fn measure_backlogs(bench: &Bench, figures: &mut Figures) -> anyhow::Result<()> {
    for waiting in sizes(bench.scale.largest_backlog) {
        // If the drain is selected, it has already measured its own size in this run.
        if waiting != bench.scale.waiting || !Measurement::Drain.is_selected(&bench.selected) {
            drain::measure(bench, waiting, figures).await?;
        }
    }
    Ok(())
}

pub(crate) async fn measure_payloads(bench: &Bench, figures: &mut Figures) -> anyhow::Result<()> {
    for characters in NAME_CHARACTERS {
        let pipeline = Pipeline::start(&bench.servers).await?;
        bench.warm_up(&pipeline).await?;
        let saturated = saturate(bench, &pipeline, characters).await?;
        let bytes = FakeCustomer::new(1, characters).event().to_json().len();
        figures.add(format!("end to end, events of {bytes} bytes: rows"), "/s", saturated.rows_per_second);
    }
    Ok(())
}

/// Fills the table up to `rows` old rows, one segment at a time, in order of their ids.
async fn fill_table(database: &MySqlPool, rows: u32) -> anyhow::Result<()> {
    let existing = "SELECT CAST(COUNT(*) AS UNSIGNED) FROM customers WHERE received_at < '2020-01-01'";
    let existing: u64 = sqlx::query_scalar(existing).fetch_one(database).await?;
    let mut from = u32::try_from(existing)?;
    while from < rows {
        let to = rows.min((from / SEGMENT + 1) * SEGMENT);
        sqlx::query(AssertSqlSafe(insert_statement(from, to))).execute(database).await?;
        from = to;
    }
    Ok(())
}

/// Returns a statement that inserts the rows `from..to`, which are all in one segment.
fn insert_statement(from: u32, to: u32) -> String {
    let digit = "(SELECT 0 AS d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4
        UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9
        UNION ALL SELECT 10 UNION ALL SELECT 11 UNION ALL SELECT 12 UNION ALL SELECT 13
        UNION ALL SELECT 14 UNION ALL SELECT 15)";
    let segment = from / SEGMENT;
    let start = segment * SEGMENT;
    format!(
        "INSERT INTO customers (customer_id, full_name, email_address, email_opt_in, source, customer_since,
            received_at, search_segment)
        SELECT CONCAT('01960000-0000-7000-8000-', LPAD(LOWER(HEX(n)), 12, '0')),
            CONCAT(LEFT(MD5(n), 16), ' Visitor'), CONCAT(LEFT(MD5(n), 16), '@example.org'), TRUE, 'web-store',
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
    fn sizes_are_powers_of_ten() {
        assert_eq!(sizes(1_000_000), [1000, 10_000, 100_000, 1_000_000]);
        assert_eq!(sizes(50), [50]);
    }
}
