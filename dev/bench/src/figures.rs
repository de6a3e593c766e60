//! Figures, each of several runs: the least, the median, the most, and whether they are too far apart.

use serde::Serialize;

/// A figure whose runs are further apart than this share of their median says little.
const QUIET: f64 = 0.15;

/// Figures in the order in which they were first measured.
#[derive(Debug, Default)]
pub(super) struct Figures(Vec<Figure>);

#[derive(Clone, Debug)]
pub(super) struct Figure {
    name: String,
    unit: &'static str,
    /// One value of each run.
    runs: Vec<f64>,
}

/// A figure as it is told.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Measurement was measured.
    pub figure: String,
    /// In what.
    pub unit: &'static str,
    /// The least of all runs.
    pub min: f64,
    /// The one in the middle; the mean of the two there if the runs are even.
    pub median: f64,
    /// The most of all runs.
    pub max: f64,
    /// Least and most are further apart than 15 % of the median.
    pub noisy: bool,
    /// The values in the order of the runs.
    pub runs: Vec<f64>,
}

impl Figures {
    /// Adds one run's value.
    pub(super) fn add(&mut self, name: impl Into<String>, unit: &'static str, value: f64) {
        let name = name.into();
        match self.0.iter_mut().find(|figure| figure.name == name) {
            Some(figure) => figure.runs.push(value),
            None => self.0.push(Figure { name, unit, runs: vec![value] }),
        }
    }

    /// The newest run's value of a figure, if it was measured.
    pub(super) fn newest(&self, name: &str) -> Option<f64> {
        self.get(name)?.runs.last().copied()
    }

    /// One figure over another, run by run back from the newest, if both were measured.
    pub(super) fn ratio(&self, name: &str, over: &str, under: &str) -> Option<Summary> {
        let (over, under) = (self.get(over)?, self.get(under)?);
        let runs = over.runs.iter().rev().zip(under.runs.iter().rev()).map(|(over, under)| over / under);
        let runs = runs.rev().collect();
        Some(Figure { name: name.to_owned(), unit: "×", runs }.summary())
    }

    pub(super) fn summaries(&self) -> Vec<Summary> {
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
        let (min, max) = (sorted[0], sorted[sorted.len() - 1]);
        let median = f64::midpoint(sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        Summary {
            figure: self.name.clone(),
            unit: self.unit,
            min,
            median,
            max,
            noisy: max - min > QUIET * median,
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
    fn a_figure_has_its_least_its_median_and_its_most() {
        let figures = figures(&[("rows", &[30.0, 10.0, 20.0]), ("limit", &[10.0, 10.0, 11.0])]);
        let [rows, limit] = &figures.summaries()[..] else { panic!("two figures") };
        assert_eq!(format!("{:?}", [rows.min, rows.median, rows.max]), "[10.0, 20.0, 30.0]");
        assert!(rows.noisy && !limit.noisy);
        assert_eq!(figures.newest("rows"), Some(20.0));
    }

    #[test]
    fn a_ratio_is_of_the_values_of_the_same_run() {
        let figures = figures(&[("rows", &[30.0, 10.0]), ("limit", &[60.0, 20.0])]);
        let ratio = figures.ratio("rows ÷ limit", "rows", "limit").unwrap();
        assert_eq!((ratio.runs, ratio.noisy), (vec![0.5, 0.5], false));
        assert!(figures.ratio("rows ÷ nothing", "rows", "nothing").is_none());
    }

    #[test]
    fn a_figure_of_more_runs_is_compared_by_its_newest() {
        let figures = figures(&[("rows", &[30.0, 10.0]), ("limit", &[1.0, 60.0, 20.0])]);
        for (over, under, ratio) in [("rows", "limit", 0.5), ("limit", "rows", 2.0)] {
            assert_eq!(figures.ratio("ratio", over, under).unwrap().runs, [ratio, ratio]);
        }
    }
}
