//! Measurement was measured before leaves work to the disk; where latency is measured, it has to be done by then.

use std::fs;
use std::time::Duration;

use anyhow::Result;
use sqlx::{Connection, PgConnection};
use tokio::time::{Instant, sleep};

use stack::connection_urls::ConnectionUrls;

/// KiB written within a second, below which the disk is calm.
const CALM: u64 = 1024;

/// Servers write a little in the background, some of them for long; it is waited for no longer than this.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until the disk is calm.
pub(super) async fn wait_until_idle(addresses: &ConnectionUrls) -> Result<()> {
    write_to_disk(addresses).await?;
    let (give_up, mut before) = (Instant::now() + PATIENCE, written());
    loop {
        sleep(Duration::from_secs(1)).await;
        let now = written();
        if now - before < CALM || Instant::now() > give_up {
            return Ok(());
        }
        before = now;
    }
}

/// Has PostgreSQL write to its tables what is only in its log, which it would do sooner or later.
pub(super) async fn write_to_disk(addresses: &ConnectionUrls) -> Result<()> {
    let mut superuser = PgConnection::connect(&addresses.web_store_database_url("postgres")).await?;
    sqlx::query("CHECKPOINT").execute(&mut superuser).await?;
    Ok(superuser.close().await?)
}

/// KiB, since the machine was started.
fn written() -> u64 {
    let counters = fs::read_to_string("/proc/vmstat").unwrap_or_default();
    let counter = counters.lines().find_map(|line| line.strip_prefix("pgpgout "));
    counter.and_then(|kib| kib.trim().parse().ok()).unwrap_or(0)
}
