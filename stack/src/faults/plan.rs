//! Which faults a seed chooses, one after another, alone and in pairs.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use contracts::address::{MARKETING_CREATE_CUSTOMER, Queue, TRANSFORMER_CUSTOMER_REGISTERED};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::system::Link;
use crate::proxy::{Direction, Flow};
use crate::service::Program;

/// The queues that a registration passes.
pub(super) const QUEUES: [Queue; 2] = [TRANSFORMER_CUSTOMER_REGISTERED, MARKETING_CREATE_CUSTOMER];

/// A rate at which the load cannot pass, and a delay that every piece of it meets.
const DELAY: Flow = Flow::Delayed(Duration::from_millis(500));
const THROTTLE: Flow = Flow::Throttled(20_000);

/// A server, which is shared by several links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Server {
    Postgres,
    Mysql,
    Broker,
}

const SERVERS: [Server; 3] = [Server::Postgres, Server::Mysql, Server::Broker];

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
    fn is_alone(&self) -> bool {
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

/// The flow of a link while a fault lasts, where it goes on flowing.
pub(super) fn slowed(fault: &Fault) -> Option<Flow> {
    match fault {
        Fault::Delay(..) => Some(DELAY),
        Fault::Throttle(..) => Some(THROTTLE),
        _ => None,
    }
}

/// Whether the name of any kind of fault holds a text.
pub(super) fn has_kind(text: &str) -> bool {
    let mut plan = Plan::new(0, "");
    (0..10_000).any(|_| plan.fault().kind().contains(text))
}

/// The endless row of faults that a seed stands for.
pub(super) struct Plan {
    random: StdRng,
    only: String,
}

impl Plan {
    /// `only` leaves out the kinds whose name does not hold this text.
    pub(super) fn new(seed: u64, only: &str) -> Self {
        Self { random: StdRng::seed_from_u64(seed), only: only.to_owned() }
    }

    /// A pause, then one fault, or two at once.
    pub(super) fn next(&mut self) -> (Duration, Vec<Fault>) {
        let pause = Duration::from_millis(self.random.random_range(0..1500));
        let mut faults = vec![self.chosen_fault()];
        if self.random.random_ratio(1, 3) {
            faults.push(self.chosen_fault());
        }
        if faults.iter().any(Fault::is_alone) {
            faults.truncate(1);
        }
        (pause, faults)
    }

    fn chosen_fault(&mut self) -> Fault {
        loop {
            let fault = self.fault();
            if fault.kind().contains(&self.only) {
                return fault;
            }
        }
    }

    fn fault(&mut self) -> Fault {
        let (program, server, link) =
            (self.one_of(&Program::ALL), self.one_of(&SERVERS), self.one_of(&Link::ALL));
        let (direction, queue) = (self.one_of(&Direction::ALL), self.one_of(&QUEUES));
        let (short, long) = (self.time(4), self.time(20));
        match self.random.random_range(0..16) {
            0 => Fault::Kill(program),
            1 => Fault::Terminate(program),
            2 => Fault::Freeze(program, long),
            3 => Fault::KillServer(server),
            4 => Fault::FreezeServer(server, long),
            5 => Fault::Cut(link, short),
            6 => Fault::HalfOpen(link, direction, long),
            7 => Fault::Delay(link, short),
            8 => Fault::Throttle(link, short),
            9 => Fault::CloseConnections,
            10 => Fault::MemoryAlarm(short),
            11 => Fault::DeleteEmptyQueue(queue),
            12 => Fault::DeleteFullQueue(queue),
            13 => Fault::SecondInstance(program, short),
            14 => Fault::BadMessages,
            _ => Fault::EverythingTwice(short),
        }
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        *all.choose(&mut self.random).expect("there are some")
    }

    /// Up to so many seconds; short ones are more frequent, so that many faults fit into the time.
    fn time(&mut self, most: u32) -> Duration {
        let share: f64 = self.random.random();
        Duration::from_secs_f64((f64::from(most) * share * share).max(0.1))
    }
}

#[cfg(test)]
mod tests {
    use super::Plan;

    #[test]
    fn a_seed_decides_the_faults() {
        let told = |seed| {
            let mut plan = Plan::new(seed, "");
            (0..50).map(|_| format!("{:?}", plan.next())).collect::<Vec<_>>()
        };
        assert_eq!(told(7), told(7));
        assert_ne!(told(7), told(8));
    }
}
