//! Errors of operators: a queue is deleted, or messages that wait in it are lost.

use std::time::Duration;

use anyhow::ensure;
use contracts::topology::{Queue, TRANSFORMER_CUSTOMER_REGISTERED};
use reconciliation::{Report, reconcile};
use stack::{
    command::{child_command, run_tool_with_input},
    service::Program,
};
use system_tests::{eventually, reconciliation_sources};
use uuid::Uuid;

use crate::fault_run::FaultRun;

/// The minimum number of messages that are lost.
const LOST_MESSAGES: u64 = 50;

const TIMEOUT: Duration = Duration::from_mins(1);

impl FaultRun {
    /// Deletes a queue after the system has become quiescent.
    pub(crate) async fn delete_empty_queue(&self, queue: &Queue) -> anyhow::Result<()> {
        self.load.pause().await;
        self.system.wait_until_quiescent().await?;
        self.system.environment.management().delete_queue(queue.name).await?;
        self.load.resume();
        Ok(())
    }

    /// Loses the messages that wait in a queue while its consumer is frozen.
    ///
    /// Messages of earlier faults cannot be replayed, so they are settled first.
    pub(crate) async fn lose_messages(
        &self,
        queue: &Queue,
        lose: impl AsyncFnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.load.pause().await;
        self.system.wait_until_quiescent().await?;
        self.load.resume();
        let is_event_queue = queue.name == TRANSFORMER_CUSTOMER_REGISTERED.name;
        let consumer = if is_event_queue { Program::Transformer } else { Program::Marketing };
        let service = self.system.service(consumer).await;
        service.process.pause();
        let management = self.system.environment.management();
        eventually(TIMEOUT, "messages wait in the queue", async || {
            (management.queues().await.ok()?.get(queue.name)?.messages_ready >= LOST_MESSAGES).then_some(())
        })
        .await?;
        lose().await?;
        service.process.resume();
        Ok(())
    }

    /// Deletes a queue with messages. Reconciliation finds the missing customers, and the Web Store
    /// republishes their events.
    pub(crate) async fn delete_full_queue(&self, queue: &Queue) -> anyhow::Result<()> {
        let management = self.system.environment.management();
        self.lose_messages(queue, async || management.delete_queue(queue.name).await).await?;
        self.load.pause().await;
        self.system.wait_until_quiescent().await?;
        let missing = self.reconcile().await?.missing_ids;
        self.republish(&missing).await?;
        self.system.wait_until_quiescent().await?;
        let report = self.reconcile().await?;
        ensure!(report.is_consistent(), "not consistent after republishing:\n{report}");
        self.load.resume();
        Ok(())
    }

    /// Reconciles both applications.
    pub(crate) async fn reconcile(&self) -> anyhow::Result<Report> {
        let sources = reconciliation_sources(self.system.environment.connection_urls())?;
        Box::pin(reconcile(&sources)).await
    }

    async fn republish(&self, ids: &[Uuid]) -> anyhow::Result<()> {
        let mut republish = child_command(Program::WebStore.path()?);
        let database = self.system.environment.connection_urls().web_store_database_url("web_store");
        republish.arg("republish").env("WEB_STORE_DATABASE_URL", database);
        let lines = ids.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        run_tool_with_input("web-store republish", &mut republish, &lines).await.map(drop)
    }
}
