//! Samples of backends, threads, descriptors, and memory, and whether they are flat.

use std::fmt::{self, Display, Formatter};

use sqlx::{Connection, MySqlConnection, PgConnection};
use stack::{
    resource_usage::{open_descriptors, resident_memory, threads},
    service::Program,
};

use crate::system::System;

/// A number of backends, threads, or descriptors may grow by this much, or by a tenth. A leak of one per retry
/// exceeds it within a minute.
const COUNT_ALLOWANCE: u64 = 4;

/// The number of KiB by which memory may grow, as in the memory run.
const MEMORY_ALLOWANCE: u64 = 10 * 1024;

/// The values of one resource, in the order of the samples. The first sample is before the condition.
struct Series {
    name: String,
    allowance: u64,
    values: Vec<u64>,
}

/// Samples the resources of one system over connections of its own.
pub(super) struct Sampler {
    postgres: PgConnection,
    mysql: MySqlConnection,
    marketing_database: String,
    pids: [i32; 3],
    series: Vec<Series>,
}

/// All samples of one condition. Displayed as a Markdown table.
pub(super) struct ConditionReport {
    condition: String,
    series: Vec<Series>,
}

impl Sampler {
    /// Connects to the databases as a superuser, who is not affected by a condition.
    pub(super) async fn start(system: &System) -> anyhow::Result<Self> {
        let urls = system.environment.connection_urls();
        let mut pids = [0; 3];
        let mut series = vec![Series::counts("backends of PostgreSQL"), Series::counts("sessions of MySQL")];
        for (pid, program) in pids.iter_mut().zip(Program::ALL) {
            *pid = system.service(program).await.process.pid();
            series.push(Series::counts(&format!("{}: threads", program.name())));
            series.push(Series::counts(&format!("{}: descriptors", program.name())));
            series.push(Series::memory(&format!("{}: memory, KiB", program.name())));
        }
        Ok(Self {
            postgres: PgConnection::connect(&urls.web_store_database_url("postgres")).await?,
            mysql: MySqlConnection::connect(&urls.marketing_database_url("root")).await?,
            marketing_database: urls.marketing_database.clone(),
            pids,
            series,
        })
    }

    /// Adds one sample of each resource.
    pub(super) async fn sample(&mut self) -> anyhow::Result<()> {
        let backends = "SELECT count(*) FROM pg_stat_activity
            WHERE usename = 'web_store' AND datname = current_database()";
        let backends: i64 = sqlx::query_scalar(backends).fetch_one(&mut self.postgres).await?;
        let sessions =
            "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = 'marketing' AND DB = ?";
        let sessions: i64 =
            sqlx::query_scalar(sessions).bind(&self.marketing_database).fetch_one(&mut self.mysql).await?;
        let mut values = vec![u64::try_from(backends)?, u64::try_from(sessions)?];
        for pid in self.pids {
            values.extend([threads(pid), open_descriptors(pid), resident_memory(pid)]);
        }
        for (series, value) in self.series.iter_mut().zip(values) {
            series.values.push(value);
        }
        Ok(())
    }

    pub(super) fn report(self, condition: String) -> ConditionReport {
        ConditionReport { condition, series: self.series }
    }
}

impl Series {
    fn counts(name: &str) -> Self {
        Self { name: name.to_owned(), allowance: COUNT_ALLOWANCE, values: Vec::new() }
    }

    fn memory(name: &str) -> Self {
        Self { name: name.to_owned(), allowance: MEMORY_ALLOWANCE, values: Vec::new() }
    }

    /// Returns the values during the condition.
    fn during(&self) -> &[u64] {
        self.values.get(1..).unwrap_or_default()
    }

    /// Returns the medians of the first and the last quarter during the condition.
    fn quarters(&self) -> [u64; 2] {
        let during = self.during();
        let length = during.len().div_ceil(4);
        [median(&during[..length]), median(&during[during.len() - length..])]
    }

    /// Returns whether the last quarter exceeds the first one by no more than the allowance.
    fn is_flat(&self) -> bool {
        let [first, last] = self.quarters();
        last <= first + self.allowance.max(first / 10)
    }
}

fn median(values: &[u64]) -> u64 {
    let mut values = values.to_vec();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

impl ConditionReport {
    /// Returns whether all resources are flat.
    pub(super) fn is_flat(&self) -> bool {
        self.series.iter().all(Series::is_flat)
    }
}

impl Display for ConditionReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let samples = self.series.first().map_or(0, |series| series.during().len());
        let verdict = if self.is_flat() { "flat" } else { "not flat" };
        writeln!(f, "{}: {verdict}, {samples} samples\n", self.condition)?;
        writeln!(f, "| resource | before | median of first quarter | maximum | end | |")?;
        writeln!(f, "| --- | ---: | ---: | ---: | ---: | --- |")?;
        for series in &self.series {
            let [first, _] = series.quarters();
            let before = series.values.first().copied().unwrap_or(0);
            let maximum = series.during().iter().max().copied().unwrap_or(0);
            let end = series.values.last().copied().unwrap_or(0);
            let verdict = if series.is_flat() { "flat" } else { "not flat" };
            writeln!(f, "| {} | {before} | {first} | {maximum} | {end} | {verdict} |", series.name)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Series;

    fn is_flat(values: impl IntoIterator<Item = u64>) -> bool {
        Series { values: values.into_iter().collect(), ..Series::counts("threads") }.is_flat()
    }

    #[test]
    fn leak_is_not_flat_and_spike_is_flat() {
        assert!(is_flat([5; 20]));
        assert!(is_flat([0, 9, 9, 9, 9, 90, 9, 9, 9, 9]), "one spike");
        assert!(is_flat((0..20).map(|n| if n == 0 { 0 } else { 250 })), "the condition itself needs more");
        assert!(!is_flat(0..20), "one more with each sample");
        assert!(is_flat([7]), "no sample during the condition");
    }
}
