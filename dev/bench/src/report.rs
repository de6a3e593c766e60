//! The output of a benchmark: a table for readers, or JSON for programs.

use std::fmt;

use serde::Serialize;

use crate::figures::Summary;

/// If other processes take more than this share of the machine, they disturb the measurement.
const DISTURBED: f64 = 0.05;

/// All figures, and the conditions under which they were measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// The number of CPUs that servers, services, and load shared.
    pub(crate) cpus: usize,
    /// The share of CPU time that other processes took, from 0 to 1.
    pub(crate) taken_by_others: f64,
    /// Whether the compiler optimized the programs. Otherwise no figure is meaningful.
    pub(crate) optimized: bool,
    /// The figures.
    pub(crate) figures: Vec<Summary>,
    /// One figure divided by another, run by run.
    pub(crate) ratios: Vec<Summary>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| figure | unit | min | median | max | |\n| --- | --- | ---: | ---: | ---: | --- |")?;
        for Summary { figure, unit, min, median, max, noisy, .. } in self.figures.iter().chain(&self.ratios) {
            let [min, median, max] = [min, median, max].map(|value| format_value(*value));
            let note = if *noisy { "noisy" } else { "" };
            writeln!(f, "| {figure} | {unit} | {min} | {median} | {max} | {note} |")?;
        }
        let others = self.taken_by_others * 100.0;
        writeln!(f, "\n{} CPUs for all; other processes took {others:.0} % of them meanwhile.", self.cpus)?;
        if self.taken_by_others > DISTURBED {
            writeln!(f, "This run is noisy: measure again while the machine does nothing else.")?;
        }
        if !self.optimized {
            writeln!(f, "This program was not optimized, so the figures mean nothing. Use script/bench.")?;
        }
        Ok(())
    }
}

/// Formats a value with about three significant digits, and commas between thousands.
fn format_value(value: f64) -> String {
    match value.abs() {
        size if size < 10.0 => format!("{value:.2}"),
        size if size < 100.0 => format!("{value:.1}"),
        _ => group_thousands(&format!("{value:.0}")),
    }
}

/// Inserts commas between thousands.
pub(crate) fn group_thousands(digits: &str) -> String {
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::format_value;

    #[test]
    fn values_have_three_significant_digits() {
        let values = [0.512, 9.87, 12.34, 345.6, 1234.5, 12_345_678.0].map(format_value);
        assert_eq!(values, ["0.51", "9.87", "12.3", "346", "1,234", "12,345,678"]);
    }
}
