//! The servers of a system together, below one directory.

use std::path::Path;

use crate::{
    broker::Broker,
    connection_urls::ConnectionUrls,
    mysql::Mysql,
    ports::{BrokerPorts, Ports, free_port},
    postgres::Postgres,
    site::Site,
};

const BROKER_DIRECTORY: &str = "broker";
const MARKETING_BROKER_DIRECTORY: &str = "marketing-broker";

/// The directories of the servers' data.
pub(crate) const DIRECTORIES: [&str; 4] = ["postgres", "mysql", BROKER_DIRECTORY, MARKETING_BROKER_DIRECTORY];

/// Running servers. Dropping them kills their processes; committed data is kept.
#[derive(Debug)]
pub struct Servers {
    /// The Web Store's database server.
    pub postgres: Postgres,
    /// Marketing's database server.
    pub mysql: Mysql,
    /// The message broker. With two sites, it is the broker of the Web Store.
    pub broker: Broker,
    /// Marketing's own broker, or `None` if both applications share one.
    pub marketing_broker: Option<Broker>,
}

impl Servers {
    /// Starts all servers simultaneously on free ports, with their data below `directory`. Both applications share the
    /// broker.
    ///
    /// Calls `report` with a line when a server is ready.
    ///
    /// # Errors
    /// Returns an error if a server does not start. The others are killed then.
    pub async fn start(directory: &Path, report: impl Fn(&str)) -> anyhow::Result<Self> {
        Self::start_with(directory, false, report).await
    }

    /// Starts the servers of two sites: each application has its own database and its own broker.
    ///
    /// # Errors
    /// Returns the errors of [`Servers::start`].
    pub async fn start_sites(directory: &Path, report: impl Fn(&str)) -> anyhow::Result<Self> {
        Self::start_with(directory, true, report).await
    }

    async fn start_with(directory: &Path, two_sites: bool, report: impl Fn(&str)) -> anyhow::Result<Self> {
        let (postgres, mysql) = (free_port()?, free_port()?);
        let ready = |name: &str, port: u16, pid: i32| {
            report(&format!("{name} is ready on 127.0.0.1:{port} (process {pid})"));
        };
        let start_broker = async |site: Site, directory_name: &str| {
            let ports = BrokerPorts { amqp: free_port()?, management: free_port()? };
            let broker = Broker::start(&directory.join(directory_name), site, ports).await?;
            ready(site.broker_name(), ports.amqp, broker.process.pid());
            anyhow::Ok(broker)
        };
        let site = if two_sites { Site::WebStore } else { Site::Both };
        let (postgres, mysql, broker, marketing_broker) = tokio::try_join!(
            async {
                let server = Postgres::start(&directory.join("postgres"), postgres).await?;
                ready("PostgreSQL", postgres, server.process.pid());
                anyhow::Ok(server)
            },
            async {
                let server = Mysql::start(&directory.join("mysql"), mysql).await?;
                ready("MySQL", mysql, server.process.pid());
                anyhow::Ok(server)
            },
            start_broker(site, BROKER_DIRECTORY),
            async {
                if two_sites {
                    start_broker(Site::Marketing, MARKETING_BROKER_DIRECTORY).await.map(Some)
                } else {
                    Ok(None)
                }
            },
        )?;
        Ok(Self { postgres, mysql, broker, marketing_broker })
    }

    /// Returns the ports of the servers.
    #[must_use]
    pub fn ports(&self) -> Ports {
        Ports {
            postgres: self.postgres.port(),
            mysql: self.mysql.port(),
            broker: self.broker.ports().amqp,
            management: self.broker.ports().management,
            marketing_broker: self.marketing_broker.as_ref().map(Broker::ports),
        }
    }

    /// Returns the URLs of the system for which the servers create databases, users, and permissions.
    #[must_use]
    pub fn connection_urls(&self) -> ConnectionUrls {
        ConnectionUrls::main(self.ports())
    }

    /// Stops all servers simultaneously. Stored data is kept.
    ///
    /// # Errors
    /// Returns an error if a server had to be killed. The others are stopped in any case.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        let stop_marketing_broker = async {
            match &mut self.marketing_broker {
                Some(broker) => broker.stop().await,
                None => Ok(()),
            }
        };
        let (postgres, mysql, broker, marketing_broker) =
            tokio::join!(self.postgres.stop(), self.mysql.stop(), self.broker.stop(), stop_marketing_broker,);
        postgres.and(mysql).and(broker).and(marketing_broker)
    }
}
