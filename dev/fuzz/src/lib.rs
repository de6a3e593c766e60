#![doc = include_str!("../README.md")]

mod edited_body;
mod envelope;
mod frames;
mod list_query;
mod message;
mod registration;
mod schema;
mod traceparent;

use contracts::{
    CreateCustomer, CustomerDetailsChanged, CustomerErased, CustomerRegistered, CustomersRequested,
    EraseCustomer, ForgetCustomer, Message, ReplayCustomers, ReplayProgressed, UpdateCustomer,
};

/// Code that reads input of another party, and the properties that hold for every input.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The name: a message type, or the kind of input. It is also the directory of the seeds in `corpus/`.
    pub name: &'static str,
    /// Reads an input. Panics if a property does not hold.
    pub check: fn(&[u8]),
}

impl Target {
    const fn new(name: &'static str, check: fn(&[u8])) -> Self {
        Self { name, check }
    }

    const fn message<M: Message>() -> Self {
        Self::new(M::TYPE, message::check::<M>)
    }
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target::new("registration-form", registration::check_form),
    Target::new("registration-json", registration::check_json),
    Target::message::<CustomerRegistered>(),
    Target::message::<CustomerDetailsChanged>(),
    Target::message::<CustomerErased>(),
    Target::message::<EraseCustomer>(),
    Target::message::<ReplayCustomers>(),
    Target::message::<ReplayProgressed>(),
    Target::message::<CreateCustomer>(),
    Target::message::<UpdateCustomer>(),
    Target::message::<ForgetCustomer>(),
    Target::message::<CustomersRequested>(),
    Target::new("envelope", envelope::check),
    Target::new("frames", frames::check),
    Target::new("traceparent", traceparent::check),
    Target::new("list-query", list_query::check),
    Target::new("edited-body", edited_body::check),
];

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::{TARGETS, Target};

    /// Returns the seeds of a target with their paths: its own, and the released samples of its message.
    fn seeds(target: &Target) -> Vec<(String, Vec<u8>)> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let samples = root.join("../../contracts/released").join(target.name).join("samples");
        let directories = [root.join("corpus").join(target.name), samples];
        let files = directories.iter().filter_map(|directory| fs::read_dir(directory).ok()).flatten();
        files
            .map(|file| {
                let path = file.unwrap().path();
                (path.display().to_string(), fs::read(&path).unwrap())
            })
            .collect()
    }

    #[test]
    fn properties_hold_for_seeds_and_beginnings_of_seeds() {
        for target in TARGETS {
            for (path, seed) in seeds(target) {
                // Shown if a property does not hold.
                println!("{}: {path}", target.name);
                (target.check)(&seed);
                for length in (0..seed.len()).step_by(seed.len() / 100 + 1) {
                    (target.check)(&seed[..length]);
                }
            }
        }
    }

    #[test]
    fn every_target_has_seeds() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
        let directories = fs::read_dir(corpus).unwrap();
        let directories: BTreeSet<_> =
            directories.map(|directory| directory.unwrap().file_name().into_string().unwrap()).collect();
        let names: BTreeSet<_> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
        assert_eq!(directories, names);
    }
}
