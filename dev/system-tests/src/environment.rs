//! A test's own system: two databases and virtual hosts on shared servers, and its own services.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::Context;
use rand::RngExt;
use sqlx::{
    MySqlPool, PgPool,
    mysql::{MySqlConnectOptions, MySqlPoolOptions},
    postgres::{PgConnectOptions, PgPoolOptions},
};
use stack::{
    broker::Broker,
    connection_urls::ConnectionUrls,
    console::Console,
    ports::{Ports, free_port},
    servers::Servers,
    service::{Output, Program, Service},
    site::Site,
};
use tempfile::TempDir;
use tokio::{runtime, time::timeout};

use crate::{
    SOON, databases,
    management::{Management, Queue},
};

const REMOVAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Two empty databases and an empty virtual host with unique names. Dropping it removes them.
///
/// Create it before the services, so that they are dropped first. Dropping it also prints the services' log
/// lines, which the test harness shows only if the test fails.
#[derive(Debug)]
pub struct TestEnvironment {
    main_urls: ConnectionUrls,
    urls: ConnectionUrls,
    web_store_database: PgConnectOptions,
    marketing_database: MySqlConnectOptions,
    log_directory: TempDir,
    logs: Mutex<Vec<PathBuf>>,
    print_logs: bool,
}

impl TestEnvironment {
    /// Creates an environment on the servers that `stack run` has started.
    ///
    /// # Errors
    /// Returns an error if the servers' ports are not in the environment variables of this process, or if a
    /// server refuses a statement.
    pub async fn new() -> anyhow::Result<Self> {
        Self::create(ConnectionUrls::main(shared_servers()?)).await
    }

    /// Creates an environment of two sites on the servers that `stack run` has started: each application has a virtual
    /// host of its own, with the users and the permissions of its site.
    ///
    /// # Errors
    /// Returns the errors of [`TestEnvironment::new`].
    pub async fn with_sites() -> anyhow::Result<Self> {
        let mut ports = shared_servers()?;
        ports.marketing_broker = Some(ports.broker_of_marketing());
        let environment = Self::create(ConnectionUrls::main(ports)).await?;
        for (management, site) in [
            (environment.management(), Site::WebStore),
            (environment.marketing_management(), Site::Marketing),
        ] {
            management.replace_permissions(&Broker::definitions(site).await?).await?;
        }
        Ok(environment)
    }

    /// Creates an environment on the servers that `stack run` has started, with a Web Store that is ready.
    ///
    /// # Errors
    /// Returns an error if a server refuses a statement, or if the Web Store is not ready within [`SOON`].
    pub async fn with_web_store() -> anyhow::Result<(Self, Service)> {
        let environment = Self::new().await?;
        let web_store = environment.start_ready(Program::WebStore, &[]).await?;
        Ok((environment, web_store))
    }

    /// Creates an environment on private servers, which the caller may then stop and kill. On servers of two sites, it
    /// has a virtual host on each broker.
    ///
    /// # Errors
    /// Returns an error if a server refuses a statement.
    pub async fn on(servers: &Servers) -> anyhow::Result<Self> {
        Self::create(servers.connection_urls()).await
    }

    async fn create(main_urls: ConnectionUrls) -> anyhow::Result<Self> {
        let id: u64 = rand::rng().random();
        let urls = ConnectionUrls {
            ports: main_urls.ports,
            web_store_database: format!("web_store_{id:016x}"),
            // No underscore: in a grant it would match any character.
            marketing_database: format!("marketing{id:016x}"),
            virtual_host: format!("test-{id:016x}"),
            marketing_virtual_host: match main_urls.ports.marketing_broker {
                Some(_) => format!("test-{id:016x}-marketing"),
                None => format!("test-{id:016x}"),
            },
        };
        let environment = Self {
            web_store_database: urls.web_store_database_url("web_store_owner").parse()?,
            marketing_database: urls.marketing_database_url("marketing_owner").parse()?,
            main_urls,
            urls,
            log_directory: tempfile::tempdir().context("cannot create a directory for logs")?,
            logs: Mutex::default(),
            print_logs: true,
        };
        let (main_urls, urls) = (&environment.main_urls, &environment.urls);
        databases::create(main_urls, urls).await.context("cannot create the databases")?;
        for management in environment.managements() {
            management.create_virtual_host().await.context("cannot create a virtual host")?;
        }
        Ok(environment)
    }

