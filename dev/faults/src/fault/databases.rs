//! Database servers that are locked, read-only, or full.

use std::time::Duration;

use tokio::time::sleep;

use super::description::{Description, restore};
use crate::{database_state::DatabaseState, fault_run::FaultRun};

/// A database server in a state in which it is reachable, but does not do its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DatabaseFault(DatabaseState);

impl DatabaseFault {
    pub(super) fn all() -> Vec<Self> {
        DatabaseState::ALL.map(Self).to_vec()
    }

    pub(super) fn describe(self) -> Description {
        Description::lasting(self.0.name(), 15)
    }

    pub(super) async fn inject(self, run: &FaultRun, duration: Duration) -> anyhow::Result<()> {
        let Self(state) = self;
        let urls = run.system.environment.connection_urls();
        // A server that is unavailable due to a simultaneous fault takes no further state.
        let held = state.impose(urls).await;
        sleep(duration).await;
        drop(held);
        restore(&format!("the end of: {}", state.name()), async || state.lift(urls).await).await
    }
}
