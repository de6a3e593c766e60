//! The measurements by their names, in their order, and the ratios that come of them.

use std::fmt;

use anyhow::Result;
use clap::ValueEnum;

use super::figures::{Figures, Summary};
use super::report::grouped;
use super::{Bench, Scale, baselines, drain, end_to_end, http, latency, scaling, start};

/// A measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Measurement {
    /// The servers alone: statements, messages, rows
    Limits,
    /// Registrations accepted, and the time of an answer, with 1, 32 and 256 connections
    Http,
    /// Rows a second at saturation, CPU time per registration, peak memory
    EndToEnd,
    /// Rows a second while events that wait in the outbox drain
    Drain,
    /// The time from an answer to a visible row, at 50 a second and at half of saturation, next to what the
    /// servers take of it
    Latency,
    /// The time from start to ready, and the size of the binaries
    Start,
    /// Draining as the backlog grows
    Backlog,
    /// Rows a second with more instances of each service
    Replicas,
    /// Rows a second as messages grow
    Payload,
    /// Rows a second as Marketing's table grows, in turns with those of a small one
    Table,
}

impl Measurement {
    /// Those of the wanted ones that are measured anew in each run.
    pub(super) fn each_run(wanted: &[Self]) -> impl Iterator<Item = Self> {
        let all = Self::value_variants().iter().copied();
        all.filter(move |what| *what != Self::Table && what.is_in(wanted))
    }

    /// Whether it is wanted: nothing named is everything.
    pub(super) fn is_in(self, wanted: &[Self]) -> bool {
        wanted.is_empty() || wanted.contains(&self)
    }

    /// One run of it; of the table, all of them.
    pub(super) async fn measure(self, bench: &Bench, figures: &mut Figures) -> Result<()> {
        match self {
            Self::Limits => baselines::measure(bench, figures).await,
            Self::Http => http::measure(bench, figures).await,
            Self::EndToEnd => end_to_end::measure(bench, figures).await,
            Self::Drain => drain::measure(bench, bench.scale.waiting, figures).await,
            Self::Latency => latency::measure(bench, figures).await,
            Self::Start => start::measure(bench, figures).await,
            Self::Backlog => scaling::backlog(bench, figures).await,
            Self::Replicas => scaling::replicas(bench, figures).await,
            Self::Payload => scaling::payload(bench, figures).await,
            Self::Table => scaling::table(bench, figures).await,
        }
    }
}

impl fmt::Display for Measurement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.to_possible_value().expect("none is hidden");
        f.write_str(name.get_name())
    }
}

/// Those for which both figures were measured.
pub(super) fn ratios(figures: &Figures, scale: &Scale) -> Vec<Summary> {
    let drain = drain::rows_name(scale.waiting);
    let next_to_the_servers = [
        ("accepted over HTTP ÷ PostgreSQL alone, 32 connections", http::AT_32, baselines::POSTGRES),
        ("end to end ÷ PostgreSQL alone, 32 connections", end_to_end::ROWS, baselines::POSTGRES),
        ("drain ÷ two queues in a row alone", drain.as_str(), baselines::TWO_QUEUES),
        ("registered to visible row at 50/s ÷ the servers' part, p50", latency::P50_AT_50, baselines::STEPS),
        (
            "registered to visible row at 50/s ÷ the servers' part, p99",
            latency::P99_AT_50,
            baselines::STEPS_P99,
        ),
    ];
    let mut ratios: Vec<_> = next_to_the_servers
        .iter()
        .filter_map(|(name, over, under)| figures.ratio(name, over, under))
        .collect();
    ratios.extend(grown(figures, "waiting", scale.largest_backlog, drain::rows_name));
    ratios.extend(grown(figures, "rows in Marketing", scale.largest_table, scaling::table_name));
    ratios
}

/// The figure of the largest over that of the smallest.
fn grown(figures: &Figures, what: &str, largest: u32, name: fn(u32) -> String) -> Option<Summary> {
    let sizes = scaling::sizes(largest);
    let (smallest, largest) = (sizes[0], sizes[sizes.len() - 1]);
    let [least, most] = [smallest, largest].map(|size| grouped(&size.to_string()));
    let ratio = format!("rows/s with {most} ÷ with {least} {what}");
    figures.ratio(&ratio, &name(largest), &name(smallest))
}
