//! `stack up`: the whole system in the foreground, until it is told to stop.

use std::env;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use futures_util::future::select_all;
use tokio::time::sleep;

use crate::banner::{stack_env, welcome};
use crate::servers::Servers;
use crate::service::{Output, Program, Service};
use crate::stop_signal::StopSignal;
use crate::terminal::print_line;
use crate::work_dir::WorkDir;

const READY_DEADLINE: Duration = Duration::from_mins(1);

/// Services leave within 10 seconds; a little more before they are killed.
const STOP_DEADLINE: Duration = Duration::from_secs(12);

/// Settings of the services that are handed through, where they are set.
const HANDED_THROUGH: [&str; 3] =
    ["WEB_STORE_REGISTRATIONS_PER_MINUTE", "MARKETING_OPERATOR_PASSWORD_HASH", "TRUSTED_PROXIES"];

/// Starts the servers and the three services, and stops them all at Ctrl-C. The data is kept.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Throw away the data of the last time and begin anew.
    #[arg(long)]
    fresh: bool,
    /// Where the servers keep their data and their logs, and where stack.env is written.
    #[arg(long, default_value = "target/stack")]
    dir: PathBuf,
    /// The form's port on 127.0.0.1.
    #[arg(long, default_value_t = 8080)]
    web_store_port: u16,
    /// Marketing's port on 127.0.0.1.
    #[arg(long, default_value_t = 8081)]
    marketing_port: u16,
    /// The transformer's port on 127.0.0.1.
    #[arg(long, default_value_t = 8082)]
    transformer_port: u16,
}

/// Runs until a signal asks to stop.
///
/// # Errors
/// If something cannot be started, or ends by itself. Then nothing is left running.
pub async fn run(arguments: &Arguments) -> Result<()> {
    let mut stop = StopSignal::listen()?;
    let checkout = WorkDir::lock(&arguments.dir)?;
    if arguments.check_ports().is_err() {
        // Whoever was killed just now may still be letting go of them.
        sleep(Duration::from_secs(1)).await;
        arguments.check_ports()?;
    }
    if arguments.fresh {
        checkout.clear()?;
    }
    let mut system = tokio::select! {
        system = System::start(arguments, &checkout) => system?,
        // What has been started is dropped, and so killed: what is stored survives that.
        () = stop.wait() => return Ok(()),
    };
    checkout.write_env(&stack_env(&system.servers.connection_urls(), &system.services))?;
    print_line("stack", &welcome(&system.servers.connection_urls(), &system.services));
    let failure = tokio::select! {
        failure = system.wait_for_failure() => Some(failure),
        () = stop.wait() => None,
    };
    print_line("stack", "stopping; the data stays for the next time");
    checkout.remove_env()?;
    let stopped = system.stop().await;
    match failure {
        Some(failure) => Err(failure),
        None => stopped,
    }
}

impl Arguments {
    fn services(&self) -> [(Program, u16, &'static str); 3] {
        [
            (Program::WebStore, self.web_store_port, "--web-store-port"),
            (Program::Transformer, self.transformer_port, "--transformer-port"),
            (Program::Marketing, self.marketing_port, "--marketing-port"),
        ]
    }

    fn check_ports(&self) -> Result<()> {
        // Held until all are checked, so that one port given twice is found, too.
        let mut held = Vec::new();
        for (_, port, option) in self.services() {
            match TcpListener::bind(local(port)) {
                Ok(listener) => held.push(listener),
                Err(error) => bail!(
                    "port {port} on 127.0.0.1 is not free: {error}; \
                     stop what listens there, or choose another with {option}"
                ),
            }
        }
        Ok(())
    }
}

/// All that runs.
struct System {
    // Services first: dropped in this order, none complains that its server is gone.
    services: Vec<Service>,
    servers: Servers,
}

impl System {
    async fn start(arguments: &Arguments, checkout: &WorkDir) -> Result<Self> {
        print_line("stack", "starting PostgreSQL, MySQL and RabbitMQ (some seconds, the first time longest)");
        let servers = Servers::start(checkout.directory(), |line| print_line("stack", line)).await;
        let servers =
            servers.context("the servers do not start; --fresh begins anew, without the old data")?;
        print_line("stack", "starting the services");
        let mut services = Vec::new();
        for (program, port, _) in arguments.services() {
            let mut settings = servers.connection_urls().settings(program);
            settings.extend(HANDED_THROUGH.into_iter().filter_map(|name| Some((name, env::var(name).ok()?))));
            services.push(Service::start(program, local(port), settings, &Output::Console)?);
        }
        for service in &mut services {
            service.wait_ready(READY_DEADLINE).await?;
        }
        Ok(Self { services, servers })
    }

    async fn wait_for_failure(&mut self) -> anyhow::Error {
        let services = select_all(self.services.iter_mut().map(|service| {
            Box::pin(async {
                let name = service.process.name().to_owned();
                match service.process.wait().await {
                    Ok(status) => format!("{name} ended by itself ({status}); its log is above"),
                    Err(error) => format!("{error:#}"),
                }
            })
        }));
        tokio::select! {
            (reason, ..) = services => anyhow!(reason),
            reason = self.servers.wait_for_failure() => anyhow!(reason),
        }
    }

    async fn stop(&mut self) -> Result<()> {
        let mut outcome = Ok(());
        for service in &mut self.services {
            outcome = outcome.and(service.terminate(STOP_DEADLINE).await.map(drop));
        }
        outcome.and(self.servers.stop().await)
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}
