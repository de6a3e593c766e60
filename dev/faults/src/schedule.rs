//! The sequence of faults that a seed determines.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::ensure;
use rand::{
    RngExt, SeedableRng,
    rngs::StdRng,
    seq::{IndexedRandom, SliceRandom},
};

use crate::fault::{Fault, Kind};

const MAX_PAUSE: Duration = Duration::from_millis(1500);

const SHORTEST: Duration = Duration::from_millis(100);

/// Returns the names of all kinds of fault.
pub(crate) fn names() -> BTreeSet<String> {
    Kind::all().into_iter().map(|kind| kind.describe().name).collect()
}

/// An endless sequence of pauses and faults. It contains each name once before it repeats one.
pub(crate) struct FaultSchedule {
    random: StdRng,
    /// The variants of each selected kind.
    kinds: BTreeMap<String, Vec<Kind>>,
    /// The names that come next, from the end.
    deck: Vec<String>,
    /// Whether the console repairs combinations that lose messages.
    with_console: bool,
}

impl FaultSchedule {
    /// Returns the schedule of a seed, limited to the kinds of fault whose name contains `only`.
    ///
    /// With a console that repairs losses of messages, the schedule contains them.
    ///
    /// # Errors
    /// Returns an error if no kind is left.
    pub(crate) fn new(seed: u64, only: &str, with_console: bool) -> anyhow::Result<Self> {
        let mut kinds: BTreeMap<String, Vec<Kind>> = BTreeMap::new();
        for kind in Kind::all() {
            let name = kind.describe().name;
            if name.contains(only) && kind.is_in_run(with_console) {
                kinds.entry(name).or_default().push(kind);
            }
        }
        let option = if with_console { "without" } else { "with" };
        ensure!(!kinds.is_empty(), "{only:?} selects only faults of runs {option} --watch");
        Ok(Self { random: StdRng::seed_from_u64(seed), kinds, deck: Vec::new(), with_console })
    }

    /// Returns a pause, and one or two faults that follow it.
    pub(crate) fn next(&mut self) -> (Duration, Vec<Fault>) {
        let pause = self.random.random_range(Duration::ZERO..MAX_PAUSE);
        let name = self.draw();
        let first = self.fault(&name);
        let mut faults = vec![first];
        if self.random.random_ratio(1, 3) {
            let next = self.draw();
            let second = self.fault(&next);
            let [company, next_company] = [first, second].map(|fault| fault.kind.describe().company);
            if next != name && company.allows(next_company, self.with_console) {
                faults.push(second);
            } else {
                self.deck.push(next);
            }
        }
        (pause, faults)
    }

    /// Takes a name from the deck. An empty deck is filled and shuffled first.
    fn draw(&mut self) -> String {
        if self.deck.is_empty() {
            self.deck.extend(self.kinds.keys().cloned());
            self.deck.shuffle(&mut self.random);
        }
        self.deck.pop().expect("a kind is selected")
    }

    /// Returns a fault with this name, of a random variant and duration.
    fn fault(&mut self, name: &str) -> Fault {
        let kind = *self.kinds[name].choose(&mut self.random).expect("a kind has a variant");
        // Short durations are more frequent, so that a run has many faults.
        let share = self.random.random::<f64>().powi(2);
        let duration = kind.describe().longest.map(|longest| longest.mul_f64(share).max(SHORTEST));
        Fault { kind, duration }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use super::{FaultSchedule, names};
    use crate::fault::{Company, Fault, Kind};

    /// Returns the pauses and faults until each kind has occurred once.
    fn one_deck(seed: u64, with_console: bool) -> Vec<(Duration, Vec<Fault>)> {
        let mut schedule = FaultSchedule::new(seed, "", with_console).unwrap();
        let names = schedule.kinds.len();
        let mut count = 0;
        let steps = std::iter::from_fn(|| {
            let step = (count < names).then(|| schedule.next())?;
            count += step.1.len();
            Some(step)
        });
        steps.collect()
    }

    #[test]
    fn seed_determines_schedule() {
        let schedule = |seed| format!("{:?}", one_deck(seed, false));
        assert_eq!(schedule(7), schedule(7));
        assert_ne!(schedule(7), schedule(8));
    }

    #[test]
    fn names_contain_each_fault_of_each_program_and_server() {
        // For each program: kill, terminate, freeze, second instance. For each server: kill, freeze. A silent server
        // for each link. 4 of links, 1 of a NAT, 7 of the broker, 6 of the topology, 2 of neighbors, 7 states of
        // databases, 3 of releases, 3 of messages, 5 losses of messages.
        assert_eq!(names().len(), 12 + 6 + 6 + 4 + 1 + 7 + 6 + 2 + 7 + 3 + 3 + 5);
    }

    #[test]
    fn schedule_contains_each_kind_before_it_repeats_one() {
        for (seed, with_console) in (0..20).zip([false, true].into_iter().cycle()) {
            let steps = one_deck(seed, with_console);
            let faults: Vec<_> = steps.iter().flat_map(|(_, faults)| faults).collect();
            let in_run = Kind::all().into_iter().filter(|kind| kind.is_in_run(with_console));
            let expected: BTreeSet<_> = in_run.map(|kind| kind.describe().name).collect();
            let first = faults.iter().take(expected.len()).map(|fault| fault.kind.describe().name);
            assert_eq!(first.collect::<BTreeSet<_>>(), expected);
        }
    }

    #[test]
    fn run_of_fifteen_minutes_has_time_for_each_kind() {
        for seed in 0..20 {
            let steps = one_deck(seed, false);
            let durations = |faults: &[Fault]| faults.iter().filter_map(|fault| fault.duration).max();
            let planned: Duration =
                steps.iter().map(|(pause, faults)| *pause + durations(faults).unwrap_or_default()).sum();
            // The remaining time is for the recoveries: 10 s on average.
            let recoveries = Duration::from_secs(10) * u32::try_from(steps.len()).unwrap();
            assert!(planned + recoveries < Duration::from_mins(15), "{planned:?} + {recoveries:?}");
        }
    }

    #[test]
    fn faults_that_lose_messages_together_do_not_coincide() {
        for seed in 0..100 {
            for (_, faults) in one_deck(seed, false) {
                let companies: Vec<_> = faults.iter().map(|fault| fault.kind.describe().company).collect();
                let has = |company| companies.contains(&company);
                assert!(companies.len() == 1 || !has(Company::Alone), "{faults:?}");
                assert!(!(has(Company::Taker) && has(Company::NoTakers)), "{faults:?}");
            }
        }
    }
}
