//! The servers, each behind its own lock, so that one fault at a time affects a server.

use std::time::Duration;

use stack::{broker::Broker, mysql::Mysql, postgres::Postgres, process::Process, servers::Servers};
use tokio::{sync::Mutex, time::sleep};

/// A server. Several links share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Server {
    Postgres,
    Mysql,
    Broker,
}

impl Server {
    pub(crate) const ALL: [Self; 3] = [Self::Postgres, Self::Mysql, Self::Broker];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL",
            Self::Mysql => "MySQL",
            Self::Broker => "RabbitMQ",
        }
    }
}

/// The three servers of one site.
pub(crate) struct LockedServers {
    postgres: Mutex<Postgres>,
    mysql: Mutex<Mysql>,
    broker: Mutex<Broker>,
}

impl LockedServers {
    pub(crate) fn new(servers: Servers) -> Self {
        let Servers { postgres, mysql, broker, .. } = servers;
        Self { postgres: postgres.into(), mysql: mysql.into(), broker: broker.into() }
    }

    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        let mut servers = Servers {
            postgres: self.postgres.into_inner(),
            mysql: self.mysql.into_inner(),
            broker: self.broker.into_inner(),
            marketing_broker: None,
        };
        servers.stop().await
    }

    /// Kills a server (`kill -9`), and waits until it is ready again.
    pub(crate) async fn kill(&self, server: Server) -> anyhow::Result<()> {
        match server {
            Server::Postgres => {
                let mut postgres = self.postgres.lock().await;
                postgres.process.kill().await?;
                postgres.restart().await
            }
            Server::Mysql => {
                let mut mysql = self.mysql.lock().await;
                mysql.process.kill().await?;
                mysql.restart().await
            }
            Server::Broker => {
                let mut broker = self.broker.lock().await;
                broker.process.kill().await?;
                broker.restart().await
            }
        }
    }

    /// Freezes a server, and resumes it after `duration`.
    pub(crate) async fn freeze(&self, server: Server, duration: Duration) {
        match server {
            Server::Postgres => freeze(&self.postgres.lock().await.process, duration).await,
            Server::Mysql => freeze(&self.mysql.lock().await.process, duration).await,
            Server::Broker => freeze(&self.broker.lock().await.process, duration).await,
        }
    }

    /// Raises the broker's memory alarm, and clears it after `duration`. Meanwhile publishers are blocked.
    pub(crate) async fn raise_memory_alarm(&self, duration: Duration) -> anyhow::Result<()> {
        let broker = self.broker.lock().await;
        broker.set_memory_alarm(true).await?;
        sleep(duration).await;
        broker.set_memory_alarm(false).await
    }
}

/// Freezes a process and its children, and resumes them after `duration`.
pub(crate) async fn freeze(process: &Process, duration: Duration) {
    process.pause();
    sleep(duration).await;
    process.resume();
}
