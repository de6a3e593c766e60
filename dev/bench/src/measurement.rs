//! The measurements in their order, and the ratios of their figures.

use std::fmt;

use clap::ValueEnum;

use crate::{
    Bench,
    arguments::Scale,
    baselines, drain, end_to_end,
    figures::{Figures, Summary},
    http, latency,
    report::group_thousands,
    scaling, start,
};

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
    /// Rows per second with more instances of each service
    Replicas,
    /// Rows per second as messages grow
    Payload,
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

    /// Executes one run of the measurement; for [`Measurement::Table`], all runs.
    pub(crate) async fn run(self, bench: &Bench, figures: &mut Figures) -> anyhow::Result<()> {
        match self {
            Self::Baselines => baselines::measure(bench, figures).await,
            Self::Http => http::measure(bench, figures).await,
            Self::EndToEnd => end_to_end::measure(bench, figures).await,
            Self::Drain => drain::measure(bench, bench.scale.waiting, figures).await,
            Self::Latency => latency::measure(bench, figures).await,
            Self::Start => start::measure(bench, figures).await,
            Self::Backlog => scaling::measure_backlogs(bench, figures).await,
            Self::Replicas => scaling::measure_replicas(bench, figures).await,
            Self::Payload => scaling::measure_payloads(bench, figures).await,
            Self::Table => scaling::measure_tables(bench, figures).await,
        }
    }
}

impl fmt::Display for Measurement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.to_possible_value().expect("no measurement is hidden");
        f.write_str(name.get_name())
    }
}

/// Returns the ratios whose two figures were both measured.
pub(crate) fn ratios(figures: &Figures, scale: &Scale) -> Vec<Summary> {
    let drain = drain::rows_name(scale.waiting);
    let over_baselines = [
        ("accepted over HTTP ÷ PostgreSQL alone, 32 connections", http::AT_32, baselines::POSTGRES),
        ("end to end ÷ PostgreSQL alone, 32 connections", end_to_end::ROWS, baselines::POSTGRES),
        ("drain ÷ two queues in a row alone", drain.as_str(), baselines::TWO_QUEUES),
        (
            "registered to visible row at 50/s ÷ the servers' part, p50",
            latency::P50_AT_50,
            baselines::STEPS_P50,
        ),
        (
            "registered to visible row at 50/s ÷ the servers' part, p99",
            latency::P99_AT_50,
            baselines::STEPS_P99,
        ),
    ];
    let mut ratios: Vec<_> = over_baselines
        .iter()
        .filter_map(|(name, dividend, divisor)| figures.ratio(name, dividend, divisor))
        .collect();
    ratios.extend(scaling_ratio(figures, "waiting", scale.largest_backlog, drain::rows_name));
    ratios.extend(scaling_ratio(figures, "rows in Marketing", scale.largest_table, scaling::table_name));
    ratios
}

/// Returns the figure of the largest size divided by that of the smallest size.
fn scaling_ratio(
    figures: &Figures,
    size_name: &str,
    largest: u32,
    figure_name: fn(u32) -> String,
) -> Option<Summary> {
    let sizes = scaling::sizes(largest);
    let smallest = sizes[0];
    let largest = sizes[sizes.len() - 1];
    let [small, large] = [smallest, largest].map(|size| group_thousands(&size.to_string()));
    let ratio = format!("rows/s with {large} ÷ with {small} {size_name}");
    figures.ratio(&ratio, &figure_name(largest), &figure_name(smallest))
}
