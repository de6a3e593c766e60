//! Messages that cannot be processed, and messages that are delivered twice.

use std::time::Duration;

use super::description::{Company, Description};
use crate::{bad_messages::publish_bad_messages, duplicates::deliver_twice, fault_run::FaultRun};

/// Messages that no service of this system sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MessageFault {
    /// One message of each kind that must become a dead letter.
    Bad,
    /// One message of each kind of the fuzzer, for each exchange.
    Poison,
    Duplicate,
}

impl MessageFault {
    pub(super) fn all() -> Vec<Self> {
        vec![Self::Bad, Self::Poison, Self::Duplicate]
    }

    pub(super) fn describe(self) -> Description {
        match self {
            Self::Bad => Description::event("bad messages"),
            Self::Poison => Description::event("poison messages of every kind"),
            // A temporary queue takes a copy of every message.
            Self::Duplicate => {
                Description::lasting("every message delivered twice", 4).company(Company::Taker)
            }
        }
    }

    pub(super) async fn inject(self, run: &FaultRun, duration: Duration) -> anyhow::Result<()> {
        let environment = &run.system.environment;
        match self {
            Self::Bad => {
                let published = publish_bad_messages(environment).await;
                run.bad_messages().extend(published);
            }
            Self::Poison => run.poison.publish(environment).await,
            Self::Duplicate => {
                // A broker that is unavailable due to a simultaneous fault has no messages to duplicate.
                let _ = deliver_twice(environment, duration).await;
            }
        }
        Ok(())
    }
}
