//! Injects a fault, keeps it for its duration, and restores the normal state.

use std::time::Duration;

use anyhow::ensure;
use stack::service::Program;
use tokio::time::sleep;

use crate::{
    bad_messages::publish_bad_messages,
    duplicates::deliver_twice,
    fault::{DELAYED, Fault, THROTTLED},
    link::Link,
    locked_servers::freeze,
    proxy::{Direction, Traffic},
    run::FaultRun,
};

/// Exceeds the time in which a service completes its current work.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

impl FaultRun {
    /// Injects a fault. Returns when it has ended and the normal state is restored.
    pub(crate) async fn inject(&self, fault: &Fault) -> anyhow::Result<()> {
        let system = &self.system;
        match *fault {
            Fault::Kill(program) => {
                let mut service = system.service(program).await;
                service.kill().await?;
                system.restart(&mut service, program)?;
            }
            Fault::Terminate(program) => {
                let mut service = system.service(program).await;
                // A service that has just started does not handle signals yet.
                service.wait_live(SHUTDOWN_TIMEOUT).await?;
                let status = service.terminate(SHUTDOWN_TIMEOUT).await?;
                ensure!(status.success(), "{} ended with {status}", program.name());
                system.restart(&mut service, program)?;
            }
            Fault::Freeze(program, duration) => {
                freeze(&system.service(program).await.process, duration).await;
            }
            Fault::KillServer(server) => self.servers.kill(server).await?,
            Fault::FreezeServer(server, duration) => self.servers.freeze(server, duration).await,
            Fault::Cut(link, duration) => {
                system.proxy(link).cut();
                sleep(duration).await;
                system.proxy(link).restore();
            }
            Fault::HalfOpen(link, direction, duration) => {
                self.limit_traffic(link, &[direction], Traffic::Frozen, duration).await;
            }
            Fault::Delay(link, duration) => {
                self.limit_traffic(link, &Direction::ALL, DELAYED, duration).await;
            }
            Fault::Throttle(link, duration) => {
                self.limit_traffic(link, &Direction::ALL, THROTTLED, duration).await;
            }
            Fault::CloseConnections => {
                // A broker that is unavailable due to a simultaneous fault has no connections to close.
                let _ = system.environment.management().close_connections().await;
            }
            Fault::MemoryAlarm(duration) => self.servers.raise_memory_alarm(duration).await?,
            Fault::DeleteEmptyQueue(queue) => self.delete_empty_queue(&queue).await?,
            Fault::DeleteFullQueue(queue) => self.delete_full_queue(&queue).await?,
            Fault::SecondInstance(program, duration) => self.run_second_instance(program, duration).await?,
            Fault::BadMessages => {
                let published = publish_bad_messages(&system.environment).await;
                self.bad_messages
                    .lock()
                    .expect("no thread panics while it holds this lock")
                    .extend(published);
            }
            Fault::DuplicateMessages(duration) => {
                // A broker that is unavailable due to a simultaneous fault has no messages to duplicate.
                let _ = deliver_twice(&system.environment, duration).await;
            }
        }
        Ok(())
    }

    async fn limit_traffic(
        &self,
        link: Link,
        directions: &[Direction],
        traffic: Traffic,
        duration: Duration,
    ) {
        let proxy = self.system.proxy(link);
        for direction in directions {
            proxy.set_traffic(*direction, traffic);
        }
        sleep(duration).await;
        proxy.restore();
    }

    /// Starts a second instance of a service, and kills it after `duration`.
    async fn run_second_instance(&self, program: Program, duration: Duration) -> anyhow::Result<()> {
        let mut instance = self.system.start_instance(program)?;
        let url = instance.url();
        if program == Program::WebStore {
            self.load.add_web_store(url.clone());
        }
        sleep(duration).await;
        self.load.remove_web_store(&url);
        instance.kill().await
    }
}
