//! Brings a fault about, for as long as it lasts, and heals it.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::sleep;

use super::bad_messages;
use super::fault::{DELAY, Fault, THROTTLE};
use super::fault_run::FaultRun;
use super::link::Link;
use super::servers::hold_still;
use crate::proxy::{Direction, Traffic};
use stack::service::Program;

/// A service has so long to finish what is in hand.
const TO_STOP: Duration = Duration::from_secs(10);

impl FaultRun {
    /// Returns when the fault is over and healed.
    pub(super) async fn inject(&self, fault: &Fault) -> Result<()> {
        let system = &self.system;
        match *fault {
            Fault::Kill(program) => {
                let mut service = system.service(program).await;
                service.kill().await?;
                system.start_again(&mut service, program)?;
            }
            Fault::Terminate(program) => {
                let mut service = system.service(program).await;
                // One that starts only now would not hear it yet.
                service.wait_live(TO_STOP).await?;
                let status = service.terminate(TO_STOP).await?;
                ensure!(status.success(), "{} ended with {status}", program.name());
                system.start_again(&mut service, program)?;
            }
            Fault::Freeze(program, time) => {
                hold_still(&system.service(program).await.process, time).await;
            }
            Fault::KillServer(server) => self.servers.kill(server).await?,
            Fault::FreezeServer(server, time) => self.servers.freeze(server, time).await,
            Fault::Cut(link, time) => {
                system.proxy(link).cut();
                sleep(time).await;
                system.proxy(link).restore();
            }
            Fault::HalfOpen(link, direction, time) => self.slow(link, &[direction], Traffic::Frozen, time).await,
            Fault::Delay(link, time) => self.slow(link, &Direction::ALL, DELAY, time).await,
            Fault::Throttle(link, time) => self.slow(link, &Direction::ALL, THROTTLE, time).await,
            // While the broker is away, its connections are closed just as well.
            Fault::CloseConnections => {
                let _ = system.site.management().close_connections().await;
            }
            Fault::MemoryAlarm(time) => self.servers.memory_alarm(time).await?,
            Fault::DeleteEmptyQueue(queue) => self.delete_empty(&queue).await?,
            Fault::DeleteFullQueue(queue) => self.delete_full(&queue).await?,
            Fault::SecondInstance(program, time) => self.second_instance(program, time).await?,
            Fault::BadMessages => {
                let sent = bad_messages::publish_bad_messages(&system.site.broker_url("admin")).await;
                self.bad_messages.lock().expect("no panic while it is held").extend(sent);
            }
            // Where the broker is away, there is nothing to repeat.
            Fault::EverythingTwice(time) => {
                let _ = bad_messages::deliver_twice(&system.site.broker_url("admin"), time).await;
            }
        }
        Ok(())
    }

    async fn slow(&self, link: Link, directions: &[Direction], flow: Traffic, time: Duration) {
        let proxy = self.system.proxy(link);
        for direction in directions {
            proxy.set_traffic(*direction, flow);
        }
        sleep(time).await;
        proxy.restore();
    }

    async fn second_instance(&self, program: Program, time: Duration) -> Result<()> {
        let mut second = self.system.start_another(program)?;
        let url = second.url();
        if program == Program::WebStore {
            self.load.add(url.clone());
        }
        sleep(time).await;
        self.load.remove(&url);
        second.kill().await
    }
}
