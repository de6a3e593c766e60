//! The sequence of faults that a seed determines.

use std::{collections::BTreeSet, time::Duration};

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use stack::service::Program;

use crate::{
    fault::{Fault, REGISTRATION_QUEUES, Server},
    link::Link,
    proxy::Direction,
};

/// Returns the names of all kinds of fault. A long enough schedule contains each of them.
pub(crate) fn kinds() -> BTreeSet<String> {
    let mut schedule = FaultSchedule::new(0, "");
    (0..10_000).map(|_| schedule.random_fault().kind()).collect()
}

/// An endless sequence of pauses and faults.
pub(crate) struct FaultSchedule {
    random: StdRng,
    only: String,
}

impl FaultSchedule {
    /// Returns the schedule of a seed, limited to the kinds of fault whose name contains `only`.
    pub(crate) fn new(seed: u64, only: &str) -> Self {
        Self { random: StdRng::seed_from_u64(seed), only: only.to_owned() }
    }

    /// Returns a pause, and one or two faults that follow it.
    pub(crate) fn next(&mut self) -> (Duration, Vec<Fault>) {
        let pause = Duration::from_millis(self.random.random_range(0..1500));
        let mut faults = vec![self.selected_fault()];
        if self.random.random_ratio(1, 3) {
            faults.push(self.selected_fault());
        }
        if faults.iter().any(Fault::must_be_alone) {
            faults.truncate(1);
        }
        (pause, faults)
    }

    fn selected_fault(&mut self) -> Fault {
        loop {
            let fault = self.random_fault();
            if fault.kind().contains(&self.only) {
                return fault;
            }
        }
    }

    // All values are drawn for every kind, in this order. A change of it changes the schedule of every seed.
    fn random_fault(&mut self) -> Fault {
        let program = self.one_of(&Program::ALL);
        let server = self.one_of(&Server::ALL);
        let link = self.one_of(&Link::ALL);
        let direction = self.one_of(&Direction::ALL);
        let queue = self.one_of(&REGISTRATION_QUEUES);
        let short = self.duration(4);
        let long = self.duration(20);
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
            _ => Fault::DuplicateMessages(short),
        }
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        *choices.choose(&mut self.random).expect("the choices are not empty")
    }

    /// Returns a duration of up to `limit` seconds.
    ///
    /// Short ones are more frequent, so that a run has many faults.
    fn duration(&mut self, limit: u32) -> Duration {
        let share: f64 = self.random.random();
        Duration::from_secs_f64((f64::from(limit) * share * share).max(0.1))
    }
}

#[cfg(test)]
mod tests {
    use super::{FaultSchedule, kinds};

    #[test]
    fn seed_determines_schedule() {
        let schedule = |seed| {
            let mut schedule = FaultSchedule::new(seed, "");
            (0..50).map(|_| format!("{:?}", schedule.next())).collect::<Vec<_>>()
        };
        assert_eq!(schedule(7), schedule(7));
        assert_ne!(schedule(7), schedule(8));
    }

    #[test]
    fn kinds_contain_each_fault_of_each_program_and_server() {
        // For each program: kill, terminate, freeze, second instance. For each server: kill, freeze.
        // 10 other kinds.
        assert_eq!(kinds().len(), 28);
    }
}
