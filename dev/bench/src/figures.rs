//! Figures of several runs: minimum, median, maximum, and whether the runs differ too much.

use serde::Serialize;

/// If the runs differ by more than this share of the median, the figure is noisy.
const MAX_SPREAD: f64 = 0.15;

/// Figures in the order of their first measurement.
#[derive(Debug, Default)]
pub(crate) struct Figures(Vec<Figure>);

#[derive(Debug, Clone)]
struct Figure {
    name: String,
    unit: &'static str,
    /// One value per run.
    runs: Vec<f64>,
}

/// A figure in the report.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Summary {
    /// The name of the figure.
    pub(crate) figure: String,
    /// The unit of all values.
    pub(crate) unit: &'static str,
    /// The minimum of all runs.
    pub(crate) min: f64,
    /// The median of all runs. With an even number of runs, the mean of the two in the middle.
    pub(crate) median: f64,
    /// The maximum of all runs.
    pub(crate) max: f64,
    /// Whether minimum and maximum differ by more than 15 % of the median.
    pub(crate) noisy: bool,
    /// The values in the order of the runs.
    pub(crate) runs: Vec<f64>,
}

impl Figures {
    /// Adds the value of one run.
    pub(crate) fn add(&mut self, name: impl Into<String>, unit: &'static str, value: f64) {
        let name = name.into();
        match self.0.iter_mut().find(|figure| figure.name == name) {
            Some(figure) => figure.runs.push(value),
            None => self.0.push(Figure { name, unit, runs: vec![value] }),
        }
    }

    /// Returns the latest run's value, if the figure was measured.
    pub(crate) fn latest(&self, name: &str) -> Option<f64> {
        self.get(name)?.runs.last().copied()
    }

    /// Returns one figure divided by another, if both were measured.
    ///
    /// Values of the same run are divided. If the numbers of runs differ, the latest runs are used.
    pub(crate) fn ratio(&self, name: &str, dividend: &str, divisor: &str) -> Option<Summary> {
        let dividends = self.get(dividend)?.runs.iter().rev();
        let divisors = self.get(divisor)?.runs.iter().rev();
        let runs: Vec<_> = dividends.zip(divisors).map(|(dividend, divisor)| dividend / divisor).collect();
        let runs = runs.into_iter().rev().collect();
        Some(Figure { name: name.to_owned(), unit: "×", runs }.summary())
    }

    pub(crate) fn summaries(&self) -> Vec<Summary> {
        self.0.iter().map(Figure::summary).collect()
    }

    fn get(&self, name: &str) -> Option<&Figure> {
        self.0.iter().find(|figure| figure.name == name)
    }
}

impl Figure {
    fn summary(&self) -> Summary {
        let mut sorted = self.runs.clone();
        sorted.sort_by(f64::total_cmp);
        let min = sorted[0];
        let max = sorted[sorted.len() - 1];
        let median = f64::midpoint(sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        Summary {
            figure: self.name.clone(),
            unit: self.unit,
            min,
            median,
            max,
            noisy: max - min > MAX_SPREAD * median,
            runs: self.runs.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Figures;

    fn figures(all: &[(&str, &[f64])]) -> Figures {
        let mut figures = Figures::default();
        for (name, runs) in all {
            for value in *runs {
                figures.add(*name, "/s", *value);
            }
        }
        figures
    }

    #[test]
    fn summary_has_minimum_median_and_maximum() {
        let figures = figures(&[("rows", &[30.0, 10.0, 20.0]), ("limit", &[10.0, 10.0, 11.0])]);
        let [rows, limit] = &figures.summaries()[..] else { panic!("not two figures") };
        assert_eq!(format!("{:?}", [rows.min, rows.median, rows.max]), "[10.0, 20.0, 30.0]");
        assert!(rows.noisy && !limit.noisy);
        assert_eq!(figures.latest("rows"), Some(20.0));
    }

    #[test]
    fn ratio_divides_values_of_same_run() {
        let figures = figures(&[("rows", &[30.0, 10.0]), ("limit", &[60.0, 20.0])]);
        let ratio = figures.ratio("rows ÷ limit", "rows", "limit").unwrap();
        assert_eq!((ratio.runs, ratio.noisy), (vec![0.5, 0.5], false));
        assert!(figures.ratio("rows ÷ nothing", "rows", "nothing").is_none());
    }

    #[test]
    fn ratio_uses_latest_runs_if_counts_differ() {
        let figures = figures(&[("rows", &[30.0, 10.0]), ("limit", &[1.0, 60.0, 20.0])]);
        for (dividend, divisor, ratio) in [("rows", "limit", 0.5), ("limit", "rows", 2.0)] {
            assert_eq!(figures.ratio("ratio", dividend, divisor).unwrap().runs, [ratio, ratio]);
        }
    }
}
