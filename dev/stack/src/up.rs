//! `stack up`: the whole system in the foreground, until a signal stops it.

use std::{
    convert::Infallible,
    env,
    future::pending,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, bail};
use futures_util::future::select_all;
use rustix::process::Signal;
use tokio::time::sleep;

use crate::{
    banner::{banner, stack_env},
    console::Console,
    servers::{self, Servers},
    service::{Output, Program, Service},
    stop_signal::StopSignal,
    supervisor::supervise,
    terminal::print_line,
    work_dir::WorkDir,
};

const READY_DEADLINE: Duration = Duration::from_mins(1);

/// Services end within 10 seconds after SIGTERM. This is a little more.
const STOP_DEADLINE: Duration = Duration::from_secs(12);

/// The distance from a service's port to the port of its metrics.
const METRICS_OFFSET: u16 = 1000;

/// The settings of services and of the console that a user can set in the environment of `stack up`.
const FORWARDED_SETTINGS: [&str; 9] = [
    "WEB_STORE_REGISTRATIONS_PER_MINUTE",
    "MARKETING_OPERATOR_PASSWORD_HASH",
    "TRUSTED_PROXIES",
    "CONSOLE_OPERATOR_PASSWORD_HASH",
    "CONSOLE_USER_HEADER",
    "CONSOLE_ROLE_HEADER",
    "CONSOLE_REPAIR",
    "PROMETHEUS_URL",
    "PROBE_INTERVAL_SECONDS",
];

/// Starts the servers, the three services, and the console, which repairs losses of messages. Restarts those that end,
/// and stops all of them at Ctrl-C. The data is kept.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Delete the data of earlier runs first.
    #[arg(long)]
    fresh: bool,
    /// Start two brokers, one for each application. Only the transformer and the console connect to both.
    #[arg(long)]
    sites: bool,
    /// The directory for the data and logs of the servers, and for stack.env.
    #[arg(long, default_value = "target/stack")]
    dir: PathBuf,
    /// The Web Store's port on 127.0.0.1. The metrics of each program have its port plus 1000.
    #[arg(long, default_value_t = 8080)]
    web_store_port: u16,
    /// Marketing's port on 127.0.0.1.
    #[arg(long, default_value_t = 8081)]
    marketing_port: u16,
    /// The transformer's port on 127.0.0.1.
    #[arg(long, default_value_t = 8082)]
    transformer_port: u16,
    /// The console's port on 127.0.0.1.
    #[arg(long, default_value_t = 8083)]
    console_port: u16,
}

/// Runs the system until a signal arrives.
///
/// # Errors
/// Returns an error if a server or service does not start, or if it had to be killed at the end. No process
/// is left running.
pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut stop = StopSignal::listen()?;
    let work_dir = WorkDir::lock(&arguments.dir)?;
    if arguments.check_ports().is_err() {
        // A system that was killed a moment ago may still release its ports.
        sleep(Duration::from_secs(1)).await;
        arguments.check_ports()?;
    }
    if arguments.fresh {
        work_dir.clear(&servers::DIRECTORIES)?;
    }
    let mut system = tokio::select! {
        system = System::start(arguments, &work_dir) => system?,
        // Dropping the processes kills them. Their data survives that.
        () = stop.wait() => return Ok(()),
    };
    let urls = system.servers.connection_urls();
    work_dir.write_env(&stack_env(&urls, &system.services, &system.console))?;
    print_line("stack", &banner(&urls, &system.services, &system.console, &work_dir.env_path()));
    tokio::select! {
        never = system.supervise() => match never {},
        () = stop.wait() => (),
    }
    print_line("stack", "stopping; the data is kept");
    work_dir.remove_env()?;
    system.stop().await
}