    /// Turns off the output of log lines on drop, for programs other than tests.
    #[must_use]
    pub fn without_log_output(mut self) -> Self {
        self.print_logs = false;
        self
    }

    /// Returns the connection URLs of this environment's databases and virtual host.
    #[must_use]
    pub fn connection_urls(&self) -> &ConnectionUrls {
        &self.urls
    }

    /// Returns the broker's URL for `web-store`, `transformer`, `marketing`, `console`, or `admin`. With two sites, this is
    /// the broker of the Web Store.
    #[must_use]
    pub fn broker_url(&self, user: &str) -> String {
        self.urls.broker_url(user)
    }

    /// Returns a client of the broker's management API. With two sites, this is the broker of the Web Store.
    #[must_use]
    pub fn management(&self) -> Management {
        Management::new(&self.urls)
    }

    /// Returns a client of the management API of the broker that Marketing uses.
    #[must_use]
    pub fn marketing_management(&self) -> Management {
        Management::of_marketing(&self.urls)
    }

    /// Returns a client for each broker.
    fn managements(&self) -> impl Iterator<Item = Management> {
        let marketing = self.urls.ports.marketing_broker.map(|_| self.marketing_management());
        [self.management()].into_iter().chain(marketing)
    }

    /// Returns the queues of all brokers by name.
    ///
    /// # Errors
    /// Returns an error if a broker is unavailable.
    pub async fn queues(&self) -> anyhow::Result<BTreeMap<String, Queue>> {
        let mut queues = BTreeMap::new();
        for management in self.managements() {
            queues.append(&mut management.queues().await?);
        }
        Ok(queues)
    }

    /// Returns a pool of connections to the Web Store's database, as its owner.
    #[must_use]
    pub fn web_store_database(&self) -> PgPool {
        PgPoolOptions::new().max_connections(2).connect_lazy_with(self.web_store_database.clone())
    }

    /// Returns a pool of connections to Marketing's database, as its owner.
    #[must_use]
    pub fn marketing_database(&self) -> MySqlPool {
        MySqlPoolOptions::new().max_connections(2).connect_lazy_with(self.marketing_database.clone())
    }

    /// Starts a Web Store and does not wait until it is ready.
    ///
    /// # Errors
    /// Returns an error if the service is not built or cannot be started.
    pub fn start_web_store(&self) -> anyhow::Result<Service> {
        self.start(Program::WebStore, &[])
    }

    /// Starts a transformer and does not wait until it is ready.
    ///
    /// # Errors
    /// Returns an error if the service is not built or cannot be started.
    pub fn start_transformer(&self) -> anyhow::Result<Service> {
        self.start(Program::Transformer, &[])
    }

    /// Starts a Marketing and does not wait until it is ready.
    ///
    /// # Errors
    /// Returns an error if the service is not built or cannot be started.
    pub fn start_marketing(&self) -> anyhow::Result<Service> {
        self.start(Program::Marketing, &[])
    }

    /// Starts an instance of a service on a free port and waits until it is ready.
    ///
    /// # Errors
    /// Returns an error if the service cannot be started or is not ready within [`SOON`].
    pub async fn start_ready(&self, program: Program, settings: &[(&str, &str)]) -> anyhow::Result<Service> {
        let mut service = self.start(program, settings)?;
        service.wait_ready(SOON).await?;
        Ok(service)
    }

    /// Starts an instance of a service on a free port; see [`TestEnvironment::start_at`].
    ///
    /// # Errors
    /// Returns an error if the service is not built or cannot be started.
    pub fn start(&self, program: Program, settings: &[(&str, &str)]) -> anyhow::Result<Service> {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        self.start_at(address, program, settings)
    }

