//! The throughput with more instances of each service, with the servers on CPUs of their own.

use stack::{
    affinity::{allowed_cpus, pin},
    servers::Servers,
};
use system_tests::TestEnvironment;

use crate::{
    context::{Bench, own_pid},
    end_to_end::{Saturated, saturate},
    fake_customer::USUAL_NAME,
    figures::Figures,
    pipeline::Pipeline,
};

const REPLICAS: [u32; 3] = [1, 2, 3];

/// The servers run on one half of the CPUs. The services, the load, and this program run on the other half.
///
/// So more instances of a service do not take the servers' CPU time, and the busy half has the bottleneck. Dropping the
/// value gives each process all CPUs again.
struct Halves {
    all: Vec<usize>,
    servers: Vec<usize>,
    others: Vec<usize>,
}

impl Halves {
    /// Pins all processes. A single CPU is both halves.
    fn pin(servers: &Servers) -> anyhow::Result<Self> {
        let all = allowed_cpus()?;
        let middle = all.len() / 2;
        let halves = Self { servers: all[..middle.max(1)].to_vec(), others: all[middle..].to_vec(), all };
        // The servers are children of this program.
        pin(own_pid(), &halves.others)?;
        for server in [&servers.postgres.process, &servers.broker.process, &servers.mysql.process] {
            pin(server.pid(), &halves.servers)?;
        }
        Ok(halves)
    }
}

impl Drop for Halves {
    fn drop(&mut self) {
        // All CPUs were allowed before, so the kernel does not refuse them.
        let _ = pin(own_pid(), &self.all);
    }
}

pub(crate) async fn measure(bench: &Bench, figures: &mut Figures) -> anyhow::Result<()> {
    let halves = Halves::pin(&bench.servers)?;
    for replicas in REPLICAS {
        let environment = TestEnvironment::on(&bench.servers).await?.without_log_output();
        let pipeline = Pipeline::start_replicas(environment, replicas).await?;
        bench.warm_up(&pipeline).await?;
        let saturated = saturate(bench, &pipeline, USUAL_NAME).await?;
        let name = format!("end to end, {replicas} of each service: rows");
        figures.add(name, "/s", saturated.rows_per_second);
        add_cpu_use(replicas, &halves, &saturated, figures);
    }
    Ok(())
}

/// Adds the CPUs that each consumer kept busy, and the share of time in which those of each half were busy. The
/// bottleneck is the half near 100 %.
fn add_cpu_use(replicas: u32, halves: &Halves, saturated: &Saturated, figures: &mut Figures) {
    let prefix = format!("CPU with {replicas} of each service");
    let (mut of_servers, mut of_others) = (0.0, 0.0);
    for (consumer, cores) in saturated.busy_cores() {
        figures.add(format!("{prefix}: {consumer}"), "cores", cores);
        *(if Saturated::is_server(consumer) { &mut of_servers } else { &mut of_others }) += cores;
    }
    for (half, cpus, busy) in
        [("servers", &halves.servers, of_servers), ("services and load", &halves.others, of_others)]
    {
        let percent = 100.0 * busy / f64::from(u32::try_from(cpus.len()).unwrap_or(u32::MAX));
        figures.add(format!("{prefix}: busy time of the half with {half}"), "%", percent);
    }
}
