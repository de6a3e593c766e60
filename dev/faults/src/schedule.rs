//! Which faults a seed chooses, one after another, alone and in pairs.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::fault::{Fault, QUEUES, SERVERS};
use super::link::Link;
use crate::proxy::Direction;
use stack::service::Program;

/// Whether the name of any kind of fault holds a text.
pub(super) fn has_kind(text: &str) -> bool {
    let mut plan = FaultSchedule::new(0, "");
    (0..10_000).any(|_| plan.fault().kind().contains(text))
}

/// The endless row of faults that a seed stands for.
pub(super) struct FaultSchedule {
    random: StdRng,
    only: String,
}

impl FaultSchedule {
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
    use super::FaultSchedule;

    #[test]
    fn a_seed_decides_the_faults() {
        let told = |seed| {
            let mut plan = FaultSchedule::new(seed, "");
            (0..50).map(|_| format!("{:?}", plan.next())).collect::<Vec<_>>()
        };
        assert_eq!(told(7), told(7));
        assert_ne!(told(7), told(8));
    }
}
