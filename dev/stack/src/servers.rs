//! The three servers together, below one directory.

use std::path::Path;

use crate::{
    broker::Broker,
    connection_urls::ConnectionUrls,
    mysql::Mysql,
    ports::{Ports, free_port},
    postgres::Postgres,
};

/// Running servers. Dropping them kills their processes; committed data is kept.
#[derive(Debug)]
pub struct Servers {
    /// The Web Store's database server.
    pub postgres: Postgres,
    /// Marketing's database server.
    pub mysql: Mysql,
    /// The message broker.
    pub broker: Broker,
}

impl Servers {
    /// Starts all three simultaneously on free ports, with their data below `directory`.
    ///
    /// Calls `report` with a line when a server is ready.
    ///
    /// # Errors
    /// Returns an error if a server does not start. The others are killed then.
    pub async fn start(directory: &Path, report: impl Fn(&str)) -> anyhow::Result<Self> {
        let ports = Ports {
            postgres: free_port()?,
            mysql: free_port()?,
            broker: free_port()?,
            management: free_port()?,
        };
        let ready = |name: &str, port: u16, pid: i32| {
            report(&format!("{name} is ready on 127.0.0.1:{port} (process {pid})"));
        };
        let (postgres, mysql, broker) = tokio::try_join!(
            async {
                let server = Postgres::start(&directory.join("postgres"), ports.postgres).await?;
                ready("PostgreSQL", ports.postgres, server.process.pid());
                anyhow::Ok(server)
            },
            async {
                let server = Mysql::start(&directory.join("mysql"), ports.mysql).await?;
                ready("MySQL", ports.mysql, server.process.pid());
                anyhow::Ok(server)
            },
            async {
                let server = Broker::start(&directory.join("broker"), ports.broker, ports.management).await?;
                ready("RabbitMQ", ports.broker, server.process.pid());
                anyhow::Ok(server)
            },
        )?;
        Ok(Self { postgres, mysql, broker })
    }

    /// Returns the ports of the servers.
    #[must_use]
    pub fn ports(&self) -> Ports {
        Ports {
            postgres: self.postgres.port(),
            mysql: self.mysql.port(),
            broker: self.broker.port(),
            management: self.broker.management_port(),
        }
    }

    /// Returns the URLs of the system for which the servers create databases, users, and permissions.
    #[must_use]
    pub fn connection_urls(&self) -> ConnectionUrls {
        ConnectionUrls::main(self.ports())
    }

    /// Stops all three simultaneously. Stored data is kept.
    ///
    /// # Errors
    /// Returns an error if a server had to be killed. The others are stopped in any case.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        let (postgres, mysql, broker) =
            tokio::join!(self.postgres.stop(), self.mysql.stop(), self.broker.stop());
        postgres.and(mysql).and(broker)
    }
}
