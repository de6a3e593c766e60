//! An operator's mistake: a queue deleted, with what it holds; and how that is mended.

use std::time::Duration;

use anyhow::{Result, ensure};
use contracts::topology::Queue;
use uuid::Uuid;

use super::fault_run::FaultRun;
use console::reconcile::{Report, Sources, reconcile};
use stack::command::{child_command, run_tool_with_input};
use stack::service::Program;
use system_tests::reconciliation_sources;

/// A queue with so many messages has content enough to be missed.
const CONTENT: u64 = 50;

impl FaultRun {
    pub(super) async fn delete_empty(&self, queue: &Queue) -> Result<()> {
        self.load.pause().await;
        self.system.at_rest().await?;
        self.system.site.management().delete_queue(queue.name).await?;
        self.load.resume();
        Ok(())
    }

    /// An operator's mistake: what the queue held is gone. The books tell who is missing, and the Web
    /// Store sends their events again.
    pub(super) async fn delete_full(&self, queue: &Queue) -> Result<()> {
        let management = self.system.site.management();
        let consumer =
            if queue.name.starts_with("transformer") { Program::Transformer } else { Program::Marketing };
        {
            let service = self.system.service(consumer).await;
            service.process.pause();
            self.system.fills(queue, CONTENT).await?;
            management.delete_queue(queue.name).await?;
            service.process.resume();
        }
        self.load.pause().await;
        self.system.at_rest().await?;
        let missing = self.books().await?.missing_ids;
        self.republish(&missing).await?;
        self.system.at_rest().await?;
        let books = self.books().await?;
        ensure!(books.is_consistent(), "after republishing:\n{books}");
        self.load.resume();
        Ok(())
    }

    /// The books of a system at rest, where nobody has to be waited for.
    pub(super) async fn books(&self) -> Result<Report> {
        let books = reconciliation_sources(self.system.site.connection_urls())?;
        reconcile(&Sources { patience: Duration::from_secs(3), ..books }).await
    }

    async fn republish(&self, ids: &[Uuid]) -> Result<()> {
        let mut republish = child_command(Program::WebStore.path()?);
        let database = self.system.site.connection_urls().web_store_database_url("web_store");
        republish.arg("republish").env("WEB_STORE_DATABASE_URL", database);
        let lines = ids.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        run_tool_with_input("web-store republish", &mut republish, &lines).await.map(drop)
    }
}
