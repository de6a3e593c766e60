//! The active alerts of Prometheus, if its address is set.

use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, Utc};
use reqwest::{Client, Url};
use serde::Deserialize;

/// The time limit of one request.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The beginning of a link to the runbook in an alert. The page serves the runbook itself.
const RUNBOOK: &str = "docs/operations.md";

/// The source of the alerts.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct AlertSource {
    /// Prometheus, whose active alerts the page shows: `http://host:port`. Without it, the page shows none
    #[arg(long, env = "PROMETHEUS_URL", value_name = "URL")]
    pub(crate) prometheus_url: Option<Url>,
}

/// An alert that fires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Alert {
    pub(super) name: String,
    pub(super) summary: String,
    pub(super) since: DateTime<Utc>,
    /// Whether a person must act now.
    pub(super) is_page: bool,
    /// The address of the section of the runbook.
    pub(super) runbook: Option<String>,
}

/// Reads the alerts of one Prometheus.
pub(super) struct Prometheus {
    client: Client,
    url: Url,
}

#[derive(Deserialize)]
struct Response {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    alerts: Vec<Active>,
}

/// An alert as <https://prometheus.io/docs/prometheus/latest/querying/api/#alerts> describes it.
#[derive(Deserialize)]
struct Active {
    labels: Labels,
    #[serde(default)]
    annotations: Annotations,
    state: String,
    #[serde(rename = "activeAt")]
    since: DateTime<Utc>,
}

#[derive(Deserialize)]
struct Labels {
    alertname: String,
    severity: Option<String>,
}

#[derive(Default, Deserialize)]
struct Annotations {
    summary: Option<String>,
    runbook: Option<String>,
}

impl Prometheus {
    pub(super) fn new(mut url: Url) -> anyhow::Result<Self> {
        let path = format!("{}/api/v1/alerts", url.path().trim_end_matches('/'));
        url.set_path(&path);
        Ok(Self { client: Client::builder().timeout(TIMEOUT).build()?, url })
    }

    /// Returns the alerts that fire, the oldest first.
    ///
    /// # Errors
    /// Returns an error if Prometheus does not respond, or not with alerts.
    pub(super) async fn read(&mut self) -> anyhow::Result<Vec<Alert>> {
        let response =
            self.client.get(self.url.clone()).send().await.context("Prometheus does not respond")?;
        let response = response.error_for_status().context("Prometheus refuses the request")?;
        let response: Response = response.json().await.context("the response is not one of Prometheus")?;
        Ok(firing(response))
    }
}

fn firing(response: Response) -> Vec<Alert> {
    let firing = response.data.alerts.into_iter().filter(|active| active.state == "firing");
    let mut alerts: Vec<_> = firing
        .map(|Active { labels, annotations, since, .. }| Alert {
            name: labels.alertname,
            summary: annotations.summary.unwrap_or_default(),
            since,
            is_page: labels.severity.as_deref() == Some("page"),
            runbook: annotations.runbook.as_deref().and_then(runbook_url),
        })
        .collect();
    alerts.sort_by_key(|alert| alert.since);
    alerts
}

/// Returns the address of a section of the runbook. Another address is kept if a browser can open it.
fn runbook_url(link: &str) -> Option<String> {
    match link.strip_prefix(RUNBOOK) {
        Some(section) => Some(format!("/runbook{section}")),
        None => {
            Url::parse(link).ok().filter(|url| ["http", "https"].contains(&url.scheme())).map(String::from)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{firing, runbook_url};

    #[test]
    fn only_firing_alerts_are_shown_oldest_first() {
        let alert = |name: &str, state: &str, severity: &str, at: &str| {
            json!({
                "labels": { "alertname": name, "severity": severity, "job": "console" }, "state": state,
                "annotations": { "summary": "It waits", "runbook": "docs/operations.md#alerts" },
                "activeAt": at, "value": "1e+00",
            })
        };
        let response = json!({ "status": "success", "data": { "alerts": [
            alert("DeadLetters", "firing", "ticket", "2026-01-02T03:05:00.5Z"),
            alert("ServiceDown", "pending", "page", "2026-01-02T03:04:05Z"),
            alert("OutboxWaits", "firing", "page", "2026-01-02T03:04:05Z"),
        ] } });
        let alerts = firing(serde_json::from_value(response).unwrap());
        let shown: Vec<_> = alerts.iter().map(|alert| (&*alert.name, alert.is_page)).collect();
        assert_eq!(shown, [("OutboxWaits", true), ("DeadLetters", false)]);
        assert_eq!(alerts[0].runbook.as_deref(), Some("/runbook#alerts"));
    }

    #[test]
    fn link_that_no_browser_should_open_is_left_out() {
        let absolute = "https://example.org/runbook#alerts";
        assert_eq!(runbook_url(absolute).as_deref(), Some(absolute));
        for link in ["javascript:alert(1)", "../operations.md", ""] {
            assert_eq!(runbook_url(link), None, "{link}");
        }
    }
}
