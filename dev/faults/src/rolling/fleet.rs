//! Several instances of each service, and the load balancers in front of them.

use std::{net::SocketAddr, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, ensure};
use stack::{
    ports::free_port,
    servers::Servers,
    service::{Program, Service},
};
use system_tests::TestEnvironment;

use super::balancer::Balancer;

/// The instances of each service. A transformer has no visitors, so two show that one continues.
const INSTANCES: [(Program, usize); 3] =
    [(Program::WebStore, 3), (Program::Transformer, 2), (Program::Marketing, 3)];

/// Exceeds the time that a service needs for its start on a busy machine.
const READY_TIMEOUT: Duration = Duration::from_mins(1);

/// Exceeds the time in which a service completes its current work, without the delay.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);

const DELAY_VARIABLE: &str = "SHUTDOWN_DELAY_SECONDS";

/// The programs of one release.
pub(super) struct Release {
    name: &'static str,
    /// `None` for the programs beside this one.
    directory: Option<PathBuf>,
}

/// All instances. They stop before their environment is removed.
pub(super) struct Fleet {
    instances: Vec<Instance>,
    /// The address of all Web Stores.
    pub(super) web_store: Balancer,
    /// The address of all instances of Marketing.
    pub(super) marketing: Balancer,
    settings: [(&'static str, String); 1],
    delay: Duration,
    pub(super) environment: TestEnvironment,
}

struct Instance {
    program: Program,
    service: Service,
    /// Whether its release drains after a signal.
    drains: bool,
}

impl Release {
    pub(super) fn current() -> Self {
        Self { name: "this release", directory: None }
    }

    pub(super) fn before(directory: PathBuf) -> Self {
        Self { name: "the release before", directory: Some(directory) }
    }

    fn path(&self, program: Program) -> anyhow::Result<PathBuf> {
        match &self.directory {
            Some(directory) => Ok(directory.join(program.name())),
            None => program.path(),
        }
    }

    /// Returns whether a program of this release has the setting [`DELAY_VARIABLE`].
    fn drains(&self, program: Program) -> anyhow::Result<bool> {
        let path = self.path(program)?;
        let help = Command::new(&path).arg("--help").output();
        let help = help.with_context(|| format!("cannot run {}", path.display()))?;
        Ok(String::from_utf8_lossy(&help.stdout).contains(DELAY_VARIABLE))
    }
}

impl Fleet {
    /// Starts all instances, and waits until the load balancers have detected that they are ready.
    pub(super) async fn start(
        servers: &Servers,
        release: &Release,
        delay_seconds: u64,
    ) -> anyhow::Result<Self> {
        let environment = TestEnvironment::on(servers).await?.without_log_output();
        let settings = [(DELAY_VARIABLE, delay_seconds.to_string())];
        let mut instances = Vec::new();
        for (program, count) in INSTANCES {
            for _ in 0..count {
                let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
                let service = start(&environment, release, program, address, &settings)?;
                instances.push(Instance { program, service, drains: release.drains(program)? });
            }
        }
        let addresses = |program| {
            let of_program = instances.iter().filter(move |instance| instance.program == program);
            of_program.map(|instance| instance.service.address()).collect::<Vec<_>>()
        };
        let web_store = Balancer::start(&addresses(Program::WebStore)).await?;
        let marketing = Balancer::start(&addresses(Program::Marketing)).await?;
        let delay = Duration::from_secs(delay_seconds);
        let mut fleet = Self { instances, web_store, marketing, settings, delay, environment };
        for n in 0..fleet.instances.len() {
            fleet.wait_ready(n).await?;
        }
        Ok(fleet)
    }

    /// Replaces every instance by one of `release`, one after another.
    pub(super) async fn replace_all(&mut self, release: &Release, log: fn(&str)) -> anyhow::Result<()> {
        for n in 0..self.instances.len() {
            let Instance { program, service, drains } = &mut self.instances[n];
            let (program, address) = (*program, service.address());
            let balancer = match program {
                Program::WebStore => Some(&self.web_store),
                Program::Transformer => None,
                Program::Marketing => Some(&self.marketing),
            };
            // A release that does not drain needs an operator who takes it out of the load balancer first.
            let withdrawn = balancer.filter(|_| !*drains);
            if let Some(balancer) = withdrawn {
                balancer.withdraw(address).await;
            }
            let status = service.terminate(STOP_TIMEOUT + self.delay).await?;
            ensure!(status.success(), "{} ended with {status}", program.name());
            *service = start(&self.environment, release, program, address, &self.settings)?;
            *drains = release.drains(program)?;
            if let Some(balancer) = withdrawn {
                balancer.admit(address);
            }
            self.wait_ready(n).await?;
            log(&format!("{} {address} runs {}", program.name(), release.name));
        }
        Ok(())
    }

    /// Returns an instance of Marketing.
    pub(super) fn any_marketing(&self) -> Option<&Service> {
        let mut instances = self.instances.iter();
        instances.find(|instance| instance.program == Program::Marketing).map(|instance| &instance.service)
    }

    async fn wait_ready(&mut self, n: usize) -> anyhow::Result<()> {
        let Instance { program, service, .. } = &mut self.instances[n];
        service.wait_ready(READY_TIMEOUT).await?;
        match program {
            Program::WebStore => self.web_store.wait_ready(service.address()).await,
            Program::Transformer => Ok(()),
            Program::Marketing => self.marketing.wait_ready(service.address()).await,
        }
    }
}

fn start(
    environment: &TestEnvironment,
    release: &Release,
    program: Program,
    address: SocketAddr,
    settings: &[(&'static str, String)],
) -> anyhow::Result<Service> {
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    environment.start_from(release.path(program)?, address, program, &settings)
}
