//! Waits for disk writes that earlier measurements have left, because they would distort latencies.

use std::{fs, time::Duration};

use sqlx::{Connection, PgConnection};
use stack::connection_urls::ConnectionUrls;
use tokio::time::{Instant, sleep};

/// The disk is idle when less than this many KiB are written within a second.
const IDLE_KIB: u64 = 1024;

/// Flushes PostgreSQL's tables and waits until the disk is idle, for up to `limit`.
pub(crate) async fn wait_until_disk_idle(urls: &ConnectionUrls, limit: Duration) -> anyhow::Result<()> {
    flush_postgres(urls).await?;
    let give_up = Instant::now() + limit;
    let mut before = written_kib();
    while Instant::now() < give_up {
        sleep(Duration::from_secs(1)).await;
        let now = written_kib();
        if now - before < IDLE_KIB {
            break;
        }
        before = now;
    }
    Ok(())
}

/// Makes PostgreSQL write all changed pages to its tables, which it would otherwise do later.
pub(crate) async fn flush_postgres(urls: &ConnectionUrls) -> anyhow::Result<()> {
    let mut superuser = PgConnection::connect(&urls.web_store_database_url("postgres")).await?;
    sqlx::query("CHECKPOINT").execute(&mut superuser).await?;
    Ok(superuser.close().await?)
}

/// Returns the KiB written since the machine was started.
fn written_kib() -> u64 {
    let counters = fs::read_to_string("/proc/vmstat").unwrap_or_default();
    let counter = counters.lines().find_map(|line| line.strip_prefix("pgpgout "));
    counter.and_then(|kib| kib.trim().parse().ok()).unwrap_or(0)
}
