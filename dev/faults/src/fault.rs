//! The kinds of fault, and a fault with its duration.

mod broker;
mod databases;
mod description;
mod links;
mod losses;
mod messages;
mod neighbors;
mod processes;
mod releases;
mod topology;

use std::{
    fmt::{self, Display, Formatter},
    time::Duration,
};

#[cfg(test)]
pub(crate) use self::description::Company;
pub(crate) use self::description::Description;
use self::{
    broker::BrokerFault, databases::DatabaseFault, links::LinkFault, losses::LossFault,
    messages::MessageFault, neighbors::NeighborFault, processes::ProcessFault, releases::ReleaseFault,
    topology::TopologyFault,
};
use crate::fault_run::FaultRun;

/// A kind of fault, with its variant.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Process(ProcessFault),
    Link(LinkFault),
    Broker(BrokerFault),
    Topology(TopologyFault),
    Neighbor(NeighborFault),
    Database(DatabaseFault),
    Release(ReleaseFault),
    Message(MessageFault),
    Loss(LossFault),
}

/// A fault of a schedule.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    /// The time until the normal state is restored. A single event has none.
    pub(crate) duration: Option<Duration>,
}

impl Kind {
    /// Returns all kinds, in all their variants.
    pub(crate) fn all() -> Vec<Self> {
        let mut all: Vec<Self> = ProcessFault::all().into_iter().map(Self::Process).collect();
        all.extend(LinkFault::all().into_iter().map(Self::Link));
        all.extend(BrokerFault::all().into_iter().map(Self::Broker));
        all.extend(TopologyFault::all().into_iter().map(Self::Topology));
        all.extend(NeighborFault::all().into_iter().map(Self::Neighbor));
        all.extend(DatabaseFault::all().into_iter().map(Self::Database));
        all.extend(ReleaseFault::all().into_iter().map(Self::Release));
        all.extend(MessageFault::all().into_iter().map(Self::Message));
        all.extend(LossFault::all().into_iter().map(Self::Loss));
        all
    }

    /// Returns whether the kind is part of a run with a console that watches, or of one without.
    ///
    /// Only the console repairs all losses. With it, no operator repairs them.
    pub(crate) fn is_in_run(self, with_console: bool) -> bool {
        match self {
            Self::Loss(_) => with_console,
            Self::Topology(TopologyFault::DeleteFullQueue(_)) => !with_console,
            _ => true,
        }
    }

    pub(crate) fn describe(self) -> Description {
        match self {
            Self::Process(fault) => fault.describe(),
            Self::Link(fault) => fault.describe(),
            Self::Broker(fault) => fault.describe(),
            Self::Topology(fault) => fault.describe(),
            Self::Neighbor(fault) => fault.describe(),
            Self::Database(fault) => fault.describe(),
            Self::Release(fault) => fault.describe(),
            Self::Message(fault) => fault.describe(),
            Self::Loss(fault) => fault.describe(),
        }
    }
}

impl Fault {
    /// Injects the fault. Returns when it has ended and the normal state is restored.
    ///
    /// # Errors
    /// Returns an error if the normal state cannot be restored.
    pub(crate) async fn inject(&self, run: &FaultRun) -> anyhow::Result<()> {
        let duration = self.duration.unwrap_or_default();
        match self.kind {
            Kind::Process(fault) => Box::pin(fault.inject(run, duration)).await,
            Kind::Link(fault) => Box::pin(fault.inject(run, duration)).await,
            Kind::Broker(fault) => Box::pin(fault.inject(run, duration)).await,
            Kind::Topology(fault) => Box::pin(fault.inject(run)).await,
            Kind::Neighbor(fault) => Box::pin(fault.inject(run, duration)).await,
            Kind::Database(fault) => Box::pin(fault.inject(run, duration)).await,
            Kind::Release(fault) => Box::pin(fault.inject(run, duration)).await,
            Kind::Message(fault) => Box::pin(fault.inject(run, duration)).await,
            Kind::Loss(fault) => Box::pin(fault.inject(run)).await,
        }
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Description { name, variant, .. } = self.kind.describe();
        f.write_str(&name)?;
        if !variant.is_empty() {
            write!(f, " ({variant})")?;
        }
        match self.duration {
            Some(duration) => write!(f, " for {:.1} s", duration.as_secs_f64()),
            None => Ok(()),
        }
    }
}
