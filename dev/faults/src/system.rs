//! A whole system in which every link between a service and a server can fail.

use std::{net::SocketAddr, time::Duration};

use anyhow::ensure;
use contracts::topology::{MARKETING_CREATE_CUSTOMER, Queue, TRANSFORMER_CUSTOMER_REGISTERED};
use reqwest::Client;
use sqlx::{MySqlPool, PgPool};
use stack::{
    connection_urls::ConnectionUrls,
    ports::{Ports, free_port},
    servers::Servers,
    service::{Program, Service, all_checks_pass},
};
use system_tests::{TestEnvironment, customers::http_client};
use tokio::{
    sync::{Mutex, MutexGuard},
    time::{Instant, sleep},
};

use crate::{link::Link, proxy::Proxy};

/// The queues that a registration passes.
pub(crate) const REGISTRATION_QUEUES: [Queue; 2] =
    [TRANSFORMER_CUSTOMER_REGISTERED, MARKETING_CREATE_CUSTOMER];

/// Exceeds the time that servers and services need for a restart on a busy machine.
const READY_TIMEOUT: Duration = Duration::from_mins(1);

/// An environment on the servers, one proxy for each link, and one instance of each service.
pub(crate) struct System {
    services: [Mutex<Service>; 3],
    addresses: [SocketAddr; 3],
    proxies: Vec<Proxy>,
    // The services are dropped before their environment.
    pub(crate) environment: TestEnvironment,
    pub(crate) client: Client,
    pub(crate) web_store_database: PgPool,
    pub(crate) marketing_database: MySqlPool,
    settings: Vec<Setting>,
}

/// A variable of one service, or of all, and its value.
pub(crate) type Setting = (&'static str, Option<Program>, String);

impl System {
    /// Starts the system on these servers, and waits until it is ready.
    pub(crate) async fn start(servers: &Servers) -> anyhow::Result<Self> {
        Self::start_with(servers, &[]).await
    }

    /// Starts the system with more settings: of one service, or of all. Further instances do not have them.
    pub(crate) async fn start_with(servers: &Servers, settings: &[Setting]) -> anyhow::Result<Self> {
        Self::start_in(TestEnvironment::on(servers).await?, settings).await
    }

    /// Starts the system in an environment, with more settings.
    pub(crate) async fn start_in(environment: TestEnvironment, settings: &[Setting]) -> anyhow::Result<Self> {
        let environment = environment.without_log_output();
        let mut proxies = Vec::with_capacity(Link::ALL.len());
        for link in Link::ALL {
            let (port, protocol) = link.server(environment.connection_urls().ports);
            proxies.push(Proxy::to(port, protocol).await?);
        }
        let addresses = [free_address()?, free_address()?, free_address()?];
        let start = |program| start(&environment, &proxies, program, addresses[program as usize], settings);
        let [web_store, transformer, marketing] = Program::ALL.map(start);
        let system = Self {
            services: [Mutex::new(web_store?), Mutex::new(transformer?), Mutex::new(marketing?)],
            addresses,
            proxies,
            client: http_client()?,
            web_store_database: environment.web_store_database(),
            marketing_database: environment.marketing_database(),
            environment,
            settings: settings.to_vec(),
        };
        system.wait_ready().await?;
        Ok(system)
    }

    pub(crate) fn proxy(&self, link: Link) -> &Proxy {
        &self.proxies[link as usize]
    }

    /// Locks a service, so that one fault at a time affects it.
    pub(crate) async fn service(&self, program: Program) -> MutexGuard<'_, Service> {
        self.services[program as usize].lock().await
    }

    pub(crate) fn url(&self, program: Program) -> String {
        format!("http://{}", self.addresses[program as usize])
    }

    /// Starts a service that has ended, with the same address.
    pub(crate) fn restart(&self, service: &mut Service, program: Program) -> anyhow::Result<()> {
        let address = self.addresses[program as usize];
        *service = start(&self.environment, &self.proxies, program, address, &self.settings)?;
        Ok(())
    }

    /// Starts a further instance of a service.
    pub(crate) fn start_instance(&self, program: Program) -> anyhow::Result<Service> {
        start(&self.environment, &self.proxies, program, free_address()?, &[])
    }

    /// Waits until every service is ready and all its health checks pass, even the optional ones.
    pub(crate) async fn wait_ready(&self) -> anyhow::Result<()> {
        let give_up = Instant::now() + READY_TIMEOUT;
        for program in Program::ALL {
            while !all_checks_pass(&self.client, &self.url(program)).await {
                ensure!(
                    Instant::now() < give_up,
                    "{} is not ready after {READY_TIMEOUT:?}; the log of the services:\n{}",
                    program.name(),
                    self.environment.log()
                );
                sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }
}

/// Returns the queue of a registration that is bound to an exchange.
pub(crate) fn queue_of(exchange: &str) -> Queue {
    let [events, commands] = REGISTRATION_QUEUES;
    if exchange == events.exchange { events } else { commands }
}

fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(SocketAddr::from(([127, 0, 0, 1], free_port()?)))
}

/// Starts a service whose connections use the proxies. Only its migrations connect to the server directly.
fn start(
    environment: &TestEnvironment,
    proxies: &[Proxy],
    program: Program,
    address: SocketAddr,
    settings: &[Setting],
) -> anyhow::Result<Service> {
    let urls = environment.connection_urls();
    let through = |link: Link| {
        let port = proxies[link as usize].port();
        let ports = Ports { postgres: port, mysql: port, broker: port, marketing_broker: None, ..urls.ports };
        ConnectionUrls { ports, ..urls.clone() }
    };
    let links = match program {
        Program::WebStore => [
            ("WEB_STORE_DATABASE_URL", through(Link::WebStoreToPostgres).web_store_database_url("web_store")),
            ("WEB_STORE_BROKER_URL", through(Link::WebStoreToBroker).broker_url("web-store")),
        ],
        Program::Transformer => [
            ("TRANSFORMER_SOURCE_BROKER_URL", through(Link::TransformerToSource).broker_url("transformer")),
            (
                "TRANSFORMER_TARGET_BROKER_URL",
                through(Link::TransformerToTarget).marketing_broker_url("transformer"),
            ),
        ],
        Program::Marketing => [
            ("MARKETING_DATABASE_URL", through(Link::MarketingToMysql).marketing_database_url("marketing")),
            ("MARKETING_BROKER_URL", through(Link::MarketingToBroker).marketing_broker_url("marketing")),
        ],
    };
    let links = links.iter().map(|(name, value)| (*name, value.as_str()));
    let of_program = |setting: &&Setting| setting.1.is_none_or(|other| other == program);
    let more = settings.iter().filter(of_program).map(|(name, _, value)| (*name, value.as_str()));
    let settings: Vec<_> = links.chain(more).collect();
    environment.start_at(address, program, &settings)
}
