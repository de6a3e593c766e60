//! Faults of the broker: closed connections, an alarm, withdrawn permissions, and harmful policies.

use std::time::Duration;

use contracts::topology::Queue;
use serde_json::{Value, json};
use stack::service::Program;
use tokio::time::sleep;

use super::{
    description::{Company, Description, restore},
    processes::kill,
};
use crate::{fault_run::FaultRun, system::REGISTRATION_QUEUES};

/// The limit of a queue's length in a harmful policy. The load exceeds it within a fraction of a second.
const MAX_LENGTH: u32 = 10;

/// The delivery limit in a policy. Each of the kills under it costs a message in flight one delivery.
const DELIVERY_LIMIT: u32 = 3;
const KILLS: u32 = DELIVERY_LIMIT - 1;

/// A permission on a virtual host, as the management API calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Permission {
    Configure,
    Write,
    Read,
}

/// A fault of the broker, or an error of its operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BrokerFault {
    CloseConnections,
    MemoryAlarm,
    Withdrawn(Program, Permission),
    MaxLengthPolicy(Queue),
    DeliveryLimitPolicy,
}

impl Permission {
    const ALL: [Self; 3] = [Self::Configure, Self::Write, Self::Read];

    fn name(self) -> &'static str {
        match self {
            Self::Configure => "configure",
            Self::Write => "write",
            Self::Read => "read",
        }
    }
}

impl BrokerFault {
    pub(super) fn all() -> Vec<Self> {
        let withdrawn = Program::ALL
            .into_iter()
            .flat_map(|program| Permission::ALL.map(|permission| Self::Withdrawn(program, permission)))
            // The Web Store has no permission to read.
            .filter(|fault| *fault != Self::Withdrawn(Program::WebStore, Permission::Read));
        let policies = REGISTRATION_QUEUES.map(Self::MaxLengthPolicy);
        let others = [Self::CloseConnections, Self::MemoryAlarm, Self::DeliveryLimitPolicy];
        withdrawn.chain(policies).chain(others).collect()
    }

    pub(super) fn describe(self) -> Description {
        match self {
            Self::CloseConnections => Description::event("every broker connection closed"),
            Self::MemoryAlarm => Description::lasting("memory alarm of the broker", 4),
            Self::Withdrawn(program, permission) => {
                Description::lasting(format!("permission to {} withdrawn", permission.name()), 15)
                    .variant(program.name())
            }
            Self::MaxLengthPolicy(queue) => {
                Description::lasting(format!("policy max-length {MAX_LENGTH}"), 15).variant(queue.name)
            }
            // The kills would cost further deliveries together with another fault.
            Self::DeliveryLimitPolicy => {
                Description::event(format!("policy delivery-limit {DELIVERY_LIMIT}, consumers killed"))
                    .company(Company::Alone)
            }
        }
    }

    pub(super) async fn inject(self, run: &FaultRun, duration: Duration) -> anyhow::Result<()> {
        let management = run.system.environment.management();
        match self {
            Self::CloseConnections => {
                // A broker that is unavailable due to a simultaneous fault has no connections to close.
                let _ = management.close_connections().await;
                Ok(())
            }
            Self::MemoryAlarm => run.servers.raise_memory_alarm(duration).await,
            Self::Withdrawn(program, permission) => withdraw(run, program, permission, duration).await,
            Self::MaxLengthPolicy(queue) => {
                let definition = json!({ "max-length": MAX_LENGTH, "overflow": "reject-publish" });
                let name = format!("max-length-{}", queue.name);
                let _ = management.set_policy(&name, &pattern(&queue), definition).await;
                sleep(duration).await;
                restore("the policy is deleted", async || management.delete_policy(&name).await).await
            }
            Self::DeliveryLimitPolicy => kill_under_delivery_limit(run).await,
        }
    }
}

/// Returns the regular expression of one queue's name.
fn pattern(queue: &Queue) -> String {
    format!("^{}$", queue.name.replace('.', "\\."))
}

/// Withdraws a permission for `duration`. Closes the user's connections, because a channel keeps what it has
/// checked before.
async fn withdraw(
    run: &FaultRun,
    program: Program,
    permission: Permission,
    duration: Duration,
) -> anyhow::Result<()> {
    let (management, user) = (run.system.environment.management(), program.name());
    let initial =
        restore("the permissions are read", async || management.initial_permissions(user).await).await?;
    let mut permissions = initial.clone();
    permissions[permission.name()] = Value::from("^$");
    if management.set_permissions(user, permissions).await.is_ok() {
        let _ = management.close_connections_of(user).await;
    }
    sleep(duration).await;
    restore("the permission is given back", async || management.set_permissions(user, initial.clone()).await)
        .await
}

/// Sets a low delivery limit for our queues, and kills the consumers of a growing backlog.
///
/// A consumer that is killed has messages in flight. No valid one may become a dead letter.
async fn kill_under_delivery_limit(run: &FaultRun) -> anyhow::Result<()> {
    let management = run.system.environment.management();
    run.load.pause().await;
    // Messages of earlier faults may have more deliveries than the limit.
    run.system.wait_until_quiescent().await?;
    for queue in REGISTRATION_QUEUES {
        let definition = json!({ "delivery-limit": DELIVERY_LIMIT });
        management.set_policy(&format!("limit-{}", queue.name), &pattern(&queue), definition).await?;
    }
    run.load.resume();
    for _ in 0..KILLS {
        sleep(Duration::from_secs(1)).await;
        kill(run, Program::Transformer).await?;
        kill(run, Program::Marketing).await?;
    }
    run.system.wait_ready().await?;
    for queue in REGISTRATION_QUEUES {
        management.delete_policy(&format!("limit-{}", queue.name)).await?;
    }
    Ok(())
}
