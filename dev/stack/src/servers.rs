//! The three servers together, under one directory.

use std::path::Path;

use anyhow::Result;

use crate::broker::Broker;
use crate::connection_urls::ConnectionUrls;
use crate::mysql::Mysql;
use crate::ports::{Ports, free_port};
use crate::postgres::Postgres;

/// Running servers. Dropped, they are killed; what was committed is kept even so.
#[derive(Debug)]
pub struct Servers {
    /// Web Store's database server.
    pub postgres: Postgres,
    /// Marketing's database server.
    pub mysql: Mysql,
    /// The message broker.
    pub broker: Broker,
}

impl Servers {
    /// Starts all three at once on free ports, with their data under `directory`, and says of each
    /// when it is ready.
    ///
    /// # Errors
    /// If one of them does not start. Then none is left running.
    pub async fn start(directory: &Path, say: impl Fn(&str)) -> Result<Self> {
        let (postgres, mysql) = (directory.join("postgres"), directory.join("mysql"));
        let broker = directory.join("broker");
        let (postgres_port, mysql_port) = (free_port()?, free_port()?);
        let (broker_port, management_port) = (free_port()?, free_port()?);
        let (postgres, mysql, broker) = tokio::try_join!(
            async {
                let server = Postgres::start(&postgres, postgres_port).await?;
                say(&format!("PostgreSQL is ready on 127.0.0.1:{postgres_port}"));
                anyhow::Ok(server)
            },
            async {
                let server = Mysql::start(&mysql, mysql_port).await?;
                say(&format!("MySQL is ready on 127.0.0.1:{mysql_port}"));
                anyhow::Ok(server)
            },
            async {
                let server = Broker::start(&broker, broker_port, management_port).await?;
                say(&format!("RabbitMQ is ready on 127.0.0.1:{broker_port}"));
                anyhow::Ok(server)
            },
        )?;
        Ok(Self { postgres, mysql, broker })
    }

    /// Where they listen.
    #[must_use]
    pub fn ports(&self) -> Ports {
        Ports {
            postgres: self.postgres.port(),
            mysql: self.mysql.port(),
            broker: self.broker.port(),
            management: self.broker.management_port(),
        }
    }

    /// Where the system that their rights are set up for is.
    #[must_use]
    pub fn connection_urls(&self) -> ConnectionUrls {
        ConnectionUrls::main(self.ports())
    }

    /// Stops all three at once. What is stored is kept.
    ///
    /// # Errors
    /// If one of them had to be killed; the others are stopped all the same.
    pub async fn stop(&mut self) -> Result<()> {
        let (postgres, mysql, broker) =
            tokio::join!(self.postgres.stop(), self.mysql.stop(), self.broker.stop());
        postgres.and(mysql).and(broker)
    }

    /// Waits until one of them ends by itself, and says which and how.
    pub async fn wait_for_failure(&mut self) -> String {
        let (name, status) = tokio::select! {
            status = self.postgres.process.wait() => ("PostgreSQL", status),
            status = self.mysql.process.wait() => ("MySQL", status),
            status = self.broker.process.wait() => ("RabbitMQ", status),
        };
        let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        format!("{name} ended by itself ({status})")
    }
}