impl Arguments {
    fn services(&self) -> [(Program, u16, &'static str); 3] {
        [
            (Program::WebStore, self.web_store_port, "--web-store-port"),
            (Program::Transformer, self.transformer_port, "--transformer-port"),
            (Program::Marketing, self.marketing_port, "--marketing-port"),
        ]
    }

    fn check_ports(&self) -> anyhow::Result<()> {
        // All listeners stay open until the last check, so that a port given twice is found.
        let mut listeners = Vec::new();
        let services = self.services().map(|(_, port, option)| (port, option));
        let pages: Vec<_> = services.into_iter().chain([(self.console_port, "--console-port")]).collect();
        let metrics = pages.iter().map(|(port, option)| (port.saturating_add(METRICS_OFFSET), *option));
        for (port, option) in pages.iter().copied().chain(metrics) {
            match TcpListener::bind(local(port)) {
                Ok(listener) => listeners.push(listener),
                Err(error) => bail!(
                    "port {port} on 127.0.0.1 is not free: {error}; \
                     stop the program that uses it, or choose another port with {option}"
                ),
            }
        }
        Ok(())
    }
}

/// All running processes.
struct System {
    // Programs are dropped before servers, so that none logs a lost connection.
    console: Console,
    services: Vec<Service>,
    servers: Servers,
}

impl System {
    async fn start(arguments: &Arguments, work_dir: &WorkDir) -> anyhow::Result<Self> {
        print_line("stack", "starting PostgreSQL, MySQL, and RabbitMQ (the first start takes the longest)");
        let report = |line: &str| print_line("stack", line);
        let servers = if arguments.sites {
            Servers::start_sites(work_dir.path(), report).await
        } else {
            Servers::start(work_dir.path(), report).await
        };
        let servers =
            servers.context("a server does not start; --fresh starts again without the old data")?;
        print_line("stack", "starting the services");
        let mut services = Vec::new();
        for (program, port, _) in arguments.services() {
            let mut settings = servers.connection_urls().settings(program);
            settings.push(metrics_setting(port.saturating_add(METRICS_OFFSET)));
            settings.extend(forwarded_settings());
            services.push(Service::start(program, local(port), settings, &Output::Terminal)?);
        }
        for service in &mut services {
            service.wait_ready(READY_DEADLINE).await?;
            let Service { process, .. } = service;
            print_line("stack", &format!("{} is ready (process {})", process.name(), process.pid()));
        }
        let mut settings = servers.connection_urls().console_page_settings();
        settings.push(metrics_setting(arguments.console_port.saturating_add(METRICS_OFFSET)));
        settings.extend(forwarded_settings());
        let mut console = Console::serve(local(arguments.console_port), settings, &Output::Terminal)?;
        console.wait_ready(READY_DEADLINE).await?;
        Ok(Self { console, services, servers })
    }

    /// Restarts each process that ends by itself.
    async fn supervise(&mut self) -> Infallible {
        let Servers { postgres, mysql, broker, marketing_broker } = &mut self.servers;
        let supervise_marketing_broker = async {
            match marketing_broker {
                Some(broker) => supervise(broker).await,
                None => pending().await,
            }
        };
        tokio::select! {
            (never, ..) = select_all(self.services.iter_mut().map(|service| Box::pin(supervise(service)))) => never,
            never = supervise(&mut self.console) => never,
            never = supervise(postgres) => never,
            never = supervise(mysql) => never,
            never = supervise(broker) => never,
            never = supervise_marketing_broker => never,
        }
    }

    async fn stop(&mut self) -> anyhow::Result<()> {
        let mut outcome = self.console.process.stop(Signal::TERM, STOP_DEADLINE).await.map(drop);
        for service in &mut self.services {
            outcome = outcome.and(service.terminate(STOP_DEADLINE).await.map(drop));
        }
        outcome.and(self.servers.stop().await)
    }
}

/// Returns the settings from this program's environment. An empty variable counts as unset.
fn forwarded_settings() -> impl Iterator<Item = (&'static str, String)> {
    let settings = FORWARDED_SETTINGS.into_iter().filter_map(|name| Some((name, env::var(name).ok()?)));
    settings.filter(|(_, value)| !value.is_empty())
}

fn metrics_setting(port: u16) -> (&'static str, String) {
    ("METRICS_LISTEN", local(port).to_string())
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}
