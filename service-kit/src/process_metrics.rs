//! The resources of this process, read from `/proc` at each scrape. Other systems than Linux have no such metrics.
//!
//! The names are those of Prometheus' own clients:
//! <https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>.

use std::{fmt, fs};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};
use rustix::param::{clock_ticks_per_second, page_size};

#[derive(Debug)]
pub(crate) struct ProcessMetrics;

struct Resources {
    cpu_seconds: f64,
    resident_bytes: i64,
    threads: i64,
    open_descriptors: i64,
}

impl Resources {
    fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // The second field is the program's name in parentheses, which may contain blanks.
        let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u32>().ok();
        let pages =
            fs::read_to_string("/proc/self/statm").ok()?.split_whitespace().nth(1)?.parse::<i64>().ok()?;
        Some(Self {
            cpu_seconds: f64::from(field(14)? + field(15)?)
                / f64::from(u32::try_from(clock_ticks_per_second()).ok()?),
            resident_bytes: pages * i64::try_from(page_size()).ok()?,
            threads: field(20)?.into(),
            open_descriptors: i64::try_from(fs::read_dir("/proc/self/fd").ok()?.count()).ok()?,
        })
    }
}

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let Some(resources) = Resources::read() else { return Ok(()) };
        let cpu = ConstCounter::new(resources.cpu_seconds);
        let help = "CPU time of the process in user and system mode";
        cpu.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, cpu.metric_type())?)?;
        for (name, help, value) in [
            ("process_resident_memory_bytes", "Resident memory", resources.resident_bytes),
            ("process_threads", "Threads", resources.threads),
            ("process_open_fds", "Open file descriptors, such as connections", resources.open_descriptors),
        ] {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Resources;

    #[test]
    fn resources_of_this_process_are_plausible() {
        let resources = Resources::read().unwrap();
        assert!(
            resources.resident_bytes > 100_000 && resources.threads >= 1 && resources.open_descriptors >= 3
        );
        assert!((0.0..3600.0).contains(&resources.cpu_seconds));
    }
}