    /// Starts an instance of a service on an address, and does not wait until it is ready.
    ///
    /// `settings` replace the environment's own settings of the same names.
    ///
    /// # Errors
    /// Returns an error if the service is not built or cannot be started.
    pub fn start_at(
        &self,
        address: SocketAddr,
        program: Program,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Service> {
        self.start_from(program.path()?, address, program, settings)
    }

    /// Starts the binary at `path`, which may be that of another release; see [`TestEnvironment::start_at`].
    ///
    /// # Errors
    /// Returns an error if the binary cannot be started.
    pub fn start_from(
        &self,
        path: PathBuf,
        address: SocketAddr,
        program: Program,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Service> {
        let mut own = self.urls.settings(program);
        // Tests register more customers from one address than a visitor would.
        own.push(("WEB_STORE_REGISTRATIONS_PER_MINUTE", "0".to_owned()));
        own.push(("HTTP_MAX_CONNECTIONS_PER_ADDRESS", "1024".to_owned()));
        // Tests count messages.
        own.push(("PROBE_INTERVAL_SECONDS", "0".to_owned()));
        own.retain(|(name, _)| settings.iter().all(|(other, _)| other != name));
        let more = settings.iter().map(|(name, value)| (*name, (*value).to_owned()));
        let output = Output::File(self.add_log(program.name()));
        Service::start_from(path, program, address, own.into_iter().chain(more), &output)
    }

    /// Starts `console reconcile --watch` with the console's own users.
    ///
    /// # Errors
    /// Returns an error if the console is not built or cannot be started.
    pub fn start_console(&self, settings: &[(&str, &str)]) -> anyhow::Result<Console> {
        let more = settings.iter().map(|(name, value)| (*name, (*value).to_owned()));
        let settings = self.urls.console_settings().into_iter().chain(more);
        Console::watch(settings, &Output::File(self.add_log("console")))
    }

    /// Starts `console serve` on a free port, with the console's own users, and waits until the page responds.
    ///
    /// `settings` replace the console's own settings of the same names.
    ///
    /// # Errors
    /// Returns an error if the console cannot be started or does not respond within [`SOON`].
    pub async fn start_console_page(&self, settings: &[(&str, &str)]) -> anyhow::Result<Console> {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let mut own = self.urls.console_page_settings();
        own.retain(|(name, _)| settings.iter().all(|(other, _)| other != name));
        let more = settings.iter().map(|(name, value)| (*name, (*value).to_owned()));
        let output = Output::File(self.add_log("console"));
        let mut console = Console::serve(address, own.into_iter().chain(more), &output)?;
        console.wait_ready(SOON).await?;
        Ok(console)
    }

    fn add_log(&self, program: &str) -> PathBuf {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let log = self.log_directory.path().join(format!("{program}-{}.log", logs.len() + 1));
        logs.push(log.clone());
        log
    }

    /// Returns whether any service of this environment has logged `text`.
    #[must_use]
    pub fn logs_contain(&self, text: &str) -> bool {
        self.log().contains(text)
    }

    /// Returns the log lines of all services of this environment.
    #[must_use]
    pub fn log(&self) -> String {
        let logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let read = |log| String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned();
        logs.iter().map(read).collect()
    }

    async fn remove(&self) {
        // If a server is stopped or frozen, the databases are removed with the server's directory.
        let databases = databases::drop(&self.main_urls, &self.urls);
        let virtual_hosts = async {
            for management in self.managements() {
                let _ = management.delete_virtual_host().await;
            }
        };
        let _ = timeout(REMOVAL_TIMEOUT, async { tokio::join!(databases, virtual_hosts) }).await;
    }
}

/// Returns the ports of the servers that `stack run` has started.
fn shared_servers() -> anyhow::Result<Ports> {
    Ports::from_env().context("this program needs servers; run script/test, or `stack run -- cargo test`")
}

impl Drop for TestEnvironment {
    fn drop(&mut self) {
        if self.print_logs {
            for log in self.logs.get_mut().unwrap_or_else(PoisonError::into_inner) {
                let text = fs::read(&log).unwrap_or_default();
                let name = log.file_stem().unwrap_or_default().display();
                println!("---- {name} ----\n{}", String::from_utf8_lossy(&text));
            }
        }
        // A separate runtime, because the test's runtime executes this call.
        thread::scope(|scope| {
            scope.spawn(|| {
                if let Ok(runtime) = runtime::Builder::new_current_thread().enable_all().build() {
                    runtime.block_on(self.remove());
                }
            });
        });
    }
}
