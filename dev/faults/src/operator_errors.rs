//! Errors of operators: an empty queue is deleted, or a queue with messages, which is then repaired.

use anyhow::ensure;
use console::reconcile::{Report, reconcile};
use contracts::topology::{Queue, TRANSFORMER_CUSTOMER_REGISTERED};
use stack::{
    command::{child_command, run_tool_with_input},
    service::Program,
};
use system_tests::reconciliation_sources;
use uuid::Uuid;

use crate::fault_run::FaultRun;

/// The minimum number of messages in a queue before it is deleted.
const LOST_MESSAGES: u64 = 50;

impl FaultRun {
    /// Deletes a queue after the system has become quiescent.
    pub(crate) async fn delete_empty_queue(&self, queue: &Queue) -> anyhow::Result<()> {
        self.load.pause().await;
        self.system.wait_until_quiescent().await?;
        self.system.environment.management().delete_queue(queue.name).await?;
        self.load.resume();
        Ok(())
    }

    /// Deletes a queue with messages. Reconciliation finds the missing customers, and the Web Store
    /// republishes their events.
    ///
    /// Messages of earlier faults cannot be republished, so they are settled first.
    pub(crate) async fn delete_full_queue(&self, queue: &Queue) -> anyhow::Result<()> {
        self.load.pause().await;
        self.system.wait_until_quiescent().await?;
        self.load.resume();
        let is_event_queue = queue.name == TRANSFORMER_CUSTOMER_REGISTERED.name;
        let consumer = if is_event_queue { Program::Transformer } else { Program::Marketing };
        {
            let service = self.system.service(consumer).await;
            service.process.pause();
            self.system.wait_for_depth(queue, LOST_MESSAGES).await?;
            self.system.environment.management().delete_queue(queue.name).await?;
            service.process.resume();
        }
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
