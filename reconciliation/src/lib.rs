#![doc = include_str!("../README.md")]

mod comparison;
mod dead_letters;
mod flow;
mod report;
mod run;
mod search;
mod sources;
mod unlocated;
pub mod watch;

pub use comparison::Comparison;
pub use dead_letters::{DeadLetter, may_contain};
pub use flow::{Flow, QueueObservation, monitor};
pub use report::{DeadLetterCounts, Report, State};
pub use run::{Observer, reconcile, reconcile_observed};
pub use search::Search;
pub use sources::Sources;
pub use unlocated::Window;
