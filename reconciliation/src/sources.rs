//! The databases and brokers that reconciliation reads.

use std::time::Duration;

use readers::connections::Connections;
use service_kit::parse_seconds;

/// The two databases, the brokers, and the limits of reading them.
#[derive(Debug, Clone, clap::Args)]
pub struct Sources {
    /// The two databases and the brokers.
    #[command(flatten)]
    pub connections: Connections,

    /// Time to wait until the messages of a run have passed the queues; 0 means one look
    ///
    /// Customers without evidence at its end are on the way. The default is longer than a broker needs to release the
    /// messages of a dead service.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = parse_seconds)]
    pub patience: Duration,

    /// Customers per page
    #[arg(long, hide = true, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub page: u32,
}
