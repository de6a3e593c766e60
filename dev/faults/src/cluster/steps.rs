//! The steps: which nodes are lost, how, and what must hold meanwhile.

use std::time::Duration;

use anyhow::{Context, ensure};
use chrono::{NaiveDateTime, Utc};
use reqwest::StatusCode;
use serde_json::Value;
use stack::service::Program;
use system_tests::{SOON, eventually};
use tokio::time::{Instant, sleep};

use super::{Cluster, nodes::NODES, report::Step};

/// A step in progress.
struct Begun {
    name: String,
    at: NaiveDateTime,
}

impl Begun {
    fn now(name: String) -> Self {
        Self { name, at: Utc::now().naive_utc() }
    }
}

impl Cluster {
    pub(super) async fn take_steps(&mut self) -> anyhow::Result<()> {
        for index in 0..NODES {
            self.kill_one(index).await?;
        }
        self.kill_two().await?;
        self.isolate_one().await?;
        for index in 0..NODES {
            self.upgrade_one(index).await?;
        }
        Ok(())
    }

    async fn kill_one(&mut self, index: usize) -> anyhow::Result<()> {
        self.wait_replicated().await?;
        let begun = Begun::now(format!("kill -9 of node {}", index + 1));
        self.nodes.0[index].process.kill().await?;
        let recovery = self.recover(&begun).await?;
        self.nodes.0[index].restart().await?;
        self.end(begun, recovery).await
    }

    /// Without a majority, registrations continue, and no event leaves. The time of the recovery begins when the nodes
    /// have started again.
    async fn kill_two(&mut self) -> anyhow::Result<()> {
        self.wait_replicated().await?;
        let begun = Begun::now("kill -9 of nodes 1 and 2".to_owned());
        let [first, second, _] = &mut self.nodes.0;
        tokio::try_join!(first.process.kill(), second.process.kill())?;
        let killed = Utc::now().naive_utc();
        self.require_broker_down().await?;
        let waiting = self.system.waiting_events().await?;
        sleep(self.pause).await;
        let newest = self.system.newest_registration().await.context("Marketing has no row")?;
        ensure!(newest <= killed, "a customer arrived without a majority of the nodes");
        ensure!(self.system.waiting_events().await? > waiting, "the outbox does not grow");
        let [first, second, third] = &mut self.nodes.0;
        tokio::try_join!(first.restart(), second.restart())?;
        third.wait_ready().await?;
        let recovery = self.recover(&begun).await?;
        self.end(begun, recovery).await
    }

    /// Requires that the Web Store is ready without the broker, and that the other services are not.
    async fn require_broker_down(&self) -> anyhow::Result<()> {
        let client = &self.system.client;
        let url = |program| format!("{}/health/ready", self.system.url(program));
        eventually(SOON, "the Web Store is ready, and the others are not", async || {
            let web_store = client.get(url(Program::WebStore)).send().await.ok()?;
            let is_ready = web_store.status() == StatusCode::OK;
            let health: Value = web_store.json().await.ok()?;
            let is_reported = health["parts"]["broker"].as_str()?.starts_with("down");
            let transformer = client.get(url(Program::Transformer)).send().await.ok()?.status();
            let marketing = client.get(url(Program::Marketing)).send().await.ok()?.status();
            let are_unready = [transformer, marketing] == [StatusCode::SERVICE_UNAVAILABLE; 2];
            (is_ready && is_reported && are_unready).then_some(())
        })
        .await
    }

    /// Cuts the node with the most connections off the others.
    async fn isolate_one(&mut self) -> anyhow::Result<()> {
        self.wait_replicated().await?;
        let index = self.nodes.busiest(&self.system.environment).await?;
        let others = self.nodes.others(index);
        let begun = Begun::now(format!("partition: node {} alone", index + 1));
        self.nodes.0[index].isolate(&others).await?;
        let recovery = self.recover(&begun).await?;
        self.nodes.0[index].rejoin(&others).await?;
        self.nodes.0[index].wait_ready().await?;
        self.end(begun, recovery).await
    }

    /// Restarts a node as for an upgrade.
    async fn upgrade_one(&mut self, index: usize) -> anyhow::Result<()> {
        self.wait_replicated().await?;
        let begun = Begun::now(format!("drain and restart of node {}", index + 1));
        self.nodes.0[index].drain().await?;
        let recovery = self.recover(&begun).await?;
        self.nodes.0[index].restart().await?;
        self.end(begun, recovery).await
    }

    /// Waits until every queue has a member on each node.
    async fn wait_replicated(&self) -> anyhow::Result<()> {
        // Each queue has a member on this node, so it needs both other members to be online.
        self.nodes.0[0].wait_dispensable().await
    }

    /// Waits until a customer has arrived who registered after this call, and for the length of the step. Returns the time
    /// until the arrival.
    async fn recover(&self, begun: &Begun) -> anyhow::Result<Duration> {
        let since = Instant::now();
        let arrived = self.system.wait_for_registration_after(Utc::now().naive_utc(), async || true).await;
        arrived.with_context(|| begun.name.clone())?;
        let recovery = since.elapsed();
        sleep(self.pause.saturating_sub(recovery)).await;
        Ok(recovery)
    }

    /// Waits until all customers of the step have arrived, and adds the step to the report.
    async fn end(&mut self, begun: Begun, recovery: Duration) -> anyhow::Result<()> {
        let ended = Utc::now().naive_utc();
        self.system
            .wait_for_registration_after(ended, async || self.all_arrived(begun.at, ended).await)
            .await?;
        let (registered, longest_delay) = self.arrivals(begun.at, ended).await?;
        let longest_delay = Duration::from_micros(u64::try_from(longest_delay)?);
        let Begun { name, .. } = begun;
        (self.log)(&format!("{name}: recovered in {:.1} s", recovery.as_secs_f64()));
        self.report.steps.push(Step { name, registered, recovery, longest_delay });
        Ok(())
    }

    async fn all_arrived(&self, from: NaiveDateTime, until: NaiveDateTime) -> bool {
        let select = "SELECT count(*) FROM customers WHERE registered_at > $1 AND registered_at <= $2";
        let stored: Result<i64, _> = sqlx::query_scalar(select)
            .bind(from.and_utc())
            .bind(until.and_utc())
            .fetch_one(&self.system.web_store_database)
            .await;
        let arrived = self.arrivals(from, until).await;
        matches!((stored, arrived), (Ok(stored), Ok((arrived, _))) if stored == arrived)
    }

    /// Returns the number of rows of customers who registered in a period, and the longest time until their rows, in
    /// microseconds.
    async fn arrivals(&self, from: NaiveDateTime, until: NaiveDateTime) -> anyhow::Result<(i64, i64)> {
        let select = "SELECT count(*),
                CAST(COALESCE(MAX(TIMESTAMPDIFF(MICROSECOND, customer_since, received_at)), 0) AS SIGNED)
            FROM customers WHERE customer_since > ? AND customer_since <= ?";
        let row = sqlx::query_as(select).bind(from).bind(until);
        row.fetch_one(&self.system.marketing_database).await.context("cannot read Marketing's customers")
    }
}
