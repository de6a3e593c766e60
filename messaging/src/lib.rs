#![doc = include_str!("../README.md")]

mod backoff;
mod broker_url;
mod consumer;
mod dead_letters;
mod deliveries;
mod envelope;
mod frame_filter;
mod gap;
mod incoming;
mod metrics;
mod peek;
mod publisher;
mod rejection;
mod session;
mod status;
mod supervisor;
mod topology;
mod transport;

pub use backoff::Backoff;
pub use broker_url::BrokerUrl;
pub use consumer::{Consumer, Handler, Outcome, Unavailable};
pub use envelope::{Envelope, Outgoing};
pub use gap::{BuildRequest, GapStatus};
pub use incoming::Incoming;
pub use metrics::{Measurement, MessagingMetrics, QueueLabel, duration_histogram, register_connections};
pub use peek::QueueState;
pub use publisher::PublishOutcome;
pub use rejection::Rejection;
pub use session::{Session, SessionError};
pub use status::StatusReports;
pub use supervisor::{ConnectionStatus, supervise};
