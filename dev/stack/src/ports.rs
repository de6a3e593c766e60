//! The ports of one set of servers, all on 127.0.0.1, and how a program under them is told.

use std::net::TcpListener;

use anyhow::{Context, Result};
use rand::RngExt;

/// Where the servers listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// PostgreSQL's.
    pub postgres: u16,
    /// MySQL's or MariaDB's.
    pub mysql: u16,
    /// RabbitMQ's, for AMQP.
    pub broker: u16,
    /// RabbitMQ's, for its management page and API.
    pub management: u16,
}

const POSTGRES: &str = "STACK_SERVERS_POSTGRES_PORT";
const MYSQL: &str = "STACK_SERVERS_MYSQL_PORT";
const BROKER: &str = "STACK_SERVERS_BROKER_PORT";
const MANAGEMENT: &str = "STACK_SERVERS_MANAGEMENT_PORT";

impl Ports {
    /// As environment variables.
    #[must_use]
    pub fn to_env(self) -> [(&'static str, String); 4] {
        [
            (POSTGRES, self.postgres.to_string()),
            (MYSQL, self.mysql.to_string()),
            (BROKER, self.broker.to_string()),
            (MANAGEMENT, self.management.to_string()),
        ]
    }

    /// From the environment that [`Ports::to_env`] made.
    ///
    /// # Errors
    /// If a variable is missing or is no port.
    pub fn from_env() -> Result<Self> {
        let port = |name| -> Result<u16> {
            let value = std::env::var(name).with_context(|| format!("{name} is not set"))?;
            value.parse().with_context(|| format!("{name}={value} is not a port"))
        };
        Ok(Self {
            postgres: port(POSTGRES)?,
            mysql: port(MYSQL)?,
            broker: port(BROKER)?,
            management: port(MANAGEMENT)?,
        })
    }
}

/// A port that nobody listens on.
///
/// It is taken from below the range that the kernel gives to outgoing connections (from 32768), so
/// a server that restarts finds its port still free; and at random, so that programs which choose
/// at the same time hardly ever choose the same.
///
/// # Errors
/// If a thousand tries find none.
pub fn free_port() -> Result<u16> {
    (0..1000)
        .map(|_| rand::rng().random_range(15_000..32_000))
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .context("no free port between 15000 and 32000 on 127.0.0.1; stop what listens there")
}
