//! A whole system in which every link between a service and a server can fail.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use reqwest::Client;
use sqlx::{MySqlPool, PgPool};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep};

use super::link::Link;
use crate::proxy::Proxy;
use stack::connection_urls::ConnectionUrls;
use stack::ports::{Ports, free_port};
use stack::servers::Servers;
use stack::service::{Program, Service, all_checks_pass};
use system_tests::TestEnvironment;
use system_tests::customers::http_client;

/// Servers and services take their time to come back on a busy machine.
const BACK: Duration = Duration::from_mins(1);

/// The system: a site of its own, a proxy for each link, and one instance of each service.
pub(crate) struct System {
    services: [Mutex<Service>; 3],
    addresses: [SocketAddr; 3],
    proxies: Vec<Proxy>,
    pub(crate) site: TestEnvironment,
    pub(crate) client: Client,
    /// The Web Store's database.
    pub(crate) customers: PgPool,
    /// Marketing's.
    pub(crate) rows: MySqlPool,
}

impl System {
    /// Starts it on these servers and waits until it is ready.
    pub(crate) async fn start(servers: &Servers) -> Result<Self> {
        let site = TestEnvironment::on(servers).await?.without_log_output();
        let mut proxies = Vec::with_capacity(Link::ALL.len());
        for link in Link::ALL {
            let (port, protocol) = link.server(servers.ports());
            proxies.push(Proxy::to(port, protocol).await?);
        }
        let addresses = [free_address()?, free_address()?, free_address()?];
        let [web_store, transformer, marketing] =
            Program::ALL.map(|program| start(&site, &proxies, program, addresses[program as usize]));
        let services = [Mutex::new(web_store?), Mutex::new(transformer?), Mutex::new(marketing?)];
        let (customers, rows) = (site.web_store_database(), site.marketing_database());
        let client = http_client()?;
        let system = Self { services, addresses, proxies, site, client, customers, rows };
        system.wait_ready().await?;
        Ok(system)
    }

    pub(crate) fn proxy(&self, link: Link) -> &Proxy {
        &self.proxies[link as usize]
    }

    /// A service, for one fault at a time.
    pub(crate) async fn service(&self, program: Program) -> MutexGuard<'_, Service> {
        self.services[program as usize].lock().await
    }

    pub(crate) fn url(&self, program: Program) -> String {
        format!("http://{}", self.addresses[program as usize])
    }

    /// Starts a service anew where its forerunner was, which must have ended.
    pub(crate) fn start_again(&self, service: &mut Service, program: Program) -> Result<()> {
        *service = start(&self.site, &self.proxies, program, self.addresses[program as usize])?;
        Ok(())
    }

    /// Starts one more of a service beside the first.
    pub(crate) fn start_another(&self, program: Program) -> Result<Service> {
        start(&self.site, &self.proxies, program, free_address()?)
    }

    /// Waits until every service is ready and has all its parts, the broker too.
    pub(crate) async fn wait_ready(&self) -> Result<()> {
        let give_up = Instant::now() + BACK;
        for program in Program::ALL {
            while !all_checks_pass(&self.client, &self.url(program)).await {
                let (name, log) = (program.name(), self.site.log());
                ensure!(Instant::now() < give_up, "{name} is not ready after {BACK:?}\n{log}");
                sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }
}

fn free_address() -> Result<SocketAddr> {
    Ok(SocketAddr::from(([127, 0, 0, 1], free_port()?)))
}

/// With its own links in the place of the servers; migrations go to the servers directly.
fn start(
    site: &TestEnvironment,
    proxies: &[Proxy],
    program: Program,
    address: SocketAddr,
) -> Result<Service> {
    let through = |link: Link| {
        let port = proxies[link as usize].port();
        let ports = Ports { postgres: port, mysql: port, broker: port, ..site.connection_urls().ports };
        ConnectionUrls { ports, ..site.connection_urls().clone() }
    };
    let settings = match program {
        Program::WebStore => [
            ("WEB_STORE_DATABASE_URL", through(Link::WebStoreToPostgres).web_store_database_url("web_store")),
            ("WEB_STORE_BROKER_URL", through(Link::WebStoreToBroker).broker_url("web-store")),
        ],
        Program::Transformer => [
            ("TRANSFORMER_SOURCE_BROKER_URL", through(Link::TransformerToSource).broker_url("transformer")),
            ("TRANSFORMER_TARGET_BROKER_URL", through(Link::TransformerToTarget).broker_url("transformer")),
        ],
        Program::Marketing => [
            ("MARKETING_DATABASE_URL", through(Link::MarketingToMysql).marketing_database_url("marketing")),
            ("MARKETING_BROKER_URL", through(Link::MarketingToBroker).broker_url("marketing")),
        ],
    };
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    site.start_at(address, program, &settings)
}
