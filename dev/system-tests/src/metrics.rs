//! A reader of metrics in the OpenMetrics text format.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};

use crate::customers::http_client;

/// The metrics of one process at one time.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// The type of each metric, by its name without suffixes.
    pub types: BTreeMap<String, String>,
    /// All values.
    pub samples: Vec<Sample>,
}

/// One value.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The name with its suffix, such as `_total`.
    pub name: String,
    /// The labels that are not empty.
    pub labels: BTreeMap<String, String>,
    /// The value, which may be no number.
    pub value: f64,
}

impl Metrics {
    /// Reads the metrics of a process.
    ///
    /// # Errors
    /// Returns an error if the process does not respond, or if its response is malformed.
    pub async fn scrape(url: &str) -> anyhow::Result<Self> {
        let response = http_client()?.get(url).send().await?.error_for_status()?;
        let content_type = response.headers().get("content-type").and_then(|value| value.to_str().ok());
        ensure!(content_type.is_some_and(|value| value.starts_with("application/openmetrics-text")));
        let text = response.text().await?;
        Self::parse(&text).with_context(|| format!("malformed metrics:\n{text}"))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut metrics = Self::default();
        for line in text.strip_suffix("# EOF\n")?.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                if let Some(kind) = comment.strip_prefix("TYPE ") {
                    let (name, kind) = kind.split_once(' ')?;
                    metrics.types.insert(name.to_owned(), kind.to_owned());
                }
                continue;
            }
            let (series, value) = line.rsplit_once(' ')?;
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let labels = labels.strip_suffix('}')?.split("\",").filter(|label| !label.is_empty());
            let labels = labels.map(|label| label.split_once("=\"")).collect::<Option<Vec<_>>>()?;
            let labels = labels.into_iter().map(|(name, value)| (name, value.trim_end_matches('"')));
            let labels = labels.filter(|(_, value)| !value.is_empty());
            metrics.samples.push(Sample {
                name: name.to_owned(),
                labels: labels.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
                value: value.parse().ok()?,
            });
        }
        Some(metrics)
    }

    /// Returns the sum of the samples of this name that have these labels, and no `error_type` unless it is one of
    /// them.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |sample: &Sample, (name, value): &(&str, &str)| {
            sample.labels.get(*name).is_some_and(|found| found == value)
        };
        let selects_errors = labels.iter().any(|(name, _)| *name == "error_type");
        let selected = self.samples.iter().filter(|sample| {
            sample.name == name
                && labels.iter().all(|label| has(sample, label))
                && (selects_errors || !sample.labels.contains_key("error_type"))
        });
        selected.map(|sample| sample.value).sum()
    }

    /// Returns the upper bound of the bucket that contains the quantile, in the series of a histogram with these labels.
    #[must_use]
    pub fn quantile_bucket(&self, name: &str, labels: &[(&str, &str)], quantile: f64) -> Option<f64> {
        let bucket = format!("{name}_bucket");
        let mut bounds: Vec<f64> = self
            .samples
            .iter()
            .filter(|sample| sample.name == bucket)
            .filter_map(|sample| sample.labels.get("le")?.parse().ok())
            .collect();
        bounds.sort_by(f64::total_cmp);
        bounds.dedup();
        let count = self.sum(&format!("{name}_count"), labels);
        bounds.into_iter().find(|bound| {
            let text = if bound.is_infinite() { "+Inf".to_owned() } else { format!("{bound:?}") };
            let labels: Vec<_> = labels.iter().copied().chain([("le", text.as_str())]).collect();
            self.sum(&bucket, &labels) >= quantile * count
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Metrics;

    #[test]
    fn samples_are_parsed_with_their_labels() {
        let text = "# HELP a_seconds Help.\n# TYPE a_seconds histogram\n\
                    a_seconds_bucket{le=\"1.0\",q=\"x\"} 3\na_seconds_bucket{le=\"2.0\",q=\"x\"} 4\n\
                    a_seconds_bucket{le=\"+Inf\",q=\"x\"} 4\na_seconds_count{q=\"x\"} 4\n\
                    # TYPE b counter\nb_total{error_type=\"\"} 2\nb_total{error_type=\"nacked\"} 1\n# EOF\n";
        let metrics = Metrics::parse(text).unwrap();
        assert_eq!(metrics.types["a_seconds"], "histogram");
        assert_eq!(metrics.quantile_bucket("a_seconds", &[("q", "x")], 0.99), Some(2.0));
        assert!((metrics.sum("b_total", &[]) - 2.0).abs() < 1e-9);
        assert!((metrics.sum("b_total", &[("error_type", "nacked")]) - 1.0).abs() < 1e-9);
    }
}
