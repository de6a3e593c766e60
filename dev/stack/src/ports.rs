//! The ports of one set of servers on 127.0.0.1, and their environment variables.

use std::{env, net::TcpListener};

use anyhow::Context;
use rand::RngExt;

/// The ports that the servers listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// PostgreSQL.
    pub postgres: u16,
    /// MySQL or MariaDB.
    pub mysql: u16,
    /// RabbitMQ, AMQP. With two sites, the broker of the Web Store.
    pub broker: u16,
    /// RabbitMQ, management page and HTTP API. With two sites, of the Web Store's broker.
    pub management: u16,
    /// Marketing's own RabbitMQ, or `None` if both applications share one.
    pub marketing_broker: Option<BrokerPorts>,
}

/// The ports of one broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrokerPorts {
    /// AMQP.
    pub amqp: u16,
    /// The management page and HTTP API.
    pub management: u16,
}

const POSTGRES: &str = "STACK_SERVERS_POSTGRES_PORT";
const MYSQL: &str = "STACK_SERVERS_MYSQL_PORT";
const BROKER: &str = "STACK_SERVERS_BROKER_PORT";
const MANAGEMENT: &str = "STACK_SERVERS_MANAGEMENT_PORT";

impl Ports {
    /// Returns the environment variables for a program that uses these servers, which are those of one site.
    #[must_use]
    pub fn to_env(self) -> [(&'static str, String); 4] {
        [
            (POSTGRES, self.postgres.to_string()),
            (MYSQL, self.mysql.to_string()),
            (BROKER, self.broker.to_string()),
            (MANAGEMENT, self.management.to_string()),
        ]
    }

    /// Reads the environment variables of [`Ports::to_env`].
    ///
    /// # Errors
    /// Returns an error if a variable is missing or is not a port.
    pub fn from_env() -> anyhow::Result<Self> {
        let port = |name| -> anyhow::Result<u16> {
            let value = env::var(name).with_context(|| format!("{name} is not set"))?;
            value.parse().with_context(|| format!("{name}={value} is not a port"))
        };
        Ok(Self {
            postgres: port(POSTGRES)?,
            mysql: port(MYSQL)?,
            broker: port(BROKER)?,
            management: port(MANAGEMENT)?,
            marketing_broker: None,
        })
    }

    /// Returns the ports of the broker that Marketing uses.
    #[must_use]
    pub fn broker_of_marketing(self) -> BrokerPorts {
        let shared = BrokerPorts { amqp: self.broker, management: self.management };
        self.marketing_broker.unwrap_or(shared)
    }
}

/// Returns a port without a listener.
///
/// The port is below the range of outgoing connections, which begins at 32768. A server that restarts
/// therefore finds its port free. The choice is random, so programs that choose simultaneously rarely
/// choose the same port.
///
/// # Errors
/// Returns an error if 1,000 attempts find no free port.
pub fn free_port() -> anyhow::Result<u16> {
    (0..1000)
        .map(|_| rand::rng().random_range(15_000..32_000))
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .context("no free port between 15000 and 32000 on 127.0.0.1; stop the programs that listen there")
}
