//! The kinds of fault, and their names.

use std::{
    fmt::{self, Display, Formatter},
    time::Duration,
};

use contracts::topology::{MARKETING_CREATE_CUSTOMER, Queue, TRANSFORMER_CUSTOMER_REGISTERED};
use stack::service::Program;

use crate::{
    link::Link,
    proxy::{Direction, Traffic},
};

/// The queues that a registration passes.
pub(crate) const REGISTRATION_QUEUES: [Queue; 2] =
    [TRANSFORMER_CUSTOMER_REGISTERED, MARKETING_CREATE_CUSTOMER];

/// Returns the queue of a registration that is bound to an exchange.
pub(crate) fn queue_of(exchange: &str) -> Queue {
    let [events, commands] = REGISTRATION_QUEUES;
    if exchange == events.exchange { events } else { commands }
}

pub(crate) const DELAYED: Traffic = Traffic::Delayed(Duration::from_millis(500));

/// This rate is below the rate of the load, so messages accumulate before the link.
pub(crate) const THROTTLED: Traffic = Traffic::Throttled(20_000);

/// A server. Several links share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Server {
    Postgres,
    Mysql,
    Broker,
}

impl Server {
    pub(crate) const ALL: [Self; 3] = [Self::Postgres, Self::Mysql, Self::Broker];

    fn name(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL",
            Self::Mysql => "MySQL",
            Self::Broker => "RabbitMQ",
        }
    }
}

/// A failure, with its duration unless it is a single event.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
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
    DuplicateMessages(Duration),
}

impl Fault {
    /// Returns the name in the table of recovery times, which `--only` also searches.
    pub(crate) fn kind(&self) -> String {
        match self {
            Self::Kill(program) => format!("kill -9 {}", program.name()),
            Self::Terminate(program) => format!("SIGTERM {}", program.name()),
            Self::Freeze(program, _) => format!("SIGSTOP {}", program.name()),
            Self::KillServer(server) => format!("kill -9 {}", server.name()),
            Self::FreezeServer(server, _) => format!("SIGSTOP {}", server.name()),
            Self::Cut(..) => "link cut".into(),
            Self::HalfOpen(..) => "link half open".into(),
            Self::Delay(..) => "link delayed by 500 ms".into(),
            Self::Throttle(..) => "link throttled to 20 kB/s".into(),
            Self::CloseConnections => "every broker connection closed".into(),
            Self::MemoryAlarm(_) => "memory alarm of the broker".into(),
            Self::DeleteEmptyQueue(_) => "empty queue deleted".into(),
            Self::DeleteFullQueue(_) => "queue with messages deleted, events republished".into(),
            Self::SecondInstance(program, _) => {
                format!("second instance of {} started and killed", program.name())
            }
            Self::BadMessages => "bad messages".into(),
            Self::DuplicateMessages(_) => "every message delivered twice".into(),
        }
    }

    /// Returns whether the fault pauses the load and reads the queues, so that no other may coincide with it.
    pub(crate) fn must_be_alone(&self) -> bool {
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
                write!(f, " ({}, {} frozen)", link.name(), direction.name())?;
            }
            Self::DeleteEmptyQueue(queue) | Self::DeleteFullQueue(queue) => write!(f, " ({})", queue.name)?,
            _ => {}
        }
        match self {
            Self::Freeze(_, duration)
            | Self::FreezeServer(_, duration)
            | Self::Cut(_, duration)
            | Self::HalfOpen(_, _, duration)
            | Self::Delay(_, duration)
            | Self::Throttle(_, duration)
            | Self::MemoryAlarm(duration)
            | Self::SecondInstance(_, duration)
            | Self::DuplicateMessages(duration) => write!(f, " for {:.1} s", duration.as_secs_f64()),
            _ => Ok(()),
        }
    }
}
