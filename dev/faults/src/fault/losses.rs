//! Losses of messages that no service can prevent. They are repaired by a replay, which services or the console request.

use std::time::Duration;

use contracts::topology::Queue;
use serde_json::json;
use tokio::time::sleep;
use uuid::Uuid;

use super::description::{Company, Description};
use crate::{fault_run::FaultRun, system::REGISTRATION_QUEUES};

/// The time in which messages go to another application's queue only, or expire.
const DURATION: Duration = Duration::from_secs(5);

/// The number of messages that another consumer acks.
const MISTAKES: u32 = 50;

/// A loss of the messages that wait in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LossFault {
    DeleteQueue(Queue),
    /// Deletes the queue while another application's queue is bound, so that the broker confirms all messages.
    DeleteTappedQueue(Queue),
    Purge(Queue),
    /// Sets a policy of 1 ms for the queue. A pattern for all queues would also remove the dead letters, which no
    /// replay brings back.
    Expire(Queue),
    AckByMistake(Queue),
}

impl LossFault {
    pub(super) fn all() -> Vec<Self> {
        let each = REGISTRATION_QUEUES.into_iter().flat_map(|queue| {
            [
                Self::DeleteQueue(queue),
                Self::DeleteTappedQueue(queue),
                Self::Purge(queue),
                Self::Expire(queue),
                Self::AckByMistake(queue),
            ]
        });
        each.collect()
    }

    pub(super) fn describe(self) -> Description {
        let (name, queue) = match self {
            Self::DeleteQueue(queue) => ("messages lost: queue deleted", queue),
            Self::DeleteTappedQueue(queue) => ("messages lost: queue deleted, messages to a tap", queue),
            Self::Purge(queue) => ("messages lost: queue purged", queue),
            Self::Expire(queue) => ("messages lost: policy message-ttl", queue),
            Self::AckByMistake(queue) => ("messages lost: acked by another consumer", queue),
        };
        Description::event(name).variant(queue.name).company(Company::Alone)
    }

    pub(super) async fn inject(self, run: &FaultRun) -> anyhow::Result<()> {
        let management = run.system.environment.management();
        match self {
            Self::DeleteQueue(queue) => {
                run.lose_messages(&queue, async || management.delete_queue(queue.name).await).await
            }
            Self::DeleteTappedQueue(queue) => {
                let tap = format!("loyalty.{}", Uuid::now_v7());
                management.declare_queue(&tap, json!({})).await?;
                management.bind(&tap, queue.exchange, "#").await?;
                run.lose_messages(&queue, async || {
                    management.delete_queue(queue.name).await?;
                    sleep(DURATION).await;
                    Ok(())
                })
                .await?;
                management.delete_queue(&tap).await
            }
            Self::Purge(queue) => {
                run.lose_messages(&queue, async || management.purge(queue.name).await).await
            }
            Self::Expire(queue) => {
                let pattern = format!("^{}$", queue.name.replace('.', "\\."));
                // The messages that wait already have no expiration. The later ones expire behind them.
                run.lose_messages(&queue, async || {
                    management.set_policy("expiry", &pattern, json!({ "message-ttl": 1 })).await?;
                    sleep(DURATION).await;
                    Ok(())
                })
                .await?;
                sleep(DURATION).await;
                management.delete_policy("expiry").await
            }
            Self::AckByMistake(queue) => {
                run.lose_messages(&queue, async || management.take(queue.name, MISTAKES).await.map(drop))
                    .await
            }
        }
    }
}
