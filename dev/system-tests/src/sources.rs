//! Reconciliation of a test's own system.

use std::time::Duration;

use anyhow::Result;
use readers::connections::{Brokers, Connections};
use reconciliation::Sources;
use stack::connection_urls::ConnectionUrls;

/// Returns the sources of a system on private servers, with the defaults of the command line.
///
/// # Errors
/// Returns an error if a connection URL is malformed.
pub fn reconciliation_sources(urls: &ConnectionUrls) -> Result<Sources> {
    let broker = |url: String| url.parse().map_err(anyhow::Error::msg);
    let target = urls.ports.marketing_broker.map(|_| urls.marketing_broker_url("console"));
    Ok(Sources {
        connections: Connections {
            web_store_database_url: urls.web_store_database_url("console").parse()?,
            marketing_database_url: urls.marketing_database_url("console").parse()?,
            brokers: Brokers {
                broker_url: broker(urls.broker_url("console"))?,
                target_broker_url: target.map(broker).transpose()?,
            },
        },
        patience: Duration::from_secs(30),
        page: 10_000,
    })
}
