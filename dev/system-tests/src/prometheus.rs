//! A fake Prometheus with one active alert.

use axum::{Json, Router, routing::get};
use serde_json::json;
use tokio::{net::TcpListener, task::JoinHandle};

/// A server that responds as Prometheus does. Dropping it ends the server.
#[derive(Debug)]
pub struct FakePrometheus {
    url: String,
    server: JoinHandle<()>,
}

impl FakePrometheus {
    /// Starts a server with the alert `QueueWithoutConsumer`, which is 2 minutes old.
    ///
    /// # Errors
    /// Returns an error if there is no free port.
    pub async fn start() -> anyhow::Result<Self> {
        let since = chrono::Utc::now() - chrono::TimeDelta::minutes(2);
        let alert = json!({
            "labels": { "alertname": "QueueWithoutConsumer", "severity": "page" }, "state": "firing", "value": "1e+02",
            "annotations": {
                "summary": "40 messages wait in marketing.create-customer, which has no consumer",
                "runbook": "docs/operations.md#a-queue-grows",
            },
            "activeAt": since,
        });
        let body = json!({ "status": "success", "data": { "alerts": [alert] } });
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/prometheus/", listener.local_addr()?);
        let router = Router::new().route("/prometheus/api/v1/alerts", get(async || Json(body)));
        let server = tokio::spawn(async {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { url, server })
    }

    /// Returns the address for the setting `PROMETHEUS_URL`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for FakePrometheus {
    fn drop(&mut self) {
        self.server.abort();
    }
}
