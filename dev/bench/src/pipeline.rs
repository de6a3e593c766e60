//! The system as it is benchmarked: nothing between the services and their servers.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use sqlx::MySqlPool;
use tokio::time::{Instant, sleep};

use stack::resource_usage::{cpu_time, peak_memory};
use stack::servers::Servers;
use stack::service::{Program, Service, all_checks_pass};
use system_tests::TestEnvironment;
use system_tests::customers::browser;

const READY: Duration = Duration::from_mins(1);

/// Running services, and the databases and virtual host that are theirs alone.
pub(super) struct Pipeline {
    // Before the site, so that they are gone when it goes.
    services: Vec<(Program, Service)>,
    pub(super) rows: MySqlPool,
    pub(super) site: TestEnvironment,
}

impl Pipeline {
    /// One of each service, with databases and queues of its own.
    pub(super) async fn start(servers: &Servers) -> Result<Self> {
        Self::start_replicas(TestEnvironment::on(servers).await, 1).await
    }

    /// So many of each service, on what is at a site; ready, and connected to all their servers.
    pub(super) async fn start_replicas(site: TestEnvironment, replicas: u32) -> Result<Self> {
        let mut services = Vec::new();
        for program in Program::ALL {
            for _ in 0..replicas {
                services.push((program, site.start(program, &[])));
            }
        }
        let (client, give_up) = (browser(), Instant::now() + READY);
        for (program, service) in &services {
            while !all_checks_pass(&client, &service.url()).await {
                let name = program.name();
                ensure!(Instant::now() < give_up, "{name} is not ready after {READY:?}\n{}", site.log());
                sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(Self { services, rows: site.marketing_database(), site })
    }

    /// A site with its schemas and queues as the services have made them, and nobody there.
    pub(super) async fn prepared_site(servers: &Servers) -> Result<TestEnvironment> {
        Self::start(servers).await?.stop().await
    }

    /// Stops the services, and keeps the rest.
    pub(super) async fn stop(self) -> Result<TestEnvironment> {
        for (_, mut service) in self.services {
            service.terminate(READY).await?;
        }
        Ok(self.site)
    }

    /// Where people are registered.
    pub(super) fn web_stores(&self) -> Vec<SocketAddr> {
        self.of(Program::WebStore).map(Service::address).collect()
    }

    /// The CPU time of all instances of a service.
    pub(super) fn cpu(&self, program: Program) -> Duration {
        self.of(program).map(|service| cpu_time(service.process.pid())).sum()
    }

    /// The most that was ever resident of all instances of a service, in MiB.
    pub(super) fn peak_memory(&self, program: Program) -> f64 {
        let kib: u64 = self.of(program).map(|service| peak_memory(service.process.pid())).sum();
        f64::from(u32::try_from(kib).unwrap_or(u32::MAX)) / 1024.0
    }

    /// The same of all three services together.
    pub(super) fn peak_memory_of_all(&self) -> f64 {
        Program::ALL.into_iter().map(|program| self.peak_memory(program)).sum()
    }

    fn of(&self, wanted: Program) -> impl Iterator<Item = &Service> {
        self.services.iter().filter(move |(program, _)| *program == wanted).map(|(_, service)| service)
    }
}
