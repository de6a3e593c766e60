//! Links that are cut, half open, slow, or silent, and a NAT that forgets connections.

use std::time::Duration;

use tokio::time::sleep;

use super::description::{Company, Description};
use crate::{
    fault_run::FaultRun,
    link::Link,
    proxy::{Direction, Traffic},
};

const DELAYED: Traffic = Traffic::Delayed(Duration::from_millis(500));

/// This rate is below the rate of the load, so messages accumulate before the link.
const THROTTLED: Traffic = Traffic::Throttled(20_000);

/// Shorter than the interval of the relay's polls and of heartbeats, so that a NAT forgets every idle connection.
const NAT_IDLE_LIMIT: Duration = Duration::from_millis(700);

/// A fault of a link between a service and a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinkFault {
    Cut(Link),
    HalfOpen(Link, Direction),
    Delay(Link),
    Throttle(Link),
    /// Closes the connections. New ones stay open, and the server never replies on them.
    Silent(Link),
    /// A NAT between all services and servers forgets the connections that are idle.
    ForgottenByNat,
}

impl LinkFault {
    pub(super) fn all() -> Vec<Self> {
        let each = Link::ALL.into_iter().flat_map(|link| {
            let half_open = Direction::ALL.map(|direction| Self::HalfOpen(link, direction));
            let others = [Self::Cut(link), Self::Delay(link), Self::Throttle(link), Self::Silent(link)];
            half_open.into_iter().chain(others)
        });
        each.chain([Self::ForgottenByNat]).collect()
    }

    pub(super) fn describe(self) -> Description {
        match self {
            Self::Cut(link) => Description::lasting("link cut", 4).variant(link.name()),
            Self::HalfOpen(link, direction) => Description::lasting("link half open", 20).variant(format!(
                "{}, {} frozen",
                link.name(),
                direction.name()
            )),
            Self::Delay(link) => Description::lasting("link delayed by 500 ms", 4).variant(link.name()),
            Self::Throttle(link) => Description::lasting("link throttled to 20 kB/s", 4).variant(link.name()),
            // A name for each link, because each has deadlines of its own.
            Self::Silent(link) => Description::lasting(format!("silent server: {}", link.name()), 20),
            Self::ForgottenByNat => {
                Description::event("idle connections forgotten by a NAT").company(Company::Alone)
            }
        }
    }

    pub(super) async fn inject(self, run: &FaultRun, duration: Duration) -> anyhow::Result<()> {
        match self {
            Self::Cut(link) => {
                run.system.proxy(link).cut();
                sleep(duration).await;
                run.system.proxy(link).restore();
            }
            Self::Silent(link) => {
                run.system.proxy(link).silence();
                sleep(duration).await;
                run.system.proxy(link).restore();
            }
            Self::HalfOpen(link, direction) => {
                limit_traffic(run, link, &[direction], Traffic::Frozen, duration).await;
            }
            Self::Delay(link) => limit_traffic(run, link, &Direction::ALL, DELAYED, duration).await,
            Self::Throttle(link) => limit_traffic(run, link, &Direction::ALL, THROTTLED, duration).await,
            Self::ForgottenByNat => forget_idle_connections(run).await,
        }
        Ok(())
    }
}

async fn limit_traffic(
    run: &FaultRun,
    link: Link,
    directions: &[Direction],
    traffic: Traffic,
    duration: Duration,
) {
    let proxy = run.system.proxy(link);
    for direction in directions {
        proxy.set_traffic(*direction, traffic);
    }
    sleep(duration).await;
    proxy.restore();
}

/// Pauses the load, so that connections become idle, until all links have forgotten them.
async fn forget_idle_connections(run: &FaultRun) {
    run.load.pause().await;
    for link in Link::ALL {
        run.system.proxy(link).forget_idle(NAT_IDLE_LIMIT);
    }
    sleep(2 * NAT_IDLE_LIMIT).await;
    for link in Link::ALL {
        run.system.proxy(link).restore();
    }
    run.load.resume();
}
