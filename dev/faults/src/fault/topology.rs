//! Deleted queues, exchanges, and bindings.
//!
//! A message for which no queue is bound is returned to its sender, which keeps it. If another application's queue takes
//! it, it is lost until a replay. See [`super::losses`] for losses of messages that already wait in a queue.

use contracts::topology::Queue;

use super::description::{Company, Description, restore};
use crate::{fault_run::FaultRun, system::REGISTRATION_QUEUES};

/// A part of the topology that is deleted by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TopologyFault {
    DeleteEmptyQueue(Queue),
    /// Deletes a queue with messages. An operator republishes the events.
    DeleteFullQueue(Queue),
    /// Deletes the exchange of a queue, and with it all its bindings.
    DeleteExchange(Queue),
    RemoveBinding(Queue),
}

impl TopologyFault {
    pub(super) fn all() -> Vec<Self> {
        let each = REGISTRATION_QUEUES.into_iter().flat_map(|queue| {
            [
                Self::DeleteEmptyQueue(queue),
                Self::DeleteFullQueue(queue),
                Self::DeleteExchange(queue),
                Self::RemoveBinding(queue),
            ]
        });
        each.collect()
    }

    pub(super) fn describe(self) -> Description {
        match self {
            Self::DeleteEmptyQueue(queue) => {
                Description::event("empty queue deleted").variant(queue.name).company(Company::Alone)
            }
            Self::DeleteFullQueue(queue) => {
                Description::event("queue with messages deleted, events republished")
                    .variant(queue.name)
                    .company(Company::Alone)
            }
            Self::DeleteExchange(queue) => {
                Description::event(format!("exchange deleted: {}", queue.exchange)).company(Company::NoTakers)
            }
            Self::RemoveBinding(queue) => {
                Description::event(format!("binding removed: {}", queue.name)).company(Company::NoTakers)
            }
        }
    }

    pub(super) async fn inject(self, run: &FaultRun) -> anyhow::Result<()> {
        let management = run.system.environment.management();
        match self {
            Self::DeleteEmptyQueue(queue) => run.delete_empty_queue(&queue).await,
            Self::DeleteFullQueue(queue) => run.delete_full_queue(&queue).await,
            Self::DeleteExchange(queue) => {
                restore("the exchange is deleted", async || management.delete_exchange(queue.exchange).await)
                    .await
            }
            Self::RemoveBinding(queue) => {
                let Queue { name, exchange, .. } = queue;
                let key = queue.binding_key();
                restore("the binding is removed", async || management.unbind(name, exchange, &key).await)
                    .await
            }
        }
    }
}
