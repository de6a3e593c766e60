//! Measurement a benchmark prints: one table for people, or JSON for programs.

use std::fmt;

use serde::Serialize;

use super::figures::Summary;

/// Above this share of the machine, others disturb what is measured.
const DISTURBED: f64 = 0.05;

/// All that was measured, and where.
#[derive(Debug, Serialize)]
pub struct Report {
    /// How many CPUs the servers, the services and the load shared.
    pub cpus: usize,
    /// The share of them that other processes took meanwhile; 1 is all of all.
    pub taken_by_others: f64,
    /// Whether the compiler optimised; without, no figure means anything.
    pub optimised: bool,
    /// The figures.
    pub figures: Vec<Summary>,
    /// Measurement the figures are for: one over another, run by run.
    pub ratios: Vec<Summary>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| figure | unit | min | median | max | |\n| --- | --- | ---: | ---: | ---: | --- |")?;
        for Summary { figure, unit, min, median, max, noisy, .. } in self.figures.iter().chain(&self.ratios) {
            let [min, median, max] = [min, median, max].map(|value| shown(*value));
            let note = if *noisy { "noisy" } else { "" };
            writeln!(f, "| {figure} | {unit} | {min} | {median} | {max} | {note} |")?;
        }
        let others = self.taken_by_others * 100.0;
        writeln!(f, "\n{} CPUs for all; other processes took {others:.0} % of them meanwhile.", self.cpus)?;
        if self.taken_by_others > DISTURBED {
            writeln!(f, "That is a noisy run: measure again while the machine does nothing else.")?;
        }
        if !self.optimised {
            writeln!(f, "This program was not optimised: its figures mean nothing. Use script/bench.")?;
        }
        Ok(())
    }
}

/// With about three digits that count, and thousands set apart.
fn shown(value: f64) -> String {
    match value.abs() {
        size if size < 10.0 => format!("{value:.2}"),
        size if size < 100.0 => format!("{value:.1}"),
        _ => grouped(&format!("{value:.0}")),
    }
}

/// Digits with a comma between thousands.
pub(super) fn grouped(digits: &str) -> String {
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn a_value_is_shown_with_what_counts() {
        let values = [0.512, 9.87, 12.34, 345.6, 1234.5, 12_345_678.0].map(shown);
        assert_eq!(values, ["0.51", "9.87", "12.3", "346", "1,234", "12,345,678"]);
    }
}
