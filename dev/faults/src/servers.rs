//! The servers, each for one fault at a time.

use std::time::Duration;

use anyhow::Result;
use tokio::sync::Mutex;
use tokio::time::sleep;

use super::fault::Server;
use stack::broker::Broker;
use stack::mysql::Mysql;
use stack::postgres::Postgres;
use stack::process::Process;
use stack::servers::Servers;

/// All three, each behind its own lock.
pub(super) struct LockedServers {
    postgres: Mutex<Postgres>,
    mysql: Mutex<Mysql>,
    broker: Mutex<Broker>,
}

impl LockedServers {
    pub(super) fn new(servers: Servers) -> Self {
        let Servers { postgres, mysql, broker } = servers;
        Self { postgres: postgres.into(), mysql: mysql.into(), broker: broker.into() }
    }

    pub(super) async fn stop(self) -> Result<()> {
        let Self { postgres, mysql, broker } = self;
        let mut servers = Servers {
            postgres: postgres.into_inner(),
            mysql: mysql.into_inner(),
            broker: broker.into_inner(),
        };
        servers.stop().await
    }

    pub(super) async fn kill(&self, server: Server) -> Result<()> {
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

    pub(super) async fn freeze(&self, server: Server, time: Duration) {
        match server {
            Server::Postgres => hold_still(&self.postgres.lock().await.process, time).await,
            Server::Mysql => hold_still(&self.mysql.lock().await.process, time).await,
            Server::Broker => hold_still(&self.broker.lock().await.process, time).await,
        }
    }

    pub(super) async fn memory_alarm(&self, time: Duration) -> Result<()> {
        let broker = self.broker.lock().await;
        broker.set_memory_alarm(true).await?;
        sleep(time).await;
        broker.set_memory_alarm(false).await
    }
}

/// Freezes a process and its children for a while.
pub(super) async fn hold_still(process: &Process, time: Duration) {
    process.pause();
    sleep(time).await;
    process.resume();
}
