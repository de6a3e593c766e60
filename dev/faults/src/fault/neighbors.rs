//! Queues of other applications on the exchange of the Web Store's events.

use std::time::Duration;

use contracts::topology::{TRANSFORMER_CUSTOMER_REGISTERED, WEB_STORE_EVENTS};
use serde_json::{Value, json};
use tokio::time::sleep;
use uuid::Uuid;

use super::description::{Company, Description, restore};
use crate::fault_run::FaultRun;

/// A queue of another application. It exists for some time, and is then deleted with its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NeighborFault {
    /// Takes a copy of every event. Its type is `classic` or `quorum`.
    Tap(&'static str),
    /// Refuses every registration, so that the broker nacks it.
    FullQueue,
}

impl NeighborFault {
    pub(super) fn all() -> Vec<Self> {
        vec![Self::Tap("classic"), Self::Tap("quorum"), Self::FullQueue]
    }

    pub(super) fn describe(self) -> Description {
        match self {
            Self::Tap(queue_type) => Description::lasting("tap of another application", 15)
                .variant(format!("{queue_type} queue"))
                .company(Company::Taker),
            Self::FullQueue => Description::lasting("full queue of another application", 15),
        }
    }

    fn arguments(self) -> Value {
        match self {
            Self::Tap(queue_type) => json!({ "x-queue-type": queue_type }),
            Self::FullQueue => json!({ "x-max-length": 0, "x-overflow": "reject-publish" }),
        }
    }

    pub(super) async fn inject(self, run: &FaultRun, duration: Duration) -> anyhow::Result<()> {
        let management = run.system.environment.management();
        let queue = format!("loyalty.{}", Uuid::now_v7());
        let routing_key = match self {
            Self::Tap(_) => "#",
            Self::FullQueue => TRANSFORMER_CUSTOMER_REGISTERED.routing_key,
        };
        // A broker that is unavailable due to a simultaneous fault has no other queues either.
        if management.declare_queue(&queue, self.arguments()).await.is_ok() {
            let _ = management.bind(&queue, WEB_STORE_EVENTS, routing_key).await;
        }
        sleep(duration).await;
        restore("the queue is deleted", async || management.delete_queue(&queue).await).await
    }
}
