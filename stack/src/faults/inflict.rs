//! Brings a fault about, for as long as it lasts, and heals it.

use std::time::Duration;

use anyhow::{Result, ensure};
use contracts::address::Queue;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::drill::Drill;
use super::plan::{Fault, Server, slowed};
use super::strangers;
use super::system::Link;
use crate::broker::Broker;
use crate::command::{command, run_with_input};
use crate::mysql::Mysql;
use crate::postgres::Postgres;
use crate::proxy::{Direction, Flow};
use crate::reconcile::{Books, Report, reconcile};
use crate::servers::Servers;
use crate::service::Program;

/// A service has so long to finish what is in hand.
const TO_STOP: Duration = Duration::from_secs(10);

/// A queue with so many messages has content enough to be missed.
const CONTENT: u64 = 50;

/// The servers, each for one fault at a time.
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

    async fn kill(&self, server: Server) -> Result<()> {
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

    async fn freeze(&self, server: Server, time: Duration) {
        macro_rules! freeze {
            ($server:expr) => {{
                let server = $server.lock().await;
                server.process.pause();
                sleep(time).await;
                server.process.resume();
            }};
        }
        match server {
            Server::Postgres => freeze!(self.postgres),
            Server::Mysql => freeze!(self.mysql),
            Server::Broker => freeze!(self.broker),
        }
    }

    async fn memory_alarm(&self, time: Duration) -> Result<()> {
        let broker = self.broker.lock().await;
        broker.set_memory_alarm(true).await?;
        sleep(time).await;
        broker.set_memory_alarm(false).await
    }
}

impl Drill {
    /// Returns when the fault is over and healed.
    pub(super) async fn inflict(&self, fault: &Fault) -> Result<()> {
        let system = &self.system;
        match *fault {
            Fault::Kill(program) => {
                let mut service = system.service(program).await;
                service.kill().await?;
                system.start_again(&mut service, program);
            }
            Fault::Terminate(program) => {
                let mut service = system.service(program).await;
                let status = service.terminate(TO_STOP).await?;
                ensure!(status.success(), "{} ended with {status}", program.name());
                system.start_again(&mut service, program);
            }
            Fault::Freeze(program, time) => {
                let service = system.service(program).await;
                service.process.pause();
                sleep(time).await;
                service.process.resume();
            }
            Fault::KillServer(server) => self.servers.kill(server).await?,
            Fault::FreezeServer(server, time) => self.servers.freeze(server, time).await,
            Fault::Cut(link, time) => {
                system.proxy(link).cut();
                sleep(time).await;
                system.proxy(link).heal();
            }
            Fault::HalfOpen(link, direction, time) => self.slow(link, &[direction], Flow::Frozen, time).await,
            Fault::Delay(link, time) | Fault::Throttle(link, time) => {
                let flow = slowed(fault).unwrap_or(Flow::Open);
                self.slow(link, &Direction::ALL, flow, time).await;
            }
            // While the broker is away, its connections are closed just as well.
            Fault::CloseConnections => {
                let _ = system.site.management().try_close_connections().await;
            }
            Fault::MemoryAlarm(time) => self.servers.memory_alarm(time).await?,
            Fault::DeleteEmptyQueue(queue) => self.delete_empty(&queue).await?,
            Fault::DeleteFullQueue(queue) => self.delete_full(&queue).await?,
            Fault::SecondInstance(program, time) => self.second_instance(program, time).await?,
            Fault::BadMessages => {
                let sent = strangers::publish_bad_messages(&system.site.broker_url("admin")).await;
                self.bad_messages.lock().expect("no panic while it is held").extend(sent);
            }
            // Where the broker is away, there is nothing to repeat.
            Fault::EverythingTwice(time) => {
                let _ = strangers::deliver_twice(&system.site.broker_url("admin"), time).await;
            }
        }
        Ok(())
    }

    async fn slow(&self, link: Link, directions: &[Direction], flow: Flow, time: Duration) {
        let proxy = self.system.proxy(link);
        for direction in directions {
            proxy.set_flow(*direction, flow);
        }
        sleep(time).await;
        proxy.heal();
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

    async fn delete_empty(&self, queue: &Queue) -> Result<()> {
        self.load.pause().await;
        self.at_rest().await?;
        self.system.site.management().try_delete_queue(queue.name).await?;
        self.load.resume();
        Ok(())
    }

    /// An operator's mistake: what the queue held is gone. The books tell who is missing, and the Web
    /// Store sends their events again.
    async fn delete_full(&self, queue: &Queue) -> Result<()> {
        let management = self.system.site.management();
        let consumer =
            if queue.name.starts_with("transformer") { Program::Transformer } else { Program::Marketing };
        {
            let service = self.system.service(consumer).await;
            service.process.pause();
            let give_up = Instant::now() + TO_STOP;
            while management.try_queues().await?.get(queue.name).is_none_or(|queue| queue.messages < CONTENT)
            {
                ensure!(Instant::now() < give_up, "{} does not fill up", queue.name);
                sleep(Duration::from_millis(50)).await;
            }
            management.try_delete_queue(queue.name).await?;
            service.process.resume();
        }
        self.load.pause().await;
        self.at_rest().await?;
        let missing = self.books().await?.missing_ids;
        self.republish(&missing).await?;
        self.at_rest().await?;
        let books = self.books().await?;
        ensure!(books.is_in_order(), "after republishing:\n{books}");
        self.load.resume();
        Ok(())
    }

    /// The books of a system at rest, where nobody has to be waited for.
    pub(super) async fn books(&self) -> Result<Report> {
        let books = Books::of(self.system.site.addresses())?;
        reconcile(&Books { patience: Duration::from_secs(3), ..books }).await
    }

    async fn republish(&self, ids: &[Uuid]) -> Result<()> {
        let mut republish = command(Program::WebStore.path()?);
        let database = self.system.site.addresses().web_store_database_url("web_store");
        republish.arg("republish").env("WEB_STORE_DATABASE_URL", database);
        let lines = ids.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        run_with_input("web-store republish", &mut republish, &lines).await.map(drop)
    }
}
