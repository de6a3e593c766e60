//! The ratios of two figures, such as a throughput and the baseline of a server.

use crate::{
    baselines, drain, end_to_end,
    figures::{Figures, Summary},
    http, latency, replay,
    report::group_thousands,
    scale::Scale,
    scaling,
};

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
        (
            "registered to visible row at 50/s, during a replay ÷ before, p99",
            replay::P99_DURING,
            replay::P99_WITHOUT,
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
