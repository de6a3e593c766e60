//! The system under measurement. Services connect directly to their servers.

use std::{net::SocketAddr, time::Duration};

use anyhow::ensure;
use sqlx::MySqlPool;
use stack::{
    resource_usage::{cpu_time, peak_memory},
    servers::Servers,
    service::{Program, Service, all_checks_pass},
};
use system_tests::{TestEnvironment, customers::http_client};
use tokio::time::{Instant, sleep};

const READY_DEADLINE: Duration = Duration::from_mins(1);

/// Running services with their own databases and virtual host.
pub(crate) struct Pipeline {
    // Declared before the environment, so that the services end before it is removed.
    services: Vec<(Program, Service)>,
    /// Marketing's database, as its owner.
    pub(crate) marketing_database: MySqlPool,
    pub(crate) environment: TestEnvironment,
}

impl Pipeline {
    /// Starts one instance of each service in a new environment.
    pub(crate) async fn start(servers: &Servers) -> anyhow::Result<Self> {
        Self::start_replicas(TestEnvironment::on(servers).await?.without_log_output(), 1).await
    }

    /// Starts `replicas` instances of each service, and waits until all their health checks pass.
    pub(crate) async fn start_replicas(environment: TestEnvironment, replicas: u32) -> anyhow::Result<Self> {
        let mut services = Vec::new();
        for program in Program::ALL {
            for _ in 0..replicas {
                services.push((program, environment.start(program, &[])?));
            }
        }
        let client = http_client()?;
        let give_up = Instant::now() + READY_DEADLINE;
        for (program, service) in &services {
            while !all_checks_pass(&client, &service.url()).await {
                ensure!(
                    Instant::now() < give_up,
                    "{} is not ready after {READY_DEADLINE:?}\n{}",
                    program.name(),
                    environment.log()
                );
                sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(Self { services, marketing_database: environment.marketing_database(), environment })
    }

    /// Returns a new environment with the services' tables and queues, and without customers.
    pub(crate) async fn prepare_environment(servers: &Servers) -> anyhow::Result<TestEnvironment> {
        Self::start(servers).await?.stop().await
    }

    /// Stops the services and returns their environment.
    pub(crate) async fn stop(self) -> anyhow::Result<TestEnvironment> {
        for (_, mut service) in self.services {
            service.terminate(READY_DEADLINE).await?;
        }
        Ok(self.environment)
    }

    /// Returns the addresses of all Web Stores.
    pub(crate) fn web_stores(&self) -> Vec<SocketAddr> {
        self.instances(Program::WebStore).map(Service::address).collect()
    }

    /// Returns the CPU time of all instances of a service.
    pub(crate) fn cpu_time(&self, program: Program) -> Duration {
        self.instances(program).map(|service| cpu_time(service.process.pid())).sum()
    }

    /// Returns the peak resident memory of all instances of a service, in MiB.
    pub(crate) fn peak_memory(&self, program: Program) -> f64 {
        let kib: u64 = self.instances(program).map(|service| peak_memory(service.process.pid())).sum();
        f64::from(u32::try_from(kib).unwrap_or(u32::MAX)) / 1024.0
    }

    /// Returns the sum of the peak memory of all services, in MiB.
    pub(crate) fn total_peak_memory(&self) -> f64 {
        Program::ALL.into_iter().map(|program| self.peak_memory(program)).sum()
    }

    fn instances(&self, program: Program) -> impl Iterator<Item = &Service> {
        self.services.iter().filter(move |(other, _)| *other == program).map(|(_, service)| service)
    }
}
