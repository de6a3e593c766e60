//! What can go wrong: every kind of fault, and its name.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use contracts::topology::{MARKETING_CREATE_CUSTOMER, Queue, TRANSFORMER_CUSTOMER_REGISTERED};

use super::link::Link;
use crate::proxy::{Direction, Traffic};
use stack::service::Program;

/// The queues that a registration passes.
pub(crate) const QUEUES: [Queue; 2] = [TRANSFORMER_CUSTOMER_REGISTERED, MARKETING_CREATE_CUSTOMER];

/// A rate at which the load cannot pass, and a delay that every piece of it meets.
pub(super) const DELAY: Traffic = Traffic::Delayed(Duration::from_millis(500));
pub(super) const THROTTLE: Traffic = Traffic::Throttled(20_000);

/// A server, which is shared by several links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Server {
    Postgres,
    Mysql,
    Broker,
}

pub(super) const SERVERS: [Server; 3] = [Server::Postgres, Server::Mysql, Server::Broker];

/// Something that goes wrong, and for how long where that is not over at once.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    Kill(Program),
    Terminate(Program),
    Freeze(Program, Duration),
    KillServer(Server),
    FreezeServer(Server, Duration),
    Cut(Link, Duration),
    HalfOpen(Link, Direction, Duration),
    Delay(Link, Duration),
    Throttle(Link, Duration),
    CloseConnections,
    MemoryAlarm(Duration),
    DeleteEmptyQueue(Queue),
    DeleteFullQueue(Queue),
    SecondInstance(Program, Duration),
    BadMessages,
    EverythingTwice(Duration),
}

impl Fault {
    /// Its name in the table of recoveries.
    pub(super) fn kind(&self) -> String {
        match self {
            Self::Kill(program) => format!("kill -9 {}", program.name()),
            Self::Terminate(program) => format!("SIGTERM {}", program.name()),
            Self::Freeze(program, _) => format!("SIGSTOP {}", program.name()),
            Self::KillServer(server) => format!("kill -9 {server:?}"),
            Self::FreezeServer(server, _) => format!("SIGSTOP {server:?}"),
            Self::Cut(..) => "link cut".into(),
            Self::HalfOpen(..) => "link half open".into(),
            Self::Delay(..) => "link delayed by 500 ms".into(),
            Self::Throttle(..) => "link throttled to 20 kB/s".into(),
            Self::CloseConnections => "every broker connection closed".into(),
            Self::MemoryAlarm(_) => "memory alarm".into(),
            Self::DeleteEmptyQueue(_) => "empty queue deleted".into(),
            Self::DeleteFullQueue(_) => "queue deleted with content, republished".into(),
            Self::SecondInstance(program, _) => format!("a second {} comes and is killed", program.name()),
            Self::BadMessages => "bad messages".into(),
            Self::EverythingTwice(_) => "every message twice".into(),
        }
    }

    /// Those that pause the load and look at what is there cannot share the time with another.
    pub(super) fn is_alone(&self) -> bool {
        matches!(self, Self::DeleteEmptyQueue(_) | Self::DeleteFullQueue(_))
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind())?;
        match self {
            Self::Cut(link, _) | Self::Delay(link, _) | Self::Throttle(link, _) => {
                write!(f, " ({})", link.name())?;
            }
            Self::HalfOpen(link, direction, _) => {
                write!(f, " ({}, {direction:?} dead)", link.name())?;
            }
            Self::DeleteEmptyQueue(queue) | Self::DeleteFullQueue(queue) => write!(f, " ({})", queue.name)?,
            _ => {}
        }
        match self {
            Self::Freeze(_, time)
            | Self::FreezeServer(_, time)
            | Self::Cut(_, time)
            | Self::HalfOpen(_, _, time)
            | Self::Delay(_, time)
            | Self::Throttle(_, time)
            | Self::MemoryAlarm(time)
            | Self::SecondInstance(_, time)
            | Self::EverythingTwice(time) => write!(f, " for {:.1} s", time.as_secs_f64()),
            _ => Ok(()),
        }
    }
}
