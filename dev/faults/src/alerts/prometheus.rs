//! A Prometheus with the shipped alert rules.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    path::Path,
    time::Duration,
};

use anyhow::Context;
use reqwest::Client;
use serde_json::Value;
use stack::{command::child_command, ports::free_port, process::Process};
use system_tests::customers::http_client;
use tempfile::TempDir;

const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/alerts/rules.yml");

/// The interval of scrapes and evaluations, as in `deploy/observe/prometheus.yml`.
const INTERVAL: &str = "5s";

const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// A process of Prometheus. It ends when it is dropped.
pub(super) struct Prometheus {
    url: String,
    client: Client,
    _process: Process,
    _directory: TempDir,
}

impl Prometheus {
    /// Starts Prometheus with one target for each job, and waits until it is ready.
    pub(super) async fn start(targets: &[(&str, SocketAddr)]) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let rules = fs::canonicalize(RULES).with_context(|| format!("cannot find {RULES}"))?;
        let config = directory.path().join("prometheus.yml");
        fs::write(&config, configuration(&rules, targets))?;
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let mut command = child_command("prometheus");
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"));
        let log = directory.path().join("prometheus.log");
        let mut process = Process::spawn("prometheus", &mut command, &log)
            .context("cannot start Prometheus; script/install --for-tests installs it")?;
        let (client, url) = (http_client()?, format!("http://{address}"));
        let ready = async || {
            let response = client.get(format!("{url}/-/ready")).send().await;
            response.is_ok_and(|response| response.status().is_success())
        };
        process.wait_ready(READY_TIMEOUT, ready).await?;
        Ok(Self { url, client, _process: process, _directory: directory })
    }

    /// Returns the names of all alerts that the rules define.
    pub(super) async fn defined(&self) -> anyhow::Result<BTreeSet<String>> {
        let rules = self.get("rules?type=alert").await?;
        let groups = rules["groups"].as_array().context("groups")?.iter();
        let rules = groups.flat_map(|group| group["rules"].as_array().into_iter().flatten());
        Ok(rules.filter_map(|rule| Some(rule["name"].as_str()?.to_owned())).collect())
    }

    /// Returns the alerts that fire, with the summary of one instance each.
    pub(super) async fn firing(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let alerts = self.get("alerts").await?;
        let alerts = alerts["alerts"].as_array().context("alerts")?.iter();
        let firing = alerts.filter(|alert| alert["state"] == "firing");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(firing
            .map(|alert| (text(&alert["labels"]["alertname"]), text(&alert["annotations"]["summary"])))
            .collect())
    }

    async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let response = self.client.get(format!("{}/api/v1/{path}", self.url)).send().await?;
        let mut body: Value = response.error_for_status()?.json().await?;
        Ok(body["data"].take())
    }
}

fn configuration(rules: &Path, targets: &[(&str, SocketAddr)]) -> String {
    let jobs = targets.iter().map(|(job, address)| {
        format!("  - job_name: {job}\n    static_configs: [{{targets: ['{address}']}}]\n")
    });
    format!(
        "global: {{scrape_interval: {INTERVAL}, evaluation_interval: {INTERVAL}}}\n\
         rule_files: ['{}']\nscrape_configs:\n{}",
        rules.display(),
        jobs.collect::<String>()
    )
}
