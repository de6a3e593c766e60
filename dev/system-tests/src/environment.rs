//! A test's own system: two databases and a virtual host on shared servers, and its own services.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use rand::RngExt;
use sqlx::mysql::MySqlPoolOptions;
use sqlx::postgres::PgPoolOptions;
use sqlx::{MySqlPool, PgPool};
use tempfile::TempDir;
use tokio::runtime;
use tokio::time::timeout;

use super::databases;
use super::management::Management;
use stack::connection_urls::ConnectionUrls;
use stack::ports::{Ports, free_port};
use stack::servers::Servers;
use stack::service::{Output, Program, Service};

/// Two empty databases and an empty virtual host that nobody else uses; gone when dropped.
///
/// Make it before the services, so that they are dropped first. If the test fails, what its
/// services logged is printed.
#[derive(Debug)]
pub struct TestEnvironment {
    main: ConnectionUrls,
    addresses: ConnectionUrls,
    directory: TempDir,
    logs: Mutex<Vec<PathBuf>>,
}

impl TestEnvironment {
    /// On the servers that `stack servers` has started for this test run.
    pub async fn new() -> Self {
        let ports = Ports::from_env().unwrap_or_else(|error| {
            panic!("{error}: these tests need servers; run script/test, or `stack servers -- cargo test`")
        });
        Self::at(ConnectionUrls::main(ports)).await
    }

    /// On servers of the test's own, which it may then stop and kill.
    pub async fn on(servers: &Servers) -> Self {
        Self::at(servers.connection_urls()).await
    }

    async fn at(main: ConnectionUrls) -> Self {
        let id: u64 = rand::rng().random();
        let addresses = ConnectionUrls {
            ports: main.ports,
            web_store_database: format!("web_store_{id:016x}"),
            // No underscore: in a grant it would stand for any character.
            marketing_database: format!("marketing{id:016x}"),
            virtual_host: format!("site-{id:016x}"),
        };
        let directory = tempfile::tempdir().expect("a directory for the logs");
        let site = Self { main, addresses, directory, logs: Mutex::default() };
        databases::create(&site.main, &site.addresses).await.expect("databases of the site's own");
        site.management().create_virtual_host().await.expect("a virtual host of the site's own");
        site
    }

    /// Where everything is, to look with other tools or to connect services in another way.
    #[must_use]
    pub fn addresses(&self) -> &ConnectionUrls {
        &self.addresses
    }

    /// The broker, for `web-store`, `transformer`, `marketing` or `admin`.
    #[must_use]
    pub fn broker_url(&self, user: &str) -> String {
        self.addresses.broker_url(user)
    }

    /// The broker, as its administrator.
    #[must_use]
    pub fn management(&self) -> Management {
        Management::of(&self.addresses)
    }

    /// Web Store's database, as its owner.
    #[must_use]
    pub fn web_store_database(&self) -> PgPool {
        let url = self.addresses.web_store_database_url("web_store_owner");
        PgPoolOptions::new().max_connections(2).connect_lazy(&url).expect("a URL")
    }

    /// Marketing's database, as its owner.
    #[must_use]
    pub fn marketing_database(&self) -> MySqlPool {
        let url = self.addresses.marketing_database_url("marketing_owner");
        MySqlPoolOptions::new().max_connections(2).connect_lazy(&url).expect("a URL")
    }

    /// Starts a Web Store and does not wait until it is ready.
    #[must_use]
    pub fn start_web_store(&self) -> Service {
        self.start(Program::WebStore, &[])
    }

    /// Starts a transformer and does not wait until it is ready.
    #[must_use]
    pub fn start_transformer(&self) -> Service {
        self.start(Program::Transformer, &[])
    }

    /// Starts a Marketing and does not wait until it is ready.
    #[must_use]
    pub fn start_marketing(&self) -> Service {
        self.start(Program::Marketing, &[])
    }

    /// Starts one more of a service on a free port; `settings` come on top of the site's own;
    /// an empty one is as if not set.
    #[must_use]
    pub fn start(&self, program: Program, settings: &[(&str, &str)]) -> Service {
        let port = free_port().expect("a port for the service");
        self.start_at(SocketAddr::from(([127, 0, 0, 1], port)), program, settings)
    }

    /// As [`TestEnvironment::start`], on a given address: where its forerunner was, say.
    #[must_use]
    pub fn start_at(&self, address: SocketAddr, program: Program, settings: &[(&str, &str)]) -> Service {
        let log = {
            let mut logs = self.logs.lock().expect("no panic while it is held");
            let log = self.directory.path().join(format!("{}-{}.log", program.name(), logs.len() + 1));
            logs.push(log.clone());
            log
        };
        let mut own = self.addresses.settings(program);
        // Tests register more people from one address than a visitor would.
        own.push(("WEB_STORE_REGISTRATIONS_PER_MINUTE", "0".to_owned()));
        own.retain(|(name, _)| settings.iter().all(|(other, _)| other != name));
        let more = settings.iter().map(|(name, value)| (*name, (*value).to_owned()));
        let more = more.filter(|(_, value)| !value.is_empty());
        Service::start(program, address, own.into_iter().chain(more), &Output::File(log))
            .unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// Whether any service of this site has logged a text.
    #[must_use]
    pub fn logs_contain(&self, text: &str) -> bool {
        self.log().contains(text)
    }

    /// All that the services of this site have logged.
    #[must_use]
    pub fn log(&self) -> String {
        let logs = self.logs.lock().expect("no panic while it is held");
        let read = |log| String::from_utf8_lossy(&std::fs::read(log).unwrap_or_default()).into_owned();
        logs.iter().map(read).collect()
    }

    async fn remove(&self) {
        // The servers may be stopped or frozen by now; then what is left goes with their directory.
        let databases = databases::drop(&self.main, &self.addresses);
        let management = self.management();
        let virtual_host = management.delete_virtual_host();
        let _ = timeout(Duration::from_secs(10), async { tokio::join!(databases, virtual_host) }).await;
    }
}

impl Drop for TestEnvironment {
    fn drop(&mut self) {
        if thread::panicking() {
            for log in self.logs.get_mut().iter().flat_map(|logs| logs.iter()) {
                let text = std::fs::read(log).unwrap_or_default();
                let name = log.file_stem().unwrap_or_default().display();
                println!("---- {name} ----\n{}", String::from_utf8_lossy(&text));
            }
        }
        // A runtime of its own: the test's is busy with this very call.
        thread::scope(|scope| {
            scope.spawn(|| {
                if let Ok(runtime) = runtime::Builder::new_current_thread().enable_all().build() {
                    runtime.block_on(self.remove());
                }
            });
        });
    }
}
