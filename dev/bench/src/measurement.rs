//! The measurements in their order, and their selection.

use std::fmt;

use clap::ValueEnum;

/// A measurement that the command line can select.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Measurement {
    /// The servers alone: statements, messages, rows
    #[value(alias = "limits")]
    Baselines,
    /// Registrations accepted, and response times, with 1, 32, and 256 connections
    Http,
    /// Rows per second at saturation, CPU time per registration, peak memory
    EndToEnd,
    /// Rows per second while a backlog in the outbox drains
    Drain,
    /// The time from a response to a visible row, at 50 a second and at half of saturation, beside the servers'
    /// part of it
    Latency,
    /// The time from start to ready, and the size of the binaries
    Start,
    /// Draining as the backlog grows
    Backlog,
    /// Rows per second with more instances of each service, with the servers on one half of the CPUs
    Replicas,
    /// Events per second of a replay of all customers, and live registrations meanwhile
    Replay,
    /// Rows per second as messages grow
    Payload,
    /// Response times of the console's page, without and with the largest backlog
    Page,
    /// Rows per second as Marketing's table grows, in turns with those of a small one
    Table,
}

impl Measurement {
    /// Returns the selected measurements that are repeated in each run: all except [`Measurement::Table`].
    pub(crate) fn in_each_run(selected: &[Self]) -> impl Iterator<Item = Self> {
        let all = Self::value_variants().iter().copied();
        all.filter(move |measurement| *measurement != Self::Table && measurement.is_selected(selected))
    }

    /// Returns whether the measurement is selected. An empty list selects all measurements.
    pub(crate) fn is_selected(self, selected: &[Self]) -> bool {
        selected.is_empty() || selected.contains(&self)
    }
}

impl fmt::Display for Measurement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.to_possible_value().expect("no measurement is hidden");
        f.write_str(name.get_name())
    }
}
