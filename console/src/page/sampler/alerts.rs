//! Reads the active alerts of Prometheus.

use std::convert::Infallible;

use super::{Sampler, keep_reading};
use crate::page::alerts::Prometheus;

impl Sampler {
    /// Reads the alerts once a second. Without a Prometheus, there is nothing to read.
    pub(super) async fn read_alerts(&self) -> Infallible {
        let Some(url) = &self.prometheus else { return std::future::pending().await };
        let connect = async || Prometheus::new(url.clone());
        keep_reading(connect, Prometheus::read, |alerts| self.latest().alerts = Some(alerts)).await
    }
}
